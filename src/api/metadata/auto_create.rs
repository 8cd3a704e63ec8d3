//! Auto-creation of topics: after the Metadata answer, as in Kafka, and at a limited rate, because a client
//! with random names must not fill the broker.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use crate::api::context::Context;
use crate::api::{find_coordinator, replicas, topic_name};
use crate::storage::{Topic, TopicError};

/// So many at once …
const BURST: u32 = 1_000;
/// … and so many per second after that.
const PER_SECOND: f64 = 100.0;
/// With so many partitions in the broker a topic has to be made on purpose.
const PARTITIONS: usize = 100_000;

/// Submits the creation of a topic and does not wait for it. A client that asks again soon finds it.
pub fn create_behind(name: &str, partitions: usize, ctx: &Context) {
    if name == topic_name::CONSUMER_OFFSETS {
        return carry_out(name, find_coordinator::create_offsets_topic(ctx));
    }
    if topic_name::is_internal(name) || name == topic_name::CLUSTER_METADATA {
        return;
    }
    let services = &ctx.services;
    if !services.auto_create.may_create(partitions, services.clock.monotonic()) {
        return complain(
            name,
            "too many topics were auto-created recently, or there are too many partitions",
        );
    }
    let factor = usize::from(services.settings().default_replication);
    if replicas::check_factor(factor, &services.cluster.brokers).is_err() {
        return complain(name, "default.replication.factor is larger than the number of brokers");
    }
    let partitions = u32::try_from(services.settings().num_partitions).unwrap_or(1);
    let replicas = replicas::spread(ctx, partitions, factor);
    carry_out(name, services.store.create_placed_topic(name.to_owned(), BTreeMap::new(), replicas));
}

fn carry_out(name: &str, creating: impl Future<Output = Result<Arc<Topic>, TopicError>> + Send + 'static) {
    let name = name.to_owned();
    tokio::spawn(async move {
        match creating.await {
            Ok(_) => debug!(topic = name, "created on demand"),
            // Another client created it first.
            Err(TopicError::Exists) => {}
            Err(TopicError::Unknown) => debug!(topic = name, "auto-created, and deleted at once"),
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
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Duration,
}

impl Default for AutoCreate {
    fn default() -> AutoCreate {
        AutoCreate { bucket: Mutex::new(Bucket { tokens: f64::from(BURST), filled: Duration::ZERO }) }
    }
}

impl AutoCreate {
    /// Whether one more topic may be made; `partitions` is how many there are.
    pub fn may_create(&self, partitions: usize, now: Duration) -> bool {
        if partitions >= PARTITIONS {
            return false;
        }
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_sub(bucket.filled);
        bucket.tokens = (bucket.tokens + since.as_secs_f64() * PER_SECOND).min(f64::from(BURST));
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_made_in_bursts_and_then_at_a_bounded_rate() {
        let auto = AutoCreate::default();
        let at = |ms| Duration::from_millis(ms);
        assert!((0..BURST).all(|_| auto.may_create(0, at(0))));
        assert!(!auto.may_create(0, at(0)));
        assert!(!auto.may_create(0, at(9)));
        assert!(auto.may_create(0, at(20)));
        assert!((0..BURST).all(|_| auto.may_create(0, at(1_000_000))));
        assert!(!auto.may_create(0, at(1_000_000)), "a long rest gives no more than one burst");
    }

    #[test]
    fn a_full_broker_makes_topics_on_purpose_only() {
        let auto = AutoCreate::default();
        assert!(auto.may_create(PARTITIONS - 1, Duration::ZERO));
        assert!(!auto.may_create(PARTITIONS, Duration::ZERO));
    }
}
