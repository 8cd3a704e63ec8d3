//! The offsets at which `jackdaw consume` begins. They are asked for with its consumer; the other commands have `plan.rs`.

use std::collections::BTreeMap;

use rdkafka::Offset;

use super::reader::Reader;
use crate::cli::client::plan::{self, Standing, Target};
use crate::cli::client::position::Position;
use crate::cli::client::{CommandOutcome, Failure, NamedPartition, Session, shown};

/// The offset of a position in each partition, limited to the range of its log.
pub fn offsets(
    session: &Session,
    consumer: &Reader,
    partitions: &[NamedPartition],
    to: Position,
) -> CommandOutcome<Vec<(NamedPartition, i64)>> {
    let ask = |of: Offset| -> CommandOutcome<BTreeMap<NamedPartition, Option<i64>>> {
        Ok(session.offsets(consumer, partitions, of)?.into_iter().collect())
    };
    let (starts, ends) = (ask(Offset::Beginning)?, ask(Offset::End)?);
    let at = match to.timestamp() {
        Some(time) => ask(Offset::Offset(time.0))?,
        None => BTreeMap::new(),
    };
    let mut resolved = Vec::new();
    for partition in partitions {
        let offset_in =
            |offsets: &BTreeMap<NamedPartition, Option<i64>>| offsets.get(partition).copied().flatten();
        let (Some(start), Some(end)) = (offset_in(&starts), offset_in(&ends)) else {
            let (topic, partition) = partition;
            return Err(Failure::refused(format_args!("no offsets of {} {partition}", shown(topic))));
        };
        let standing = Standing { start, end, at_time: offset_in(&at), committed: None };
        let offset = plan::planned(Target::To(to), standing).unwrap_or(end);
        resolved.push((partition.clone(), offset));
    }
    Ok(resolved)
}
