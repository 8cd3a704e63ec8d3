//! Finds the listeners and the HTTP port that everyone on a network can use.

use super::{BrokerSettings, ClientAuth, Listener, SecurityProtocol};

impl BrokerSettings {
    /// The listeners where everyone on a network can do everything: not on loopback, without a login or required
    /// certificates, and without an authorizer that refuses strangers.
    pub fn unprotected_listeners(&self) -> Vec<&Listener> {
        if self.authorizer.as_ref().is_some_and(|authorizer| !authorizer.lets_strangers_in()) {
            return Vec::new();
        }
        let knows_clients = |listener: &Listener| match listener.protocol {
            SecurityProtocol::Plaintext => false,
            SecurityProtocol::Ssl => {
                self.tls(&listener.name).is_ok_and(|tls| tls.client_auth.value == ClientAuth::Required)
            }
            SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => true,
        };
        let all = self.listeners.iter();
        all.filter(|listener| !listener.is_on_loopback() && !knows_clients(listener)).collect()
    }

    /// Whether everyone on a network can read health and metrics: not on loopback, with neither TLS nor a login.
    pub fn is_http_unprotected(&self) -> bool {
        self.is_http_in_the_open() && !self.http_login
    }

    /// Whether passwords of users pass a network unencrypted on their way to the HTTP server.
    pub fn is_http_login_in_the_open(&self) -> bool {
        self.is_http_in_the_open() && self.http_login
    }

    fn is_http_in_the_open(&self) -> bool {
        self.http.as_ref().is_some_and(|http| !http.is_on_loopback() && !http.protocol.is_encrypted())
    }
}
