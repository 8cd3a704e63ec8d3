//! Small Produce requests that cost much.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use bytes::Bytes;
use jackdaw::protocol::messages::api_versions_request::ApiVersionsRequest;
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use jackdaw::protocol::{Message, Request, Writer};
use jackdaw::record::{BatchBuilder, Codec};
use jackdaw::storage::Store;
use jackdaw::time::Clock;
use jackdaw::types::{Timestamp, TopicId};

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
            let batch =
                (0..1000).fold(BatchBuilder::new().codec(codec), |batch, _| batch.value(too_late, ""));
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

/// A round of the store that does not end, as on a disk that does not answer, until this is dropped.
struct EndlessRound {
    ends: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The thread that ends a round wakes those who wait for it. This one keeps it.
struct Keeps {
    began: Sender<()>,
    ends: Mutex<Receiver<()>>,
}

impl Wake for Keeps {
    fn wake(self: Arc<Self>) {
        self.began.send(()).expect("somebody waits for it");
        // The other end is dropped, which is no message.
        let _ = self.ends.lock().unwrap().recv();
    }
}

impl EndlessRound {
    fn begin(store: &Store, topic: TopicId) -> EndlessRound {
        let ((began, has_begun), (ends, end)) = (channel(), channel());
        let waker = Waker::from(Arc::new(Keeps { began, ends: Mutex::new(end) }));
        let mut changed = Box::pin(store.changed());
        assert!(changed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let store = store.clone();
        let thread = std::thread::spawn(move || drop(store.alter_topic(topic, Default::default())));
        has_begun.recv().expect("the round ends");
        EndlessRound { ends: Some(ends), thread: Some(thread) }
    }
}

impl Drop for EndlessRound {
    fn drop(&mut self) {
        self.ends = None;
        self.thread.take().expect("it is dropped once").join().expect("no panic");
    }
}

#[test]
fn batches_that_are_stored_uncompressed_wait_for_a_slow_disk_in_little_memory() {
    const BATCHES: usize = 60;
    alone(async {
        let victim = Victim::start().await;
        let topic = victim.node.topic_with("plain", 1, &[("compression.type", "uncompressed")]).await;
        let large =
            BatchBuilder::new().codec(Codec::Zstd).value(Clock::machine().now(), vec![0; MIB * 9 / 10]);
        let request = naming("plain", &large.build(), BATCHES);
        let round = EndlessRound::begin(&victim.node.store, topic);
        let watch = Watch::new();
        let playing = tokio::spawn(play(victim.address(), request));
        let mut other = victim.node.client().await;
        while watch.most() < 14 * MIB {
            other.call(3, ApiVersionsRequest::default()).await;
        }
        // The request has turns enough to queue all of its batches.
        for _ in 0..4 * BATCHES {
            other.call(3, ApiVersionsRequest::default()).await;
        }
        let most = watch.most();
        drop(round);
        playing.await.unwrap().expect("it is answered");
        println!("{most:>10} bytes for batches of {} bytes", BATCHES * MIB * 9 / 10);
        assert!(most < 20 * MIB, "{most} bytes");
        victim.serves_a_good_client().await;
    });
}
