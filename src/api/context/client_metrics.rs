//! The metrics of the client itself (KIP-714). As in Kafka, no right is needed for them.

use super::Context;
use crate::api::client_metrics::{Caller, Properties, Push, Subscribed, shortened};
use crate::api::error::ErrorCode;
use crate::types::Uuid;

/// The software of a client that has not named it, as in Kafka.
const UNKNOWN: &str = "unknown";

impl Context {
    /// Which metrics the client with this id should push.
    pub fn ask_for_subscription(&self, id: Uuid) -> Result<Subscribed, ErrorCode> {
        self.services.client_metrics.ask(id, &self.caller(id))
    }

    /// Takes metrics of the client with this id.
    pub fn push_metrics(&self, id: Uuid, push: &Push) -> Result<(), ErrorCode> {
        let most = self.services.settings().most_telemetry();
        self.services.client_metrics.push(id, &self.caller(id), push, most)
    }

    fn caller(&self, id: Uuid) -> Caller {
        let (software, peer) = (self.connection.software.get(), self.connection.peer);
        let (name, version) =
            software.map_or((UNKNOWN, UNKNOWN), |software| (&software.name, &software.version));
        let properties = Properties {
            instance_id: id.to_string(),
            client_id: shortened(self.client_id.as_deref().unwrap_or_default()),
            software_name: shortened(name),
            software_version: shortened(version),
            source_address: peer.ip().to_canonical().to_string(),
            source_port: peer.port().to_string(),
        };
        Caller { properties, stored: self.services.store.settings(), now: self.services.clock.monotonic() }
    }
}
