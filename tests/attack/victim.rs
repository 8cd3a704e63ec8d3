//! The broker that is attacked, those who attack it, and a client that means well.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use jackdaw::protocol::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntityData, EntryData, OpData,
};
use jackdaw::protocol::messages::alter_user_scram_credentials_request::{
    AlterUserScramCredentialsRequest, ScramCredentialUpsertion,
};
use jackdaw::protocol::messages::create_acls_request::{AclCreation, CreateAclsRequest};
use jackdaw::protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use jackdaw::protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use jackdaw::protocol::messages::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use jackdaw::storage::Location;
use jackdaw::time::{Clock, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;

use crate::amplify::{Attack, Names};
use crate::counting::Watch;
use crate::harness::{Client, Node, batch};

pub const MIB: usize = 1 << 20;
/// The memory that the broker divides.
pub const MEMORY: usize = 256 * MIB;
/// Requests, answers and groups have an eighth each, fetch sessions a sixteenth. What is not planned
/// for is in the eighth beside them.
pub const MOST: usize = MEMORY / 2;

/// Long enough for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a test while no other one runs, nor what it left behind: bytes are counted for the whole process.
pub fn alone(test: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

pub struct Victim {
    pub node: Node,
    pub names: Names,
}

impl Victim {
    /// A broker with a topic `t` of 50 partitions.
    pub async fn start() -> Victim {
        Victim::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Victim {
        Victim::at(Clock::machine(), settings).await
    }

    pub async fn at(clock: Clock, settings: &[(&str, &str)]) -> Victim {
        let memory = MEMORY.to_string();
        let mut all = vec![
            ("jackdaw.memory.max.bytes", memory.as_str()),
            ("group.initial.rebalance.delay.ms", "0"),
            ("num.partitions", "2"),
        ];
        all.extend(settings);
        let node = Node::timed(Location::Memory, &all, clock).await;
        let topic_id = node.topic("t", 50).await;
        Victim { node, names: Names::of("t", topic_id, "g") }
    }

    /// With things to tell of: 1,000 topics, 2,000 groups, and a group `g` whose offset of `t` has a long
    /// text and whose member says a lot; access control lists, quotas, and users with passwords.
    pub async fn start_furnished() -> Victim {
        Victim::furnished_with(&[]).await
    }

    pub async fn furnished_with(settings: &[(&str, &str)]) -> Victim {
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        let rights = [("authorizer.class.name", authorizer), ("super.users", "User:ANONYMOUS")];
        let victim = Victim::with(&[&rights, settings].concat()).await;
        for topic in 0..1000 {
            victim.node.topic(&format!("a-topic-with-a-longer-name-{topic}"), 2).await;
        }
        let mut client = victim.node.client().await;
        for group in 0..2000 {
            let name = format!("a-group-with-a-longer-name-{group}");
            assert_eq!(client.call(8, commit(&name, -1, "", "")).await.topics[0].partitions[0].error_code, 0);
        }
        // The text first: once there are members, only they commit.
        let long = "m".repeat(4096);
        assert_eq!(client.call(8, commit("g", -1, "", &long)).await.topics[0].partitions[0].error_code, 0);
        let joined = client.call(3, join("g", &[7; 100_000])).await;
        assert_eq!(joined.error_code, 0);
        let assigned = SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from(vec![7; 100_000]),
        };
        let sync = SyncGroupRequest {
            group_id: "g".to_owned(),
            generation_id: joined.generation_id,
            member_id: joined.member_id,
            assignments: vec![assigned],
            ..Default::default()
        };
        assert_eq!(client.call(3, sync).await.error_code, 0);
        furnish_rights(&mut client).await;
        victim
    }

    pub fn address(&self) -> SocketAddr {
        self.node.address
    }

    /// Fails where the broker is not what it was for a client that means well.
    pub async fn serves_a_good_client(&self) {
        serves(&self.address().to_string()).await;
    }

    /// Plays `attack` from `times` connections at once, which read their answers, and then a client that means
    /// well; says how much was held beyond before.
    pub async fn cost_of(&self, attack: &Attack, times: usize) -> usize {
        let watch = Watch::new();
        let request = Bytes::from(framed(attack.key, attack.version, &attack.body));
        let playing: Vec<_> =
            (0..times).map(|_| tokio::spawn(play(self.address(), request.clone()))).collect();
        for played in playing {
            played.await.expect("an attacker finds the broker there");
        }
        let most = watch.most();
        self.serves_a_good_client().await;
        most
    }
}

/// 2,000 access control lists, of which 200 are about `t`, and quotas and passwords of 500 users.
async fn furnish_rights(client: &mut Client) {
    const TOPIC: i8 = 2;
    const LITERAL: i8 = 3;
    const READ: i8 = 3;
    const ALLOW: i8 = 3;
    for some in (0..2000).collect::<Vec<_>>().chunks(500) {
        let creation = |nth: &i32| AclCreation {
            resource_type: TOPIC,
            resource_name: if nth % 10 == 0 {
                "t".to_owned()
            } else {
                format!("a-topic-with-a-longer-name-{nth}")
            },
            resource_pattern_type: LITERAL,
            principal: format!("User:a-user-with-a-longer-name-{nth}"),
            host: "*".to_owned(),
            operation: READ,
            permission_type: ALLOW,
        };
        let creations = some.iter().map(creation).collect();
        let made = client.call(3, CreateAclsRequest { creations }).await;
        assert!(made.results.iter().all(|result| result.error_code == 0), "{made:?}");
    }
    let user = |nth| format!("a-user-with-a-longer-name-{nth}");
    let entry = |nth| EntryData {
        entity: vec![EntityData { entity_type: "user".to_owned(), entity_name: Some(user(nth)) }],
        ops: vec![OpData { key: "producer_byte_rate".to_owned(), value: 1e6, ..Default::default() }],
    };
    let entries = (0..500).map(entry).collect();
    let altered = client.call(1, AlterClientQuotasRequest { entries, ..Default::default() }).await;
    assert!(altered.entries.iter().all(|entry| entry.error_code == 0), "{altered:?}");
    let upsertion = |nth| ScramCredentialUpsertion {
        name: user(nth),
        mechanism: 1,
        iterations: 4096,
        salt: Bytes::from_static(&[7; 16]),
        salted_password: Bytes::from_static(&[7; 32]),
    };
    let upsertions = (0..500).map(upsertion).collect();
    let altered = client.call(0, AlterUserScramCredentialsRequest { upsertions, ..Default::default() }).await;
    assert!(altered.results.iter().all(|result| result.error_code == 0), "{altered:?}");
}

/// A connection whose kernel keeps little for it, with requests that wait to be answered.
pub async fn unread(address: SocketAddr, requests: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
    let mut socket = socket.connect(address).await.expect("the broker listens");
    socket.write_all(requests).await.expect("the broker reads");
    socket
}

/// Reads until the connection ends or answered everything.
pub async fn read_all(mut socket: TcpStream, bytes: usize) {
    let mut some = vec![0; 64 << 10];
    let mut left = bytes;
    let reading = async {
        while left > 0 {
            match socket.read(&mut some).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    within(PATIENCE, reading).await.expect("the broker answers, or closes the connection");
}

/// A record goes in and comes out again.
pub async fn serves(address: &str) {
    is_served(&mut Client::of(address).await).await;
}

/// The same over a connection that is there.
pub async fn is_served(good: &mut Client<impl AsyncRead + AsyncWrite + Unpin>) {
    let produced = good.produce("t", 0, batch(&["mine"])).await;
    assert_eq!(produced.error_code, 0);
    let fetched = good.fetch("t", 0, produced.base_offset).await;
    assert_eq!((fetched.error_code, fetched.high_watermark > produced.base_offset), (0, true));
}

pub fn commit(group: &str, generation: i32, member: &str, text: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: 0,
        committed_offset: 1,
        committed_metadata: Some(text.to_owned()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn join(group: &str, metadata: &[u8]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 300_000,
        rebalance_timeout_ms: 300_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::copy_from_slice(metadata),
        }],
        ..Default::default()
    }
}

/// A whole request with its length and a header.
pub fn framed(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    framed_by(None, key, version, body)
}

/// The same with a client id.
pub fn framed_by(client: Option<&str>, key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(client.map_or(-1, |client| i16::try_from(client.len()).expect("a short name")));
    frame.put_slice(client.unwrap_or_default().as_bytes());
    if jackdaw::protocol::request_header_version(key, version) == Some(2) {
        frame.put_u8(0);
    }
    frame.extend_from_slice(body);
    let length = i32::try_from(frame.len() - 4).expect("a frame");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.to_vec()
}

/// Sends a request and takes what comes: an answer of so many bytes, or the end of the connection.
pub async fn play(address: SocketAddr, request: Bytes) -> Option<usize> {
    let mut socket = TcpStream::connect(address).await.expect("the broker listens");
    let talk = async {
        socket.write_all(&request).await.ok()?;
        let length = socket.read_u32().await.ok()? as usize;
        let mut left = length;
        let mut some = vec![0; 64 << 10];
        while left > 0 {
            let room = left.min(some.len());
            left -= Some(socket.read(&mut some[..room]).await.ok()?).filter(|read| *read > 0)?;
        }
        Some(length)
    };
    within(PATIENCE, talk).await.expect("the broker answers, or closes the connection")
}
