//! A connection to a broker for single requests of this program, without librdkafka.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::address::Address;
use crate::protocol::{Message, Reader, Request, RequestHeader, Writer, read_response_header};
#[cfg(all(feature = "client", feature = "security"))]
use crate::security::tls::client::{Encrypted, TlsClient};

/// The maximum size of a response. A longer one is not from a Kafka broker.
const LONGEST: u32 = 32 << 20;
/// The same for the first response, of ApiVersions or SaslHandshake. So a server of another kind is found out by little.
const LONGEST_FIRST: u32 = 64 << 10;

pub struct Wire {
    stream: Stream,
    #[cfg(all(feature = "client", feature = "security"))]
    host: String,
    client_id: String,
    sent: i32,
}

enum Stream {
    Plain(TcpStream),
    #[cfg(all(feature = "client", feature = "security"))]
    Encrypted(Box<Encrypted>),
}

impl Wire {
    /// Connects to the first of the host's addresses that accepts it. `patience` is the time limit of each step.
    pub fn connect(address: &str, client_id: &str, patience: Duration) -> io::Result<Wire> {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let Address { host, port, .. } = address.parse().map_err(unusable)?;
        for address in (host.as_str(), port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(socket) => {
                    socket.set_read_timeout(Some(patience))?;
                    socket.set_write_timeout(Some(patience))?;
                    return Ok(Wire {
                        stream: Stream::Plain(socket),
                        #[cfg(all(feature = "client", feature = "security"))]
                        host,
                        client_id: client_id.to_owned(),
                        sent: 0,
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Encrypts a new connection. The broker has to show a certificate with the name or IP address of its address.
    #[cfg(all(feature = "client", feature = "security"))]
    pub fn encrypt(self, tls: &TlsClient) -> io::Result<Wire> {
        let stream = match self.stream {
            Stream::Plain(socket) => Stream::Encrypted(Box::new(tls.connect(socket, &self.host)?)),
            encrypted @ Stream::Encrypted(_) => encrypted,
        };
        Ok(Wire { stream, ..self })
    }

    /// Sends a request and waits for its response.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.sent += 1;
        let header = RequestHeader {
            api_key: R::KEY,
            api_version: version,
            correlation_id: self.sent,
            client_id: Some(self.client_id.clone()),
        };
        let mut out = Writer::new();
        let written = header.write(&mut out).and_then(|()| request.encode(&mut out, version));
        let frame = written.and_then(|()| out.into_request()).map_err(bad)?;
        self.stream.write_all(&frame)?;
        self.stream.flush()?;
        let longest = if self.sent == 1 { LONGEST_FIRST } else { LONGEST };
        let mut input = Reader::new(self.receive(longest)?.into());
        read_response_header(&mut input, R::KEY, version)
            .and_then(|_| R::Response::decode(&mut input, version))
            .map_err(bad)
    }

    fn receive(&mut self, longest: u32) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > longest {
            return Err(bad("this is no Kafka broker"));
        }
        // It grows with the bytes that arrive: the length may be a lie.
        let mut body = Vec::new();
        (&mut self.stream).take(length.into()).read_to_end(&mut body)?;
        if body.len() < length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(body)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(into),
            #[cfg(all(feature = "client", feature = "security"))]
            Stream::Encrypted(socket) => socket.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(bytes),
            #[cfg(all(feature = "client", feature = "security"))]
            Stream::Encrypted(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            #[cfg(all(feature = "client", feature = "security"))]
            Stream::Encrypted(socket) => socket.flush(),
        }
    }
}

fn unusable(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn bad(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::protocol::messages::ApiVersionsRequest;

    /// The error of the first call if the broker answers with these bytes and closes the connection.
    fn answered_with(bytes: &'static [u8]) -> io::ErrorKind {
        let broker = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = broker.local_addr().unwrap().to_string();
        let answering = thread::spawn(move || {
            let (mut client, _) = broker.accept().unwrap();
            let mut length = [0; 4];
            client.read_exact(&mut length).unwrap();
            client.read_exact(&mut vec![0; u32::from_be_bytes(length) as usize]).unwrap();
            client.write_all(bytes).unwrap();
        });
        let mut wire = Wire::connect(&address, "jackdaw", Duration::from_secs(60)).unwrap();
        let outcome = wire.call(0, &ApiVersionsRequest::default());
        answering.join().unwrap();
        outcome.unwrap_err().kind()
    }

    #[test]
    fn lengths_of_a_broker_that_lie_are_an_error_of_their_call() {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        let cases: [(&[u8], io::ErrorKind); 6] = [
            (b"\x7f\xff\xff\xff", InvalidData),
            (b"\xff\xff\xff\xff", InvalidData),
            // A frame longer than the bytes that follow, one shorter than a header, and counts of versions that are
            // too large and negative.
            (b"\0\0\xff\xff\0\0\0\x01", UnexpectedEof),
            (b"\0\0\0\x02\0\0", InvalidData),
            (b"\0\0\0\x0a\0\0\0\x01\0\0\x7f\xff\xff\xff", InvalidData),
            (b"\0\0\0\x0a\0\0\0\x01\0\0\x80\0\0\0", InvalidData),
        ];
        for (bytes, kind) in cases {
            assert_eq!(answered_with(bytes), kind, "{bytes:02x?}");
        }
    }
}
