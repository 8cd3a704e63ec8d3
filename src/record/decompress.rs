//! Decompresses records as a stream: a batch is never held as a whole. The cost is limited, whatever the
//! bytes claim:
//!
//! | limit | of | reason |
//! |---|---|---|
//! | [`MOST`] | the decompressed size of a batch | time: a kilobyte of zstd can become 32 MB |
//! | [`LARGEST_WINDOW`] | the distance of matches in zstd; above 2 MiB one batch at a time per process | memory |
//! | [`STREAM`] for each stream, if the size is limited to less than that | time: each one needs a new decoder |
//! | a snappy or lz4 block | 22 times its compressed size, 4 MiB | memory |
//!
//! The end of a stream is handled as in Kafka. Further members of gzip, streams of snappy and frames of
//! zstd are read. Bytes after a gzip member that do not begin another one are ignored, and so are all
//! bytes after an lz4 frame.

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::{Condvar, Mutex};

use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Codec;
use super::libzstd::Frame;
use crate::types::IgnorePoison;

/// The maximum size of a decompressed batch. It is the largest `max.decompressed.message.bytes`, which
/// Kafka allows for each single record.
pub(super) const MOST: u64 = i32::MAX as u64 - 8;

/// The maximum zstd window, because a window takes memory. Frames that declare a larger one are read as
/// long as their matches stay within this: high levels declare one of 128 MiB for batches of any size.
const LARGEST_WINDOW: u64 = 1 << 25;

/// The largest zstd window that Kafka's consumers accept, 128 MiB, as its descriptor.
const LARGEST_OF_KAFKA: u8 = 17 << 3;

/// The streams that are accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// All that can be decompressed here, for stored batches.
    Any,
    /// Those that Kafka can decompress, too: no lz4 frame with linked blocks, and no zstd frame that declares a window of
    /// more than 128 MiB.
    OfKafka,
}

/// A reader of the records that are compressed in `packed`. Fails with [`io::ErrorKind::FileTooLarge`] if
/// they have more than `most` bytes.
pub(super) fn open(codec: Codec, packed: Bytes, most: u64, dialect: Dialect) -> Box<dyn Read + Send> {
    let inner: Box<dyn Read + Send> = match codec {
        Codec::None => Box::new(packed.reader()),
        Codec::Gzip => Box::new(Gzip::new(packed, most)),
        Codec::Snappy => Box::new(Snappy::new(packed)),
        Codec::Lz4 => Box::new(Lz4::new(&packed, dialect)),
        Codec::Zstd => Box::new(Zstd::new(packed, most, dialect)),
    };
    Box::new(Bounded { inner, left: most })
}

/// Fails when more than the allowed number of bytes has been read.
struct Bounded {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_much)?;
        Ok(read)
    }
}

fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "more comes out than a batch may hold")
}

/// The begin of a member of gzip or of a frame of zstd takes about as long as decompressing this many bytes.
const STREAM: u64 = 4 << 10;

/// The maximum number of members or frames if at most `most` bytes are allowed. Without such a limit it does not matter.
fn streams(most: u64) -> u64 {
    if most < MOST { most.saturating_div(STREAM).saturating_add(1) } else { u64::MAX }
}

/// So few bytes after a member cannot be another one, and Java ignores them.
const GZIP_REST: usize = 18;

struct Gzip {
    member: Option<GzDecoder<bytes::buf::Reader<Bytes>>>,
    members_left: u64,
}

impl Gzip {
    fn new(packed: Bytes, most: u64) -> Gzip {
        Gzip { member: Some(GzDecoder::new(packed.reader())), members_left: streams(most) }
    }
}

impl Read for Gzip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            let rest = self.member.take().map(|member| member.into_inner().into_inner()).unwrap_or_default();
            if rest.len() > GZIP_REST {
                self.members_left = self.members_left.checked_sub(1).ok_or_else(too_much)?;
                self.member = Some(GzDecoder::new(rest.reader())).filter(|next| next.header().is_some());
            }
        }
        Ok(0)
    }
}

struct Lz4 {
    /// The frame, or the reason why it is not read.
    frame: Result<lz4_flex::frame::FrameDecoder<bytes::buf::Reader<Bytes>>, &'static str>,
}

impl Lz4 {
    fn new(packed: &Bytes, dialect: Dialect) -> Lz4 {
        let frame = match first_lz4_frame(packed) {
            None => Err("the lz4 frame is cut short, or is none"),
            Some(_) if dialect == Dialect::OfKafka && has_linked_blocks(packed) => {
                Err("the blocks of the lz4 frame are linked, which Kafka's consumers cannot read")
            }
            Some(length) => {
                let frame = packed.slice(..length.min(packed.len())).reader();
                Ok(lz4_flex::frame::FrameDecoder::new(frame))
            }
        };
        Lz4 { frame }
    }
}

impl Read for Lz4 {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.frame.as_mut().map_err(|why| broken(why))?.read(out)
    }
}

/// Whether the blocks of an lz4 frame may refer to earlier ones.
fn has_linked_blocks(frame: &[u8]) -> bool {
    const INDEPENDENT_BLOCKS: u8 = 0x20;
    frame.get(4).is_some_and(|flags| flags & INDEPENDENT_BLOCKS == 0)
}

/// The length of the lz4 frame at the start of `packed`, from the lengths of its blocks; `None` if it is
/// incomplete. The decoder would accept a frame without its end.
fn first_lz4_frame(packed: &[u8]) -> Option<usize> {
    const MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();
    const BLOCK_CHECKSUMS: u8 = 0x10;
    const CONTENT_SIZE: u8 = 0x08;
    const CONTENT_CHECKSUM: u8 = 0x04;
    const DICTIONARY: u8 = 0x01;
    let mut rest = packed.strip_prefix(&MAGIC)?;
    let (flags, _) = rest.split_first()?;
    let has = |flag| usize::from(flags & flag != 0);
    let after_flags = has(CONTENT_SIZE).saturating_mul(8).saturating_add(has(DICTIONARY).saturating_mul(4));
    rest = rest.get(after_flags.saturating_add(3)..)?;
    loop {
        let (length, blocks) = rest.split_first_chunk()?;
        // The highest bit means that the block is not compressed.
        let length = usize::try_from(u32::from_le_bytes(*length) & 0x7fff_ffff).ok()?;
        if u32::from_le_bytes(*rest.first_chunk()?) == 0 {
            rest = blocks.get(has(CONTENT_CHECKSUM).saturating_mul(4)..)?;
            return packed.len().checked_sub(rest.len());
        }
        rest = blocks.get(length.saturating_add(has(BLOCK_CHECKSUMS).saturating_mul(4))..)?;
    }
}

/// The start of Java's snappy streams: eight bytes of magic, then two version numbers. librdkafka and
/// others send one raw block instead.
pub(super) const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// A snappy element makes at most 64 bytes out of 3.
const SNAPPY_EXPANSION: usize = 22;

struct Snappy {
    packed: Bytes,
    framed: bool,
    opened: Bytes,
}

impl Snappy {
    fn new(mut packed: Bytes) -> Snappy {
        let framed = packed.starts_with(XERIAL_MAGIC);
        if framed {
            packed.advance(XERIAL_HEADER.min(packed.len()));
        }
        Snappy { packed, framed, opened: Bytes::new() }
    }

    fn next_block(&mut self) -> io::Result<Bytes> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.packed));
        }
        // A second stream may follow the first, as Java's reader allows.
        if self.packed.starts_with(XERIAL_MAGIC) {
            self.packed.advance(XERIAL_HEADER.min(self.packed.len()));
        }
        let length = self.packed.try_get_i32().map_err(|_| broken("a snappy block without its length"))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.packed.len() {
            return Err(broken("a snappy block is cut short"));
        }
        Ok(self.packed.split_to(length))
    }
}

impl Read for Snappy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.opened.is_empty() && !self.packed.is_empty() {
            let block = self.next_block()?;
            if !is_plausible_snappy(&block) {
                return Err(broken("a snappy block claims more than it can hold"));
            }
            self.opened = snap::raw::Decoder::new().decompress_vec(&block).map_err(io::Error::other)?.into();
        }
        let taken = out.len().min(self.opened.len());
        self.opened.split_to(taken).copy_to_slice(out.get_mut(..taken).unwrap_or_default());
        Ok(taken)
    }
}

/// Whether the claimed size of a raw block is possible.
fn is_plausible_snappy(block: &[u8]) -> bool {
    let most = block.len().saturating_mul(SNAPPY_EXPANSION);
    snap::raw::decompress_len(block).is_ok_and(|claimed| claimed <= most)
}

pub(super) const ZSTD_MAGIC: u32 = 0xFD2F_B528;

/// The maximum decompressed size of a block.
const ZSTD_BLOCK: u64 = 128 << 10;
const ZSTD_SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// The window descriptor of [`LARGEST_WINDOW`]: exponent 15 (10 is added), mantissa 0.
const LARGEST_WINDOW_DESCRIPTOR: u8 = 15 << 3;

/// The maximum number of blocks to decompress if at most `most` bytes are allowed. Without such a limit
/// it does not matter: only one window is decompressed ahead.
fn zstd_blocks(most: u64) -> u64 {
    if most < MOST { most.saturating_div(ZSTD_BLOCK) } else { u64::MAX }
}

/// A frame with this bit in its descriptor has no window size: the window is as large as the content.
pub(super) const SINGLE_SEGMENT: u8 = 1 << 5;

type ZstdSource = bytes::buf::Reader<bytes::buf::Chain<Bytes, Bytes>>;

/// Reads one frame after another. The decoder handles one frame at a time, with an acceptable window.
struct Zstd {
    packed: Bytes,
    /// A frame for the C library; `frame` is `None` in the meantime.
    small: Option<Frame>,
    frame: Option<(ZstdSource, Box<FrameDecoder>)>,
    may_be_large: bool,
    /// A frame produces no output before its window is full, but decompressing up to there takes time
    /// too.
    blocks_left: u64,
    frames_left: u64,
    dialect: Dialect,
    /// Held while the frame takes much memory. It is the last field, so that it is released last.
    alone: Option<Alone>,
}

impl Zstd {
    fn new(packed: Bytes, most: u64, dialect: Dialect) -> Zstd {
        Zstd {
            packed,
            small: None,
            frame: None,
            may_be_large: false,
            blocks_left: zstd_blocks(most),
            frames_left: streams(most),
            dialect,
            alone: None,
        }
    }

    /// Opens the next frame. Returns `false` at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while let Some(magic) = self.packed.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
            if ZSTD_SKIPPABLE.contains(&magic) {
                self.packed.advance(4);
                let length = self.packed.try_get_u32_le().map_err(|_| broken("a zstd frame is cut short"))?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > self.packed.len() {
                    return Err(broken("a zstd frame is cut short"));
                }
                self.packed.advance(length);
                continue;
            }
            self.frames_left = self.frames_left.checked_sub(1).ok_or_else(too_much)?;
            self.small = Frame::begin(&mut self.packed);
            if self.small.is_some() {
                return Ok(true);
            }
            let mut packed = std::mem::take(&mut self.packed);
            let start = packed.split_to(packed.len().min(6));
            if self.dialect == Dialect::OfKafka && declared_window(&start) > Some(LARGEST_OF_KAFKA) {
                return Err(broken("the zstd window is above 128 MiB, which Kafka's consumers cannot read"));
            }
            let start = with_bounded_window(magic, start);
            let mut decoder = if names_small_window(&start) {
                SPARE.with(Cell::take).unwrap_or_else(new_decoder)
            } else {
                new_decoder()
            };
            self.may_be_large = !names_small_window(&start);
            let mut source = Buf::chain(start, packed).reader();
            decoder.init(&mut source).map_err(io::Error::other)?;
            self.frame = Some((source, decoder));
            return Ok(true);
        }
        if self.packed.is_empty() { Ok(false) } else { Err(broken("bytes after the last zstd frame")) }
    }

    /// Reads the next bytes of the frame; 0 at its end.
    fn read_frame(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(small) = &mut self.small {
            return small.read(out);
        }
        let Some((source, decoder)) = &mut self.frame else { return Ok(0) };
        while decoder.can_collect() == 0 && !decoder.is_finished() {
            self.blocks_left = self.blocks_left.checked_sub(1).ok_or_else(too_much)?;
            if self.may_be_large && self.alone.is_none() && decoder.blocks_decoded() >= SPARE_BLOCKS {
                self.alone = Some(Alone::when_possible());
            }
            decoder
                .decode_blocks(&mut *source, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(io::Error::other)?;
        }
        decoder.read(out)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        if let Some(small) = self.small.take() {
            self.packed = small.end();
        }
        let Some((source, decoder)) = self.frame.take() else { return Ok(()) };
        let (_, rest) = source.into_inner().into_inner();
        self.packed = rest;
        match decoder.get_checksum_from_data() {
            Some(named) if decoder.get_calculated_checksum() != Some(named) => {
                Err(broken("the checksum of a zstd frame is wrong"))
            }
            _ => {
                keep_spare(decoder);
                Ok(())
            }
        }
    }
}

thread_local! {
    /// A decoder that has reached the end of a frame. It is reused, because allocating and touching its
    /// tables and its window for every batch takes as long as decompressing it.
    static SPARE: Cell<Option<Box<FrameDecoder>>> = const { Cell::new(None) };
}

/// Decoders with a larger window than 2 MiB are not kept. This is the window of level 3, in blocks of 128
/// KiB and as its descriptor. A reused decoder allocates the whole window that a frame declares.
const SPARE_BLOCKS: usize = 16;
const SPARE_WINDOW_DESCRIPTOR: u8 = 11 << 3;

fn names_small_window(start: &[u8]) -> bool {
    declared_window(start).is_some_and(|window| window <= SPARE_WINDOW_DESCRIPTOR)
}

/// The window descriptor at the start of a frame; `None` if the window is as large as the content.
fn declared_window(start: &[u8]) -> Option<u8> {
    match start {
        [_, _, _, _, descriptor, window] if descriptor & SINGLE_SEGMENT == 0 => Some(*window),
        _ => None,
    }
}

fn new_decoder() -> Box<FrameDecoder> {
    let mut decoder = Box::new(FrameDecoder::new());
    decoder.set_max_window_size(LARGEST_WINDOW);
    decoder
}

/// Only one frame with a larger window than a spare decoder's is open at a time in the whole process;
/// others wait. Therefore threads that serve requests do not open such batches (`QUICK` in
/// `api/produce.rs`), and no code opens two batches at once.
struct Alone;

static IS_TAKEN: Mutex<bool> = Mutex::new(false);
static IS_FREE: Condvar = Condvar::new();

impl Alone {
    fn when_possible() -> Alone {
        let mut is_taken = IS_TAKEN.lock().ignoring_poison();
        while *is_taken {
            is_taken = IS_FREE.wait(is_taken).ignoring_poison();
        }
        *is_taken = true;
        Alone
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        *IS_TAKEN.lock().ignoring_poison() = false;
        IS_FREE.notify_one();
    }
}

fn keep_spare(decoder: Box<FrameDecoder>) {
    if decoder.blocks_decoded() <= SPARE_BLOCKS {
        SPARE.with(|spare| spare.set(Some(decoder)));
    }
}

impl Read for Zstd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.read_frame(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            self.end_frame()?;
            self.alone = None;
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

/// The start of a frame (magic, descriptor, window) with the window reduced to the maximum. The window is
/// the maximum distance of matches; the decoder later refuses a match beyond it.
fn with_bounded_window(magic: u32, start: Bytes) -> Bytes {
    match *start {
        [a, b, c, d, descriptor, window] if magic == ZSTD_MAGIC && descriptor & SINGLE_SEGMENT == 0 => {
            vec![a, b, c, d, descriptor, window.min(LARGEST_WINDOW_DESCRIPTOR)].into()
        }
        _ => start,
    }
}

pub(super) fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
