//! A client that sends exactly the given requests, one at a time, and returns every field of the answers.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use jackdaw::protocol::{Message, Reader, Request, RequestHeader, Writer, read_response_header};

/// How long it waits for a broker that may be gone.
const LIMIT: Duration = Duration::from_secs(5);

pub struct Raw(TcpStream);

impl Raw {
    pub fn of(address: &str) -> io::Result<Raw> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(Raw(socket))
    }

    /// An error means that the broker is gone: the request may have been carried out or not.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let client_id = Some("crash test".to_owned());
        let header = RequestHeader { api_key: R::KEY, api_version: version, correlation_id: 7, client_id };
        let mut out = Writer::new();
        header.write(&mut out).unwrap();
        request.encode(&mut out, version).unwrap();
        self.0.write_all(&out.into_request().unwrap())?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame)?;
        let mut input = Reader::new(Bytes::from(frame));
        assert_eq!(read_response_header(&mut input, R::KEY, version).unwrap(), 7);
        let answer = R::Response::decode(&mut input, version).unwrap();
        input.finish().unwrap();
        Ok(answer)
    }
}
