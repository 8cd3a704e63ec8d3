//! HTTP basic authentication (RFC 7617), with the users of the SASL mechanisms.
//!
//! A check of a SCRAM password takes milliseconds of processor time. A client that sends the same header again, as
//! Prometheus does, does not cause one.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::sasl::is_same;
use super::sasl::scram;
use crate::time;
use crate::types::{IgnorePoison, ScramCredential, ScramHash, Secret};

/// The credentials of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownUser {
    /// The passwords of PLAIN, which may differ from listener to listener.
    pub passwords: Vec<Secret>,
    pub scram: Vec<(ScramHash, ScramCredential)>,
}

/// A user and a password that a client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    password: Secret,
}

/// The number of users whose last right header is remembered.
const REMEMBERED: usize = 16;

/// Remembers the header that was right last, for each of a few users.
pub struct LastRight {
    key: hmac::Key,
    /// The newest one is at the end.
    last: Mutex<VecDeque<RememberedLogin>>,
}

struct RememberedLogin {
    user: String,
    header: hmac::Tag,
    known: KnownUser,
}

impl Login {
    /// The value of a header `Authorization`; `None` if it is no basic authentication.
    pub fn parse(header: &[u8]) -> Option<Login> {
        let (scheme, encoded) = std::str::from_utf8(header).ok()?.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        let is_whole = !user.is_empty() && !password.is_empty();
        is_whole.then(|| Login { user: user.to_owned(), password: Secret::new(password) })
    }

    /// Whether the password is one of this user. It takes long if the user has SCRAM credentials.
    pub fn is_right(&self, known: &KnownUser) -> bool {
        let password = self.password.bytes();
        let is_scram = |(hash, credential): &(ScramHash, ScramCredential)| {
            let Ok(text) = std::str::from_utf8(password) else { return false };
            let iterations = u32::try_from(credential.iterations).ok().and_then(NonZeroU32::new);
            let Some(iterations) = iterations else { return false };
            let ScramCredential { salt, stored_key, .. } = credential;
            let own = scram::credential(*hash, text, salt.bytes(), iterations);
            is_same(own.stored_key.bytes(), stored_key.bytes())
        };
        known.passwords.iter().any(|one| is_same(one.bytes(), password)) || known.scram.iter().any(is_scram)
    }
}

impl LastRight {
    pub fn new() -> LastRight {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &time::random_bytes::<32>());
        LastRight { key, last: Mutex::default() }
    }

    /// Whether this header of the user was right last, and the user has the same credentials as then.
    pub fn is(&self, user: &str, header: &[u8], known: &KnownUser) -> bool {
        let last = self.last.lock().ignoring_poison();
        last.iter().find(|one| one.user == user).is_some_and(|one| {
            hmac::verify(&self.key, header, one.header.as_ref()).is_ok() && one.known == *known
        })
    }

    pub fn set(&self, user: &str, header: &[u8], known: KnownUser) {
        let header = hmac::sign(&self.key, header);
        let mut last = self.last.lock().ignoring_poison();
        last.retain(|one| one.user != user);
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back(RememberedLogin { user: user.to_owned(), header, known });
    }
}

impl Default for LastRight {
    fn default() -> LastRight {
        LastRight::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(user_and_password: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(user_and_password)).into_bytes()
    }

    fn known(hash: ScramHash, password: &str) -> KnownUser {
        let iterations = NonZeroU32::new(4096).unwrap();
        let credential = scram::credential(hash, password, b"salt", iterations);
        KnownUser { passwords: vec![], scram: vec![(hash, credential)] }
    }

    #[test]
    fn a_header_has_a_user_and_a_password_that_may_contain_colons() {
        let login = Login::parse(&header("ann:a:b")).unwrap();
        assert_eq!((login.user.as_str(), login.password), ("ann", Secret::new("a:b")));
        assert!(Login::parse(b"bAsIc  YTpi ").is_some());
        for wrong in
            [&b"Basic"[..], b"", b"Basic YQ", b"Basic \xff", b"Bearer YTpi", b"Basic !", &header("ann")]
        {
            assert_eq!(Login::parse(wrong), None, "{}", wrong.escape_ascii());
        }
        assert_eq!(Login::parse(&header(":a")), None, "no user");
        assert_eq!(Login::parse(&header("a:")), None, "no password");
    }

    #[test]
    fn a_password_of_plain_or_of_any_scram_credential_is_right() {
        let right = |password: &str, known: &KnownUser| {
            Login::parse(&header(&format!("ann:{password}"))).unwrap().is_right(known)
        };
        let plain = KnownUser { passwords: vec![Secret::new("one"), Secret::new("two")], scram: vec![] };
        assert!(right("one", &plain) && right("two", &plain));
        assert!(!right("three", &plain) && !right("on", &plain));
        for hash in ScramHash::ALL {
            let scram = known(*hash, "pencil");
            assert!(right("pencil", &scram), "{hash:?}");
            assert!(!right("pencils", &scram), "{hash:?}");
        }
        assert!(!right("one", &KnownUser::default()), "an unknown user");
    }

    #[test]
    fn the_last_right_header_of_each_user_is_known_until_the_user_changes() {
        let last = LastRight::new();
        let (ann, other) = (known(ScramHash::Sha256, "pencil"), known(ScramHash::Sha256, "other"));
        assert!(!last.is("ann", b"a", &ann));
        last.set("ann", b"a", ann.clone());
        assert!(last.is("ann", b"a", &ann) && !last.is("ann", b"b", &ann));
        assert!(!last.is("ben", b"a", &ann), "another user");
        assert!(!last.is("ann", b"a", &other), "another password");
        assert!(!last.is("ann", b"a", &KnownUser::default()), "deleted");
        last.set("ben", b"b", other.clone());
        assert!(last.is("ben", b"b", &other) && last.is("ann", b"a", &ann));
        last.set("ann", b"c", ann.clone());
        assert!(last.is("ann", b"c", &ann) && !last.is("ann", b"a", &ann));
        for nth in 1..REMEMBERED {
            last.set(&nth.to_string(), b"d", ann.clone());
        }
        assert!(last.is("ann", b"c", &ann) && !last.is("ben", b"b", &other), "the oldest one is forgotten");
    }
}
