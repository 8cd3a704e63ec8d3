//! Files of the data directory that are not needed any more: they are removed, or left while they cannot be removed or a
//! backup holds them.

use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::super::hold::{self, HeldFiles, Permission, Watch};
use super::super::segment::Segment;
use super::super::snapshot;
use super::Directory;
use crate::time;
use crate::types::IgnorePoison;

#[derive(Default)]
pub(super) struct Leftovers {
    segments: Vec<Arc<Segment>>,
    /// Directories wait in the trash.
    in_trash: bool,
    /// Snapshots that are not needed any more wait.
    snapshots: bool,
    /// It was logged that they wait for a backup.
    is_noted: bool,
    /// Taking them away from the backup failed halfway; it is tried again.
    is_half_taken: bool,
    watch: Watch,
}

/// The right of a thread to remove files of one kind.
struct Removal<'a> {
    _permission: Permission,
    _alone: MutexGuard<'a, ()>,
}

impl Directory {
    /// `None` while a backup holds them.
    fn may_remove(&self, kept: HeldFiles) -> Option<Removal<'_>> {
        let alone = self.removing.lock().ignoring_poison();
        let permission = hold::may_remove(&*self.fs, &self.root, kept)?;
        Some(Removal { _permission: permission, _alone: alone })
    }

    /// Removes old snapshots. Returns the position of the oldest one that stays, as [`snapshot::trim`], and 0 while a
    /// backup holds them. Then they wait for [`Directory::remove_left`].
    pub(in super::super) fn trim_snapshots(&self) -> io::Result<u64> {
        let Some(_removal) = self.may_remove(HeldFiles::Journal) else {
            let mut left = self.left();
            left.snapshots = true;
            left.note_hold();
            return Ok(0);
        };
        let trimmed = snapshot::trim(&*self.fs, &self.snapshots());
        self.left().snapshots = trimmed.is_err();
        trimmed
    }

    /// Removes the files of segments. Files that cannot be removed, or that a backup holds, are kept for
    /// [`Directory::remove_left`].
    pub(in super::super) fn remove(&self, segments: Vec<Arc<Segment>>) {
        let Some(_removal) = self.may_remove(HeldFiles::Topics) else {
            let mut left = self.left();
            left.segments.extend(segments);
            return left.note_hold();
        };
        self.left().is_noted = false;
        for segment in segments {
            if let Err(error) = segment.remove() {
                tracing::warn!(file = %segment.path().display(), %error, "cannot remove a segment; it is tried again");
                self.left().segments.push(segment);
            }
        }
    }

    pub(in super::super) fn empty_trash(&self) {
        let Some(_removal) = self.may_remove(HeldFiles::Topics) else {
            let mut left = self.left();
            left.in_trash = true;
            return left.note_hold();
        };
        let emptied = self.trash.empty();
        self.left().in_trash = emptied.is_err();
        if let Err(error) = emptied {
            tracing::warn!(%error, "cannot empty the trash; it is tried again");
        }
    }

    /// Whether there are files that could not be removed.
    pub(in super::super) fn has_left(&self) -> bool {
        let left = self.left();
        left.snapshots || left.has_topics()
    }

    /// Tries again to remove them. Returns the position of the oldest snapshot if old ones were removed.
    pub(in super::super) fn remove_left(&self) -> Option<u64> {
        let (segments, in_trash, snapshots) = {
            let mut left = self.left();
            (std::mem::take(&mut left.segments), std::mem::take(&mut left.in_trash), left.snapshots)
        };
        self.remove(segments);
        if in_trash {
            self.empty_trash();
        }
        if !snapshots {
            return None;
        }
        let trimmed = self.trim_snapshots();
        if let Err(error) = &trimmed {
            tracing::warn!(%error, "cannot remove old snapshots; it is tried again");
        }
        trimmed.ok().filter(|oldest| *oldest > 0)
    }

    /// Looks at the backup that files wait for. If it makes no progress, or if the disk is full, they are taken away from
    /// it, and this returns `true`: they can be removed.
    pub(in super::super) fn look_at_backup(&self, now: Duration) -> bool {
        // A removal of files may take long, and the next look is soon.
        let Ok(_alone) = self.removing.try_lock() else { return false };
        let (snapshots, topics, is_half_taken) = {
            let left = self.left();
            (left.snapshots, left.has_topics(), left.is_half_taken)
        };
        let is_held = |kept| hold::may_remove(&*self.fs, &self.root, kept).is_none();
        let waits = snapshots && is_held(HeldFiles::Journal) || topics && is_held(HeldFiles::Topics);
        let progress = waits.then(|| hold::progress(&*self.fs, &self.root));
        let is_over = self.left().watch.look(progress, now);
        if !is_half_taken && !(waits && (is_over || self.is_full())) {
            return false;
        }
        let taken = hold::take_away(&*self.fs, &self.root, time::random_uuid());
        let mut left = self.left();
        left.is_half_taken = taken.is_err();
        match taken {
            Ok(()) => {
                left.watch = Watch::default();
                let why = if is_over { "it made no progress for five minutes" } else { "the disk is full" };
                tracing::warn!(why, "a backup loses the files that it held and will fail: make it again");
            }
            Err(error) => tracing::warn!(%error, "cannot take files away from a backup; it is tried again"),
        }
        // Also after an error: if only the new hold files could not be made, the backup holds nothing any more.
        true
    }

    /// The time for which the backup that files wait for has made no progress, if it has stalled.
    pub(in super::super) fn stalled_backup(&self) -> Option<Duration> {
        self.left().watch.stalled()
    }

    fn left(&self) -> MutexGuard<'_, Leftovers> {
        self.left.lock().ignoring_poison()
    }
}

impl Leftovers {
    fn has_topics(&self) -> bool {
        self.in_trash || !self.segments.is_empty()
    }

    fn note_hold(&mut self) {
        if !std::mem::replace(&mut self.is_noted, true) {
            tracing::info!("a backup is running: files that are not needed any more stay until it ends");
        }
    }
}
