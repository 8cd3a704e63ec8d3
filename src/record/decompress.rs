//! Opens compressed records, bounded: whatever the bytes claim, opening a batch holds little more than one record
//! and the codec's window, and ends at a ceiling.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

use super::Codec;

/// More than this no batch becomes when opened, unless it was that large before: see [`ceiling`].
const LARGEST: usize = 64 << 20;

/// Up to here the ratio does not matter: a few repeated lines compress beyond all measure.
const UNSUSPICIOUS: usize = 16 << 20;

/// The most that gzip reaches; zstd reaches more on constant bytes only.
const RATIO: usize = 1024;

/// How many times its compressed size a batch may always have.
const EXPANSION: usize = 32;

/// A zstd window is memory. Frames that name a larger one are read as long as they reach no further
/// back than this: the higher levels name one of 128 MiB for a batch of any size.
const LARGEST_WINDOW: u64 = 1 << 25;

/// What `packed` compressed bytes may become.
fn ceiling(packed: usize) -> usize {
    let plausible = packed.saturating_mul(RATIO).clamp(UNSUSPICIOUS, LARGEST);
    plausible.max(packed.saturating_mul(EXPANSION))
}

/// How many records can be compressed in `packed` bytes: none is smaller than seven.
pub(super) fn most_records(packed: usize) -> usize {
    ceiling(packed) / 7
}

/// Whether compressed records begin as their codec begins.
pub(super) fn may_be(codec: Codec, packed: &[u8]) -> bool {
    let magic = || packed.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    match codec {
        Codec::None => true,
        Codec::Gzip => packed.starts_with(GZIP_MAGIC),
        Codec::Snappy => packed.starts_with(XERIAL_MAGIC) || is_plausible_snappy(packed),
        Codec::Lz4 => magic().is_some_and(|magic| LZ4_MAGICS.contains(&magic)),
        Codec::Zstd => magic().is_some_and(|magic| magic == ZSTD_MAGIC || ZSTD_SKIPPABLE.contains(&magic)),
    }
}

/// A reader of the records that are compressed in `packed`.
pub(super) fn open(codec: Codec, packed: Bytes) -> Box<dyn Read + Send> {
    let left = ceiling(packed.len());
    let inner: Box<dyn Read + Send> = match codec {
        Codec::None => Box::new(packed.reader()),
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed.reader())),
        Codec::Snappy => Box::new(Snappy::new(packed)),
        Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed.reader())),
        Codec::Zstd => Box::new(Zstd { packed, frame: None }),
    };
    Box::new(Bounded { inner, left })
}

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Frames as they are today, and as they were before 2014.
const LZ4_MAGICS: [u32; 2] = [0x184D_2204, 0x184C_2102];

/// Ends with an error where more comes out than may.
struct Bounded {
    inner: Box<dyn Read + Send>,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.left =
            self.left.checked_sub(read).ok_or_else(|| broken("more comes out than a batch may hold"))?;
        Ok(read)
    }
}

/// What Java's snappy streams begin with: eight bytes of magic, two version numbers. librdkafka
/// and others send one raw block instead.
pub(super) const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// No snappy element makes more than 64 bytes out of 3.
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

/// Whether a raw block claims no more than it could become.
fn is_plausible_snappy(block: &[u8]) -> bool {
    let most = block.len().saturating_mul(SNAPPY_EXPANSION);
    snap::raw::decompress_len(block).is_ok_and(|claimed| claimed <= most)
}

const ZSTD_MAGIC: u32 = 0xFD2F_B528;
const ZSTD_SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184D_2A50..=0x184D_2A5F;

/// The window descriptor of [`LARGEST_WINDOW`]: exponent 15 (10 is added), mantissa 0.
const LARGEST_WINDOW_DESCRIPTOR: u8 = 15 << 3;

type ZstdFrame = ruzstd::decoding::StreamingDecoder<
    bytes::buf::Reader<bytes::buf::Chain<Bytes, Bytes>>,
    ruzstd::decoding::FrameDecoder,
>;

/// Reads frame after frame. The decoder takes one at a time, and wants a window it will accept.
struct Zstd {
    packed: Bytes,
    frame: Option<Box<ZstdFrame>>,
}

impl Zstd {
    /// Opens the next frame; false at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        if let Some(finished) = self.frame.take() {
            let (_, rest) = finished.into_inner().into_inner().into_inner();
            self.packed = rest;
        }
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
            let mut packed = std::mem::take(&mut self.packed);
            let start = packed.split_to(packed.len().min(6));
            let source = Buf::chain(with_bounded_window(magic, start), packed).reader();
            let frame =
                ZstdFrame::new_with_max_window_size(source, LARGEST_WINDOW).map_err(io::Error::other)?;
            self.frame = Some(Box::new(frame));
            return Ok(true);
        }
        if self.packed.is_empty() { Ok(false) } else { Err(broken("bytes after the last zstd frame")) }
    }
}

impl Read for Zstd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let read = frame.read(out)?;
                if read > 0 || out.is_empty() {
                    return Ok(read);
                }
            }
            if !self.next_frame()? {
                return Ok(0);
            }
        }
    }
}

/// The start of a frame (magic, descriptor, window) with the window lowered to the largest allowed.
/// A window says how far back matches may reach; one that does is refused later by the decoder.
fn with_bounded_window(magic: u32, start: Bytes) -> Bytes {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    match *start {
        [a, b, c, d, descriptor, window] if magic == ZSTD_MAGIC && descriptor & SINGLE_SEGMENT == 0 => {
            vec![a, b, c, d, descriptor, window.min(LARGEST_WINDOW_DESCRIPTOR)].into()
        }
        _ => start,
    }
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
