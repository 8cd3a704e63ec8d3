//! SaslHandshake (key 17): the client chooses a mechanism. After v0 the messages of the mechanism come without headers,
//! after v1 in SaslAuthenticate.

use tracing::warn;

use super::{Exchange, LEAST_PAUSE, Mechanism};
use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::session::Phase;
use crate::api::{Handler, Reply};
use crate::config::Logins;
use crate::protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::telemetry::Shown;
use crate::types::IgnorePoison;

impl Handler for SaslHandshakeRequest {
    const GAPS: &'static [&'static str] = &[
        "Before the login an unknown version of ApiVersions is answered, so that newer clients can log in; Kafka closes the connection.",
    ];

    async fn handle(self, ctx: Context) -> Reply<SaslHandshakeResponse> {
        let Some(logins) = ctx.logins() else {
            warn!(
                peer = %ctx.connection.peer,
                protocol = ctx.connection.listener.protocol.name(),
                "a client wants to log in (SASL), which this listener does not offer: set security.protocol of the \
                 client to that of the listener"
            );
            return Reply::Now(refuse(ErrorCode::IllegalSaslState));
        };
        match ctx.connection.session.phase() {
            Phase::Begins | Phase::KnowsVersions => begin(&self.mechanism, &logins, ctx),
            Phase::LoggedIn => begin_again(&self.mechanism, &logins, ctx),
            // In the middle of an exchange.
            Phase::Authenticates | Phase::SendsTokens => last(ErrorCode::IllegalSaslState, Vec::new(), ctx),
        }
    }
}

fn begin(name: &str, logins: &Logins, ctx: Context) -> Reply<SaslHandshakeResponse> {
    let Some((mechanism, exchange)) = chosen(name, logins) else { return not_offered(name, logins, ctx) };
    ctx.connection.login.0.lock().ignoring_poison().exchange = Some((mechanism, exchange));
    ctx.connection.session.begin_login(ctx.version == 0);
    Reply::Now(accept(logins))
}

/// A client may log in again if its session has an end. It has to use the same mechanism and at least version 1.
fn begin_again(name: &str, logins: &Logins, ctx: Context) -> Reply<SaslHandshakeResponse> {
    let (session, now) = (&ctx.connection.session, ctx.services.clock.monotonic());
    let mut state = ctx.connection.login.0.lock().ignoring_poison();
    let is_too_soon = state.repeated.is_some_and(|last| now.saturating_sub(last) < LEAST_PAUSE);
    if !session.has_end() || is_too_soon {
        return if session.is_logged_in(|| now) {
            Reply::Now(refuse(ErrorCode::IllegalSaslState))
        } else {
            Reply::Close("the session has ended")
        };
    }
    if ctx.version == 0 {
        return Reply::Close("a repeated login needs version 1 of the handshake");
    }
    state.repeated = Some(now);
    let before = state.mechanism;
    let Some((mechanism, exchange)) = chosen(name, logins) else {
        drop(state);
        return not_offered(name, logins, ctx);
    };
    // As in Kafka, the handshake succeeds with another mechanism; the next message then closes the connection.
    state.exchange = (before == Some(mechanism)).then_some((mechanism, exchange));
    session.begin_login(false);
    Reply::Now(accept(logins))
}

fn chosen(name: &str, logins: &Logins) -> Option<(Mechanism, Exchange)> {
    let mechanism = Mechanism::named(name).filter(|mechanism| logins.mechanisms.contains(mechanism))?;
    Some((mechanism, Exchange::begin(mechanism)))
}

fn accept(logins: &Logins) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::None.code(), mechanisms: names(logins) }
}

fn names(logins: &Logins) -> Vec<String> {
    logins.mechanisms.iter().map(Mechanism::to_string).collect()
}

fn refuse(error: ErrorCode) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: error.code(), mechanisms: Vec::new() }
}

fn not_offered(name: &str, logins: &Logins, ctx: Context) -> Reply<SaslHandshakeResponse> {
    let listener = &ctx.connection.listener.name;
    ctx.services.logins.not_offered(listener);
    warn!(
        peer = %ctx.connection.peer,
        listener,
        mechanism = %Shown(name),
        "a client wants to log in with a mechanism that this listener does not offer: set sasl.mechanism of the client to \
         one of {}, or sasl.enabled.mechanisms here", names(logins).join(", ")
    );
    last(ErrorCode::UnsupportedSaslMechanism, names(logins), ctx)
}

/// A refusal that ends the connection.
fn last(error: ErrorCode, mechanisms: Vec<String>, ctx: Context) -> Reply<SaslHandshakeResponse> {
    Reply::Last(Box::pin(async move {
        ctx.delay_failure().await;
        SaslHandshakeResponse { mechanisms, ..refuse(error) }
    }))
}
