//! One line of text for each batch and record, for `jackdaw log dump`. Lines consist of `name=value`, so
//! that they can be read, searched and cut.

use std::fmt::Write;

use super::{Header, Marker, Record, crc_of};
use crate::types::{Offset, TransactionEnd};

/// One batch: its header, and whether its CRC is correct.
///
/// ```text
/// offset=0 last=2 count=3 size=85 epoch=0 created=1700000000000 newest=1700000000050 codec=gzip crc=08bac134
/// ```
pub fn batch_line(header: &Header, batch: &[u8]) -> String {
    let attributes = header.attributes;
    let mut line = format!("offset={}", header.base_offset);
    match header.last_offset() {
        Some(last) => put(&mut line, format_args!(" last={last}")),
        None => put(&mut line, format_args!(" last=none")),
    }
    put(&mut line, format_args!(" count={} size={}", header.count, header.size()));
    put(&mut line, format_args!(" epoch={}", header.leader_epoch));
    let base = if attributes.delete_horizon() { "delete_horizon" } else { "created" };
    let newest = if attributes.log_append_time() { "appended" } else { "newest" };
    put(&mut line, format_args!(" {base}={} {newest}={}", header.base_timestamp, header.max_timestamp));
    match attributes.codec() {
        Ok(codec) => put(&mut line, format_args!(" codec={}", codec.name())),
        Err(_) => put(&mut line, format_args!(" codec=unknown")),
    }
    if let Some(producer) = header.producer() {
        put(
            &mut line,
            format_args!(
                " producer={} producer_epoch={} sequence={}",
                producer.id, producer.epoch, producer.base_sequence
            ),
        );
    }
    if attributes.transactional() {
        line.push_str(" transactional");
    }
    if attributes.control() {
        line.push_str(" control");
    }
    let crc = crc_of(batch);
    put(&mut line, format_args!(" crc={:08x}", header.crc));
    if crc != header.crc {
        put(&mut line, format_args!(" WRONG: its bytes have crc={crc:08x}"));
    }
    line
}

/// One record. Bytes that are not printable are escaped. Nothing is shortened.
///
/// ```text
/// offset=7 timestamp=1700000000000 key="k" value=null header="trace":"abc"
/// ```
pub fn record_line(record: &Record) -> String {
    let mut line = format!("offset={} timestamp={}", record.offset, record.timestamp);
    put(&mut line, format_args!(" key={}", quoted(record.key.as_deref())));
    put(&mut line, format_args!(" value={}", quoted(record.value.as_deref())));
    for (key, value) in &record.headers {
        put(&mut line, format_args!(" header={}:{}", quoted(Some(key)), quoted(value.as_deref())));
    }
    line
}

/// The record of a marker.
///
/// ```text
/// marker offset=9 timestamp=1700000000000 end=abort coordinator_epoch=0
/// ```
pub fn marker_line(offset: Offset, marker: &Marker) -> String {
    let end = match marker.end {
        TransactionEnd::Commit => "commit",
        TransactionEnd::Abort => "abort",
    };
    let Marker { time, coordinator_epoch, .. } = marker;
    format!("marker offset={offset} timestamp={time} end={end} coordinator_epoch={coordinator_epoch}")
}

/// Text as it is, with line breaks and quotes escaped; other bytes as `\xff`.
fn quoted(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".into(),
        Some(bytes) => match str::from_utf8(bytes) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("\"{}\"", bytes.escape_ascii()),
        },
    }
}

fn put(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string never fails.
    let _ = line.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, BatchBuilder, Codec, Producer, records};
    use super::*;
    use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp};

    fn line(batch: &[u8]) -> String {
        batch_line(&Header::parse(batch).unwrap(), batch)
    }

    #[test]
    fn a_batch_is_one_line() {
        let batch = BatchBuilder::new()
            .codec(Codec::Lz4)
            .base_offset(Offset(40))
            .leader_epoch(LeaderEpoch(3))
            .producer(Producer { id: ProducerId(7), epoch: ProducerEpoch(1), base_sequence: 9 })
            .transactional()
            .value(Timestamp(100), "a")
            .value(Timestamp(150), "b")
            .build();
        let header = Header::parse(&batch).unwrap();
        let (size, crc) = (batch.len(), header.crc);
        let expected = format!(
            "offset=40 last=41 count=2 size={size} epoch=3 created=100 newest=150 codec=lz4 \
             producer=7 producer_epoch=1 sequence=9 transactional crc={crc:08x}"
        );
        assert_eq!(line(&batch), expected);
    }

    #[test]
    fn a_damaged_batch_says_so() {
        let sound = BatchBuilder::new().flag(Attributes::CONTROL).value(Timestamp(1), "a").build();
        assert!(line(&sound).contains(" control crc="), "{}", line(&sound));
        let damaged = [&sound[..sound.len() - 1], b"!"].concat();
        assert!(line(&damaged).contains("WRONG"), "{}", line(&damaged));
    }

    #[test]
    fn a_marker_is_one_line() {
        let (end, time) = (TransactionEnd::Commit, Timestamp(7));
        let (producer, epoch) = (ProducerId(1), ProducerEpoch(2));
        let marker = Marker { producer, epoch, end, coordinator_epoch: 3, time };
        assert_eq!(
            marker_line(Offset(9), &marker),
            "marker offset=9 timestamp=7 end=commit coordinator_epoch=3"
        );
        let line = line(&marker.batch(Offset(9), LeaderEpoch(0)));
        assert!(line.contains(" producer=1 producer_epoch=2 sequence=-1 transactional control "), "{line}");
    }

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let batch = BatchBuilder::new()
            .record(Timestamp(5), Some(b"line\nbreak \"quoted\""), Some("größer".as_bytes()), &[])
            .record(Timestamp(6), None, Some(b"\xff\n"), &[(b"h", None), (b"h", Some(b"1"))])
            .build();
        let lines: Vec<_> = records(&batch).unwrap().map(|record| record_line(&record.unwrap())).collect();
        assert_eq!(lines[0], r#"offset=0 timestamp=5 key="line\nbreak \"quoted\"" value="größer""#);
        assert_eq!(
            lines[1],
            r#"offset=1 timestamp=6 key=null value="\xff\n" header="h":null header="h":"1""#
        );
    }
}
