//! Small Produce requests that cost much.

use bytes::Bytes;
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use jackdaw::protocol::{Message, Request, Writer};
use jackdaw::record::{BatchBuilder, Codec};
use jackdaw::time::Clock;
use jackdaw::types::Timestamp;

use crate::counting::Watch;
use crate::harness::produce_to;
use crate::victim::{MIB, Victim, alone, framed, play};

/// A request that names the same partition once for each of these batches.
fn naming(topic: &str, batch: &Bytes, times: usize) -> Bytes {
    let mut request = produce_to(topic, 0, batch.clone());
    let one = PartitionProduceData { index: 0, records: Some(batch.clone().into()) };
    request.topic_data[0].partition_data = vec![one; times];
    let mut body = Writer::new();
    request.encode(&mut body, 12).expect("it can be written");
    framed(ProduceRequest::KEY, 12, &body.into_bytes()).into()
}

#[test]
fn records_that_are_refused_one_by_one_take_little_memory() {
    alone(async {
        let victim = Victim::start().await;
        // The topic accepts timestamps up to an hour ahead.
        let too_late = Timestamp(Clock::machine().now().0 + 7_200_000);
        for codec in [Codec::None, Codec::Zstd] {
            let batch = (0..1000).fold(BatchBuilder::new().codec(codec), |batch, _| batch.value(too_late, ""));
            let request = naming("t", &batch.build(), 300);
            let watch = Watch::new();
            play(victim.address(), request).await.expect("it is answered");
            let most = watch.most();
            println!("{most:>10} bytes for 300,000 refused records, {codec:?}");
            assert!(most < 12 * MIB, "{most} bytes, {codec:?}");
        }
        victim.serves_a_good_client().await;
    });
}
