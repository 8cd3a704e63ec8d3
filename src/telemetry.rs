//! What the broker says about itself: log lines.
