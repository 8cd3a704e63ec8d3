//! The stored forms of commands and of the state. In memory both have one shape, that of this version. On
//! disk each form has a number, its *level*; older forms are converted when they are read
//! (`docs/decisions/0025-how-commands-and-snapshots-change-form.md`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Command, Parts, PartsWriter, Shard, StateError};

/// The number of a stored form. Entries, snapshots and data directories have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Level(pub u16);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The stored form of commands and of the state at one level.
pub trait Form: Sync {
    fn level(&self) -> Level;

    /// The command as a reader of this level gets it: without the fields that later levels add. `None` if
    /// the command itself is of a later level, so it must not be written yet.
    fn fit(&self, command: Command) -> Option<Command>;

    /// Appends the commands, which fit, to `into`.
    fn write(&self, commands: &[&Command], into: &mut Vec<u8>);

    fn read(&self, commands: &[u8]) -> Result<Vec<Command>, postcard::Error>;

    fn write_state(&self, state: &Shard) -> Vec<u8>;

    fn read_state(&self, state: &[u8]) -> Result<Shard, StateError>;
}

/// The forms that a version of the program knows, the oldest first. The last one is in force: it is the one
/// that is written.
#[derive(Clone, Copy)]
pub struct Levels(pub(crate) &'static [&'static dyn Form]);

impl Levels {
    /// The forms that this version knows. Levels 1 to 6 were never released.
    pub const KNOWN: Levels = Levels(&[&Level7]);

    pub fn oldest(self) -> Level {
        self.0.first().map_or(Level(0), |form| form.level())
    }

    pub fn in_force(self) -> Level {
        self.current().level()
    }

    /// The form that is written.
    pub fn current(self) -> &'static dyn Form {
        *self.0.last().expect("every version knows a form")
    }

    /// The form of this level; `None` if it is not known.
    pub fn form(self, level: Level) -> Option<&'static dyn Form> {
        self.0.iter().copied().find(|form| form.level() == level)
    }

    /// Reads a state that was written at this level. `None` if the level is not known.
    pub fn read_state(self, level: Level, state: &[u8]) -> Option<Result<Shard, StateError>> {
        Some(self.form(level)?.read_state(state).map(Shard::with_all_producers))
    }
}

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "levels {} to {}", self.oldest(), self.in_force())
    }
}

/// The form of this version: commands and state as they are in memory.
pub struct Level7;

impl Form for Level7 {
    fn level(&self) -> Level {
        Level(7)
    }

    fn fit(&self, command: Command) -> Option<Command> {
        Some(command)
    }

    fn write(&self, commands: &[&Command], into: &mut Vec<u8>) {
        postcard::serialize_with_flavor(commands, Appending(into)).expect("commands are plain data");
    }

    fn read(&self, commands: &[u8]) -> Result<Vec<Command>, postcard::Error> {
        read_all(commands)
    }

    fn write_state(&self, state: &Shard) -> Vec<u8> {
        state.write_parts(PartsWriter::default())
    }

    fn read_state(&self, state: &[u8]) -> Result<Shard, StateError> {
        Shard::of_parts(Parts::split(state)?)
    }
}

/// Reads a value that must take all of the bytes.
pub(crate) fn read_all<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, _) => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// Appends what is serialized to a vector.
pub(crate) struct Appending<'a>(pub(crate) &'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appending<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
