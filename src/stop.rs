//! The signal that a broker stops.

use tokio::sync::watch;

/// Signals that the broker begins to stop. A handler that waits for more data (a long poll) then
/// answers with the data it has.
#[derive(Clone, Debug)]
pub struct Stopping(watch::Receiver<bool>);

/// The sending side of [`Stopping`].
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    pub fn new() -> (Stop, Stopping) {
        let (sender, receiver) = watch::channel(false);
        (Stop(sender), Stopping(receiver))
    }

    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Waits until the broker stops or is gone.
    pub async fn begun(&self) {
        let mut receiver = self.0.clone();
        // An error means that the sender was dropped: the broker is gone.
        let _ = receiver.wait_for(|stop| *stop).await;
    }
}
