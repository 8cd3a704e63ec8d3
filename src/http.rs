//! Health checks over HTTP.
