//! How clients log in at a listener that asks for it (SASL).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Mechanism;
use super::jaas::JAAS;
use super::oauth::TokenSettings;
use super::prefix::base_of;
use super::tls::is_about_tls;
use crate::types::Secret;

pub(super) const MECHANISMS: &str = "sasl.enabled.mechanisms";
pub(super) const MAX_REAUTH: &str = "connections.max.reauth.ms";
pub(super) const CALLBACK: &str = "sasl.server.callback.handler.class";

/// How clients log in at one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// In the order in which clients get them.
    pub mechanisms: Vec<Mechanism>,
    /// The users of PLAIN with their passwords.
    pub plain_users: BTreeMap<String, Secret>,
    /// How tokens are verified, with OAUTHBEARER.
    pub tokens: Option<TokenSettings>,
    /// The longest session of each mechanism that limits it.
    pub(super) max_session: BTreeMap<Mechanism, Duration>,
}

impl Logins {
    /// The longest time from one login to the next; `None` means any.
    pub fn max_session(&self, mechanism: Mechanism) -> Option<Duration> {
        self.max_session.get(&mechanism).copied()
    }
}

/// Whether a setting, with or without a prefix, decides how tokens are verified. It acts at the start only, so that nobody
/// can have other keys trusted while the broker runs.
pub(super) fn is_about_tokens(name: &str) -> bool {
    let base = base_of(name);
    let is_of_login_module = base == JAAS && name.ends_with(".oauthbearer.sasl.jaas.config");
    base == CALLBACK || base.starts_with("sasl.oauthbearer.") || is_of_login_module
}

/// Whether a setting, with or without the prefix of a listener, decides who can log in: mechanisms, users, certificates.
pub fn is_about_who_logs_in(name: &str) -> bool {
    [MECHANISMS, JAAS].contains(&base_of(name)) || is_about_tls(name)
}
