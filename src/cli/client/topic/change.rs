//! `jackdaw topic create`, `delete` and `partitions`.

use clap::Args;

use super::show::matching;
use crate::api::error::ErrorCode;
use crate::cli::client::answers::{Answers, agrees};
use crate::cli::client::brokers::Brokers;
use crate::cli::client::config::{self, Resource, Setting};
use crate::cli::client::peer::reason;
use crate::cli::client::{CommandOutcome, Failure, Output, Session, shown};
use crate::cli::serve::name_and_value;
use crate::protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};

#[derive(Debug, Args)]
pub struct Create {
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// [default: the broker's setting]
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// [default: the broker's setting]
    #[arg(long, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topic, such as retention.ms=3600000; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
    /// Succeed if a topic exists already, and leave it as it is
    #[arg(long)]
    if_not_exists: bool,
    /// Only ask the broker whether it would create them
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    pub fn run(&self, session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
        let answer = brokers.any().call(2..=7, &self.request(session))?;
        let (done, exists) = (if self.dry_run { "would create" } else { "created" }, "exists already");
        let mut answers = Answers::new(session);
        for topic in answer.topics {
            let is_there = topic.error_code == ErrorCode::TopicAlreadyExists.code();
            match topic.error_code {
                0 => answers.done(&topic.name, done, out)?,
                _ if is_there && self.if_not_exists => answers.done(&topic.name, exists, out)?,
                code => answers.refused(&topic.name, reason(code, topic.error_message)),
            }
        }
        answers.end(out)
    }

    fn request(&self, session: &Session) -> CreateTopicsRequest {
        let configs = self
            .set
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) });
        let configs: Vec<CreatableTopicConfig> = configs.collect();
        let topics = self.topics.iter().map(|name| CreatableTopic {
            name: name.clone(),
            // −1 means the broker's default.
            num_partitions: self.partitions.unwrap_or(-1),
            replication_factor: self.replication_factor.unwrap_or(-1),
            configs: configs.clone(),
            ..CreatableTopic::default()
        });
        CreateTopicsRequest {
            topics: topics.collect(),
            timeout_ms: session.timeout_ms(),
            validate_only: self.dry_run,
        }
    }
}

#[derive(Debug, Args)]
pub struct Delete {
    #[arg(value_name = "TOPIC", required_unless_present = "pattern")]
    topics: Vec<String>,
    /// Delete all topics whose whole name matches this regular expression
    #[arg(long, conflicts_with = "topics")]
    pattern: Option<String>,
    /// With --pattern: also topics that begin with two underscores
    #[arg(long, requires = "pattern")]
    all: bool,
    /// Only show the topics that would be deleted
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on the terminal
    #[arg(long)]
    yes: bool,
}

impl Delete {
    pub fn run(&self, session: &Session, brokers: &mut Brokers<'_>, out: &mut Output<'_>) -> CommandOutcome {
        let mut answers = Answers::new(session);
        let names = match &self.pattern {
            Some(pattern) => self.matched(brokers, pattern)?,
            None => self.topics.clone(),
        };
        if self.dry_run {
            let may_delete = may_delete(brokers)?;
            for (name, topic) in brokers.topics_named(&names)? {
                match answers.keep(&name, topic)? {
                    None => {}
                    Some(_) if may_delete => answers.done(&name, "would delete", out)?,
                    Some(_) => answers.refused(&name, reason(ErrorCode::TopicDeletionDisabled.code(), None)),
                }
            }
            return answers.end(out);
        }
        if self.pattern.is_some() && !self.yes && !names.is_empty() {
            let listed: Vec<String> = names.iter().map(|name| shown(name)).collect();
            let question =
                format!("{}\nDelete these {} topics and all their records?", listed.join("\n"), names.len());
            if !agrees(&question)? {
                return Err(Failure::refused("nothing was deleted"));
            }
        }
        for name in names {
            let request = DeleteTopicsRequest {
                topics: vec![DeleteTopicState { name: Some(name.clone()), ..DeleteTopicState::default() }],
                topic_names: vec![name.clone()],
                timeout_ms: session.timeout_ms(),
            };
            let answer = brokers.any().call(1..=6, &request);
            let result = answer.and_then(|answer| {
                let result = answer.responses.into_iter().next();
                result.ok_or_else(|| brokers.any().refused("it did not answer for the topic"))
            });
            let result = match result {
                Ok(result) => result,
                // The rows of the topics that are gone already are printed too.
                Err(failure) => return answers.end(out).and(Err(failure)),
            };
            match result.error_code {
                0 => answers.done(&name, "deleted", out)?,
                code if code == ErrorCode::UnknownTopicOrPartition.code() => {
                    answers.refused(&name, "there is no such topic".to_owned());
                }
                code => answers.refused(&name, reason(code, result.error_message)),
            }
        }
        answers.end(out)
    }

    fn matched(&self, brokers: &mut Brokers<'_>, pattern: &str) -> CommandOutcome<Vec<String>> {
        let topics = matching(brokers.topics()?, Some(pattern), self.all)?;
        Ok(topics.into_iter().map(|topic| topic.name).collect())
    }
}

/// Whether clients may delete topics. A user who may not see the settings of brokers learns it by the deletion.
fn may_delete(brokers: &mut Brokers<'_>) -> CommandOutcome<bool> {
    let Some(id) = brokers.ids().first().copied() else { return Ok(true) };
    let settings = match config::entries(brokers, &Resource::Broker(id)) {
        Err(Failure::Refused(_)) => return Ok(true),
        settings => settings?,
    };
    let setting = settings.iter().find(|setting| setting.name == "delete.topic.enable");
    Ok(setting.and_then(Setting::value).is_none_or(|value| value != "false"))
}

pub fn partitions(
    session: &Session,
    brokers: &mut Brokers<'_>,
    topic: &str,
    count: u16,
    out: &mut Output<'_>,
) -> CommandOutcome {
    let more = CreatePartitionsTopic { name: topic.to_owned(), count: count.into(), assignments: None };
    let timeout_ms = session.timeout_ms();
    let request = CreatePartitionsRequest { topics: vec![more], timeout_ms, validate_only: false };
    let mut answers = Answers::new(session);
    for result in brokers.any().call(0..=3, &request)?.results {
        match result.error_code {
            0 => answers.done(&result.name, "extended", out)?,
            code => answers.refused(&result.name, reason(code, result.error_message)),
        }
    }
    answers.end(out)
}
