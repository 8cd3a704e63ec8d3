//! The legal names of topics.

/// The longest name in bytes: Kafka's limit, which keeps a directory name within 255.
const LONGEST: usize = 249;

/// The log of Kafka's controllers, which is not a topic.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

pub fn is_legal(name: &str) -> bool {
    check(name).is_ok()
}

/// A name that no topic can have, with Kafka's error message.
#[derive(Debug)]
pub struct IllegalName(pub String);

pub fn check(name: &str) -> Result<(), IllegalName> {
    let wrong = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > LONGEST {
        format!("the length of '{name}' is longer than the max allowed length {LONGEST}")
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(IllegalName(format!("Topic name is invalid: {wrong}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m11_legal_names_are_short_and_made_of_letters_digits_dots_dashes_and_underscores() {
        for good in ["a", "...", "A-b_c.9", &"x".repeat(249), "__x"] {
            assert!(is_legal(good), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "../x", "é", "a\0", "a\n", &"x".repeat(250)] {
            assert!(!is_legal(bad), "{bad}");
        }
    }
}
