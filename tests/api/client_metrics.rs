//! The metrics that clients push (KIP-714). What Kafka answers is compared by the scripts 71 and 72 of `tests/compare`.

use jackdaw::protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
};
use jackdaw::storage::Location;
use jackdaw::time::Clock;
use jackdaw::types::{Timestamp, Uuid};
use kafka_protocol::messages as theirs;

use crate::alter_configs::{CLIENT_METRICS, set};
use crate::harness::Node;
use crate::versions::each;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
/// The requests are served if the metrics are shown.
const WITH_A_PAGE: &[(&str, &str)] = &[("jackdaw.http.listener", "localhost:0")];
const ID: Uuid = Uuid([7; 16]);

/// A gauge `org.apache.kafka.consumer.lag` of 2.5 with the attribute `topic`, as OTLP.
const LAG: &[u8] = b"\x0a\x41\x12\x3f\x12\x3d\x0a\x1d\
    org.apache.kafka.consumer.lag\x2a\x1c\x0a\x1a\x21\0\0\0\0\0\0\x04\x40\x3a\x0f\
    \x0a\x05topic\x12\x06\x0a\x04jobs";

fn ask() -> GetTelemetrySubscriptionsRequest {
    GetTelemetrySubscriptionsRequest { client_instance_id: ID }
}

fn push(to: &GetTelemetrySubscriptionsResponse) -> PushTelemetryRequest {
    PushTelemetryRequest {
        client_instance_id: ID,
        subscription_id: to.subscription_id,
        metrics: LAG.into(),
        ..PushTelemetryRequest::default()
    }
}

#[tokio::test]
async fn w16_pushed_metrics_are_shown_until_the_client_is_silent_for_three_intervals() {
    let clock = Clock::manual(NOW);
    let node = Node::timed(Location::Memory, WITH_A_PAGE, clock.clone()).await;
    let mut client = node.client().await;
    set(&mut client, CLIENT_METRICS, "all", "metrics", "*").await;
    set(&mut client, CLIENT_METRICS, "all", "interval.ms", "10000").await;
    let subscribed = client.call(0, ask()).await;
    assert_eq!(
        (subscribed.push_interval_ms, subscribed.requested_metrics.as_slice()),
        (10_000, &["*".into()][..])
    );
    assert_eq!(client.call(0, push(&subscribed)).await.error_code, 0);

    let shown = || node.client_metrics.pushed(clock.monotonic()).clients;
    let clients = shown();
    let (name, value) = &clients[0].series[0];
    assert_eq!((clients.len(), clients[0].series.len()), (1, 1));
    assert_eq!(clients[0].properties.instance_id, ID.to_string());
    assert_eq!((name.metric.as_str(), *value), ("kafka_client_consumer_lag", 2.5));
    assert_eq!(name.labels.iter().collect::<Vec<_>>(), [(&"topic".to_owned(), &"jobs".to_owned())]);

    clock.set(Timestamp(NOW.0 + 30_000));
    assert_eq!(shown().len(), 1);
    clock.set(Timestamp(NOW.0 + 30_001));
    assert_eq!(shown().len(), 0);
}

#[tokio::test]
async fn both_requests_are_answered_in_every_version_and_two_codecs_read_it() {
    let node = Node::with(WITH_A_PAGE).await;
    let mut client = node.client().await;
    each::<_, theirs::GetTelemetrySubscriptionsResponse>(
        &mut client,
        0,
        |_| ask(),
        |answer, _| {
            assert_eq!((answer.error_code, answer.client_instance_id), (0, ID));
            assert_eq!(answer.requested_metrics, [""; 0], "a list, and not null");
        },
    )
    .await;
    let unknown =
        PushTelemetryRequest { client_instance_id: Uuid([8; 16]), ..PushTelemetryRequest::default() };
    each::<_, theirs::PushTelemetryResponse>(
        &mut client,
        0,
        |_| unknown.clone(),
        |answer, _| {
            assert_eq!(answer.error_code, 117);
        },
    )
    .await;
}
