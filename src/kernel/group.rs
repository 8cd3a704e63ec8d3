//! The durable half of a group: what the journal says of its members, generation and offsets.
