//! All messages without their types: comparison of fields with JSON, random values, and the codec of each
//! message as plain functions. `build.rs` generates the code for each struct from the schema.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use base64::Engine;
use bytes::Bytes;
use jackdaw::protocol::{Message, Reader, Records, WireError, Writer};
use jackdaw::types::{Piece, Uuid};
use serde_json::Value as Json;

use crate::source::Source;

/// The names that the generated code below uses.
mod generated {
    pub use jackdaw::types::Uuid;
    pub use serde_json::Value as Json;

    pub use super::{Fields, Inspect};
    pub use crate::source::Source;
}

include!(concat!(env!("OUT_DIR"), "/checks.rs"));

pub trait Inspect: Sized {
    /// Whether this value equals `json`; `at` is the path for the error.
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String>;

    /// A random value that a message of this version can carry.
    fn draw(source: &mut Source, version: i16) -> Self;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    Data,
}

pub struct Codec {
    pub name: &'static str,
    pub kind: Kind,
    pub key: Option<i16>,
    pub versions: RangeInclusive<i16>,
    /// Decodes all of the bytes, compares with the JSON, and encodes again.
    pub check: fn(Bytes, i16, &Json) -> Result<Bytes, String>,
    /// Decodes all of the bytes and encodes again.
    pub recode: fn(Bytes, i16) -> Result<Bytes, WireError>,
    /// Decodes all of the bytes and drops the message.
    pub decode: fn(Bytes, i16) -> Result<(), WireError>,
    /// Draws a message, encodes and decodes it, and checks that it is the same; returns its bytes.
    pub draw: fn(&mut Source, i16) -> Bytes,
    /// The bytes of a message with all fields at their defaults.
    pub fresh: fn(i16) -> Result<Bytes, WireError>,
}

impl Codec {
    pub fn of<M: Message + Inspect>(name: &'static str, kind: Kind, key: Option<i16>) -> Codec {
        Codec {
            name,
            kind,
            key,
            versions: M::VERSIONS,
            check: |bytes, version, json| {
                let message: M = decode(bytes, version).map_err(|error| error.to_string())?;
                message.agrees(json, "")?;
                encode(&message, version).map_err(|error| error.to_string())
            },
            recode: |bytes, version| encode(&decode::<M>(bytes, version)?, version),
            decode: |bytes, version| decode::<M>(bytes, version).map(drop),
            draw: |source, version| {
                let message = M::draw(source, version);
                let bytes = encode(&message, version).expect("a drawn message can be written");
                assert_eq!(decode::<M>(bytes.clone(), version).as_ref(), Ok(&message), "version {version}");
                bytes
            },
            fresh: |version| encode(&M::default(), version),
        }
    }
}

pub fn codec(name: &str) -> Option<Codec> {
    all().into_iter().find(|codec| codec.name == name)
}

pub fn decode<M: Message>(bytes: Bytes, version: i16) -> Result<M, WireError> {
    let mut input = Reader::new(bytes);
    let message = M::decode(&mut input, version)?;
    input.finish()?;
    Ok(message)
}

pub fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, WireError> {
    let mut out = Writer::new();
    message.encode(&mut out, version)?;
    Ok(out.into_bytes())
}

/// The fields of a JSON object, each of which must be read once.
pub struct Fields<'a> {
    left: Vec<(&'a String, &'a Json)>,
    at: &'a str,
}

impl<'a> Fields<'a> {
    pub fn of(json: &'a Json, at: &'a str) -> Result<Fields<'a>, String> {
        let object = json.as_object().ok_or_else(|| format!("{at}: no object in the JSON"))?;
        Ok(Fields { left: object.iter().collect(), at })
    }

    /// A field that is not in the JSON must have its default.
    pub fn agree<T: Inspect + Debug + PartialEq>(
        &mut self,
        name: &str,
        found: &T,
        fresh: &T,
    ) -> Result<(), String> {
        let at = format!("{}/{name}", self.at);
        match self.left.iter().position(|(known, _)| *known == name) {
            Some(index) => found.agrees(self.left.swap_remove(index).1, &at),
            None if found == fresh => Ok(()),
            None => Err(format!("{at}: {found:?} where nothing was sent")),
        }
    }

    pub fn finish(self) -> Result<(), String> {
        match self.left.first() {
            Some((name, _)) => Err(format!("{}/{name} is in the JSON only", self.at)),
            None => Ok(()),
        }
    }
}

fn same<T: PartialEq + Debug>(found: T, expected: Option<T>, at: &str) -> Result<(), String> {
    if Some(&found) == expected.as_ref() { Ok(()) } else { Err(format!("{at}: {found:?}, not {expected:?}")) }
}

macro_rules! integer {
    ($($integer:ty),*) => { $(
        impl Inspect for $integer {
            fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
                same(i64::from(*self), json.as_i64(), at)
            }

            fn draw(source: &mut Source, _: i16) -> Self {
                match source.below(6) {
                    0 => 0,
                    1 => <$integer>::MAX,
                    2 => <$integer>::MIN,
                    _ => source.number() as $integer,
                }
            }
        }
    )* };
}

integer!(i8, i16, u16, i32, i64);

impl Inspect for f64 {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        same(self.to_bits(), json.as_f64().map(f64::to_bits), at)
    }

    fn draw(source: &mut Source, _: i16) -> Self {
        source.number() as i64 as f64 / 1024.0
    }
}

impl Inspect for bool {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        same(*self, json.as_bool(), at)
    }

    fn draw(source: &mut Source, _: i16) -> Self {
        source.one_in(2)
    }
}

impl Inspect for Uuid {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        same(*self, json.as_str().and_then(Uuid::parse), at)
    }

    fn draw(source: &mut Source, _: i16) -> Self {
        if source.one_in(4) { Uuid::ZERO } else { Uuid(source.bytes(16).try_into().expect("16 bytes")) }
    }
}

impl Inspect for String {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        same(self.as_str(), json.as_str(), at)
    }

    fn draw(source: &mut Source, _: i16) -> Self {
        const LETTERS: [char; 8] = ['a', 'Z', '.', '\0', 'ä', '日', '\u{feff}', '😀'];
        let length = [0, 1, 5, 20, 130][source.below(5)];
        (0..length).map(|_| LETTERS[source.below(LETTERS.len())]).collect()
    }
}

impl Inspect for Bytes {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        let base64 = base64::engine::general_purpose::STANDARD;
        same(self.to_vec(), json.as_str().and_then(|text| base64.decode(text).ok()), at)
    }

    fn draw(source: &mut Source, _: i16) -> Self {
        // Up to lengths at which a piece is shared instead of copied.
        let length = [0, 1, 30, 200, 600][source.below(5)];
        source.bytes(length).into()
    }
}

impl Inspect for Records {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        self.clone().into_bytes().agrees(json, at)
    }

    fn draw(source: &mut Source, version: i16) -> Self {
        (0..source.below(3)).map(|_| Piece::Memory(Bytes::draw(source, version))).collect::<Vec<_>>().into()
    }
}

impl<T: Inspect> Inspect for Option<T> {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        match self {
            None if json.is_null() => Ok(()),
            None => Err(format!("{at}: null, not {json}")),
            Some(_) if json.is_null() => Err(format!("{at}: a value, not null")),
            Some(value) => value.agrees(json, at),
        }
    }

    fn draw(source: &mut Source, version: i16) -> Self {
        if source.one_in(3) { None } else { Some(T::draw(source, version)) }
    }
}

impl<T: Inspect> Inspect for Vec<T> {
    fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {
        let elements = json.as_array().ok_or_else(|| format!("{at}: no array in the JSON"))?;
        same(self.len(), Some(elements.len()), at)?;
        self.iter()
            .zip(elements)
            .enumerate()
            .try_for_each(|(i, (found, json))| found.agrees(json, &format!("{at}/{i}")))
    }

    fn draw(source: &mut Source, version: i16) -> Self {
        let length = if source.one_in(30) { 130 } else { source.below(4) };
        // Long arrays only at the leaves. Otherwise messages get so large that the test is slow.
        let length = if size_of::<T>() > 16 { length.min(3) } else { length };
        (0..length).map(|_| T::draw(source, version)).collect()
    }
}

impl Source {
    pub fn draw_nullable_since<T: Inspect>(&mut self, since: i16, version: i16) -> Option<T> {
        if version >= since { Inspect::draw(self, version) } else { Some(T::draw(self, version)) }
    }
}
