//! All messages, written by `build.rs` from `protocol/schema`. A field `name` of the schema is a
//! field `name` here; what may be null is an `Option`; arrays are lists, in order, with whatever
//! was sent twice.

#![expect(clippy::style, clippy::complexity, reason = "generated: plain repetition is what it should be")]

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
