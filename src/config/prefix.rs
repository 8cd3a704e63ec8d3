//! The prefixes of settings: `listener.name.` with the name of a listener, and the name of a mechanism after it.

use super::Mechanism;

/// `ssl.keystore.location` for `listener.name.internal.ssl.keystore.location`; the name itself if it has
/// no listener; `None` if there is nothing after the listener.
pub(super) fn without_listener(name: &str) -> Option<&str> {
    match name.strip_prefix("listener.name.") {
        None => Some(name),
        Some(rest) => rest.split_once('.').map(|(_, base)| base),
    }
}

/// The name of a setting without a listener and a mechanism in front.
pub(super) fn base_of(name: &str) -> &str {
    let Some(name) = without_listener(name) else { return name };
    let is_mechanism =
        |prefix: &str| Mechanism::ALL.iter().any(|mechanism| mechanism.name().to_lowercase() == prefix);
    match name.split_once('.') {
        Some((prefix, rest)) if is_mechanism(prefix) => rest,
        Some(_) | None => name,
    }
}
