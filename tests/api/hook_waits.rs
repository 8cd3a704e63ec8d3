//! Waits of test hooks: they end with the change that they wait for.

use std::time::Duration;

use jackdaw::hooks::HookError;
use jackdaw::types::TopicId;

use crate::groups::{commit_at, joined, sync};
use crate::harness::{HOOKED, Node, PATIENCE, batch};

const NOW: Duration = Duration::ZERO;

fn timed_out<T>(why: &str) -> Result<T, HookError> {
    Err(HookError::TimedOut(why.to_owned()))
}

#[tokio::test]
async fn a_wait_for_records_ends_with_the_last_one_also_in_a_topic_that_is_created_later() {
    let node = Node::with_hooks().await;
    let hooks = node.hooks().clone();
    assert_eq!(hooks.wait_for_records("t", 1, NOW).await, timed_out("the topic t does not exist"));
    let waits = tokio::spawn(async move { hooks.wait_for_records("t", 3, PATIENCE).await });
    node.topic("t", 2).await;
    let mut client = node.client().await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let hooks = node.hooks();
    assert_eq!(hooks.wait_for_records("t", 3, NOW).await, timed_out("t has 2 of 3 records"));
    assert!(!waits.is_finished());
    client.produce("t", 1, batch(&["c"])).await;
    assert_eq!(waits.await.unwrap(), Ok(3));
    assert_eq!(hooks.wait_for_records("t", 3, NOW).await, Ok(3));
}

#[tokio::test]
async fn a_wait_for_a_group_ends_when_its_leader_has_assigned_the_partitions() {
    let node = Node::with(&[HOOKED, ("group.initial.rebalance.delay.ms", "0")]).await;
    let hooks = node.hooks().clone();
    let stable = async |members| hooks.wait_for_group("g", "Stable", members, NOW).await;
    assert_eq!(stable(None).await, timed_out("the group g does not exist"));
    let waits = {
        let hooks = hooks.clone();
        tokio::spawn(async move { hooks.wait_for_group("g", "Stable", Some(1), PATIENCE).await })
    };
    let mut client = node.client().await;
    let member = joined(&mut client, "g", 7).await;
    assert_eq!(stable(None).await, timed_out("the group g is CompletingRebalance and has 1 members"));
    assert!(!waits.is_finished());
    let assigned = sync("g", &member.member_id, member.generation_id, &[(&member.member_id, b"a")]);
    assert_eq!(client.call(5, assigned).await.error_code, 0);
    assert_eq!(waits.await.unwrap(), Ok(()));
    assert_eq!(stable(Some(2)).await, timed_out("the group g is Stable and has 1 members"));
    let wrong = hooks.wait_for_group("g", "stable", None, NOW).await;
    assert!(matches!(wrong, Err(HookError::Wrong(why)) if why.starts_with("stable is no state of a group")));
}

#[tokio::test]
async fn a_wait_for_no_lag_ends_with_the_commit_of_the_last_record() {
    let node = Node::with_hooks().await;
    node.topic("t", 2).await;
    let mut client = node.client().await;
    for index in [0, 1] {
        client.produce("t", index, batch(&["a", "b"])).await;
    }
    let hooks = node.hooks().clone();
    let no_lag = async |topic| hooks.wait_for_no_lag("g", topic, NOW).await;
    assert_eq!(no_lag(None).await, timed_out("the group g has committed nothing"));
    assert_eq!(no_lag(Some("t")).await, timed_out("the group g is 4 records behind"));
    assert_eq!(no_lag(Some("u")).await, timed_out("the topic u does not exist"));
    let waits = {
        let hooks = hooks.clone();
        tokio::spawn(async move { hooks.wait_for_no_lag("g", Some("t"), PATIENCE).await })
    };
    for (index, offset, lag) in [(0, 2, 2), (1, 1, 1)] {
        client.call(9, commit_at("g", "t", TopicId::ZERO, index, offset)).await;
        assert_eq!(no_lag(None).await, timed_out(&format!("the group g is {lag} records behind")));
    }
    assert!(!waits.is_finished());
    client.call(9, commit_at("g", "t", TopicId::ZERO, 1, 2)).await;
    assert_eq!(waits.await.unwrap(), Ok(()));
    assert_eq!(no_lag(None).await, Ok(()));
}
