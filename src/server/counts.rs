//! Counters of connections: the number of connections, and the reasons why they ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::End;
use super::input::{FrameError, Stranger};
use crate::api::Failure;
use crate::telemetry::Count;

/// Counters for all servers of one process since its start.
#[derive(Debug, Default)]
pub struct Connections {
    opened: Count,
    closed: [Count; Reason::ALL.len()],
    handshakes: AtomicU64,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $name:literal)+) => {
        /// The reason why a connection ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            pub const ALL: &[Reason] = &[$(Reason::$variant,)+];

            /// The name in metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Reason::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// The client closed it.
    ByClient "client_closed"
    Broken "broken"
    /// The broker stops.
    Stopping "stopping"
    Idle "idle"
    /// The client sent a request too slowly.
    TooSlow "too_slow"
    /// The client did not read its responses.
    NotReading "not_reading"
    /// Memory was needed, and this client had been inactive the longest.
    MadeRoom "made_room"
    TooManyFromAddress "too_many_from_address"
    /// More connections per second than the quota of the address allows.
    TooFast "connection_rate"
    /// TLS at a port without it.
    Tls "tls"
    /// The TLS handshake failed.
    Handshake "handshake"
    Http "http"
    /// The length of a request was invalid.
    NotKafka "not_kafka"
    TooLarge "too_large"
    /// A request before the login was larger than `sasl.server.max.receive.size`.
    TooLargeBeforeLogin "too_large_before_login"
    /// A key or version that is not advertised.
    NotServed "not_served"
    Malformed "malformed"
    /// A request without a response was refused, such as a batch with acks=0.
    Refused "refused"
    LoginFailed "login_failed"
    /// A bug of the broker.
    Failed "failed"
}

/// A connection that is open until this is dropped.
pub(super) struct OpenConnection {
    counts: Arc<Connections>,
    /// The reason. Without another one, the broker cut the connection off when it stopped.
    reason: Reason,
}

/// A TLS handshake that is under way until this is dropped.
#[cfg(feature = "security")]
pub(super) struct Handshake<'a>(&'a Connections);

impl Connections {
    pub fn opened(&self) -> u64 {
        self.opened.get()
    }

    pub fn closed_for(&self, reason: Reason) -> u64 {
        self.closed[reason as usize].get()
    }

    pub fn closed(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().copied().zip(self.closed.iter().map(Count::get))
    }

    /// The number of open connections.
    pub fn open(&self) -> u64 {
        // Closed ones first: whatever closes in the meantime was opened before.
        let closed: u64 = self.closed().map(|(_, count)| count).sum();
        self.opened().saturating_sub(closed)
    }

    /// The number of TLS handshakes that are under way.
    pub fn handshakes(&self) -> u64 {
        self.handshakes.load(Ordering::Relaxed)
    }

    #[cfg(feature = "security")]
    pub(super) fn begin_handshake(&self) -> Handshake<'_> {
        self.handshakes.fetch_add(1, Ordering::Relaxed);
        Handshake(self)
    }

    pub(super) fn open_one(self: &Arc<Connections>) -> OpenConnection {
        self.opened.one();
        OpenConnection { counts: Arc::clone(self), reason: Reason::Stopping }
    }

    /// Counts a connection that was closed before it was served.
    pub(super) fn turn_away(&self, reason: Reason) {
        self.opened.one();
        self.closed[reason as usize].one();
    }
}

impl OpenConnection {
    pub(super) fn ends(&mut self, end: &End) {
        self.reason = Reason::of(end);
    }

    #[cfg(feature = "security")]
    pub(super) fn ends_in_handshake(&mut self) {
        self.reason = Reason::Handshake;
    }
}

#[cfg(feature = "security")]
impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.counts.closed[self.reason as usize].one();
    }
}

impl Reason {
    fn of(end: &End) -> Reason {
        match end {
            End::Closed => Reason::ByClient,
            End::Broken(_) => Reason::Broken,
            End::Stopping => Reason::Stopping,
            End::Idle => Reason::Idle,
            End::TooSlow => Reason::TooSlow,
            End::NotReading => Reason::NotReading,
            End::MadeRoom => Reason::MadeRoom,
            End::Refused(FrameError::Stranger(Stranger::Tls)) => Reason::Tls,
            End::Refused(FrameError::Stranger(Stranger::Http)) => Reason::Http,
            End::Refused(FrameError::TooShort { .. }) => Reason::NotKafka,
            End::Refused(FrameError::TooLong { .. }) => Reason::TooLarge,
            End::Refused(FrameError::TooLongBeforeLogin { .. }) => Reason::TooLargeBeforeLogin,
            End::NotServed { .. } | End::NeedsLogin { .. } => Reason::NotServed,
            End::Malformed { .. } | End::Failed { failure: Failure::Malformed(_), .. } => Reason::Malformed,
            End::LoginFailed => Reason::LoginFailed,
            End::ClosedByHandler { .. } => Reason::Refused,
            End::Failed { failure: Failure::Unencodable(_) | Failure::Panicked, .. } => Reason::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_connections_are_those_that_were_opened_and_not_closed() {
        let counts = Arc::new(Connections::default());
        let first = counts.open_one();
        let mut second = counts.open_one();
        assert_eq!((counts.opened(), counts.open()), (2, 2));
        second.ends(&End::Idle);
        drop(second);
        counts.turn_away(Reason::TooManyFromAddress);
        assert_eq!((counts.opened(), counts.open()), (3, 1));
        drop(first);
        let closed: Vec<(Reason, u64)> = counts.closed().filter(|(_, count)| *count > 0).collect();
        assert_eq!(closed, [(Reason::Stopping, 1), (Reason::Idle, 1), (Reason::TooManyFromAddress, 1)]);
    }
}
