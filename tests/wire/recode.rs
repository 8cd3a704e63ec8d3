//! The fuzz targets of the codec: functions of bytes that panic if the codec is wrong, and return whether the bytes
//! were a message.

use bytes::Bytes;
use jackdaw::protocol::{Reader, RequestHeader};

use crate::inspect::{Codec, Kind};

/// A request from a socket, without its size. Every request that can be read can be written again, and is
/// then read as the same message.
pub fn frame(data: &[u8], codecs: &[Codec]) -> bool {
    let mut input = Reader::new(Bytes::copy_from_slice(data));
    let Ok(header) = RequestHeader::read(&mut input) else { return false };
    let request =
        codecs.iter().find(|codec| codec.kind == Kind::Request && codec.key == Some(header.api_key));
    let body = data.len() - input.remaining();
    request.is_some_and(|codec| message(&data[body..], codec, header.api_version))
}

/// The body of any message.
pub fn message(data: &[u8], codec: &Codec, version: i16) -> bool {
    let Ok(once) = (codec.recode)(Bytes::copy_from_slice(data), version) else { return false };
    assert!(once.len() <= data.len(), "{} {version} grows", codec.name);
    let twice = (codec.recode)(once.clone(), version);
    assert_eq!(twice, Ok(once), "{} {version}", codec.name);
    true
}
