//! The parts of librdkafka's messages for which its Rust binding has no safe function, or one that panics.

#![expect(unsafe_code, reason = "the C library's own functions have to be called")]

use std::ffi::CStr;
use std::ptr;
use std::slice;

use rdkafka::bindings as c;
use rdkafka::message::BorrowedMessage;

/// The headers of a record that was read. Names need not be UTF-8.
pub fn headers<'a>(record: &'a BorrowedMessage<'_>) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
    let mut all = Vec::new();
    let mut list = ptr::null_mut();
    // SAFETY: the record owns the list, and the list owns names and values, so they live as long as the borrow of
    // the record. A name ends with a zero byte. A value that is not null has `size` bytes.
    unsafe {
        if is_error(c::rd_kafka_message_headers(record.ptr(), &raw mut list)) {
            return all;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        while !is_error(c::rd_kafka_header_get_all(
            list,
            all.len(),
            &raw mut name,
            &raw mut value,
            &raw mut size,
        )) {
            let value = (!value.is_null()).then(|| slice::from_raw_parts(value.cast::<u8>(), size));
            all.push((CStr::from_ptr(name).to_bytes(), value));
        }
    }
    all
}

/// Whether a record that was reported as failed may be written nevertheless.
///
/// `rd_kafka_message_produce_errstr` would have the broker's own words, but in librdkafka 2.12 they are freed by the time
/// of the report.
pub fn may_be_written(record: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the record came with a delivery report.
    let status = unsafe { c::rd_kafka_message_status(record.ptr()) };
    status == c::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED
}

fn is_error(code: c::rd_kafka_resp_err_t) -> bool {
    code != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}
