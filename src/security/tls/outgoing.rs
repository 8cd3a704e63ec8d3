//! TLS of the broker as a client.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

use super::store;
use crate::config::{ConfigError, TrustStoreSettings};

/// The certificates that verify servers.
#[derive(Clone)]
pub struct OutgoingTls(Arc<ClientConfig>);

/// The configuration of a client that trusts these certificates.
pub(super) fn trusting(
    roots: RootCertStore,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots))
}

impl OutgoingTls {
    /// Reads the trust store, or the certificates that this machine trusts if there is none.
    pub fn load(settings: &TrustStoreSettings) -> Result<OutgoingTls, ConfigError> {
        let location = &settings.location;
        let refuse = |why: String| location.refuse(location.value.as_deref().unwrap_or("null"), why);
        let mut roots = RootCertStore::empty();
        match store::trusted(settings)? {
            Some(trusted) => {
                for certificate in trusted {
                    roots.add(certificate).map_err(|error| {
                        refuse(format!("one of its certificates cannot be used: {error}"))
                    })?;
                }
            }
            // As everywhere, certificates of the machine that cannot be used are left out.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err(refuse(
                "this machine has no trusted certificates, and there is no trust store".to_owned(),
            ));
        }
        let trusting = trusting(roots).map_err(|error| refuse(error.to_string()))?;
        Ok(OutgoingTls(Arc::new(trusting.with_no_client_auth())))
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}
