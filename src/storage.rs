//! The partition store that handlers talk to, and the engine behind it.

pub mod fs;
pub mod groups;
pub mod journal;
