//! Compresses the records of a batch that is built here, as a client would.

use std::io::Write;

use super::Codec;
use super::decompress::XERIAL_MAGIC;

pub(super) fn pack(codec: Codec, records: &[u8]) -> Vec<u8> {
    match codec {
        Codec::None => records.to_vec(),
        Codec::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(records).and_then(|()| out.finish()).expect("a vector takes every byte")
        }
        Codec::Snappy => pack_snappy(records),
        Codec::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(records).expect("a vector takes every byte");
            out.finish().expect("a vector takes every byte")
        }
        Codec::Zstd => {
            ruzstd::encoding::compress_to_vec(records, ruzstd::encoding::CompressionLevel::Fastest)
        }
    }
}

/// The size of the blocks that Java's snappy makes.
const XERIAL_BLOCK: usize = 32 << 10;

fn pack_snappy(records: &[u8]) -> Vec<u8> {
    let mut out = XERIAL_MAGIC.to_vec();
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    for block in records.chunks(XERIAL_BLOCK) {
        let packed = snap::raw::Encoder::new().compress_vec(block).expect("a block is within snappy's limit");
        let length = i32::try_from(packed.len()).expect("a block is small");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    out
}
