//! TLS as a client: for the requests that the command line sends itself.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::outgoing;

/// The certificates for connections to servers.
pub struct TlsClient(Arc<ClientConfig>);

/// An encrypted connection.
pub struct Encrypted(StreamOwned<ClientConnection, TcpStream>);

/// The file that cannot be used, and why.
#[derive(Debug)]
pub enum Unusable {
    Authorities(Error),
    Certificate(Error),
}

impl TlsClient {
    /// A client that trusts the certificates of the file `authorities`, or those of this machine. `shown` are the
    /// files of its own certificate and of its key. All are PEM.
    pub fn new(authorities: Option<&str>, shown: Option<(&str, &str)>) -> Result<TlsClient, Unusable> {
        let roots = trusted(authorities).map_err(Unusable::Authorities)?;
        let config = outgoing::trusting(roots).map_err(|error| Unusable::Authorities(Error::other(error)))?;
        let config = match shown {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain).map_err(Unusable::Certificate)?;
                let odd = |error| Unusable::Certificate(unreadable(key, &error));
                let key = PrivateKeyDer::from_pem_file(key).map_err(odd)?;
                let fitting = config.with_client_auth_cert(chain, key);
                fitting.map_err(|error| Unusable::Certificate(Error::other(error)))?
            }
        };
        Ok(TlsClient(Arc::new(config)))
    }

    /// Encrypts a new connection. The server has to show a certificate with this name or IP address.
    pub fn connect(&self, mut socket: TcpStream, host: &str) -> io::Result<Encrypted> {
        let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).map_err(Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(|error| {
                let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                match inner {
                    Some(rustls::Error::InvalidCertificate(why)) => Error::new(
                        ErrorKind::PermissionDenied,
                        format!(
                            "its certificate is not trusted ({why}); --ca names the authorities to trust"
                        ),
                    ),
                    _ => error,
                }
            })?;
        }
        Ok(Encrypted(StreamOwned::new(session, socket)))
    }
}

fn trusted(file: Option<&str>) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (found, why) = match file {
        Some(file) => (certificates(file)?, String::new()),
        None => {
            let found = rustls_native_certs::load_native_certs();
            (found.certs, found.errors.first().map(|error| format!(": {error}")).unwrap_or_default())
        }
    };
    store.add_parsable_certificates(found);
    if store.is_empty() {
        return Err(Error::new(ErrorKind::InvalidData, format!("no certificate was found{why}")));
    }
    Ok(store)
}

fn certificates(file: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, &error))?;
    found.collect::<Result<_, _>>().map_err(|error| unreadable(file, &error))
}

fn unreadable(file: &str, error: &pem::Error) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{file}: {error}"))
}

impl Read for Encrypted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Encrypted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
