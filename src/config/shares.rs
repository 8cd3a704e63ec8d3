//! The shares of memory and of open files that the parts of the broker get.

use super::BrokerSettings;
use super::machine::{self, OpenFiles};

/// The default maximum for each of the large users of memory.
const SHARE: u64 = 128 << 20;
/// The maximum for access control lists.
const ACLS: u64 = 64 << 20;
/// The default maximum for the metrics of clients.
const CLIENT_METRICS: u64 = 16 << 20;
/// The least memory with which a client can be served.
const LEAST_SHARE: u64 = 1 << 20;

/// The memory that a TLS handshake takes at most, and the default maximum number of them at a time.
const HANDSHAKE: u64 = 96 << 10;
const MOST_HANDSHAKES: u64 = 256;

/// The maximum number of connections for health checks and scrapes.
pub const HTTP_CONNECTIONS: usize = 16;

impl BrokerSettings {
    /// The shares of the process's open files. `Err` has the number that is needed.
    pub fn open_files(&self) -> Result<OpenFiles, usize> {
        let http = if self.http.is_some() { HTTP_CONNECTIONS } else { 0 };
        OpenFiles::share_out(machine::open_files(), usize::from(self.brokers) * self.listeners.len(), http)
    }

    /// The memory in bytes for requests of all clients.
    pub fn request_memory(&self) -> usize {
        self.share(self.request_budget)
    }

    /// The memory in bytes for responses of all clients.
    pub fn answer_memory(&self) -> usize {
        self.share(self.answer_budget)
    }

    /// The memory in bytes for all groups.
    pub fn group_memory(&self) -> usize {
        self.share(self.groups_budget)
    }

    /// The memory in bytes for all transactional ids.
    pub fn transaction_memory(&self) -> usize {
        self.share(self.transactions_budget.or(Some((self.eighth() / 2).min(SHARE))))
    }

    /// The maximum number of bytes in a push of metrics.
    pub fn most_telemetry(&self) -> usize {
        usize::try_from(self.telemetry_max_bytes).unwrap_or(usize::MAX)
    }

    /// The memory in bytes for the metrics that clients push.
    pub fn client_metrics_memory(&self) -> usize {
        let usual = || (self.eighth() / 4).min(CLIENT_METRICS);
        usize::try_from(self.client_metrics_budget.unwrap_or_else(usual)).unwrap_or(usize::MAX)
    }

    /// The memory in bytes for all access control lists.
    pub fn acl_memory(&self) -> usize {
        usize::try_from((self.eighth() / 2).min(ACLS)).unwrap_or(usize::MAX)
    }

    /// The memory in bytes for the keys of a log during its compaction.
    pub fn cleaner_memory(&self) -> u64 {
        self.cleaner_memory.min(self.eighth()).max(LEAST_SHARE)
    }

    /// The memory in bytes for all fetch sessions.
    pub fn session_memory(&self) -> usize {
        usize::try_from(self.eighth() / 2).unwrap_or(usize::MAX)
    }

    /// The maximum number of TLS handshakes at a time.
    pub fn handshakes(&self) -> usize {
        let most =
            self.max_handshakes.unwrap_or_else(|| (self.eighth() / 2 / HANDSHAKE).min(MOST_HANDSHAKES));
        usize::try_from(most.max(1)).unwrap_or(usize::MAX)
    }

    fn share(&self, set: Option<u64>) -> usize {
        let share = set.unwrap_or_else(|| self.eighth().min(SHARE)).max(LEAST_SHARE);
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    fn eighth(&self) -> u64 {
        self.memory.unwrap_or_else(machine::memory) / 8
    }
}
