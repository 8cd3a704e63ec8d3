//! `jackdaw topic delete-records`: moves the start of partitions' logs forward.

use std::collections::BTreeMap;

use serde_json::json;

use crate::cli::client::answers::agrees;
use crate::cli::client::brokers::Brokers;
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
        let mut table = Table::new(&["topic", "partition", "before", "now", "end"]);
        let mut refused = Vec::new();
        for (_, partition) in wanted {
            let name = (self.topic.clone(), partition.partition_index);
            let (standing, start) = (standings[&name], starts[&name]);
            let now = if self.dry_run {
                start
            } else {
                // Also if its leader does not answer: the records of other partitions may be gone already.
                match self.delete(session, brokers, partition.leader_id, &name, start) {
                    Ok(Ok(now)) => now,
                    Ok(Err(why)) => {
                        let end = standing.end;
                        refused.push(format!("{} {}, which ends at {end}: {why}", shown(&name.0), name.1));
                        continue;
                    }
                    Err(failure) => {
                        refused.push(format!("{} {}: {failure}", shown(&name.0), name.1));
                        continue;
                    }
                }
            };
            table.row([json!(name.0), json!(name.1), json!(standing.start), json!(now), json!(standing.end)]);
        }
        table.print(session.json(), out)?;
        if refused.is_empty() { Ok(()) } else { Err(Failure::Refused(refused.join("\njackdaw: "))) }
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
