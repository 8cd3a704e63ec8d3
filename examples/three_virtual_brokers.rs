//! Three virtual brokers in one process: a topic with three replicas goes on while one broker is stopped.
//! `cargo run --example three_virtual_brokers`; `cargo test --example three_virtual_brokers` checks the same.

use std::error::Error;
use std::time::Duration;

use jackdaw::{Broker, NodeId};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "orders";

/// The leaders of the partitions with all brokers, with one stopped, and with all again.
async fn leaders_over_a_stop() -> Result<[Vec<i32>; 3], Box<dyn Error>> {
    let broker = Broker::builder().ephemeral().brokers(3).start().await?;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", broker.bootstrap());

    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let topic = NewTopic::new(TOPIC, 3, TopicReplication::Fixed(3));
    for created in admin.create_topics(&[topic], &AdminOptions::new()).await? {
        created.map_err(|(name, code)| format!("{name}: {code}"))?;
    }
    let producer: FutureProducer = client.create()?;
    send_to_all(&producer).await?;
    let with_all = leaders(&client)?;

    broker.stop_one(NodeId(2)).await?;
    send_to_all(&producer).await?;
    let without_one = leaders(&client)?;

    broker.start_one(NodeId(2)).await?;
    send_to_all(&producer).await?;
    Ok([with_all, without_one, leaders(&client)?])
}

async fn send_to_all(producer: &FutureProducer) -> Result<(), Box<dyn Error>> {
    for partition in 0..3 {
        let record = FutureRecord::<str, str>::to(TOPIC).partition(partition).payload("an order");
        producer.send(record, PATIENCE).await.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// The leader of each partition, in the order of their numbers.
fn leaders(client: &ClientConfig) -> Result<Vec<i32>, Box<dyn Error>> {
    let consumer: BaseConsumer = client.create()?;
    let metadata = consumer.fetch_metadata(Some(TOPIC), PATIENCE)?;
    let topic = metadata.topics().first().ok_or("the topic is not there")?;
    let mut leaders: Vec<(i32, i32)> =
        topic.partitions().iter().map(|partition| (partition.id(), partition.leader())).collect();
    leaders.sort_unstable();
    Ok(leaders.into_iter().map(|(_, leader)| leader).collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [with_all, without_one, with_all_again] = leaders_over_a_stop().await?;
    println!("leaders of the three partitions: {with_all:?}");
    println!("while broker 2 is stopped:       {without_one:?}");
    println!("after it has started again:      {with_all_again:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn a_stopped_broker_leads_nothing_and_the_others_take_over() {
        let [mut with_all, without_one, _] = super::leaders_over_a_stop().await.unwrap();
        with_all.sort_unstable();
        assert_eq!(with_all, [1, 2, 3]);
        assert!(without_one.iter().all(|leader| [1, 3].contains(leader)), "{without_one:?}");
    }
}
