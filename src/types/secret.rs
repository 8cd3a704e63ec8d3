//! A password or another secret, which never gets into a log line or an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The text in place of a secret that is not shown.
pub const HIDDEN: &str = "[hidden]";

/// The bytes of a secret. Its `Debug` form hides them.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    /// The secret itself. Callers must not print it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_where_it_could_be_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("pencil"))), "Some([hidden])");
    }
}
