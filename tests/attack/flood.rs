//! Clients that ask for the same thing again and again: fetch sessions, producer ids.

use bytes::Bytes;
use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::fetch_request::{FetchRequest, FetchTopic};
use jackdaw::protocol::messages::init_producer_id_request::InitProducerIdRequest;
use jackdaw::record::{BatchBuilder, Producer};
use jackdaw::time::Clock;
use jackdaw::types::{ProducerEpoch, ProducerId, Timestamp};

use crate::counting::{self, Watch};
use crate::harness::{Client, code, fetch_topics, only, partition_from};
use crate::victim::{MIB, Victim, alone, is_served};

// --- fetch sessions -----------------------------------------------------------------------------------

/// A fetch of the first `partitions` of `t`, for a session.
fn session(id: i32, epoch: i32, partitions: i32) -> FetchRequest {
    let partitions = (0..partitions).map(|index| partition_from(index, 0)).collect();
    let topic = FetchTopic { topic: "t".to_owned(), partitions, ..Default::default() };
    FetchRequest { session_id: id, session_epoch: epoch, ..fetch_topics(vec![topic]) }
}

/// Asks for sessions and never uses them; returns how many there were.
async fn ask_for_sessions(victim: &Victim, partitions: i32) -> usize {
    let mut client = victim.node.client().await;
    let mut given = 0;
    for _ in 0..2_000 {
        let answer = client.call(12, session(0, 0, partitions)).await;
        assert_eq!(
            (answer.error_code, answer.responses.len()),
            (0, 1),
            "it is served without a session, too"
        );
        given += usize::from(answer.session_id != 0);
    }
    given
}

#[test]
fn of_a_flood_of_fetch_sessions_few_are_kept_and_evicted_clients_go_on() {
    const SLOTS: usize = 1_000;
    alone(async {
        let clock = Clock::manual(Clock::machine().now());
        let victim = Victim::at(clock.clone(), &[]).await;
        let mut good = victim.node.client().await;
        let opened = good.call(12, session(0, 0, 1)).await;
        let watch = Watch::new();
        assert_eq!(ask_for_sessions(&victim, 2).await, SLOTS - 1);
        let next = good.call(12, session(opened.session_id, 1, 1)).await;
        assert_eq!((next.error_code, next.session_id), (0, opened.session_id));

        // From now on larger sessions may take its place, too.
        clock.set(Timestamp(clock.now().0 + 121_000));
        let next = good.call(12, session(opened.session_id, 2, 1)).await;
        assert_eq!((next.error_code, next.session_id), (0, opened.session_id));
        assert_eq!(ask_for_sessions(&victim, 3).await, SLOTS);
        let evicted = good.call(12, session(opened.session_id, 3, 1)).await;
        assert_eq!(evicted.error_code, code(ErrorCode::FetchSessionIdNotFound));
        is_served(&mut good).await;
        let again = good.call(12, session(0, 0, 1)).await;
        assert!(only(again).records.is_some_and(|records| !records.into_bytes().is_empty()));
        assert!(watch.most() < 4 * MIB, "{} bytes", watch.most());
    });
}

// --- producer ids -------------------------------------------------------------------------------------

async fn new_producer(client: &mut Client) -> (i64, i16) {
    let request = InitProducerIdRequest {
        transactional_id: None,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let answer = client.call(5, request).await;
    assert_eq!(answer.error_code, 0);
    (answer.producer_id, answer.producer_epoch)
}

fn batch_of((id, epoch): (i64, i16), base_sequence: i32) -> Bytes {
    let producer = Producer { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence };
    BatchBuilder::new().producer(producer).value(Clock::machine().now(), "v").build()
}

/// Sends the batch twice; it is stored once.
async fn goes_on(good: &mut Client, producer: (i64, i16), sequence: i32) {
    let batch = batch_of(producer, sequence);
    let first = good.produce("t", 0, batch.clone()).await;
    let retried = good.produce("t", 0, batch).await;
    assert_eq!((first.error_code, retried.error_code, retried.base_offset), (0, 0, first.base_offset));
}

#[test]
fn a_loop_of_init_producer_id_holds_nothing_and_idempotent_producers_go_on() {
    alone(async {
        let victim = Victim::start().await;
        let mut good = victim.node.client().await;
        let producer = new_producer(&mut good).await;
        goes_on(&mut good, producer, 0).await;
        let mut attacker = victim.node.client().await;
        let mut last = producer.0;
        let before = counting::held();
        for _ in 0..5_000 {
            let (id, _) = new_producer(&mut attacker).await;
            assert!(id > last, "no id is given twice");
            last = id;
        }
        let taken = counting::held() - before;
        assert!(taken < 1 << 20, "{taken} bytes");
        goes_on(&mut good, producer, 1).await;
    });
}

#[test]
fn producers_with_made_up_ids_are_refused_when_their_memory_is_used_up_and_known_ones_go_on() {
    alone(async {
        let victim = Victim::with(&[("jackdaw.producers.max.bytes", "1048576")]).await;
        let mut good = victim.node.client().await;
        let producer = new_producer(&mut good).await;
        goes_on(&mut good, producer, 0).await;
        let mut attacker = victim.node.client().await;
        let watch = Watch::new();
        let mut refused = 0;
        for id in 1_000_000..1_006_000 {
            let code = attacker.produce("t", 0, batch_of((id, 0), 0)).await.error_code;
            assert!([0, ErrorCode::NotEnoughReplicas.code()].contains(&code), "{code}");
            refused += usize::from(code != 0);
        }
        assert!((2_000..4_000).contains(&refused), "{refused}: about 3,000 producers take 1 MiB");
        goes_on(&mut good, producer, 1).await;
        // Their records are in memory here, too.
        assert!(watch.most() < 4 * MIB, "{} bytes", watch.most());
    });
}
