//! In place of `tls.rs` in a build without the feature `security`, whose configuration refuses listeners with TLS.

use crate::config::{BrokerSettings, ConfigError};
use crate::types::Timestamp;

/// No listeners.
#[derive(Default)]
pub struct Tls;

/// The expiry of a certificate in use.
pub struct Expiry {
    pub expires: Timestamp,
    pub subject: String,
}

/// There is nothing to replace.
pub enum Replacement {}

impl Tls {
    pub fn load(_: &BrokerSettings) -> Result<Tls, ConfigError> {
        Ok(Tls)
    }

    pub fn load_for_http(_: &BrokerSettings) -> Result<Tls, ConfigError> {
        Ok(Tls)
    }

    pub fn load_again(&self, _: &BrokerSettings) -> Result<(), ConfigError> {
        Ok(())
    }

    pub fn prepare_all(&self, _: &BrokerSettings) -> Vec<(String, Result<Replacement, ConfigError>)> {
        Vec::new()
    }

    pub fn warnings(&self, _: Timestamp) -> Vec<String> {
        Vec::new()
    }

    pub fn expiries(&self) -> Vec<(String, Expiry)> {
        Vec::new()
    }

    pub fn failed(&self) -> Vec<(String, &'static str, u64)> {
        Vec::new()
    }

    pub fn prepare<'a>(
        &self,
        _: &BrokerSettings,
        _: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Replacement>, ConfigError> {
        Ok(Vec::new())
    }
}

impl Replacement {
    pub fn install(self) {
        match self {}
    }
}
