//! Clients that make the broker hold something and never take it away again.

use std::net::SocketAddr;

use bytes::Bytes;
use jackdaw::protocol::messages::describe_groups_request::DescribeGroupsRequest;
use jackdaw::protocol::messages::fetch_request::{FetchRequest, FetchTopic};
use jackdaw::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use jackdaw::protocol::{Request, Writer};
use jackdaw::record::BatchBuilder;
use jackdaw::time::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::counting::{self, Watch};
use crate::harness::{fetch_topics, partition_from};
use crate::victim::{MIB, MOST, Victim, alone, commit, framed, join, play};

fn request<R: Request>(version: i16, request: &R) -> Bytes {
    let mut body = Writer::new();
    request.encode(&mut body, version).unwrap();
    framed(R::KEY, version, &body.into_bytes()).into()
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

#[test]
fn a_declared_size_reserves_no_memory() {
    alone(async {
        let victim = Victim::start().await;
        let watch = Watch::new();
        let mut open = Vec::new();
        for beginning in [
            // 2 GiB; 100 MiB of Produce and of something else; HTTP; TLS.
            &b"\x7f\xff\xff\xff\0\0\0\x09\0\0\0\x01"[..],
            b"\x06\0\0\0\0\0\0\x09\0\0\0\x01",
            b"\x06\0\0\0\0\x03\0\x09\0\0\0\x01",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        ] {
            for _ in 0..20 {
                let mut socket = connect(victim.address()).await;
                socket.write_all(beginning).await.unwrap();
                open.push(socket);
            }
        }
        victim.serves_a_good_client().await;
        let each = watch.most() / open.len();
        assert!(each < MIB, "{each} bytes for each connection");
    });
}

#[test]
fn halves_of_large_requests_and_unread_answers_leave_room_for_others() {
    alone(async {
        let victim = Victim::start_furnished().await;
        let watch = Watch::new();
        let all = request(12, &MetadataRequest { topics: None, ..Default::default() });
        let mut open = Vec::new();
        for _ in 0..50 {
            let mut half = connect(victim.address()).await;
            half.write_all(&(20i32 << 20).to_be_bytes()).await.unwrap();
            half.write_all(&[0; 8]).await.unwrap();
            // The rest stays in the socket.
            let _ = half.try_write(&vec![0; MIB]);
            let unread = connect(victim.address()).await;
            for _ in 0..100 {
                let _ = unread.try_write(&all);
            }
            open.extend([half, unread]);
        }
        victim.serves_a_good_client().await;
        assert!(watch.most() < MOST, "{} bytes", watch.most());
    });
}

#[test]
fn long_polls_that_hold_a_lot_end_when_others_need_the_room() {
    alone(async {
        let victim = Victim::start().await;
        let watch = Watch::new();
        // Partition after partition that is not there, for as long as a client may wait.
        let partitions = (0..20_000).map(|index| partition_from(50 + index, 0)).collect();
        let topic = FetchTopic { topic: "t".to_owned(), partitions, ..Default::default() };
        let empty = FetchTopic {
            topic: "t".to_owned(),
            partitions: vec![partition_from(1, 0)],
            ..Default::default()
        };
        let poll = FetchRequest { max_wait_ms: 600_000, ..fetch_topics(vec![topic, empty]) };
        let poll = request(12, &poll);
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let mut socket = connect(victim.address()).await;
            socket.write_all(&poll).await.unwrap();
            // Each reads its answer when it comes: who does not loses its connection to those who wait.
            answers.spawn(async move {
                let length = socket.read_u32().await.unwrap();
                socket.read_exact(&mut vec![0; length as usize]).await.unwrap();
                length
            });
        }
        // All but the last are answered, long before their time, as each needs the room of the one before.
        for _ in 0..5 {
            assert!(answers.join_next().await.unwrap().unwrap() > 20_000);
        }
        victim.serves_a_good_client().await;
        assert!(watch.most() < MOST, "{} bytes", watch.most());
    });
}

#[test]
fn many_members_that_wait_for_others_take_few_bytes_each() {
    alone(async {
        let victim = Victim::with(&[("group.initial.rebalance.delay.ms", "300000")]).await;
        let before = counting::held();
        let mut open = Vec::new();
        for member in 0..500 {
            let mut socket = connect(victim.address()).await;
            socket.write_all(&request(3, &join(&format!("g{}", member % 10), &[7; 100]))).await.unwrap();
            open.push(socket);
        }
        victim.serves_a_good_client().await;
        let each = (counting::held() - before) / 500;
        assert!(each < 64 << 10, "{each} bytes for each member that waits");
    });
}

#[test]
fn new_names_make_topics_up_to_a_number() {
    alone(async {
        let victim = Victim::start().await;
        let watch = Watch::new();
        for hundred in 0..20 {
            let named = (0..100).map(|one| MetadataRequestTopic {
                name: Some(format!("made-up-{hundred}-{one}")),
                ..Default::default()
            });
            let topics = Some(named.collect());
            let asked = request(
                4,
                &MetadataRequest { topics, allow_auto_topic_creation: true, ..Default::default() },
            );
            play(victim.address(), asked).await;
        }
        assert!(victim.node.store.topics().iter().len() < 2_000);
        victim.serves_a_good_client().await;
        assert!(watch.most() < MOST, "{} bytes", watch.most());
    });
}

#[test]
fn made_up_groups_are_refused_when_their_memory_is_used_up_and_known_ones_go_on() {
    alone(async {
        let victim = Victim::with(&[("jackdaw.groups.max.bytes", "8388608")]).await;
        let mut client = victim.node.client().await;
        let first = client.call(8, commit("the-first-group", -1, "", "")).await;
        assert_eq!(first.topics[0].partitions[0].error_code, 0);
        let before = counting::held();
        let mut made = 0;
        let refused = loop {
            let code = client.call(8, commit(&format!("made-up-{made}"), -1, "", "")).await.topics[0]
                .partitions[0]
                .error_code;
            if code != 0 {
                break code;
            }
            made += 1;
            assert!(made < 100_000, "there is an end");
        };
        assert_eq!(refused, 15, "COORDINATOR_NOT_AVAILABLE");
        let taken = counting::held() - before;
        assert!(taken < 9 << 20, "{made} groups took {taken} bytes on an account of 8 MiB");
        assert!(taken > 4 << 20, "{made} groups took {taken} bytes: the account asks for too much");
        let again = client.call(8, commit("the-first-group", -1, "", "")).await;
        assert_eq!(again.topics[0].partitions[0].error_code, 0);
    });
}

#[test]
fn groups_of_one_member_take_what_their_account_says() {
    alone(async {
        let victim = Victim::with(&[("jackdaw.groups.max.bytes", "8388608")]).await;
        let mut client = victim.node.client().await;
        let before = counting::held();
        let mut made = 0;
        while client.call(3, join(&format!("made-up-{made}"), &[7; 100])).await.error_code == 0 {
            made += 1;
            assert!(made < 100_000, "there is an end");
        }
        let taken = counting::held() - before;
        assert!(taken < 9 << 20, "{made} groups took {taken} bytes on an account of 8 MiB");
        assert!(taken > 4 << 20, "{made} groups took {taken} bytes: the account asks for too much");
    });
}

/// A consumer's subscription of 1 MiB to topics with short names. Those of two members differ.
fn large_subscription(member: u32) -> Vec<u8> {
    const NAMES: u32 = ((1 << 20) - 100) / 6;
    let mut bytes = [&[0, 0][..], &(NAMES + 1).to_be_bytes(), b"\0\x01t"].concat();
    for number in member * NAMES..(member + 1) * NAMES {
        bytes.extend([0, 4]);
        bytes.extend([0, 6, 12, 18].map(|shift| b'0' + (number >> shift & 0x3f) as u8));
    }
    bytes.extend(u32::MAX.to_be_bytes());
    bytes
}

#[test]
fn the_topics_of_large_subscriptions_are_not_collected_to_delete_an_offset() {
    use jackdaw::protocol::messages::offset_delete_request::{
        OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    };
    const MEMBERS: u32 = 8;
    alone(async {
        let victim = Victim::start().await;
        let mut open = Vec::new();
        for member in 0..MEMBERS {
            let mut socket = connect(victim.address()).await;
            socket.write_all(&request(3, &join("large", &large_subscription(member)))).await.unwrap();
            open.push(socket);
        }
        let mut client = victim.node.client().await;
        let described = || DescribeGroupsRequest { groups: vec!["large".to_owned()], ..Default::default() };
        while client.call(0, described()).await.groups[0].members.len() < MEMBERS as usize {}

        let watch = Watch::new();
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
        let topics = vec![OffsetDeleteRequestTopic { name: "t".to_owned(), partitions }];
        let delete = OffsetDeleteRequest { group_id: "large".to_owned(), topics };
        let answer = client.call(0, delete).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 86, "GROUP_SUBSCRIBED_TO_TOPIC");
        assert!(watch.most() < 4 * MIB, "{} bytes", watch.most());
        victim.serves_a_good_client().await;
    });
}

#[test]
fn the_keys_of_a_compacted_log_take_what_their_account_says() {
    alone(async {
        let victim = Victim::with(&[("log.cleaner.dedupe.buffer.size", "8388608")]).await;
        let settings = [
            ("cleanup.policy", "compact"),
            ("internal.segment.bytes", "1048576"),
            ("min.cleanable.dirty.ratio", "0"),
        ];
        victim.node.topic_with("keys", 1, &settings).await;
        let mut client = victim.node.client().await;
        for thousand in 0..150 {
            let keys: Vec<String> = (0..1000).map(|one| format!("{:08}", thousand * 1000 + one)).collect();
            let batch = keys.iter().fold(BatchBuilder::new(), |batch, key| {
                batch.record(Clock::machine().now(), Some(key.as_bytes()), Some(b"v"), &[])
            });
            assert_eq!(client.produce("keys", 0, batch.build()).await.error_code, 0);
        }
        let store = victim.node.store.clone();
        let watch = Watch::new();
        tokio::task::spawn_blocking(move || store.compact()).await.unwrap();
        let most = watch.most();
        // Beside the keys: what is read and written at a time, and the new files, which are in memory here.
        assert!((6 * MIB..14 * MIB).contains(&most), "{most} bytes on an account of 8 MiB");
    });
}

#[test]
fn fetch_sessions_take_what_is_planned_for_them() {
    alone(async {
        let victim = Victim::start().await;
        let before = counting::held();
        let partitions: Vec<_> = (0..10_000).map(|index| partition_from(index, 0)).collect();
        let topic = FetchTopic { topic: "t".to_owned(), partitions, ..Default::default() };
        let full = FetchRequest { session_epoch: 0, ..fetch_topics(vec![topic]) };
        let full = request(12, &full);
        for _ in 0..20 {
            play(victim.address(), full.clone()).await;
        }
        let taken = counting::held() - before;
        assert!(taken < 20 << 20, "sessions took {taken} bytes on an account of 16 MiB");
        victim.serves_a_good_client().await;
    });
}

#[test]
fn thousands_of_requests_at_once_are_taken_as_far_as_there_is_room() {
    alone(async {
        let victim = Victim::start().await;
        let watch = Watch::new();
        let poll = FetchRequest { max_wait_ms: 600_000, ..crate::harness::fetch_from("t", 1, 0) };
        let poll = request(12, &poll);
        let mut open = Vec::new();
        for _ in 0..20 {
            let socket = connect(victim.address()).await;
            for _ in 0..1000 {
                let _ = socket.try_write(&poll);
            }
            open.push(socket);
        }
        victim.serves_a_good_client().await;
        assert!(watch.most() < 16 * MIB, "{} bytes", watch.most());
    });
}

#[test]
fn two_million_partitions_are_refused_before_any_is_made() {
    alone(async {
        use jackdaw::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
        let victim = Victim::start().await;
        let watch = Watch::new();
        let topic = CreatableTopic {
            name: "huge".to_owned(),
            num_partitions: 2_000_000,
            replication_factor: 1,
            ..Default::default()
        };
        let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = victim.node.client().await.call(7, create).await;
        assert_eq!(answer.topics[0].error_code, 44, "POLICY_VIOLATION");
        assert!(watch.most() < MIB * 4, "{} bytes", watch.most());
        victim.serves_a_good_client().await;
    });
}

/// The largest Produce that is read at all takes about its bytes twice: as it came, and in the log that
/// is kept in memory here.
#[test]
fn the_largest_request_fits_and_a_larger_one_is_refused_at_its_first_bytes() {
    alone(async {
        let victim = Victim::start().await;
        let most = MIB * 28;
        let mut socket = connect(victim.address()).await;
        let declared = i32::try_from(most + 1).unwrap();
        socket.write_all(&declared.to_be_bytes()).await.unwrap();
        socket.write_all(&[0; 8]).await.unwrap();
        assert_eq!(socket.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed");
        victim.serves_a_good_client().await;
    });
}
