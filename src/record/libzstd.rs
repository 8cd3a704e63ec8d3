//! The zstd frames that the C library decompresses, in half the time of `ruzstd`: those with a window of
//! at most 2 MiB, which are all frames of levels up to 8 and all small batches. `ruzstd` reads larger
//! ones, with limited and counted memory. Without the feature `libzstd` it reads all of them.

pub(super) use frame::Frame;

/// The largest window of a frame that is decompressed here, as a logarithm.
#[cfg(feature = "libzstd")]
const WINDOW_LOG: u32 = 21;

#[cfg(feature = "libzstd")]
mod frame {
    use std::cell::Cell;
    use std::io;

    use bytes::{Buf, Bytes};
    use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

    use super::WINDOW_LOG;
    use crate::record::decompress::{SINGLE_SEGMENT, ZSTD_MAGIC, broken};

    thread_local! {
        /// A decoder that has reached the end of a frame. It is reused, because its memory is expensive
        /// to allocate.
        static SPARE: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
    }

    /// A frame that is being read. The library verifies its checksum, if it has one.
    pub(in crate::record) struct Frame {
        packed: Bytes,
        decoder: DCtx<'static>,
        is_whole: bool,
    }

    impl Frame {
        /// Takes `packed` if it begins with a frame that is decompressed here.
        pub(in crate::record) fn begin(packed: &mut Bytes) -> Option<Frame> {
            if !is_small(packed) {
                return None;
            }
            let decoder = SPARE.take().or_else(new_decoder)?;
            Some(Frame { packed: std::mem::take(packed), decoder, is_whole: false })
        }

        /// Reads the next bytes of the frame; 0 at its end.
        pub(in crate::record) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            while !self.is_whole && !out.is_empty() {
                let mut from = InBuffer::around(&self.packed);
                let mut to = OutBuffer::around(&mut *out);
                let left = self.decoder.decompress_stream(&mut to, &mut from).map_err(error)?;
                let (taken, given) = (from.pos(), to.pos());
                self.packed.advance(taken);
                self.is_whole = left == 0;
                if given > 0 {
                    return Ok(given);
                }
                if taken == 0 && !self.is_whole {
                    return Err(broken("a zstd frame is cut short"));
                }
            }
            Ok(0)
        }

        /// The bytes after the frame, once it has been read.
        pub(in crate::record) fn end(mut self) -> Bytes {
            if self.decoder.reset(ResetDirective::SessionOnly).is_ok() {
                SPARE.set(Some(self.decoder));
            }
            self.packed
        }
    }

    fn new_decoder() -> Option<DCtx<'static>> {
        let mut decoder = DCtx::try_create()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).ok()?;
        Some(decoder)
    }

    fn is_small(packed: &[u8]) -> bool {
        match packed {
            [a, b, c, d, descriptor, window, ..] if u32::from_le_bytes([*a, *b, *c, *d]) == ZSTD_MAGIC => {
                if descriptor & SINGLE_SEGMENT == 0 {
                    // The exponent is in the five upper bits, and ten is added to it.
                    return u32::from(*window) <= WINDOW_LOG.saturating_sub(10) << 3;
                }
                let size = zstd_safe::get_frame_content_size(packed);
                size.is_ok_and(|size| size.is_some_and(|size| size <= 1 << WINDOW_LOG))
            }
            _ => false,
        }
    }

    fn error(code: usize) -> io::Error {
        broken(zstd_safe::get_error_name(code))
    }
}

#[cfg(not(feature = "libzstd"))]
mod frame {
    use std::io;

    use bytes::Bytes;

    /// There are no such frames without the feature.
    pub(in crate::record) enum Frame {}

    impl Frame {
        pub(in crate::record) fn begin(_: &mut Bytes) -> Option<Frame> {
            None
        }

        pub(in crate::record) fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            match *self {}
        }

        pub(in crate::record) fn end(self) -> Bytes {
            match self {}
        }
    }
}
