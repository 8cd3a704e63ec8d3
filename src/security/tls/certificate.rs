//! The fields of a certificate that are of interest here.

use std::collections::BTreeSet;

use rustls::pki_types::UnixTime;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::name;

/// The fields of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The name of its owner, in the form of RFC 2253.
    pub subject: String,
    /// The alternative names of its owner.
    pub alternative_names: BTreeSet<String>,
    /// In seconds since 1970.
    pub begins: i64,
    pub expires: i64,
    /// The public key with its algorithm, as DER.
    pub public_key: Vec<u8>,
    /// Whether it may be used by a client of TLS.
    pub is_for_clients: bool,
    /// Whether its owner may issue certificates. Those of version 1 do not say.
    pub is_authority: bool,
    /// Whether it is of X.509 version 3.
    pub is_v3: bool,
}

impl Certificate {
    pub fn parse(der: &[u8]) -> Result<Certificate, String> {
        let (_, parsed) = X509Certificate::from_der(der)
            .map_err(|error| format!("one of its certificates cannot be read: {error}"))?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter().map(ToString::to_string).collect());
        let is_for_clients = match parsed.extended_key_usage() {
            Ok(None) => true,
            Ok(Some(usage)) => usage.value.any || usage.value.client_auth,
            Err(_) => false,
        };
        let is_authority = match parsed.basic_constraints() {
            Ok(Some(constraints)) => constraints.value.ca,
            // One of version 3 does say, for Java; rustls would accept what it issues.
            Ok(None) => parsed.version() != X509Version::V3,
            Err(_) => true,
        };
        Ok(Certificate {
            subject: name::rfc2253(parsed.subject()),
            alternative_names: names.unwrap_or_default(),
            begins: parsed.validity().not_before.timestamp(),
            expires: parsed.validity().not_after.timestamp(),
            public_key: parsed.public_key().raw.to_vec(),
            is_for_clients,
            is_authority,
            is_v3: parsed.version() == X509Version::V3,
        })
    }

    pub fn is_valid_at(&self, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        (self.begins..=self.expires).contains(&now)
    }
}

/// Whether `issuer` is another certificate, whose owner issued this one.
pub(super) fn is_issued_by(der: &[u8], issuer: &[u8]) -> bool {
    let (Ok((_, own)), Ok((_, issuer))) = (X509Certificate::from_der(der), X509Certificate::from_der(issuer))
    else {
        return false;
    };
    own.issuer() != own.subject() && own.issuer().as_raw() == issuer.subject().as_raw()
}
