//! A broker in a test. It starts in milliseconds at a free port, keeps its data in memory, and ends with the test.
//! `cargo test --example broker_in_a_test` runs the test, `cargo run --example broker_in_a_test` the same as a program.

use std::error::Error;
use std::time::Duration;

use jackdaw::Broker;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};

/// The code under test: forwards one order from `orders` to `invoices`.
async fn invoice_one(bootstrap: &str) -> Result<(), Box<dyn Error>> {
    let orders = subscribed(bootstrap, "billing", "orders")?;
    let order = orders.recv().await?;
    let invoice = format!("invoice for {}", text(&order)?);
    send(bootstrap, "invoices", &invoice).await
}

/// The test: an order goes in, an invoice comes out.
async fn an_order_becomes_an_invoice() -> Result<(), Box<dyn Error>> {
    let broker = Broker::builder().ephemeral().start().await?;

    send(broker.bootstrap(), "orders", "two lamps").await?;
    invoice_one(broker.bootstrap()).await?;

    let invoices = subscribed(broker.bootstrap(), "test", "invoices")?;
    assert_eq!(text(&invoices.recv().await?)?, "invoice for two lamps");
    Ok(())
}

async fn send(bootstrap: &str, topic: &str, value: &str) -> Result<(), Box<dyn Error>> {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let record = FutureRecord::<str, str>::to(topic).payload(value);
    producer.send(record, Duration::from_secs(60)).await.map_err(|(error, _)| error)?;
    Ok(())
}

fn subscribed(bootstrap: &str, group: &str, topic: &str) -> Result<StreamConsumer, Box<dyn Error>> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

fn text(message: &impl Message) -> Result<&str, Box<dyn Error>> {
    Ok(message.payload_view::<str>().ok_or("a record without a value")??)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    an_order_becomes_an_invoice().await?;
    println!("the order became an invoice");
    Ok(())
}

#[cfg(test)]
mod tests {
    // librdkafka blocks its thread when a consumer is closed, and the broker needs another one meanwhile.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_order_becomes_an_invoice() {
        super::an_order_becomes_an_invoice().await.unwrap();
    }
}
