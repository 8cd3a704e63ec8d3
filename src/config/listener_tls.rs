//! Reads the TLS settings of one listener. Each is read with the prefix of the listener
//! (`listener.name.internal.ssl.keystore.location`) if it is set with it, and without it otherwise.

use super::value::Value;
use super::{
    BrokerSettings, ClientAuth, ConfigError, KeyStoreSettings, Named, TlsSettings, TrustStoreSettings, broker,
};

impl BrokerSettings {
    /// The TLS settings of a listener, by its name.
    pub fn tls(&self, listener: &str) -> Result<TlsSettings, ConfigError> {
        let layer = ListenerSettings {
            settings: self,
            prefix: format!("listener.name.{}.", listener.to_lowercase()),
        };
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

/// The settings as one listener sees them.
struct ListenerSettings<'a> {
    settings: &'a BrokerSettings,
    prefix: String,
}

impl ListenerSettings<'_> {
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
