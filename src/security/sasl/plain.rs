//! PLAIN (RFC 4616): the client sends an authorization id, its name and its password.

use std::collections::BTreeMap;

use super::{LoginFailure, LoginFault, Step, is_same};
use crate::types::Secret;

pub(super) fn login(message: &[u8], users: &BTreeMap<String, Secret>) -> Result<Step, LoginFailure> {
    let text = String::from_utf8_lossy(message);
    let tokens: Vec<&str> = text.splitn(4, '\0').collect();
    let [authorization_id, user, password] = tokens[..] else {
        let why = format!("Invalid SASL/PLAIN response: expected 3 tokens, got {}", tokens.len());
        return Err(LoginFailure::Because(LoginFault::Malformed, why));
    };
    if user.is_empty() {
        return Err(wrong("Authentication failed: username not specified"));
    }
    if password.is_empty() {
        return Err(wrong("Authentication failed: password not specified"));
    }
    // An unknown user takes as long as a wrong password.
    let nothing = Secret::default();
    let expected = users.get(user).unwrap_or(&nothing);
    if !is_same(expected.bytes(), password.as_bytes()) {
        return Err(wrong("Authentication failed: Invalid username or password"));
    }
    if !authorization_id.is_empty() && authorization_id != user {
        return Err(LoginFailure::because(LoginFault::OtherUser, super::OTHER_USER));
    }
    Ok(Step::done(Vec::new(), user.to_owned()))
}

fn wrong(text: &str) -> LoginFailure {
    LoginFailure::because(LoginFault::Credentials, text)
}

#[cfg(test)]
mod tests {
    use super::super::Mechanism;
    use super::*;

    fn answer(message: &[u8]) -> Result<Step, (LoginFault, String)> {
        let users = [("alice", "secret"), ("ben", "")]
            .map(|(name, password)| (name.to_owned(), Secret::new(password)));
        login(message, &users.into())
            .map_err(|failure| (failure.fault(), failure.text(Mechanism::Plain, false)))
    }

    #[test]
    fn a_user_with_the_right_password_is_logged_in_with_an_empty_answer() {
        let alice = Ok(Step::done(Vec::new(), "alice".to_owned()));
        assert_eq!(answer(b"\0alice\0secret"), alice);
        assert_eq!(answer(b"alice\0alice\0secret"), alice);
    }

    #[test]
    fn each_wrong_message_has_kafkas_text() {
        use LoginFault::{Credentials, Malformed, OtherUser};
        const INVALID: &str = "Authentication failed: Invalid username or password";
        let cases: [(&[u8], LoginFault, &str); 12] = [
            (b"", Malformed, "Invalid SASL/PLAIN response: expected 3 tokens, got 1"),
            (b"alice\0secret", Malformed, "Invalid SASL/PLAIN response: expected 3 tokens, got 2"),
            (b"\0alice\0secret\0", Malformed, "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
            (b"\0\0\0\0\0", Malformed, "Invalid SASL/PLAIN response: expected 3 tokens, got 4"),
            (b"\0\0secret", Credentials, "Authentication failed: username not specified"),
            (b"\0alice\0", Credentials, "Authentication failed: password not specified"),
            (b"\0alice\0wrong", Credentials, INVALID),
            (b"\0alice\0secre", Credentials, INVALID),
            (b"\0nobody\0secret", Credentials, INVALID),
            (b"\0alice\0secret\xff", Credentials, INVALID),
            // The password counts before the authorization id.
            (b"ben\0alice\0wrong", Credentials, INVALID),
            (b"ben\0alice\0secret", OtherUser, crate::security::sasl::OTHER_USER),
        ];
        for (message, fault, why) in cases {
            assert_eq!(
                answer(message),
                Err((fault, why.to_owned())),
                "{:?}",
                message.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_user_whose_password_is_empty_cannot_log_in() {
        assert!(answer(b"\0ben\0").is_err());
        assert!(answer(b"\0ben\0\xff").is_err());
    }
}
