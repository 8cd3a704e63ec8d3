//! The way back to the caller of a command. Each command has its own type of answer.

use std::fmt;

use tokio::sync::oneshot;

use super::Settled;

/// The place for the answer to one request. A machine keeps it for as long as the request waits. A dropped
/// reply means that the request was given up, and the caller has to repeat it.
pub struct Reply<A> {
    number: u64,
    to: oneshot::Sender<SettledAnswer<A>>,
}

/// The caller's end of a [`Reply`].
pub type AwaitedAnswer<A> = oneshot::Receiver<SettledAnswer<A>>;

/// The condition for sending an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The answer says nothing that a crash could undo.
    Nothing,
    /// The last record of the slot is durable.
    LastRecord,
}

/// An answer with the records that must be durable before it is sent.
#[derive(Debug)]
pub struct SettledAnswer<A> {
    pub answer: A,
    pub settled: Option<Settled>,
}

/// An answer that a decision gives, on its way to its caller.
pub struct Answer {
    after: After,
    send: Box<dyn FnOnce(Option<Settled>) + Send>,
}

impl<A: Send + 'static> Reply<A> {
    /// Later callers have higher numbers.
    pub fn pair(number: u64) -> (Reply<A>, AwaitedAnswer<A>) {
        let (to, awaited) = oneshot::channel();
        (Reply { number, to }, awaited)
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn answer(self, answer: A, after: After) -> Answer {
        let send = move |settled| {
            // The receiver is gone if the client has disconnected.
            let _ = self.to.send(SettledAnswer { answer, settled });
        };
        Answer { after, send: Box::new(send) }
    }
}

impl Answer {
    /// Sends the answer. `last` is the state of the slot's last record.
    pub fn send(self, last: &Settled) {
        (self.send)(match self.after {
            After::Nothing => None,
            After::LastRecord => Some(last.clone()),
        });
    }
}

impl<A> fmt::Debug for Reply<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reply {}", self.number)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answer after {:?}", self.after)
    }
}
