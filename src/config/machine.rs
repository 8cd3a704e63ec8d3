//! The limits of this process: memory and open files. Each is read once.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use rustix::process::{Resource, getrlimit};

/// Assumed if the size of the memory is unknown.
const MEMORY_UNKNOWN: u64 = 1 << 30;

/// The memory in bytes: the limit of the process's control group (of a container), or that of the
/// machine.
pub fn memory() -> u64 {
    static MEMORY: LazyLock<u64> = LazyLock::new(|| {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
        let group =
            fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| limit_of(&text, &read_limit));
        machine.into_iter().chain(group).min().unwrap_or(MEMORY_UNKNOWN)
    });
    *MEMORY
}

/// The number of files that the process may have open, including connections.
pub fn open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// The shares of the process's limit of open files, so that connections never take the files that are
/// needed for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    pub limit: usize,
    pub connections: usize,
    pub segments: usize,
}

/// Standard streams, the runtime, the journal, snapshots, and files that are opened for a moment.
const OWN_FILES: usize = 40;
/// For each listener: its sockets for both address families, and the connections waiting there.
const LISTENER_FILES: usize = 4;
/// The fewest connections and the fewest segments with which a client can be served.
const LEAST_FILES: usize = 8;
/// The maximum number of segments that are kept open.
const SEGMENTS: usize = 512;

impl OpenFiles {
    /// Segments get half of the files, up to `SEGMENTS`, and connections the rest. `Err` has the lowest
    /// limit that is enough.
    pub fn share_out(limit: usize, listeners: usize, http: usize) -> Result<OpenFiles, usize> {
        let own = OWN_FILES + LISTENER_FILES * listeners + http;
        let left = limit.saturating_sub(own);
        if left < 2 * LEAST_FILES {
            return Err(own + 2 * LEAST_FILES);
        }
        let segments = (left / 2).min(SEGMENTS);
        Ok(OpenFiles { limit, connections: left - segments, segments })
    }
}

fn read_limit(path: &Path) -> Option<u64> {
    // "max" is no limit.
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `MemTotal:       24680000 kB`
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The lowest limit of the process's group and its parents. A line of `/proc/self/cgroup` is `0::/path`
/// in version 2, `4:memory:/path` in version 1.
fn limit_of(groups: &str, read: &dyn Fn(&Path) -> Option<u64>) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // In a container the path may be the one outside, and only the root exists.
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().filter_map(|group| read(&Path::new(root).join(group).join(file))).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read_in_bytes() {
        assert_eq!(total_of("MemTotal:        2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
        assert!(memory() > 1 << 20);
    }

    #[test]
    fn connections_and_segments_together_leave_files_for_the_rest() {
        let shared = |limit| OpenFiles::share_out(limit, 1, 0);
        assert_eq!(shared(1024), Ok(OpenFiles { limit: 1024, connections: 490, segments: 490 }));
        assert_eq!(shared(20_000), Ok(OpenFiles { limit: 20_000, connections: 19_444, segments: 512 }));
        assert_eq!(shared(60), Ok(OpenFiles { limit: 60, connections: 8, segments: 8 }));
        assert_eq!(shared(59), Err(60));
        assert_eq!(OpenFiles::share_out(1024, 300, 16), Err(1272), "as many virtual brokers");
        for limit in 60..5000 {
            let OpenFiles { connections, segments, .. } = shared(limit).unwrap();
            assert_eq!(connections + segments + OWN_FILES + LISTENER_FILES, limit);
        }
        assert!(shared(usize::MAX).is_ok());
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_holds() {
        let read = |path: &Path| match path.to_str()? {
            "/sys/fs/cgroup/a/b/memory.max" => Some(300),
            "/sys/fs/cgroup/a/memory.max" => Some(200),
            "/sys/fs/cgroup/memory/c/memory.limit_in_bytes" => Some(100),
            _ => None,
        };
        assert_eq!(limit_of("0::/a/b\n", &read), Some(200));
        assert_eq!(limit_of("5:cpu,memory:/c\n0::/a/b\n", &read), Some(100));
        assert_eq!(limit_of("3:cpu:/c\n0::/elsewhere\n", &read), None);
        let in_container = |path: &Path| (path == Path::new("/sys/fs/cgroup/memory.max")).then_some(7);
        assert_eq!(limit_of("0::/docker/x\n", &in_container), Some(7));
    }
}
