//! Values that can be checked by themselves: the producer, a number, and bytes that follow from both.

use std::time::Duration;

/// The name of one record; every record of a round has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    pub producer: u32,
    pub seq: u32,
}

impl Value {
    /// The record's key: only the name.
    pub fn key(self) -> [u8; 8] {
        (u64::from(self.producer) << 32 | u64::from(self.seq)).to_be_bytes()
    }

    /// The record's value: the name and random-looking bytes that follow from it.
    pub fn bytes(self, length: usize) -> Vec<u8> {
        let mut bytes = self.key().to_vec();
        let mut random = Random::new(u64::from_be_bytes(self.key()) + 1);
        while bytes.len() < length {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        bytes.truncate(length.max(8));
        bytes
    }

    /// The name of a record whose key and value are exactly those of [`Value::bytes`].
    pub fn of_record(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<Value> {
        let (key, value) = (key?, value?);
        let name = u64::from_be_bytes(key.try_into().ok()?);
        let found = Value { producer: (name >> 32) as u32, seq: name as u32 };
        (found.bytes(value.len()) == value).then_some(found)
    }
}

/// The same numbers for the same seed (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        // A zero state would stay zero, and small seeds should begin differently.
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// 0 up to, but not including, `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 11) as usize % bound
    }

    pub fn duration(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(1 + most.as_micros() as usize) as u64)
    }
}

#[test]
fn a_value_is_known_by_its_bytes_and_a_changed_one_is_not() {
    let value = Value { producer: 3, seq: 77 };
    let mut bytes = value.bytes(1000);
    assert_eq!(Value::of_record(Some(&value.key()), Some(&bytes)), Some(value));
    assert_eq!(Value::of_record(Some(&Value { producer: 3, seq: 78 }.key()), Some(&bytes)), None);
    bytes[999] ^= 1;
    assert_eq!(Value::of_record(Some(&value.key()), Some(&bytes)), None);
}
