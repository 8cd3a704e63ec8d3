//! Logins: SaslHandshake and SaslAuthenticate, and the messages of clients that know only the handshake's version 0.
//!
//! The gate ([`super::Api::find`]) admits these requests; this module has the exchange. A login is one exchange of a
//! mechanism, and so is each later one on the same connection (KIP-368), which cannot change the principal.

mod authenticate;
mod counts;
mod handshake;
mod keys;

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::warn;

use super::context::Context;
use super::{Answer, BegunRequest, Call, Encoded, Failure, Handler, Later, Reply, Row, SASL_AUTHENTICATE};
use crate::config::Logins;
use crate::protocol::messages::SaslAuthenticateRequest;
use crate::protocol::{Request, Writer};
use crate::security::principal::Principal;
use crate::security::sasl::{self, Exchange, Facts, LoginFailure, LoginFault, Mechanism, Step};
use crate::telemetry::Shown;
use crate::time;
use crate::types::{IgnorePoison, ScramHash};
pub use counts::LoginCounts;
pub use keys::{IssuerKeys, TokenKeys};

/// The least time from one repeated login to the next. As in Kafka, the first login does not count.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The login of a connection.
#[derive(Debug, Default)]
pub(super) struct Login(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The exchange that is under way.
    exchange: Option<(Mechanism, Exchange)>,
    /// The mechanism of the first login, which later ones have to use, too.
    mechanism: Option<Mechanism>,
    /// The time when a login was last repeated.
    repeated: Option<Duration>,
}

/// The outcome of a message of the mechanism.
enum LoginStep {
    Challenge(Vec<u8>),
    LoggedIn {
        bytes: Vec<u8>,
        lifetime: Option<Duration>,
    },
    Failed(String),
    /// There is no exchange that the message could belong to.
    Nothing,
}

impl Context {
    /// How clients log in at the listener of this connection; `None` if they do not.
    fn logins(&self) -> Option<Arc<Logins>> {
        self.services.settings().logins.get(&self.connection.listener.name).cloned()
    }

    /// Waits before a failed login is answered, which slows guesses down.
    async fn delay_failure(&self) {
        time::sleep(self.services.settings().login_failure_delay).await;
    }

    /// Takes a message of the mechanism.
    fn advance(&self, message: &[u8]) -> LoginStep {
        // Before a login the connection has refused it. A client that logs in again could send more.
        let most = self.services.settings().login_max_bytes_of(&self.connection.listener.name);
        let mut state = self.connection.login.0.lock().ignoring_poison();
        let (Some((mechanism, mut exchange)), Some(logins)) = (state.exchange.take(), self.logins()) else {
            return LoginStep::Nothing;
        };
        if message.len() > usize::try_from(most).unwrap_or(usize::MAX) {
            const WHY: &str = "a message of the login is too large";
            self.count_failure(mechanism, LoginFault::TooLarge, WHY);
            return LoginStep::Failed(WHY.to_owned());
        }
        let listener = &self.connection.listener.name;
        let facts = Facts {
            plain_users: &logins.plain_users,
            credential: &|user, hash: ScramHash| self.scram_credential(user, hash),
            token: &|id, hash: ScramHash| self.token_login(id, hash),
            nonce: &|| time::random_uuid().to_string() + &time::random_uuid().to_string(),
            bearer: &|token| {
                let now = self.services.clock.now();
                self.services.token_keys.verify(token, listener, now)
            },
        };
        let again = self.connection.session.principal().is_some();
        let outcome = match exchange.step(message, &facts) {
            Step::Challenge(bytes) => {
                state.exchange = Some((mechanism, exchange));
                return LoginStep::Challenge(bytes);
            }
            Step::BadToken { bytes, bad } => {
                // Counted and logged now, because not all clients acknowledge it.
                state.exchange = Some((mechanism, exchange));
                self.count_failure(mechanism, LoginFault::Token, &bad.to_string());
                return LoginStep::Challenge(bytes);
            }
            Step::Failed(bad @ LoginFailure::Token(_)) => {
                return LoginStep::Failed(bad.text(mechanism, again));
            }
            Step::Done { bytes, login } => {
                self.begin_session(&login, logins.max_session(mechanism)).map(|lifetime| {
                    state.mechanism = Some(mechanism);
                    LoginStep::LoggedIn { bytes, lifetime }
                })
            }
            Step::Failed(refused) => Err((refused.fault(), refused.text(mechanism, again))),
        };
        match outcome {
            Ok(outcome) => {
                self.services.logins.succeeded(listener, mechanism);
                outcome
            }
            Err((fault, why)) => {
                self.count_failure(mechanism, fault, &why);
                LoginStep::Failed(why)
            }
        }
    }

    fn count_failure(&self, mechanism: Mechanism, fault: LoginFault, why: &str) {
        let listener = &self.connection.listener.name;
        self.services.logins.failed(listener, mechanism, fault);
        let advice = match mechanism {
            Mechanism::Plain | Mechanism::Scram(_) => "check user and password of the client",
            Mechanism::OauthBearer => "check the token of the client, and the settings sasl.oauthbearer.*",
        };
        // The client chooses the name of the other user, and its length.
        let why = match fault {
            LoginFault::OtherUser => Shown(why).to_string(),
            _ => why.to_owned(),
        };
        warn!(peer = %self.connection.peer, listener, %mechanism, why, "a login failed: {advice}");
    }

    /// Begins the session of a client, or goes on with it. Returns how long it lasts; `None` means for ever.
    fn begin_session(
        &self,
        login: &sasl::Login,
        longest: Option<Duration>,
    ) -> Result<Option<Duration>, (LoginFault, String)> {
        // The end of a delegation token is on the clock of the store, which does not go back while it is not trusted.
        let now = if login.by_token { self.now().time } else { self.services.clock.now() };
        let left = login.until.map(|until| until.since(now));
        let lifetime = longest.into_iter().chain(left).min();
        let ends = lifetime.map(|lifetime| self.services.clock.monotonic().saturating_add(lifetime));
        let session = &self.connection.session;
        let principal = Principal::user(&login.user);
        session.log_in(principal.clone(), ends).map_err(|_| {
            let kafkas = |principal: &Principal| principal.to_string().replacen(':', ".", 1);
            let before = session.principal().map(kafkas).unwrap_or_default();
            let to = kafkas(&principal);
            let why = format!("Cannot change principals during re-authentication from {before}: {to}");
            (LoginFault::OtherUser, why)
        })?;
        session.set_by_token(login.by_token);
        Ok(lifetime)
    }
}

/// Serves a message of a login by handshake v0. The frame of the answer has no header either, and a failure no answer.
pub(super) static TOKENS: Row = Row {
    key: SASL_AUTHENTICATE,
    name: SaslAuthenticateRequest::NAME,
    min_version: 0,
    max_version: 0,
    of_two_phase_commit: None,
    only_if: None,
    served_from: 0,
    gaps: SaslAuthenticateRequest::GAPS,
    overlapping: false,
    before_login: true,
    large_answers: false,
    serve: serve_token,
};

fn serve_token(call: Call) -> BegunRequest<Later<Reply<Answer>>> {
    let Call { context, mut body, .. } = call;
    let length = body.remaining();
    let reply: Later<Reply<Answer>> = match body.take(length) {
        Err(error) => Box::pin(ready(Reply::Now(Err(Failure::Malformed(error))))),
        Ok(message) => Box::pin(async move {
            match context.advance(&message) {
                LoginStep::Challenge(bytes) | LoginStep::LoggedIn { bytes, .. } => Reply::Now(framed(&bytes)),
                LoginStep::Failed(_) => {
                    context.delay_failure().await;
                    Reply::Close("the login failed")
                }
                LoginStep::Nothing => Reply::Close("the login is over"),
            }
        }),
    };
    BegunRequest { decoded: 0, reply }
}

fn framed(bytes: &[u8]) -> Answer {
    let mut out = Writer::new();
    out.put(bytes);
    Ok(Encoded { frame: out.into_frame().map_err(Failure::Unencodable)?, mute: Duration::ZERO })
}
