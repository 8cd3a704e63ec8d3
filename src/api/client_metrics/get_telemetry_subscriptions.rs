//! GetTelemetrySubscriptions (key 71): the metrics that a client should push (KIP-714). No right is needed, as in Kafka.

use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply};
use crate::protocol::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};
use crate::record::Codec;
use crate::time;

impl Handler for GetTelemetrySubscriptionsRequest {
    const GAPS: &'static [&'static str] = &[
        "It is served where `/metrics` is, which shows the metrics (`--http`), and so is PushTelemetry. Kafka serves both with a plugin that receives the metrics.",
    ];

    async fn handle(self, ctx: Context) -> Reply<GetTelemetrySubscriptionsResponse> {
        let id =
            if self.client_instance_id.is_zero() { time::random_uuid() } else { self.client_instance_id };
        let subscribed = match ctx.ask_for_subscription(id) {
            Ok(subscribed) => subscribed,
            Err(error) => return Reply::Now(refused(error)),
        };
        Reply::Now(GetTelemetrySubscriptionsResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::None.code(),
            client_instance_id: id,
            subscription_id: subscribed.id,
            accepted_compression_types: PREFERRED.map(|codec| codec.id().cast_signed()).to_vec(),
            push_interval_ms: i32::try_from(subscribed.interval.as_millis()).unwrap_or(i32::MAX),
            telemetry_max_bytes: ctx.services.settings().telemetry_max_bytes.cast_signed(),
            delta_temporality: true,
            requested_metrics: subscribed.metrics,
        })
    }
}

/// The order in which Kafka names them.
const PREFERRED: [Codec; 4] = [Codec::Zstd, Codec::Lz4, Codec::Gzip, Codec::Snappy];

fn refused(error: ErrorCode) -> GetTelemetrySubscriptionsResponse {
    GetTelemetrySubscriptionsResponse {
        error_code: error.code(),
        ..GetTelemetrySubscriptionsResponse::default()
    }
}
