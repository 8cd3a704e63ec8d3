//! The keys that verify the tokens of clients (OAUTHBEARER), by the listener that they are for.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, RwLock};

use tokio::sync::Notify;

use crate::config::TokenSettings;
use crate::security::jwt::{self, BadToken, KeySet};
use crate::security::sasl;
use crate::types::{IgnorePoison, Timestamp};

/// How the tokens of each listener are verified, by the name of the listener: as it was set at the start. A setting that
/// changes later has no effect on it.
#[derive(Debug, Default)]
pub struct TokenKeys(BTreeMap<String, Verifier>);

#[derive(Debug)]
struct Verifier {
    rules: TokenSettings,
    /// `None` if the listener takes tokens without a signature.
    keys: Option<Arc<IssuerKeys>>,
}

/// The keys of one listener. They are replaced while the broker runs.
#[derive(Debug)]
pub struct IssuerKeys {
    present: RwLock<Arc<KeySet>>,
    unknown: Notify,
}

impl TokenKeys {
    pub fn new(verifiers: impl IntoIterator<Item = (String, TokenSettings, Option<KeySet>)>) -> TokenKeys {
        let verifiers = verifiers.into_iter().map(|(listener, rules, keys)| {
            (listener, Verifier { rules, keys: keys.map(|keys| Arc::new(IssuerKeys::new(keys))) })
        });
        TokenKeys(verifiers.collect())
    }

    /// Whether tokens are verified at a listener.
    pub fn takes_tokens(&self, listener: &str) -> bool {
        self.0.contains_key(listener)
    }

    pub fn of(&self, listener: &str) -> Option<&Arc<IssuerKeys>> {
        self.0.get(listener)?.keys.as_ref()
    }

    /// The login that a token stands for.
    pub fn verify(&self, token: &str, listener: &str, now: Timestamp) -> Result<sasl::Login, BadToken> {
        let refuse = |why: &str| Err(BadToken::Invalid(why.to_owned()));
        let Some(Verifier { rules, keys }) = self.0.get(listener) else {
            return refuse("OAUTHBEARER was added after the start of the broker: restart the broker");
        };
        match (rules, keys) {
            (TokenSettings::Unsecured(rules), _) => jwt::read_unsecured(token, rules, now),
            (TokenSettings::Signed(_), None) => refuse("the listener has no keys"),
            (TokenSettings::Signed(rules), Some(keys)) => {
                let outcome = jwt::verify(token, &keys.present(), rules, now);
                if let Err(BadToken::UnknownKey(_)) = &outcome {
                    keys.unknown.notify_one();
                }
                outcome
            }
        }
    }
}

impl IssuerKeys {
    fn new(keys: KeySet) -> IssuerKeys {
        IssuerKeys { present: RwLock::new(Arc::new(keys)), unknown: Notify::new() }
    }

    fn present(&self) -> Arc<KeySet> {
        Arc::clone(&self.present.read().ignoring_poison())
    }

    /// Logins are verified by these from now on. Tokens until now that named a key that was not there are forgotten: these
    /// keys may have it.
    pub fn replace(&self, keys: KeySet) {
        *self.present.write().ignoring_poison() = Arc::new(keys);
        pin!(self.unknown.notified()).enable();
    }

    /// Waits until a token names a key that is not there. Such tokens since the keys were replaced count as one.
    pub async fn is_unknown(&self) {
        self.unknown.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_got_the_mechanism_after_the_start_takes_no_tokens() {
        let refused = TokenKeys::default().verify("e30.e30.", "SASL_SSL", Timestamp(0));
        assert!(matches!(refused, Err(BadToken::Invalid(why)) if why.contains("restart the broker")));
    }
}
