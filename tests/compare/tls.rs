//! Connections with TLS: `@tls-ann` shows the certificate `certificates/ann.pem`, and `@tls-none` has none.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::script::folder;

/// The name of a connection's certificate. `None` if the connection is without TLS.
pub fn certificate(connection: &str) -> Option<&str> {
    connection.strip_prefix("tls-")?.split('/').next()
}

/// With TLS 1.3 a server refuses a certificate after the client's part of the handshake.
pub async fn shake_hands(socket: TcpStream, certificate: &str) -> io::Result<TlsStream<TcpStream>> {
    let server = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(client(certificate))).connect(server, socket).await
}

fn client(certificate: &str) -> ClientConfig {
    let file = |name: &str| folder().join("certificates").join(format!("{name}.pem"));
    let chain = |name: &str| -> Vec<CertificateDer<'static>> {
        let found = CertificateDer::pem_file_iter(file(name)).expect("certificates/make has made it");
        found.collect::<Result<_, _>>().expect("certificates")
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(chain("root"));
    assert_eq!(added, 1);
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("the provider has all of them");
    let config = config.with_root_certificates(roots);
    if certificate == "none" {
        return config.with_no_client_auth();
    }
    let key = PrivateKeyDer::from_pem_file(file(certificate)).expect("a key");
    config.with_client_auth_cert(chain(certificate), key).expect("a certificate with its key")
}
