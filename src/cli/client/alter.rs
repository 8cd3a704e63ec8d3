//! IncrementalAlterConfigs with librdkafka. Its Rust binding has no safe function for this request, and
//! its function for AlterConfigs does not return the broker's errors. All `unsafe` code of this program
//! is here.

#![expect(unsafe_code, reason = "the C library's own functions have to be called")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use rdkafka::admin::ResourceSpecifier;
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The new value of a setting; `None` resets it to its default.
pub struct Change<'a> {
    pub name: &'a str,
    pub value: Option<&'a str>,
}

pub enum Error {
    /// The broker's error message.
    Refused(String),
    /// The request was not sent, or no response came back.
    Failed(KafkaError),
}

/// Makes all changes to a topic, group or broker, or none.
pub fn alter<C: ClientContext>(
    client: &Client<C>,
    of: ResourceSpecifier<'_>,
    changes: &[Change<'_>],
    timeout: Duration,
) -> Result<(), Error> {
    let (kind, name) = match of {
        ResourceSpecifier::Topic(name) => (c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, text(name)?),
        ResourceSpecifier::Group(name) => (c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP, text(name)?),
        ResourceSpecifier::Broker(id) => {
            (c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER, text(&id.to_string())?)
        }
    };
    let timeout = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the name lives until the call has copied it. The result is freed once.
    let resource = unsafe {
        RdkafkaObject::new(
            c::rd_kafka_ConfigResource_new(kind, name.as_ptr()),
            c::rd_kafka_ConfigResource_destroy,
        )
    }?;
    for change in changes {
        add(&resource, change)?;
    }
    let native = client.native_ptr();
    let operation = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
    // SAFETY: `client` lives longer than everything below, and all that is made for it is freed first.
    // The error's text is not needed, so there is no buffer for it. `event` owns what is read from it.
    unsafe {
        let options = RdkafkaObject::new(
            c::rd_kafka_AdminOptions_new(native, operation),
            c::rd_kafka_AdminOptions_destroy,
        )?;
        c::rd_kafka_AdminOptions_set_request_timeout(options.0, timeout, ptr::null_mut(), 0);
        let queue = RdkafkaObject::new(c::rd_kafka_queue_new(native), c::rd_kafka_queue_destroy)?;
        let mut resources = [resource.0];
        c::rd_kafka_IncrementalAlterConfigs(native, resources.as_mut_ptr(), 1, options.0, queue.0);
        // The request has a timeout, so an event always comes.
        let event = RdkafkaObject::new(c::rd_kafka_queue_poll(queue.0, -1), c::rd_kafka_event_destroy)?;
        outcome(&event)
    }
}

fn add(resource: &RdkafkaObject<c::rd_kafka_ConfigResource_t>, change: &Change<'_>) -> Result<(), Error> {
    let name = text(change.name)?;
    let value = change.value.map(text).transpose()?;
    let (operation, value) = match &value {
        Some(value) => (c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, value.as_ptr()),
        None => (c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, ptr::null()),
    };
    // SAFETY: the texts live until the call has copied them. An error is freed once.
    unsafe {
        let error =
            c::rd_kafka_ConfigResource_add_incremental_config(resource.0, name.as_ptr(), operation, value);
        match RdkafkaObject::new(error, c::rd_kafka_error_destroy) {
            Ok(error) => Err(Error::Refused(owned(c::rd_kafka_error_string(error.0)))),
            Err(_) => Ok(()),
        }
    }
}

/// # Safety
/// `event` must be the result of an IncrementalAlterConfigs.
unsafe fn outcome(event: &RdkafkaObject<c::rd_kafka_event_t>) -> Result<(), Error> {
    // SAFETY: all that is read lives as long as the event, and `resources` has `count` elements.
    unsafe {
        failed(c::rd_kafka_event_error(event.0))?;
        let result = c::rd_kafka_event_IncrementalAlterConfigs_result(event.0);
        if result.is_null() {
            return Err(Error::Failed(KafkaError::AdminOpCreation("an answer of another kind".to_owned())));
        }
        let mut count = 0;
        let resources = c::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
        for at in 0..count {
            let resource = *resources.add(at);
            if c::rd_kafka_ConfigResource_error(resource)
                != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return Err(Error::Refused(owned(c::rd_kafka_ConfigResource_error_string(resource))));
            }
        }
    }
    Ok(())
}

fn failed(code: c::rd_kafka_resp_err_t) -> Result<(), Error> {
    match code {
        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(Error::Failed(KafkaError::AdminOp(RDKafkaErrorCode::from(code)))),
    }
}

fn text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Refused("a name or a value has a zero byte".to_owned()))
}

/// # Safety
/// `text` must be null or end in a zero byte.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// An object that librdkafka made. It is freed when this is dropped.
struct RdkafkaObject<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> RdkafkaObject<T> {
    /// # Safety
    /// `made` must be null, or nothing else frees it and `back` may be called with it.
    unsafe fn new(made: *mut T, back: unsafe extern "C" fn(*mut T)) -> Result<RdkafkaObject<T>, Error> {
        if made.is_null() {
            Err(Error::Failed(KafkaError::AdminOpCreation("librdkafka has no memory".to_owned())))
        } else {
            Ok(RdkafkaObject(made, back))
        }
    }
}

impl<T> Drop for RdkafkaObject<T> {
    fn drop(&mut self) {
        // SAFETY: the caller of `new` guarantees it.
        unsafe { (self.1)(self.0) }
    }
}
