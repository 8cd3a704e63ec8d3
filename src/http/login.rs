//! The login of the HTTP server: basic authentication, if `jackdaw.http.login` asks for it.

use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::security::basic::{KnownUser, LastRight, Login};
use crate::time;

/// Passwords are checked one at a time, because a check of SCRAM takes milliseconds of processor time.
const CHECKS: usize = 1;

/// The users who may log in.
pub struct Logins {
    /// The credentials of a user.
    known: Box<dyn Fn(&str) -> KnownUser + Send + Sync>,
    /// The time for which a failed login waits for its answer.
    delay: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Counts a login, by its success.
    count: Box<dyn Fn(bool) + Send + Sync>,
    last: LastRight,
    checks: Semaphore,
}

impl Logins {
    pub fn new(
        known: impl Fn(&str) -> KnownUser + Send + Sync + 'static,
        delay: impl Fn() -> Duration + Send + Sync + 'static,
        count: impl Fn(bool) + Send + Sync + 'static,
    ) -> Logins {
        Logins {
            known: Box::new(known),
            delay: Box::new(delay),
            count: Box::new(count),
            last: LastRight::new(),
            checks: Semaphore::new(CHECKS),
        }
    }

    /// Whether the request comes from a user.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<(), HttpLoginError> {
        let header = headers.get(AUTHORIZATION).ok_or(HttpLoginError::NoLogin)?.as_bytes();
        let login = Login::parse(header).ok_or(HttpLoginError::NoLogin)?;
        let known = (self.known)(&login.user);
        if self.last.is(&login.user, header, &known) {
            (self.count)(true);
            return Ok(());
        }
        // Held while a failed login waits, too: nobody can try passwords faster with more connections.
        let _turn = self.checks.acquire().await.map_err(|_| HttpLoginError::NoLogin)?;
        let user = login.user.clone();
        let checked = spawn_blocking(move || login.is_right(&known).then_some(known)).await;
        if let Ok(Some(known)) = checked {
            self.last.set(&user, header, known);
            (self.count)(true);
            return Ok(());
        }
        (self.count)(false);
        time::sleep((self.delay)()).await;
        Err(HttpLoginError::Wrong { user })
    }
}

/// The reason why a request is refused.
pub enum HttpLoginError {
    NoLogin,
    Wrong { user: String },
}
