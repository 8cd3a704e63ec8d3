//! The store on a simulated disk: what was acknowledged or shown survives every crash.

mod clock;
mod compaction;
mod crashes;
mod disk;
mod formats;
mod history;
mod inspect;
mod mutations;
mod remade;
mod repair;
mod scrub;
mod stories;
