//! What a sync costs on this disk this minute: the median of 500 syncs of 4 KiB, in microseconds,
//! into blocks that were written before, as the journal does it. `fdatasync FILE`

#![expect(clippy::disallowed_methods, reason = "a stopwatch")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).expect("the file to write");
    let file = File::create(&path)?;
    let block = [7u8; 4096];
    for at in 0..500 {
        file.write_all_at(&block, at * 4096)?;
    }
    file.sync_all()?;
    let mut micros = Vec::new();
    for at in 0..500 {
        let begun = Instant::now();
        file.write_all_at(&block, at * 4096)?;
        file.sync_data()?;
        micros.push(begun.elapsed().as_micros());
    }
    micros.sort_unstable();
    println!("{}", micros[250]);
    std::fs::remove_file(path)
}
