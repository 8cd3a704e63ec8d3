//! A connection to one broker for requests that this program sends itself, and why a broker refuses one.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

#[cfg(feature = "security")]
use super::login;
use super::reasons::explained;
use super::{CommandOutcome, Failure, Session, access, shown};
use crate::api::error::ErrorCode;
use crate::cli::address;
use crate::cli::wire::Wire;
use crate::protocol::Request;
use crate::protocol::messages::ApiVersionsRequest;

/// A connection to one broker, and the versions of its APIs.
pub struct Peer {
    address: String,
    wire: Wire,
    versions: BTreeMap<i16, i16>,
}

impl Peer {
    pub fn connect(session: &Session, address: &str) -> CommandOutcome<Peer> {
        let failed = |error: io::Error| Failure::no_answer(address, &error);
        let client_id = session.settings.get(access::CLIENT_ID).unwrap_or("jackdaw");
        let wire = Wire::connect(address, client_id, session.timeout()).map_err(failed)?;
        let mut wire = come_in(session, wire, address)?;
        let answer = wire.call(0, &ApiVersionsRequest::default()).map_err(failed)?;
        let versions = answer.api_keys.iter().map(|api| (api.api_key, api.max_version)).collect();
        Ok(Peer { address: address.to_owned(), wire, versions })
    }

    pub fn address(&self) -> &str {
        &self.address
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
        Err(self.refused(&reason(code, None)))
    }

    /// As [`Peer::accept`], but with the broker's own words if it has any.
    pub fn accept_with(&self, code: i16, message: Option<String>) -> CommandOutcome {
        if code == 0 {
            return Ok(());
        }
        Err(self.refused(&reason(code, message)))
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
    for address in address::each(&session.bootstrap) {
        match Peer::connect(session, address) {
            Ok(peer) => return Ok(peer),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Why a broker refuses: in its own words if it has any, else in ours with the name of the code.
pub fn reason(code: i16, message: Option<String>) -> String {
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        return shown(&message);
    }
    let Some(known) = ErrorCode::ALL.iter().find(|known| known.code() == code) else {
        return format!("error {code}");
    };
    format!("{} ({})", explained(*known), known.name())
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
        let invalid = "the broker finds a name or a value in the request that is not valid (INVALID_REQUEST)";
        assert_eq!(refused(code, ""), format!("{address}: {invalid}"));
        let group = refused(ErrorCode::NonEmptyGroup.code(), "");
        assert_eq!(group, format!("{address}: the group has members (NON_EMPTY_GROUP)"));
        assert_eq!(refused(1234, ""), format!("{address}: error 1234"));
        assert!(peer.accept_with(0, Some("fine".to_owned())).is_ok());
    }
}
