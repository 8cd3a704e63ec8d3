//! The author of the journal's entries: this start of the broker. It encodes commands at the level in force.

use bytes::Bytes;

use super::journal::{self, Entry};
use crate::kernel::entry::{Data, Draft, Flags};
use crate::kernel::{Applied, Command, Levels, Refusal, Shard};
use crate::storage::clocks::Now;
use crate::types::Timestamp;

/// A larger buffer is not kept for the next entry.
const MOST_KEPT: usize = 1 << 20;

pub(super) struct Author {
    levels: Levels,
    /// The number of this start.
    number: u64,
    encoded: Vec<u8>,
}

impl Author {
    /// The author of the entries after this state.
    pub(super) fn after(shard: &Shard, levels: Levels) -> Author {
        Author { levels, number: shard.author() + 1, encoded: Vec::new() }
    }

    /// Applies a command of the entry in the form in which it will be read back, and returns that form. Refused if
    /// it must not be written yet.
    pub(super) fn apply(
        &self,
        shard: &mut Shard,
        time: Timestamp,
        command: Command,
    ) -> Result<(Command, Applied), Refusal> {
        let command = self.levels.current().fit(command).ok_or(Refusal::NotYet)?;
        let applied = shard.apply(time, &command)?;
        Ok((command, applied))
    }

    /// Begins an entry. Its commands are then applied at the time of the draft.
    pub(super) fn open(&self, shard: &Shard, now: Now) -> Draft {
        let flags = if now.trusted.is_some() { Flags::CLOCK_TRUSTED } else { Flags::default() };
        shard.open_entry(self.levels.in_force(), self.number, now.time, flags)
    }

    /// Ends an entry whose commands were applied. It is to be appended to the journal now.
    pub(super) fn close<'a>(
        &'a mut self,
        draft: &Draft,
        commands: &[&Command],
        data: &'a [Bytes],
        shard: &mut Shard,
    ) -> Entry<'a> {
        let length = data.iter().map(Bytes::len).sum::<usize>();
        let data_crc = journal::crc_of(data);
        let length = u32::try_from(length).expect("a journal entry is smaller");
        let header = draft.header(Data { length, crc: data_crc });
        if self.encoded.capacity() > MOST_KEPT {
            self.encoded = Vec::new();
        }
        self.encoded.clear();
        self.encoded.extend_from_slice(&header.encode());
        self.levels.current().write(commands, &mut self.encoded);
        shard.close_entry(draft, &self.encoded);
        let (position, hash) = (shard.position(), shard.hash());
        Entry { position, time: header.clock, hash, commands: &self.encoded, data, data_crc }
    }
}
