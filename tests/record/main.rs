//! Record batches judged from outside: the rules for what clients send, the codecs beside other
//! implementations, and hostile bytes with the memory they are allowed.

#[path = "../counting/by_thread.rs"]
mod allocations;
mod codecs;
mod forge;
mod hostile;
mod properties;
mod rules;
mod search;
