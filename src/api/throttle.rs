//! Quotas at work: the use of clients is measured, and a client that uses more is held back. The answer with the throttle
//! time is sent at once; then the server reads nothing from the connection for that time (KIP-219).
//!
//! A request only measures if there are quotas at all: otherwise it has no [`RequestMeter`].

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use super::connection::ConnectionInfo;
use super::error::{ErrorCode, Refusal};
use super::{Answer, Later, Reply};
use crate::config::BrokerSettings;
use crate::kernel::Quotas;
use crate::security::principal::Principal;
use crate::security::quota::{
    IdleMeter, Level, Meters, QuotaKind, Rate, TokenBucket, Windows, levels_of_client,
};
use crate::telemetry::Count;
use crate::time::Clock;
use crate::types::{EntityName, IgnorePoison, QuotaEntity};

/// The use of quotas by the clients of one broker.
pub struct Throttles {
    clock: Clock,
    producer_bytes: Mutex<Meters<ClientKey, Rate>>,
    consumer_bytes: Mutex<Meters<ClientKey, Rate>>,
    request_time: Mutex<Meters<ClientKey, Rate>>,
    mutations: Mutex<Meters<ClientKey, TokenBucket>>,
    connections: Mutex<Meters<IpAddr, Rate>>,
    addresses: Mutex<Addresses>,
    keys: RandomState,
    /// Shared by the virtual brokers of a process.
    throttled: Arc<[Count; QuotaKind::ALL.len()]>,
}

/// The clients that share a quota, as a hash of their names: names can be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClientKey(u64);

impl Throttles {
    pub fn new(clock: Clock) -> Throttles {
        Throttles {
            clock,
            producer_bytes: Mutex::default(),
            consumer_bytes: Mutex::default(),
            request_time: Mutex::default(),
            mutations: Mutex::default(),
            connections: Mutex::default(),
            addresses: Mutex::default(),
            keys: RandomState::new(),
            throttled: Arc::default(),
        }
    }

    /// Those of another virtual broker: as in Kafka, each one grants the whole quota.
    #[must_use]
    pub fn of_virtual_broker(&self) -> Throttles {
        Throttles { throttled: Arc::clone(&self.throttled), ..Throttles::new(self.clock.clone()) }
    }

    /// The number of times a client was held back by a quota of this kind.
    pub fn throttled(&self, kind: QuotaKind) -> u64 {
        self.throttled[kind as usize].get()
    }

    /// Counts a new connection. `Some` is the time after which it is closed, because there are too many from its
    /// address.
    pub fn connection(
        &self,
        ip: IpAddr,
        quotas: &Arc<Quotas>,
        settings: &BrokerSettings,
    ) -> Option<Duration> {
        // An IPv6 socket shows IPv4 clients with mapped addresses.
        let ip = ip.to_canonical();
        let limit = self.addresses.lock().ignoring_poison().limit(ip, quotas)?;
        let (now, windows) = (self.clock.monotonic(), Windows::of_quotas(settings));
        let mut used = self.connections.lock().ignoring_poison();
        let rate = used.meter(ip, now, windows);
        let held = rate.use_up(1.0, limit, now, windows).min(windows.size);
        if held.is_zero() {
            return None;
        }
        // As in Kafka, a connection that is not served does not count.
        rate.add(-1.0, now, windows);
        self.count(QuotaKind::ConnectionRate);
        Some(held)
    }

    fn count(&self, kind: QuotaKind) {
        self.throttled[kind as usize].one();
    }

    /// The limits of a client, by the kind of quota.
    fn limits(&self, quotas: &Quotas, user: &str, client_id: Option<&str>) -> Limits {
        let mut limits = Limits::default();
        for level in levels_of_client(user, client_id) {
            let Some(values) = quotas.get(&level.entity) else { continue };
            for kind in QuotaKind::ALL {
                let rate = values.get(kind.name()).copied();
                let limit = rate.map(|rate| Limit { rate, shared_by: self.key(&level) });
                limits[kind as usize] = limits[kind as usize].or(limit);
            }
        }
        limits
    }

    fn key(&self, level: &Level<'_>) -> ClientKey {
        ClientKey(self.keys.hash_one((level.user, level.client_id)))
    }
}

/// The rates of addresses, read from the quotas once.
#[derive(Default)]
struct Addresses {
    of: Option<Arc<Quotas>>,
    named: HashMap<IpAddr, f64>,
}

impl Addresses {
    fn limit(&mut self, ip: IpAddr, quotas: &Arc<Quotas>) -> Option<f64> {
        if self.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, quotas)) {
            self.named = quotas.iter().flat_map(|(entity, _)| Addresses::of(entity, quotas)).collect();
            self.of = Some(Arc::clone(quotas));
        }
        let default = QuotaEntity::Ip(EntityName::Default);
        self.named.get(&ip).copied().or_else(|| rate(quotas, &default, QuotaKind::ConnectionRate))
    }

    fn of(entity: &QuotaEntity, quotas: &Quotas) -> Option<(IpAddr, f64)> {
        let QuotaEntity::Ip(EntityName::Named(name)) = entity else { return None };
        let ip =
            if name == "localhost" { Ipv4Addr::LOCALHOST.into() } else { name.parse::<IpAddr>().ok()? };
        Some((ip.to_canonical(), rate(quotas, entity, QuotaKind::ConnectionRate)?))
    }
}

fn rate(quotas: &Quotas, entity: &QuotaEntity, kind: QuotaKind) -> Option<f64> {
    quotas.get(entity)?.get(kind.name()).copied()
}

fn mutation_windows(settings: &BrokerSettings) -> Windows {
    Windows { count: settings.mutation_windows, size: settings.mutation_window }
}

/// The quota of a client.
#[derive(Clone, Copy)]
struct Limit {
    /// The rate per second.
    rate: f64,
    shared_by: ClientKey,
}

type Limits = [Option<Limit>; QuotaKind::ALL.len()];

/// A request while there are quotas. It keeps no user name and no client id, because a long poll would hold them until it
/// ends.
pub struct RequestMeter {
    throttles: Arc<Throttles>,
    limits: Limits,
    settings: Arc<BrokerSettings>,
    /// The size of the request.
    bytes: usize,
    /// The time in nanoseconds that threads worked on the request and that is not counted yet.
    worked: AtomicU64,
    /// The time in nanoseconds at which a thread began to work on it; 0 while none does.
    begun: AtomicU64,
    /// Whether the request comes from another broker, which is never held back for the time of threads.
    is_exempt: AtomicBool,
}

impl RequestMeter {
    pub fn new(
        throttles: &Arc<Throttles>,
        quotas: &Quotas,
        settings: Arc<BrokerSettings>,
        connection: &ConnectionInfo,
        client_id: Option<&str>,
        bytes: usize,
    ) -> RequestMeter {
        let user = connection.session.principal().map(Principal::name);
        RequestMeter {
            throttles: Arc::clone(throttles),
            limits: user.map(|user| throttles.limits(quotas, user, client_id)).unwrap_or_default(),
            settings,
            bytes,
            worked: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            is_exempt: AtomicBool::new(false),
        }
    }

    /// The request is one of another broker.
    pub fn exempt(&self) {
        self.is_exempt.store(true, Ordering::Relaxed);
    }

    pub fn is_exempt(&self) -> bool {
        self.is_exempt.load(Ordering::Relaxed)
    }

    /// Counts the bytes of a Produce request. Returns how long the client is held back.
    pub fn produce(&self) -> Duration {
        let used = &self.throttles.producer_bytes;
        self.held(QuotaKind::ProducerBytes, used, |rate, limit, now, windows| {
            rate.use_up(self.bytes as f64, limit, now, windows)
        })
    }

    /// Counts the bytes of a Fetch response, and the time of the request so far. As in Kafka, the bytes of a response
    /// that is not sent do not count.
    pub fn fetch(&self, bytes: usize) -> Fetched {
        let time = self.time();
        let used = &self.throttles.consumer_bytes;
        let mut too_large = false;
        let held = self.held(QuotaKind::ConsumerBytes, used, |rate, limit, now, windows| {
            let is_alone = rate.sum(now, windows) < 1.0;
            let held = rate.use_up(bytes as f64, limit, now, windows);
            // A batch that is larger than the quota allows at once would never be read.
            too_large = is_alone && time.is_zero() && !held.is_zero();
            if !too_large && !held.max(time).is_zero() {
                rate.add(-(bytes as f64), now, windows);
            }
            held
        });
        match held.max(time) {
            Duration::ZERO => Fetched::InTime,
            held if too_large => Fetched::AndHeld(held),
            held => Fetched::Instead(held),
        }
    }

    /// The most bytes that a client may fetch at once. More would only be held back.
    pub fn most_fetched(&self) -> usize {
        let windows = Windows::of_quotas(&self.settings);
        let limit = self.limits[QuotaKind::ConsumerBytes as usize];
        limit.map_or(usize::MAX, |limit| (limit.rate * windows.complete().as_secs_f64()) as usize)
    }

    /// Counts the time that threads worked on the request since the last call. Returns how long the client is held
    /// back: as in Kafka, at most a window.
    pub fn time(&self) -> Duration {
        let worked = self.worked.swap(0, Ordering::Relaxed) + self.since_begun();
        if self.begun.load(Ordering::Relaxed) > 0 {
            self.begin();
        }
        let percent = worked as f64 / 1e9 * 100.0;
        let used = &self.throttles.request_time;
        self.held(QuotaKind::RequestTime, used, |rate, limit, now, windows| {
            rate.use_up(percent, limit, now, windows).min(windows.size)
        })
    }

    fn held<M: IdleMeter>(
        &self,
        kind: QuotaKind,
        used: &Mutex<Meters<ClientKey, M>>,
        use_up: impl FnOnce(&mut M, f64, Duration, Windows) -> Duration,
    ) -> Duration {
        let Some(limit) = self.limits[kind as usize] else { return Duration::ZERO };
        let windows = match kind {
            QuotaKind::ControllerMutations => mutation_windows(&self.settings),
            QuotaKind::ProducerBytes
            | QuotaKind::ConsumerBytes
            | QuotaKind::RequestTime
            | QuotaKind::ConnectionRate => Windows::of_quotas(&self.settings),
        };
        let now = self.throttles.clock.monotonic();
        let mut used = used.lock().ignoring_poison();
        let held = use_up(used.meter(limit.shared_by, now, windows), limit.rate, now, windows);
        if !held.is_zero() {
            self.throttles.count(kind);
        }
        held
    }

    fn nanoseconds(&self) -> u64 {
        u64::try_from(self.throttles.clock.monotonic().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn begin(&self) {
        self.begun.store(self.nanoseconds(), Ordering::Relaxed);
    }

    fn since_begun(&self) -> u64 {
        match self.begun.load(Ordering::Relaxed) {
            0 => 0,
            begun => self.nanoseconds().saturating_sub(begun),
        }
    }

    /// Does work of the request on a thread that does not poll it, and counts the time.
    pub fn working<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = self.nanoseconds();
        let done = work();
        self.worked.fetch_add(self.nanoseconds().saturating_sub(begun), Ordering::Relaxed);
        done
    }

    fn pause(&self) {
        self.worked.fetch_add(self.since_begun(), Ordering::Relaxed);
        self.begun.store(0, Ordering::Relaxed);
    }
}

/// The outcome of a Fetch response.
pub enum Fetched {
    InTime,
    /// It is sent, and the client is held back.
    AndHeld(Duration),
    /// An empty one is sent instead, and the client is held back.
    Instead(Duration),
}

/// The partitions that a request creates or deletes, for the quota of changes (KIP-599).
pub struct Mutations<'a> {
    metered: Option<&'a RequestMeter>,
    /// Whether the client knows THROTTLING_QUOTA_EXCEEDED. Others are served, and held back.
    is_strict: bool,
    /// How long the client is held back, and since when.
    held: Option<(Duration, Duration)>,
}

impl<'a> Mutations<'a> {
    pub fn new(metered: Option<&'a RequestMeter>, is_strict: bool) -> Mutations<'a> {
        Mutations { metered, is_strict, held: None }
    }

    /// Counts partitions. Fails if the client has used too much before.
    pub fn take(&mut self, partitions: usize) -> Result<(), Refusal> {
        let Some(metered) = self.metered else { return Ok(()) };
        let (strict, partitions) = (self.is_strict, partitions as f64);
        let used = &metered.throttles.mutations;
        let held = metered.held(QuotaKind::ControllerMutations, used, |bucket, limit, now, windows| {
            let taken = if strict {
                bucket.take_if_any(partitions, limit, now, windows)
            } else {
                bucket.take(partitions, limit, now, windows)
            };
            taken.err().unwrap_or(Duration::ZERO)
        });
        if held.is_zero() {
            return Ok(());
        }
        self.held = Some((held, metered.throttles.clock.monotonic()));
        if self.is_strict {
            return Err(ErrorCode::ThrottlingQuotaExceeded.into());
        }
        Ok(())
    }

    /// The throttle time of the response in milliseconds, from now on.
    pub fn throttle_time_ms(&self) -> i32 {
        let (Some((held, since)), Some(metered)) = (self.held, self.metered) else { return 0 };
        ms(held.saturating_sub(metered.throttles.clock.monotonic().saturating_sub(since)))
    }
}

/// The throttle time of a response.
pub fn ms(held: Duration) -> i32 {
    i32::try_from(held.as_millis()).unwrap_or(i32::MAX)
}

/// Measures the time that threads work on a request.
pub fn timed(metered: Arc<RequestMeter>, reply: Later<Reply<Answer>>) -> Later<Reply<Answer>> {
    let rest = Arc::clone(&metered);
    let reply = TimedWork { work: reply, metered };
    Box::pin(async move {
        match reply.await {
            Reply::Later(answer) => Reply::Later(Box::pin(TimedWork { work: answer, metered: rest })),
            Reply::LaterAndHeld { mute, answer } => {
                Reply::LaterAndHeld { mute, answer: Box::pin(TimedWork { work: answer, metered: rest }) }
            }
            reply @ (Reply::Silence { .. }
            | Reply::Now(_)
            | Reply::Last(_)
            | Reply::LastThenCut(..)
            | Reply::Close(_)) => reply,
        }
    })
}

struct TimedWork<T> {
    work: Later<T>,
    metered: Arc<RequestMeter>,
}

impl<T> Future for TimedWork<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<T> {
        self.metered.begin();
        let polled = self.work.as_mut().poll(task);
        self.metered.pause();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SharedMap;

    #[test]
    fn an_address_has_its_own_rate_or_the_default() {
        let limits = |own: Option<f64>, default: Option<f64>| {
            let mut by_entity = SharedMap::default();
            for (name, rate) in [(EntityName::named("192.0.2.1"), own), (EntityName::Default, default)] {
                let value = rate.map(|rate| (QuotaKind::ConnectionRate.name().to_owned(), rate));
                by_entity.insert_mut(QuotaEntity::Ip(name), value.into_iter().collect());
            }
            let (quotas, mut addresses) = (Arc::new(Quotas::from(by_entity)), Addresses::default());
            ["192.0.2.1", "192.0.2.2"].map(|ip| addresses.limit(ip.parse().unwrap(), &quotas))
        };
        assert_eq!(limits(None, None), [None, None]);
        assert_eq!(limits(Some(1.0), None), [Some(1.0), None]);
        assert_eq!(limits(None, Some(2.0)), [Some(2.0), Some(2.0)]);
        assert_eq!(limits(Some(1.0), Some(2.0)), [Some(1.0), Some(2.0)]);
    }
}
