//! The ways in which a super user can come in. Without any, nobody could administer the broker any more.

use crate::config::{AuthorizerSettings, BrokerSettings, ClientAuth, Listener, Mechanism, SecurityProtocol};
use crate::types::ScramHash;

use super::principal::Principal;

/// The facts about logins that are not in the settings.
pub struct LoginFacts<'a> {
    /// Whether a user has a SCRAM credential.
    pub has_credential: &'a dyn Fn(&str, ScramHash) -> bool,
    /// Whether a listener, by its name, verifies tokens: it has to have OAUTHBEARER since the start.
    pub takes_tokens: &'a dyn Fn(&str) -> bool,
    /// The users who can have a certificate that a listener, by its name, accepts. `None` if that can be everyone.
    pub users_with_certificates: &'a dyn Fn(&str) -> Option<Vec<String>>,
}

/// Whether a super user can come in at some listener. `None` without an authorizer: then there are no super users, and
/// everyone may do everything.
pub fn for_super_users(settings: &BrokerSettings, facts: &LoginFacts<'_>) -> Option<bool> {
    let authorizer = settings.authorizer.as_ref()?;
    Some(settings.listeners.iter().any(|listener| is_open(listener, authorizer, settings, facts)))
}

/// Whether a user who logs in by name is a super user.
pub fn is_super_user(settings: &BrokerSettings, user: &str) -> bool {
    settings.authorizer.as_ref().is_some_and(|authorizer| has(authorizer, user))
}

fn has(authorizer: &AuthorizerSettings, user: &str) -> bool {
    authorizer.super_users.contains(Principal::user(user).as_str())
}

fn is_open(
    listener: &Listener,
    authorizer: &AuthorizerSettings,
    settings: &BrokerSettings,
    facts: &LoginFacts<'_>,
) -> bool {
    match listener.protocol {
        SecurityProtocol::Plaintext => has(authorizer, Principal::anonymous().name()),
        SecurityProtocol::Ssl => {
            let by_certificate = || match (facts.users_with_certificates)(&listener.name) {
                Some(users) => users.iter().any(|user| has(authorizer, user)),
                None => !authorizer.super_users.is_empty(),
            };
            let without_one = has(authorizer, Principal::anonymous().name());
            match settings.tls(&listener.name).map(|tls| tls.client_auth.value) {
                Ok(ClientAuth::Required) => by_certificate(),
                Ok(ClientAuth::Requested) => without_one || by_certificate(),
                Ok(ClientAuth::None) | Err(_) => without_one,
            }
        }
        SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => {
            let Some(logins) = settings.logins.get(&listener.name) else { return false };
            logins.mechanisms.iter().any(|mechanism| match mechanism {
                Mechanism::Plain => logins.plain_users.keys().any(|user| has(authorizer, user)),
                Mechanism::Scram(hash) => {
                    let users = authorizer.super_users.iter().filter_map(|user| user.strip_prefix("User:"));
                    users.into_iter().any(|user| (facts.has_credential)(user, *hash))
                }
                // A super user's name may be in any token.
                Mechanism::OauthBearer => {
                    !authorizer.super_users.is_empty() && (facts.takes_tokens)(&listener.name)
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    const SCRAM: &[(&str, &str)] = &[
        ("listeners", "OUTSIDE://:9093"),
        ("listener.security.protocol.map", "OUTSIDE:SASL_SSL,TLS:SSL,OPEN:PLAINTEXT"),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ann;User:ben;User:CN=cleo"),
    ];

    fn is_way_in(more: &[(&str, &str)], credentials: &[(&str, ScramHash)]) -> Option<bool> {
        let mut given = Given::default();
        SCRAM.iter().chain(more).for_each(|(name, value)| given.set(*name, *value));
        let settings = BrokerSettings::load(given).unwrap();
        let has_credential = |user: &str, hash| credentials.contains(&(user, hash));
        let facts = LoginFacts {
            has_credential: &has_credential,
            takes_tokens: &|listener| listener != "LATE",
            users_with_certificates: &|listener| {
                (listener == "TLS").then(|| vec!["CN=cleo".to_owned(), "CN=emil".to_owned()])
            },
        };
        for_super_users(&settings, &facts)
    }

    #[test]
    fn a_credential_lets_a_super_user_in_where_its_mechanism_is_offered() {
        assert_eq!(is_way_in(&[], &[]), Some(false));
        assert_eq!(is_way_in(&[], &[("ben", ScramHash::Sha256)]), Some(true));
        assert_eq!(is_way_in(&[], &[("dora", ScramHash::Sha256)]), Some(false), "no super user");
        assert_eq!(
            is_way_in(&[], &[("ben", ScramHash::Sha512)]),
            Some(false),
            "the mechanism is not offered"
        );
        assert_eq!(is_way_in(&[("super.users", "")], &[("ben", ScramHash::Sha256)]), Some(false));
        assert_eq!(is_way_in(&[("authorizer.class.name", "")], &[]), None);
    }

    #[test]
    fn users_of_plain_certificates_and_anonymous_clients_come_in_without_a_credential() {
        let plain = |user: &str| {
            let jaas = format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"1\";"
            );
            let jaas = ("listener.name.outside.plain.sasl.jaas.config", jaas.as_str());
            is_way_in(&[("sasl.enabled.mechanisms", "SCRAM-SHA-256,PLAIN"), jaas], &[])
        };
        assert_eq!((plain("ann"), plain("dora")), (Some(true), Some(false)));
        let tls = ("listeners", "OUTSIDE://:9093,TLS://:9094");
        for (client_auth, is_open) in [("none", false), ("requested", true), ("required", true)] {
            assert_eq!(
                is_way_in(&[tls, ("ssl.client.auth", client_auth)], &[]),
                Some(is_open),
                "{client_auth}"
            );
        }
        let required = ("ssl.client.auth", "required");
        let (dora, any) = (("super.users", "User:CN=dora"), ("listeners", "ANY://:9094"));
        let any_is_tls = ("listener.security.protocol.map", "ANY:SSL");
        assert_eq!(is_way_in(&[tls, required, dora], &[]), Some(false), "no super user has a certificate");
        assert_eq!(
            is_way_in(&[any, any_is_tls, required, dora], &[]),
            Some(true),
            "an authority may issue one"
        );
        assert_eq!(is_way_in(&[required], &[]), Some(false), "with SASL_SSL a certificate is no login");
        for (listener, is_open) in [("OUTSIDE", true), ("LATE", false)] {
            let jaas = format!("listener.name.{}.oauthbearer.sasl.jaas.config", listener.to_lowercase());
            let tokens = [
                ("listeners", &*format!("{listener}://:9093")),
                ("listener.security.protocol.map", &*format!("{listener}:SASL_SSL")),
                ("sasl.enabled.mechanisms", "OAUTHBEARER"),
                (&*jaas, "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"),
            ];
            assert_eq!(is_way_in(&tokens, &[]), Some(is_open), "{listener}");
        }
        let open = ("listeners", "OUTSIDE://:9093,OPEN://localhost:9092");
        assert_eq!(is_way_in(&[open], &[]), Some(false));
        assert_eq!(is_way_in(&[open, ("super.users", "User:ANONYMOUS")], &[]), Some(true));
    }
}
