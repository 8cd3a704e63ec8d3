//! Encodes and decodes messages by their schema, without the broker's own codec. The values of a script
//! become bytes. Bytes become JSON with every field that was sent, under its name in the schema. Null may be
//! written anywhere; a tagged field is written if the script names it.

use std::env;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json, json};

use super::records;
use super::schema::{self, Base, Field, Kind, Message};
use super::value::Value;

pub fn schemas() -> &'static [Message] {
    static ALL: LazyLock<Vec<Message>> = LazyLock::new(|| {
        schema::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/schema"))
    });
    &ALL
}

pub fn message(api: &str, kind: Kind) -> &'static Message {
    let found = schemas().iter().find(|message| message.api == api && message.kind == kind);
    found.unwrap_or_else(|| panic!("no API is called {api}"))
}

/// The version, or the nearest one that the schema of the message has.
pub fn near(message: &Message, version: i16) -> i16 {
    version.clamp(message.versions.first, message.versions.last.unwrap_or(i16::MAX))
}

pub fn is_flexible(message: &Message, version: i16) -> bool {
    message.flexible.is_some_and(|first| version >= first)
}

pub fn encode(message: &Message, version: i16, fields: &[(String, Value)]) -> Vec<u8> {
    let version = near(message, version);
    let mut out = Out { message, version, flexible: is_flexible(message, version), bytes: Vec::new() };
    out.structure(0, fields);
    out.bytes
}

/// The JSON, or the error in the bytes.
pub fn decode(message: &Message, version: i16, bytes: &[u8]) -> Result<Json, String> {
    let flexible = is_flexible(message, version);
    let mut input = Input { message, version, flexible, bytes };
    let read = input.structure(0)?;
    if !input.bytes.is_empty() {
        return Err(format!("{} bytes too many", input.bytes.len()));
    }
    Ok(read)
}

fn is_in(field: &Field, version: i16) -> bool {
    let Some(versions) = field.versions else { return true };
    versions.first <= version && versions.last.is_none_or(|last| version <= last)
}

fn index_of(message: &Message, name: &str) -> usize {
    message.structs.iter().position(|one| one.name == name).expect("a struct of the message")
}

pub fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Out<'a> {
    message: &'a Message,
    version: i16,
    flexible: bool,
    bytes: Vec<u8>,
}

impl Out<'_> {
    fn structure(&mut self, index: usize, given: &[(String, Value)]) {
        let version = self.version;
        let fields = &self.message.structs[index].fields;
        for (name, _) in given {
            let known = fields.iter().any(|field| &field.name == name);
            assert!(known, "{} has no field `{name}`", self.message.structs[index].name);
        }
        let value_of =
            |field: &Field| given.iter().find(|(name, _)| name == &field.name).map(|(_, value)| value);
        for field in fields.iter().filter(|field| is_in(field, version) && field.tag.is_none()) {
            self.field(field, value_of(field));
        }
        if !self.flexible {
            return;
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in fields.iter().filter(|field| is_in(field, version)) {
            if let (Some(tag), Some(value)) = (field.tag, value_of(field)) {
                let mut out = Out { bytes: Vec::new(), ..*self };
                out.field(field, Some(value));
                tagged.push((tag, out.bytes));
            }
        }
        tagged.sort();
        varint(tagged.len() as u64, &mut self.bytes);
        for (tag, bytes) in tagged {
            varint(tag.into(), &mut self.bytes);
            varint(bytes.len() as u64, &mut self.bytes);
            self.bytes.extend(bytes);
        }
    }

    fn field(&mut self, field: &Field, value: Option<&Value>) {
        let default = match field.default.as_deref() {
            Some("null") => Value::Null,
            Some(default) => Value::Word(default.to_owned()),
            None if field.array => Value::List(Vec::new()),
            None => Value::Word(String::new()),
        };
        let value = value.unwrap_or(&default);
        if !field.array {
            return self.one(&field.base, field.nullable.is_some_and(|since| since <= self.version), value);
        }
        match value {
            Value::Null => self.length(None),
            Value::List(items) => {
                self.length(Some(items.len()));
                for item in items {
                    self.one(&field.base, false, item);
                }
            }
            other => panic!("`{}` is a list, not {other:?}", field.name),
        }
    }

    /// The length of an array.
    fn length(&mut self, length: Option<usize>) {
        if self.flexible {
            return varint(length.map_or(0, |length| length as u64 + 1), &mut self.bytes);
        }
        let length = length.map_or(-1, |length| i32::try_from(length).expect("a short list"));
        self.bytes.extend(length.to_be_bytes());
    }

    fn one(&mut self, base: &Base, may_be_null: bool, value: &Value) {
        let size = match base {
            Base::Bool => {
                let is_true = matches!(value, Value::Word(word) if word == "true");
                return self.bytes.push(u8::from(is_true));
            }
            Base::Int8 => 1,
            Base::Int16 | Base::Uint16 => 2,
            Base::Int32 => 4,
            Base::Int64 => 8,
            Base::Float64 => {
                let number = match value {
                    Value::Word(word) if word.is_empty() => 0.0,
                    Value::Word(word) => word.parse::<f64>().expect("a number"),
                    other => panic!("a number, not {other:?}"),
                };
                return self.bytes.extend(number.to_be_bytes());
            }
            Base::Uuid => return self.bytes.extend(uuid(value)),
            Base::String | Base::Bytes | Base::Records => {
                return self.text(value, matches!(base, Base::String));
            }
            Base::Struct(name) => return self.inner(name, may_be_null, value),
        };
        let number = match value {
            Value::Word(word) if word.is_empty() => 0,
            value => value.number(),
        };
        self.bytes.extend(&number.to_be_bytes()[8 - size..]);
    }

    fn inner(&mut self, name: &str, may_be_null: bool, value: &Value) {
        if may_be_null {
            self.bytes.push(if *value == Value::Null { 0xff } else { 1 });
        }
        match value {
            Value::Null => assert!(may_be_null, "{name} cannot be null: it has no length"),
            Value::Object(fields) => self.structure(index_of(self.message, name), fields),
            Value::Word(word) if word.is_empty() => self.structure(index_of(self.message, name), &[]),
            other => panic!("{name} is an object, not {other:?}"),
        }
    }

    fn text(&mut self, value: &Value, is_string: bool) {
        let bytes = match value {
            Value::Null => None,
            value => Some(records::bytes_of(value)),
        };
        match (&bytes, self.flexible) {
            (_, true) => self.length(bytes.as_ref().map(Vec::len)),
            (None, false) if is_string => self.bytes.extend((-1_i16).to_be_bytes()),
            (Some(bytes), false) if is_string => {
                self.bytes.extend(i16::try_from(bytes.len()).expect("a short string").to_be_bytes());
            }
            (_, false) => self.length(bytes.as_ref().map(Vec::len)),
        }
        self.bytes.extend(bytes.unwrap_or_default());
    }
}

fn uuid(value: &Value) -> Vec<u8> {
    if value.word().is_empty() {
        return vec![0; 16];
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(value.word()).expect("a UUID as Kafka writes it");
    assert_eq!(bytes.len(), 16, "{value:?}");
    bytes
}

struct Input<'a> {
    message: &'a Message,
    version: i16,
    flexible: bool,
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn int(&mut self, size: usize) -> Result<i64, String> {
        let bytes = self.take(size)?;
        let first = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        Ok(bytes.iter().fold(first, |number, byte| number << 8 | i64::from(*byte)))
    }

    fn varint(&mut self) -> Result<usize, String> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a varint is too long".to_owned())
    }

    fn structure(&mut self, index: usize) -> Result<Json, String> {
        let version = self.version;
        let fields = &self.message.structs[index].fields;
        let mut read = Map::new();
        for field in fields.iter().filter(|field| is_in(field, version) && field.tag.is_none()) {
            let value = self.field(field).map_err(|error| format!("{}: {error}", field.name))?;
            read.insert(field.name.clone(), value);
        }
        if self.flexible {
            for _ in 0..self.varint()? {
                let tag = self.varint()?;
                let length = self.varint()?;
                let bytes = self.take(length)?;
                let field = fields.iter().find(|field| {
                    is_in(field, version) && field.tag.is_some_and(|known| known as usize == tag)
                });
                let Some(field) = field else {
                    read.insert(format!("tag {tag}"), json!(records::hex(bytes)));
                    continue;
                };
                let mut inner = Input { bytes, ..*self };
                read.insert(field.name.clone(), inner.field(field)?);
                if !inner.bytes.is_empty() {
                    return Err(format!("{}: bytes too many", field.name));
                }
            }
        }
        Ok(Json::Object(read))
    }

    fn field(&mut self, field: &Field) -> Result<Json, String> {
        if !field.array {
            return self.one(&field.base, field.nullable.is_some_and(|since| since <= self.version));
        }
        let Some(count) = self.length()? else { return Ok(Json::Null) };
        let items: Result<Vec<Json>, String> = (0..count).map(|_| self.one(&field.base, false)).collect();
        Ok(Json::Array(items?))
    }

    fn length(&mut self) -> Result<Option<usize>, String> {
        let length = if self.flexible { self.varint()? as i64 - 1 } else { self.int(4)? };
        Ok(usize::try_from(length).ok())
    }

    fn one(&mut self, base: &Base, may_be_null: bool) -> Result<Json, String> {
        let length = match base {
            Base::Bool => return Ok(json!(self.take(1)?[0] != 0)),
            Base::Int8 => return Ok(json!(self.int(1)?)),
            Base::Int16 => return Ok(json!(self.int(2)?)),
            Base::Uint16 => return Ok(json!(self.int(2)? & 0xffff)),
            Base::Int32 => return Ok(json!(self.int(4)?)),
            Base::Int64 => return Ok(json!(self.int(8)?)),
            Base::Float64 => return Ok(json!(f64::from_bits(self.int(8)? as u64))),
            Base::Uuid => return Ok(json!(BASE64_URL_SAFE_NO_PAD.encode(self.take(16)?))),
            Base::Struct(_) if may_be_null && self.int(1)? < 0 => return Ok(Json::Null),
            Base::Struct(name) => return self.structure(index_of(self.message, name)),
            Base::String if !self.flexible => usize::try_from(self.int(2)?).ok(),
            Base::String | Base::Bytes | Base::Records => self.length()?,
        };
        let Some(length) = length else { return Ok(Json::Null) };
        let bytes = self.take(length)?;
        Ok(match base {
            Base::String => json!(std::str::from_utf8(bytes).map_err(|error| error.to_string())?),
            Base::Records => records::show(bytes),
            _ => json!(records::readable(bytes)),
        })
    }
}
