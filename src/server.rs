//! The sockets: listener, connection (read, order, answer), limits, drain.
