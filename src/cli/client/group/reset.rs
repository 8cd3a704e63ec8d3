//! `jackdaw group reset`: sets the offsets of a group without members.

use std::collections::BTreeMap;
use std::io::Write;

use clap::{ArgGroup, Args};
use serde_json::{Value, json};

use super::{offsets, state};
use crate::cli::client::answers::Refusals;
use crate::cli::client::brokers::{Brokers, Coordinated, Topic};
use crate::cli::client::plan::{self, Standing, Target, TopicAndPartitions, Unplanned, Wanted};
use crate::cli::client::position::Position;
use crate::cli::client::table::Table;
use crate::cli::client::{CommandOutcome, Failure, NamedPartition, Output, Session, shown};

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("scope").args(["topics", "all_topics"]).required(true)))]
#[command(group(ArgGroup::new("target").args(["to", "shift"]).required(true)))]
pub struct Reset {
    group: String,
    /// A topic to reset, or some of its partitions as in orders:0,1; may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<TopicAndPartitions>,
    /// Reset all topics in which the group has offsets
    #[arg(long)]
    all_topics: bool,
    /// Only this partition of the topics; may be repeated
    #[arg(long = "partition", value_name = "NUMBER")]
    partitions: Vec<i32>,
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true, value_parser = plan::to, help = plan::HELP)]
    to: Option<Position>,
    /// Move the committed offsets by this many records, such as +10 or -10
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true, value_parser = plan::shift)]
    shift: Option<i64>,
    /// Only show the offsets before and after
    #[arg(long)]
    dry_run: bool,
}

impl Reset {
    pub fn run(&self, session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
        let names_its_own = |topic: &&TopicAndPartitions| !topic.partitions.is_empty();
        if let Some(topic) = self.topics.iter().find(names_its_own).filter(|_| !self.partitions.is_empty()) {
            let why = "--topic names its partitions behind the colon: leave out --partition";
            return Err(Failure::Usage(format!("{}: {why}", shown(&topic.topic))));
        }
        let target = match (self.to, self.shift) {
            (Some(to), _) => Target::To(to),
            (None, by) => Target::Shift(by.unwrap_or_default()),
        };
        let group = state::all(brokers)?.into_iter().find(|group| group.name == self.group);
        let (committed, members) = match &group {
            Some(group) => (group.committed(brokers)?, group.members(brokers)?.len()),
            None => (BTreeMap::new(), 0),
        };
        if group.as_ref().is_some_and(|group| group.kind.as_deref() == Some("share")) {
            let name = shown(&self.group);
            return Err(Failure::Refused(format!(
                "{name} is a share group: Kafka's scripts alter its offsets"
            )));
        }
        let coordinator = match &group {
            Some(group) => group.coordinator,
            None => brokers.coordinator(Coordinated::Group, &self.group)?,
        };
        if members > 0 {
            return Err(Failure::refused(format_args!(
                "{} has {members} members: stop them first, or they go on where they are",
                shown(&self.group)
            )));
        }
        let topics = brokers.topics()?;
        let mut refusals = Refusals::default();
        let wanted = self.wanted(&topics, &committed, &mut refusals)?;
        if wanted.is_empty() && !refusals.is_empty() {
            return refusals.end();
        }
        let mut standings = plan::standings(brokers, &wanted, target)?;
        for (name, standing) in &mut standings {
            standing.committed = committed.get(name).copied();
        }
        let plan = self.plan(target, &standings)?;
        let refused = if self.dry_run {
            BTreeMap::new()
        } else {
            offsets::commit(brokers, coordinator, &self.group, &plan)?
        };
        report(session, &standings, &plan, &refused, refusals, out)
    }

    /// The partitions to reset.
    fn wanted<'t>(
        &self,
        topics: &'t [Topic],
        committed: &BTreeMap<NamedPartition, i64>,
        refusals: &mut Refusals,
    ) -> CommandOutcome<Wanted<'t>> {
        let mut wanted = Wanted::new();
        if !self.all_topics {
            for topic in &self.topics {
                let found = refusals.keep(topic.find(topics, &self.partitions))?;
                wanted.extend(found.into_iter().flatten());
            }
            return Ok(wanted);
        }
        if committed.is_empty() {
            return Err(Failure::refused(format_args!("{} has no offsets", shown(&self.group))));
        }
        for topic in topics {
            let partitions = topic.partitions.iter().filter(|partition| {
                let index = partition.partition_index;
                committed.contains_key(&(topic.name.clone(), index))
                    && (self.partitions.is_empty() || self.partitions.contains(&index))
            });
            wanted.extend(partitions.map(|partition| (topic.name.as_str(), partition)));
        }
        for number in &self.partitions {
            if wanted.iter().all(|(_, partition)| partition.partition_index != *number) {
                refusals.add(format!("{} has no offset in a partition {number}", shown(&self.group)));
            }
        }
        Ok(wanted)
    }

    fn plan(
        &self,
        target: Target,
        standings: &BTreeMap<NamedPartition, Standing>,
    ) -> CommandOutcome<BTreeMap<NamedPartition, i64>> {
        let mut plan = BTreeMap::new();
        for (name, standing) in standings {
            let offset = plan::planned(target, *standing).map_err(|Unplanned::NothingCommitted| {
                let (group, topic, partition) = (shown(&self.group), shown(&name.0), name.1);
                Failure::Refused(format!("{group} has no offset in {topic} {partition} to shift: use --to"))
            })?;
            plan.insert(name.clone(), offset);
        }
        Ok(plan)
    }
}

/// Prints what the group has before and after, and what it will have to read then. Fails if some of it was refused.
fn report(
    session: &Session,
    standings: &BTreeMap<NamedPartition, Standing>,
    plan: &BTreeMap<NamedPartition, i64>,
    refused: &BTreeMap<NamedPartition, String>,
    mut refusals: Refusals,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut table = Table::new(&["topic", "partition", "before", "now", "lag"]);
    for (name, now) in plan.iter().filter(|(name, _)| !refused.contains_key(*name)) {
        let standing = standings.get(name).copied().unwrap_or_default();
        let lag = state::lag(*now, standing.end);
        table.row([json!(name.0), json!(name.1), json!(standing.committed), json!(now), json!(lag)]);
    }
    if session.json() {
        let refused = refused.iter().map(|((topic, partition), why)| {
            json!({ "topic": topic, "partition": partition, "result": "refused", "error": why })
        });
        writeln!(out, "{}", Value::Array(table.json().into_iter().chain(refused).collect()))?;
    } else if refused.is_empty() || refused.len() < plan.len() {
        table.print(false, out)?;
    }
    for ((topic, partition), why) in refused {
        refusals.add(format!("{} {partition}: {why}", shown(topic)));
    }
    refusals.end()
}
