//! The line over a shared journal. A task does the work (`broker.rs`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::broker::Broker;
use super::journal::SharedJournal;
use super::lock;
use super::queue::Queue;
use crate::config::BrokerSettings;
use crate::kernel::{Command, Gone, Levels, Refusal, Shard};
use crate::storage::clocks::Clocks;
use crate::storage::line::{Barrier, Line, Work};
use crate::storage::live::LiveSettings;
use crate::storage::published::Published;
use crate::storage::upkeep::{LogDir, Upkeep};
use crate::storage::{StoreError, Unavailable};
use crate::time::Clock;
use crate::types::{NodeId, Timestamp, Uuid};

pub struct ClusterOptions {
    pub journal: Arc<dyn SharedJournal>,
    pub settings: Arc<BrokerSettings>,
    pub clock: Clock,
    /// The source of ids and of other numbers that are used once.
    pub new_id: fn() -> Uuid,
    /// The stored forms of commands that are known; the last one is written.
    pub levels: Levels,
    /// Another process with this broker's id is refused as long as this one has written within this time.
    pub session: Duration,
}

/// A broker that shares a journal with others.
pub struct Cluster {
    queue: Arc<Queue>,
    shard: Arc<Mutex<Shard>>,
    published: Arc<Published>,
    clocks: Arc<Clocks>,
    task: JoinHandle<()>,
}

impl Cluster {
    /// Reads the journal and registers the broker. Fails if another process with its id still writes.
    pub async fn join(options: ClusterOptions) -> Result<Cluster, StoreError> {
        let ClusterOptions { journal, settings, clock, new_id, levels, session } = options;
        let node = settings.node_id;
        let clocks = Arc::new(Clocks::start(clock, None, settings.clock_confirmed));
        let shard = Shard::shared();
        let live = LiveSettings::new(settings, node);
        let published = Arc::new(Published::new(live, Arc::clone(&clocks), &shard));
        let mut broker = Broker {
            journal,
            queue: Arc::default(),
            shard: Arc::new(Mutex::new(shard)),
            published,
            clocks,
            levels,
            node,
            session,
            new_id,
            incarnation: 0,
            is_fenced: false,
        };
        broker.register().await?;
        Ok(Cluster {
            queue: Arc::clone(&broker.queue),
            shard: Arc::clone(&broker.shard),
            published: Arc::clone(&broker.published),
            clocks: Arc::clone(&broker.clocks),
            task: tokio::spawn(broker.run()),
        })
    }

    /// Declares a broker gone. Refused if it has written something that this broker has not read.
    pub async fn declare_gone(&self, node: NodeId) -> Result<(), StoreError> {
        let member = lock(&self.shard).members().and_then(|members| members.of(node)).cloned();
        let member = member.ok_or(StoreError::Refused(Refusal::OtherIncarnation))?;
        let gone = Gone { node, incarnation: member.incarnation, last: member.last };
        let line: &dyn Line = self;
        line.command(Command::Gone(gone)).await.map(drop)
    }

    pub(in crate::storage) fn shard(&self) -> &Arc<Mutex<Shard>> {
        &self.shard
    }

    pub(in crate::storage) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(in crate::storage) fn clocks(&self) -> &Arc<Clocks> {
        &self.clocks
    }
}

impl Line for Cluster {
    fn submit(&self, work: Work) {
        self.queue.push(work);
    }

    fn barrier(&self) -> Barrier {
        let (reached, answer) = oneshot::channel();
        self.queue.add_barrier(reached);
        Box::pin(async move { answer.await.unwrap_or(Err(Unavailable::Stopped)) })
    }

    /// An entry that is on its way may still be stored.
    fn close(&self) {
        self.queue.close();
        self.task.abort();
    }
}

/// Does nothing, because there are no files.
impl Upkeep for Cluster {
    fn log_dir(&self) -> LogDir {
        LogDir { path: PathBuf::from("journal"), space: None }
    }

    fn is_full(&self) -> bool {
        false
    }

    fn look_at_space(&self) {}

    fn fill_disk(&self, _: bool) {}

    fn look_at_backup(&self) {}

    fn stalled_backup(&self) -> Option<Duration> {
        None
    }

    fn retry(&self) {}

    fn compact(&self, _: Timestamp, _: &BrokerSettings) {}

    fn scrub(&self, _: Duration, _: Duration) {}

    fn last_scrub(&self) -> Option<Timestamp> {
        None
    }

    fn snapshot(&self) {}

    fn run_background(&self) {}
}
