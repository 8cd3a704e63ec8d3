//! The login of the HTTP server: basic authentication, if `jackdaw.http.login` asks for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::security::basic::{KnownUser, LastRight, Login};
use crate::telemetry::Shown;
use crate::time;

/// Passwords are checked one at a time, because a check of SCRAM takes milliseconds of processor time.
const CHECKS: usize = 1;

/// The users who may log in.
#[derive(Clone)]
pub struct Logins(Arc<Inner>);

struct Inner {
    /// The credentials of a user.
    known: Box<dyn Fn(&str) -> KnownUser + Send + Sync>,
    /// The time for which a failed login waits for its answer.
    delay: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Counts a login, by its success.
    count: Box<dyn Fn(bool) + Send + Sync>,
    last: LastRight,
    checks: Arc<Semaphore>,
}

impl Logins {
    pub fn new(
        known: impl Fn(&str) -> KnownUser + Send + Sync + 'static,
        delay: impl Fn() -> Duration + Send + Sync + 'static,
        count: impl Fn(bool) + Send + Sync + 'static,
    ) -> Logins {
        Logins(Arc::new(Inner {
            known: Box::new(known),
            delay: Box::new(delay),
            count: Box::new(count),
            last: LastRight::new(),
            checks: Arc::new(Semaphore::new(CHECKS)),
        }))
    }

    /// Whether the request comes from a user.
    pub async fn is_admitted(&self, headers: &HeaderMap, peer: SocketAddr) -> bool {
        let Some(header) = headers.get(AUTHORIZATION).map(|header| header.as_bytes().to_vec()) else {
            return false;
        };
        let Some(login) = Login::parse(&header) else { return false };
        let Logins(inner) = self;
        if inner.last.is(&login.user, &header, &(inner.known)(&login.user)) {
            (inner.count)(true);
            return true;
        }
        let Ok(turn) = Arc::clone(&inner.checks).acquire_owned().await else { return false };
        // A task of its own: a client that hangs up does not cut the check or its delay short.
        let check = Arc::clone(inner).check(login, header, peer, turn);
        tokio::spawn(check).await.unwrap_or(false)
    }
}

impl Inner {
    /// The turn is held while a failed login waits, too: nobody can try passwords faster with more connections.
    async fn check(
        self: Arc<Inner>,
        login: Login,
        header: Vec<u8>,
        peer: SocketAddr,
        _turn: OwnedSemaphorePermit,
    ) -> bool {
        let (user, known) = (login.user.clone(), (self.known)(&login.user));
        let checked = spawn_blocking(move || login.is_right(&known).then_some(known)).await;
        if let Ok(Some(known)) = checked {
            self.last.set(&user, &header, known);
            (self.count)(true);
            return true;
        }
        (self.count)(false);
        warn!(%peer, user = %Shown(&user), "a login at the HTTP port failed: check user and password of the client");
        time::sleep((self.delay)()).await;
        false
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_cut_its_failed_login_short() {
        let failed = Arc::new(AtomicUsize::new(0));
        let count = {
            let failed = Arc::clone(&failed);
            move |is_right: bool| {
                failed.fetch_add(usize::from(!is_right), Ordering::SeqCst);
            }
        };
        let logins = Logins::new(|_| KnownUser::default(), || Duration::from_hours(1), count);
        // ann:wrong
        let headers = HeaderMap::from_iter([(AUTHORIZATION, "Basic YW5uOndyb25n".parse().unwrap())]);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let is_checked = async {
            while failed.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = is_checked => {}
            _ = logins.is_admitted(&headers, peer) => panic!("it waits for an hour"),
        }
        assert_eq!(logins.0.checks.available_permits(), 0, "the next one has to wait");
    }
}
