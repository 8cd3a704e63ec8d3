//! All messages, written by `build.rs` from `protocol/schema`. A field `name` of the schema is a
//! field `name` here; what may be null is an `Option`; arrays are lists, in order, with whatever
//! was sent twice.

#![expect(clippy::style, clippy::complexity, reason = "generated: plain repetition is what it should be")]

use super::Request;

/// What Kafka 4.4 calls an API key, and the versions that it defines. [`APIS`] lists all that a
/// client may send; `api::TABLE` lists what is served.
#[derive(Clone, Copy, Debug)]
pub struct KafkaApi {
    pub key: i16,
    pub name: &'static str,
    pub first_version: i16,
    pub last_version: i16,
    pub(super) first_flexible: i16,
}

impl KafkaApi {
    const fn of<R: Request>() -> KafkaApi {
        KafkaApi {
            key: R::KEY,
            name: R::NAME,
            first_version: *R::VERSIONS.start(),
            last_version: *R::VERSIONS.end(),
            first_flexible: R::FIRST_FLEXIBLE,
        }
    }

    pub fn find(key: i16) -> Option<&'static KafkaApi> {
        let at = APIS.binary_search_by_key(&key, |api| api.key).ok()?;
        APIS.get(at)
    }
}

/// What the generated modules use.
mod generated {
    pub(super) use std::ops::RangeInclusive;

    pub(super) use bytes::Bytes;

    pub(super) use super::super::field::{At, Field, not_null, nullable_struct};
    pub(super) use super::super::writer::Tags;
    pub(super) use super::super::{Message, Reader, Records, Request, WireError, Writer};
    pub(super) use crate::types::Uuid;
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
