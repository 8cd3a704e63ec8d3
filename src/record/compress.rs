//! Compresses the records of a batch that is built here, as by a client, or stored with another codec.

use std::cell::Cell;
use std::io::{self, Read, Write};

use super::Codec;
use super::decompress::XERIAL_MAGIC;

/// Compresses all of `records`; `None` if the result has more than `most` bytes. Never holds all records
/// in memory.
pub(super) fn pack(codec: Codec, records: impl Read, most: usize) -> io::Result<Option<Vec<u8>>> {
    let is_full = Cell::new(false);
    let mut records = Input { records, is_full: &is_full, failed: None };
    let mut out = Output { packed: Vec::new(), most, is_full: &is_full };
    match codec {
        Codec::None => drop(io::copy(&mut records, &mut out)?),
        Codec::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            io::copy(&mut records, &mut packer)?;
            packer.finish()?;
        }
        Codec::Snappy => pack_snappy(&mut records, &mut out)?,
        Codec::Lz4 => {
            let mut packer = lz4_flex::frame::FrameEncoder::new(&mut out);
            io::copy(&mut records, &mut packer)?;
            packer.finish()?;
        }
        Codec::Zstd => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress(&mut records, &mut out, level);
        }
    }
    match records.failed {
        Some(error) => Err(error),
        None => Ok((!is_full.get()).then_some(out.packed)),
    }
}

/// Ends when the output is full or reading fails, because not every encoder can be stopped with an error.
struct Input<'a, R> {
    records: R,
    is_full: &'a Cell<bool>,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Input<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.is_full.get() || self.failed.is_some() {
            return Ok(0);
        }
        self.records.read(out).or_else(|error| {
            self.failed = Some(error);
            Ok(0)
        })
    }
}

struct Output<'a> {
    packed: Vec<u8>,
    most: usize,
    is_full: &'a Cell<bool>,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_full = self.is_full.get() || self.packed.len().saturating_add(bytes.len()) > self.most;
        self.is_full.set(is_full);
        if !is_full {
            self.packed.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The block size of Java's snappy.
const XERIAL_BLOCK: usize = 32 << 10;

fn pack_snappy(mut records: impl Read, mut out: impl Write) -> io::Result<()> {
    out.write_all(XERIAL_MAGIC)?;
    out.write_all(&1i32.to_be_bytes())?;
    out.write_all(&1i32.to_be_bytes())?;
    let mut block = Vec::with_capacity(XERIAL_BLOCK);
    while records.by_ref().take(XERIAL_BLOCK as u64).read_to_end(&mut block)? > 0 {
        let packed = snap::raw::Encoder::new().compress_vec(&block).map_err(io::Error::other)?;
        out.write_all(&i32::try_from(packed.len()).map_err(io::Error::other)?.to_be_bytes())?;
        out.write_all(&packed)?;
        block.clear();
    }
    Ok(())
}
