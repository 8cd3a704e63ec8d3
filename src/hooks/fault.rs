//! A fault as tests write it: with Kafka's names of APIs and errors, in Rust or as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::TABLE;
use crate::api::error::ErrorCode;
use crate::faults::{Cut, Effect, Rule, RuleId};
use crate::types::NodeId;

/// The longest delay.
const MOST_DELAY: Duration = Duration::from_mins(10);

/// A fault: requests of one API are delayed, refused, answered late, or lose their connection.
///
/// ```
/// use jackdaw::Fault;
/// let fault = Fault::of("Produce").client("shop").times(2).error("NOT_LEADER_OR_FOLLOWER");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    api: String,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    broker: Option<i32>,
    #[serde(default = "once")]
    times: u64,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    delay_ms: u64,
    #[serde(default)]
    answer_delay_ms: u64,
    #[serde(default)]
    cut: Option<CutAt>,
}

/// When a fault closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutAt {
    /// Before the request has an effect.
    BeforeRequest,
    /// The request has its effect, and is not answered.
    BeforeAnswer,
    /// After the answer.
    AfterAnswer,
}

/// The number of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(transparent)]
pub struct FaultId(u64);

/// A fault that is not used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaultInfo {
    pub fault: FaultId,
    /// Kafka's name of the API.
    pub api: &'static str,
    pub client: Option<String>,
    pub broker: Option<i32>,
    /// The number of requests that it still waits for.
    pub left: u64,
    /// Kafka's name of the error.
    pub error: Option<&'static str>,
    pub delay_ms: u64,
    pub answer_delay_ms: u64,
    pub cut: Option<CutAt>,
}

fn once() -> u64 {
    1
}

impl Fault {
    /// For the next request of an API, by Kafka's name, such as `Produce`.
    pub fn of(api: impl Into<String>) -> Fault {
        Fault {
            api: api.into(),
            client: None,
            broker: None,
            times: once(),
            error: None,
            delay_ms: 0,
            answer_delay_ms: 0,
            cut: None,
        }
    }

    /// Only requests with this client id.
    #[must_use]
    pub fn client(self, id: impl Into<String>) -> Fault {
        Fault { client: Some(id.into()), ..self }
    }

    /// Only requests to this virtual broker.
    #[must_use]
    pub fn broker(self, id: NodeId) -> Fault {
        Fault { broker: Some(id.0), ..self }
    }

    /// The number of requests; 1 without it.
    #[must_use]
    pub fn times(self, times: u64) -> Fault {
        Fault { times, ..self }
    }

    /// Refuses the requests with an error, by Kafka's name, such as `NOT_LEADER_OR_FOLLOWER`. They change nothing.
    #[must_use]
    pub fn error(self, name: impl Into<String>) -> Fault {
        Fault { error: Some(name.into()), ..self }
    }

    /// Delays the requests. Later ones of the connection wait, too.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Fault {
        Fault { delay_ms: millis(delay), ..self }
    }

    /// Delays the answers. The requests have their effect at once.
    #[must_use]
    pub fn answer_delay(self, delay: Duration) -> Fault {
        Fault { answer_delay_ms: millis(delay), ..self }
    }

    /// Closes the connection.
    #[must_use]
    pub fn cut(self, at: CutAt) -> Fault {
        Fault { cut: Some(at), ..self }
    }

    pub(super) fn rule(self) -> Result<Rule, String> {
        let row = TABLE.iter().find(|row| row.name == self.api).ok_or_else(|| {
            format!(
                "{} is no API that is served; expected a name of Kafka's, such as Produce or JoinGroup",
                self.api
            )
        })?;
        let error = self.error.map(|name| {
            let found = ErrorCode::ALL.iter().find(|code| code.name() == name && **code != ErrorCode::None);
            let code = found.map(|code| code.code());
            code.ok_or_else(|| {
                format!("{name} is no error of Kafka; expected a name such as NOT_LEADER_OR_FOLLOWER")
            })
        });
        let effect = Effect {
            delay: delay("delay_ms", self.delay_ms)?,
            error: error.transpose()?,
            answer_delay: delay("answer_delay_ms", self.answer_delay_ms)?,
            cut: self.cut.map(Cut::from),
        };
        if effect == Effect::default() {
            return Err("the fault does nothing; expected error, delay_ms, answer_delay_ms or cut".to_owned());
        }
        if self.times == 0 {
            return Err("times is 0; expected the number of requests".to_owned());
        }
        let broker = self.broker.map(NodeId);
        Ok(Rule { api_key: row.key, client_id: self.client, broker, left: self.times, effect })
    }
}

fn delay(name: &str, ms: u64) -> Result<Duration, String> {
    let delay = Duration::from_millis(ms);
    let most = MOST_DELAY.as_millis();
    if delay > MOST_DELAY { Err(format!("{name} is {ms}; at most {most} is possible")) } else { Ok(delay) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl FaultInfo {
    pub(super) fn of((id, rule): &(RuleId, Rule)) -> FaultInfo {
        let Effect { delay, error, answer_delay, cut } = rule.effect;
        let code = error.and_then(|error| ErrorCode::ALL.iter().find(|code| code.code() == error));
        FaultInfo {
            fault: (*id).into(),
            api: TABLE.iter().find(|row| row.key == rule.api_key).map_or("", |row| row.name),
            client: rule.client_id.clone(),
            broker: rule.broker.map(|id| id.0),
            left: rule.left,
            error: code.map(|code| code.name()),
            delay_ms: millis(delay),
            answer_delay_ms: millis(answer_delay),
            cut: cut.map(CutAt::from),
        }
    }
}

impl From<RuleId> for FaultId {
    fn from(id: RuleId) -> FaultId {
        FaultId(id.0)
    }
}

impl From<FaultId> for RuleId {
    fn from(id: FaultId) -> RuleId {
        RuleId(id.0)
    }
}

impl From<CutAt> for Cut {
    fn from(at: CutAt) -> Cut {
        match at {
            CutAt::BeforeRequest => Cut::BeforeRequest,
            CutAt::BeforeAnswer => Cut::BeforeAnswer,
            CutAt::AfterAnswer => Cut::AfterAnswer,
        }
    }
}

impl From<Cut> for CutAt {
    fn from(cut: Cut) -> CutAt {
        match cut {
            Cut::BeforeRequest => CutAt::BeforeRequest,
            Cut::BeforeAnswer => CutAt::BeforeAnswer,
            Cut::AfterAnswer => CutAt::AfterAnswer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(fault: Fault) -> String {
        fault.rule().unwrap_err()
    }

    #[test]
    fn names_are_kafkas_and_a_wrong_one_is_refused_with_what_was_expected() {
        let rule = Fault::of("Fetch").error("NOT_LEADER_OR_FOLLOWER").rule().unwrap();
        assert_eq!((rule.api_key, rule.effect.error, rule.left), (1, Some(6), 1));
        assert!(refusal(Fault::of("produce").error("NOT_LEADER_OR_FOLLOWER")).contains("produce is no API"));
        assert!(refusal(Fault::of("Produce").error("NOT_LEADER")).contains("NOT_LEADER is no error"));
        assert!(refusal(Fault::of("Produce").error("NONE")).contains("NONE is no error"));
        assert!(refusal(Fault::of("Produce")).contains("does nothing"));
        assert!(refusal(Fault::of("Produce").cut(CutAt::BeforeAnswer).times(0)).contains("times is 0"));
        assert!(refusal(Fault::of("Produce").delay(Duration::from_hours(1))).contains("delay_ms is 3600000"));
    }

    #[test]
    fn a_fault_reads_as_json_and_a_field_that_does_not_exist_is_refused() {
        let fault: Fault = serde_json::from_str(
            r#"{"api": "Produce", "client": "shop", "broker": 2, "times": 3, "answer_delay_ms": 5, "cut": "after-answer"}"#,
        )
        .unwrap();
        let same = Fault::of("Produce").client("shop").broker(NodeId(2)).times(3);
        let same = same.answer_delay(Duration::from_millis(5)).cut(CutAt::AfterAnswer);
        assert_eq!(fault, same);
        assert!(serde_json::from_str::<Fault>(r#"{"api": "Produce", "errors": "x"}"#).is_err());
    }
}
