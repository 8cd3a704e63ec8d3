//! The values of a request in a script: JSON without quotes. A word gets the type that the schema has in its
//! place, `$name` in a word is a variable, and [`super::codec`] evaluates `name(…)`.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Word(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
    Call(String, Vec<(String, Value)>),
}

/// Variables by name.
pub type Names = BTreeMap<String, String>;

impl Value {
    /// `a: 1, b: [x, "y z"]`
    pub fn fields(text: &str) -> Result<Vec<(String, Value)>, String> {
        let mut input = Input { text, at: 0 };
        let fields = input.entries(None)?;
        if input.peek().is_some() {
            return Err(format!("left over: {}", &text[input.at..]));
        }
        Ok(fields)
    }

    /// The value with its variables replaced.
    pub fn with(&self, names: &Names) -> Value {
        match self {
            Value::Null => Value::Null,
            Value::Word(word) => Value::Word(fill(word, names)),
            Value::Call(name, entries) if name == "many" => many(entries, names),
            Value::Call(name, entries) => Value::Call(name.clone(), fill_all(entries, names)),
            Value::Object(entries) => Value::Object(fill_all(entries, names)),
            Value::List(items) => Value::List(items.iter().map(|item| item.with(names)).collect()),
        }
    }

    /// Sets the value at a path of field names and positions.
    pub fn put(&mut self, path: &[&str], value: Value) -> Option<()> {
        let [first, rest @ ..] = path else {
            *self = value;
            return Some(());
        };
        match self {
            Value::Object(fields) => {
                let at = fields.iter().position(|(name, _)| name == first);
                let at = at.unwrap_or_else(|| {
                    fields.push(((*first).to_owned(), Value::Null));
                    fields.len() - 1
                });
                fields[at].1.put(rest, value)
            }
            Value::List(items) => items.get_mut(first.parse::<usize>().ok()?)?.put(rest, value),
            Value::Null | Value::Word(_) | Value::Call(..) => None,
        }
    }

    pub fn word(&self) -> &str {
        match self {
            Value::Word(word) => word,
            other => panic!("a word was expected: {other:?}"),
        }
    }

    pub fn number(&self) -> i64 {
        self.word().parse().unwrap_or_else(|_| panic!("a number was expected: {}", self.word()))
    }
}

/// `many(1000, {name: t$i})`
fn many(entries: &[(String, Value)], names: &Names) -> Value {
    let [(_, count), (_, item)] = entries else { panic!("many(count, item)") };
    let mut names = names.clone();
    let items = (0..count.number()).map(|i| {
        names.insert("i".to_owned(), i.to_string());
        item.with(&names)
    });
    Value::List(items.collect())
}

fn fill_all(entries: &[(String, Value)], names: &Names) -> Vec<(String, Value)> {
    entries.iter().map(|(key, value)| (key.clone(), value.with(names))).collect()
}

/// Replaces the variables in a text; the longest known name wins, so `t$v_x` works.
pub fn fill(text: &str, names: &Names) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let known = names.iter().filter(|(name, _)| after.starts_with(name.as_str()));
        let (name, value) =
            known.max_by_key(|(name, _)| name.len()).unwrap_or_else(|| panic!("no variable here: ${after}"));
        filled.push_str(before);
        filled.push_str(value);
        rest = &after[name.len()..];
    }
    filled + rest
}

struct Input<'a> {
    text: &'a str,
    at: usize,
}

impl Input<'_> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed.chars().next()
    }

    fn accept(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    /// `key: value` or only a value, separated by commas, up to `end`.
    fn entries(&mut self, end: Option<char>) -> Result<Vec<(String, Value)>, String> {
        let mut entries = Vec::new();
        loop {
            match (self.peek(), end) {
                (None, None) => return Ok(entries),
                (None, Some(end)) => return Err(format!("no {end}")),
                (found, Some(_)) if found == end => {
                    self.at += 1;
                    return Ok(entries);
                }
                _ => {}
            }
            let first = self.value()?;
            match first {
                Value::Word(key) if self.accept(':') => entries.push((key, self.value()?)),
                first => entries.push((String::new(), first)),
            }
            if !self.accept(',') && self.peek() != end {
                return Err(format!("a comma is missing before: {}", &self.text[self.at..]));
            }
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        if self.accept('{') {
            return Ok(Value::Object(self.entries(Some('}'))?));
        }
        if self.accept('[') {
            let items = self.entries(Some(']'))?;
            return Ok(Value::List(items.into_iter().map(|(_, item)| item).collect()));
        }
        if self.accept('"') {
            return self.quoted();
        }
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| c.is_whitespace() || ",:()[]{}\"".contains(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        if word.is_empty() {
            return Err(format!("a value is missing before: {rest}"));
        }
        if self.text[self.at..].starts_with('(') {
            self.at += 1;
            return Ok(Value::Call(word.to_owned(), self.entries(Some(')'))?));
        }
        Ok(if word == "null" { Value::Null } else { Value::Word(word.to_owned()) })
    }

    fn quoted(&mut self) -> Result<Value, String> {
        let rest = &self.text[self.at..];
        let mut is_escaped = false;
        for (at, letter) in rest.char_indices() {
            match letter {
                '"' if !is_escaped => {
                    self.at += at + 1;
                    let text = format!("\"{}\"", &rest[..at]);
                    return serde_json::from_str(&text).map(Value::Word).map_err(|error| error.to_string());
                }
                '\\' => is_escaped = !is_escaped,
                _ => is_escaped = false,
            }
        }
        Err("a quote is open".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_writes_json_without_its_quotes() {
        let fields = Value::fields(r#"a: [x, "y: \"z\""], b: {c: null, d: repeat(x, 3)}, e: many(2, t$i)"#);
        let names = Names::new();
        let values: Vec<Value> = fields.unwrap().iter().map(|(_, value)| value.with(&names)).collect();
        let word = |text: &str| Value::Word(text.to_owned());
        let call = vec![(String::new(), word("x")), (String::new(), word("3"))];
        let b = vec![("c".to_owned(), Value::Null), ("d".to_owned(), Value::Call("repeat".to_owned(), call))];
        assert_eq!(values[0], Value::List(vec![word("x"), word("y: \"z\"")]));
        assert_eq!(values[1], Value::Object(b));
        assert_eq!(values[2], Value::List(vec![word("t0"), word("t1")]));
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        for text in ["a: [x", "a: {b: c", "a: \"x", "a: b c", "a: }", "a:"] {
            assert!(Value::fields(text).is_err(), "{text}");
        }
    }
}
