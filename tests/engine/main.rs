//! The store on a simulated disk: acknowledged and shown records survive every crash.

mod aborted;
mod backup;
mod clock;
mod compacted_transactions;
mod compaction;
#[path = "../fuzz/corpus.rs"]
mod corpus;
mod crashes;
mod damage;
mod disk;
mod failures;
mod formats;
mod fuzz;
mod history;
mod inspect;
mod kept;
mod mutations;
mod out_of_service;
mod random;
mod remade;
mod repair;
mod scrub;
mod stories;
mod targets;
mod tokens;
mod transactions;
