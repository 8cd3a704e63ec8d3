//! The session of a connection: the principal of its client, and how long it may act as that.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::principal::Principal;

/// The value of [`Session::ends`] for a session without an end.
const NEVER: u64 = u64::MAX;

/// The session of one connection. The gate ([`super::Api::find`]) and the door read it for every request, so it has no
/// lock.
#[derive(Debug)]
pub struct Session {
    /// Empty before the login. It is set once: as in Kafka, a client that logs in again stays the same principal.
    principal: OnceLock<Principal>,
    /// The end of the session on the monotonic clock, in milliseconds.
    ends: AtomicU64,
}

/// A client that has logged in tried to log in as another principal.
#[derive(Debug, PartialEq, Eq)]
pub struct OtherPrincipal;

impl Session {
    /// The session of a client that needs no login.
    pub fn anonymous() -> Session {
        let session = Session::before_login();
        let _ = session.principal.set(Principal::anonymous());
        session
    }

    /// The session of a client that has to log in.
    pub fn before_login() -> Session {
        Session { principal: OnceLock::new(), ends: AtomicU64::new(NEVER) }
    }

    /// Begins or prolongs the session. `ends` is on the monotonic clock; `None` means that it does not end.
    pub fn log_in(&self, principal: Principal, ends: Option<Duration>) -> Result<(), OtherPrincipal> {
        if *self.principal.get_or_init(|| principal.clone()) != principal {
            return Err(OtherPrincipal);
        }
        let ends = ends.map_or(NEVER, |ends| u64::try_from(ends.as_millis()).unwrap_or(NEVER));
        self.ends.store(ends, Ordering::Release);
        Ok(())
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
    fn a_second_login_as_another_principal_changes_nothing() {
        let session = Session::before_login();
        session.log_in(Principal::user("alice"), None).unwrap();
        assert_eq!(session.log_in(Principal::user("ben"), Some(Duration::ZERO)), Err(OtherPrincipal));
        assert!(is_logged_in(&session));
        assert_eq!(session.principal(), Some(&Principal::user("alice")));
    }
}
