//! Verifies the certificates of clients.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::certificate::Certificate;

/// Accepts certificates that a trusted one has issued, and, as Java does, those that are trusted themselves.
#[derive(Debug)]
struct Verifier {
    by_issuer: Arc<dyn ClientCertVerifier>,
    trusted: BTreeSet<Vec<u8>>,
}

/// The certificate of a client is older than X.509 version 3. rustls refuses it, even if its issuer is
/// trusted.
#[derive(Debug)]
pub(super) struct OldVersion;

impl std::error::Error for OldVersion {}

impl fmt::Display for OldVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is of X.509 version 1 or 2")
    }
}

/// A verifier for clients that may or must show a certificate.
pub(super) fn verifier(
    trusted: Vec<CertificateDer<'static>>,
    is_required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let mut all = BTreeSet::new();
    for certificate in trusted {
        all.insert(certificate.to_vec());
        roots
            .add(certificate)
            .map_err(|error| format!("one of its certificates cannot be used to verify clients: {error}"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    let by_issuer = builder.build().map_err(|error| error.to_string())?;
    Ok(Arc::new(Verifier { by_issuer, trusted: all }))
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.by_issuer.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_issuer.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Ok(certificate) = Certificate::parse(end_entity) else {
            return Err(CertificateError::BadEncoding.into());
        };
        if !certificate.is_v3 {
            return Err(CertificateError::Other(OtherError(Arc::new(OldVersion))).into());
        }
        if !self.trusted.contains(end_entity.as_ref()) {
            return self.by_issuer.verify_client_cert(end_entity, intermediates, now);
        }
        // Java does not look at the dates of a trusted certificate.
        if !certificate.is_valid_at(now) {
            return Err(CertificateError::Expired.into());
        }
        if !certificate.is_for_clients {
            return Err(CertificateError::InvalidPurpose.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_issuer.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_issuer.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_issuer.supported_verify_schemes()
    }
}
