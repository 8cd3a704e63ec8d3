//! Sends the requests of a script to a broker and records the answers.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use jackdaw::storage::Store;
use jackdaw::time::{self, Clock};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::clients;
use super::codec;
#[cfg(feature = "security")]
use super::logins::{self, Login};
use super::plain::Plain;
use super::records;
use super::schema::Kind;
use super::script::{Act, Request, Script, Step};
use super::tls;
use super::value::{Names, Value, fill};

/// Long enough for every request that is answered at all.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two checks of a state that changes by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Repeated requests that are sent before the first answer is read.
const TOGETHER: usize = 500;
/// The beginnings of the names of connections to the listener for logins, or with TLS.
const SECOND: [&str; 4] = ["sasl", "user-", "token-", "tls-"];
/// Stands for an answer that a script waits for and that does not come.
pub const NEVER: &str = "never what it waits for";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// By the number of the step.
pub type Answers = BTreeMap<usize, Json>;

pub struct Player {
    address: String,
    /// The listener at which clients log in, or which has TLS.
    second: Option<String>,
    /// The store of our broker. Its position shows whether a request has changed anything.
    store: Option<Store>,
    connections: BTreeMap<String, Connection>,
    names: Names,
    pub plain: Plain,
}

trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

struct Connection {
    socket: Box<dyn Socket>,
    /// The request that was sent and is not answered yet.
    waits: Option<(String, i16)>,
    /// The answer to a login that has failed, which is the answer to all requests then.
    refused: Option<Json>,
}

impl Player {
    /// Waits until the broker has a coordinator and assigns producer ids.
    pub async fn new(address: &str, second: Option<String>, store: Option<Store>) -> Player {
        let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
        let mut player = Player {
            address: address.to_owned(),
            second,
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
        self.plain.learn("yesterday", &yesterday.to_string());
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
            Act::Transactions => self.transactions().await,
            Act::Administrator => self.create_acls(&clients::administrator()).await,
            Act::Rights => {
                self.create_acls(&clients::administrator()).await;
                self.create_acls(&clients::acls()).await;
            }
            Act::Close => {
                self.connections.remove(&step.connection);
            }
            Act::Send(request) => {
                let version = request.version.or(played).expect("a version to play");
                self.send(&step.connection, request, version).await;
            }
            Act::Token(bytes) => {
                let bytes = records::bytes_of(&bytes.with(&self.names));
                self.write(&step.connection, &bytes, None).await;
                let answer = self.read(&step.connection).await;
                let answer = answer
                    .map_or_else(|fate| json!(fate), |bytes| json!({ "token": records::readable(&bytes) }));
                return Some(self.learn(step, "token", answer));
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
            let mut left = step.times - 1;
            while left > 0 {
                let together = left.min(TOGETHER);
                for _ in 0..together {
                    self.send(&step.connection, request, version).await;
                }
                for _ in 0..together {
                    self.receive(&step.connection, &request.api, version).await;
                }
                left -= together;
            }
            self.send(&step.connection, request, version).await;
            let answer = self.answer(step, &request.api, version).await;
            self.markers_are_written(request).await;
            return answer;
        };
        let asked = async {
            loop {
                self.send(&step.connection, request, version).await;
                let answer = self.answer(step, &request.api, version).await;
                if at(&answer, path).map_or_else(|| "absent".to_owned(), text) == *wanted {
                    return answer;
                }
                time::sleep(LOOK_AGAIN).await;
            }
        };
        let reached = time::within(PATIENCE, asked).await;
        if reached.is_none() {
            // An answer may still be on its way.
            self.connections.remove(&step.connection);
        }
        reached.unwrap_or_else(|| json!(NEVER))
    }

    /// The next answer, in the form in which it is compared.
    async fn answer(&mut self, step: &Step, api: &str, version: i16) -> Json {
        let answer = self.receive(&step.connection, api, version).await;
        let answer = self.learn(step, "auth_bytes", answer);
        let mut answer = self.plain.of(api, answer);
        for path in &step.some {
            let number = answer.pointer_mut(&format!("/{}", path.replace('.', "/")));
            if let Some(number) = number.filter(|number| number.as_i64().is_some_and(|number| number > 0)) {
                *number = json!("<some>");
            }
        }
        answer
    }

    /// Takes the variables of a step from an answer, which may have a message of a login.
    fn learn(&mut self, step: &Step, message: &str, mut answer: Json) -> Json {
        for (name, path) in &step.lets {
            let name = fill(name, &self.names);
            // Without a value the next requests are wrong, and their answers show it.
            let found = at(&answer, path).map(text);
            if let Some(found) = &found {
                self.plain.learn(&name, found);
            }
            let found = found.unwrap_or_else(|| "0".to_owned());
            self.names.insert(name, found.strip_prefix("hex ").unwrap_or(&found).to_owned());
        }
        if let Some(message) = answer.get_mut(message) {
            *message = json!(shown(&text(message)));
        }
        answer
    }

    async fn send(&mut self, connection: &str, request: &Request, version: i16) {
        if !self.connections.contains_key(connection) {
            let socket = self.connect(connection).await;
            let open = Connection { socket, waits: None, refused: None };
            self.connections.insert(connection.to_owned(), open);
            #[cfg(feature = "security")]
            if let Some(login) = logins::login(connection, &self.names) {
                let refused = self.log_in(connection, &login).await;
                self.connections.get_mut(connection).expect("it was inserted").refused = refused;
            }
        }
        self.write_request(connection, request, version).await;
    }

    async fn write_request(&mut self, connection: &str, request: &Request, version: i16) {
        let message = codec::message(&request.api, Kind::Request);
        let Value::Object(fields) = Value::Object(request.fields.clone()).with(&self.names) else {
            unreachable!("an object stays one")
        };
        let mut body = codec::encode(message, version, &fields);
        let mut frame = Vec::new();
        frame.extend(message.key.expect("a key").to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(7_i32.to_be_bytes());
        match clients::id(connection) {
            Some(id) => {
                frame.extend(u16::try_from(id.len()).expect("a short id").to_be_bytes());
                frame.extend(id.as_bytes());
            }
            None => frame.extend((-1_i16).to_be_bytes()),
        }
        if codec::is_flexible(message, version) {
            frame.push(0);
        }
        frame.append(&mut body);
        self.write(connection, &frame, Some((request.api.clone(), version))).await;
    }

    /// Sends a frame, whose answer is for this API and version.
    async fn write(&mut self, connection: &str, frame: &[u8], waits: Option<(String, i16)>) {
        if !self.connections.contains_key(connection) {
            let socket = self.connect(connection).await;
            self.connections.insert(connection.to_owned(), Connection { socket, waits: None, refused: None });
        }
        let open = self.connections.get_mut(connection).expect("it is there by now");
        open.waits = waits;
        let length = u32::try_from(frame.len()).expect("a short request").to_be_bytes();
        // A closed connection is noticed when the answer is read.
        let _ = open.socket.write_all(&[&length[..], frame].concat()).await;
        let _ = open.socket.flush().await;
    }

    /// A client with rights of its own comes from an address of its own.
    async fn connect(&self, connection: &str) -> Box<dyn Socket> {
        let is_second = SECOND.iter().any(|name| connection.starts_with(name));
        let listener = if is_second { self.second.as_ref() } else { Some(&self.address) };
        let broker = listener.expect("a second listener: broker logins").parse().expect("an address");
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(address) = clients::address(connection) {
            socket.bind((address, 0).into()).expect("an address of this machine");
        }
        let socket = socket.connect(broker).await.expect("the broker is there");
        let Some(certificate) = tls::certificate(connection) else { return Box::new(socket) };
        match tls::shake_hands(socket, certificate).await {
            Ok(socket) => Box::new(socket),
            // A connection that ends at once.
            Err(_) => Box::new(tokio::io::empty()),
        }
    }

    /// The next frame, or what happens instead.
    async fn read(&mut self, connection: &str) -> Result<Vec<u8>, &'static str> {
        let open = self.connections.get_mut(connection).expect("something was sent");
        let read = async {
            let length = open.socket.read_u32().await.ok()?;
            let mut frame = vec![0; length as usize];
            open.socket.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        open.waits = None;
        match time::within(PATIENCE, read).await {
            Some(Some(frame)) => Ok(frame),
            other => {
                self.connections.remove(connection);
                Err(if other.is_none() { "no answer" } else { "closes" })
            }
        }
    }

    async fn receive(&mut self, connection: &str, api: &str, version: i16) -> Json {
        if let Some(refused) = self.connections.get(connection).and_then(|open| open.refused.clone()) {
            return refused;
        }
        let frame = match self.read(connection).await {
            Ok(frame) => frame,
            Err(fate) => return json!(fate),
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

    /// Waits until the broker has a coordinator for transactions, and makes `$own`: transactional ids are never
    /// deleted, so each run needs its own.
    async fn transactions(&mut self) {
        let own = format!("{:016x}", RandomState::new().build_hasher().finish());
        self.plain.learn("own", &own);
        let first = format!("transactional_id: first-{own}, transaction_timeout_ms: 60000");
        self.names.insert("own".to_owned(), own);
        self.reach("FindCoordinator", 1, "key: first, key_type: 1", "error_code").await;
        self.reach("InitProducerId", 1, &first, "error_code").await;
    }

    /// Creates access control lists, and waits until the broker follows them.
    async fn create_acls(&mut self, acls: &[String]) {
        self.ask("CreateAcls", 3, &format!("creations: [{}]", acls.join(", "))).await;
        let last = clients::filter(acls.last().expect("there are some"));
        let seen = async {
            while !self.ask("DescribeAcls", 3, &last).await["resources"][0].is_object() {
                time::sleep(LOOK_AGAIN).await;
            }
        };
        assert!(time::within(PATIENCE, seen).await.is_some(), "{} has no authorizer", self.address);
    }

    /// Kafka writes the markers of a transaction after it has answered the request that ends it.
    async fn markers_are_written(&mut self, request: &Request) {
        let id = request.fields.iter().find(|(name, _)| name == "transactional_id");
        let Some((_, id)) = id.filter(|(_, id)| *id != Value::Null) else { return };
        if !["EndTxn", "InitProducerId"].contains(&request.api.as_str()) {
            return;
        }
        let fields = vec![("transactional_ids".to_owned(), Value::List(vec![id.clone()]))];
        let described = Request { api: "DescribeTransactions".to_owned(), version: None, fields };
        let written = async {
            loop {
                self.send("player", &described, 0).await;
                let answer = self.receive("player", &described.api, 0).await;
                let state = at(&answer, "transaction_states.0.transaction_state").map(text);
                if !state.is_some_and(|state| state.starts_with("Prepare")) {
                    return;
                }
                time::sleep(LOOK_AGAIN).await;
            }
        };
        assert!(time::within(PATIENCE, written).await.is_some(), "markers of {id:?} are not written");
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
        let every_acl = "filters: [{resource_type_filter: 1, resource_name_filter: null, pattern_type_filter: 1, \
                         principal_filter: null, host_filter: null, operation: 1, permission_type: 1}]";
        self.ask("DeleteAcls", 3, every_acl).await;
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

/// A message of a login without what is new in each: the server's part of the nonce, and the proof. With the client's nonce
/// `token`, it is a login with a token, whose salt is drawn, too.
fn shown(text: &str) -> String {
    match (text.split_once(",s="), text.strip_prefix("v=")) {
        (Some((nonce, rest)), _) if nonce.starts_with("r=token") => {
            let iterations = rest.split_once(',').map_or("", |(_, iterations)| iterations);
            format!("r=token<nonce>,s=<salt>,{iterations}")
        }
        (Some((nonce, rest)), _) if nonce.starts_with("r=abc") => format!("r=abc<nonce>,s={rest}"),
        (_, Some(_)) => "v=<proof>".to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(feature = "security")]
impl Player {
    /// Logs in; returns the answer of the broker if it refuses it.
    async fn log_in(&mut self, connection: &str, login: &Login) -> Option<Json> {
        /// The number of times that a login is tried.
        const TIMES: usize = 25;
        if let Some(user) = &login.new_user {
            self.write_fields("player", "AlterUserScramCredentials", 0, user).await;
            self.receive("player", "AlterUserScramCredentials", 0).await;
        }
        let mut last = Json::Null;
        // A broker gets to know users and tokens a moment after it has confirmed them.
        for _ in 0..TIMES {
            if last != Json::Null {
                time::sleep(LOOK_AGAIN).await;
                self.connections.get_mut(connection).expect("it is open").socket =
                    self.connect(connection).await;
            }
            self.write_fields(connection, "SaslHandshake", 1, "mechanism: SCRAM-SHA-256").await;
            self.receive(connection, "SaslHandshake", 1).await;
            last = self.authenticate(connection, &login.client.first_message()).await;
            let Some(proved) = login.client.prove(text(&last["auth_bytes"]).as_bytes()) else { continue };
            last = self.authenticate(connection, &proved.message).await;
            if proved.trusts(text(&last["auth_bytes"]).as_bytes()) {
                return None;
            }
        }
        Some(last)
    }

    async fn authenticate(&mut self, connection: &str, message: &str) -> Json {
        self.write_fields(connection, "SaslAuthenticate", 2, &format!("auth_bytes: \"{message}\"")).await;
        self.receive(connection, "SaslAuthenticate", 2).await
    }

    async fn write_fields(&mut self, connection: &str, api: &str, version: i16, fields: &str) {
        let fields = Value::fields(fields).expect("written here");
        self.write_request(connection, &Request { api: api.to_owned(), version: None, fields }, version)
            .await;
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
