//! A group changes its kind while requests wait, and jobs compute assignments (`group/roster.rs`).

use super::*;
use crate::coordinator::group::roster::{ASSIGNMENT, Enlist};
use crate::storage::Waiter;

/// A newcomer that classic groups and rosters understand.
pub(super) fn versatile(client: &str) -> Join {
    let protocols = ["range", "roster"].map(|name| (name.to_owned(), Opaque::default()));
    Join { protocols: protocols.to_vec(), ..newcomer(client) }
}

pub(super) fn again(member: &str) -> Join {
    Join { member: Some(member.to_owned()), ..versatile("client") }
}

/// A stable classic group in generation 1. The first member leads.
fn two_members(stage: &Stage) -> [MemberId; 2] {
    let mut first = pin!(stage.groups.join("g", versatile("a")));
    let mut second = pin!(stage.groups.join("g", versatile("b")));
    assert!(peek(first.as_mut()).is_none() && peek(second.as_mut()).is_none());
    stage.wait(6);
    let members = [peek(first).unwrap().unwrap().member, peek(second).unwrap().unwrap().member];
    for member in &members {
        now(stage.groups.sync("g", sync(member, 1, b"part"))).unwrap();
    }
    members
}

/// Members enlist for ten seconds, unless the setting says otherwise.
fn set_session(stage: &Stage, seconds: u32) {
    let ms = format!("{seconds}000");
    stage.store.settings.lock().unwrap().insert("consumer.session.timeout.ms".to_owned(), ms);
}

fn enlist(stage: &Stage, member: &str) -> Generation {
    if stage.store.settings.lock().unwrap().is_empty() {
        set_session(stage, 10);
    }
    let enlist = Enlist(member.to_owned());
    let waiting = stage.groups.ask("g", Absent::Create, enlist, Command::Enlist, UNKNOWN).unwrap();
    now(answer_of(waiting)).unwrap().unwrap()
}

/// Does all waiting jobs. Returns their number.
fn work(stage: &Stage) -> usize {
    work_of(&stage.groups)
}

pub(super) fn work_of(groups: &Groups) -> usize {
    let mut jobs = 0;
    while let Some(job) = groups.runtime.take_job() {
        job.finish();
        jobs += 1;
    }
    jobs
}

fn state(stage: &Stage) -> GroupState {
    now(stage.groups.describe("g")).unwrap().state
}

#[test]
fn a_waiting_join_goes_along_when_a_classic_group_changes_its_kind() {
    let stage = Stage::new(rules());
    let [a, b] = two_members(&stage);
    let mut joins = pin!(stage.groups.join("g", again(&a)));
    assert!(peek(joins.as_mut()).is_none(), "the other member is not back");
    assert_eq!(enlist(&stage, "n"), Generation(2));
    assert!(peek(joins.as_mut()).is_none(), "the assignment is not computed");
    assert_eq!(work(&stage), 1);
    let joined = peek(joins).unwrap().unwrap();
    assert_eq!((joined.generation, joined.protocol.as_deref()), (Generation(2), Some("roster")));
    let second = now(stage.groups.sync("g", sync(&b, 2, b""))).unwrap();
    assert_eq!(second.assignment, Opaque::copy_of(b"part 1 of generation 2"));
}

#[test]
fn a_waiting_sync_goes_along_when_a_classic_group_changes_its_kind() {
    let stage = Stage::new(rules());
    let [a, b] = two_members(&stage);
    let (mut first, second) = (pin!(stage.groups.join("g", again(&a))), stage.groups.join("g", again(&b)));
    now(second).unwrap();
    assert!(peek(first.as_mut()).unwrap().is_ok());
    let mut syncs = pin!(stage.groups.sync("g", sync(&b, 2, b"")));
    assert!(peek(syncs.as_mut()).is_none(), "the leader has not assigned");
    assert_eq!(enlist(&stage, "n"), Generation(3));
    assert!(peek(syncs.as_mut()).is_none());
    work(&stage);
    assert_eq!(peek(syncs).unwrap().unwrap().assignment, Opaque::copy_of(b"part 1 of generation 3"));
}

#[test]
fn a_group_becomes_classic_in_a_tick_while_a_join_and_a_sync_wait_and_the_job_comes_too_late() {
    let stage = Stage::new(rules());
    let [a, b] = two_members(&stage);
    enlist(&stage, "n");
    let late = stage.groups.runtime.take_job().unwrap();
    let mut joins = pin!(stage.groups.join("g", again(&a)));
    let mut syncs = pin!(stage.groups.sync("g", sync(&b, 2, b"")));
    assert!(peek(joins.as_mut()).is_none() && peek(syncs.as_mut()).is_none());
    stage.wait(11);
    assert_eq!(state(&stage), GroupState::PreparingRebalance, "the enlisted member is gone");
    assert!(peek(joins.as_mut()).is_none(), "it waits for the other member");
    assert_eq!(peek(syncs).unwrap(), Err(GroupError::RebalanceInProgress));

    let submitted = stage.store.submitted.load(Ordering::SeqCst);
    late.finish();
    assert_eq!(stage.store.submitted.load(Ordering::SeqCst), submitted, "the result has no effect");
    assert!(peek(joins.as_mut()).is_none());

    let second = now(stage.groups.join("g", again(&b))).unwrap();
    let first = peek(joins).unwrap().unwrap();
    assert_eq!((first.generation, second.generation), (Generation(3), Generation(3)));
    assert_eq!(first.protocol.as_deref(), Some("range"));
    assert_eq!(first.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn a_join_that_makes_the_group_classic_is_decided_there_and_waits_for_the_others() {
    let stage = Stage::new(rules());
    let [a, b] = two_members(&stage);
    enlist(&stage, "n");
    work(&stage);
    assert_eq!(state(&stage), GroupState::Stable);
    let mut causes = pin!(stage.groups.join("g", newcomer("c")));
    assert!(peek(causes.as_mut()).is_none());
    assert_eq!(state(&stage), GroupState::PreparingRebalance);
    let mut first = pin!(stage.groups.join("g", again(&a)));
    assert!(peek(first.as_mut()).is_none());
    assert_eq!(now(stage.groups.join("g", again(&b))).unwrap().generation, Generation(3));
    assert_eq!(peek(first).unwrap().unwrap().generation, Generation(3));
    assert_eq!(peek(causes).unwrap().unwrap().generation, Generation(3));
    assert_eq!(now(stage.groups.describe("g")).unwrap().members.len(), 3);
}

#[test]
fn a_job_that_was_computed_on_an_earlier_generation_changes_nothing() {
    let stage = Stage::new(rules());
    assert_eq!(enlist(&stage, "n"), Generation(1));
    let late = stage.groups.runtime.take_job().unwrap();
    assert_eq!(enlist(&stage, "m"), Generation(2));
    assert!(stage.groups.runtime.take_job().is_none(), "a group has one job at a time");
    late.finish();
    assert_eq!(state(&stage), GroupState::CompletingRebalance);
    assert_eq!(work(&stage), 1);
    assert_eq!(state(&stage), GroupState::Stable);
    let own = now(stage.groups.sync("g", sync("n", 2, b""))).unwrap().assignment;
    assert_eq!(own, Opaque::copy_of(b"part 1 of generation 2"));
}

#[test]
fn a_decision_sees_the_settings_of_the_group_as_they_are_now() {
    let stage = Stage::new(rules());
    enlist(&stage, "n");
    set_session(&stage, 30);
    stage.wait(5);
    enlist(&stage, "n");
    stage.wait(29);
    assert_eq!(now(stage.groups.heartbeat("g", beat("n", 1))), Ok(()));
    stage.wait(2);
    assert_eq!(now(stage.groups.heartbeat("g", beat("n", 1))), Err(GroupError::UnknownMember));
}

#[test]
fn a_job_counts_as_memory_of_the_groups_until_it_is_done() {
    let stage = Stage::new(rules());
    enlist(&stage, "n");
    let waiting = stage.groups.memory().0;
    assert_eq!(work(&stage), 1);
    let assigned = stage.store.group("g").unwrap().group.memory();
    let freed = waiting + assigned.shared - stage.groups.memory().0;
    assert_eq!(freed, ASSIGNMENT, "the assignment takes its place");
}

#[test]
fn a_job_that_a_restart_interrupted_is_done_again() {
    let stage = Stage::new(rules());
    enlist(&stage, "n");
    let stage = stage.restarted();
    assert_eq!(state(&stage), GroupState::CompletingRebalance);
    assert_eq!(work(&stage), 1);
    assert_eq!(state(&stage), GroupState::Stable);
}

#[test]
fn requests_that_belong_to_another_kind_are_refused() {
    let stage = Stage::new(rules());
    enlist(&stage, "n");
    let generation = Some(Generation(1));
    let refused = now(stage.groups.commit("g", Commit { generation, ..commit(1) }));
    assert_eq!(refused, Err(GroupError::IllegalGeneration));
    assert_eq!(now(stage.groups.delete("g")), Err(GroupError::NotEmpty));
    assert_eq!(now(stage.groups.heartbeat("g", beat("n", 1))), Ok(()));
}

#[tokio::test]
async fn the_result_of_a_job_comes_from_a_thread_of_its_own_and_wakes_watchers() {
    let stage = Stage::new(rules());
    enlist(&stage, "n");
    let polls = Waiter::new();
    stage.groups.runtime.watch("g", &polls).unwrap();
    let groups = stage.groups.clone();
    let runs = tokio::spawn(async move { groups.run().await });
    polls.woken().await;
    assert_eq!(state(&stage), GroupState::Stable);
    runs.abort();
}
