//! From batch to batch through a segment file, whatever its owner knows of it: for tools.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::super::fs::{Fs, Open};
use crate::record::Header;

/// Where a walk ended, and why there where it was not at the end of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    pub at: u64,
    pub len: u64,
    pub why: Option<String>,
}

/// Shows `visit` the place, the header and the bytes of every batch, checksum right or not, until
/// something is none or `visit` fails.
pub fn walk(
    fs: &dyn Fs,
    path: &Path,
    mut visit: impl FnMut(u64, &Header, &Bytes) -> io::Result<()>,
) -> io::Result<End> {
    let file = fs.open(path, Open::Read)?;
    let len = file.len()?;
    let mut at = 0;
    let mut head = [0; Header::LENGTH];
    let why = loop {
        if at == len {
            break None;
        }
        if file.read_at(&mut head, at)? < head.len() {
            break Some("too short for a batch".to_owned());
        }
        let header = match Header::parse(&head) {
            Ok(header) => header,
            Err(error) => break Some(error.to_string()),
        };
        let size = header.size() as u64;
        if size > len - at {
            break Some(format!("a batch of {size} bytes, of which {} are there", len - at));
        }
        let mut batch = vec![0; header.size()];
        if file.read_at(&mut batch, at)? < batch.len() {
            break Some("the file got shorter".to_owned());
        }
        visit(at, &header, &Bytes::from(batch))?;
        at += size;
    };
    Ok(End { at, len, why })
}
