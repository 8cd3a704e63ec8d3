//! Entries of the journal: commands of one author, which are applied at one time. An author is one run of one
//! broker. On files there is one at a time, the one that has the directory open. In a shared journal an author
//! is registered (`kernel/members.rs`); author 0 is a broker that registers.
//!
//! An entry is a header, little-endian, and the encoded commands:
//!
//! ```text
//!  0 level of the encoding, u16       2 flags, u16
//!  4 author                          12 sequence: number of the author's entry, from 1
//! 20 the author's clock, ms          28 a position that the author had applied
//! 36 the rolling hash there          44 length of the record bytes beside the entry, u32
//! 48 CRC-32C of these bytes, u32     52 commands
//! ```

use super::command::{Applied, Command, Place, Refusal};
use super::level::{Level, Levels};
use super::members::follows;
use super::{Shard, mix};
use crate::types::Timestamp;

/// An entry without its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The level of the commands' encoding.
    pub level: Level,
    pub flags: Flags,
    pub author: u64,
    pub sequence: u64,
    pub clock: Timestamp,
    /// A position that the author had applied.
    pub seen: u64,
    /// The rolling hash there.
    pub seen_hash: u64,
    pub data: Data,
}

/// The record bytes beside an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub length: u32,
    pub crc: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// An operator wants the entry to be passed over.
    pub const SKIPPED: Flags = Flags(1);
    /// The author trusts its clock.
    pub const CLOCK_TRUSTED: Flags = Flags(2);

    pub fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 == flag.0
    }

    #[must_use]
    pub fn with(self, flag: Flags) -> Flags {
        Flags(self.0 | flag.0)
    }

    fn are_known(self) -> bool {
        self.0 & !(Flags::SKIPPED.0 | Flags::CLOCK_TRUSTED.0) == 0
    }
}

impl Header {
    pub const LENGTH: usize = 52;

    pub fn encode(&self) -> [u8; Header::LENGTH] {
        let mut bytes = [0; Header::LENGTH];
        bytes[0..2].copy_from_slice(&self.level.0.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.flags.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.author.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.clock.0.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.seen.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.seen_hash.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.data.length.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.data.crc.to_le_bytes());
        bytes
    }

    /// The header of an entry, and its encoded commands. `None` if the entry is too short.
    pub fn split(entry: &[u8]) -> Option<(Header, &[u8])> {
        let (bytes, commands) = entry.split_first_chunk::<{ Header::LENGTH }>()?;
        let header = Header {
            level: Level(u16::from_le_bytes(*bytes[0..].first_chunk()?)),
            flags: Flags(u16::from_le_bytes(*bytes[2..].first_chunk()?)),
            author: u64::from_le_bytes(*bytes[4..].first_chunk()?),
            sequence: u64::from_le_bytes(*bytes[12..].first_chunk()?),
            clock: Timestamp(i64::from_le_bytes(*bytes[20..].first_chunk()?)),
            seen: u64::from_le_bytes(*bytes[28..].first_chunk()?),
            seen_hash: u64::from_le_bytes(*bytes[36..].first_chunk()?),
            data: Data {
                length: u32::from_le_bytes(*bytes[44..].first_chunk()?),
                crc: u32::from_le_bytes(*bytes[48..].first_chunk()?),
            },
        };
        Some((header, commands))
    }
}

/// The header and the commands of an entry, or the reason why they cannot be read.
pub fn read(levels: Levels, entry: &[u8]) -> Result<(Header, Vec<Command>), String> {
    let (header, commands) = Header::split(entry).ok_or("it is too short")?;
    let level = header.level;
    let form =
        levels.form(level).ok_or_else(|| format!("it has level {level}, this version reads {levels:?}"))?;
    if !header.flags.are_known() {
        return Err("it has unknown flags".to_owned());
    }
    match form.read(commands) {
        Ok(commands) => Ok((header, commands)),
        Err(error) => Err(format!("its commands cannot be read: {error}")),
    }
}

/// The entry with the flag that lets it be passed over. `None` if it is too short.
pub fn skipped(entry: &[u8]) -> Option<Vec<u8>> {
    let (header, commands) = Header::split(entry)?;
    let header = Header { flags: header.flags.with(Flags::SKIPPED), ..header };
    Some([&header.encode()[..], commands].concat())
}

/// The reason why an entry was passed over. Only the position and the rolling hash moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// An operator wanted it.
    Skipped,
    /// It cannot be decoded, its level is not in force, or it has a registration and also an author or other commands.
    Malformed,
    /// A later author has written, or the author was replaced or is gone.
    Fenced,
    /// The author's entry with this sequence was applied before.
    Repeated,
    /// An entry of the author is missing before it.
    Gap,
}

/// An entry that is being made. Its commands are applied one by one before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    header: Header,
    /// The time for its commands.
    pub time: Timestamp,
}

impl Draft {
    /// The header, once the data of the entry is known.
    pub fn header(&self, data: Data) -> Header {
        Header { data, ..self.header }
    }
}

impl Shard {
    /// Begins an entry. Nothing changes before its first command.
    pub fn open_entry(&self, level: Level, author: u64, clock: Timestamp, flags: Flags) -> Draft {
        let sequence = match &self.members {
            None if author == self.author => self.sequence + 1,
            None => 1,
            Some(members) => members.sequence_of(author).unwrap_or(0) + 1,
        };
        let (seen, seen_hash) = (self.position, self.hash);
        let data = Data::default();
        let header = Header { level, flags, author, sequence, clock, seen, seen_hash, data };
        Draft { time: self.time_of(clock, &header), header }
    }

    /// Ends an entry whose commands were applied. `entry` is all of it, as the journal stores it.
    pub fn close_entry(&mut self, draft: &Draft, entry: &[u8]) {
        self.wrote(&draft.header, draft.time);
        self.step(entry);
    }

    /// Applies an entry of the journal. `at` is the journal's clock when it was stored. `saw` gets each command
    /// with its outcome, and the state after it.
    pub fn apply_entry(
        &mut self,
        levels: Levels,
        at: Timestamp,
        entry: &[u8],
        mut saw: impl FnMut(&Shard, &Command, &Result<Applied, Refusal>),
    ) -> Result<(), Passed> {
        let judged = self.judge(levels, entry);
        if let Ok((header, commands)) = &judged {
            let time = self.time_of(at, header);
            if let Some(members) = &mut self.members {
                members.begin_entry(at);
            }
            let mut data = DataLeft { all: header.data.length, left: header.data.length };
            for command in commands {
                let outcome = self.apply_with_data(time, command, &mut data);
                self.hash = match &outcome {
                    // `apply` has done it.
                    Ok(applied) if applied.changed_something() => self.hash,
                    Ok(applied) => applied.mixed_into(self.hash),
                    Err(refusal) => refusal.mixed_into(self.hash),
                };
                saw(self, command, &outcome);
            }
            self.wrote(header, time);
        }
        self.step(entry);
        judged.map(drop)
    }

    /// The commands of the entry, if it is to be applied.
    fn judge(&self, levels: Levels, entry: &[u8]) -> Result<(Header, Vec<Command>), Passed> {
        if Header::split(entry).is_some_and(|(header, _)| header.flags.has(Flags::SKIPPED)) {
            return Err(Passed::Skipped);
        }
        let (header, commands) = read(levels, entry).map_err(|_| Passed::Malformed)?;
        match &self.members {
            Some(_) if !registers_alone(header.author, &commands) => return Err(Passed::Malformed),
            Some(members) => members.judge(header.author, header.sequence)?,
            None if header.author < self.author => return Err(Passed::Fenced),
            None => {
                follows(if header.author == self.author { self.sequence } else { 0 }, header.sequence)?;
            }
        }
        Ok((header, commands))
    }

    /// Applies a command whose bytes are a part of the data beside its entry.
    fn apply_with_data(
        &mut self,
        time: Timestamp,
        command: &Command,
        data: &mut DataLeft,
    ) -> Result<Applied, Refusal> {
        let DataLeft { all, left } = data;
        match bytes_beside(command) {
            Beside::Next(bytes) => *left = left.checked_sub(bytes).ok_or(Refusal::Malformed)?,
            Beside::At { at, bytes } => {
                at.checked_add(bytes).filter(|end| *end <= *all).ok_or(Refusal::Malformed)?;
            }
        }
        self.apply(time, command)
    }

    /// The time for the commands of an entry. It is the earlier of two clocks, so both must be ahead before
    /// anything expires, and it goes back only if the author trusts its clock.
    fn time_of(&self, at: Timestamp, header: &Header) -> Timestamp {
        let agreed = at.min(header.clock);
        if header.flags.has(Flags::CLOCK_TRUSTED) { agreed } else { agreed.max(self.time) }
    }

    fn wrote(&mut self, header: &Header, time: Timestamp) {
        (self.author, self.sequence, self.time) = (header.author, header.sequence, time);
        if let Some(members) = &mut self.members {
            members.end_entry(header.author, header.sequence, self.position + 1);
        }
    }

    pub(super) fn step(&mut self, entry: &[u8]) {
        self.position += 1;
        self.hash = mix(mix(self.hash, self.position), u64::from(crc32c::crc32c(entry)));
    }
}

/// Whether a registration is the only command of an entry without an author, and every other entry has an author.
fn registers_alone(author: u64, commands: &[Command]) -> bool {
    match commands {
        [Command::Register(_)] => author == 0,
        commands => author != 0 && !commands.iter().any(|command| matches!(command, Command::Register(_))),
    }
}

/// The length of the data beside an entry, and of the part behind the bytes of the earlier commands.
struct DataLeft {
    all: u32,
    left: u32,
}

/// The place of a command's record bytes in the data beside its entry.
enum Beside {
    /// This number of bytes, behind those of the earlier commands.
    Next(u32),
    At {
        at: u32,
        bytes: u32,
    },
}

fn bytes_beside(command: &Command) -> Beside {
    match command {
        Command::Commit(commit) => match commit.place {
            Place::Segment { inline: true, .. } => Beside::Next(commit.bytes),
            Place::Segment { inline: false, .. } => Beside::Next(0),
            Place::Journal { at } => Beside::At { at, bytes: commit.bytes },
        },
        Command::StoreAgain(again) => Beside::Next(again.bytes),
        Command::CreateTopic(_)
        | Command::DropTopic { .. }
        | Command::SetLogStart { .. }
        | Command::RaiseEpoch { .. }
        | Command::NewProducer
        | Command::ExpireProducers { .. }
        | Command::Group { .. }
        | Command::AddPartitions { .. }
        | Command::AlterTopic { .. }
        | Command::AlterSettings { .. }
        | Command::SetReplicas { .. }
        | Command::SetBrokers { .. }
        | Command::ElectPreferred { .. }
        | Command::ReplaceExtents(_)
        | Command::SetProducerMemory { .. }
        | Command::ClockTrusted
        | Command::Register(_)
        | Command::Gone(_)
        // Markers are made from the outcome.
        | Command::InitTransaction(_)
        | Command::JoinTransaction(_)
        | Command::TransactionOffsets(_)
        | Command::EndTransaction(_)
        | Command::WriteMarker(_)
        | Command::ExpireTransactions { .. }
        | Command::SetFeature { .. }
        | Command::AlterQuotas { .. }
        | Command::AlterCredentials { .. }
        | Command::AddAcls { .. }
        | Command::RemoveAcls { .. }
        | Command::CreateToken { .. }
        | Command::ChangeToken { .. }
        | Command::ExpireTokens { .. }
        | Command::ElectUnclean { .. } => Beside::Next(0),
    }
}
