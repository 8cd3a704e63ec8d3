//! SCRAM credentials (RFC 5802), as the state keeps them and logins use them.

use serde::{Deserialize, Serialize};

use super::Secret;

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScramHash {
    Sha256,
    Sha512,
}

/// The credential of one user for one SCRAM mechanism. The password cannot be computed from it, but it is enough to
/// try passwords, so nothing prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScramCredential {
    pub iterations: i32,
    pub salt: Secret,
    /// The hash of the client's key.
    pub stored_key: Secret,
    pub server_key: Secret,
}

impl ScramHash {
    pub const ALL: &[ScramHash] = &[ScramHash::Sha256, ScramHash::Sha512];

    /// Kafka's number of the mechanism.
    pub fn number(self) -> i8 {
        match self {
            ScramHash::Sha256 => 1,
            ScramHash::Sha512 => 2,
        }
    }

    pub fn numbered(number: i8) -> Option<ScramHash> {
        ScramHash::ALL.iter().copied().find(|hash| hash.number() == number)
    }

    /// The name of the mechanism.
    pub fn name(self) -> &'static str {
        match self {
            ScramHash::Sha256 => "SCRAM-SHA-256",
            ScramHash::Sha512 => "SCRAM-SHA-512",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mechanisms_have_kafkas_numbers() {
        assert_eq!(ScramHash::numbered(1), Some(ScramHash::Sha256));
        assert_eq!(ScramHash::numbered(2), Some(ScramHash::Sha512));
        assert_eq!((ScramHash::numbered(0), ScramHash::numbered(3)), (None, None));
    }
}
