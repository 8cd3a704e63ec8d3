//! `jackdaw topic delete-records`: moves the start of partitions' logs forward.

use std::collections::BTreeMap;

use serde_json::json;

use crate::api::error::ErrorCode;
use crate::cli::client::answers::{Refusals, agrees};
use crate::cli::client::brokers::Brokers;
use crate::cli::client::config::{self, Resource, Setting};
use crate::cli::client::peer::reason;
use crate::cli::client::plan::{self, Standing, Target, Wanted};
use crate::cli::client::position::Position;
use crate::cli::client::table::Table;
use crate::cli::client::{CommandOutcome, Failure, NamedPartition, Output, Session, shown};
use crate::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};

pub struct Deletion {
    pub topic: String,
    /// The first record that is kept.
    pub before: Position,
    pub partitions: Vec<i32>,
    pub dry_run: bool,
    pub yes: bool,
}

impl Deletion {
    pub fn run(&self, session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
        let topic = brokers.topic(&self.topic)?;
        let partitions = topic.only(&self.partitions)?;
        let wanted: Wanted<'_> =
            partitions.into_iter().map(|partition| (topic.name.as_str(), partition)).collect();
        let target = Target::To(self.before);
        let standings = plan::standings(brokers, &wanted, target)?;
        let starts: BTreeMap<NamedPartition, i64> =
            standings.iter().map(|(name, standing)| (name.clone(), self.new_start(*standing))).collect();
        if !self.dry_run {
            let count: i64 =
                standings.iter().map(|(name, standing)| (starts[name] - standing.start).max(0)).sum();
            let question = format!("Delete up to {count} records of {}?", shown(&self.topic));
            if !self.yes && !agrees(&question)? {
                return Err(Failure::refused("nothing was deleted"));
            }
        }
        let may_delete =
            !self.dry_run || may_delete(&config::entries(brokers, &Resource::Topic(self.topic.clone()))?);
        let mut table = Table::new(&["topic", "partition", "before", "now", "end"]);
        let mut refusals = Refusals::default();
        for (_, partition) in wanted {
            let name = (self.topic.clone(), partition.partition_index);
            let (standing, start) = (standings[&name], starts[&name]);
            let outcome = if self.dry_run {
                Ok(expected(standing, start, may_delete))
            } else {
                // Also if its leader does not answer: the records of other partitions may be gone already.
                self.delete(session, brokers, partition.leader_id, &name, start)
            };
            let now = match outcome {
                Ok(Ok(now)) => now,
                Ok(Err(why)) => {
                    let end = standing.end;
                    refusals.add(format!("{} {}, which ends at {end}: {why}", shown(&name.0), name.1));
                    continue;
                }
                Err(failure) => {
                    refusals.add(format!("{} {}: {failure}", shown(&name.0), name.1));
                    continue;
                }
            };
            table.row([json!(name.0), json!(name.1), json!(standing.start), json!(now), json!(standing.end)]);
        }
        refusals.end_with(&table, session.json(), out)
    }

    /// An offset is sent as it is written, so that the broker refuses one outside of the log.
    fn new_start(&self, standing: Standing) -> i64 {
        match self.before {
            Position::Offset(offset) => offset,
            _ => plan::planned(Target::To(self.before), standing).unwrap_or(standing.start),
        }
    }

    /// The new start of the log, or why there is none.
    fn delete(
        &self,
        session: &Session,
        brokers: &mut Brokers<'_>,
        leader: i32,
        (topic, index): &NamedPartition,
        start: i64,
    ) -> CommandOutcome<Result<i64, String>> {
        let partition = DeleteRecordsPartition { partition_index: *index, offset: start };
        let topic = DeleteRecordsTopic { name: topic.clone(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: session.timeout_ms() };
        let broker = brokers.broker(leader)?;
        let answer = broker.call(0..=2, &request)?;
        let result = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let result = result.ok_or_else(|| broker.refused("it did not answer for the partition"))?;
        Ok(if result.error_code == 0 {
            Ok(result.low_watermark)
        } else {
            Err(reason(result.error_code, None))
        })
    }
}

/// Whether records of a topic with these settings can be deleted. If it is only compacted, they cannot.
fn may_delete(settings: &[Setting]) -> bool {
    let policy = settings.iter().find(|setting| setting.name == "cleanup.policy");
    policy.and_then(Setting::value).is_none_or(|policy| policy != "compact")
}

/// The answer to expect from the broker: the new start of the log, or the reason for a refusal.
fn expected(standing: Standing, start: i64, may_delete: bool) -> Result<i64, String> {
    match start {
        _ if !may_delete => Err(reason(ErrorCode::PolicyViolation.code(), None)),
        start if start > standing.end => Err(reason(ErrorCode::OffsetOutOfRange.code(), None)),
        start => Ok(start.max(standing.start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_refuses_what_the_broker_would_refuse() {
        let standing = Standing { start: 5, end: 10, at_time: None, committed: None };
        assert_eq!(expected(standing, 7, true), Ok(7));
        assert_eq!(expected(standing, 10, true), Ok(10));
        assert_eq!(expected(standing, 3, true), Ok(5), "a log never starts earlier");
        let refused = |start, may_delete| expected(standing, start, may_delete).unwrap_err();
        assert!(refused(11, true).ends_with("(OFFSET_OUT_OF_RANGE)"));
        assert!(refused(7, false).ends_with("(POLICY_VIOLATION)"));
    }
}
