//! The peers that hold memory until they read or send. Those that were inactive for the longest are found without a look
//! at all others.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;

use super::{ConnectionId, Turn};
use crate::time::Moment;

/// A peer that was active within this time is not disconnected to free memory.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// A peer is active if it moves this part of the bytes that it holds. Fewer bytes do not prolong [`PATIENCE`]: a peer
/// that moves one byte now and then would hold its memory for ever.
pub(super) const ACTIVE_PART: usize = 32;
/// A peer that holds much is active if it moves this many bytes, because its network may be slow.
pub(super) const ACTIVE_BYTES: usize = 64 << 10;
/// A peer that holds less is not disconnected: it would free almost nothing. A paused consumer whose answer is sent from a
/// file holds less.
pub(super) const LITTLE: usize = 1 << 10;

#[derive(Debug, Default)]
pub(super) struct Peers {
    all: BTreeMap<Turn, Peer>,
    /// Those that can be disconnected, and are not yet marked for it, by the time when they were active last.
    by_activity: BTreeSet<(Moment, Turn)>,
    /// The bytes of those that are marked.
    shed: usize,
}

#[derive(Debug)]
pub(super) struct Peer {
    connection: ConnectionId,
    bytes: usize,
    /// The most bytes that it has held in this wait.
    most: usize,
    /// The time when it was active last, and the bytes that it has moved since.
    active: Moment,
    moved: usize,
    is_shed: bool,
    waker: Waker,
}

impl Peers {
    /// Records that a peer has moved bytes, and the bytes that it holds now.
    pub fn moved(
        &mut self,
        (place, connection): (Turn, ConnectionId),
        moved: usize,
        held: usize,
        waker: &Waker,
    ) {
        let mut peer = self.remove(place).unwrap_or_else(|| Peer {
            connection,
            bytes: 0,
            most: 0,
            active: Moment::now(),
            moved: 0,
            is_shed: false,
            waker: waker.clone(),
        });
        peer.bytes = held;
        peer.most = peer.most.max(held);
        peer.moved = peer.moved.saturating_add(moved);
        peer.waker.clone_from(waker);
        if peer.moved >= (peer.most / ACTIVE_PART).clamp(1, ACTIVE_BYTES) {
            (peer.active, peer.moved, peer.is_shed) = (Moment::now(), 0, false);
        }
        self.insert(place, peer);
    }

    pub fn remove(&mut self, place: Turn) -> Option<Peer> {
        let peer = self.all.remove(&place)?;
        if peer.is_shed {
            self.shed -= peer.bytes;
        } else {
            self.by_activity.remove(&(peer.active, place));
        }
        Some(peer)
    }

    fn insert(&mut self, place: Turn, peer: Peer) {
        if peer.is_shed {
            self.shed += peer.bytes;
        } else if peer.bytes >= LITTLE {
            self.by_activity.insert((peer.active, place));
        }
        self.all.insert(place, peer);
    }

    /// Marks inactive peers of other connections to be closed, until all that are marked free `bytes`.
    pub fn shed(&mut self, asking: ConnectionId, bytes: usize) {
        let mut room = self.shed;
        let inactive = self.by_activity.iter().take_while(|(active, _)| active.elapsed() >= PATIENCE);
        let mut chosen = Vec::new();
        for (_, place) in inactive {
            if room >= bytes {
                break;
            }
            let peer = &self.all[place];
            if peer.connection != asking {
                room += peer.bytes;
                chosen.push(*place);
            }
        }
        for place in chosen {
            let Some(mut peer) = self.remove(place) else { continue };
            peer.is_shed = true;
            peer.waker.wake_by_ref();
            self.insert(place, peer);
        }
    }

    pub fn is_shed(&self, place: Turn) -> bool {
        self.all.get(&place).is_some_and(|peer| peer.is_shed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same choice by a look at all peers.
    fn chosen(peers: &Peers, asking: ConnectionId, bytes: usize) -> BTreeSet<Turn> {
        let mut shed: BTreeSet<Turn> =
            peers.all.iter().filter(|(_, peer)| peer.is_shed).map(|(place, _)| *place).collect();
        let mut room: usize = shed.iter().map(|place| peers.all[place].bytes).sum();
        let may_go = |peer: &Peer| {
            !peer.is_shed
                && peer.connection != asking
                && peer.bytes >= LITTLE
                && peer.active.elapsed() >= PATIENCE
        };
        let mut inactive: Vec<_> = peers.all.iter().filter(|(_, peer)| may_go(peer)).collect();
        inactive.sort_by_key(|(place, peer)| (peer.active, **place));
        for (place, peer) in inactive {
            if room < bytes {
                room += peer.bytes;
                shed.insert(*place);
            }
        }
        shed
    }

    #[tokio::test(start_paused = true)]
    async fn the_order_of_activity_gives_the_same_choice_as_a_look_at_all_peers() {
        let (mut peers, mut seed, mut sheds) = (Peers::default(), 1_u64, 0);
        let mut below = |most: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % most
        };
        for _ in 0..20_000 {
            let place = below(40);
            match below(12) {
                0 => drop(peers.remove(place)),
                1 | 2 => crate::time::sleep(Duration::from_millis(below(900))).await,
                3 => {
                    let (asking, bytes) = (below(20), below(40_000) as usize);
                    let expected = chosen(&peers, asking, bytes);
                    peers.shed(asking, bytes);
                    let found: BTreeSet<Turn> = (0..40).filter(|place| peers.is_shed(*place)).collect();
                    assert_eq!(found, expected);
                    sheds += found.len();
                }
                _ => {
                    peers.moved((place, place / 2), below(300) as usize, below(9_000) as usize, Waker::noop())
                }
            }
            let listed = peers.all.values().filter(|peer| !peer.is_shed && peer.bytes >= LITTLE).count();
            assert_eq!(peers.by_activity.len(), listed);
        }
        assert!(sheds > 1_000, "{sheds}");
        (0..40).for_each(|place| drop(peers.remove(place)));
        assert_eq!((peers.shed, peers.by_activity.len(), peers.all.len()), (0, 0, 0));
    }
}
