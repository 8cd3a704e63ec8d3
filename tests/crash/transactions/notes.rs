//! The notes that the clients of a round take, and how they wait for each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::checker::{Event, Transaction};
use crate::board::Board;

#[derive(Default)]
pub struct Notes(Board<OverByClient>);

#[derive(Default)]
struct OverByClient {
    events: Vec<Event>,
    open: BTreeSet<Transaction>,
    ending: BTreeSet<Transaction>,
    /// The number of transactions of each client that are over.
    over: BTreeMap<u32, usize>,
}

impl Notes {
    pub fn note(&self, event: Event) {
        self.0.change(|taken| {
            match event {
                Event::Sent { transaction, .. } => {
                    taken.open.insert(transaction);
                }
                Event::Ending { transaction, .. } => {
                    taken.ending.insert(transaction);
                }
                Event::Ended { transaction, .. } | Event::Over { transaction } => {
                    taken.open.remove(&transaction);
                    taken.ending.remove(&transaction);
                    *taken.over.entry(transaction.client).or_default() += 1;
                }
                _ => {}
            }
            taken.events.push(event);
        });
    }

    pub fn events(&self) -> Vec<Event> {
        self.0.look(|taken| taken.events.clone())
    }

    /// Transactions with records but without an end, and how many of them have asked for their end.
    pub fn unfinished(&self) -> (usize, usize) {
        self.0.look(|taken| (taken.open.len(), taken.ending.len()))
    }

    /// The number of transactions that are over.
    pub fn over(&self) -> usize {
        self.0.look(|taken| taken.over.values().sum())
    }

    /// Waits until each of these clients has ended this many more transactions.
    pub fn wait_for_each(&self, clients: &[u32], more: usize, limit: Duration) {
        let count = |taken: &OverByClient, client: &u32| taken.over.get(client).copied().unwrap_or(0);
        let wanted: Vec<(u32, usize)> = self
            .0
            .look(|taken| clients.iter().map(|client| (*client, count(taken, client) + more)).collect());
        let behind =
            |taken: &OverByClient| wanted.iter().find(|(client, over)| count(taken, client) < *over).copied();
        let is_so = self.0.wait(limit, |taken| behind(taken).is_none());
        assert!(is_so, "H22: client and number of transactions: {:?}", self.0.look(behind));
    }

    pub fn broken(&self, what: String) {
        self.0.broken(what);
    }

    /// Waits for this time, or until the round fails.
    pub fn wait_or_quit(&self, time: Duration) {
        self.0.wait_or_quit(time);
    }
}
