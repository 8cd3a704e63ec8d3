//! The state as a snapshot stores it: parts with names, each with its length.
//!
//! A part that a reader does not know is an error, and so is one that it misses: state is never dropped or made up
//! silently. A version that adds a part also adds a level. Its form of the level before says what the state has
//! instead of the part ([`Parts::or`]), and an earlier version refuses the new level.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::level::{Appending, read_all};
use super::{Groups, Shard, StoredAcls};

/// Parts that are being written.
#[derive(Default)]
pub struct PartsWriter {
    bytes: Vec<u8>,
    /// The parts that the level does not have.
    without: &'static [&'static str],
}

/// Parts that were read, by their names.
#[derive(Debug)]
pub struct Parts<'a>(BTreeMap<&'a str, Cow<'a, [u8]>>);

/// The reason why a stored state cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum StateError {
    /// The bytes are not a list of parts.
    Torn,
    Missing(&'static str),
    Unknown(String),
    /// A part is there twice.
    Repeated(String),
    /// The content of a part cannot be decoded.
    Malformed(&'static str, postcard::Error),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Torn => f.write_str("its parts are cut short"),
            StateError::Missing(name) => write!(f, "it lacks the part {name}"),
            StateError::Unknown(name) => write!(f, "this version does not know its part {name:?}"),
            StateError::Repeated(name) => write!(f, "it has the part {name:?} twice"),
            StateError::Malformed(name, error) => write!(f, "its part {name} cannot be read: {error}"),
        }
    }
}

/// The bytes of a length: of a name, and of the content of a part.
const NAME_LENGTH: usize = 1;
const LENGTH: usize = 8;

impl PartsWriter {
    /// For a level that does not have these parts.
    pub fn without(parts: &'static [&'static str]) -> PartsWriter {
        PartsWriter { bytes: Vec::new(), without: parts }
    }

    /// Appends a part.
    fn put(&mut self, name: &'static str, part: &impl Serialize) {
        if self.without.contains(&name) {
            return;
        }
        let bytes = &mut self.bytes;
        bytes.push(u8::try_from(name.len()).expect("names are short"));
        bytes.extend_from_slice(name.as_bytes());
        let begins = bytes.len() + LENGTH;
        bytes.extend_from_slice(&[0; LENGTH]);
        postcard::serialize_with_flavor(part, Appending(bytes)).expect("the state is plain data");
        let length = (bytes.len() - begins) as u64;
        bytes[begins - LENGTH..begins].copy_from_slice(&length.to_le_bytes());
    }
}

impl<'a> Parts<'a> {
    pub fn split(mut bytes: &'a [u8]) -> Result<Parts<'a>, StateError> {
        let mut parts = BTreeMap::new();
        while !bytes.is_empty() {
            let ([name_length], rest) = bytes.split_first_chunk::<NAME_LENGTH>().ok_or(StateError::Torn)?;
            let (name, rest) = rest.split_at_checked((*name_length).into()).ok_or(StateError::Torn)?;
            let name = std::str::from_utf8(name).map_err(|_| StateError::Torn)?;
            let (length, rest) = rest.split_first_chunk::<LENGTH>().ok_or(StateError::Torn)?;
            let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| StateError::Torn)?;
            let (part, rest) = rest.split_at_checked(length).ok_or(StateError::Torn)?;
            if parts.insert(name, Cow::Borrowed(part)).is_some() {
                return Err(StateError::Repeated(name.to_owned()));
            }
            bytes = rest;
        }
        Ok(Parts(parts))
    }

    /// The content of a part that the level does not have.
    pub fn or(mut self, name: &'static str, part: &impl Serialize) -> Result<Parts<'a>, StateError> {
        let bytes = postcard::to_stdvec(part).expect("the state is plain data");
        match self.0.insert(name, Cow::Owned(bytes)) {
            None => Ok(self),
            Some(_) => Err(StateError::Unknown(name.to_owned())),
        }
    }

    /// Removes and decodes a part.
    fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, StateError> {
        let part = self.0.remove(name).ok_or(StateError::Missing(name))?;
        read_all(&part).map_err(|error| StateError::Malformed(name, error))
    }

    /// Fails if a part was not taken.
    fn end(self) -> Result<(), StateError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(StateError::Unknown(name.to_owned())),
        }
    }
}

impl Shard {
    /// Writes the parts, without those that the level does not have.
    pub fn write_parts(&self, mut parts: PartsWriter) -> Vec<u8> {
        // All fields are named, so that a new one cannot be forgotten.
        let Shard {
            position,
            hash,
            time,
            author,
            sequence,
            next_producer,
            topics,
            groups,
            names,
            settings,
            features,
            quotas,
            credentials,
            acls,
            tokens,
            running,
            producers,
            transactions,
            clock_trusted,
            election,
            members,
        } = self;
        let (groups, offsets) = groups.stored();
        parts.put("journal", &(position, hash, time, author, sequence));
        parts.put("clock", clock_trusted);
        parts.put("brokers", &(running, election));
        parts.put("members", members);
        parts.put("topics", &(topics, names));
        parts.put("producers", &(next_producer, producers));
        parts.put("transactions", transactions);
        parts.put("settings", settings);
        parts.put("features", features);
        parts.put("quotas", quotas);
        parts.put("credentials", credentials);
        parts.put("acls", acls.all());
        parts.put("tokens", tokens);
        parts.put("groups", groups);
        parts.put("offsets", offsets);
        parts.bytes
    }

    /// The state of these parts. The producers of all partitions together are missing.
    pub fn of_parts(mut parts: Parts<'_>) -> Result<Shard, StateError> {
        let (position, hash, time, author, sequence) = parts.take("journal")?;
        let clock_trusted = parts.take("clock")?;
        let (running, election) = parts.take("brokers")?;
        let members = parts.take("members")?;
        let (topics, names) = parts.take("topics")?;
        let (next_producer, producers) = parts.take("producers")?;
        let transactions = parts.take("transactions")?;
        let settings = parts.take("settings")?;
        let features = parts.take("features")?;
        let quotas = parts.take("quotas")?;
        let credentials = parts.take("credentials")?;
        let acls = StoredAcls::of(parts.take("acls")?);
        let tokens = parts.take("tokens")?;
        let groups = Groups::of(parts.take("groups")?, parts.take("offsets")?);
        parts.end()?;
        Ok(Shard {
            position,
            hash,
            time,
            author,
            sequence,
            next_producer,
            topics,
            groups,
            names,
            settings,
            features,
            quotas,
            credentials,
            acls,
            tokens,
            running,
            producers,
            transactions,
            clock_trusted,
            election,
            members,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Command;
    use crate::kernel::offsets::AllOffsets;
    use crate::types::{NodeId, Timestamp};

    fn shard() -> Shard {
        let mut shard = Shard::new(NodeId(7));
        let set = Command::SetFeature { name: "transaction.version".into(), level: 1 };
        shard.apply(Timestamp(0), &set).unwrap();
        shard
    }

    fn written() -> Vec<u8> {
        shard().write_parts(PartsWriter::default())
    }

    fn read(bytes: &[u8]) -> Result<Shard, StateError> {
        Shard::of_parts(Parts::split(bytes)?)
    }

    /// All parts, and one more.
    fn with(name: &'static str) -> Vec<u8> {
        let mut more = PartsWriter::default();
        more.put(name, &5);
        [written(), more.bytes].concat()
    }

    #[test]
    fn a_state_in_parts_is_read_again() {
        assert_eq!(read(&written()), Ok(shard()));
    }

    #[test]
    fn a_part_that_is_not_known_or_is_there_twice_is_an_error() {
        assert_eq!(read(&with("shares")), Err(StateError::Unknown("shares".to_owned())));
        assert_eq!(read(&with("clock")), Err(StateError::Repeated("clock".to_owned())));
    }

    #[test]
    fn a_part_that_is_missing_is_an_error_unless_the_level_lacks_it() {
        const OFFSETS: &str = "offsets";
        let older = shard().write_parts(PartsWriter::without(&[OFFSETS]));
        assert_eq!(read(&older), Err(StateError::Missing(OFFSETS)));
        let completed = |bytes| Shard::of_parts(Parts::split(bytes)?.or(OFFSETS, &AllOffsets::default())?);
        assert_eq!(completed(&older), Ok(shard()));
        assert_eq!(completed(&written()), Err(StateError::Unknown(OFFSETS.to_owned())));
    }

    #[test]
    fn a_state_that_is_cut_short_or_has_a_wrong_length_is_an_error() {
        let bytes = written();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes");
        }
        let length_at = NAME_LENGTH + "journal".len();
        let mut wrong = bytes.clone();
        wrong[length_at + LENGTH - 1] = 0xff;
        assert_eq!(read(&wrong), Err(StateError::Torn));
        let mut wrong = bytes;
        wrong[length_at] += 1;
        assert!(read(&wrong).is_err());
    }
}
