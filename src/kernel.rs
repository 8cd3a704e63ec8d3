//! The pure state machine: no I/O, no clock, no randomness. Facts come only from applying an
//! ordered journal to it.

pub mod group;
