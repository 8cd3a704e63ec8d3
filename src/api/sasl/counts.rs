//! The logins at each listener, for metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::security::sasl::{LoginFault, Mechanism};
use crate::types::IgnorePoison;

/// The listener and the mechanism of logins at the HTTP port.
const HTTP: &str = "HTTP";
const BASIC: &str = "BASIC";
/// Stands for every mechanism that a listener does not offer, because clients choose the name.
const OTHER: &str = "other";

/// The numbers of logins since the start, by listener and mechanism.
#[derive(Debug, Default)]
pub struct LoginCounts(Mutex<BTreeMap<(String, &'static str), Logins>>);

/// Successful and failed logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    pub succeeded: u64,
    /// For each of [`LoginFault::ALL`].
    failed: [u64; LoginFault::ALL.len()],
}

impl LoginCounts {
    pub(super) fn succeeded(&self, listener: &str, mechanism: Mechanism) {
        self.add(listener, mechanism.name(), None);
    }

    pub(super) fn failed(&self, listener: &str, mechanism: Mechanism, fault: LoginFault) {
        self.add(listener, mechanism.name(), Some(fault));
    }

    /// Counts a client that asks for a mechanism that the listener does not offer.
    pub(super) fn not_offered(&self, listener: &str) {
        self.add(listener, OTHER, Some(LoginFault::NotOffered));
    }

    /// Counts a request to the HTTP port that had a user and a password.
    pub fn count_http(&self, has_succeeded: bool) {
        self.add(HTTP, BASIC, (!has_succeeded).then_some(LoginFault::Credentials));
    }

    fn add(&self, listener: &str, mechanism: &'static str, fault: Option<LoginFault>) {
        let mut all = self.0.lock().ignoring_poison();
        let logins = all.entry((listener.to_owned(), mechanism)).or_default();
        *fault.map_or(&mut logins.succeeded, |fault| &mut logins.failed[fault as usize]) += 1;
    }

    /// The numbers so far.
    pub fn all(&self) -> Vec<((String, &'static str), Logins)> {
        self.0.lock().ignoring_poison().iter().map(|(of, logins)| (of.clone(), *logins)).collect()
    }
}

impl Logins {
    /// The number of logins that failed for each reason.
    pub fn failed(&self) -> impl Iterator<Item = (LoginFault, u64)> {
        LoginFault::ALL.iter().copied().zip(self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_counted_by_listener_mechanism_outcome_and_reason() {
        let counts = LoginCounts::default();
        counts.succeeded("A", Mechanism::Plain);
        counts.succeeded("A", Mechanism::Plain);
        for (listener, fault) in
            [("A", LoginFault::Malformed), ("A", LoginFault::Credentials), ("B", LoginFault::Credentials)]
        {
            counts.failed(listener, Mechanism::Plain, fault);
        }
        counts.not_offered("B");
        counts.count_http(true);
        counts.count_http(false);
        let shown = |((listener, mechanism), logins): ((String, &'static str), Logins)| {
            let failed = logins.failed().filter(|(_, count)| *count > 0);
            let failed = failed.map(|(fault, count)| format!(" {}={count}", fault.name()));
            format!("{listener} {mechanism} {}{}", logins.succeeded, failed.collect::<String>())
        };
        let expected = [
            "A PLAIN 2 credentials=1 malformed=1",
            "B PLAIN 0 credentials=1",
            "B other 0 not_offered=1",
            "HTTP BASIC 1 credentials=1",
        ];
        assert_eq!(counts.all().into_iter().map(shown).collect::<Vec<_>>(), expected);
    }
}
