//! Requests of keys and versions that are not served, mostly of old clients: one warning for each client and key, because
//! such a client connects again at once.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Mutex;

use tracing::{debug, warn};

use crate::api::connection::ConnectionInfo;
use crate::api::{Api, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use crate::protocol::RequestHeader;
use crate::protocol::messages::KafkaApi;
use crate::telemetry::Shown;
use crate::types::IgnorePoison;

/// The number of clients and keys that are remembered. With more of them, warnings may be repeated.
const MOST: usize = 1024;

/// The clients and keys that were warned of.
#[derive(Default)]
pub(super) struct Unserved(Mutex<HashSet<(IpAddr, String, i16)>>);

impl Unserved {
    /// Warns of a request that is not served, unless its client has sent one of the same key before.
    pub(super) fn warn(&self, header: &RequestHeader, info: &ConnectionInfo, api: &Api) {
        let RequestHeader { api_key: key, api_version: version, ref client_id, .. } = *header;
        let peer = info.peer;
        let client_id = client_id.as_deref().map(|id| Shown(id).to_string());
        let name = KafkaApi::find(key).map(|api| api.name);
        if !self.is_new(peer.ip(), client_id.as_deref().unwrap_or_default(), key) {
            return debug!(%peer, api = name, key, version, "a request that is not served; connection closed");
        }
        let software = info.software.get().map(ToString::to_string);
        let advice = advice(key, version, api.served_versions(key));
        warn!(%peer, client_id, software, api = name, key, version, "{advice}; connection closed");
    }

    fn is_new(&self, ip: IpAddr, client_id: &str, key: i16) -> bool {
        let mut known = self.0.lock().ignoring_poison();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((ip, client_id.to_owned(), key))
    }
}

/// The reason why a request is not served, and the next step. `served` are the versions that are.
fn advice(key: i16, version: i16, served: Option<RangeInclusive<i16>>) -> String {
    match served {
        Some(served) if version < *served.start() => format!(
            "the client is too old: versions {} to {} of this request are served, as by Kafka 4; update the client, and \
             remove settings for older brokers from it (such as api_version or broker.version.fallback)",
            served.start(),
            served.end()
        ),
        Some(served) => format!(
            "the client sends a newer version of this request than {} without asking for the supported versions: set \
             api.version.request=true in the client, or its version of Kafka to 4.4 or older",
            served.end()
        ),
        None if [SASL_HANDSHAKE, SASL_AUTHENTICATE].contains(&key) => {
            "the client wants to log in (SASL), which this listener does not offer: set security.protocol=PLAINTEXT in the \
             client"
                .to_owned()
        }
        None if KafkaApi::find(key).is_some() => {
            "this request is not served, and not advertised: turn off the feature of the client that needs it \
             (docs/apis.md lists the requests that are served)"
                .to_owned()
        }
        None => "no Kafka 4 client sends this request: check that the peer is a Kafka client, and update it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_depends_on_what_is_served() {
        assert!(advice(0, 2, Some(3..=13)).contains("too old: versions 3 to 13"));
        assert!(advice(0, 14, Some(3..=13)).contains("newer version of this request than 13"));
        assert!(advice(SASL_HANDSHAKE, 0, None).contains("security.protocol=PLAINTEXT"));
        assert!(advice(78, 1, None).contains("docs/apis.md"), "ShareFetch");
        assert!(advice(7, 0, None).contains("no Kafka 4 client"), "ControlledShutdown");
    }

    #[test]
    fn each_client_and_key_is_new_once_and_the_memory_is_bounded() {
        let unserved = Unserved::default();
        let ip = IpAddr::from([192, 0, 2, 1]);
        assert!(unserved.is_new(ip, "old", 0) && !unserved.is_new(ip, "old", 0));
        assert!(unserved.is_new(ip, "old", 1) && unserved.is_new(ip, "other", 0));
        assert!(unserved.is_new(IpAddr::from([192, 0, 2, 2]), "old", 0));
        for nth in 0..3 * MOST {
            assert!(unserved.is_new(ip, &nth.to_string(), 0));
        }
        assert!(unserved.0.lock().ignoring_poison().len() <= MOST);
    }
}
