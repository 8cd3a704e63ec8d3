//! The file system behind a seam: the real one, and a seeded one that loses what was not synced.
