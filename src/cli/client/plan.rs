//! The offsets that a command will set: a pure function of where the logs and the group are.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::brokers::{Brokers, OffsetOf, Topic, no_topic};
use super::position::{self, Position};
use super::{CommandOutcome, Failure, NamedPartition, shown};
use crate::protocol::messages::metadata_response::MetadataResponsePartition;

/// Where to set a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    To(Position),
    /// This many records after where it stands, or before.
    Shift(i64),
}

/// The text in `--help`.
pub const HELP: &str = "earliest, latest, an OFFSET, -N for N records before the end, a time as in @2026-11-25T08:00:00Z \
                        or @ and milliseconds since 1970, or a duration ago such as 90m (s, m, h, d)";

/// Parses the value of `--to`.
pub fn to(written: &str) -> Result<Position, String> {
    match written {
        "earliest" => return Ok(Position::Beginning),
        "latest" => return Ok(Position::End),
        _ => {}
    }
    if written.starts_with('+') {
        return Err(format!(
            "a position has no sign +: --shift {written} moves the group from where it stands"
        ));
    }
    if let Ok(ago) = position::duration(written) {
        return Ok(Position::Ago(ago));
    }
    Position::from_str(written).map_err(|_| format!("expected {HELP}"))
}

/// Parses the value of `--shift`.
pub fn shift(written: &str) -> Result<i64, &'static str> {
    written.parse().map_err(|_| "expected a number of records with its sign, such as +10 or -10")
}

/// Where a partition's log begins and ends, and where the group stands in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub start: i64,
    pub end: i64,
    /// The offset of the time that is asked for; `None` if no record is as new.
    pub at_time: Option<i64>,
    pub committed: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplanned {
    /// A shift, but the group has no offset in the partition.
    NothingCommitted,
}

/// The offset to set in a partition, within its log.
pub fn planned(target: Target, standing: Standing) -> Result<i64, Unplanned> {
    let Standing { start, end, at_time, committed } = standing;
    let offset = match target {
        Target::To(Position::Beginning) => start,
        Target::To(Position::End) => end,
        Target::To(Position::Offset(offset)) => offset,
        Target::To(Position::Last(count)) => end.saturating_sub(count),
        Target::To(Position::At(_) | Position::Ago(_)) => at_time.unwrap_or(end),
        Target::Shift(by) => committed.ok_or(Unplanned::NothingCommitted)?.saturating_add(by),
    };
    Ok(offset.clamp(start, end.max(start)))
}

/// Partitions of topics, with the names of the topics.
pub type Wanted<'t> = Vec<(&'t str, &'t MetadataResponsePartition)>;

/// Looks up where the logs of the partitions begin and end, and where the time of the target is in them.
pub fn standings(
    brokers: &mut Brokers<'_>,
    wanted: &Wanted<'_>,
    target: Target,
) -> CommandOutcome<BTreeMap<NamedPartition, Standing>> {
    let starts = brokers.offsets(wanted.iter().copied(), OffsetOf::Start)?;
    let ends = brokers.offsets(wanted.iter().copied(), OffsetOf::End)?;
    let time = match target {
        Target::To(position) => position.timestamp(),
        Target::Shift(_) => None,
    };
    let at_time = match time {
        Some(time) => brokers.offsets(wanted.iter().copied(), OffsetOf::Time(time.0))?,
        None => BTreeMap::new(),
    };
    let mut standings = BTreeMap::new();
    for (topic, partition) in wanted {
        let name = ((*topic).to_owned(), partition.partition_index);
        let of = |offsets: &BTreeMap<NamedPartition, Option<i64>>| offsets.get(&name).copied().flatten();
        let (Some(start), Some(end)) = (of(&starts), of(&ends)) else {
            let (topic, partition) = name;
            return Err(Failure::refused(format_args!("{} {partition} has no leader", shown(&topic))));
        };
        let standing = Standing { start, end, at_time: of(&at_time), committed: None };
        standings.insert(name, standing);
    }
    Ok(standings)
}

/// A topic, or some of its partitions, as in `orders` and `orders:0,1`. The part behind the colon is only numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAndPartitions {
    pub topic: String,
    pub partitions: Vec<i32>,
}

impl FromStr for TopicAndPartitions {
    type Err = String;

    fn from_str(written: &str) -> Result<TopicAndPartitions, String> {
        let Some((topic, partitions)) = written.split_once(':') else {
            return Ok(TopicAndPartitions { topic: written.to_owned(), partitions: Vec::new() });
        };
        let partitions: Result<Vec<i32>, _> = partitions.split(',').map(str::parse).collect();
        let partitions = partitions.map_err(|_| "expected TOPIC or TOPIC:0,1,2".to_owned())?;
        Ok(TopicAndPartitions { topic: topic.to_owned(), partitions })
    }
}

impl TopicAndPartitions {
    /// The partitions that are meant; `also` are those that another option names.
    pub fn find<'t>(&self, topics: &'t [Topic], also: &[i32]) -> CommandOutcome<Wanted<'t>> {
        let topic = topics.iter().find(|known| known.name == self.topic);
        let topic = topic.ok_or_else(|| no_topic(&self.topic))?;
        let only = if self.partitions.is_empty() { also } else { &self.partitions };
        Ok(topic.only(only)?.into_iter().map(|partition| (topic.name.as_str(), partition)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn a_target_is_a_word_an_offset_a_count_a_time_or_a_duration_ago() {
        for (written, expected) in [
            ("earliest", Position::Beginning),
            ("beginning", Position::Beginning),
            ("latest", Position::End),
            ("end", Position::End),
            ("42", Position::Offset(42)),
            ("-5", Position::Last(5)),
            ("90m", Position::Ago(Duration::from_secs(5400))),
            ("@-90m", Position::Ago(Duration::from_secs(5400))),
            ("@5", Position::At(Timestamp(5))),
        ] {
            assert_eq!(to(written), Ok(expected), "{written}");
        }
        assert!(to("+5").unwrap_err().contains("--shift +5"));
        assert!(to("soon").unwrap_err().starts_with("expected earliest"));
        assert_eq!((shift("+5"), shift("-5")), (Ok(5), Ok(-5)));
        assert!(shift("five").is_err());
    }

    #[test]
    fn the_planned_offset_is_within_the_log() {
        let standing = Standing { start: 10, end: 20, at_time: Some(15), committed: Some(12) };
        let shift = Target::Shift;
        for (target, expected) in [
            (Target::To(Position::Beginning), 10),
            (Target::To(Position::End), 20),
            (Target::To(Position::Offset(13)), 13),
            (Target::To(Position::Offset(3)), 10),
            (Target::To(Position::Offset(99)), 20),
            (Target::To(Position::Last(3)), 17),
            (Target::To(Position::Last(i64::MAX)), 10),
            (Target::To(Position::At(Timestamp(7))), 15),
            (shift(3), 15),
            (shift(-1), 11),
            (shift(-5), 10),
            (shift(100), 20),
            (shift(i64::MAX), 20),
            (shift(i64::MIN), 10),
            (shift(0), 12),
        ] {
            assert_eq!(planned(target, standing), Ok(expected), "{target:?}");
        }
        let new = Standing { at_time: None, committed: None, ..standing };
        assert_eq!(planned(Target::To(Position::Ago(Duration::ZERO)), new), Ok(20), "no record is as new");
        assert_eq!(planned(shift(1), new), Err(Unplanned::NothingCommitted));
    }

    #[test]
    fn partitions_are_numbers_behind_a_colon() {
        let of = |topic: &str, partitions: &[i32]| TopicAndPartitions {
            topic: topic.to_owned(),
            partitions: partitions.to_vec(),
        };
        assert_eq!("t".parse(), Ok(of("t", &[])));
        assert_eq!("t:0".parse(), Ok(of("t", &[0])));
        assert_eq!("t:0,5".parse(), Ok(of("t", &[0, 5])));
        for wrong in ["t:", "t:a", "t:1,", "t:1-2"] {
            assert!(wrong.parse::<TopicAndPartitions>().is_err(), "{wrong}");
        }
    }
}
