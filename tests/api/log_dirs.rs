//! DescribeLogDirs and AlterReplicaLogDirs.

use jackdaw::api::error::ErrorCode;
use jackdaw::broker::Broker;
use jackdaw::protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use jackdaw::protocol::messages::alter_replica_log_dirs_response::AlterReplicaLogDirsResponse;
use jackdaw::protocol::messages::describe_log_dirs_request::{
    DescribableLogDirTopic, DescribeLogDirsRequest,
};
use jackdaw::protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;

use crate::harness::{Client, Node, batch, code};

/// Topics and their partitions.
type TopicPartitions<'a> = [(&'a str, &'a [i32])];

fn of(topics: &TopicPartitions<'_>) -> DescribeLogDirsRequest {
    let topics = topics.iter().map(|(topic, partitions)| DescribableLogDirTopic {
        topic: (*topic).to_owned(),
        partitions: partitions.to_vec(),
    });
    DescribeLogDirsRequest { topics: Some(topics.collect()) }
}

/// The only directory.
async fn describe(
    client: &mut Client,
    version: i16,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResult {
    let mut answer = client.call(version, request).await;
    assert_eq!((answer.error_code, answer.results.len()), (0, 1));
    answer.results.remove(0)
}

/// Topic, partition and size in the answer.
fn sizes(found: &DescribeLogDirsResult) -> Vec<(&str, i32, i64)> {
    assert_eq!((found.error_code, found.is_cordoned), (0, false));
    let mut sizes = Vec::new();
    for topic in &found.topics {
        for one in &topic.partitions {
            assert_eq!((one.offset_lag, one.is_future_key), (0, false));
            sizes.push((topic.name.as_str(), one.partition_index, one.partition_size));
        }
    }
    sizes.sort_unstable();
    sizes
}

#[tokio::test]
async fn a_partition_is_as_large_as_its_batches() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    node.topic("u", 1).await;
    let mut client = node.client().await;
    let sent = [batch(&["a", "b"]), batch(&["c"])];
    for one in &sent {
        client.produce("t", 1, one.clone()).await;
    }
    let size = i64::try_from(sent.iter().map(bytes::Bytes::len).sum::<usize>()).unwrap();
    for version in 1..=5 {
        let found = describe(&mut client, version, DescribeLogDirsRequest { topics: None }).await;
        assert_eq!(sizes(&found), [("t", 0, 0), ("t", 1, size), ("u", 0, 0)]);
        let found = describe(&mut client, version, of(&[("t", &[1])])).await;
        assert_eq!(sizes(&found), [("t", 1, size)]);
        assert!(!found.log_dir.is_empty());
    }
}

#[tokio::test]
async fn unknown_names_are_left_out_and_a_name_given_twice_is_returned_once() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    let asked = of(&[("nope", &[0]), ("t", &[0, 0, 9, -1]), ("t", &[1]), ("", &[0])]);
    assert_eq!(sizes(&describe(&mut client, 5, asked).await), [("t", 0, 0), ("t", 1, 0)]);
    assert_eq!(sizes(&describe(&mut client, 5, of(&[])).await), [], "the directory alone");
    assert_eq!(sizes(&describe(&mut client, 5, of(&[("t", &[])])).await), []);
}

#[tokio::test]
async fn in_memory_the_room_is_unknown() {
    let node = Node::start().await;
    let found = describe(&mut node.client().await, 5, of(&[])).await;
    assert_eq!((found.total_bytes, found.usable_bytes), (-1, -1));
}

#[tokio::test]
async fn on_disk_the_directory_and_its_disk_are_returned() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::builder().data_dir(dir.path()).start().await.unwrap();
    let mut client = Client::of(broker.bootstrap()).await;
    let found = describe(&mut client, 5, of(&[])).await;
    assert_eq!(std::path::Path::new(&found.log_dir), dir.path());
    assert!(0 < found.usable_bytes && found.usable_bytes <= found.total_bytes);
    let older = describe(&mut client, 3, of(&[])).await;
    assert_eq!((older.total_bytes, older.usable_bytes), (-1, -1), "v4 brought them");
}

fn to(dirs: &[(&str, &TopicPartitions<'_>)]) -> AlterReplicaLogDirsRequest {
    let topics = |topics: &TopicPartitions<'_>| {
        let topics = topics.iter().map(|(name, partitions)| AlterReplicaLogDirTopic {
            name: (*name).to_owned(),
            partitions: partitions.to_vec(),
        });
        topics.collect()
    };
    let dirs = dirs
        .iter()
        .map(|(path, named)| AlterReplicaLogDir { path: (*path).to_owned(), topics: topics(named) });
    AlterReplicaLogDirsRequest { dirs: dirs.collect() }
}

/// Topic, partition and error of every result, sorted.
fn results_of(answer: &AlterReplicaLogDirsResponse) -> Vec<(&str, i32, i16)> {
    let mut results = Vec::new();
    for topic in &answer.results {
        for one in &topic.partitions {
            results.push((topic.topic_name.as_str(), one.partition_index, one.error_code));
        }
    }
    results.sort_unstable();
    results
}

#[tokio::test]
async fn a_replica_may_be_sent_to_its_present_directory_and_to_no_other() {
    let node = Node::start().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    let dir = describe(&mut client, 5, of(&[])).await.log_dir;
    let (not_found, unknown) = (code(ErrorCode::LogDirNotFound), code(ErrorCode::UnknownTopicOrPartition));
    for version in [1, 2] {
        let answer = client.call(version, to(&[(&dir, &[("t", &[0, 1, 2, -1]), ("nope", &[0])])])).await;
        assert_eq!(
            results_of(&answer),
            [("nope", 0, unknown), ("t", -1, unknown), ("t", 0, 0), ("t", 1, 0), ("t", 2, unknown)]
        );
        for elsewhere in ["/elsewhere", ""] {
            let answer = client.call(version, to(&[(elsewhere, &[("t", &[0]), ("nope", &[0])])])).await;
            assert_eq!(results_of(&answer), [("nope", 0, not_found), ("t", 0, not_found)]);
        }
        assert_eq!(results_of(&client.call(version, to(&[])).await), []);
    }
    let answer = client.call(2, to(&[("/elsewhere", &[("t", &[0])]), (&dir, &[("t", &[0])])])).await;
    assert_eq!(results_of(&answer), [("t", 0, 0)], "what is said last counts");
    let in_it = format!("{dir}/");
    assert_eq!(results_of(&client.call(2, to(&[(&in_it, &[("t", &[0])])])).await), [("t", 0, not_found)]);
    let long = "x".repeat(214);
    let answer = client.call(2, to(&[(&dir, &[(&long, &[0])])])).await;
    assert_eq!(results_of(&answer), [(long.as_str(), 0, code(ErrorCode::InvalidTopicException))]);
}
