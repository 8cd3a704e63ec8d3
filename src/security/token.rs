//! The secrets of delegation tokens (KIP-48). The HMAC of a token is made from its id and a secret of the broker, as in
//! Kafka. A client that logs in with the token uses the HMAC in base64 as its SCRAM password.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};

use super::sasl::scram;
use crate::types::{ScramCredential, ScramHash, Secret};

/// As in Kafka: an HMAC needs no more, because nobody can guess it.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("a number from one on");

/// The secret of the broker, prepared for the HMACs of many tokens: HMAC-SHA-512.
pub struct TokenKey(hmac::Key);

impl TokenKey {
    pub fn new(secret: &Secret) -> TokenKey {
        TokenKey(hmac::Key::new(hmac::HMAC_SHA512, secret.bytes()))
    }

    /// The HMAC of the token with this id.
    pub fn hmac(&self, id: &str) -> Secret {
        Secret::new(hmac::sign(&self.0, id.as_bytes()).as_ref())
    }
}

/// A digest of an HMAC, to find the token of an HMAC.
pub fn digest(hmac: &[u8]) -> Secret {
    Secret::new(digest::digest(&digest::SHA256, hmac).as_ref())
}

/// The credential for logins with a token. It takes some milliseconds of a processor.
pub fn credential(hash: ScramHash, hmac: &Secret, salt: &[u8]) -> ScramCredential {
    scram::credential(hash, &password(hmac), salt, ITERATIONS)
}

/// The password of a token.
pub fn password(hmac: &Secret) -> String {
    STANDARD.encode(hmac.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hmac_is_kafkas_for_the_same_secret_and_id() {
        // Computed with the library of Python.
        let expected = "hN0Q+up58LFYiW43lDkUYHJg2gkUDj2wAezUOVeWUphv\
                        S+4+THI4IqowrtK3QMh0kbWY2uejwiMlbTgS0deOLw==";
        let [key, other] = ["secret", "other"].map(|secret| TokenKey::new(&Secret::new(secret)));
        assert_eq!(password(&key.hmac("PmRVkQrBTvGQc7Vd9BbdTA")), expected);
        assert_ne!(other.hmac("id"), key.hmac("id"));
    }

    #[test]
    fn the_digest_tells_hmacs_apart_and_is_not_one() {
        assert_eq!(digest(b"a"), digest(b"a"));
        assert_ne!(digest(b"a"), digest(b"b"));
        assert_eq!(digest(b"a").bytes().len(), 32);
    }
}
