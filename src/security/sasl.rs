//! The SASL mechanisms as state machines, from the server's side: they get the client's bytes, and everything else that
//! they depend on as arguments.
//!
//! The texts for clients are Kafka's.

mod oauthbearer;
mod plain;
pub mod scram;

use std::collections::BTreeMap;

pub use super::jwt::BadToken;
pub use crate::config::Mechanism;
use crate::types::{ScramCredential, ScramHash, Secret, Timestamp};
use oauthbearer::OauthBearer;
use scram::Scram;

/// The text for a client that wants to act as another user than it logs in as.
const OTHER_USER: &str =
    "Authentication failed: Client requested an authorization id that is different from username";

/// One login with a mechanism.
#[derive(Debug)]
pub enum Exchange {
    Plain,
    Scram(Box<Scram>),
    OauthBearer(OauthBearer),
}

/// The facts that decide an exchange.
pub struct Facts<'a> {
    /// The users of PLAIN with their passwords.
    pub plain_users: &'a BTreeMap<String, Secret>,
    /// The SCRAM credential of a user.
    pub credential: &'a dyn Fn(&str, ScramHash) -> Option<ScramCredential>,
    /// The delegation token with this id.
    pub token: &'a dyn Fn(&str, ScramHash) -> Option<TokenLogin>,
    /// A random text for SCRAM, of letters and digits.
    pub nonce: &'a dyn Fn() -> String,
    /// The login that a token of OAUTHBEARER stands for.
    pub bearer: &'a dyn Fn(&str) -> Result<Login, BadToken>,
}

/// A delegation token that a client wants to log in with.
pub struct TokenLogin {
    /// The name of the token's owner, whom the client logs in as.
    pub owner: String,
    pub expires: Timestamp,
    pub credential: ScramCredential,
}

/// The outcome of a message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The client has to send another message.
    Challenge(Vec<u8>),
    /// The token is bad. The client learns it and has to answer; it may send another one.
    BadToken {
        bytes: Vec<u8>,
        bad: BadToken,
    },
    Done {
        bytes: Vec<u8>,
        login: Login,
    },
    Failed(LoginFailure),
}

/// A client that has proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    /// The end of the client's token, if it has one.
    pub until: Option<Timestamp>,
    /// Whether the client has a delegation token instead of a password.
    pub by_token: bool,
}

/// A failed login: what the client is told, and the reason for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginFailure {
    /// The client is not told more.
    Credentials,
    /// The mechanism expects another message. The client is told as little as with wrong credentials.
    Malformed,
    Because(LoginFault, String),
    /// [`Step::BadToken`] has told the client already.
    Token(BadToken),
}

/// The reason why a login failed, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginFault {
    /// There is no such user, or it has another password.
    Credentials,
    Token,
    /// The client wants to act as another user than it logs in as, or has logged in as before.
    OtherUser,
    Malformed,
    /// The message is longer than `sasl.server.max.receive.size`.
    TooLarge,
    /// The listener does not offer the mechanism.
    NotOffered,
}

impl LoginFault {
    pub const ALL: &[LoginFault] = &[
        LoginFault::Credentials,
        LoginFault::Token,
        LoginFault::OtherUser,
        LoginFault::Malformed,
        LoginFault::TooLarge,
        LoginFault::NotOffered,
    ];

    pub fn name(self) -> &'static str {
        match self {
            LoginFault::Credentials => "credentials",
            LoginFault::Token => "token",
            LoginFault::OtherUser => "other_user",
            LoginFault::Malformed => "malformed",
            LoginFault::TooLarge => "too_large",
            LoginFault::NotOffered => "not_offered",
        }
    }
}

impl Exchange {
    pub fn begin(mechanism: Mechanism) -> Exchange {
        match mechanism {
            Mechanism::Plain => Exchange::Plain,
            Mechanism::Scram(hash) => Exchange::Scram(Box::new(Scram::new(hash))),
            Mechanism::OauthBearer => Exchange::OauthBearer(OauthBearer::default()),
        }
    }

    /// Takes the client's next message. After `Done` and `Failed` there is none.
    pub fn step(&mut self, message: &[u8], facts: &Facts<'_>) -> Step {
        let outcome = match self {
            Exchange::Plain => plain::login(message, facts.plain_users),
            Exchange::Scram(scram) => scram.step(message, facts),
            Exchange::OauthBearer(login) => login.step(message, facts),
        };
        outcome.unwrap_or_else(Step::Failed)
    }
}

impl Step {
    /// The client has proved that it knows the password of a user.
    fn done(bytes: Vec<u8>, user: String) -> Step {
        Step::Done { bytes, login: Login::by_password(user) }
    }
}

impl Login {
    fn by_password(user: String) -> Login {
        Login { user, until: None, by_token: false }
    }
}

impl LoginFailure {
    fn because(fault: LoginFault, text: &str) -> LoginFailure {
        LoginFailure::Because(fault, text.to_owned())
    }

    pub fn fault(&self) -> LoginFault {
        match self {
            LoginFailure::Credentials => LoginFault::Credentials,
            LoginFailure::Malformed => LoginFault::Malformed,
            LoginFailure::Because(fault, _) => *fault,
            LoginFailure::Token(_) => LoginFault::Token,
        }
    }

    /// The text for the client. `again` if it has logged in before on its connection.
    pub fn text(&self, mechanism: Mechanism, again: bool) -> String {
        match self {
            LoginFailure::Because(_, text) => text.clone(),
            LoginFailure::Token(bad) => bad.answer(),
            LoginFailure::Credentials | LoginFailure::Malformed => {
                let during = if again { "re-authentication" } else { "authentication" };
                format!(
                    "Authentication failed during {during} due to invalid credentials with SASL mechanism {mechanism}"
                )
            }
        }
    }
}

/// Whether two secrets are equal. The time for it does not depend on where they differ.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    // `hmac::verify` compares in constant time, and hides the lengths.
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"comparison");
    let tag = ring::hmac::sign(&key, one);
    ring::hmac::verify(&key, other, tag.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_if_all_of_their_bytes_are() {
        assert!(is_same(b"pencil", b"pencil") && is_same(b"", b""));
        assert!(!is_same(b"pencil", b"pencils") && !is_same(b"pencil", b"Pencil") && !is_same(b"", b"p"));
    }

    #[test]
    fn a_client_without_the_right_credentials_gets_kafkas_text() {
        let mechanism = Mechanism::Scram(ScramHash::Sha256);
        assert_eq!(
            LoginFailure::Credentials.text(mechanism, false),
            "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256"
        );
        assert_eq!(
            LoginFailure::Credentials.text(mechanism, true),
            "Authentication failed during re-authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256"
        );
        for again in [false, true] {
            let told = |failure: LoginFailure| failure.text(mechanism, again);
            assert_eq!(told(LoginFailure::Malformed), told(LoginFailure::Credentials), "no hint");
            assert_eq!(told(LoginFailure::because(LoginFault::OtherUser, "why")), "why");
        }
    }
}
