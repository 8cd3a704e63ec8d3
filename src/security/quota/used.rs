//! The use of a quota by each client. Clients choose their names, so the number of clients is limited.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use super::Windows;

/// The most clients whose use of one kind of quota is remembered.
pub const MOST_METERS: usize = 10_000;

/// A measure of use that may be equal to a new one again.
pub trait IdleMeter: Default {
    fn is_idle(&self, now: Duration, windows: Windows) -> bool;
}

/// A meter for each client. A client without a meter has used nothing.
#[derive(Debug)]
pub struct Meters<K, M> {
    most: usize,
    meters: HashMap<K, ClientMeter<M>>,
}

#[derive(Debug)]
struct ClientMeter<M> {
    meter: M,
    last: Duration,
}

impl<K, M> Default for Meters<K, M> {
    fn default() -> Meters<K, M> {
        Meters { most: MOST_METERS, meters: HashMap::new() }
    }
}

impl<K: Hash + Eq, M: IdleMeter> Meters<K, M> {
    /// The meter of a client. If there are too many, idle ones are forgotten, or else those of the clients that used
    /// nothing for the longest.
    pub fn meter(&mut self, client: K, now: Duration, windows: Windows) -> &mut M {
        if self.meters.len() >= self.most && !self.meters.contains_key(&client) {
            self.make_room(now, windows);
        }
        let metered =
            self.meters.entry(client).or_insert_with(|| ClientMeter { meter: M::default(), last: now });
        metered.last = now;
        &mut metered.meter
    }

    /// Forgets an eighth at least, so that the next clients find room.
    fn make_room(&mut self, now: Duration, windows: Windows) {
        let stays = self.most - (self.most / 8).max(1);
        self.meters.retain(|_, metered| !metered.meter.is_idle(now, windows));
        let Some(excess) = self.meters.len().checked_sub(stays + 1) else { return };
        let mut last: Vec<Duration> = self.meters.values().map(|metered| metered.last).collect();
        let (_, newest_to_go, _) = last.select_nth_unstable(excess);
        let newest_to_go = *newest_to_go;
        self.meters.retain(|_, metered| metered.last > newest_to_go);
    }

    /// The number of clients that are remembered.
    pub fn len(&self) -> usize {
        self.meters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.meters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rate;
    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size: Duration::from_secs(1) };

    const SECOND: Duration = Duration::from_secs(1);

    fn uses(used: &mut Meters<u32, Rate>, client: u32, now: Duration) -> Duration {
        used.meter(client, now, WINDOWS).use_up(20.0, 1.0, now, WINDOWS)
    }

    /// One client in each second, from 0 on.
    fn eight() -> Meters<u32, Rate> {
        let mut used = Meters { most: 8, ..Meters::default() };
        for client in 0..8 {
            uses(&mut used, client, SECOND * client);
        }
        used
    }

    #[test]
    fn a_client_whose_windows_are_over_is_forgotten_when_there_are_too_many() {
        let mut used = eight();
        assert_eq!(used.len(), 8);
        assert_eq!(uses(&mut used, 99, 13 * SECOND), 10 * SECOND);
        assert_eq!(used.len(), 6, "clients 0, 1 and 2 are idle");
        assert_eq!(uses(&mut used, 7, 13 * SECOND), 30 * SECOND, "client 7 is still measured");
    }

    #[test]
    fn if_no_client_is_idle_those_that_used_nothing_for_the_longest_are_forgotten() {
        let mut used = eight();
        let mut now = 8 * SECOND;
        for stranger in 100..1_000 {
            now += Duration::from_millis(1);
            uses(&mut used, stranger, now);
            uses(&mut used, 7, now);
            assert!(used.len() <= 8);
        }
        assert!(uses(&mut used, 7, now) > 1_000 * SECOND, "a busy client is never forgotten");
    }
}
