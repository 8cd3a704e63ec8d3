//! The places for connections of the HTTP server. There are few, but a new connection always gets one, so that silent
//! clients do not keep health checks out.
//!
//! If all are taken, the oldest connection without a request under way is cut off; if all have one, the oldest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::types::IgnorePoison;

pub(super) struct Places {
    free: Arc<Semaphore>,
    /// The oldest first, without those that were cut off.
    taken: Mutex<Vec<Arc<Connection>>>,
}

/// One place, until this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    connection: Arc<Connection>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A request that is under way, until this is dropped.
pub(super) struct UnderWay(Arc<Connection>);

#[derive(Default)]
struct Connection {
    requests: AtomicUsize,
    cut_off: Notify,
}

impl Places {
    pub fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { free: Arc::new(Semaphore::new(most)), taken: Mutex::default() })
    }

    /// A place for a new connection. If another one has to make room, this waits until it is gone.
    pub async fn take(self: &Arc<Places>) -> Place {
        let free = Arc::clone(&self.free);
        let permit = match Arc::clone(&free).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => {
                self.make_room();
                // The semaphore is never closed.
                free.acquire_owned().await.ok()
            }
        };
        let connection = Arc::<Connection>::default();
        self.taken().push(Arc::clone(&connection));
        Place { places: Arc::clone(self), connection, _permit: permit }
    }

    /// Cuts one connection off, unless all are cut off already.
    fn make_room(&self) {
        let mut taken = self.taken();
        let silent = taken.iter().position(|one| one.requests.load(Ordering::Relaxed) == 0);
        if !taken.is_empty() {
            taken.remove(silent.unwrap_or(0)).cut_off.notify_one();
        }
    }

    #[cfg(test)]
    pub fn in_use(&self) -> usize {
        self.taken().len()
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.taken.lock().ignoring_poison()
    }
}

impl Place {
    /// Ready when a new connection needs the place.
    pub async fn is_cut_off(&self) {
        self.connection.cut_off.notified().await;
    }

    pub fn begin_request(&self) -> UnderWay {
        self.connection.requests.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.connection))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().retain(|one| !Arc::ptr_eq(one, &self.connection));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    /// Connections that leave when they are cut off.
    struct Crowd {
        places: Arc<Places>,
        connections: JoinSet<&'static str>,
    }

    impl Crowd {
        fn new(most: usize) -> Crowd {
            Crowd { places: Places::new(most), connections: JoinSet::new() }
        }

        /// A new connection with a request, which is over unless `is_busy`.
        async fn enters(&mut self, name: &'static str, is_busy: bool) {
            let place = self.places.take().await;
            let request = Some(place.begin_request()).filter(|_| is_busy);
            self.connections.spawn(async move {
                place.is_cut_off().await;
                drop(request);
                name
            });
        }

        async fn leaver(&mut self) -> &'static str {
            self.connections.join_next().await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn the_oldest_without_a_request_makes_room_and_the_oldest_of_all_if_each_has_one() {
        let mut crowd = Crowd::new(3);
        crowd.enters("first", true).await;
        crowd.enters("silent", false).await;
        crowd.enters("second", true).await;
        crowd.enters("third", true).await;
        assert_eq!(crowd.leaver().await, "silent");
        crowd.enters("late and silent", false).await;
        assert_eq!(crowd.leaver().await, "first", "all had a request");
        crowd.enters("fourth", true).await;
        assert_eq!(crowd.leaver().await, "late and silent");
    }

    #[tokio::test]
    async fn nobody_is_cut_off_while_a_place_is_free() {
        let places = Places::new(2);
        let (first, _second) = (places.take().await, places.take().await);
        drop(first);
        let _third = places.take().await;
        assert_eq!(places.in_use(), 2);
    }
}
