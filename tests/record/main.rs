//! Record batches tested from outside: the rules for batches of clients, the codecs against other
//! implementations, and hostile bytes with a limit of memory.

#[path = "../counting/by_thread.rs"]
mod allocations;
mod codecs;
#[path = "../fuzz/corpus.rs"]
mod corpus;
mod forge;
mod fuzz;
mod hostile;
mod properties;
mod reference;
mod rules;
mod search;
mod targets;
