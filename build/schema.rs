//! Reads a schema file. It says what Kafka's messages hold and nothing about what they mean:
//!
//! ```text
//! request Fetch key 1 versions 4-18 flexible 12+      a message (request, response or data)
//!   max_wait_ms int32                                  a field of every version
//!   rack_id     string 11+ = x                         of some versions, and its default
//!   cluster_id  string? 12+ tag 0 = null               may be null; a tagged field
//!   topics      []FetchTopic?7+                        may be null from version 7 on
//!     topic string 4-12                                the fields of FetchTopic
//!
//! struct Shared                                        a struct that several fields use
//!   host string
//! ```
//!
//! Without a default a field is zero, empty, or not null. Versions that are not written are those
//! of what the field stands in.

use std::fmt;
use std::fs;
use std::path::Path;

pub struct Message {
    pub kind: Kind,
    /// Without "Request" and "Response": `Fetch`.
    pub api: String,
    pub key: Option<i16>,
    pub versions: Versions,
    /// The first version with tagged fields and compact lengths.
    pub flexible: Option<i16>,
    /// The message itself first, then every struct in it.
    pub structs: Vec<Struct>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Data,
}

pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub name: String,
    pub base: Base,
    pub array: bool,
    /// The first version in which the field may be null.
    pub nullable: Option<i16>,
    /// None: every version of the struct.
    pub versions: Option<Versions>,
    pub tag: Option<u32>,
    pub default: Option<String>,
}

pub enum Base {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
}

#[derive(Clone, Copy)]
pub struct Versions {
    pub first: i16,
    /// None: up to the newest.
    pub last: Option<i16>,
}

impl Message {
    /// `FetchRequest`
    pub fn name(&self) -> String {
        let suffix = match self.kind {
            Kind::Request => "Request",
            Kind::Response => "Response",
            Kind::Data => "",
        };
        format!("{}{suffix}", self.api)
    }

    /// `fetch_request`
    pub fn module(&self) -> String {
        let mut snake = String::new();
        for letter in self.name().chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        }
        snake
    }
}

pub struct Error {
    line: String,
    what: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in `{}`", self.what, self.line)
    }
}

/// All messages of a folder of schema files.
pub fn read_all(folder: &Path) -> Vec<Message> {
    let entries = fs::read_dir(folder).expect("the schema folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a schema").path()).collect();
    files.sort();
    let messages = files.iter().flat_map(|file| {
        let text = fs::read_to_string(file).expect("a schema is text");
        parse(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    });
    messages.collect()
}

pub fn parse(text: &str) -> Result<Vec<Message>, Error> {
    let mut messages: Vec<Message> = Vec::new();
    // The structs whose fields may follow, by how far these are indented.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fail = |what| Error { line: line.trim().to_owned(), what };
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().collect();
        if indent == 0 {
            if let ["struct", name] = words.as_slice() {
                let message = messages.last_mut().ok_or_else(|| fail("a struct before any message"))?;
                open = vec![(2, message.structs.len())];
                message.structs.push(Struct { name: (*name).to_owned(), fields: Vec::new() });
            } else {
                messages.push(message(&words).map_err(fail)?);
                open = vec![(2, 0)];
            }
            continue;
        }
        let message = messages.last_mut().ok_or_else(|| fail("a field before any message"))?;
        let field = field(&words).map_err(fail)?;
        open.retain(|(depth, _)| *depth <= indent);
        let Some((depth, owner)) = open.last().copied() else { return Err(fail("no struct")) };
        if depth != indent {
            // The first field of the struct that the line above named.
            let above = message.structs[owner].fields.last();
            let Some(Base::Struct(name)) = above.map(|field| &field.base) else {
                return Err(fail("an indented field below one that is no struct"));
            };
            let name = name.clone();
            open.push((indent, message.structs.len()));
            message.structs.push(Struct { name, fields: Vec::new() });
        }
        let (_, owner) = open[open.len() - 1];
        message.structs[owner].fields.push(field);
    }
    Ok(messages)
}

fn message(words: &[&str]) -> Result<Message, &'static str> {
    let [kind, api, rest @ ..] = words else { return Err("too short") };
    let kind = match *kind {
        "request" => Kind::Request,
        "response" => Kind::Response,
        "data" => Kind::Data,
        _ => return Err("unknown kind of message"),
    };
    let mut key = None;
    let mut valid = None;
    let mut flexible = None;
    let mut rest = rest.iter();
    while let (Some(word), Some(value)) = (rest.next(), rest.next()) {
        match *word {
            "key" => key = Some(value.parse().map_err(|_| "no key")?),
            "versions" => valid = Some(versions(value)?),
            "flexible" => flexible = Some(versions(value)?.first),
            _ => return Err("unknown word"),
        }
    }
    let name = Struct { name: (*api).to_owned(), fields: Vec::new() };
    let mut message = Message {
        kind,
        api: (*api).to_owned(),
        key,
        versions: valid.ok_or("no versions")?,
        flexible,
        structs: vec![name],
    };
    message.structs[0].name = message.name();
    Ok(message)
}

fn field(words: &[&str]) -> Result<Field, &'static str> {
    let [name, typ, rest @ ..] = words else { return Err("too short") };
    let (array, typ) = match typ.strip_prefix("[]") {
        Some(element) => (true, element),
        None => (false, *typ),
    };
    let (typ, nullable) = match typ.split_once('?') {
        None => (typ, None),
        Some((typ, "")) => (typ, Some(0)),
        Some((typ, since)) => (typ, Some(versions(since)?.first)),
    };
    let base = match typ {
        "bool" => Base::Bool,
        "int8" => Base::Int8,
        "int16" => Base::Int16,
        "uint16" => Base::Uint16,
        "int32" => Base::Int32,
        "int64" => Base::Int64,
        "float64" => Base::Float64,
        "uuid" => Base::Uuid,
        "string" => Base::String,
        "bytes" => Base::Bytes,
        "records" => Base::Records,
        name if name.starts_with(char::is_uppercase) => Base::Struct(name.to_owned()),
        _ => return Err("unknown type"),
    };
    let mut field =
        Field { name: (*name).to_owned(), base, array, nullable, versions: None, tag: None, default: None };
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().ok_or("a value is missing");
        match *word {
            "tag" => field.tag = Some(value()?.parse().map_err(|_| "no tag")?),
            "=" => field.default = Some((*value()?).to_owned()),
            range => field.versions = Some(versions(range)?),
        }
    }
    Ok(field)
}

/// `4-18`, `12+` or `0`
fn versions(text: &str) -> Result<Versions, &'static str> {
    let number = |text: &str| text.parse::<i16>().map_err(|_| "no version");
    if let Some(first) = text.strip_suffix('+') {
        return Ok(Versions { first: number(first)?, last: None });
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok(Versions { first: number(first)?, last: Some(number(last)?) })
}
