//! Identities, how clients prove them, what they may do, and the encryption of connections.

pub mod acl;
#[cfg(feature = "security")]
pub mod basic;
#[cfg(feature = "security")]
pub mod jwt;
pub mod operations;
pub mod principal;
pub mod quota;
#[cfg(feature = "security")]
pub mod sasl;
#[cfg_attr(not(feature = "security"), path = "security/no_tls.rs")]
pub mod tls;
#[cfg(feature = "security")]
pub mod token;
pub mod way_in;
