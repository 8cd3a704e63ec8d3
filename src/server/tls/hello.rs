//! The ClientHello, the first message of a handshake, read before the handshake has a turn.

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::HandshakeFailure;
use crate::security::tls::Failure;
use crate::server::input::{Stranger, recognise};

/// The maximum number of bytes that are read before the turn, as many as the read buffer of a quiet connection has. Few
/// clients have a longer ClientHello; they take their turn before all of it has arrived.
const MOST: usize = 2 << 10;
/// The first byte of TLS: a record of a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Reads the ClientHello and possibly some bytes after it.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Bytes, HandshakeFailure> {
    let closed = |error| HandshakeFailure(Failure::Closed, Some(error));
    // No memory is taken before the client has sent a byte.
    stream.readable().await.map_err(closed)?;
    let mut bytes = Vec::with_capacity(MOST);
    while !is_whole(&bytes) && bytes.len() < MOST {
        if stream.read_buf(&mut bytes).await.map_err(closed)? == 0 {
            return Err(HandshakeFailure(Failure::Closed, None));
        }
        if bytes.first() != Some(&HANDSHAKE_RECORD) {
            let is_http = recognise(&bytes) == Some(Stranger::Http);
            return Err(HandshakeFailure(if is_http { Failure::Http } else { Failure::NotTls }, None));
        }
    }
    Ok(bytes.into())
}

/// Whether these records have a whole ClientHello, which may be divided among them, or are none of a handshake.
fn is_whole(mut bytes: &[u8]) -> bool {
    let mut message = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        if *kind != HANDSHAKE_RECORD {
            return true;
        }
        let declared = usize::from(u16::from_be_bytes([*high, *low]));
        let (part, after) = rest.split_at(declared.min(rest.len()));
        message.extend_from_slice(part);
        bytes = after;
    }
    match &message[..] {
        [_, a, b, c, body @ ..] => body.len() >= u32::from_be_bytes([0, *a, *b, *c]) as usize,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(part: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE_RECORD, 3, 1, 0, u8::try_from(part.len()).unwrap()], part].concat()
    }

    const MESSAGE: [u8; 7] = [1, 0, 0, 3, 7, 7, 7];

    #[test]
    fn a_client_hello_is_whole_with_its_last_byte_however_it_is_divided() {
        let whole = record(&MESSAGE);
        let divided = MESSAGE.map(|byte| record(&[byte])).concat();
        for bytes in [whole, divided] {
            for len in 0..bytes.len() {
                assert!(!is_whole(&bytes[..len]), "{len} of {bytes:02x?}");
            }
            assert!(is_whole(&bytes));
            assert!(is_whole(&[&bytes[..], &record(&[9])].concat()));
        }
    }

    #[test]
    fn a_record_of_another_kind_needs_no_more_bytes_to_be_refused() {
        assert!(is_whole(&[&record(&MESSAGE[..5])[..], &[0x17, 3, 3, 0, 9]].concat()));
    }
}
