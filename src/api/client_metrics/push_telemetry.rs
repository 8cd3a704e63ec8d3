//! PushTelemetry (key 72): metrics of a client (KIP-714).

use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};
use crate::record::Codec;
use crate::types::Uuid;

use super::Push;

impl Handler for PushTelemetryRequest {
    const GAPS: &'static [&'static str] = &[
        "Metrics that have more than `telemetry.max.bytes` when they are decompressed are TELEMETRY_TOO_LARGE; Kafka has no limit.",
    ];

    /// The decompressed metrics.
    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let is_packed = u8::try_from(self.compression_type).is_ok_and(|id| id != Codec::None.id());
        let opened = if is_packed { ctx.services.settings().most_telemetry() } else { 0 };
        Weight::asked(size.echoed().saturating_add(opened))
    }

    async fn handle(self, ctx: Context) -> Reply<PushTelemetryResponse> {
        let error = take(self, &ctx).err().unwrap_or(ErrorCode::None);
        Reply::Now(PushTelemetryResponse { throttle_time_ms: 0, error_code: error.code() })
    }
}

/// Kafka keeps this id for itself.
const RESERVED: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

fn take(request: PushTelemetryRequest, ctx: &Context) -> Result<(), ErrorCode> {
    let id = request.client_instance_id;
    if id.is_zero() || id == RESERVED {
        return Err(ErrorCode::InvalidRequest);
    }
    let push = Push {
        subscription: request.subscription_id,
        is_terminating: request.terminating,
        codec: u8::try_from(request.compression_type).ok().and_then(Codec::from_id),
        metrics: request.metrics,
    };
    ctx.push_metrics(id, &push)
}
