//! The classic group protocol: decides what the kernel then applies.

pub use crate::storage::groups::{GroupStore, NotStored, Settled, Settler};
