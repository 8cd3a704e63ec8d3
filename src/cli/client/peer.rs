//! The brokers that this program asks itself, because librdkafka has no such requests: those of the cluster, the
//! coordinator of a transactional id, and the leader of a partition.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

#[cfg(feature = "security")]
use super::login;
use super::{CommandOutcome, Failure, Session, shown};
use crate::api::error::ErrorCode;
use crate::cli::wire::Wire;
use crate::protocol::Request;
use crate::protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use crate::protocol::messages::{ApiVersionsRequest, FindCoordinatorRequest, MetadataResponse};
use crate::types::host_and_port;

/// The kind of a coordinator in FindCoordinator.
const OF_TRANSACTIONS: i8 = 1;

/// A connection to one broker, and the versions of its APIs.
pub struct Peer {
    address: String,
    wire: Wire,
    versions: BTreeMap<i16, i16>,
}

impl Peer {
    pub fn connect(session: &Session, address: &str) -> CommandOutcome<Peer> {
        let failed = |error: io::Error| Failure::no_answer(address, &error);
        let wire = Wire::connect(address, "jackdaw", session.timeout()).map_err(failed)?;
        let mut wire = come_in(session, wire, address)?;
        let answer = wire.call(0, &ApiVersionsRequest::default()).map_err(failed)?;
        let versions = answer.api_keys.iter().map(|api| (api.api_key, api.max_version)).collect();
        Ok(Peer { address: address.to_owned(), wire, versions })
    }

    /// Sends a request of the highest of these versions that the broker has.
    pub fn call<R: Request>(
        &mut self,
        versions: RangeInclusive<i16>,
        request: &R,
    ) -> CommandOutcome<R::Response> {
        let highest = self.versions.get(&R::KEY).copied().unwrap_or(-1);
        let version = highest.min(*versions.end());
        if !versions.contains(&version) {
            let name = R::NAME;
            return Err(self.refused(&format!("it has no {name} of version {}", versions.start())));
        }
        self.wire.call(version, request).map_err(|error| Failure::no_answer(&self.address, &error))
    }

    /// Fails if the broker answers with an error.
    pub fn accept(&self, code: i16) -> CommandOutcome {
        if code == 0 {
            return Ok(());
        }
        let known = ErrorCode::ALL.iter().find(|known| known.code() == code);
        Err(self.refused(&known.map_or_else(|| format!("error {code}"), |known| known.name().to_owned())))
    }

    /// As [`Peer::accept`], but with the broker's own words if it has any.
    pub fn accept_with(&self, code: i16, message: Option<String>) -> CommandOutcome {
        match message.filter(|message| code != 0 && !message.is_empty()) {
            Some(message) => Err(self.refused(&shown(&message))),
            None => self.accept(code),
        }
    }

    pub fn refused(&self, why: &str) -> Failure {
        Failure::Refused(format!("{}: {why}", self.address))
    }
}

/// Encrypts the connection and logs in if the settings ask for it.
#[cfg(feature = "security")]
fn come_in(session: &Session, mut wire: Wire, address: &str) -> CommandOutcome<Wire> {
    let entry = login::Entry::of(&session.settings)?;
    if let Some(tls) = &entry.tls {
        wire = tls.encrypt(wire, address)?;
    }
    if let Some(login) = &entry.login {
        login.perform(&mut wire, address)?;
    }
    Ok(wire)
}

/// Fails if there are settings for librdkafka, which is not used for this.
#[cfg(not(feature = "security"))]
fn come_in(session: &Session, wire: Wire, _: &str) -> CommandOutcome<Wire> {
    match session.settings.binding().next() {
        Some(name) => Err(Failure::Usage(format!("-X {name}: this command does not use librdkafka"))),
        None => Ok(wire),
    }
}

/// The first bootstrap broker that answers.
pub fn bootstrap(session: &Session) -> CommandOutcome<Peer> {
    let mut failure = Failure::Usage("--bootstrap has no address".to_owned());
    for address in session.connect.bootstrap.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        match Peer::connect(session, address) {
            Ok(peer) => return Ok(peer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The running brokers: their ids and addresses, ordered by id.
pub fn brokers(session: &Session) -> CommandOutcome<BTreeMap<i32, String>> {
    Ok(addresses(&metadata(session, None)?))
}

fn addresses(metadata: &MetadataResponse) -> BTreeMap<i32, String> {
    metadata.brokers.iter().map(|broker| (broker.node_id, host_and_port(&broker.host, broker.port))).collect()
}

fn metadata(session: &Session, topic: Option<&str>) -> CommandOutcome<MetadataResponse> {
    let topic = topic
        .map(|name| MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() });
    let request = MetadataRequest {
        topics: Some(topic.into_iter().collect()),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    bootstrap(session)?.call(4..=9, &request)
}

/// The address of the broker that leads a partition.
pub fn leader(session: &Session, topic: &str, partition: i32) -> CommandOutcome<String> {
    let metadata = metadata(session, Some(topic))?;
    let (known, name) = (metadata.topics.first(), shown(topic));
    let known = known.filter(|known| !known.partitions.is_empty());
    let known = known.ok_or_else(|| Failure::refused(format_args!("there is no topic {name}")))?;
    let found = known.partitions.iter().find(|known| known.partition_index == partition);
    let found = found.ok_or_else(|| Failure::refused(format_args!("{name} has no partition {partition}")))?;
    let leader = addresses(&metadata).remove(&found.leader_id);
    leader.ok_or_else(|| Failure::refused(format_args!("{name} {partition} has no leader")))
}

/// The id and the address of the broker that coordinates a transactional id.
pub fn coordinator(session: &Session, id: &str) -> CommandOutcome<(i32, String)> {
    let mut broker = bootstrap(session)?;
    let request = FindCoordinatorRequest {
        key_type: OF_TRANSACTIONS,
        coordinator_keys: vec![id.to_owned()],
        ..FindCoordinatorRequest::default()
    };
    let answer = broker.call(4..=4, &request)?;
    let found = answer.coordinators.into_iter().next();
    let found = found.ok_or_else(|| broker.refused("it names no coordinator"))?;
    broker.accept(found.error_code)?;
    Ok((found.node_id, host_and_port(&found.host, found.port)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_is_shown_with_the_brokers_words_if_it_has_any_and_none_of_them_moves_the_cursor() {
        let broker = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = broker.local_addr().unwrap().to_string();
        let wire = Wire::connect(&address, "jackdaw", Duration::from_secs(10)).unwrap();
        let peer = Peer { address: address.clone(), wire, versions: BTreeMap::new() };
        let refused = |code, words: &str| match peer.accept_with(code, Some(words.to_owned())) {
            Err(Failure::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        let code = ErrorCode::InvalidRequest.code();
        assert_eq!(refused(code, "no \x1b[2Jname"), address.clone() + ": no \\u{1b}[2Jname");
        assert_eq!(refused(code, ""), format!("{address}: INVALID_REQUEST"));
        assert!(peer.accept_with(0, Some("fine".to_owned())).is_ok());
    }
}
