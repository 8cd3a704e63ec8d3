//! Faults in a test: the broker refuses requests of the code under test, which has to cope with it (docs/testing.md).
//! `cargo test --example faults_in_a_test` runs the test, `cargo run --example faults_in_a_test` the same as a program.

use std::error::Error;
use std::time::Duration;

use jackdaw::{Broker, CutAt, Fault};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};

const LIMIT: Duration = Duration::from_secs(60);

/// The code under test: sends an order, and must not send it twice.
async fn order(bootstrap: &str, what: &str) -> Result<(), Box<dyn Error>> {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "shop")
        .set("enable.idempotence", "true")
        .create()?;
    let record = FutureRecord::<str, str>::to("orders").payload(what);
    producer.send(record, LIMIT).await.map_err(|(error, _)| error)?;
    Ok(())
}

/// The test: the first answer is lost, the leader seems to have moved, and the order is stored once.
async fn an_order_is_stored_once() -> Result<(), Box<dyn Error>> {
    let broker = Broker::builder().ephemeral().topic("orders:1").test_hooks().start().await?;
    let hooks = broker.hooks().ok_or("the builder turns them on")?;
    hooks.inject(Fault::of("Produce").client("shop").cut(CutAt::BeforeAnswer))?;
    let last = hooks.inject(Fault::of("Produce").client("shop").error("NOT_LEADER_OR_FOLLOWER"))?;

    order(broker.bootstrap(), "two lamps").await?;

    hooks.wait_for_fault(last, LIMIT).await?;
    assert_eq!(hooks.wait_for_records("orders", 1, LIMIT).await?, 1);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    an_order_is_stored_once().await?;
    println!("the order was stored once");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread")]
    async fn an_order_is_stored_once() {
        super::an_order_is_stored_once().await.unwrap();
    }
}
