//! A shared journal in memory for tests, with faults that a seed decides: answers come late and get lost, and a lost
//! entry is stored later, behind newer ones.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::journal::{Answer, DataRange, JournalError, SharedJournal, StoredEntry};
use crate::storage::seeded::Random;
use crate::types::{IgnorePoison, Timestamp};

/// The number of entries that one call returns at most.
const MOST_ENTRIES: u64 = 32;

/// A handle; clones share one journal.
#[derive(Clone)]
pub struct SimJournal(Arc<Mutex<Sim>>);

/// The share of calls that have a fault, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The call has no effect, or only later.
    pub before: u64,
    /// The call has its effect, and the answer gets lost.
    pub after: u64,
}

struct Sim {
    faults: Faults,
    random: Random,
    /// The time in milliseconds. Every call takes some.
    clock: i64,
    stored: Vec<SimEntry>,
    /// Entries whose authors have no answer, and that are stored later.
    late: Vec<(Bytes, Bytes)>,
    /// The number of entries that were stored late.
    stored_late: usize,
}

struct SimEntry {
    at: Timestamp,
    entry: Bytes,
    data: Bytes,
}

/// The fate of a call.
enum Fate {
    LostBefore,
    LostAfter,
    Answered,
}

impl Faults {
    pub const NONE: Faults = Faults { before: 0, after: 0 };
    pub const MANY: Faults = Faults { before: 120, after: 120 };
}

impl SimJournal {
    pub fn new(seed: u64, faults: Faults) -> SimJournal {
        let (stored, late) = (Vec::new(), Vec::new());
        let random = Random(seed);
        SimJournal(Arc::new(Mutex::new(Sim {
            faults,
            random,
            clock: 1_000_000,
            stored,
            late,
            stored_late: 0,
        })))
    }

    /// The number of entries that were stored late.
    pub fn stored_late(&self) -> usize {
        self.lock().stored_late
    }

    /// Lets other tasks run for a while.
    async fn wait(&self) {
        let turns = self.lock().random.below(4);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().ignoring_poison()
    }
}

impl Sim {
    fn fate(&mut self) -> Fate {
        self.clock += 1 + self.random.below(20).cast_signed();
        if !self.late.is_empty() && self.random.below(3) == 0 {
            let at = usize::try_from(self.random.below(self.late.len() as u64)).unwrap_or(0);
            let (entry, data) = self.late.swap_remove(at);
            self.store(entry, data);
            self.stored_late += 1;
        }
        match self.random.below(1000) {
            lost if lost < self.faults.before => Fate::LostBefore,
            lost if lost < self.faults.before + self.faults.after => Fate::LostAfter,
            _ => Fate::Answered,
        }
    }

    fn store(&mut self, entry: Bytes, data: Bytes) {
        self.stored.push(SimEntry { at: Timestamp(self.clock), entry, data });
    }

    fn behind(&mut self, position: u64) -> Vec<StoredEntry> {
        let most = 1 + self.random.below(MOST_ENTRIES);
        let entries = (1..).zip(&self.stored).skip_while(|(at, _)| *at <= position);
        let settled = |(position, stored): (u64, &SimEntry)| {
            let SimEntry { at, entry, .. } = stored;
            StoredEntry { position, at: *at, entry: entry.clone() }
        };
        entries.take(usize::try_from(most).unwrap_or(usize::MAX)).map(settled).collect()
    }

    fn range(&self, range: DataRange) -> Option<Bytes> {
        let stored = self.stored.get(usize::try_from(range.position.checked_sub(1)?).ok()?)?;
        let end = range.at.checked_add(range.length)? as usize;
        (end <= stored.data.len()).then(|| stored.data.slice(range.at as usize..end))
    }
}

impl SharedJournal for SimJournal {
    fn append(&self, entry: Bytes, data: Bytes, known: u64) -> Answer<Vec<StoredEntry>> {
        let journal = self.clone();
        Box::pin(async move {
            let on_its_way = OnItsWay { journal: journal.clone(), entry: Some((entry, data)) };
            journal.wait().await;
            let settled = on_its_way.arrives(known);
            journal.wait().await;
            settled
        })
    }

    fn read(&self, behind: u64) -> Answer<Vec<StoredEntry>> {
        let journal = self.clone();
        Box::pin(async move {
            journal.wait().await;
            let settled = {
                let mut sim = journal.lock();
                match sim.fate() {
                    Fate::Answered => Ok(sim.behind(behind)),
                    Fate::LostBefore | Fate::LostAfter => Err(no_answer()),
                }
            };
            journal.wait().await;
            settled
        })
    }

    fn data(&self, ranges: Vec<DataRange>) -> Answer<Vec<Bytes>> {
        let journal = self.clone();
        Box::pin(async move {
            journal.wait().await;
            let mut sim = journal.lock();
            match sim.fate() {
                Fate::Answered => {
                    let found: Option<Vec<Bytes>> = ranges.iter().map(|range| sim.range(*range)).collect();
                    found.ok_or_else(|| JournalError::Unknown(format!("{ranges:?} is not there")))
                }
                Fate::LostBefore | Fate::LostAfter => Err(no_answer()),
            }
        })
    }
}

fn no_answer() -> JournalError {
    JournalError::Unknown("no answer".to_owned())
}

/// An entry that was sent. If its author ends before it arrives, it may arrive later.
struct OnItsWay {
    journal: SimJournal,
    entry: Option<(Bytes, Bytes)>,
}

impl OnItsWay {
    fn arrives(mut self, known: u64) -> Result<Vec<StoredEntry>, JournalError> {
        let Some((entry, data)) = self.entry.take() else { return Err(no_answer()) };
        let mut sim = self.journal.lock();
        match sim.fate() {
            Fate::LostBefore => {
                if sim.random.below(2) == 0 {
                    sim.late.push((entry, data));
                }
                Err(no_answer())
            }
            Fate::LostAfter => {
                sim.store(entry, data);
                Err(no_answer())
            }
            Fate::Answered => {
                sim.store(entry, data);
                Ok(sim.behind(known))
            }
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.journal.lock().late.push(entry);
        }
    }
}
