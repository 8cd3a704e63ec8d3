//! The wire: frames, headers and messages of every version, bounded.
