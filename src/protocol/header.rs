//! Headers of requests and responses. A request's header can be decoded for any key and version, because
//! even an error response needs the correlation id.

use super::field::{At, Field};
use super::messages::KafkaApi;
use super::{Reader, WireError, Writer};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    /// Only a label. Bytes that are not UTF-8 are replaced, as in Kafka.
    pub client_id: Option<String>,
}

const API_VERSIONS: i16 = 18;

/// Version 2 has tagged fields, version 1 has none. `None` for an unknown key.
pub fn request_header_version(key: i16, version: i16) -> Option<i16> {
    let flexible = version >= KafkaApi::find(key)?.first_flexible;
    Some(if flexible { 2 } else { 1 })
}

/// Version 1 has tagged fields, version 0 has none. ApiVersions always uses 0, because the client does
/// not know yet which versions the broker supports.
pub fn response_header_version(key: i16, version: i16) -> i16 {
    let flexible = KafkaApi::find(key).is_some_and(|api| version >= api.first_flexible);
    if flexible && key != API_VERSIONS { 1 } else { 0 }
}

impl RequestHeader {
    /// Decodes a header. The header version of an unknown key is unknown, so nothing after the
    /// correlation id is read.
    pub fn read(input: &mut Reader) -> Result<RequestHeader, WireError> {
        let at = At { version: 1, flexible: false };
        let api_key = input.read(at)?;
        let api_version = input.read(at)?;
        let correlation_id = input.read(at)?;
        let mut header = RequestHeader { api_key, api_version, correlation_id, client_id: None };
        let Some(version) = request_header_version(api_key, api_version) else { return Ok(header) };
        if let Some(length) = input.string_length(at)? {
            header.client_id = Some(String::from_utf8_lossy(&input.take(length)?).into_owned());
        }
        if version >= 2 {
            input.skip_tags()?;
        }
        Ok(header)
    }

    /// The bytes of the header, if it has no tagged fields.
    pub fn size(&self) -> usize {
        const FIXED: usize = 10; // key, version, correlation id, and the length of the client id
        let tags = request_header_version(self.api_key, self.api_version) == Some(2);
        FIXED.saturating_add(self.client_id.as_ref().map_or(0, String::len)).saturating_add(usize::from(tags))
    }

    /// Encodes a header, for the command line and for tests.
    pub fn write(&self, out: &mut Writer) -> Result<(), WireError> {
        let at = At { version: 1, flexible: false };
        self.api_key.write(out, at)?;
        self.api_version.write(out, at)?;
        self.correlation_id.write(out, at)?;
        self.client_id.write(out, at)?;
        if request_header_version(self.api_key, self.api_version) == Some(2) {
            out.varint(0);
        }
        Ok(())
    }
}

/// `key` and `version` are those of the request.
pub fn write_response_header(out: &mut Writer, key: i16, version: i16, correlation_id: i32) {
    out.put(&correlation_id.to_be_bytes());
    if response_header_version(key, version) == 1 {
        out.varint(0);
    }
}

/// Decodes the correlation id of a response to a request of this key and version.
pub fn read_response_header(input: &mut Reader, key: i16, version: i16) -> Result<i32, WireError> {
    let correlation_id = i32::from_be_bytes(input.array()?);
    if response_header_version(key, version) == 1 {
        input.skip_tags()?;
    }
    Ok(correlation_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_header_is_that_of_its_bytes() {
        for (api_key, api_version) in [(0, 8), (0, 9), (18, 2), (18, 3), (-1, 0)] {
            for client_id in [None, Some(String::new()), Some("rdkafka".to_owned())] {
                let header = RequestHeader { api_key, api_version, correlation_id: 7, client_id };
                let mut out = Writer::new();
                header.write(&mut out).unwrap();
                assert_eq!(out.len(), header.size(), "{header:?}");
            }
        }
    }
}
