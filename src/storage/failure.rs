//! The kind of failure behind a file system error.

use std::io;

use rustix::io::Errno;

/// Kinds of failure; each needs a different fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk is full, or a quota is used up.
    NoSpace,
    /// The process or the system has no file descriptor left.
    NoDescriptors,
    Missing,
    ReadOnly,
    Denied,
    /// The device failed, or the error is unknown.
    Device,
}

impl Failure {
    pub fn of(error: &io::Error) -> Failure {
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Failure::NoSpace,
            Some(Errno::MFILE | Errno::NFILE) => Failure::NoDescriptors,
            Some(Errno::NOENT | Errno::NOTDIR) => Failure::Missing,
            Some(Errno::ROFS) => Failure::ReadOnly,
            Some(Errno::ACCESS | Errno::PERM) => Failure::Denied,
            Some(_) => Failure::Device,
            None => Failure::of_kind(error.kind()),
        }
    }

    /// For an error that has no errno.
    fn of_kind(kind: io::ErrorKind) -> Failure {
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::NoSpace,
            io::ErrorKind::NotFound => Failure::Missing,
            io::ErrorKind::ReadOnlyFilesystem => Failure::ReadOnly,
            io::ErrorKind::PermissionDenied => Failure::Denied,
            _ => Failure::Device,
        }
    }

    /// The next step for an operator.
    pub fn next_step(self) -> &'static str {
        match self {
            Failure::NoSpace => "free space on the disk, or raise the quota",
            Failure::NoDescriptors => "raise the limit of open files (ulimit -n)",
            Failure::Missing => "put the file back, or delete the topic",
            Failure::ReadOnly => {
                "find out from the system's log why the disk became read-only, and mount it for writing"
            }
            Failure::Denied => "give the broker's user permission to read and write it",
            Failure::Device => "look for errors of the disk in the system's log",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Failure::NoSpace => "no space is left",
            Failure::NoDescriptors => "too many files are open",
            Failure::Missing => "a file is missing",
            Failure::ReadOnly => "the disk is read-only",
            Failure::Denied => "access is denied",
            Failure::Device => "the disk reports an error",
        })
    }
}
