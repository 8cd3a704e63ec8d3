//! The SASL mechanisms, by their names.

use std::fmt;

use crate::types::ScramHash;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    Plain,
    Scram(ScramHash),
    OauthBearer,
}

impl Mechanism {
    pub const ALL: &[Mechanism] = &[
        Mechanism::Plain,
        Mechanism::Scram(ScramHash::Sha256),
        Mechanism::Scram(ScramHash::Sha512),
        Mechanism::OauthBearer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(hash) => hash.name(),
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }

    /// The mechanism that a client names. Clients must write it as it is.
    pub fn named(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.iter().copied().find(|mechanism| mechanism.name() == name)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
