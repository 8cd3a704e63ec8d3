//! The TLS settings of one listener. Each is read with the prefix of the listener
//! (`listener.name.internal.ssl.keystore.location`) if it is set with it, and without it otherwise.

use std::fmt;

use super::row::Value;
use super::{BrokerSettings, ConfigError, broker};
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

impl BrokerSettings {
    /// The TLS settings of a listener, by its name.
    pub fn tls(&self, listener: &str) -> Result<TlsSettings, ConfigError> {
        let layer = Layer { settings: self, prefix: format!("listener.name.{}.", listener.to_lowercase()) };
        Ok(TlsSettings {
            keystore: KeyStoreSettings {
                kind: layer.read("ssl.keystore.type", Value::text)?,
                location: layer.written("ssl.keystore.location"),
                password: layer.written("ssl.keystore.password"),
                key_password: layer.written("ssl.key.password"),
                certificates: layer.written("ssl.keystore.certificate.chain"),
                key: layer.written("ssl.keystore.key"),
            },
            truststore: TrustStoreSettings {
                kind: layer.read("ssl.truststore.type", Value::text)?,
                location: layer.written("ssl.truststore.location"),
                password: layer.written("ssl.truststore.password"),
                certificates: layer.written("ssl.truststore.certificates"),
            },
            protocols: layer.read("ssl.enabled.protocols", Value::list)?,
            cipher_suites: layer.read("ssl.cipher.suites", Value::list)?,
            client_auth: layer.read("ssl.client.auth", |value| match value.text().as_str() {
                "required" => ClientAuth::Required,
                "requested" => ClientAuth::Requested,
                _ => ClientAuth::None,
            })?,
            principal_rules: layer.read("ssl.principal.mapping.rules", Value::text)?,
            allows_dn_changes: layer.read("ssl.allow.dn.changes", Value::flag)?.value,
            allows_san_changes: layer.read("ssl.allow.san.changes", Value::flag)?.value,
        })
    }
}

/// Whether a setting, with or without the prefix of a listener, is one of those of TLS.
pub fn is_about_tls(name: &str) -> bool {
    broker::without_listener(name).is_some_and(|base| base.starts_with("ssl."))
}

/// The settings as one listener sees them.
struct Layer<'a> {
    settings: &'a BrokerSettings,
    prefix: String,
}

impl Layer<'_> {
    /// The text that is set for the listener or for all listeners.
    fn written(&self, base: &str) -> Named<Option<String>> {
        let BrokerSettings { altered, given, set, .. } = self.settings;
        let own = format!("{}{base}", self.prefix);
        if let Some(value) = broker::current(&own, altered, given) {
            return Named { name: own, value: Some(value.trim().to_owned()) };
        }
        Named { name: base.to_owned(), value: set.get(base).map(|value| value.trim().to_owned()) }
    }

    /// The value, or the default.
    fn read<T>(&self, base: &str, convert: impl Fn(&Value) -> T) -> Result<Named<T>, ConfigError> {
        let row = broker::row(base).expect("the settings of TLS have rows");
        let Named { name, value } = self.written(base);
        let value = match value {
            None => row.default_value(),
            Some(written) => row.read(&written).map_err(|error| error.under(&name))?,
        };
        Ok(Named { value: convert(&value), name })
    }
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

impl ConfigError {
    /// The same error for a setting with the prefix of a listener.
    pub(super) fn under(self, full_name: &str) -> ConfigError {
        match self {
            ConfigError::Invalid { value, why, .. } => {
                ConfigError::Invalid { name: full_name.to_owned(), value, why }
            }
            other @ (ConfigError::UnknownTopicSetting { .. }
            | ConfigError::Conflict(_)
            | ConfigError::Listeners(_)
            | ConfigError::OnlyController
            | ConfigError::File(_)) => other,
        }
    }
}
