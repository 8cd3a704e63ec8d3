//! Auto-creation of topics. As in Kafka it happens after the Metadata response. Its rate is limited,
//! because a client with random topic names must not fill the broker.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{debug, warn};

use crate::api::context::{Context, Creatable, NewReplicas, NewTopic};
use crate::api::{internal_topics, replicas};
use crate::storage::{Topic, TopicError};
use crate::types::{IgnorePoison, topic_name};

/// The number of topics that can be created at once …
const BURST: u32 = 1_000;
/// … and the number per second after that.
const PER_SECOND: f64 = 100.0;
/// From this number of partitions on, topics have to be created explicitly.
const PARTITIONS: usize = 100_000;

/// Submits the creation of a topic without waiting for it. A client that asks again soon finds it.
pub fn create_behind(creatable: Creatable, partitions: usize, ctx: &Context) {
    let name = creatable.as_str().to_owned();
    if let Some(internal) = internal_topics::find(&name) {
        if let Some(creating) = internal_topics::create(internal, ctx) {
            carry_out(name, creating);
        }
        return;
    }
    if name == topic_name::CLUSTER_METADATA {
        return;
    }
    let services = &ctx.services;
    let more = u32::try_from(services.settings().num_partitions).unwrap_or(1);
    let begun = services.auto_create.begin(partitions, more as usize, services.clock.monotonic());
    let underway = match begun {
        Ok(underway) => underway,
        Err(limit) => return complain(&name, limit.reached()),
    };
    let factor = usize::from(services.settings().default_replication);
    if replicas::check_factor(factor, &services.cluster.brokers).is_err() {
        return complain(&name, "default.replication.factor is larger than the number of brokers");
    }
    let replicas = NewReplicas::Spread { partitions: more, factor };
    let creating = ctx.create_topic(&NewTopic { name: creatable, overrides: BTreeMap::new(), replicas });
    carry_out(name, async move {
        let _underway = underway;
        creating.await
    });
}

fn carry_out(name: String, creating: impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + 'static) {
    tokio::spawn(async move {
        match creating.await {
            // Another client may have created it first.
            Ok(_) | Err(TopicError::Exists) => {}
            Err(TopicError::Unknown) => debug!(topic = name.as_str(), "auto-created, and deleted at once"),
            Err(TopicError::NameCollides { with }) => {
                complain(&name, &format!("its name collides with {with}"))
            }
            Err(TopicError::Store(error)) => complain(&name, &format!("{error:?}")),
        }
    });
}

fn complain(topic: &str, why: &str) {
    warn!(topic, why, "topic was not auto-created; create it with an admin client");
}

#[derive(Debug)]
pub struct AutoCreate {
    bucket: Mutex<Bucket>,
    /// Partitions that are being created and are not visible yet.
    underway: AtomicUsize,
}

/// The limit that keeps a topic from being created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// [`BURST`] and [`PER_SECOND`].
    Rate,
    /// [`PARTITIONS`].
    Partitions,
}

impl Limit {
    fn reached(self) -> &'static str {
        match self {
            Limit::Rate => "more than 1,000 topics at once or 100 per second were asked for",
            Limit::Partitions => "the broker would have more than 100,000 partitions",
        }
    }
}

/// Counts partitions that are being created, until this is dropped.
#[derive(Debug)]
struct Underway {
    of: Arc<AutoCreate>,
    partitions: usize,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Duration,
}

impl Default for AutoCreate {
    fn default() -> AutoCreate {
        let bucket = Bucket { tokens: f64::from(BURST), filled: Duration::ZERO };
        AutoCreate { bucket: Mutex::new(bucket), underway: AtomicUsize::new(0) }
    }
}

impl AutoCreate {
    /// Begins the creation of a topic with `more` partitions.
    fn begin(
        self: &Arc<AutoCreate>,
        partitions: usize,
        more: usize,
        now: Duration,
    ) -> Result<Underway, Limit> {
        let mut bucket = self.bucket.lock().ignoring_poison();
        if partitions + self.underway.load(Ordering::Relaxed) + more > PARTITIONS {
            return Err(Limit::Partitions);
        }
        if !bucket.take(now) {
            return Err(Limit::Rate);
        }
        self.underway.fetch_add(more, Ordering::Relaxed);
        Ok(Underway { of: Arc::clone(self), partitions: more })
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.of.underway.fetch_sub(self.partitions, Ordering::Relaxed);
    }
}

impl Bucket {
    fn take(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled);
        self.tokens = (self.tokens + since.as_secs_f64() * PER_SECOND).min(f64::from(BURST));
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_made_in_bursts_and_then_at_a_bounded_rate() {
        let auto = Arc::new(AutoCreate::default());
        let may = |ms| auto.begin(0, 1, Duration::from_millis(ms)).is_ok();
        assert!((0..BURST).all(|_| may(0)));
        assert!(!may(0));
        assert!(!may(9));
        assert!(may(20));
        assert!((0..BURST).all(|_| may(1_000_000)));
        assert!(!may(1_000_000), "a long rest gives no more than one burst");
        let limit = auto.begin(0, 1, Duration::from_secs(1_000)).unwrap_err();
        assert_eq!(limit.reached(), "more than 1,000 topics at once or 100 per second were asked for");
    }

    #[test]
    fn a_full_broker_makes_topics_on_purpose_only() {
        let auto = Arc::new(AutoCreate::default());
        let begin = |partitions, more| auto.begin(partitions, more, Duration::ZERO);
        let is_full = |begun: Result<Underway, Limit>| begun.is_err_and(|limit| limit == Limit::Partitions);
        assert!(is_full(begin(PARTITIONS, 1)));
        assert!(is_full(begin(PARTITIONS - 9, 10)));
        let underway = begin(PARTITIONS - 10, 10);
        assert!(underway.is_ok());
        assert!(is_full(begin(PARTITIONS - 10, 1)), "those that nobody sees yet count");
        drop(underway);
        assert!(begin(PARTITIONS - 10, 1).is_ok());
    }
}
