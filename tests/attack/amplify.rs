//! Requests that name the same small thing as often as fits: one for each array of each request that
//! is served, made from the schemas, so that a key that lands is attacked from then on.

use std::path::Path;

use jackdaw::api::TABLE;
use jackdaw::types::TopicId;

use crate::schema::{Base, Field, Kind, Message, Versions, read_all};

/// A request that is larger in memory than on the wire, or so its sender hopes.
pub struct Attack {
    pub name: String,
    pub key: i16,
    pub version: i16,
    pub body: Vec<u8>,
}

/// The names in the requests; all of them should exist.
#[derive(Clone)]
pub struct Names {
    pub topic: String,
    pub topic_id: TopicId,
    pub group: String,
    /// Kafka's number of a kind of resource, and the name of one.
    resource: (i8, String),
    /// The text that stands for all names and other texts.
    everywhere: Option<String>,
}

impl Names {
    pub fn of(topic: &str, topic_id: TopicId, group: &str) -> Names {
        let resource = (2, topic.to_owned());
        Names { topic: topic.to_owned(), topic_id, group: group.to_owned(), resource, everywhere: None }
    }

    /// Every text of every request is this one.
    pub fn only(text: &str) -> Names {
        let everywhere = Some(text.to_owned());
        Names { everywhere, ..Names::of(text, TopicId::default(), text) }
    }
}

/// Every array of every request at its first and its last version: with as many elements as `bytes`
/// hold, and with null where that is allowed.
pub fn every_array(names: &Names, bytes: usize) -> Vec<Attack> {
    let messages = requests();
    let mut attacks = Vec::new();
    for row in TABLE {
        let message = messages.iter().find(|message| message.key == Some(row.key)).expect("a schema");
        let mut versions = vec![row.served_from, row.max_version];
        versions.dedup();
        for version in versions {
            for resource in resources(message, names) {
                let names = Names { resource, ..names.clone() };
                attacks.extend(of_message(message, version, &names, bytes));
            }
        }
    }
    attacks
}

/// Every request that has no array, at its last version.
pub fn without_arrays(names: &Names) -> Vec<Attack> {
    let messages = requests();
    let mut attacks = Vec::new();
    for row in TABLE {
        let message = messages.iter().find(|message| message.key == Some(row.key)).expect("a schema");
        let version = row.max_version;
        let mut paths = Vec::new();
        arrays(message, &message.structs[0].name, version, &mut Vec::new(), &mut paths);
        if paths.is_empty() {
            let body = Body::of(message, version, names, &[], None);
            attacks.push(Attack { name: format!("{} v{version}", message.api), key: row.key, version, body });
        }
    }
    attacks
}

fn requests() -> Vec<Message> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protocol/schema");
    read_all(&folder).into_iter().filter(|message| message.kind == Kind::Request).collect()
}

/// Of requests about resources: a topic, the broker, its loggers, a group.
fn resources(message: &Message, names: &Names) -> Vec<(i8, String)> {
    let fields = message.structs.iter().flat_map(|one| &one.fields);
    if fields.clone().any(|field| field.name == "resource_type") {
        vec![(2, names.topic.clone()), (4, "1".to_owned()), (8, "1".to_owned()), (32, names.group.clone())]
    } else {
        vec![names.resource.clone()]
    }
}

fn of_message(message: &Message, version: i16, names: &Names, bytes: usize) -> Vec<Attack> {
    let mut paths = Vec::new();
    arrays(message, &message.structs[0].name, version, &mut Vec::new(), &mut paths);
    let mut attacks = Vec::new();
    for path in &paths {
        let body = |count| Body::of(message, version, names, path, Some(count));
        let one = body(1).len();
        let each = body(2).len() - one;
        let count = bytes.saturating_sub(one) / each.max(1);
        let name = format!("{} v{version} {} ({:?})", message.api, path.join("."), names.resource);
        attacks.push(Attack {
            name: format!("{name} × {count}"),
            key: message.key.expect("a request has a key"),
            version,
            body: body(count),
        });
        attacks.push(Attack {
            name: format!("{name} null"),
            key: message.key.expect("a request has a key"),
            version,
            body: Body::of(message, version, names, path, None),
        });
    }
    attacks
}

/// The ways to every array of a message.
fn arrays<'a>(
    message: &'a Message,
    owner: &str,
    version: i16,
    way: &mut Vec<&'a str>,
    found: &mut Vec<Vec<&'a str>>,
) {
    for field in fields(message, owner, version) {
        way.push(&field.name);
        if field.array {
            found.push(way.clone());
        }
        if let Base::Struct(name) = &field.base {
            arrays(message, name, version, way, found);
        }
        way.pop();
    }
}

fn fields<'a>(message: &'a Message, owner: &str, version: i16) -> impl Iterator<Item = &'a Field> {
    let owner = message.structs.iter().find(|one| one.name == owner).expect("a struct of the message");
    owner.fields.iter().filter(move |field| field.tag.is_none() && is_in(field.versions, version))
}

fn is_in(range: Option<Versions>, version: i16) -> bool {
    range.is_none_or(|Versions { first, last }| first <= version && last.is_none_or(|last| version <= last))
}

/// A body as it is written.
struct Body<'a> {
    message: &'a Message,
    version: i16,
    flexible: bool,
    names: &'a Names,
    /// The array that is long.
    long: &'a [&'a str],
    /// How long; `None` is null.
    count: Option<usize>,
    out: Vec<u8>,
}

impl<'a> Body<'a> {
    fn of(
        message: &'a Message,
        version: i16,
        names: &'a Names,
        long: &'a [&'a str],
        count: Option<usize>,
    ) -> Vec<u8> {
        let flexible = message.flexible.is_some_and(|first| version >= first);
        let mut body = Body { message, version, flexible, names, long, count, out: Vec::new() };
        body.write_struct(&message.structs[0].name, &mut Vec::new());
        body.out
    }

    fn write_struct(&mut self, name: &str, way: &mut Vec<&'a str>) {
        let message = self.message;
        for field in fields(message, name, self.version) {
            way.push(&field.name);
            self.write_field(field, way);
            way.pop();
        }
        if self.flexible {
            self.out.push(0);
        }
    }

    fn write_field(&mut self, field: &'a Field, way: &mut Vec<&'a str>) {
        let may_be_null = field.nullable.is_some_and(|since| self.version >= since);
        if !field.array {
            if let (Base::Struct(_), true) = (&field.base, may_be_null) {
                return self.out.push(0xff);
            }
            return self.write_value(field, way);
        }
        let is_long = way.as_slice() == self.long;
        let count = match self.count {
            None if is_long && may_be_null => return self.write_count(None),
            None => usize::from(!is_long && self.long.starts_with(way)),
            Some(count) if is_long => count,
            Some(_) => usize::from(self.long.starts_with(way)),
        };
        self.write_count(Some(count));
        let start = self.out.len();
        if count > 0 {
            self.write_value(field, way);
        }
        let element = self.out[start..].to_vec();
        for _ in 1..count {
            self.out.extend_from_slice(&element);
        }
    }

    fn write_value(&mut self, field: &'a Field, way: &mut Vec<&'a str>) {
        match &field.base {
            Base::Struct(name) => self.write_struct(name, way),
            Base::Bool => self.out.push(1),
            Base::Int8 => self.out.extend((self.number(&field.name) as i8).to_be_bytes()),
            Base::Int16 => self.out.extend((self.number(&field.name) as i16).to_be_bytes()),
            Base::Uint16 => self.out.extend((self.number(&field.name) as u16).to_be_bytes()),
            Base::Int32 => self.out.extend((self.number(&field.name) as i32).to_be_bytes()),
            Base::Int64 => self.out.extend(self.number(&field.name).to_be_bytes()),
            Base::Float64 => self.out.extend(0f64.to_be_bytes()),
            Base::Uuid => self.out.extend(self.names.topic_id.0),
            Base::String => {
                let text = self.text(&field.name).to_owned();
                if self.flexible {
                    self.varint(text.len() + 1)
                } else {
                    self.out.extend(u16::try_from(text.len()).expect("short").to_be_bytes())
                }
                self.out.extend(text.as_bytes());
            }
            Base::Bytes | Base::Records => self.write_count(Some(0)),
        }
    }

    fn text(&self, field: &str) -> &str {
        if let Some(text) = &self.names.everywhere {
            return text;
        }
        match field {
            "group_id" | "key" | "coordinator_keys" | "groups" | "groups_names" => &self.names.group,
            "resource_name" => &self.names.resource.1,
            "member_id" | "protocol_type" | "transactional_id" => "",
            _ => &self.names.topic,
        }
    }

    fn number(&self, field: &str) -> i64 {
        match field {
            "resource_type" => self.names.resource.0.into(),
            "timeout_ms" | "max_wait_ms" | "rebalance_timeout_ms" => 100,
            "session_timeout_ms" => 10_000,
            "replica_id" | "acks" | "session_epoch" | "num_partitions" | "replication_factor" => -1,
            "generation_id" | "generation_id_or_member_epoch" | "current_leader_epoch" => -1,
            "max_bytes" | "partition_max_bytes" => 1 << 20,
            "response_partition_limit" => 2_000,
            _ => 0,
        }
    }

    fn write_count(&mut self, count: Option<usize>) {
        match (self.flexible, count) {
            (true, count) => self.varint(count.map_or(0, |count| count + 1)),
            (false, Some(count)) => self.out.extend(i32::try_from(count).expect("few").to_be_bytes()),
            (false, None) => self.out.extend((-1i32).to_be_bytes()),
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
