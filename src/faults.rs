//! Faults by request: rules that a test sets, such as "the next two Produce requests of the client `shop` fail".
//!
//! [`Rules`] is a pure state machine. A request takes the effect of the first rule that it matches, and the rule counts
//! down; a rule that is used up is gone. [`Faults`] shares the rules between the requests and the tests. It exists only
//! with `jackdaw.test.hooks`.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

use crate::types::{IgnorePoison, NodeId};

/// The maximum number of rules at a time.
pub const MOST_RULES: usize = 1000;

/// The requests that a rule matches, how many of them, and what happens to each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub api_key: i16,
    /// Only requests with this client id.
    pub client_id: Option<String>,
    /// Only requests to this broker.
    pub broker: Option<NodeId>,
    /// The number of requests that the rule still matches; more than 0.
    pub left: u64,
    pub effect: Effect,
}

/// The effects on a request, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// The time for which the request waits before it is handled.
    pub delay: Duration,
    /// The error code with which the request is refused. Then it changes nothing.
    pub error: Option<i16>,
    /// The time for which the answer waits. The request has had its effect already.
    pub answer_delay: Duration,
    pub cut: Option<Cut>,
}

/// The moment at which the connection of a request is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the request is handled: it changes nothing.
    BeforeRequest,
    /// After the request has had its effect, instead of its answer.
    BeforeAnswer,
    /// After the answer is sent.
    AfterAnswer,
}

/// The fields of a request that rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub api_key: i16,
    pub client_id: Option<&'a str>,
    pub broker: NodeId,
}

/// The number of a rule; numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(pub u64);

/// There are [`MOST_RULES`] already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRules;

/// The rules that are not used up, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<(RuleId, Rule)>,
    added: u64,
}

impl Rules {
    pub fn add(&mut self, rule: Rule) -> Result<RuleId, TooManyRules> {
        if self.rules.len() >= MOST_RULES {
            return Err(TooManyRules);
        }
        self.added += 1;
        let id = RuleId(self.added);
        self.rules.push((id, rule));
        Ok(id)
    }

    /// The effect of the first rule that the request matches. The rule counts down.
    pub fn take(&mut self, subject: Subject<'_>) -> Option<Effect> {
        let at = self.rules.iter().position(|(_, rule)| rule.matches(subject))?;
        let (_, rule) = &mut self.rules[at];
        let effect = rule.effect;
        rule.left = rule.left.saturating_sub(1);
        if rule.left == 0 {
            self.rules.remove(at);
        }
        Some(effect)
    }

    /// Removes a rule. `false` if it is used up, or never was.
    pub fn remove(&mut self, id: RuleId) -> bool {
        let before = self.rules.len();
        self.rules.retain(|(known, _)| *known != id);
        self.rules.len() < before
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Whether there was such a rule, also if it is used up or removed.
    pub fn had(&self, id: RuleId) -> bool {
        (1..=self.added).contains(&id.0)
    }

    pub fn get(&self, id: RuleId) -> Option<&Rule> {
        self.rules.iter().find(|(known, _)| *known == id).map(|(_, rule)| rule)
    }

    pub fn iter(&self) -> impl Iterator<Item = &(RuleId, Rule)> {
        self.rules.iter()
    }
}

impl Rule {
    fn matches(&self, subject: Subject<'_>) -> bool {
        self.api_key == subject.api_key
            && self.client_id.as_deref().is_none_or(|wanted| subject.client_id == Some(wanted))
            && self.broker.is_none_or(|wanted| subject.broker == wanted)
    }
}

/// The rules of a broker, shared by all of its connections.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Rules>,
    /// Signalled when there are fewer rules than before.
    fewer: Notify,
}

impl Faults {
    pub fn add(&self, rule: Rule) -> Result<RuleId, TooManyRules> {
        self.rules.lock().ignoring_poison().add(rule)
    }

    pub fn take(&self, subject: Subject<'_>) -> Option<Effect> {
        let mut rules = self.rules.lock().ignoring_poison();
        let before = rules.rules.len();
        let effect = rules.take(subject);
        if rules.rules.len() < before {
            self.fewer.notify_waiters();
        }
        effect
    }

    pub fn remove(&self, id: RuleId) -> bool {
        let is_removed = self.rules.lock().ignoring_poison().remove(id);
        self.fewer.notify_waiters();
        is_removed
    }

    pub fn clear(&self) {
        self.rules.lock().ignoring_poison().clear();
        self.fewer.notify_waiters();
    }

    /// The rules as they are now.
    pub fn rules(&self) -> Rules {
        self.rules.lock().ignoring_poison().clone()
    }

    /// Waits until a rule is used up or removed.
    pub async fn used_up(&self, id: RuleId) {
        loop {
            let fewer = self.fewer.notified();
            if self.rules.lock().ignoring_poison().get(id).is_none() {
                return;
            }
            fewer.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCE: i16 = 0;
    const FETCH: i16 = 1;

    fn failing(api_key: i16, client_id: Option<&str>, left: u64, error: i16) -> Rule {
        let effect = Effect { error: Some(error), ..Effect::default() };
        Rule { api_key, client_id: client_id.map(str::to_owned), broker: None, left, effect }
    }

    fn from(api_key: i16, client_id: &str) -> Subject<'_> {
        Subject { api_key, client_id: Some(client_id), broker: NodeId(1) }
    }

    #[test]
    fn a_request_takes_the_first_rule_that_it_matches_until_the_rule_is_used_up() {
        let mut rules = Rules::default();
        let error = |rules: &mut Rules, subject| rules.take(subject).and_then(|effect| effect.error);
        let of_shop = rules.add(failing(PRODUCE, Some("shop"), 2, 6)).unwrap();
        let of_all = rules.add(failing(PRODUCE, None, 2, 7)).unwrap();
        assert_eq!(error(&mut rules, from(FETCH, "shop")), None, "another API");
        assert_eq!(error(&mut rules, from(PRODUCE, "shop")), Some(6));
        assert_eq!(error(&mut rules, from(PRODUCE, "bank")), Some(7), "the first rule is of another client");
        assert_eq!(rules.get(of_shop).unwrap().left, 1);
        assert_eq!(error(&mut rules, from(PRODUCE, "shop")), Some(6));
        assert_eq!(rules.get(of_shop), None, "it is used up");
        let nameless = Subject { client_id: None, ..from(PRODUCE, "") };
        assert_eq!(error(&mut rules, nameless), Some(7));
        assert_eq!(error(&mut rules, from(PRODUCE, "shop")), None);
        assert!(!rules.remove(of_all) && rules.iter().next().is_none());
    }

    #[test]
    fn a_rule_of_one_broker_leaves_requests_to_the_others_alone() {
        let mut rules = Rules::default();
        let rule = Rule { broker: Some(NodeId(2)), ..failing(FETCH, None, 1, 6) };
        rules.add(rule.clone()).unwrap();
        assert_eq!(rules.take(from(FETCH, "a")), None);
        assert_eq!(rules.take(Subject { broker: NodeId(2), ..from(FETCH, "a") }), Some(rule.effect));
    }

    #[test]
    fn removed_rules_match_nothing_and_their_numbers_are_not_used_again() {
        let mut rules = Rules::default();
        let first = rules.add(failing(FETCH, None, 5, 6)).unwrap();
        assert!(rules.remove(first) && !rules.remove(first));
        let second = rules.add(failing(FETCH, None, 5, 6)).unwrap();
        assert!(second > first);
        rules.clear();
        assert_eq!(rules.take(from(FETCH, "a")), None);
        assert!(rules.add(failing(FETCH, None, 5, 6)).unwrap() > second);
    }

    #[test]
    fn there_is_a_limit_of_rules() {
        let mut rules = Rules::default();
        for _ in 0..MOST_RULES {
            rules.add(failing(FETCH, None, 1, 6)).unwrap();
        }
        assert_eq!(rules.add(failing(FETCH, None, 1, 6)), Err(TooManyRules));
        rules.take(from(FETCH, "a"));
        assert!(rules.add(failing(FETCH, None, 1, 6)).is_ok());
    }

    #[tokio::test]
    async fn a_wait_ends_when_its_rule_is_used_up_or_removed() {
        let faults = std::sync::Arc::new(Faults::default());
        let [used, removed] = [2, 5].map(|left| faults.add(failing(FETCH, Some("a"), left, 6)).unwrap());
        let wait = |id| {
            let faults = std::sync::Arc::clone(&faults);
            tokio::spawn(async move { faults.used_up(id).await })
        };
        let (for_used, for_removed) = (wait(used), wait(removed));
        faults.take(from(FETCH, "a"));
        tokio::task::yield_now().await;
        assert!(!for_used.is_finished());
        faults.take(from(FETCH, "a"));
        for_used.await.unwrap();
        assert!(!for_removed.is_finished());
        faults.remove(removed);
        for_removed.await.unwrap();
    }
}
