//! Rules F3–F7 over the wire; the state machine behind them is tested in `src/api/fetch/session.rs`.

use jackdaw::api::error::ErrorCode;
use jackdaw::protocol::messages::fetch_request::{FetchRequest, FetchTopic, ForgottenTopic};
use jackdaw::protocol::messages::fetch_response::FetchResponse;
use jackdaw::types::{Offset, TopicId};

use crate::harness::{Client, Node, batch, code, fetch_topics, partition_from};

/// A client that keeps a session, by topic id.
struct Session {
    client: Client,
    topic: TopicId,
    id: i32,
    epoch: i32,
}

impl Session {
    async fn open(mut client: Client, topic: TopicId, partitions: &[(i32, i64)]) -> Session {
        let answer = client.call(18, request(topic, 0, 0, partitions)).await;
        assert_eq!(answer.error_code, 0);
        assert_ne!(answer.session_id, 0);
        assert_eq!(
            partitions_of(&answer).len(),
            partitions.len(),
            "a full fetch answers for every partition"
        );
        Session { client, topic, id: answer.session_id, epoch: 0 }
    }

    /// The next request of the session.
    fn next(&mut self, partitions: &[(i32, i64)]) -> FetchRequest {
        self.epoch += 1;
        request(self.topic, self.id, self.epoch, partitions)
    }

    /// One incremental fetch that does not wait; returns the partitions in the answer.
    async fn step(&mut self, partitions: &[(i32, i64)]) -> Vec<(i32, i16, i64)> {
        let request = self.next(partitions);
        let answer = self.client.call(18, request).await;
        assert_eq!((answer.error_code, answer.session_id), (0, self.id));
        partitions_of(&answer)
    }
}

fn request(
    topic_id: TopicId,
    session_id: i32,
    session_epoch: i32,
    partitions: &[(i32, i64)],
) -> FetchRequest {
    let partitions = partitions.iter().map(|(index, offset)| partition_from(*index, *offset)).collect();
    let topics = vec![FetchTopic { topic_id, partitions, ..Default::default() }];
    FetchRequest { session_id, session_epoch, ..fetch_topics(topics) }
}

/// Partition, error and high watermark.
fn partitions_of(answer: &FetchResponse) -> Vec<(i32, i16, i64)> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|one| (one.partition_index, one.error_code, one.high_watermark)).collect()
}

#[tokio::test]
async fn f4_an_incremental_answer_tells_of_records_changed_ends_and_errors_only() {
    let node = Node::start().await;
    let id = node.topic("t", 3).await;
    let mut producer = node.client().await;
    producer.produce("t", 0, batch(&["a"])).await;
    let mut session = Session::open(node.client().await, id, &[(0, 1), (1, 0), (2, 0)]).await;

    assert_eq!(session.step(&[]).await, []);
    producer.produce("t", 1, batch(&["b"])).await;
    assert_eq!(session.step(&[]).await, [(1, 0, 1)]);
    assert_eq!(session.step(&[]).await, [(1, 0, 1)], "records again, for the client did not move on");
    assert_eq!(session.step(&[(1, 1)]).await, []);

    let out_of_range = code(ErrorCode::OffsetOutOfRange);
    assert_eq!(session.step(&[(2, 9)]).await, [(2, out_of_range, -1)]);
    assert_eq!(session.step(&[]).await, [(2, out_of_range, -1)]);
    assert_eq!(session.step(&[(2, 0)]).await, [(2, 0, 0)], "once more, now that the error is gone");
    assert_eq!(session.step(&[]).await, []);

    node.store.delete_before(&node.partition("t", 0), Offset(1)).await.unwrap();
    assert_eq!(session.step(&[]).await, [(0, 0, 1)], "its log start moved");
    assert_eq!(session.step(&[]).await, []);
}

#[tokio::test]
async fn f3_an_incremental_fetch_with_nothing_to_tell_is_held() {
    let node = Node::start().await;
    let id = node.topic("t", 2).await;
    let mut producer = node.client().await;
    let mut session = Session::open(node.client().await, id, &[(0, 0), (1, 0)]).await;
    let held = FetchRequest { max_wait_ms: 10 * 60 * 1_000, ..session.next(&[]) };
    session.client.send(18, &held).await;
    for _ in 0..3 {
        producer.fetch("t", 0, 0).await;
        assert!(!session.client.has_received());
    }
    producer.produce("t", 1, batch(&["a"])).await;
    let (_, answer) = session.client.receive::<FetchRequest>(18).await;
    assert_eq!(partitions_of(&answer), [(1, 0, 1)]);

    let short = FetchRequest { max_wait_ms: 1, ..session.next(&[(1, 1)]) };
    let answer = session.client.call(18, short).await;
    assert_eq!((answer.error_code, partitions_of(&answer)), (0, vec![]), "and over when its time is");
}

#[tokio::test]
async fn f5_a_session_by_id_does_not_serve_a_new_topic_of_the_same_name() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut session = Session::open(node.client().await, id, &[(0, 0)]).await;
    node.store.delete_topic(id).await.unwrap();
    let gone = code(ErrorCode::UnknownTopicOrPartition);
    assert_eq!(session.step(&[]).await, [(0, gone, -1)]);
    let new = node.topic("t", 1).await;
    node.client().await.produce("t", 0, batch(&["new"])).await;
    assert_eq!(session.step(&[]).await, [(0, code(ErrorCode::InconsistentTopicId), -1)]);

    let mut next = session.next(&[]);
    next.topics = request(new, 0, 0, &[(0, 0)]).topics;
    next.forgotten_topics_data =
        vec![ForgottenTopic { topic_id: id, partitions: vec![0], ..Default::default() }];
    let answer = session.client.call(18, next).await;
    assert_eq!(answer.responses[0].topic_id, new);
    assert_eq!(partitions_of(&answer), [(0, 0, 1)]);
}

#[tokio::test]
async fn f5_a_session_by_id_cannot_be_gone_on_with_by_name() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut session = Session::open(node.client().await, id, &[(0, 0)]).await;
    let by_name = request(id, session.id, 1, &[]);
    let answer = session.client.call(12, by_name).await;
    assert_eq!(answer.error_code, code(ErrorCode::FetchSessionTopicIdError));
    assert_eq!((answer.session_id, answer.responses.len()), (0, 0));
    assert_eq!(session.step(&[]).await, [], "the session is as it was");
}

#[tokio::test]
async fn f6_a_new_client_beyond_the_slots_is_served_without_a_session() {
    let node = Node::with(&[("max.incremental.fetch.session.cache.slots", "2")]).await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    for expected in [true, true, false, false] {
        let answer = client.call(18, request(id, 0, 0, &[(0, 0)])).await;
        assert_eq!(answer.session_id != 0, expected);
        assert_eq!(partitions_of(&answer), [(0, 0, 0)]);
    }
}

#[tokio::test]
async fn f7_an_unknown_session_is_reported_at_once_and_costs_one_full_fetch() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut client = node.client().await;
    // As after a restart: the client has a session that the broker does not know.
    let lost = FetchRequest { max_wait_ms: 10 * 60 * 1_000, ..request(id, 12_345, 7, &[(0, 0)]) };
    let answer = client.call(18, lost).await;
    assert_eq!(answer.error_code, code(ErrorCode::FetchSessionIdNotFound));
    assert_eq!((answer.session_id, answer.responses.len()), (0, 0));
    let mut session = Session::open(client, id, &[(0, 0)]).await;
    assert_eq!(session.step(&[]).await, []);
}

#[tokio::test]
async fn epochs_out_of_turn_are_refused_and_a_full_fetch_starts_over() {
    let node = Node::start().await;
    let id = node.topic("t", 1).await;
    let mut session = Session::open(node.client().await, id, &[(0, 0)]).await;
    session.step(&[]).await;
    let wrong = code(ErrorCode::InvalidFetchSessionEpoch);
    for epoch in [1, 3, -2] {
        let answer = session.client.call(18, request(id, session.id, epoch, &[])).await;
        assert_eq!((answer.error_code, answer.session_id), (wrong, 0));
    }
    let over = session.client.call(18, request(id, session.id, 0, &[(0, 0)])).await;
    assert_ne!((over.session_id, over.session_id), (0, session.id));
    let old = session.client.call(18, request(id, session.id, 2, &[])).await;
    assert_eq!(old.error_code, code(ErrorCode::FetchSessionIdNotFound), "the old one ended");

    let last = session.client.call(18, request(id, over.session_id, -1, &[(0, 0)])).await;
    assert_eq!((last.error_code, last.session_id), (0, 0));
    let gone = session.client.call(18, request(id, over.session_id, 1, &[])).await;
    assert_eq!(gone.error_code, code(ErrorCode::FetchSessionIdNotFound));
}

#[tokio::test]
async fn a_busy_partition_does_not_starve_those_behind_it() {
    let node = Node::start().await;
    let id = node.topic("t", 3).await;
    let mut producer = node.client().await;
    for partition in [0, 0, 0, 0, 1, 2] {
        producer.produce("t", partition, batch(&["0123456789"])).await;
    }
    let all = request(id, 0, 0, &[(0, 0), (1, 0), (2, 0)]);
    let mut client = node.client().await;
    // One batch per answer: the partitions take turns.
    let first = client.call(18, FetchRequest { max_bytes: 1, ..all }).await;
    let mut session = Session { client, topic: id, id: first.session_id, epoch: 0 };
    let mut turns = Vec::new();
    for _ in 0..4 {
        let next = FetchRequest { max_bytes: 1, ..session.next(&[]) };
        let answer = session.client.call(18, next).await;
        let full = |one: &&jackdaw::protocol::messages::fetch_response::PartitionData| {
            one.records.as_ref().is_some_and(|records| !records.is_empty())
        };
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        turns.extend(partitions.filter(full).map(|one| one.partition_index));
    }
    assert_eq!(turns, [1, 2, 0, 1]);
}
