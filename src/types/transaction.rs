//! The end of a transaction, and the record of an aborted one that readers get.

use super::{Offset, ProducerId};
use serde::{Deserialize, Serialize};

/// The two ways in which a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransactionEnd {
    Commit,
    Abort,
}

/// An aborted transaction of one partition, as in Kafka's transaction index (`AbortedTxn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer: ProducerId,
    /// The offset of its first record.
    pub first: Offset,
    /// The offset of the marker that ends it.
    pub last: Offset,
    /// The last stable offset after that marker.
    pub last_stable: Offset,
}

impl AbortedTransaction {
    /// The size of the stored form.
    pub const SIZE: usize = 34;

    const VERSION: i16 = 0;

    /// Kafka's stored form, big-endian: version, producer id, first offset, last offset, last stable offset.
    pub fn to_bytes(&self) -> [u8; AbortedTransaction::SIZE] {
        let mut bytes = [0; AbortedTransaction::SIZE];
        let (version, numbers) = bytes.split_at_mut(size_of::<i16>());
        version.copy_from_slice(&AbortedTransaction::VERSION.to_be_bytes());
        let fields = [self.producer.0, self.first.0, self.last.0, self.last_stable.0];
        for (place, field) in numbers.chunks_exact_mut(size_of::<i64>()).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }

    /// `None` if the version is another one.
    pub fn from_bytes(bytes: &[u8; AbortedTransaction::SIZE]) -> Option<AbortedTransaction> {
        let (version, rest) = bytes.split_first_chunk()?;
        let (producer, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (last, rest) = rest.split_first_chunk()?;
        let (last_stable, _) = rest.split_first_chunk()?;
        let offset = |bytes: &[u8; 8]| Offset(i64::from_be_bytes(*bytes));
        (i16::from_be_bytes(*version) == AbortedTransaction::VERSION).then_some(AbortedTransaction {
            producer: ProducerId(i64::from_be_bytes(*producer)),
            first: offset(first),
            last: offset(last),
            last_stable: offset(last_stable),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aborted_transaction_has_kafka_s_stored_form() {
        let aborted = AbortedTransaction {
            producer: ProducerId(0x0102_0304_0506_0708),
            first: Offset(0x11),
            last: Offset(0x1_22),
            last_stable: Offset(-2),
        };
        let bytes = aborted.to_bytes();
        let expected = [
            &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8][..],
            &[0, 0, 0, 0, 0, 0, 0, 0x11],
            &[0, 0, 0, 0, 0, 0, 1, 0x22],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
        ];
        assert_eq!(bytes.as_slice(), expected.concat());
        assert_eq!(AbortedTransaction::from_bytes(&bytes), Some(aborted));
        let mut newer = bytes;
        newer[1] = 1;
        assert_eq!(AbortedTransaction::from_bytes(&newer), None);
    }
}
