//! The topics that are created at the start (`jackdaw.initial.topics`, `--topic`, `KAFKA_CREATE_TOPICS`), in the form of images
//! that had the variable: `NAME[:PARTITIONS[:REPLICAS[:POLICY]]]`, separated by commas or blanks.

use super::ConfigError;
use crate::types::topic_name;

/// The name of the setting.
pub const INITIAL_TOPICS: &str = "jackdaw.initial.topics";

/// The maximum number of partitions of one topic, as in a request (rule A18).
const MOST_PARTITIONS: u32 = 10_000;

const FORM: &str = "expected NAME[:PARTITIONS[:REPLICAS]], such as orders:3:1";

/// A topic to create, unless it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialTopic {
    pub name: String,
    /// `None` means `num.partitions`.
    pub partitions: Option<u32>,
    /// `None` means `default.replication.factor`.
    pub replicas: Option<u16>,
    /// Its `cleanup.policy`; `None` means the broker's.
    pub policy: Option<String>,
}

/// Reads the list, for a cluster with so many brokers.
pub(super) fn read(written: &str, brokers: u16) -> Result<Vec<InitialTopic>, ConfigError> {
    let mut topics: Vec<InitialTopic> = Vec::new();
    let entries = written.split(|letter: char| letter == ',' || letter.is_whitespace());
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let refuse = |why: String| ConfigError::invalid(INITIAL_TOPICS, entry, why);
        let topic = topic(entry, brokers).map_err(refuse)?;
        if topics.iter().any(|other| other.name == topic.name) {
            return Err(refuse("this topic is named twice".to_owned()));
        }
        let in_metrics = |name: &str| name.replace('.', "_");
        if let Some(other) = topics.iter().find(|other| in_metrics(&other.name) == in_metrics(&topic.name)) {
            let why = "because names of metrics do not distinguish . and _";
            return Err(refuse(format!("its name collides with {}, {why}", other.name)));
        }
        topics.push(topic);
    }
    Ok(topics)
}

fn topic(entry: &str, brokers: u16) -> Result<InitialTopic, String> {
    let mut fields = entry.split(':');
    let name = fields.next().unwrap_or_default();
    topic_name::check(name).map_err(|illegal| format!("{}; {FORM}", illegal.0))?;
    if name == topic_name::CLUSTER_METADATA {
        return Err("clients cannot use a topic of this name".to_owned());
    }
    // An empty field is a default, as in `orders::1`.
    let mut field = || fields.next().filter(|field| !field.is_empty());
    let count = |field: &str, most: u32, of: &str| {
        let count = field.parse().ok().filter(|count| (1..=most).contains(count));
        count.ok_or_else(|| format!("{field} is no number of {of} from 1 to {most}; {FORM}"))
    };
    let partitions = field().map(|field| count(field, MOST_PARTITIONS, "partitions")).transpose()?;
    let replicas = field().map(|field| count(field, brokers.into(), "replicas")).transpose()?;
    let policy = field();
    if policy.is_some_and(|policy| !["compact", "delete"].contains(&policy)) || fields.next().is_some() {
        return Err(format!("{FORM}; a fourth field can be compact or delete"));
    }
    Ok(InitialTopic {
        name: name.to_owned(),
        partitions,
        replicas: replicas.and_then(|replicas| u16::try_from(replicas).ok()),
        policy: policy.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_a_list_with_optional_counts() {
        let topic = |name: &str, partitions, replicas, policy: Option<&str>| InitialTopic {
            name: name.to_owned(),
            partitions,
            replicas,
            policy: policy.map(str::to_owned),
        };
        let found = read("orders:3:1, invoices:2\n  users:1:1:compact,,plain, one::2", 3).unwrap();
        let expected = [
            topic("orders", Some(3), Some(1), None),
            topic("invoices", Some(2), None, None),
            topic("users", Some(1), Some(1), Some("compact")),
            topic("plain", None, None, None),
            topic("one", None, Some(2), None),
        ];
        assert_eq!(found, expected);
        assert_eq!(read(" ", 1), Ok(Vec::new()));
    }

    #[test]
    fn a_wrong_topic_is_refused_with_what_was_expected() {
        for (written, why) in [
            ("or/ders", "characters other than ASCII alphanumerics"),
            (":3", "the empty string is not allowed"),
            ("orders:0", "0 is no number of partitions from 1 to 10000"),
            ("orders:many", "many is no number of partitions"),
            ("orders:10001", "from 1 to 10000"),
            ("orders:1:2", "2 is no number of replicas from 1 to 1; expected NAME[:PARTITIONS[:REPLICAS]]"),
            ("orders:1:1:keep", "compact or delete"),
            ("orders:1:1:compact:x", "compact or delete"),
            ("orders,orders:1", "named twice"),
            ("a.b,a_b", "collides with a.b"),
            ("__cluster_metadata", "cannot use"),
        ] {
            let refused = read(written, 1).unwrap_err().to_string();
            assert!(refused.contains(why) && refused.contains(INITIAL_TOPICS), "{written}: {refused}");
        }
    }
}
