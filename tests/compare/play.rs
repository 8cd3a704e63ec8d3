//! Sends the requests of a script to a broker and records the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use jackdaw::storage::Store;
use jackdaw::time::{self, Clock};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::codec;
use super::plain::Plain;
use super::schema::Kind;
use super::script::{Act, Request, Script, Step};
use super::value::{Names, Value, fill};

/// Long enough for every request that is answered at all.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two checks of a state that changes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// By the number of the step.
pub type Answers = BTreeMap<usize, Json>;

pub struct Player {
    address: String,
    /// The store of our broker. Its position shows whether a request has changed anything.
    store: Option<Store>,
    connections: BTreeMap<String, Connection>,
    names: Names,
    pub plain: Plain,
}

struct Connection {
    socket: TcpStream,
    /// The request that was sent and is not answered yet.
    waits: Option<(String, i16)>,
}

impl Player {
    /// Waits until the broker has a coordinator and assigns producer ids.
    pub async fn new(address: &str, store: Option<Store>) -> Player {
        let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
        let mut player = Player {
            address: address.to_owned(),
            store,
            connections: BTreeMap::new(),
            names: Names::new(),
            plain: Plain::new(host, port.parse().expect("a port")),
        };
        player.reach("FindCoordinator", 1, "key: g", "error_code").await;
        player.reach("ListGroups", 3, "", "error_code").await;
        player.reach("InitProducerId", 1, "transactional_id: null", "error_code").await;
        let cluster = player.ask("DescribeCluster", 0, "").await;
        player.plain.cluster = cluster["cluster_id"].as_str().expect("a cluster id").to_owned();
        // A failed run may have left topics and groups at an oracle.
        player.clean().await;
        player
    }

    fn position(&self) -> Option<u64> {
        self.store.as_ref().map(Store::position)
    }

    pub async fn play(&mut self, script: &Script, version: Option<i16>) -> Answers {
        self.names = Names::new();
        let yesterday = Clock::machine().now().0 - DAY_MS;
        self.plain.begin();
        self.names.insert("yesterday".to_owned(), yesterday.to_string());
        self.names.insert("host".to_owned(), self.plain.host.clone());
        self.names.insert("port".to_owned(), self.plain.port.to_string());
        self.names.insert("cluster".to_owned(), self.plain.cluster.clone());
        if let Some(version) = version {
            self.names.insert("v".to_owned(), version.to_string());
        }
        let mut answers = Answers::new();
        for step in script.steps.iter().filter(|step| step.only.holds(version)) {
            let before = self.position();
            let Some(answer) = self.step(step, version).await else { continue };
            let changed = step.changes_nothing && self.position() != before;
            answers.insert(
                step.number,
                if changed { json!("the request has changed something") } else { answer },
            );
        }
        self.connections.clear();
        self.clean().await;
        answers
    }

    async fn step(&mut self, step: &Step, played: Option<i16>) -> Option<Json> {
        match &step.act {
            Act::Topic { name, partitions, settings } => self.topic(name, *partitions, settings).await,
            Act::Delete { name } => {
                let name = fill(name, &self.names);
                let asked = format!("topic_names: [{name}], timeout_ms: 10000");
                self.reach("DeleteTopics", 4, &asked, "responses.0.error_code").await;
                self.is_gone(&name).await;
            }
            Act::Close => {
                self.connections.remove(&step.connection);
            }
            Act::Send(request) => {
                let version = request.version.or(played).expect("a version to play");
                self.send(&step.connection, request, version).await;
            }
            Act::Answer => {
                let (api, version) = self.waits(&step.connection);
                return Some(self.answer(step, &api, version).await);
            }
            Act::Call(request) => {
                let version = request.version.or(played).expect("a version to play");
                return Some(self.call(step, request, version).await);
            }
        }
        None
    }

    fn waits(&self, connection: &str) -> (String, i16) {
        let open = self.connections.get(connection).and_then(|open| open.waits.clone());
        open.unwrap_or_else(|| panic!("nothing was sent on @{connection}"))
    }

    async fn call(&mut self, step: &Step, request: &Request, version: i16) -> Json {
        let Some((path, wanted)) = &step.until else {
            self.send(&step.connection, request, version).await;
            return self.answer(step, &request.api, version).await;
        };
        let asked = async {
            loop {
                self.send(&step.connection, request, version).await;
                let answer = self.answer(step, &request.api, version).await;
                if at(&answer, path).is_some_and(|found| text(found) == *wanted) {
                    return answer;
                }
                time::sleep(LOOK_AGAIN).await;
            }
        };
        time::within(PATIENCE, asked).await.unwrap_or_else(|| json!("never what it waits for"))
    }

    /// The next answer, in the form in which it is compared.
    async fn answer(&mut self, step: &Step, api: &str, version: i16) -> Json {
        let answer = self.receive(&step.connection, api, version).await;
        for (name, path) in &step.lets {
            let found = at(&answer, path).map_or_else(|| "nothing".to_owned(), text);
            let name = fill(name, &self.names);
            self.plain.learn(&name, &found);
            self.names.insert(name, found);
        }
        self.plain.of(api, answer)
    }

    async fn send(&mut self, connection: &str, request: &Request, version: i16) {
        let message = codec::message(&request.api, Kind::Request);
        let Value::Object(fields) = Value::Object(request.fields.clone()).with(&self.names) else {
            unreachable!("an object stays one")
        };
        let mut body = codec::encode(message, version, &fields);
        let mut frame = Vec::new();
        frame.extend(message.key.expect("a key").to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(7_i32.to_be_bytes());
        frame.extend(b"\0\x07compare");
        if codec::is_flexible(message, version) {
            frame.push(0);
        }
        frame.append(&mut body);
        if !self.connections.contains_key(connection) {
            let socket = TcpStream::connect(&self.address).await.expect("the broker is there");
            self.connections.insert(connection.to_owned(), Connection { socket, waits: None });
        }
        let open = self.connections.get_mut(connection).expect("it is there by now");
        open.waits = Some((request.api.clone(), version));
        let length = u32::try_from(frame.len()).expect("a short request").to_be_bytes();
        // A closed connection is noticed when the answer is read.
        let _ = open.socket.write_all(&[&length[..], &frame].concat()).await;
    }

    async fn receive(&mut self, connection: &str, api: &str, version: i16) -> Json {
        let open = self.connections.get_mut(connection).expect("something was sent");
        let read = async {
            let length = open.socket.read_u32().await.ok()?;
            let mut frame = vec![0; length as usize];
            open.socket.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        open.waits = None;
        let frame = match time::within(PATIENCE, read).await {
            Some(Some(frame)) => frame,
            other => {
                self.connections.remove(connection);
                return json!(if other.is_none() { "no answer" } else { "closes" });
            }
        };
        let message = codec::message(api, Kind::Response);
        let is_flexible = codec::is_flexible(message, version) && api != "ApiVersions";
        let header = if is_flexible { &b"\0\0\0\x07\0"[..] } else { b"\0\0\0\x07" };
        // The answer to an unknown version of ApiVersions has version 0.
        let is_known = message.versions.last.is_none_or(|last| version <= last);
        let version = if api == "ApiVersions" && !is_known { 0 } else { version };
        let read = frame.strip_prefix(header).ok_or_else(|| "another header".to_owned());
        match read.and_then(|body| codec::decode(message, version, body)) {
            Ok(answer) => answer,
            Err(error) => json!(format!("unreadable: {error}")),
        }
    }

    /// A request of the player itself.
    async fn ask(&mut self, api: &str, version: i16, fields: &str) -> Json {
        let fields = Value::fields(fields).expect("written here");
        self.send("player", &Request { api: api.to_owned(), version: None, fields }, version).await;
        self.receive("player", api, version).await
    }

    /// Repeats the request until its error code is 0.
    async fn reach(&mut self, api: &str, version: i16, fields: &str, path: &str) {
        let asked = async {
            loop {
                let answer = self.ask(api, version, fields).await;
                if at(&answer, path) == Some(&json!(0)) {
                    return;
                }
                time::sleep(LOOK_AGAIN).await;
            }
        };
        let reached = time::within(PATIENCE * 3, asked).await;
        assert!(reached.is_some(), "{} never succeeded at {api} {fields}", self.address);
    }

    async fn topic(&mut self, name: &str, partitions: i32, settings: &[(String, String)]) {
        let id_name = format!("{}.id", name.split('$').next().expect("a first part"));
        let name = fill(name, &self.names);
        let settings: Vec<String> =
            settings.iter().map(|(name, value)| format!("{{name: {name}, value: \"{value}\"}}")).collect();
        let topic = format!(
            "topics: [{{name: {name}, num_partitions: {partitions}, replication_factor: 1, configs: [{}]}}], \
             timeout_ms: 10000",
            settings.join(",")
        );
        self.reach("CreateTopics", 4, &topic, "topics.0.error_code").await;
        for partition in 0..partitions {
            let asked = format!(
                "replica_id: -1, topics: [{{name: {name}, partitions: [{{partition_index: {partition}, \
                 timestamp: -1}}]}}]"
            );
            self.reach("ListOffsets", 2, &asked, "topics.0.partitions.0.error_code").await;
        }
        let asked = format!("topics: [{{name: {name}}}], allow_auto_topic_creation: false");
        let described = self.ask("Metadata", 12, &asked).await;
        let id = text(at(&described, "topics.0.topic_id").expect("the topic"));
        self.plain.learn(&id_name, &id);
        self.names.insert(id_name, id);
    }

    async fn is_gone(&mut self, name: &str) {
        let asked = format!("topics: [{{name: {name}}}], allow_auto_topic_creation: false");
        let gone = async {
            while at(&self.ask("Metadata", 12, &asked).await, "topics.0.error_code") != Some(&json!(3)) {
                time::sleep(LOOK_AGAIN).await;
            }
        };
        assert!(time::within(PATIENCE, gone).await.is_some(), "{name} stays");
    }

    /// Removes the members, groups and topics of a script.
    async fn clean(&mut self) {
        let listed = self.ask("ListGroups", 4, "").await;
        for group in list(&listed, "groups").iter().map(|group| text(&group["group_id"])) {
            let group = serde_json::to_string(&group).expect("a name");
            let described = self.ask("DescribeGroups", 4, &format!("groups: [{group}]")).await;
            for member in list(&described["groups"][0], "members") {
                let left = format!(
                    "group_id: {group}, members: [{{member_id: {}, group_instance_id: {}}}]",
                    member["member_id"], member["group_instance_id"]
                );
                self.ask("LeaveGroup", 4, &left).await;
            }
            self.ask("DeleteGroups", 1, &format!("groups_names: [{group}]")).await;
        }
        let all = self.ask("Metadata", 9, "topics: null").await;
        let topics = list(&all, "topics").iter().filter(|topic| topic["is_internal"] == json!(false));
        let names: Vec<String> = topics.map(|topic| topic["name"].to_string()).collect();
        if names.is_empty() {
            return;
        }
        self.ask("DeleteTopics", 4, &format!("topic_names: [{}], timeout_ms: 10000", names.join(","))).await;
        for name in names {
            self.is_gone(&name).await;
        }
    }
}

fn list<'a>(answer: &'a Json, name: &str) -> &'a [Json] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

/// `topics.0.error_code`
fn at<'a>(answer: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(answer, |found, part| match part.parse::<usize>() {
        Ok(index) => found.get(index),
        Err(_) => found.get(part),
    })
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
