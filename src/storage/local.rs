//! The engine on local files, for one process. Every change is queued at the *committer*, which runs rounds on the
//! *engine*. A round applies commands to the kernel, writes the *journal* and the *segments*, syncs, and
//! publishes. *Recovery* restores the acknowledged state at a start. The *keeper* does slow work in the
//! background. All file access goes through [`fs`], so that a test can cut the power at any point.

mod author;
pub(super) mod committer;
pub(super) mod directory;
pub(super) mod engine;
pub mod fs;
pub mod inspect;
pub mod journal;
pub(super) mod keeper;
#[cfg(test)]
mod levels;
pub(super) mod recovery;
pub mod repair;
pub(super) mod scrub;
pub mod segment;
pub mod skip;
mod snapshot;
mod trash;
