//! The topics and partitions to read.

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaRespErr;
use regex::Regex;

use super::super::answers::Refusals;
use super::super::{CommandOutcome, Failure, NamedPartition, Session, find, partitions_of, reason_of, shown};
use super::reader::Reader;

/// A topic with all its partitions.
pub type WholeTopic = Vec<NamedPartition>;

/// The topics to read.
pub struct Choice<'a> {
    /// In the order of the names, each once.
    pub topics: Vec<WholeTopic>,
    /// The names and patterns (`^…`) of these topics.
    pub names: Vec<&'a str>,
    /// The number of names and patterns without a topic that can be read.
    refused: usize,
}

impl Choice<'_> {
    /// Fails if not everything was read.
    pub fn end(&self) -> CommandOutcome {
        if self.refused == 0 {
            return Ok(());
        }
        let all = self.names.len() + self.refused;
        Err(Failure::refused(format_args!("{} of {all} topics were not read", self.refused)))
    }
}

/// The topics with these names, and those that a pattern (`^…`) matches. Those that cannot be read are reported at once,
/// and do not keep the others from being read.
pub fn topics_to_read<'a>(
    session: &Session,
    consumer: &Reader,
    wanted: &'a [String],
) -> CommandOutcome<Choice<'a>> {
    let (mut topics, mut names) = (Vec::<WholeTopic>::new(), Vec::new());
    let mut refusals = Refusals::default();
    let all = session.metadata(consumer)?;
    for name in wanted {
        let found = if name.starts_with('^') {
            matching(&all, name)
        } else {
            refusal(session, consumer, name).and_then(|()| Ok(vec![partitions_of(find(&all, name)?)]))
        };
        if let Some(found) = refusals.keep(found)? {
            topics.extend(found);
            names.push(name.as_str());
        }
    }
    let refused = refusals.len();
    if topics.is_empty() {
        refusals.end()?;
    } else {
        refusals.show();
    }
    let mut seen = Vec::new();
    topics.retain(|topic| {
        !seen.contains(topic) && {
            seen.push(topic.clone());
            true
        }
    });
    Ok(Choice { topics, names, refused })
}

/// The broker's reason if it does not tell us of a topic. The list of all topics leaves such topics out.
fn refusal(session: &Session, consumer: &Reader, name: &str) -> CommandOutcome {
    let known = consumer.fetch_metadata(Some(name), session.timeout());
    let known = known.map_err(|error| session.failed(&error))?;
    let error = known.topics().iter().find(|topic| topic.name() == name).and_then(|topic| topic.error());
    match error.map(|error: RDKafkaRespErr| RDKafkaErrorCode::from(error)) {
        // `find` has the words for the first one.
        None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::LeaderNotAvailable) => {
            Ok(())
        }
        Some(code) => Err(Failure::refused(format_args!("{}: {}", shown(name), reason_of(code)))),
    }
}

fn matching(all: &Metadata, pattern: &str) -> CommandOutcome<Vec<WholeTopic>> {
    let regex = Regex::new(pattern).map_err(|error| Failure::Usage(error.to_string()))?;
    let topics = all.topics().iter().filter(|topic| !topic.partitions().is_empty());
    let mut found: Vec<_> = topics.filter(|topic| is_meant(topic.name(), pattern, &regex)).collect();
    if found.is_empty() {
        return Err(Failure::refused(format_args!("no topic matches {}", shown(pattern))));
    }
    found.sort_by_key(|topic| topic.name());
    Ok(found.into_iter().map(partitions_of).collect())
}

/// Kafka's own topics begin with two underscores. Only a pattern that begins so means them.
fn is_meant(topic: &str, pattern: &str, regex: &Regex) -> bool {
    regex.is_match(topic) && (!topic.starts_with("__") || pattern.starts_with("^__"))
}

/// The wanted partitions of the topics; all if none is named.
pub fn partitions_to_read(topics: &[WholeTopic], wanted: &[i32]) -> CommandOutcome<Vec<NamedPartition>> {
    let mut partitions = Vec::new();
    for topic in topics {
        if let Some(missing) = wanted.iter().find(|wanted| topic.iter().all(|(_, number)| number != *wanted))
        {
            let name = topic.first().map(|(name, _)| shown(name)).unwrap_or_default();
            let only = only(topic.len());
            return Err(Failure::refused(format_args!("{name} has no partition {missing}{only}")));
        }
        let is_wanted = |number: &i32| wanted.is_empty() || wanted.contains(number);
        partitions.extend(topic.iter().filter(|(_, number)| is_wanted(number)).cloned());
    }
    Ok(partitions)
}

/// The partitions that a topic has, after the words that it lacks one.
pub fn only(partitions: usize) -> String {
    match partitions {
        0 | 1 => ", only 0".to_owned(),
        partitions => format!(", only 0 to {}", partitions - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_topics_of_kafka_only_if_it_names_them() {
        for (topic, pattern, expected) in [
            ("orders", "^ord", true),
            ("orders", "^ord$", false),
            ("my-orders", "^ord", false),
            ("__consumer_offsets", "^.*", false),
            ("__consumer_offsets", "^__c", true),
            ("_own", "^.*", true),
        ] {
            assert_eq!(
                is_meant(topic, pattern, &Regex::new(pattern).unwrap()),
                expected,
                "{topic} {pattern}"
            );
        }
    }

    #[test]
    fn partitions_are_those_that_are_wanted_and_there() {
        let topic =
            |name: &str, count| (0..count).map(|number| (name.to_owned(), number)).collect::<WholeTopic>();
        let topics = [topic("a", 3), topic("b", 2)];
        assert_eq!(partitions_to_read(&topics, &[]).unwrap().len(), 5);
        let some = partitions_to_read(&topics, &[1]).unwrap();
        assert_eq!(some, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
        let Err(Failure::Refused(why)) = partitions_to_read(&topics, &[2]) else { panic!("b has two") };
        assert_eq!(why, "b has no partition 2, only 0 to 1");
    }
}
