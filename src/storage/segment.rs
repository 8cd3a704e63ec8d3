//! Segment files. (Face that the partition store is written against; the disk room fills it in.)
//!
//! ```text
//! pub struct Segment;                        // shared by the committer (appends) and readers (&self)
//! Segment::new(files: &Arc<Files>, dir: PathBuf, base: Offset, index_interval: u32) -> Segment      // fresh; no file before the first append,
//!                                            // which makes the partition's directory and its partition.metadata (topic id) where missing
//! Segment::existing(files, dir, base, bytes: u64, max_timestamp: Timestamp, index_interval) -> Segment   // as the kernel's state describes it; opens nothing
//! segment.base() -> Offset;  segment.size() -> u64 (appended);  segment.max_timestamp() -> Timestamp
//! segment.append(&[Bytes], at: u64, headers: what the index needs: (base offset, bytes, max timestamp) per batch) -> io::Result<()>
//! segment.sync() -> io::Result<()>;  segment.seal()      // writes .idx
//! segment.read(from: Offset, end: Offset, max_bytes: usize, at_least_one: bool, may_wait: bool) -> Result<Vec<Bytes>, ReadError>
//!                                            // whole batches, the first holds `from`, all below `end`; CRC of each checked; may_wait=false: only page cache, else MustWait
//! segment.find_by_time(t, start: Offset, end: Offset) -> Result<Option<TimedOffset>, ReadError>     // first record in [start, end) with timestamp ≥ t
//! segment.find_max_timestamp(start, end) -> Result<Option<TimedOffset>, ReadError>
//! pub struct TimedOffset { pub offset: Offset, pub timestamp: Timestamp }
//! pub enum ReadError { MustWait, Gone, Io(String), Damaged(String) }
//! Files::new(fs: Arc<dyn Fs>, most_open: usize); files.forget(dir) when a directory is moved away
//! ```
