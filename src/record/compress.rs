//! Compresses the records of a batch that is built here, as a client would, or stored with another codec.

use std::io::{self, Read, Write};

use super::Codec;
use super::decompress::XERIAL_MAGIC;

/// All that `records` has to read, compressed. Never holds it as a whole.
pub(super) fn pack(codec: Codec, mut records: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    match codec {
        Codec::None => drop(records.read_to_end(&mut out)?),
        Codec::Gzip => {
            let mut packer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
            io::copy(&mut records, &mut packer)?;
            packer.finish()?;
        }
        Codec::Snappy => pack_snappy(records, &mut out)?,
        Codec::Lz4 => {
            let mut packer = lz4_flex::frame::FrameEncoder::new(&mut out);
            io::copy(&mut records, &mut packer)?;
            packer.finish()?;
        }
        Codec::Zstd => {
            ruzstd::encoding::compress(records, &mut out, ruzstd::encoding::CompressionLevel::Fastest);
        }
    }
    Ok(out)
}

/// The size of the blocks that Java's snappy makes.
const XERIAL_BLOCK: usize = 32 << 10;

fn pack_snappy(mut records: impl Read, out: &mut Vec<u8>) -> io::Result<()> {
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
