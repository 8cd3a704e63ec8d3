//! OAUTHBEARER (RFC 7628): the client sends a token. A bad token is answered with a status; the client acknowledges it
//! with one byte, and only then the login has failed.

use super::{BadToken, Facts, LoginFailure, LoginFault, Step};

/// The end of each pair in the message, and the acknowledgement of a client.
const END: u8 = 1;

/// The most bad tokens of one login.
const MOST_BAD_TOKENS: usize = 2;

/// One login with OAUTHBEARER.
#[derive(Debug, Default)]
pub struct OauthBearer {
    /// The last token was bad.
    refused: Option<BadToken>,
    bad_tokens: usize,
}

/// The client's message.
#[derive(Debug, PartialEq, Eq)]
struct FirstMessage<'a> {
    authorization_id: &'a str,
    token: &'a str,
}

impl OauthBearer {
    pub(super) fn step(&mut self, message: &[u8], facts: &Facts<'_>) -> Result<Step, LoginFailure> {
        if let Some(bad) = self.refused.take()
            && message == [END]
        {
            return Err(LoginFailure::Token(bad));
        }
        // As in Kafka, a good token may follow a bad one. Kafka takes as many bad ones as the client sends.
        if self.bad_tokens == MOST_BAD_TOKENS {
            return Err(LoginFailure::Malformed);
        }
        let first =
            std::str::from_utf8(message).ok().and_then(FirstMessage::parse).ok_or(LoginFailure::Malformed)?;
        let login = match (facts.bearer)(first.token) {
            Ok(login) => login,
            Err(bad) => {
                self.bad_tokens += 1;
                let bytes = bad.answer().into_bytes();
                self.refused = Some(bad.clone());
                return Ok(Step::BadToken { bytes, bad });
            }
        };
        if !first.authorization_id.is_empty() && first.authorization_id != login.user {
            let why = format!(
                "Authentication failed: Client requested an authorization id ({}) that is different from the token's \
                 principal name ({})",
                first.authorization_id, login.user
            );
            return Err(LoginFailure::Because(LoginFault::OtherUser, why));
        }
        Ok(Step::Done { bytes: Vec::new(), login })
    }
}

impl FirstMessage<'_> {
    /// `n,a=NAME,` (the name may be missing), and pairs `key=value`, each with its end, all with another end. The token is
    /// in the pair `auth`; others are extensions, which nothing depends on.
    fn parse(text: &str) -> Option<FirstMessage<'_>> {
        let (authorization_id, rest) = text.strip_prefix("n,")?.split_once(',')?;
        let authorization_id = match authorization_id {
            "" => "",
            given => given.strip_prefix("a=").filter(|name| is_name(name))?,
        };
        let end = char::from(END);
        let mut pairs = rest.strip_prefix(end)?.strip_suffix(end)?;
        let mut auth = None;
        while !pairs.is_empty() {
            let (pair, others) = pairs.split_once(end)?;
            let (key, value) = pair.split_once('=')?;
            let is_value = |letter: u8| letter.is_ascii_graphic() || b" \t\r\n".contains(&letter);
            let is_pair = !key.is_empty() && !value.is_empty() && value.bytes().all(is_value);
            if !is_pair || !key.bytes().all(|letter| letter.is_ascii_alphabetic()) {
                return None;
            }
            // Stricter than Kafka, where the last of two tokens counts.
            if key == "auth" && auth.replace(value).is_some() {
                return None;
            }
            pairs = others;
        }
        let (scheme, token) = auth?.split_once(' ')?;
        let token = token.trim_start_matches(' ');
        let is_token = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
        let is_bearer =
            scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(is_token);
        is_bearer.then_some(FirstMessage { authorization_id, token })
    }
}

/// A comma or an equals sign is written as `=2C` or `=3D`.
fn is_name(name: &str) -> bool {
    let is_escaped = |part: &str| part.starts_with("2C") || part.starts_with("3D");
    let is_right =
        name.bytes().all(|letter| (1..=127).contains(&letter)) && name.split('=').skip(1).all(is_escaped);
    !name.is_empty() && is_right
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Login;
    use super::*;
    use crate::types::Timestamp;

    fn token(token: &str) -> Result<Login, BadToken> {
        match token {
            "good" => Ok(Login { user: "alice".to_owned(), until: Some(Timestamp(5)), by_token: false }),
            "narrow" => Err(BadToken::LacksScope(vec!["A".to_owned(), "B".to_owned()])),
            _ => Err(BadToken::Invalid("it is bad".to_owned())),
        }
    }

    /// The outcomes of messages in one login.
    fn steps(messages: &[&[u8]]) -> Vec<Result<Step, LoginFailure>> {
        let users = BTreeMap::new();
        let facts = Facts {
            plain_users: &users,
            credential: &|_, _| None,
            nonce: &String::new,
            token: &|_, _| None,
            bearer: &token,
        };
        let mut login = OauthBearer::default();
        messages.iter().map(|message| login.step(message, &facts)).collect()
    }

    fn parse(text: &str) -> Option<(&str, &str)> {
        FirstMessage::parse(text).map(|first| (first.authorization_id, first.token))
    }

    #[test]
    fn a_good_token_is_a_login_until_its_end() {
        let login = Login { user: "alice".to_owned(), until: Some(Timestamp(5)), by_token: false };
        for message in
            ["n,,\x01auth=Bearer good\x01\x01", "n,a=alice,\x01auth=bearer   good\x01trace=a=b c\x01\x01"]
        {
            let done = Step::Done { bytes: Vec::new(), login: login.clone() };
            assert_eq!(steps(&[message.as_bytes()]), [Ok(done)], "{message:?}");
        }
    }

    #[test]
    fn a_bad_token_fails_the_login_only_after_the_client_has_acknowledged_it() {
        let bad = BadToken::Invalid("it is bad".to_owned());
        let answer = br#"{"status":"invalid_token"}"#.to_vec();
        let answered = Step::BadToken { bytes: answer, bad: bad.clone() };
        let bytes = b"n,,\x01auth=Bearer bad\x01\x01";
        let outcomes = steps(&[bytes, b"\x01", b"\x01"]);
        assert_eq!(outcomes, [Ok(answered), Err(LoginFailure::Token(bad)), Err(LoginFailure::Malformed)]);
        let after = &steps(&[bytes, b"n,,\x01auth=Bearer good\x01\x01"])[1];
        assert!(matches!(after, Ok(Step::Done { .. })), "a good token in its place: {after:?}");
        let guesses = steps(&[bytes, bytes, bytes]);
        assert!(matches!(guesses[..], [Ok(_), Ok(_), Err(LoginFailure::Malformed)]), "{guesses:?}");
    }

    #[test]
    fn a_token_without_the_scopes_is_answered_with_those_that_it_needs() {
        let outcomes = steps(&[b"n,,\x01auth=Bearer narrow\x01\x01"]);
        let Ok(Step::BadToken { bytes, .. }) = &outcomes[0] else { panic!("{outcomes:?}") };
        assert_eq!(bytes, br#"{"status":"insufficient_scope", "scope":"[A, B]"}"#);
    }

    #[test]
    fn a_client_may_not_act_as_another_user_than_that_of_its_token() {
        let outcomes = steps(&[b"n,a=ben,\x01auth=Bearer good\x01\x01"]);
        let Err(LoginFailure::Because(LoginFault::OtherUser, why)) = &outcomes[0] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(
            why,
            "Authentication failed: Client requested an authorization id (ben) that is different from the token's \
             principal name (alice)"
        );
    }

    #[test]
    fn a_message_is_read_as_kafka_does() {
        let (none, some) = (Some(("", "a.b-c_d")), Some(("x=2Cy", "a.b-c_d")));
        for (text, expected) in [
            ("n,,\x01auth=Bearer a.b-c_d\x01\x01", none),
            ("n,,\x01auth=BEARER  a.b-c_d\x01\x01", none),
            ("n,,\x01host=h\x01auth=Bearer a.b-c_d\x01port=9\x01\x01", none),
            ("n,a=x=2Cy,\x01auth=Bearer a.b-c_d\x01\x01", some),
            ("", None),
            ("\x01", None),
            ("n,,", None),
            ("n,,\x01\x01", None),
            ("y,,\x01auth=Bearer t\x01\x01", None),
            ("p=tls,,\x01auth=Bearer t\x01\x01", None),
            ("n,,auth=Bearer t\x01\x01", None),
            ("n,,\x01auth=Bearer t\x01", None),
            ("n,,\x01auth=Bearer t\x01\x01\x01", None),
            ("n,,\x01auth=Bearer\x01\x01", None),
            ("n,,\x01auth=Bearer \x01\x01", None),
            ("n,,\x01auth=Basic t\x01\x01", None),
            ("n,,\x01auth=Bearer t+t\x01\x01", None),
            ("n,,\x01auth=Bearer t t\x01\x01", None),
            ("n,,\x01host=h\x01\x01", None),
            ("n,a=,\x01auth=Bearer t\x01\x01", None),
            ("n,b=x,\x01auth=Bearer t\x01\x01", None),
            ("n,a=x=y,\x01auth=Bearer t\x01\x01", None),
            ("n,a=\u{fc},\x01auth=Bearer t\x01\x01", None),
            // Extensions: a key of letters, and a value that is not empty.
            ("n,,\x01auth=Bearer t\x01a1=b\x01\x01", None),
            ("n,,\x01auth=Bearer t\x01=b\x01\x01", None),
            ("n,,\x01auth=Bearer t\x01a=\x01\x01", None),
            ("n,,\x01auth=Bearer t\x01a=\u{fc}\x01\x01", None),
            ("n,,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
