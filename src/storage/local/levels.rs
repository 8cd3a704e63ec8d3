//! Tests of stored forms that change: a release whose commands have a field less and lack a command, the
//! release after it, and one that no longer knows the first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::fs::{Fs, SimFs};
use super::skip::{SkipError, skip};
use crate::config::BrokerSettings;
use crate::kernel::level::{Appending, Form, Level7, read_all};
use crate::kernel::{Command, Election, Level, Levels, Parts, PartsWriter, Refusal, Shard, StateError};
use crate::record::{self, BatchBuilder, Rules};
use crate::storage::{
    Isolation, Location, NewTopic, OpenError, Partition, ReadRange, Store, StoreError, StoreOptions,
};
use crate::time::Clock;
use crate::types::{NodeId, Offset, Timestamp};

const BEFORE: Levels = Levels(&[&Level6]);
const NOW: Levels = Levels(&[&Level6, &Level7]);

/// The form of a release before this one: `SetBrokers` has no rules for elections, there is no `ElectUnclean`,
/// and the state has no part about the clock.
struct Level6;

/// `Ok` is a `SetBrokers` with the running brokers, `Err` another command.
type Command6 = Result<Vec<NodeId>, Command>;

const CLOCK: &str = "clock";

impl Form for Level6 {
    fn level(&self) -> Level {
        Level(6)
    }

    fn fit(&self, command: Command) -> Option<Command> {
        match command {
            Command::ElectUnclean { .. } => None,
            Command::SetBrokers { running, .. } => {
                Some(Command::SetBrokers { running, election: Election::default() })
            }
            other => Some(other),
        }
    }

    fn write(&self, commands: &[&Command], into: &mut Vec<u8>) {
        let of_this_level = commands.iter().map(|command| match command {
            Command::SetBrokers { running, .. } => Ok(running.clone()),
            other => Err((*other).clone()),
        });
        let commands: Vec<Command6> = of_this_level.collect();
        postcard::serialize_with_flavor(&commands, Appending(into)).unwrap();
    }

    fn read(&self, commands: &[u8]) -> Result<Vec<Command>, postcard::Error> {
        let commands: Vec<Command6> = read_all(commands)?;
        let of_today = commands.into_iter().map(|command| match command {
            Ok(running) => Command::SetBrokers { running, election: Election::default() },
            Err(command) => command,
        });
        Ok(of_today.collect())
    }

    fn write_state(&self, state: &Shard) -> Vec<u8> {
        state.write_parts(PartsWriter::without(&[CLOCK]))
    }

    fn read_state(&self, state: &[u8]) -> Result<Shard, StateError> {
        Shard::of_parts(Parts::split(state)?.or(CLOCK, &None::<Timestamp>)?)
    }
}

fn open(fs: &SimFs, levels: Levels) -> Result<Store, OpenError> {
    let place = Location::Simulated(Arc::new(fs.clone()), "data".into());
    let options = StoreOptions::new(place, Arc::new(BrokerSettings::default()));
    Store::open(StoreOptions { levels, clock: Clock::manual(Timestamp(1_000_000)), ..options })
}

async fn append(store: &Store, partition: &Arc<Partition>, value: &str) {
    let batch = BatchBuilder::new().value(Timestamp(0), value).build();
    store.append(partition, record::check_produced(batch, &Rules::LENIENT).unwrap()).await.unwrap();
}

/// The partition that all tests use.
fn partition(store: &Store) -> Arc<Partition> {
    Arc::clone(store.topics().by_name("t").unwrap().partition(0).unwrap())
}

/// A directory of this level with a topic, a batch and a snapshot, and changes after it, as kill -9 leaves it.
async fn made(levels: Levels) -> SimFs {
    let fs = SimFs::new(1);
    let store = open(&fs, levels).unwrap();
    let new = NewTopic { name: "t".into(), partitions: 1, overrides: BTreeMap::new() };
    store.create_topic(new).await.unwrap();
    append(&store, &partition(&store), "in the snapshot").await;
    store.request_snapshot();
    store.run_background();
    store.set_brokers(vec![NodeId(1), NodeId(2)]).await.unwrap();
    append(&store, &partition(&store), "in the journal").await;
    fs.kill()
}

fn format(fs: &SimFs) -> String {
    let meta = super::fs::read_all(fs, Path::new("data/meta"), 1000).unwrap();
    String::from_utf8(meta).unwrap().lines().next().unwrap().to_owned()
}

/// Reads all records and returns the offset after the last one.
async fn count(store: &Store) -> i64 {
    let partition = partition(store);
    let isolation = Isolation::ReadUncommitted;
    let mut from = Offset(0);
    while from < partition.ends().high_watermark {
        let range =
            ReadRange { from, max_bytes: 1 << 20, at_least_one_batch: true, isolation, listed: false };
        from = partition.read(range).await.unwrap().next;
    }
    from.0
}

#[tokio::test]
async fn a_command_of_a_later_level_is_refused_until_that_level_is_in_force() {
    let fs = made(BEFORE).await;
    let store = open(&fs, BEFORE).unwrap();
    let topic = partition(&store).topic;
    assert_eq!(store.elect_unclean(topic, 0).await, Err(StoreError::Refused(Refusal::NotYet)));
    store.close();
    let store = open(&fs, NOW).unwrap();
    assert_eq!(store.elect_unclean(topic, 0).await, Ok(false));
}

#[tokio::test]
async fn a_directory_of_a_level_is_opened_by_the_next_release_and_then_refused_by_its_own() {
    let fs = made(BEFORE).await;
    assert_eq!(format(&fs), "format=6");
    assert!(matches!(open(&fs, Levels::KNOWN), Err(OpenError::Older { format: 6, known: 7, .. })));
    let store = open(&fs, NOW).unwrap();
    assert_eq!(count(&store).await, 2);
    append(&store, &partition(&store), "of this release").await;
    drop(store);
    assert_eq!(format(&fs), "format=7");
    assert!(matches!(open(&fs, BEFORE), Err(OpenError::Newer { format: 7, known: 6, .. })));
    assert_eq!(count(&open(&fs, Levels::KNOWN).unwrap()).await, 3, "everything was converted");
}

#[tokio::test]
async fn entries_of_both_levels_are_replayed_from_a_snapshot_of_the_older_one() {
    let fs = made(BEFORE).await;
    let store = open(&fs, NOW).unwrap();
    append(&store, &partition(&store), "of this release").await;
    store.set_brokers(vec![NodeId(1), NodeId(3)]).await.unwrap();
    let fs = fs.kill();
    // The newest one was written by this release, when it opened the directory.
    let snapshots = Path::new("data/snapshot");
    let newest = fs.list(snapshots).unwrap().into_iter().map(|entry| entry.name).max().unwrap();
    fs.remove(&snapshots.join(newest)).unwrap();
    assert_eq!(count(&open(&fs, NOW).unwrap()).await, 3);
}

/// The form of this version, in which one producer id cannot be read.
struct UnreadableForm;

impl Form for UnreadableForm {
    fn level(&self) -> Level {
        Level7.level()
    }

    fn fit(&self, command: Command) -> Option<Command> {
        Level7.fit(command)
    }

    fn write(&self, commands: &[&Command], into: &mut Vec<u8>) {
        Level7.write(commands, into);
    }

    fn read(&self, commands: &[u8]) -> Result<Vec<Command>, postcard::Error> {
        let commands = Level7.read(commands)?;
        assert!(!commands.contains(&Command::NewProducer), "the curse");
        Ok(commands)
    }

    fn write_state(&self, state: &Shard) -> Vec<u8> {
        Level7.write_state(state)
    }

    fn read_state(&self, state: &[u8]) -> Result<Shard, StateError> {
        Level7.read_state(state)
    }
}

#[tokio::test]
async fn an_entry_that_makes_every_start_panic_can_be_skipped_while_no_later_one_relies_on_it() {
    const CURSED: Levels = Levels(&[&UnreadableForm]);
    let fs = made(Levels::KNOWN).await;
    let store = open(&fs, Levels::KNOWN).unwrap();
    append(&store, &partition(&store), "before").await;
    store.new_producer().await.unwrap();
    let position = store.position();
    let fs = fs.kill();
    let opened = std::panic::AssertUnwindSafe(|| open(&fs, CURSED).is_ok());
    assert!(std::panic::catch_unwind(opened).is_err());
    let fs = fs.kill();

    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    for other in [position - 1, position + 1, 1] {
        let refused = skip(&disk, Path::new("data"), other);
        assert!(matches!(refused, Err(SkipError::Refused(_))), "{refused:?}");
    }
    let aside = skip(&disk, Path::new("data"), position).unwrap();
    assert!(!fs.list(&aside.join("journal")).unwrap().is_empty(), "the old journal is kept");
    let store = open(&fs, CURSED).unwrap();
    assert_eq!(count(&store).await, 3);
    append(&store, &partition(&store), "after").await;
    let store = open(&fs.kill(), CURSED).unwrap();
    assert_eq!(count(&store).await, 4, "what follows a skipped entry is replayed");
    assert_eq!(store.new_producer().await.map(|(id, _)| id.0), Ok(0), "the id was never given");
}
