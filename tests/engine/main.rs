//! The store on a simulated disk: acknowledged and shown records survive every crash.

mod clock;
mod compaction;
mod crashes;
mod disk;
mod failures;
mod formats;
mod history;
mod inspect;
mod kept;
mod mutations;
mod remade;
mod repair;
mod scrub;
mod stories;
