//! The metrics that clients push (KIP-714; Kafka's `ClientMetricsManager`).
//!
//! An operator makes subscriptions (`kafka-client-metrics.sh`). A client asks which metrics it should push, and how often
//! (GetTelemetrySubscriptions), and then pushes them (PushTelemetry). Kafka serves both requests if it has a plugin
//! that takes the metrics. Here they are served if there is a page of metrics, and are on it until the client is silent for
//! three intervals.
//!
//! - [`conversation`]: when a client may ask and push, as a state machine.
//! - [`otlp`]: the values in a push.
//! - [`series`]: the values of one client, as they are on the page.

mod conversation;
mod get_telemetry_subscriptions;
mod otlp;
mod push_telemetry;
mod series;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::error::ErrorCode;
use crate::config::{ClientProperty, ClientSubscription, LONGEST_CLIENT_INTERVAL};
use crate::kernel::{Scope, Settings};
use crate::record::{self, Codec};
use crate::types::{IgnorePoison, Uuid};
use conversation::Conversation;
use otlp::{NotOtlp, points};
pub use series::{Kind, Name, OF_CLIENT, Series};

/// The maximum number of clients. Beyond it, some of those that have been silent longest are forgotten, at first those
/// without values.
const MOST_CLIENTS: usize = 10_000;
const FORGOTTEN_AT_ONCE: usize = MOST_CLIENTS / 16;
/// The maximum number of values in a push. Those behind them are left out.
const MOST_VALUES: u64 = 5_000;
/// The maximum number of characters of a text that a client says of itself. Longer ones are cut.
const LONGEST: usize = 255;

/// The metrics of all clients.
#[derive(Debug)]
pub struct ClientMetrics {
    state: Mutex<State>,
    /// The memory for series.
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The stored settings from which `subscriptions` was made, and how often they have changed.
    stored: Arc<Settings>,
    version: u64,
    subscriptions: Vec<ClientSubscription>,
    clients: BTreeMap<Uuid, Client>,
    /// The memory of all series.
    bytes: usize,
    left_out: u64,
}

/// A client, as it is known by its id.
#[derive(Debug)]
struct Client {
    /// The version of the settings that `subscription` and `interval` are from.
    version: u64,
    subscription: i32,
    interval: Duration,
    conversation: Conversation,
    heard: Duration,
    properties: Arc<Properties>,
    series: Series,
}

/// The properties of a client that are known from its connection. Each has at most [`LONGEST`] characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    pub instance_id: String,
    pub client_id: String,
    pub software_name: String,
    pub software_version: String,
    pub source_address: String,
    pub source_port: String,
}

/// A client, and the subscriptions of the moment of its request.
pub struct Caller {
    pub properties: Properties,
    pub stored: Arc<Settings>,
    pub now: Duration,
}

/// A push of a client.
pub struct Push {
    pub subscription: i32,
    pub is_terminating: bool,
    /// `None` if it is unknown.
    pub codec: Option<Codec>,
    pub metrics: Bytes,
}

/// The metrics that a client should push, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub id: i32,
    pub interval: Duration,
    pub metrics: Vec<String>,
}

/// The values of one client for the page.
pub struct OfClient {
    pub properties: Arc<Properties>,
    pub series: Vec<(Name, f64)>,
}

/// The state of a scrape.
#[derive(Default)]
pub struct Pushed {
    pub clients: Vec<OfClient>,
    /// Values that were pushed and are not on the page: there is no room, or they are not a single number.
    pub left_out: u64,
    pub bytes: usize,
}

impl ClientMetrics {
    pub fn new(most_bytes: usize) -> ClientMetrics {
        ClientMetrics { state: Mutex::default(), most_bytes }
    }

    /// The values of all clients at `now`.
    pub fn pushed(&self, now: Duration) -> Pushed {
        let mut state = self.state.lock().ignoring_poison();
        state.forget_silent(now);
        let with_values = state.clients.values().filter(|client| !client.series.is_empty());
        let clients = with_values.map(|client| OfClient {
            properties: Arc::clone(&client.properties),
            series: client.series.iter().map(|(name, value)| (name.clone(), value)).collect(),
        });
        Pushed { clients: clients.collect(), left_out: state.left_out, bytes: state.bytes }
    }

    /// A client asks which metrics it should push.
    pub fn ask(&self, id: Uuid, caller: &Caller) -> Result<Subscribed, ErrorCode> {
        let mut state = self.state.lock().ignoring_poison();
        let (client, _) = state.talk(id, caller, self.most_bytes);
        client.conversation.ask(caller.now, client.interval)?;
        Ok(Subscribed::of(id, &caller.properties, &state.subscriptions))
    }

    /// A client pushes metrics, of at most `most` bytes. Metrics that are no OTLP are INVALID_RECORD.
    pub fn push(&self, id: Uuid, caller: &Caller, push: &Push, most: usize) -> Result<(), ErrorCode> {
        {
            let mut state = self.state.lock().ignoring_poison();
            let (client, _) = state.talk(id, caller, self.most_bytes);
            let facts = conversation::Push {
                is_subscribed: push.subscription == client.subscription,
                is_terminating: push.is_terminating,
                has_known_compression: push.codec.is_some(),
                fits: push.metrics.len() <= most,
            };
            client.conversation.push(facts, caller.now, client.interval)?;
        }
        let data = match push.codec {
            None | Some(Codec::None) => push.metrics.clone(),
            Some(codec) => opened(codec, push.metrics.clone(), most)?,
        };
        let mut state = self.state.lock().ignoring_poison();
        let (client, mut room) = state.talk(id, caller, self.most_bytes);
        let of_client = caller.properties.on_each_line();
        if *client.properties != caller.properties {
            client.properties = Arc::new(caller.properties.clone());
        }
        let mut values = 0_u64;
        let others = points(&data, |point| {
            values = values.saturating_add(1);
            if values > MOST_VALUES {
                room.leave_out(1);
                return Ok(());
            }
            client.series.take(point, of_client, &mut room)
        });
        room.leave_out(others.map_err(|NotOtlp| ErrorCode::InvalidRecord)?);
        Ok(())
    }
}

/// The text with at most [`LONGEST`] characters.
pub fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn opened(codec: Codec, metrics: Bytes, most: usize) -> Result<Bytes, ErrorCode> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    record::opened(codec, metrics, most).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => ErrorCode::TelemetryTooLarge,
        _ => ErrorCode::InvalidRecord,
    })
}

/// The memory that is left for series.
struct Room<'a> {
    bytes: &'a mut usize,
    most: usize,
    left_out: &'a mut u64,
}

impl Room<'_> {
    /// Whether the bytes fit. They are counted then.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.bytes.saturating_add(bytes) <= self.most;
        if fits {
            *self.bytes += bytes;
        }
        fits
    }

    fn leave_out(&mut self, values: u64) {
        *self.left_out = self.left_out.saturating_add(values);
    }
}

impl State {
    /// The entry of the client that sends a request, which is made if it is not there.
    fn talk(&mut self, id: Uuid, caller: &Caller, most: usize) -> (&mut Client, Room<'_>) {
        let Caller { properties, stored, now } = caller;
        self.subscribe(stored);
        if !self.clients.contains_key(&id) && self.clients.len() >= MOST_CLIENTS {
            self.forget_silent(*now);
            self.forget_some();
        }
        let version = self.version;
        let is_current = self.clients.get(&id).is_some_and(|client| client.version == version);
        if !is_current {
            let Subscribed { id: subscription, interval, .. } =
                Subscribed::of(id, properties, &self.subscriptions);
            let client = self.clients.entry(id).or_insert_with(|| Client {
                version,
                subscription,
                interval,
                conversation: Conversation::default(),
                heard: *now,
                properties: Arc::default(),
                series: Series::default(),
            });
            client.version = version;
            // As in Kafka, a client with another subscription begins anew.
            if client.subscription != subscription {
                client.conversation = Conversation::default();
                (client.subscription, client.interval) = (subscription, interval);
            }
        }
        let client = self.clients.get_mut(&id).expect("it was just made");
        client.heard = *now;
        (client, Room { bytes: &mut self.bytes, most, left_out: &mut self.left_out })
    }

    /// Reads the subscriptions again if settings changed.
    fn subscribe(&mut self, stored: &Arc<Settings>) {
        if Arc::ptr_eq(&self.stored, stored) {
            return;
        }
        let of_clients = |scope: &&Scope| matches!(scope, Scope::ClientMetrics(_));
        let own = stored.scopes().filter(of_clients).filter_map(|scope| stored.get(scope));
        self.subscriptions = own.map(ClientSubscription::of).collect();
        self.stored = Arc::clone(stored);
        self.version += 1;
    }

    /// Forgets the clients that have been silent for three intervals.
    fn forget_silent(&mut self, now: Duration) {
        let bytes = &mut self.bytes;
        self.clients.retain(|_, client| {
            let is_here = now.saturating_sub(client.heard) <= client.interval * 3;
            if !is_here {
                *bytes -= client.series.bytes();
            }
            is_here
        });
    }

    /// Forgets some clients if there are too many.
    fn forget_some(&mut self) {
        if self.clients.len() < MOST_CLIENTS {
            return;
        }
        let mut all: Vec<_> =
            self.clients.iter().map(|(id, client)| (!client.series.is_empty(), client.heard, *id)).collect();
        all.sort_unstable();
        let are_with_values = all.first().is_some_and(|(has_values, _, _)| *has_values);
        let same = all.into_iter().take_while(|(has_values, _, _)| *has_values == are_with_values);
        for (_, _, id) in same.take(FORGOTTEN_AT_ONCE) {
            let client = self.clients.remove(&id).expect("it was listed");
            self.bytes -= client.series.bytes();
        }
    }
}

impl Subscribed {
    /// Everything that the subscriptions that select the client ask for, at the shortest interval.
    fn of(id: Uuid, client: &Properties, all: &[ClientSubscription]) -> Subscribed {
        let mut interval = LONGEST_CLIENT_INTERVAL;
        let mut metrics: Vec<String> = Vec::new();
        for subscription in
            all.iter().filter(|subscription| subscription.selected.holds(|name| client.get(name)))
        {
            interval = interval.min(subscription.interval);
            for metric in &subscription.metrics {
                if !metrics.contains(metric) {
                    metrics.push(metric.clone());
                }
            }
        }
        if metrics.iter().any(|metric| metric == ALL) {
            metrics = vec![ALL.to_owned()];
        }
        // As in Kafka: it differs by the content and by the client.
        let content = format!("[{}]{}", metrics.join(", "), interval.as_millis());
        let half = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let mixed = half(&id.0[..8]) ^ half(&id.0[8..]);
        let hash = (mixed >> 32) as u32 ^ mixed as u32;
        Subscribed { id: (crc32c::crc32c(content.as_bytes()) ^ hash).cast_signed(), interval, metrics }
    }
}

/// The metric of a subscription to all metrics.
const ALL: &str = "*";

impl Properties {
    /// The bytes of the labels of the client, as they are on each line of the page.
    fn on_each_line(&self) -> usize {
        let Properties { instance_id, client_id, software_name, software_version, .. } = self;
        let texts = [instance_id, client_id, software_name, software_version];
        texts.iter().map(|text| text.len()).sum::<usize>()
            + OF_CLIENT.iter().map(|name| name.len() + 4).sum::<usize>()
    }

    fn get(&self, name: ClientProperty) -> &str {
        match name {
            ClientProperty::InstanceId => &self.instance_id,
            ClientProperty::ClientId => &self.client_id,
            ClientProperty::SoftwareName => &self.software_name,
            ClientProperty::SoftwareVersion => &self.software_version,
            ClientProperty::SourceAddress => &self.source_address,
            ClientProperty::SourcePort => &self.source_port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::otlp::tests::{double, gauge, push};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A frame of zstd with 100,000 zeros.
    const ZEROS: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xa0, 0x86, 0x01, 0x00, 0x03, 0x35, 0x0c, 0x00];

    /// Clients whose interval is five minutes.
    struct Play(ClientMetrics);

    fn id(number: usize) -> Uuid {
        Uuid(u128::try_from(number + 10).unwrap().to_be_bytes())
    }

    impl Play {
        fn new(most_bytes: usize) -> Play {
            Play(ClientMetrics::new(most_bytes))
        }

        fn push(&self, client: usize, second: u32, codec: Codec, metrics: Vec<u8>) -> Result<(), ErrorCode> {
            let caller =
                Caller { properties: Properties::default(), stored: Arc::default(), now: SECOND * second };
            let subscription = self.0.ask(id(client), &caller)?.id;
            let push =
                Push { subscription, is_terminating: false, codec: Some(codec), metrics: metrics.into() };
            self.0.push(id(client), &caller, &push, 1_000)
        }

        fn push_one(&self, client: usize, second: u32) {
            let metrics = push(&[], &[gauge("lag", &[double(1.0, &[])])]);
            assert_eq!(self.push(client, second, Codec::None, metrics), Ok(()));
        }

        fn clients(&self, second: u32) -> usize {
            self.0.pushed(SECOND * second).clients.len()
        }
    }

    #[test]
    fn a_client_leaves_the_page_when_it_is_silent_for_three_intervals() {
        let play = Play::new(1 << 20);
        play.push_one(1, 1_000);
        play.push_one(2, 1_300);
        assert_eq!(play.clients(1_900), 2);
        assert_eq!(play.clients(1_901), 1);
        assert_eq!(play.clients(2_201), 0);
        assert_eq!(play.0.pushed(SECOND * 2_201).bytes, 0);
    }

    #[test]
    fn of_too_many_clients_the_one_that_has_been_silent_longest_is_forgotten() {
        let play = Play::new(usize::MAX);
        let second = |client: usize| 1_000 + u32::try_from(client / 100).unwrap();
        (0..MOST_CLIENTS).for_each(|client| play.push_one(client, second(client)));
        let full = play.0.pushed(SECOND * 1_100);
        assert_eq!(full.clients.len(), MOST_CLIENTS);
        play.push_one(MOST_CLIENTS, 1_100);
        let after = play.0.pushed(SECOND * 1_100);
        let left = MOST_CLIENTS - FORGOTTEN_AT_ONCE + 1;
        assert_eq!(after.clients.len(), left);
        assert_eq!(after.bytes, full.bytes / MOST_CLIENTS * left);
        let caller =
            || Caller { properties: Properties::default(), stored: Arc::default(), now: SECOND * 1_100 };
        let known = |client| play.0.ask(id(client), &caller()) == Err(ErrorCode::ThrottlingQuotaExceeded);
        assert!(known(FORGOTTEN_AT_ONCE) && !known(FORGOTTEN_AT_ONCE - 1));
        // Clients that only ask make no room for themselves at the cost of those with values.
        (0..2 * MOST_CLIENTS).for_each(|client| {
            let _ = play.0.ask(id(2 * MOST_CLIENTS + client), &caller());
        });
        assert_eq!(play.clients(1_100), left);
    }

    #[test]
    fn metrics_that_are_too_large_or_unreadable_are_refused() {
        let play = Play::new(usize::MAX);
        let too_large = push(&[], &[gauge(&"x".repeat(1_000), &[])]);
        assert_eq!(play.push(1, 0, Codec::None, too_large), Err(ErrorCode::TelemetryTooLarge));
        assert_eq!(play.push(2, 0, Codec::Zstd, ZEROS.to_vec()), Err(ErrorCode::TelemetryTooLarge));
        assert_eq!(play.push(3, 0, Codec::Zstd, vec![1, 2, 3]), Err(ErrorCode::InvalidRecord));
        assert_eq!(play.push(4, 0, Codec::None, vec![0xff]), Err(ErrorCode::InvalidRecord));
        assert_eq!(play.clients(0), 0);
    }
}
