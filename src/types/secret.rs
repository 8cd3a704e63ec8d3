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

    /// Whether these bytes are the secret. The time that it takes depends only on their number.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let is_as_long = self.0.len() == bytes.len();
        let own = self.0.iter().chain(std::iter::repeat(&0));
        let differences =
            bytes.iter().zip(own).fold(0, |differences, (a, b)| std::hint::black_box(differences | (a ^ b)));
        is_as_long && differences == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A URL as it may be shown: without a user with a password, and without a query, because they can be secrets. A text that is
/// no URL is cut in the same way.
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|letter| letter.is_ascii_alphabetic()) => {
            (format!("{scheme}://"), rest)
        }
        Some(_) | None => (String::new(), url),
    };
    // The last at sign, because the password may have others.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => (format!("{HIDDEN}@"), rest),
        None => (String::new(), rest),
    };
    let (rest, query) = match rest.find(['?', '#']) {
        Some(end) => (&rest[..end], format!("{}{HIDDEN}", &rest[end..=end])),
        None => (rest, String::new()),
    };
    format!("{scheme}{user}{rest}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_where_it_could_be_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("pencil"))), "Some([hidden])");
    }

    #[test]
    fn only_the_whole_secret_is_the_secret() {
        let secret = Secret::new("pencil");
        assert!(secret.is(b"pencil"));
        for wrong in ["", "penci", "pencils", "Pencil", "pencil\0", "pencim"] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn a_url_is_shown_without_a_password_and_without_a_query() {
        for (url, shown) in [
            ("https://example.com:8443/keys", "https://example.com:8443/keys"),
            ("https://ann:geheim@example.com/keys", "https://[hidden]@example.com/keys"),
            ("https://ann:ge?h/e@im@example.com/keys", "https://[hidden]@example.com/keys"),
            ("https:/ann:geheim@example.com", "[hidden]@example.com"),
            ("ann:geheim@example.com", "[hidden]@example.com"),
            ("ann:ge://heim@example.com", "[hidden]@example.com"),
            ("https://example.com/keys?key=geheim", "https://example.com/keys?[hidden]"),
            ("https://ann:geheim@example.com?key=geheim#geheim", "https://[hidden]@example.com?[hidden]"),
            ("file:///etc/keys#geheim", "file:///etc/keys#[hidden]"),
            ("keys.json", "keys.json"),
            ("", ""),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
