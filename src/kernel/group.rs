//! The durable half of a group: what the journal says of its members, generation and offsets.

use serde::{Deserialize, Serialize};

use crate::types::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GroupRecord {
    Deleted,
}

impl Group {
    pub fn apply(&mut self, _time: Timestamp, _record: &GroupRecord) {}
}
