//! The task of a broker. It takes the queued work, appends it as one entry, reads all entries up to that one, applies
//! and publishes each, and answers. Work that arrives meanwhile is the next entry.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::extent::JournalExtent;
use super::journal::{DataRange, JournalError, SharedJournal, StoredEntry};
use super::lock;
use super::logs::InMemory;
use super::queue::Queue;
use crate::kernel::entry::{Data, Flags, Header};
use crate::kernel::{
    Applied, Command, Commit, Levels, Members, Passed, Place, Placed, PlacedMarker, Refusal, Register, Shard,
};
use crate::record;
use crate::storage::clocks::Clocks;
use crate::storage::line::{AppendWork, Appended, CommandDone, Work};
use crate::storage::partition::{Partition, Pieces};
use crate::storage::published::Published;
use crate::storage::{AppendError, StoreError, Unavailable};
use crate::types::{AbortedTransaction, NodeId, Uuid};

/// The number of attempts to register while another process with the same broker id still writes.
const TRIES: usize = 200;

pub struct Broker {
    pub journal: Arc<dyn SharedJournal>,
    pub queue: Arc<Queue>,
    pub shard: Arc<Mutex<Shard>>,
    pub published: Arc<Published>,
    pub clocks: Arc<Clocks>,
    pub levels: Levels,
    pub node: NodeId,
    pub session: Duration,
    pub new_id: fn() -> Uuid,
    /// The author of its entries; 0 before it is registered.
    pub incarnation: u64,
    /// An entry of the present incarnation was passed over, because the broker was declared gone or another process
    /// has registered under its id.
    pub is_fenced: bool,
}

/// An entry of this broker whose outcome is not known yet.
struct OwnEntry {
    entry: Bytes,
    data: Bytes,
    /// One for each command.
    requesters: VecDeque<Requester>,
}

/// Waits for the outcome of a command.
enum Requester {
    Append(oneshot::Sender<Result<Appended, AppendError>>),
    Command(CommandDone),
}

/// The outcome of a command of an entry.
struct Event {
    outcome: Result<Applied, Refusal>,
    /// The record bytes of a commit.
    bytes: Bytes,
    /// `None` if the command is another broker's.
    requester: Option<Requester>,
}

impl Broker {
    pub async fn run(mut self) {
        while let Some((work, barriers)) = self.queue.take().await {
            if let Err(why) = self.round(work).await {
                return self.published.fail(&why);
            }
            for barrier in barriers {
                // If the requester no longer waits, the answer is dropped.
                let _ = barrier.send(Ok(()));
            }
        }
    }

    /// Writes the work, and reads everything that was acknowledged before this call.
    async fn round(&mut self, work: Vec<Work>) -> Result<(), String> {
        match self.compose(work) {
            Some(own) => self.append(own).await?,
            None => self.read_all().await?,
        }
        if std::mem::take(&mut self.is_fenced) {
            self.register().await.map_err(|error| format!("this broker cannot register again: {error:?}"))?;
        }
        Ok(())
    }

    /// Registers the broker, and reads the journal up to the registration.
    pub async fn register(&mut self) -> Result<(), StoreError> {
        let mut error = StoreError::Refused(Refusal::BrokerRuns);
        for _ in 0..TRIES {
            match self.try_to_register().await {
                Ok(incarnation) => {
                    self.incarnation = incarnation;
                    return Ok(());
                }
                Err(refused @ StoreError::Refused(_)) => error = refused,
                Err(failed) => return Err(failed),
            }
        }
        Err(error)
    }

    /// Returns the new incarnation.
    async fn try_to_register(&mut self) -> Result<u64, StoreError> {
        let poisoned = |why: String| {
            tracing::error!(%why, "the shared journal cannot be followed; restart the broker");
            StoreError::from(Unavailable::Poisoned)
        };
        self.read_all().await.map_err(poisoned)?;
        let last = |members: &Members| Some(members.of(self.node)?.incarnation);
        let after = lock(&self.shard).members().and_then(last).unwrap_or(0);
        let nonce = u64::from_le_bytes(*(self.new_id)().0.first_chunk().expect("an id has 16 bytes"));
        let register = Register { node: self.node, after, nonce, session: self.session };
        let (sender, mut answer) = oneshot::channel();
        let done = Box::new(|outcome| drop(sender.send(outcome)));
        self.incarnation = 0;
        if let Some(own) = self.compose(vec![Work::Command { command: Command::Register(register), done }]) {
            self.append(own).await.map_err(poisoned)?;
        }
        match answer.try_recv().unwrap_or(Err(Unavailable::Stopped.into()))? {
            Applied::Registered { incarnation, .. } => Ok(incarnation),
            other => unreachable!("a registration is not answered by {other:?}"),
        }
    }

    /// The entry with this work; `None` if nothing is to be written.
    fn compose(&self, work: Vec<Work>) -> Option<OwnEntry> {
        let (data, mut places) = laid_out(&work);
        let mut commands = Vec::new();
        let mut requesters = VecDeque::new();
        for work in work {
            let (command, requester) = match work {
                Work::Append(append) => {
                    let at = places.pop_front().expect("each batch has its place");
                    (Command::Commit(append.commit(Place::Journal { at })), Requester::Append(append.done))
                }
                Work::Command { command, done } => (command, Requester::Command(done)),
            };
            match self.levels.current().fit(command) {
                Some(command) => {
                    commands.push(command);
                    requesters.push_back(requester);
                }
                None => requester.answer(Err(Refusal::NotYet)),
            }
        }
        if commands.is_empty() {
            return None;
        }
        let (level, now) = (self.levels.in_force(), self.clocks.now().time);
        let draft = lock(&self.shard).open_entry(level, self.incarnation, now, Flags::default());
        let length = u32::try_from(data.len()).expect("the data of an entry is bounded");
        let header = draft.header(Data { length, crc: crc32c::crc32c(&data) });
        let mut entry = header.encode().to_vec();
        self.levels.current().write(&commands.iter().collect::<Vec<_>>(), &mut entry);
        Some(OwnEntry { entry: entry.into(), data, requesters })
    }

    /// Appends the entry until it has been read, and applies all entries up to it. Fails if the journal cannot
    /// be followed.
    async fn append(&mut self, own: OwnEntry) -> Result<(), String> {
        let mut own = Some(own);
        let mut is_stored = false;
        while let Some(OwnEntry { entry, data, .. }) = &own {
            let known = self.position();
            let answer = if is_stored {
                self.journal.read(known).await
            } else {
                self.journal.append(entry.clone(), data.clone(), known).await
            };
            is_stored |= answer.is_ok();
            let entries = match answer {
                Ok(entries) => entries,
                // It may be stored all the same. If it is not found now, it is appended again.
                Err(JournalError::Unknown(_)) => self.journal.read(known).await.unwrap_or_default(),
            };
            self.follow(entries, &mut own).await?;
        }
        Ok(())
    }

    /// Reads and applies everything that was acknowledged before this call.
    async fn read_all(&mut self) -> Result<(), String> {
        loop {
            match self.journal.read(self.position()).await {
                Ok(entries) if entries.is_empty() => return Ok(()),
                Ok(entries) => self.follow(entries, &mut None).await?,
                Err(JournalError::Unknown(_)) => {}
            }
        }
    }

    /// Applies and publishes entries. The first copy of `own` that is read decides its outcome.
    async fn follow(&mut self, entries: Vec<StoredEntry>, own: &mut Option<OwnEntry>) -> Result<(), String> {
        for settled in entries {
            let (position, known) = (settled.position, self.position());
            if position != known + 1 {
                return Err(format!("entry {position} of the journal follows entry {known}"));
            }
            let own = own.take_if(|own| own.entry == settled.entry);
            let data = match &own {
                Some(own) => own.data.clone(),
                None => self.data_of(&settled).await,
            };
            let is_own = own.is_some();
            match self.apply(&settled, &data, own) {
                Err(Passed::Fenced) if is_own => self.is_fenced = true,
                Err(why) if is_own => {
                    return Err(format!("entry {position} of this broker was passed over: {why:?}"));
                }
                // A late copy, or an entry of a broker that is gone.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The record bytes beside an entry. Damage to them is noticed when a batch is shown.
    async fn data_of(&self, settled: &StoredEntry) -> Bytes {
        let length = Header::split(&settled.entry).map_or(0, |(header, _)| header.data.length);
        if length == 0 {
            return Bytes::new();
        }
        let range = DataRange { position: settled.position, at: 0, length };
        loop {
            if let Ok(found) = self.journal.data(vec![range]).await {
                return found.concat().into();
            }
        }
    }

    /// Applies an entry, publishes its outcomes and answers.
    fn apply(&mut self, settled: &StoredEntry, data: &Bytes, own: Option<OwnEntry>) -> Result<(), Passed> {
        let mut requesters = own.map(|own| own.requesters).unwrap_or_default();
        let mut events = Vec::new();
        let shared = Arc::clone(&self.shard);
        let mut shard = lock(&shared);
        let passed = shard.apply_entry(self.levels, settled.at, &settled.entry, |_, command, outcome| {
            events.push(Event {
                outcome: outcome.clone(),
                bytes: bytes_of(command, data),
                requester: requesters.pop_front(),
            });
        });
        let touched = self.show(&shard, &events);
        drop(shard);
        for Event { outcome, requester, .. } in events {
            if let Some(requester) = requester {
                requester.answer(outcome);
            }
        }
        // The entry was passed over, so none of its commands was applied.
        requesters.into_iter().for_each(|requester| requester.answer(Err(Refusal::NotLeader)));
        touched.iter().for_each(|partition| partition.wake());
        passed
    }

    /// Publishes the outcomes. Returns the partitions with new batches.
    fn show(&mut self, shard: &Shard, events: &[Event]) -> Vec<Arc<Partition>> {
        let published = Arc::clone(&self.published);
        let mut touched = Vec::new();
        let mut showing = published.begin();
        for Event { outcome, bytes, .. } in events {
            match outcome {
                Ok(Applied::Appended(placed)) => {
                    showing.shows_batch_of(placed);
                    if let Some(partition) = published.partition(placed.topic, placed.partition) {
                        show_batch(&published, &partition, placed, bytes);
                        touched.push(partition);
                    }
                }
                Ok(applied) => {
                    touched.extend(show_markers(&published, applied));
                    showing.show(shard, applied, &mut InMemory);
                }
                Err(_) => {}
            }
        }
        showing.end(shard, Some(shard.position()));
        touched
    }

    fn position(&self) -> u64 {
        lock(&self.shard).position()
    }
}

impl Drop for Broker {
    /// The task has ended, and with it the entry that was on its way.
    fn drop(&mut self) {
        self.queue.end();
    }
}

impl Requester {
    fn answer(self, outcome: Result<Applied, Refusal>) {
        match self {
            // If the requester no longer waits, the answer is dropped.
            Requester::Append(done) => drop(done.send(Appended::from_outcome(outcome))),
            Requester::Command(done) => done(outcome.map_err(StoreError::Refused)),
        }
    }
}

/// The record bytes of the work, and the position of each batch in them. The batches of a partition are
/// consecutive, so that they are one extent.
fn laid_out(work: &[Work]) -> (Bytes, VecDeque<u32>) {
    let appends = work.iter().filter_map(|work| match work {
        Work::Append(append) => Some(append),
        Work::Command { .. } => None,
    });
    let mut sorted: Vec<(usize, &AppendWork)> = appends.enumerate().collect();
    sorted.sort_by_key(|(_, append)| (append.partition.topic, append.partition.index));
    let mut places = VecDeque::from(vec![0; sorted.len()]);
    let mut data = Vec::new();
    for (number, append) in sorted {
        places[number] = u32::try_from(data.len()).expect("the data of an entry is bounded");
        data.extend_from_slice(&append.batch.bytes);
    }
    (data.into(), places)
}

/// The record bytes of a command in the data beside its entry.
fn bytes_of(command: &Command, data: &Bytes) -> Bytes {
    match command {
        Command::Commit(Commit { bytes, place: Place::Journal { at }, .. }) => {
            let range = *at as usize..(*at as usize).saturating_add(*bytes as usize);
            if data.get(range.clone()).is_some() { data.slice(range) } else { Bytes::new() }
        }
        _ => Bytes::new(),
    }
}

/// Shows a batch to readers. It was stored with the offset and the epoch that its client sent.
fn show_batch(published: &Published, partition: &Partition, placed: &Placed, bytes: &Bytes) {
    let sent = record::Header::parse(bytes).ok().filter(|header| record::crc_of(bytes) == header.crc);
    let Some(sent) = sent else {
        return partition.quarantine(&format!("the batch at offset {} is damaged", placed.base_offset));
    };
    let prefix = record::prefix(placed.base_offset, sent.batch_length, placed.epoch);
    let whole: Bytes = [&prefix[..], &bytes[record::PREFIX_LENGTH..]].concat().into();
    let header = record::Header { base_offset: placed.base_offset, leader_epoch: placed.epoch, ..sent };
    show_whole(published, partition, placed, header, whole, None);
}

/// Shows the markers that a command placed. Returns their partitions.
fn show_markers(published: &Published, applied: &Applied) -> Vec<Arc<Partition>> {
    let Some((marker, placed)) = applied.markers() else { return Vec::new() };
    let show = |PlacedMarker { placed, aborted }: &PlacedMarker| {
        let partition = published.partition(placed.topic, placed.partition)?;
        let bytes = marker.batch(placed.base_offset, placed.epoch);
        let header = record::Header::parse(&bytes).expect("a marker is a batch");
        show_whole(published, &partition, placed, header, bytes, *aborted);
        Some(partition)
    };
    placed.iter().filter_map(show).collect()
}

fn show_whole(
    published: &Published,
    partition: &Partition,
    placed: &Placed,
    header: record::Header,
    whole: Bytes,
    aborted: Option<AbortedTransaction>,
) {
    let extent = partition.extent_at(placed.segment, || Arc::new(JournalExtent::new(placed.segment)));
    let extent = JournalExtent::of(extent);
    extent.push(header, placed.end, whole.clone());
    if let Some(aborted) = aborted {
        extent.push_aborted(aborted);
        partition.note_aborted();
    }
    let pieces = Pieces::One(whole);
    published.counts.traffic.took(placed, &pieces);
    partition.publish(placed, pieces);
    // It is read from its extent.
    partition.forget_oldest();
}
