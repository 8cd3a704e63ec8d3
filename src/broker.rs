//! The composition root: builds every room, drains, stops.
