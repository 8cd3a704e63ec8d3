//! The errors of a store.

use std::path::PathBuf;

use super::failure::Failure;
use crate::kernel::Refusal;
use crate::types::{ClusterId, NodeId, Offset};

/// The reason why the store takes no change at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The disk has no space. Nothing was changed; a later attempt may succeed.
    Full,
    /// A file cannot be written. Nothing was changed; a later attempt may succeed.
    Unwritable(Failure),
    /// The journal failed. It is unknown whether the change was stored.
    Poisoned,
    /// The broker is shutting down. It is unknown whether the change was stored.
    Stopped,
}

/// The reason why a change was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The change breaks a rule; nothing was changed.
    Refused(Refusal),
    Unavailable(Unavailable),
}

/// The reason why a batch was not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The batch breaks a rule, such as the producer's sequence; nothing was written.
    Refused(Refusal),
    /// The topic was deleted.
    NotServing,
    /// The partition is out of service because its files are damaged.
    Damaged,
    Unavailable(Unavailable),
}

/// The reason why a log could not be read, or its log start offset not moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    OutOfRange {
        asked: Offset,
        start: Offset,
        end: Offset,
    },
    /// The topic was deleted.
    NotServing,
    /// The partition is out of service because its files are damaged or cannot be read.
    Damaged,
    Unavailable(Unavailable),
}

/// The reason why a topic was not created or not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicError {
    Exists,
    /// The name differs from `with` only in `.` and `_`.
    NameCollides {
        with: String,
    },
    Unknown,
    Store(StoreError),
}

/// The reason why a data directory was not opened.
#[derive(Debug)]
pub enum OpenError {
    InUse {
        path: PathBuf,
    },
    NotOurs {
        path: PathBuf,
    },
    /// The path of the directory, or of a parent directory, is a file.
    NotADirectory {
        path: PathBuf,
        file: PathBuf,
    },
    Newer {
        path: PathBuf,
        format: u32,
        known: u32,
    },
    Older {
        path: PathBuf,
        format: u32,
        known: u32,
    },
    OtherNode {
        path: PathBuf,
        theirs: NodeId,
        ours: NodeId,
    },
    OtherCluster {
        path: PathBuf,
        theirs: ClusterId,
        ours: ClusterId,
    },
    /// Data that was durable is missing or broken.
    Damaged {
        what: String,
    },
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::InUse { path } => {
                write!(
                    f,
                    "{} is in use by another process: stop it, or choose another --data-dir",
                    path.display()
                )
            }
            OpenError::NotOurs { path } => write!(
                f,
                "{} holds files that are not ours: choose an empty or a new directory with --data-dir",
                path.display()
            ),
            OpenError::NotADirectory { path, file } => write!(
                f,
                "{} cannot hold the data, because {} is a file: choose a directory with --data-dir",
                path.display(),
                file.display()
            ),
            OpenError::Newer { path, format, known } => write!(
                f,
                "{} has format {format}, this version knows up to {known}: use the version that wrote it, or a newer one",
                path.display()
            ),
            OpenError::Older { path, format, known } => write!(
                f,
                "{} has format {format}, this version reads formats from {known} on: copy the topics with the version that wrote it, or choose another --data-dir",
                path.display()
            ),
            OpenError::OtherNode { path, theirs, ours } => write!(
                f,
                "{} belongs to node.id {theirs}, this broker is {ours}: set node.id={theirs}, or choose another --data-dir",
                path.display()
            ),
            OpenError::OtherCluster { path, theirs, ours } => write!(
                f,
                "{} belongs to cluster {theirs}, not to {ours}: set CLUSTER_ID={theirs}, unset it, or choose another --data-dir",
                path.display()
            ),
            OpenError::Damaged { what } => write!(
                f,
                "{what}: acknowledged data is damaged, nothing was changed; restore the directory from a copy, \
                 or run `jackdaw log repair`, which lists the losses without one"
            ),
            OpenError::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Unavailable> for StoreError {
    fn from(why: Unavailable) -> StoreError {
        StoreError::Unavailable(why)
    }
}

impl From<Unavailable> for AppendError {
    fn from(why: Unavailable) -> AppendError {
        AppendError::Unavailable(why)
    }
}

impl From<Unavailable> for LogError {
    fn from(why: Unavailable) -> LogError {
        LogError::Unavailable(why)
    }
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> AppendError {
        match error {
            StoreError::Refused(refusal) => AppendError::Refused(refusal),
            StoreError::Unavailable(why) => AppendError::Unavailable(why),
        }
    }
}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> AppendError {
        match error {
            LogError::OutOfRange { .. } | LogError::NotServing => AppendError::NotServing,
            LogError::Damaged => AppendError::Damaged,
            LogError::Unavailable(why) => AppendError::Unavailable(why),
        }
    }
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> LogError {
        match error {
            // The topic was deleted meanwhile, or the log start offset moved past it.
            StoreError::Refused(_) => LogError::NotServing,
            StoreError::Unavailable(why) => LogError::Unavailable(why),
        }
    }
}

impl From<StoreError> for TopicError {
    fn from(error: StoreError) -> TopicError {
        match error {
            StoreError::Refused(Refusal::TopicExists) => TopicError::Exists,
            StoreError::Refused(Refusal::NameCollides { with }) => TopicError::NameCollides { with },
            StoreError::Refused(Refusal::UnknownTopic) => TopicError::Unknown,
            other => TopicError::Store(other),
        }
    }
}
