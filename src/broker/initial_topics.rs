//! The topics of `jackdaw.initial.topics`: they are created before the first client can connect, unless they exist.

use tracing::{error, info, warn};

use crate::config::{BrokerSettings, InitialTopic, Overrides};
use crate::kernel;
use crate::storage::{Store, TopicError};
use crate::time;

/// Creates all topics that do not exist. They share a sync of the disk. A disk that is full or cannot be written, and
/// topics of clients, do not keep the broker from starting, because it can serve what it has.
pub(super) async fn create(store: &Store, settings: &BrokerSettings) {
    let mut creating = Vec::new();
    for wanted in &settings.initial_topics {
        let InitialTopic { name, partitions, replicas, policy } = wanted;
        let partitions = partitions.unwrap_or(u32::try_from(settings.num_partitions).unwrap_or(1));
        let topics = store.topics();
        if let Some(topic) = topics.by_name(name) {
            let there = topic.partitions.len();
            if wanted.partitions.is_some_and(|wanted| wanted as usize != there) {
                warn!(
                    topic = name,
                    partitions = there,
                    wanted = partitions,
                    "the topic exists with another number of partitions and was not changed: change the setting, or add partitions"
                );
            }
            continue;
        }
        // The default may be meant for a larger cluster.
        let factor =
            usize::from(replicas.unwrap_or(settings.default_replication)).min(topics.running().len());
        let start = u64::from_be_bytes(time::random_bytes());
        let placed = kernel::spread(topics.running(), partitions, factor, start);
        let policy = policy.iter().map(|policy| ("cleanup.policy".to_owned(), policy.clone()));
        let overrides = policy.collect::<Overrides>();
        creating.push((name, partitions, store.create_placed_topic(name.clone(), overrides, placed)));
    }
    for (name, partitions, created) in creating {
        match created.await {
            Ok(_) => info!(topic = name, partitions, "topic created, as the settings ask"),
            // Clients can create such a topic while the broker runs. That must not keep it from the next start.
            Err(TopicError::NameCollides { with }) => error!(
                topic = name,
                with,
                "topic not created, although the settings ask for it: its name collides with another topic's, because names \
                 of metrics do not distinguish . and _"
            ),
            Err(error @ (TopicError::Exists | TopicError::Unknown | TopicError::Store(_))) => error!(
                topic = name,
                ?error,
                "topic not created, although the settings ask for it: create it with an admin client, or restart"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::broker::Broker;
    use crate::config::INITIAL_TOPICS;

    #[tokio::test]
    async fn a_topic_without_a_number_of_replicas_has_at_most_one_on_each_broker() {
        for (brokers, replicas) in [(1, 1), (3, 3)] {
            let builder =
                Broker::builder().ephemeral().brokers(brokers).set(INITIAL_TOPICS, "orders:2 one:1:1");
            let broker = builder.set("default.replication.factor", "3").start().await.unwrap();
            let topics = broker.store.topics();
            let factors = |topic: &str| -> Vec<usize> {
                let topic = topics.by_name(topic).unwrap();
                topic.placement.iter().map(|placement| placement.replicas.len()).collect()
            };
            assert_eq!((factors("orders"), factors("one")), (vec![replicas; 2], vec![1]));
        }
    }
}
