//! Regular expressions of clients and operators. No pattern takes more than linear time.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// A pattern that has to match the whole text, as `matches` of Java and RE2/J wants it.
#[derive(Clone, Debug)]
pub struct WholePattern(Regex);

/// The reason why a pattern cannot be used.
#[derive(Debug)]
pub struct PatternError(regex::Error);

impl WholePattern {
    /// A pattern of a client. Compiled, it takes at most about this many bytes.
    pub fn of_client(pattern: &str, most_bytes: usize) -> Result<WholePattern, PatternError> {
        WholePattern::compile(pattern, |pattern| {
            RegexBuilder::new(pattern).size_limit(most_bytes).dfa_size_limit(most_bytes).build()
        })
    }

    /// A pattern in the configuration.
    pub fn of_operator(pattern: &str) -> Result<WholePattern, PatternError> {
        WholePattern::compile(pattern, Regex::new)
    }

    fn compile(
        pattern: &str,
        build: impl Fn(&str) -> Result<Regex, regex::Error>,
    ) -> Result<WholePattern, PatternError> {
        // Alone first: in parentheses, two halves of a group could be a pattern of another meaning.
        build(pattern).map_err(PatternError)?;
        let whole = build(&format!(r"\A(?:{pattern})\z"));
        // With the flag `x` the pattern may end in a comment, which ends with the line.
        let whole = whole.or_else(|_| build(&format!("\\A(?:{pattern}\n)\\z")));
        whole.map(WholePattern).map_err(PatternError)
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Compile = fn(&str) -> Result<WholePattern, PatternError>;

    const SMALL: usize = 64 << 10;
    const KINDS: [Compile; 2] =
        [|pattern| WholePattern::of_client(pattern, SMALL), WholePattern::of_operator];

    #[test]
    fn a_pattern_matches_the_whole_text_or_not_at_all() {
        for compile in KINDS {
            let matches = |pattern: &str, text: &str| compile(pattern).unwrap().matches(text);
            assert!(matches("orders-.*", "orders-1") && matches("a|ab", "ab") && matches("", ""));
            assert!(!matches("orders", "orders-1") && !matches("a.*", "ba") && !matches("a", "a\n"));
            assert!(matches("(?m)^a$", "a") && !matches("(?m)^a$", "a\nb"));
        }
    }

    #[test]
    fn a_comment_at_the_end_of_a_pattern_is_no_part_of_it() {
        for compile in KINDS {
            let pattern = compile("(?x) orders - \\d+ # one of the workers").unwrap();
            assert!(pattern.matches("orders-12") && !pattern.matches("orders-12 "));
        }
    }

    #[test]
    fn patterns_that_cannot_be_read_are_refused_also_if_they_could_be_read_in_parentheses() {
        for compile in KINDS {
            for wrong in ["(", "[", "a)(?:b", "a)|(?:b", "a(?=b)", r"(a)\1", "a{100000}{100000}"] {
                assert!(compile(wrong).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn only_clients_are_held_to_a_small_pattern() {
        let large = r"\w{100}";
        assert!(WholePattern::of_client(large, SMALL).is_err());
        assert!(WholePattern::of_operator(large).unwrap().matches(&"a".repeat(100)));
    }
}
