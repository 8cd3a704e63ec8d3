//! The TLS settings of one listener.

use std::fmt;

use super::ConfigError;
use super::prefix::without_listener;
use crate::types::HIDDEN;

/// A value, and the name under which it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<T> {
    pub name: String,
    pub value: T,
}

/// The TLS settings of one listener. It has passwords, and so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsSettings {
    pub keystore: KeyStoreSettings,
    pub truststore: TrustStoreSettings,
    pub protocols: Named<Vec<String>>,
    pub cipher_suites: Named<Vec<String>>,
    pub client_auth: Named<ClientAuth>,
    pub principal_rules: Named<String>,
    pub allows_dn_changes: bool,
    pub allows_san_changes: bool,
}

/// `None` is a setting that is not set; as in Kafka, an empty value counts as set.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyStoreSettings {
    pub kind: Named<String>,
    pub location: Named<Option<String>>,
    pub password: Named<Option<String>>,
    pub key_password: Named<Option<String>>,
    /// PEM text in place of a file.
    pub certificates: Named<Option<String>>,
    pub key: Named<Option<String>>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct TrustStoreSettings {
    pub kind: Named<String>,
    pub location: Named<Option<String>>,
    pub password: Named<Option<String>>,
    /// PEM text in place of a file.
    pub certificates: Named<Option<String>>,
}

impl KeyStoreSettings {
    /// The name of the setting that the certificates come from.
    pub fn setting(&self) -> &str {
        self.location.value.as_ref().map_or(&self.certificates.name, |_| &self.location.name)
    }
}

impl TrustStoreSettings {
    /// The name of the setting that the certificates come from.
    pub fn setting(&self) -> &str {
        self.location.value.as_ref().map_or(&self.certificates.name, |_| &self.location.name)
    }
}

/// Without its password.
impl fmt::Debug for TrustStoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.location.fmt(f)
    }
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Requested,
    Required,
}

/// Whether a setting, with or without the prefix of a listener, is one of those of TLS.
pub fn is_about_tls(name: &str) -> bool {
    without_listener(name).is_some_and(|base| base.starts_with("ssl."))
}

impl<T> Named<T> {
    /// Refuses a value that may be shown.
    pub fn refuse(&self, value: impl Into<String>, why: impl Into<String>) -> ConfigError {
        ConfigError::invalid(&self.name, value, why)
    }

    /// Refuses a value that is a secret.
    pub fn refuse_hidden(&self, why: impl Into<String>) -> ConfigError {
        self.refuse(HIDDEN, why)
    }
}
