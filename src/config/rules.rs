//! The rules about values that are valid one by one but may not take effect together, or only within the
//! limits of the broker. The check of a single value is in its [`Row`].
//!
//! Each rule returns the refusal of a candidate that breaks it. The words are Kafka's.

use std::collections::BTreeMap;

use super::authorizer;
use super::check::Check;
use super::logins::CALLBACK;
use super::oauth;
use super::prefix::base_of;
use super::row::Row;
use super::value::Value;
use super::{ConfigError, broker, topic};

/// One rule.
pub(super) type Rule = fn(&Candidate<'_>) -> Result<(), ConfigError>;

/// Rules for all settings of a broker, checked when it starts and when settings are altered.
pub(super) const BROKER: &[Rule] = &[
    |it| requirement(it.own_number("log.roll.ms").is_none_or(|age| age >= 1), LOG_ROLL),
    |it| requirement(it.own_number("log.roll.jitter.ms").is_none_or(|jitter| jitter >= 0), LOG_ROLL_JITTER),
    |it| requirement(it.own_number("log.retention.ms") != Some(0), LOG_RETENTION),
    |it| {
        let (delay, idle) =
            (it.number("connection.failed.authentication.delay.ms"), it.number("connections.max.idle.ms"));
        agree(idle < 0 || delay < idle, || {
            format!(
                "requirement failed: connection.failed.authentication.delay.ms={delay} should always be less than \
                 connections.max.idle.ms={idle} to prevent failed authentication responses from timing out"
            )
        })
    },
    |it| {
        let has_exceptions =
            it.value(broker::CONNECTIONS_OF).is_some_and(|value| !value.text().trim().is_empty());
        requirement(it.number(broker::CONNECTIONS_PER_IP) != 0 || has_exceptions, NO_ADDRESS)
    },
    |it| {
        let directories = it.words("log.dirs");
        valid(directories.len() <= 1, "log.dirs", || directories.join(","), "one data directory only")
    },
    |it| {
        let is_controller = it.words("process.roles") == ["controller"];
        if is_controller { Err(ConfigError::OnlyController) } else { Ok(()) }
    },
    |it| {
        let (least, most) =
            (it.number("group.min.session.timeout.ms"), it.number("group.max.session.timeout.ms"));
        let why = "it must be at least group.min.session.timeout.ms";
        valid(least <= most, "group.max.session.timeout.ms", || most.to_string(), why)
    },
];

/// Rules for altered settings of a broker, which are compared with the present ones.
pub(super) const ALTERED_BROKER: &[Rule] = &[
    |it| assignment_interval_is_within_its_limits(it, "consumer"),
    |it| assignment_interval_is_within_its_limits(it, "share"),
    |it| assignment_interval_is_within_its_limits(it, "streams"),
    threads_change_by_at_most_half_or_double,
];

/// Rules for the settings of a topic, which inherits those of its broker.
pub(super) const TOPIC: &[Rule] = &[
    |it| {
        let (min, max) = (topic::MIN_COMPACTION_LAG, topic::MAX_COMPACTION_LAG);
        let (least, most) = (it.number(min), it.number(max));
        agree(least <= most, || format!("conflict topic config setting {min} ({least}) > {max} ({most})"))
    },
    |it| agree(!it.own_flag("remote.storage.enable"), || NO_TIERED_STORAGE.to_owned()),
];

/// Rules for the settings of a group, which are compared with those of the broker.
pub(super) const GROUP: &[Rule] = &[
    every_number_is_within_the_brokers_limits,
    |it| session_is_longer_than_heartbeat(it, "consumer"),
    |it| session_is_longer_than_heartbeat(it, "share"),
    |it| session_is_longer_than_heartbeat(it, "streams"),
    |it| {
        let Some(name) = it.own_text("streams.assignor.name") else { return Ok(()) };
        let known = it.words("group.streams.assignors");
        agree(known.contains(&name), || {
            let known = known.join(", ");
            format!(
                "streams.assignor.name '{name}' is not a registered task assignor. Registered assignors are: [{known}]."
            )
        })
    },
    |it| {
        let topic = it.own_text("errors.deadletterqueue.topic.name");
        agree(!topic.is_some_and(|name| name.starts_with("__")), || DEAD_LETTERS_ARE_INTERNAL.to_owned())
    },
];

const NO_CLASSES: &str = "Java classes cannot be loaded; remove this setting";
const LOG_ROLL: &str = "log.roll.ms must be greater than or equal to 1";
const LOG_ROLL_JITTER: &str = "log.roll.jitter.ms must be greater than or equal to 0";
const LOG_RETENTION: &str = "log.retention.ms must be unlimited (-1) or, greater than or equal to 1";
const NO_ADDRESS: &str =
    "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.";
const NO_TIERED_STORAGE: &str = "Tiered Storage functionality is disabled in the broker. \
                                 Topic cannot be configured with remote log storage.";
const DEAD_LETTERS_ARE_INTERNAL: &str =
    "errors.deadletterqueue.topic.name: DLQ topic name must not start with '__'";

/// Values that are to take effect together.
pub(super) struct Candidate<'a> {
    /// The values that the resource sets itself.
    pub own: &'a BTreeMap<&'static str, Value>,
    /// The value of a setting that the resource does not set; `None` if there is no such setting.
    pub inherited: &'a dyn Fn(&str) -> Option<Value>,
}

impl Candidate<'_> {
    /// Fails with the refusal of the first rule that the values break.
    pub(super) fn keeps(&self, rules: &[Rule]) -> Result<(), ConfigError> {
        rules.iter().try_for_each(|rule| rule(self))
    }

    fn own_number(&self, name: &str) -> Option<i64> {
        self.own.get(name).and_then(Value::number_if_any)
    }

    fn own_text(&self, name: &str) -> Option<String> {
        self.own.get(name).map(Value::text)
    }

    fn own_flag(&self, name: &str) -> bool {
        self.own.get(name).is_some_and(Value::flag)
    }

    fn value(&self, name: &str) -> Option<Value> {
        self.own.get(name).cloned().or_else(|| (self.inherited)(name))
    }

    fn number_if_any(&self, name: &str) -> Option<i64> {
        self.value(name)?.number_if_any()
    }

    fn number(&self, name: &str) -> i64 {
        self.number_if_any(name).unwrap_or(0)
    }

    /// The present number, with which an altered one is compared.
    fn present_number(&self, name: &str) -> i64 {
        (self.inherited)(name).and_then(|value| value.number_if_any()).unwrap_or(0)
    }

    fn words(&self, name: &str) -> Vec<String> {
        self.value(name).map_or_else(Vec::new, |value| value.words())
    }
}

/// Reads and checks one setting of the broker, whose full name may have the prefix of a listener.
pub(super) fn read(name: &str, row: &Row, written: &str) -> Result<Value, ConfigError> {
    let value = row.read(written).map_err(|error| error.under(name))?;
    can_work_here(name, row, &value.text())?;
    Ok(value)
}

/// Checks those settings that have the prefix of a listener. As in Kafka, they are checked as the settings without it.
pub(super) fn check_prefixed<'a>(set: impl Iterator<Item = (&'a str, &'a str)>) -> Result<(), ConfigError> {
    for (name, written) in set {
        let base = base_of(name);
        if let Some(row) = broker::row(base).filter(|_| base != name) {
            read(name, row, written)?;
        }
    }
    Ok(())
}

/// Refuses a Java class that is meant to keep clients out, because classes cannot be loaded.
fn can_work_here(name: &str, row: &Row, set: &str) -> Result<(), ConfigError> {
    if set.is_empty() || row.default == Some(set) {
        return Ok(());
    }
    let refuse = |why| Err(ConfigError::invalid(name, set, why));
    match row.name {
        "principal.builder.class" | "security.providers" | "ssl.engine.factory.class" => {
            refuse("Java classes cannot be loaded; without this one, clients that it refuses could connect")
        }
        "client.quota.callback.class" => {
            refuse("no class can decide about quotas here; set quotas with kafka-configs.sh or jackdaw quota")
        }
        CALLBACK if !oauth::HANDLERS.contains(&set) => refuse(NO_CLASSES),
        oauth::VALIDATOR if !oauth::VALIDATORS.contains(&set) => refuse(NO_CLASSES),
        authorizer::CLASS => authorizer::check_class(name, set),
        _ => Ok(()),
    }
}

fn session_is_longer_than_heartbeat(it: &Candidate<'_>, kind: &str) -> Result<(), ConfigError> {
    let (session, heartbeat) =
        (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
    let sets_one = it.own_number(&session).or(it.own_number(&heartbeat)).is_some();
    agree(!sets_one || it.number(&session) > it.number(&heartbeat), || {
        format!("{session} must be greater than {heartbeat}")
    })
}

fn assignment_interval_is_within_its_limits(it: &Candidate<'_>, kind: &str) -> Result<(), ConfigError> {
    let of = |limit: &str| format!("group.{kind}.{limit}assignment.interval.ms");
    let (name, least, most) = (of(""), of("min."), of("max."));
    let Some(wanted) = it.own_number(&name) else { return Ok(()) };
    let (low, high) = (it.present_number(&least), it.present_number(&most));
    agree(wanted <= high, || format!("{name} must be less than or equal to {most}"))?;
    agree(wanted >= low, || format!("{name} must be greater than or equal to {least}"))
}

fn threads_change_by_at_most_half_or_double(it: &Candidate<'_>) -> Result<(), ConfigError> {
    for (name, value) in it.own {
        let is_threads = broker::row(name).is_some_and(|row| matches!(row.check, Check::Threads(_)));
        let (wanted, present) = (value.number_if_any().unwrap_or(0), it.present_number(name));
        if !is_threads || wanted == present {
            continue;
        }
        let (subject, at_least_half, at_most_double) = if *name == "log.cleaner.threads" {
            let halved = "cannot be reduced to less than half";
            ("Log cleaner threads".to_owned(), halved, "cannot be increased to more than double")
        } else {
            let failed = format!("Dynamic thread count update validation failed for {name}={wanted}, value");
            (failed, "should be at least half", "should not be greater than double")
        };
        // Kafka's message has a class in place of the value.
        let agree = |holds: bool, why: String| {
            let class = "org.apache.kafka.common.config.ConfigException";
            agree(holds, || {
                format!(
                    "Invalid value {class}: {subject} {why} for configuration Invalid dynamic configuration"
                )
            })
        };
        agree(wanted >= 1, "should be at least 1".to_owned())?;
        agree(wanted >= present / 2, format!("{at_least_half} the current value {present}"))?;
        agree(wanted <= present.saturating_mul(2), format!("{at_most_double} the current value {present}"))?;
    }
    Ok(())
}

/// The limits of `share.session.timeout.ms` are `group.share.min.session.timeout.ms` and `…max…`.
fn every_number_is_within_the_brokers_limits(it: &Candidate<'_>) -> Result<(), ConfigError> {
    for (name, value) in it.own {
        let (Some(number), Some((kind, what))) = (value.number_if_any(), name.split_once('.')) else {
            continue;
        };
        let what = what.strip_prefix("num.").unwrap_or(what);
        let limit = |which: &str| it.number_if_any(&format!("group.{kind}.{which}.{what}"));
        match (limit("min"), limit("max")) {
            (Some(least), Some(most)) => agree((least..=most).contains(&number), || {
                format!("{name} must be in the range {least} to {most} inclusive.")
            })?,
            (None, Some(most)) => {
                agree(number <= most, || format!("{name} must be less than or equal to {most}"))?;
            }
            (Some(least), None) => {
                agree(number >= least, || format!("{name} must be greater than or equal to {least}"))?;
            }
            (None, None) => {}
        }
    }
    Ok(())
}

fn agree(holds: bool, words: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Conflict(words())) }
}

fn requirement(holds: bool, words: &str) -> Result<(), ConfigError> {
    agree(holds, || format!("requirement failed: {words}"))
}

fn valid(holds: bool, name: &str, value: impl FnOnce() -> String, why: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::invalid(name, value(), why)) }
}
