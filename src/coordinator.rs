//! Decides for groups what the kernel then applies.
