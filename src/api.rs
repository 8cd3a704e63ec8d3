//! The table of API keys: one line per key, one file per key.

pub mod context;
pub mod error;
pub mod fetch;
