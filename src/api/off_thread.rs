//! Work of requests that takes long: it is done on blocking threads, so that other requests are served meanwhile.

use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::throttle::RequestMeter;

/// Does the work on a blocking thread, once one of these threads is free. As in Kafka, whose threads for requests do such
/// work themselves, its time counts for the client's quota.
pub(super) async fn on_one_of<T: Send + 'static>(
    threads: &LazyLock<Arc<Semaphore>>,
    metered: Option<&Arc<RequestMeter>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let thread = Arc::clone(threads).acquire_owned().await;
    let metered = metered.cloned();
    let done = spawn_blocking(move || {
        let _until_done = thread;
        match metered {
            Some(metered) => metered.working(work),
            None => work(),
        }
    });
    done.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::connection::ConnectionInfo;
    use crate::api::throttle::Throttles;
    use crate::config::BrokerSettings;
    use crate::kernel::Quotas;
    use crate::security::quota::QuotaKind;
    use crate::time::Clock;
    use crate::types::{EntityName, QuotaEntity, SharedMap, Timestamp};

    fn meter(clock: &Clock) -> Arc<RequestMeter> {
        let settings = Arc::new(BrokerSettings::default());
        let address = "192.0.2.1:1".parse().unwrap();
        let listener = Arc::new(settings.listeners[0].clone());
        let connection = Arc::new(ConnectionInfo::new(1, address, address, listener));
        let quota = (QuotaKind::RequestTime.name().to_owned(), 10.0);
        let mut by_entity = SharedMap::default();
        by_entity.insert_mut(QuotaEntity::ClientId(EntityName::Default), [quota].into_iter().collect());
        let (throttles, quotas) = (Arc::new(Throttles::new(clock.clone())), Quotas::from(by_entity));
        Arc::new(RequestMeter::new(&throttles, &quotas, settings, &connection, Some("client"), 0))
    }

    #[tokio::test]
    async fn the_time_of_work_on_other_threads_counts_for_the_quota_and_the_wait_for_one_does_not() {
        static THREAD: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));
        let clock = Clock::manual(Timestamp(0));
        let takes = |seconds: i64| {
            let clock = clock.clone();
            move || clock.set(Timestamp(clock.now().0 + 1000 * seconds))
        };
        let busy = meter(&clock);
        on_one_of(&THREAD, Some(&busy), takes(5)).await;
        assert!(!busy.time().is_zero(), "5 s in a window of 11 s are more than 10 %");

        let waiting = meter(&clock);
        let taken = THREAD.acquire().await.unwrap();
        let work = on_one_of(&THREAD, Some(&waiting), takes(0));
        let others = async {
            takes(5)();
            drop(taken);
        };
        tokio::join!(work, others);
        assert_eq!(waiting.time(), Duration::ZERO);
    }
}
