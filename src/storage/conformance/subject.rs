//! The stores under test, as clients of a cluster of three brokers see them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::{Brokers, Client, others_go_on};
use super::{ONE, THREE, TWO};
use crate::config::{BrokerSettings, Given};
use crate::kernel::{Levels, Refusal};
use crate::storage::cluster::{Cluster, ClusterOptions, Faults, SimJournal};
use crate::storage::line::Line;
use crate::storage::local::fs::{Fs, SimFs};
use crate::storage::{Location, Store, StoreError, StoreOptions, Tuning};
use crate::time::Clock;
use crate::types::{IgnorePoison, NodeId, Timestamp, TopicId, Uuid};

pub(crate) trait Subject {
    fn client(&self) -> Client;

    /// Ends a broker without a warning. Ready once it is known to be gone.
    async fn stop(&mut self, node: NodeId);

    async fn start(&mut self, node: NodeId);
}

/// Small enough that a few batches fill segments and are not all cached.
const SMALL: Tuning = Tuning {
    snapshot_bytes: 6_000,
    journal_file_bytes: 16_384,
    recent_bytes: 500,
    inline_below: 3_000,
    segment_bytes: 1_000,
    open_segments: 8,
};

/// Virtual brokers of one process on local files.
pub struct Local {
    brokers: Brokers,
    /// `None` in memory.
    disk: Option<SimFs>,
}

/// Brokers over one shared journal.
pub struct Shared {
    journal: SimJournal,
    brokers: Brokers,
    engines: BTreeMap<NodeId, Arc<Cluster>>,
}

impl Local {
    pub async fn in_memory() -> Local {
        Local::new(None)
    }

    pub async fn on_files() -> Local {
        Local::new(Some(SimFs::new(1)))
    }

    fn new(disk: Option<SimFs>) -> Local {
        let store = open(disk.as_ref(), vec![ONE, TWO, THREE]);
        let brokers = [ONE, TWO, THREE].map(|node| (node, store.clone()));
        Local { brokers: Arc::new(Mutex::new(brokers.into())), disk }
    }

    /// These brokers run from now on. On files the process was killed before.
    async fn run(&mut self, running: Vec<NodeId>) {
        let store = match &mut self.disk {
            Some(disk) => {
                *disk = disk.kill();
                open(Some(disk), running.clone())
            }
            None => {
                let store = self.client().any();
                store.set_brokers(running.clone()).await.unwrap();
                store
            }
        };
        let brokers = running.into_iter().map(|node| (node, store.clone()));
        *self.brokers.lock().ignoring_poison() = brokers.collect();
    }

    fn running(&self) -> Vec<NodeId> {
        self.brokers.lock().ignoring_poison().keys().copied().collect()
    }
}

fn open(disk: Option<&SimFs>, brokers: Vec<NodeId>) -> Store {
    let location = match disk {
        Some(disk) => Location::Simulated(Arc::new(disk.clone()) as Arc<dyn Fs>, PathBuf::from("data")),
        None => Location::Memory,
    };
    let settings = Arc::new(BrokerSettings::load(Given::default()).unwrap());
    let options = StoreOptions::new(location, settings);
    Store::open(StoreOptions { brokers, clock: clock(), new_id, tuning: SMALL, ..options }).unwrap()
}

impl Subject for Local {
    fn client(&self) -> Client {
        Client(Arc::clone(&self.brokers))
    }

    async fn stop(&mut self, node: NodeId) {
        let running = self.running().into_iter().filter(|other| *other != node);
        self.run(running.collect()).await;
    }

    async fn start(&mut self, node: NodeId) {
        let mut running = self.running();
        running.push(node);
        running.sort_unstable();
        self.run(running).await;
    }
}

impl Shared {
    pub async fn new(seed: u64, faults: Faults) -> Shared {
        NEXT_ID.set(1);
        let journal = SimJournal::new(seed, faults);
        let mut shared = Shared { journal, brokers: Brokers::default(), engines: BTreeMap::new() };
        for node in [ONE, TWO, THREE] {
            shared.start(node).await;
        }
        shared
    }

    /// Starts a broker, whose id is protected for this time.
    pub async fn join(&self, node: NodeId, session: Duration) -> Result<(Store, Arc<Cluster>), StoreError> {
        let settings = BrokerSettings::load(Given::default()).unwrap();
        let options = ClusterOptions {
            journal: Arc::new(self.journal.clone()),
            settings: Arc::new(BrokerSettings { node_id: node, ..settings }),
            clock: clock(),
            new_id,
            levels: Levels::KNOWN,
            session,
        };
        Store::join(options).await
    }

    /// One broker declares another one gone.
    pub async fn declare_gone(&self, by: NodeId, node: NodeId) {
        let engine = Arc::clone(&self.engines[&by]);
        let store = self.client().store(by);
        loop {
            store.barrier().await.unwrap();
            match engine.declare_gone(node).await {
                // A registration that was still on its way has come.
                Err(StoreError::Refused(Refusal::BrokerRuns)) => others_go_on(1).await,
                done => return done.unwrap(),
            }
        }
    }

    /// The number of entries that were stored after their authors had given them up or repeated them.
    pub fn stored_late(&self) -> usize {
        self.journal.stored_late()
    }

    /// The number of extents of a partition, as this broker knows it.
    pub fn extents(&self, node: NodeId, topic: TopicId, index: i32) -> usize {
        let shard = self.engines[&node].shard().lock().ignoring_poison();
        shard.partition(topic, index).unwrap().extents().len()
    }

    /// All brokers have the same state. Returns the number of entries, and the hash after them.
    pub async fn check(&self) -> (u64, u64) {
        loop {
            let mut states = Vec::new();
            for store in self.client().all() {
                store.barrier().await.unwrap();
                states.push(store.state());
            }
            // A late copy may have been stored between two of the barriers.
            if states.iter().all(|(position, _)| *position == states[0].0) {
                assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
                return states[0];
            }
        }
    }
}

impl Subject for Shared {
    fn client(&self) -> Client {
        Client(Arc::clone(&self.brokers))
    }

    async fn stop(&mut self, node: NodeId) {
        self.brokers.lock().ignoring_poison().remove(&node).unwrap();
        self.engines.remove(&node).unwrap().close();
        let by = *self.engines.keys().next().unwrap();
        self.declare_gone(by, node).await;
    }

    async fn start(&mut self, node: NodeId) {
        let (store, engine) = self.join(node, Duration::from_millis(200)).await.unwrap();
        self.engines.insert(node, engine);
        self.brokers.lock().ignoring_poison().insert(node, store);
    }
}

fn clock() -> Clock {
    Clock::manual(Timestamp(1_000_000))
}

thread_local! {
    static NEXT_ID: Cell<u64> = const { Cell::new(1) };
}

/// Unique ids, which are the same in every run of a test.
fn new_id() -> Uuid {
    let number = NEXT_ID.get();
    NEXT_ID.set(number + 1);
    let mut id = [0x11; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    Uuid(id)
}
