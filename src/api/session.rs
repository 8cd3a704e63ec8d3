//! The session of a connection: the principal of its client, and how long it may act as that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::{API_VERSIONS, SASL_AUTHENTICATE, SASL_HANDSHAKE};
use crate::security::principal::Principal;
use crate::types::IgnorePoison;

/// The value of [`Session::ends`] for a session without an end.
const NEVER: u64 = u64::MAX;

/// The session of one connection. The gate ([`super::Api::find`]) and the door read it for every request, without a
/// lock if the client is logged in.
#[derive(Debug)]
pub struct Session {
    /// Empty before the login. It is set once: as in Kafka, a client that logs in again stays the same principal.
    principal: OnceLock<Principal>,
    /// The end of the session on the monotonic clock, in milliseconds.
    ends: AtomicU64,
    phase: Mutex<Phase>,
    /// Whether the client has logged in with a delegation token.
    by_token: AtomicBool,
}

/// The progress of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Begins,
    /// The client has asked for the versions. As in Kafka it may do so once.
    KnowsVersions,
    /// The messages of the mechanism come in requests (SaslAuthenticate).
    Authenticates,
    /// As after handshake v0: each frame is a message of the mechanism, without a header.
    SendsTokens,
    LoggedIn,
}

/// A client that has logged in tried to log in as another principal.
#[derive(Debug, PartialEq, Eq)]
pub struct OtherPrincipal;

impl Session {
    /// The session of a client that needs no login.
    pub fn anonymous() -> Session {
        Session::of(Principal::anonymous())
    }

    /// The session of a client that needs no login, because it is known otherwise.
    pub fn of(principal: Principal) -> Session {
        let session = Session { phase: Mutex::new(Phase::LoggedIn), ..Session::before_login() };
        let _ = session.principal.set(principal);
        session
    }

    /// The session of a client that has to log in.
    pub fn before_login() -> Session {
        Session {
            principal: OnceLock::new(),
            ends: AtomicU64::new(NEVER),
            phase: Mutex::new(Phase::Begins),
            by_token: AtomicBool::new(false),
        }
    }

    /// Begins or prolongs the session. `ends` is on the monotonic clock; `None` means that it does not end.
    pub fn log_in(&self, principal: Principal, ends: Option<Duration>) -> Result<(), OtherPrincipal> {
        if *self.principal.get_or_init(|| principal.clone()) != principal {
            return Err(OtherPrincipal);
        }
        let ends = ends.map_or(NEVER, |ends| u64::try_from(ends.as_millis()).unwrap_or(NEVER));
        self.ends.store(ends, Ordering::Release);
        self.set_phase(Phase::LoggedIn);
        Ok(())
    }

    /// The latest login was, or was not, with a delegation token.
    pub fn set_by_token(&self, by_token: bool) {
        self.by_token.store(by_token, Ordering::Release);
    }

    pub fn is_by_token(&self) -> bool {
        self.by_token.load(Ordering::Acquire)
    }

    /// The client begins to log in, perhaps again. Until it is done, it may send nothing else.
    pub fn begin_login(&self, sends_tokens: bool) {
        self.ends.store(0, Ordering::Release);
        self.set_phase(if sends_tokens { Phase::SendsTokens } else { Phase::Authenticates });
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock().ignoring_poison()
    }

    fn set_phase(&self, phase: Phase) {
        *self.phase.lock().ignoring_poison() = phase;
    }

    /// Whether the session ends unless the client logs in again.
    pub fn has_end(&self) -> bool {
        self.ends.load(Ordering::Acquire) != NEVER
    }

    /// Whether a client that is not logged in may send a request of this key now. It is asked once for each request.
    pub fn may_send(&self, key: i16) -> bool {
        match (key, self.phase()) {
            (API_VERSIONS, Phase::Begins) => {
                self.set_phase(Phase::KnowsVersions);
                true
            }
            // Also if the session has ended, and in the middle of a login, which the handler refuses.
            (SASL_HANDSHAKE, _) | (SASL_AUTHENTICATE, Phase::Authenticates) => true,
            _ => false,
        }
    }

    /// `None` before the login.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.get()
    }

    /// Whether the client has logged in and the session has not ended. The clock is read only if it can end.
    pub fn is_logged_in(&self, now: impl FnOnce() -> Duration) -> bool {
        let ends = self.ends.load(Ordering::Acquire);
        self.principal.get().is_some() && (ends == NEVER || now() < Duration::from_millis(ends))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn is_logged_in(session: &Session) -> bool {
        session.is_logged_in(|| NOW)
    }

    #[test]
    fn a_client_without_a_login_is_anonymous_for_ever() {
        let session = Session::anonymous();
        assert_eq!(session.principal().unwrap().to_string(), "User:ANONYMOUS");
        assert!(session.is_logged_in(|| unreachable!("this session has no end")));
    }

    #[test]
    fn a_session_begins_with_the_login_and_ends_in_its_time() {
        let session = Session::before_login();
        assert!(session.principal().is_none() && !is_logged_in(&session));
        session.log_in(Principal::user("alice"), Some(NOW)).unwrap();
        assert!(!is_logged_in(&session), "it is over at its end");
        session.log_in(Principal::user("alice"), Some(NOW + Duration::from_millis(1))).unwrap();
        assert!(is_logged_in(&session));
    }

    #[test]
    fn before_the_login_versions_may_be_asked_for_once_and_messages_are_only_sent_after_a_handshake() {
        let session = Session::before_login();
        assert!(!session.may_send(SASL_AUTHENTICATE) && session.may_send(SASL_HANDSHAKE));
        assert!(session.may_send(API_VERSIONS) && !session.may_send(API_VERSIONS));
        session.begin_login(false);
        assert!(session.may_send(SASL_AUTHENTICATE) && !session.may_send(API_VERSIONS));
        session.begin_login(true);
        assert!(!session.may_send(SASL_AUTHENTICATE), "its messages have no header");
    }

    #[test]
    fn a_client_that_logs_in_again_may_do_nothing_else_until_it_is_done() {
        let session = Session::before_login();
        session.log_in(Principal::user("alice"), Some(NOW + NOW)).unwrap();
        assert!(is_logged_in(&session) && session.has_end());
        session.begin_login(false);
        assert!(!is_logged_in(&session) && session.may_send(SASL_AUTHENTICATE));
        session.log_in(Principal::user("alice"), None).unwrap();
        assert!(is_logged_in(&session) && !session.has_end());
    }

    #[test]
    fn a_second_login_as_another_principal_changes_nothing() {
        let session = Session::before_login();
        session.log_in(Principal::user("alice"), None).unwrap();
        assert_eq!(session.log_in(Principal::user("ben"), Some(Duration::ZERO)), Err(OtherPrincipal));
        assert!(is_logged_in(&session));
        assert_eq!(session.principal(), Some(&Principal::user("alice")));
    }
}
