//! Small types that every room uses: two numbers with two meanings are two types.

pub mod acl;
mod pattern;
mod piece;
mod poison;
mod quota;
mod scram;
mod secret;
mod token;
pub mod topic_name;
mod transaction;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use acl::{AclBinding, Acls};
pub use pattern::{PatternError, WholePattern};
pub use piece::{FileRange, Piece, Source};
pub use poison::IgnorePoison;
pub use quota::{EntityName, QuotaChanges, QuotaEntity, QuotaValues};
pub use scram::{ScramCredential, ScramHash};
pub use secret::{HIDDEN, Secret, shown_url};
pub use token::DelegationToken;
pub use transaction::{AbortedTransaction, TransactionEnd};

/// An address as text. An IPv6 address gets brackets.
pub fn host_and_port(host: &str, port: impl fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The position of a record in its partition, from 0.
    Offset(i64)
);
number!(
    /// The leader epoch: it counts the leader changes of a partition and the truncations of its
    /// log, from 0.
    LeaderEpoch(i32)
);
number!(
    /// The id of an idempotent or transactional producer.
    ProducerId(i64)
);
number!(
    /// The epoch of a producer id.
    ProducerEpoch(i16)
);
number!(
    /// Milliseconds since 1970, as in records and the journal.
    Timestamp(i64)
);
number!(
    /// The id of a broker, Kafka's `node.id`.
    NodeId(i32)
);

/// A sorted map whose clones share their equal parts. A clone costs O(1) and a change O(log n),
/// even if there are clones.
pub type SharedMap<K, V> = rpds::RedBlackTreeMapSync<K, V>;
pub type SharedSet<T> = rpds::RedBlackTreeSetSync<T>;

impl Timestamp {
    /// The milliseconds from `earlier` to this time; 0 if the clock went back.
    pub fn since(self, earlier: Timestamp) -> std::time::Duration {
        let ms = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

/// 16 bytes that identify a topic (or a member) permanently. The text form is Kafka's: URL-safe
/// base64 without padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    pub const ZERO: Uuid = Uuid([0; 16]);

    pub fn is_zero(self) -> bool {
        self == Uuid::ZERO
    }

    /// Parses the form that `Display` writes.
    pub fn parse(text: &str) -> Option<Uuid> {
        let mut bits: u32 = 0;
        let mut held = 0;
        let mut bytes = Vec::with_capacity(16);
        for letter in text.bytes() {
            let value = BASE64.iter().position(|known| *known == letter)?;
            bits = (bits << 6) | u32::try_from(value).ok()?;
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
                bits &= (1 << held) - 1;
            }
        }
        Some(Uuid(bytes.try_into().ok()?))
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunks(3) {
            let mut bits = 0u32;
            for at in 0..3 {
                bits = (bits << 8) | u32::from(chunk.get(at).copied().unwrap_or(0));
            }
            for letter in 0..=chunk.len() {
                let index = (bits >> (18 - 6 * letter)) & 0x3f;
                fmt::Write::write_char(f, char::from(BASE64[index as usize]))?;
            }
        }
        Ok(())
    }
}

/// The id of a cluster: a [`Uuid`] if the broker chose it, or any word that an operator configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterId(Arc<str>);

impl ClusterId {
    /// The longest id in bytes.
    pub const MOST: usize = 255;

    /// `None` if the text does not fit on a line of its own.
    pub fn parse(text: &str) -> Option<ClusterId> {
        let fits = (1..=ClusterId::MOST).contains(&text.len()) && text.trim() == text;
        (fits && !text.chars().any(char::is_control)).then(|| ClusterId(text.into()))
    }
}

impl From<Uuid> for ClusterId {
    fn from(id: Uuid) -> ClusterId {
        ClusterId(id.to_string().into())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a topic. A topic that is deleted and created again gets another id.
pub type TopicId = Uuid;

/// A partition of a topic that may since have been deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: TopicId,
    pub partition: i32,
}

impl TopicPartition {
    pub const fn new(topic: TopicId, partition: i32) -> TopicPartition {
        TopicPartition { topic, partition }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_shown_as_kafka_shows_it_and_read_back() {
        let id = Uuid([
            0x6f, 0x72, 0x61, 0x63, 0x6c, 0x65, 0x2d, 0x6f, 0x72, 0x61, 0x63, 0x6c, 0x65, 0x2d, 0x6b, 0x61,
        ]);
        assert_eq!(id.to_string(), "b3JhY2xlLW9yYWNsZS1rYQ");
        assert_eq!(Uuid::parse("b3JhY2xlLW9yYWNsZS1rYQ"), Some(id));
        assert_eq!(Uuid::parse("b3JhY2xlLW9yYWNsZS1rY"), None);
        assert_eq!(Uuid::parse("b3JhY2xlLW9yYWNsZS1r!Q"), None);
    }
}
