//! `ssl.principal.mapping.rules`: from the name in a certificate to the principal.
//!
//! The rules are read as Kafka's `SslPrincipalMapper` reads them. A pattern is one of Java's; those that need more than
//! linear time (look-around, back references) are refused.

use std::fmt;

use regex::Regex;

use crate::types::WholePattern;

/// Rules, of which the first that matches counts.
#[derive(Debug)]
pub struct PrincipalRules(Vec<Rule>);

#[derive(Debug)]
enum Rule {
    /// The name as it is.
    Default,
    Replace {
        /// The pattern has to match the whole name.
        whole: WholePattern,
        pattern: Regex,
        replacement: Vec<Part>,
        case: Case,
    },
}

/// A part of a replacement.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

impl PrincipalRules {
    pub fn parse(written: &str) -> Result<PrincipalRules, String> {
        let mut rules = Vec::new();
        let mut rest = written.trim();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("RULE:") {
                let (rule, after) = Rule::parse(after)?;
                rules.push(rule);
                rest = behind_comma(after)?;
            } else if let Some(after) = rest.strip_prefix("DEFAULT") {
                rules.push(Rule::Default);
                rest = behind_comma(after)?;
            } else if rest.starts_with(',') {
                rest = behind_comma(rest)?;
            } else {
                return Err(format!("expected DEFAULT or RULE:PATTERN/REPLACEMENT/[LU], found {rest}"));
            }
        }
        Ok(PrincipalRules(rules))
    }

    /// The name of the principal. `None` if no rule matches or nothing is left of the name: the connection is closed.
    pub fn apply(&self, name: &str) -> Option<String> {
        self.0.iter().find_map(|rule| rule.apply(name)).filter(|principal| !principal.is_empty())
    }
}

impl Rule {
    /// Reads `PATTERN/REPLACEMENT/[LU]`, and returns the text after it.
    fn parse(written: &str) -> Result<(Rule, &str), String> {
        let incomplete = || "a rule needs a pattern, a replacement, and a slash after each".to_owned();
        let (pattern, rest) = until_slash(written).ok_or_else(incomplete)?;
        let (replacement, rest) = until_slash(rest).ok_or_else(incomplete)?;
        let (case, rest) = match (rest.strip_prefix('L'), rest.strip_prefix('U')) {
            (Some(rest), _) => (Case::Lower, rest),
            (None, Some(rest)) => (Case::Upper, rest),
            (None, None) => (Case::Kept, rest),
        };
        let unusable = |error: &dyn fmt::Display| format!("the pattern {pattern} cannot be used: {error}");
        let whole = WholePattern::of_operator(pattern).map_err(|error| unusable(&error))?;
        let pattern = Regex::new(pattern).map_err(|error| unusable(&error))?;
        let replacement = parts(replacement, pattern.captures_len() - 1);
        Ok((Rule::Replace { whole, pattern, replacement, case }, rest))
    }

    fn apply(&self, name: &str) -> Option<String> {
        let (pattern, replacement, case) = match self {
            Rule::Default => return Some(name.to_owned()),
            Rule::Replace { whole, pattern, replacement, case } if whole.matches(name) => {
                (pattern, replacement, case)
            }
            Rule::Replace { .. } => return None,
        };
        let replaced = pattern.replace_all(name, |found: &regex::Captures<'_>| {
            let part = |part: &Part| match part {
                Part::Text(text) => text.clone(),
                Part::Group(group) => {
                    found.get(*group).map_or_else(String::new, |group| group.as_str().to_owned())
                }
            };
            replacement.iter().map(part).collect::<String>()
        });
        Some(match case {
            Case::Kept => replaced.into_owned(),
            Case::Lower => replaced.to_lowercase(),
            Case::Upper => replaced.to_uppercase(),
        })
    }
}

/// The text up to a slash without a backslash before it, and the text after the slash.
fn until_slash(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '/' if !is_escaped => return Some((&text[..at], &text[at + 1..])),
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    None
}

fn behind_comma(text: &str) -> Result<&str, String> {
    let text = text.trim_start();
    match text.strip_prefix(',') {
        Some(rest) => Ok(rest.trim_start()),
        None if text.is_empty() => Ok(text),
        None => Err(format!("expected a comma between rules, found {text}")),
    }
}

/// Reads a replacement in Java's form: `$1` is a group, and a backslash makes the next character plain. A number without
/// a group is plain text, as in Kafka.
fn parts(replacement: &str, groups: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut letters = replacement.chars().peekable();
    while let Some(letter) = letters.next() {
        let first = letters.peek().and_then(|next| next.to_digit(10)).map(|digit| digit as usize);
        match (letter, first) {
            ('\\', _) => text.extend(letters.next()),
            ('$', Some(first)) if first <= groups => {
                letters.next();
                let mut group = first;
                // As in Java, more digits count as long as there is such a group.
                while let Some(digit) = letters.peek().and_then(|next| next.to_digit(10)) {
                    let longer = group * 10 + digit as usize;
                    if longer > groups {
                        break;
                    }
                    letters.next();
                    group = longer;
                }
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Group(group));
            }
            (other, _) => text.push(other),
        }
    }
    parts.push(Part::Text(text));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(rules: &str, name: &str) -> Option<String> {
        PrincipalRules::parse(rules).unwrap().apply(name)
    }

    #[test]
    fn the_first_rule_that_matches_the_whole_name_counts() {
        let rules = r"RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/,
             RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L,
             RULE:^cn=(.*?),ou=(.*?),dc=(.*?),dc=(.*?)$/$1@$2/U, DEFAULT";
        for (name, expected) in [
            ("CN=Duke,OU=ServiceUsers,O=Org,C=US", "Duke"),
            ("CN=Duke,OU=SME,O=mycp,L=Fulton,ST=MD,C=US", "duke@sme"),
            ("cn=duke,ou=sme,dc=mycp,dc=com", "DUKE@SME"),
            ("CN=Duke", "CN=Duke"),
        ] {
            assert_eq!(mapped(rules, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_certificate_without_a_name_has_no_principal() {
        assert_eq!(PrincipalRules::parse("DEFAULT").unwrap().apply(""), None);
    }

    #[test]
    fn without_a_rule_that_matches_there_is_no_principal() {
        assert_eq!(mapped("RULE:CN=(.*),O=x/$1/", "CN=alice"), None);
        assert_eq!(mapped("RULE:CN=a/b/", "CN=ab"), None, "the pattern matches a part only");
        assert_eq!(mapped("", "CN=alice"), None);
    }

    #[test]
    fn groups_and_escapes_are_java_s() {
        assert_eq!(mapped(r"RULE:CN=(.*)/$12/", "CN=a").as_deref(), Some("a2"));
        assert_eq!(mapped(r"RULE:CN=(.*)/$3-\$1/", "CN=a").as_deref(), Some("$3-$1"));
        assert_eq!(mapped(r"RULE:CN=(\w+)\/(\w+)/$2/", "CN=a/b").as_deref(), Some("b"));
        assert_eq!(mapped(r"RULE:^CN=((?:\\.|[^,\\])+),O=x$/$1/", r"CN=a\,b,O=x").as_deref(), Some(r"a\,b"));
    }

    #[test]
    fn rules_that_cannot_be_read_are_refused() {
        for wrong in [
            "default",
            "RULE:CN=a",
            "RULE:CN=a/b",
            "RULE:(/b/",
            "RULE:a(?=b)/c/",
            "RULE:a)(?:b/c/",
            "DEFAULT DEFAULT",
            "RULE:a/b/X",
        ] {
            assert!(PrincipalRules::parse(wrong).is_err(), "{wrong}");
        }
    }
}
