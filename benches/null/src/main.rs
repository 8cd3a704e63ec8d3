//! The null server: the least that a Kafka server can do for librdkafka's requests. It checks each batch's CRC,
//! appends it with `pwrite` and sends it with `sendfile`. There are no limits, no sessions, no journal and no
//! recovery, and readers see records before they are synced. It is a lower bound for costs, not a broker.
//!
//! `null PORT DIRECTORY [--discard | --sync] [--partitions N]`: `--discard` drops the batches after the check,
//! `--sync` syncs the files once for all requests of one read, before it answers them.

#![expect(clippy::disallowed_methods, reason = "the broker's own rules of clocks do not hold here")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The keys that are served, each in the last version before the flexible encoding that librdkafka uses.
const SERVED: [(i16, i16); 6] =
    [(PRODUCE, 7), (FETCH, 4), (LIST_OFFSETS, 1), (METADATA, 1), (API_VERSIONS, 0), (INIT_PRODUCER, 0)];
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER: i16 = 22;

struct Server {
    port: i32,
    directory: PathBuf,
    partitions: i32,
    discard: bool,
    sync: bool,
    logs: Mutex<BTreeMap<(String, i32), Arc<Log>>>,
}

/// One partition: a file, and the position of each batch.
struct Log {
    file: File,
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    batches: Vec<Batch>,
    next: i64,
    size: u64,
}

struct Batch {
    base: i64,
    start: u64,
    end: u64,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let partitions = arguments.iter().skip_while(|argument| *argument != "--partitions").nth(1);
    let server = Arc::new(Server {
        port: arguments.first().ok_or("which port?")?.parse()?,
        directory: arguments.get(1).ok_or("which directory?")?.into(),
        partitions: partitions.map_or(Ok(1), |count| count.parse())?,
        discard: has("--discard"),
        sync: has("--sync"),
        logs: Mutex::default(),
    });
    std::fs::create_dir_all(&server.directory)?;
    for stream in TcpListener::bind(("127.0.0.1", server.port as u16))?.incoming() {
        let (server, stream) = (Arc::clone(&server), stream?);
        std::thread::spawn(move || server.serve(stream));
    }
    Ok(())
}

impl Server {
    /// Answers all requests of one read with one write, except fetches, which are sent with `sendfile`.
    fn serve(&self, mut stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; 4 << 20];
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            let (mut taken, mut answers, mut written) = (0, Vec::new(), BTreeSet::new());
            while let Some(frame) = frame_in(&buffer[taken..filled]) {
                taken += 4 + frame.len();
                self.answer(&mut Reader(frame), &mut stream, &mut answers, &mut written)?;
            }
            if self.sync {
                for key in &written {
                    self.log(&key.0, key.1)?.file.sync_data()?;
                }
            }
            stream.write_all(&answers)?;
            buffer.copy_within(taken..filled, 0);
            filled -= taken;
            if filled == buffer.len() {
                buffer.resize(2 * filled, 0);
            }
        }
    }

    fn answer(
        &self,
        request: &mut Reader<'_>,
        stream: &mut TcpStream,
        answers: &mut Vec<u8>,
        written: &mut BTreeSet<(String, i32)>,
    ) -> Outcome<()> {
        let (key, version, correlation) = (request.i16()?, request.i16()?, request.i32()?);
        request.string()?;
        let mut answer = Writer(Vec::with_capacity(256));
        answer.i32(0).i32(correlation);
        match key {
            API_VERSIONS => {
                answer.i16(if version == 0 { 0 } else { 35 }).i32(SERVED.len() as i32);
                for (key, version) in SERVED {
                    answer.i16(key).i16(version).i16(version);
                }
            }
            METADATA => self.metadata(request, &mut answer)?,
            INIT_PRODUCER => {
                answer.i32(0).i16(0).i64(1).i16(0);
            }
            PRODUCE => {
                if !self.produce(request, &mut answer, written)? {
                    return Ok(());
                }
            }
            LIST_OFFSETS => self.list_offsets(request, &mut answer)?,
            FETCH => {
                // Earlier requests are answered first.
                stream.write_all(answers)?;
                answers.clear();
                return self.fetch(request, answer, stream);
            }
            _ => return Err("not served".into()),
        }
        answers.extend(answer.framed());
        Ok(())
    }

    fn metadata(&self, request: &mut Reader<'_>, answer: &mut Writer) -> Outcome<()> {
        answer.i32(1).i32(1).string("127.0.0.1").i32(self.port).i16(-1).i32(1);
        let asked = request.i32()?.max(0);
        answer.i32(asked);
        for _ in 0..asked {
            answer.i16(0).string(&request.string()?).bytes(&[0]).i32(self.partitions);
            for partition in 0..self.partitions {
                answer.i16(0).i32(partition).i32(1).i32(1).i32(1).i32(1).i32(1);
            }
        }
        Ok(())
    }

    /// `false` if the client wants no answer.
    fn produce(
        &self,
        request: &mut Reader<'_>,
        answer: &mut Writer,
        written: &mut BTreeSet<(String, i32)>,
    ) -> Outcome<bool> {
        request.string()?;
        let acks = request.i16()?;
        request.i32()?;
        each_partition(request, answer, |topic, partition, request, answer| {
            let length = request.i32()?;
            let base = self.append(topic, partition, request.take(length as usize)?)?;
            written.insert((topic.to_owned(), partition));
            answer.i32(partition).i16(0).i64(base).i64(-1).i64(0);
            Ok(())
        })?;
        answer.i32(0);
        Ok(acks != 0)
    }

    fn append(&self, topic: &str, partition: i32, batch: &[u8]) -> Outcome<i64> {
        let crc = u32::from_be_bytes(batch[17..21].try_into()?);
        if crc32c::crc32c(&batch[21..]) != crc {
            return Err("a batch does not match its CRC".into());
        }
        let log = self.log(topic, partition)?;
        let mut state = log.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (base, at) = (state.next, state.size);
        state.next += i64::from(i32::from_be_bytes(batch[23..27].try_into()?)) + 1;
        if self.discard {
            return Ok(base);
        }
        log.file.write_all_at(&base.to_be_bytes(), at)?;
        log.file.write_all_at(&batch[8..], at + 8)?;
        state.size += batch.len() as u64;
        let end = state.size;
        state.batches.push(Batch { base, start: at, end });
        log.grown.notify_all();
        Ok(base)
    }

    fn list_offsets(&self, request: &mut Reader<'_>, answer: &mut Writer) -> Outcome<()> {
        request.i32()?;
        each_partition(request, answer, |topic, partition, request, answer| {
            let time = request.i64()?;
            let end = self.log(topic, partition)?.state.lock().unwrap_or_else(PoisonError::into_inner).next;
            answer.i32(partition).i16(0).i64(-1).i64(if time == -2 { 0 } else { end });
            Ok(())
        })
    }

    /// Waits for records of the first requested partition, and sends those of all partitions.
    fn fetch(&self, request: &mut Reader<'_>, mut answer: Writer, stream: &mut TcpStream) -> Outcome<()> {
        request.i32()?;
        let until = Instant::now() + Duration::from_millis(u64::try_from(request.i32()?)?);
        request.take(4 + 4 + 1)?;
        let mut parts: Vec<(Writer, Arc<Log>, u64, u64)> = Vec::new();
        let mut total = 0;
        each_partition(request, answer.i32(0), |topic, partition, request, answer| {
            let (offset, most) = (request.i64()?, request.i32()?);
            let log = self.log(topic, partition)?;
            let (at, length, end) = log.find(offset, most as u64, until)?;
            answer.i32(partition).i16(0).i64(end).i64(end).i32(0).i32(length as i32);
            parts.push((std::mem::replace(answer, Writer(Vec::new())), log, at, length));
            total += length;
            Ok(())
        })?;
        let heads: usize = parts.iter().map(|(head, ..)| head.0.len()).sum();
        let size = (heads as u64 + total - 4) as u32;
        parts[0].0.0[..4].copy_from_slice(&size.to_be_bytes());
        for (head, log, mut at, mut length) in parts {
            stream.write_all(&head.0)?;
            while length > 0 {
                let sent = rustix::fs::sendfile(&*stream, &log.file, Some(&mut at), length as usize)?;
                length -= sent as u64;
            }
        }
        Ok(())
    }

    fn log(&self, topic: &str, partition: i32) -> Outcome<Arc<Log>> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(&(topic.to_owned(), partition)) {
            return Ok(Arc::clone(log));
        }
        let path = self.directory.join(format!("{topic}-{partition}"));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let log = Arc::new(Log { file, state: Mutex::default(), grown: Condvar::new() });
        logs.insert((topic.to_owned(), partition), Arc::clone(&log));
        Ok(log)
    }
}

impl Log {
    /// The position and length of whole batches, from the one with `offset` on, and the log's end.
    fn find(&self, offset: i64, most: u64, until: Instant) -> Outcome<(u64, u64, i64)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while offset >= state.next && Instant::now() < until {
            let wait = until.saturating_duration_since(Instant::now());
            state = self.grown.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        if offset >= state.next {
            return Ok((0, 0, state.next));
        }
        let first = state.batches.partition_point(|batch| batch.base <= offset) - 1;
        let start = state.batches[first].start;
        let fit = state.batches.partition_point(|batch| batch.end <= start + most);
        let end = state.batches[fit.max(first + 1) - 1].end;
        Ok((start, end - start, state.next))
    }
}

/// Reads the topics and partitions of a request and writes them to the answer. `one` handles the fields of each.
fn each_partition(
    request: &mut Reader<'_>,
    answer: &mut Writer,
    mut one: impl FnMut(&str, i32, &mut Reader<'_>, &mut Writer) -> Outcome<()>,
) -> Outcome<()> {
    let topics = request.i32()?;
    answer.i32(topics);
    for _ in 0..topics {
        let topic = request.string()?;
        let partitions = request.i32()?;
        answer.string(&topic).i32(partitions);
        for _ in 0..partitions {
            one(&topic, request.i32()?, request, answer)?;
        }
    }
    Ok(())
}

/// The first whole request in `bytes`, without its length.
fn frame_in(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(4..4 + length)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Outcome<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn i32(&mut self) -> Outcome<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i64(&mut self) -> Outcome<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    /// Null is read as an empty string.
    fn string(&mut self) -> Outcome<String> {
        let length = self.i16()?.max(0);
        Ok(String::from_utf8_lossy(self.take(length as usize)?).into_owned())
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i16(&mut self, value: i16) -> &mut Writer {
        self.bytes(&value.to_be_bytes())
    }

    fn i32(&mut self, value: i32) -> &mut Writer {
        self.bytes(&value.to_be_bytes())
    }

    fn i64(&mut self, value: i64) -> &mut Writer {
        self.bytes(&value.to_be_bytes())
    }

    fn string(&mut self, text: &str) -> &mut Writer {
        self.i16(text.len() as i16).bytes(text.as_bytes())
    }

    /// The bytes, with their length in the first four of them.
    fn framed(mut self) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}
