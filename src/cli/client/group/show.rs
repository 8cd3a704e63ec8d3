//! `jackdaw group list` and `describe`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::{Value, json};

use super::state::{self, Group, Member, lag};
use crate::cli::client::answers::Refusals;
use crate::cli::client::brokers::{Brokers, counted};
use crate::cli::client::table::Table;
use crate::cli::client::{CommandOutcome, NamedPartition, Output, Session, shown};

pub fn list(
    session: &Session,
    brokers: &mut Brokers<'_>,
    states: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut groups = state::all(brokers)?;
    let is_wanted = |group: &Group| states.contains(&group.state);
    groups.retain(|group| states.is_empty() || is_wanted(group));
    let mut committed = Vec::new();
    for group in &groups {
        committed.push(group.committed(brokers)?);
    }
    let topics = brokers.topics()?;
    let partitions: BTreeSet<&NamedPartition> = committed.iter().flat_map(BTreeMap::keys).collect();
    let ends = state::ends(brokers, &topics, partitions)?;
    let mut table = Table::new(&["group", "state", "type", "protocol", "members", "lag"]);
    for (group, committed) in groups.iter().zip(&committed) {
        let protocol = Some(&group.protocol).filter(|protocol| !protocol.is_empty());
        table.row([
            json!(group.name),
            json!(group.state),
            json!(group.kind),
            json!(protocol),
            json!(group.members(brokers)?.len()),
            json!(total_lag(committed, &ends)),
        ]);
    }
    Ok(table.print(session.json(), out)?)
}

/// The sum over all partitions; `None` if the group has committed nothing.
fn total_lag(committed: &BTreeMap<NamedPartition, i64>, ends: &BTreeMap<NamedPartition, i64>) -> Option<i64> {
    let lags = committed.iter().filter_map(|(name, offset)| Some(lag(*offset, *ends.get(name)?)));
    lags.reduce(i64::saturating_add)
}

pub fn describe(
    session: &Session,
    brokers: &mut Brokers<'_>,
    names: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let topics = brokers.topics()?;
    let mut refusals = Refusals::default();
    let (mut described, mut is_first) = (Vec::new(), true);
    for name in names {
        let found = state::one(brokers, name)
            .and_then(|group| Ok((group.members(brokers)?, group.committed(brokers)?, group)));
        let Some((members, committed, group)) = refusals.keep(found)? else { continue };
        let partitions = committed.keys().chain(members.iter().flat_map(|member| &member.partitions));
        let ends = state::ends(brokers, &topics, partitions.collect::<BTreeSet<_>>())?;
        let table = partitions_of(&members, &committed, &ends);
        if session.json() {
            described.push(json!({
                "group": name,
                "state": group.state,
                "type": group.kind,
                "coordinator": group.coordinator,
                "members": members.len(),
                "lag": total_lag(&committed, &ends),
                "partitions": table.json(),
            }));
            continue;
        }
        if !std::mem::take(&mut is_first) {
            writeln!(out)?;
        }
        writeln!(out, "{}", heading(&group, members.len(), total_lag(&committed, &ends)))?;
        table.print(false, out)?;
    }
    if session.json() {
        writeln!(out, "{}", Value::Array(described))?;
    }
    refusals.end()
}

fn heading(group: &Group, members: usize, lag: Option<i64>) -> String {
    let members = counted(members, "member");
    let lag = lag.map(|lag| format!(", lag {lag}")).unwrap_or_default();
    let coordinator = group.coordinator;
    format!("{}: {}, {members}{lag}, coordinated by broker {coordinator}", shown(&group.name), group.state)
}

/// A row for each partition that is committed or assigned, and one for each member without partitions.
fn partitions_of(
    members: &[Member],
    committed: &BTreeMap<NamedPartition, i64>,
    ends: &BTreeMap<NamedPartition, i64>,
) -> Table {
    let mut owners: BTreeMap<&NamedPartition, &Member> = BTreeMap::new();
    for member in members {
        owners.extend(member.partitions.iter().map(|partition| (partition, member)));
    }
    let rows: BTreeSet<&NamedPartition> = committed.keys().chain(owners.keys().copied()).collect();
    let mut table =
        Table::new(&["topic", "partition", "committed", "end", "lag", "member", "client", "host"]);
    for partition in rows {
        let (offset, end) = (committed.get(partition).copied(), ends.get(partition).copied());
        let owner = owners.get(partition);
        table.row([
            json!(partition.0),
            json!(partition.1),
            json!(offset),
            json!(end),
            json!(offset.zip(end).map(|(offset, end)| lag(offset, end))),
            json!(owner.map(|owner| &owner.id)),
            json!(owner.map(|owner| &owner.client)),
            json!(owner.map(|owner| &owner.host)),
        ]);
    }
    for idle in members.iter().filter(|member| member.partitions.is_empty()) {
        let none = Value::Null;
        table.row([
            none.clone(),
            none.clone(),
            none.clone(),
            none.clone(),
            none,
            json!(idle.id),
            json!(idle.client),
            json!(idle.host),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offsets: &[(i32, i64)]) -> BTreeMap<NamedPartition, i64> {
        offsets.iter().map(|(partition, offset)| (("t".to_owned(), *partition), *offset)).collect()
    }

    #[test]
    fn the_lag_of_a_group_is_the_sum_of_what_is_known() {
        assert_eq!(total_lag(&at(&[(0, 3), (1, 5), (2, 1)]), &at(&[(0, 10), (1, 5)])), Some(7));
        assert_eq!(total_lag(&at(&[]), &at(&[(0, 10)])), None);
    }

    #[test]
    fn each_partition_and_each_idle_member_has_a_row() {
        let member = |id: &str, partitions: &[i32]| Member {
            id: id.to_owned(),
            client: "c".to_owned(),
            host: "h".to_owned(),
            partitions: partitions.iter().map(|partition| ("t".to_owned(), *partition)).collect(),
        };
        let members = [member("busy", &[1]), member("idle", &[])];
        let rows = partitions_of(&members, &at(&[(0, 3)]), &at(&[(0, 4), (1, 9)])).json();
        let of =
            |at: usize| ["partition", "committed", "end", "lag", "member"].map(|name| rows[at][name].clone());
        assert_eq!(of(0), [json!(0), json!(3), json!(4), json!(1), Value::Null]);
        assert_eq!(of(1), [json!(1), Value::Null, json!(9), Value::Null, json!("busy")]);
        assert_eq!(of(2), [Value::Null, Value::Null, Value::Null, Value::Null, json!("idle")]);
        assert_eq!(rows.len(), 3);
    }
}
