//! Configuration files, in the syntax of Java's properties.

use super::ConfigError;

/// A file in the syntax of Java's properties: `name=value`, `name: value` or `name value`. `#` and `!`
/// begin a comment, and a backslash at the end of a line continues it on the next one.
///
/// Values may be secrets, so the `Debug` form has only the names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<(String, String)>);

impl Properties {
    pub fn parse(text: &str) -> Result<Properties, ConfigError> {
        let mut found = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let mut logical = line.trim_start().to_owned();
            if logical.is_empty() || logical.starts_with(['#', '!']) {
                continue;
            }
            while goes_on(&logical) {
                logical.pop();
                let Some((_, next)) = lines.next() else { break };
                logical.push_str(next.trim_start());
            }
            let entry = entry(&logical)
                .ok_or_else(|| ConfigError::File(format!("line {}: a bad escape", number + 1)))?;
            found.push(entry);
        }
        Ok(Properties(found))
    }
}

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Whether the line has an odd number of backslashes at its end. In an even number they escape each
/// other.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first `=`, `:` or blank that is not escaped.
fn entry(line: &str) -> Option<(String, String)> {
    let mut escaped = false;
    let end = line.find(|letter: char| {
        let ends = !escaped && (letter == '=' || letter == ':' || letter.is_whitespace());
        escaped = !escaped && letter == '\\';
        ends
    });
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Some((unescape(name)?, unescape(rest.trim_start())?))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next()? {
            't' => plain.push('\t'),
            'n' => plain.push('\n'),
            'r' => plain.push('\r'),
            'u' => {
                let code: String = letters.by_ref().take(4).collect();
                let is_code = code.len() == 4 && code.bytes().all(|letter| letter.is_ascii_hexdigit());
                let code = is_code.then(|| u32::from_str_radix(&code, 16).ok())??;
                plain.push(char::from_u32(code)?);
            }
            other => plain.push(other),
        }
    }
    Some(plain)
}
