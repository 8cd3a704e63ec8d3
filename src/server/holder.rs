//! The process that uses a port already, as Linux shows it in `/proc`.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::telemetry::Shown;

/// A process that listens at a port.
#[derive(Debug, PartialEq, Eq)]
pub struct Holder {
    pid: u32,
    name: String,
}

impl Holder {
    /// `None` if it cannot be found: on other systems, or if the process belongs to another user.
    pub(super) fn of(port: u16) -> Option<Holder> {
        let sockets =
            ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
        let inodes: Vec<u64> = sockets.iter().flat_map(|table| listening(table, port)).collect();
        if inodes.is_empty() {
            return None;
        }
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut processes =
            processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
        let (pid, path) = processes.find(|(_, path): &(u32, _)| has_one_of(&inodes, path))?;
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        Some(Holder { pid, name: name.trim().to_owned() })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, Shown(&self.name))
    }
}

/// The inodes of the sockets that listen at a port, from a table of the kernel: the second field is the address, the
/// fourth the state, and the tenth the inode.
fn listening(table: &str, port: u16) -> impl Iterator<Item = u64> {
    const LISTEN: &str = "0A";
    table.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace();
        let (_, found) = fields.nth(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(found, 16).ok()? == port && fields.nth(1)? == LISTEN;
        let inode = fields.nth(5)?.parse().ok()?;
        is_it.then_some(inode)
    })
}

/// Whether a process has one of these sockets open.
fn has_one_of(inodes: &[u64], process: &Path) -> bool {
    let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let mut sockets = targets.filter_map(|target| {
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    });
    sockets.any(|socket| inodes.contains(&socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 61225 1 0000000000000000 100
   1: 0100007F:2384 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 61999 1 0000000000000000 20
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18045 1 0000000000000000 100
";

    #[test]
    fn sockets_that_listen_at_the_port_are_found_in_the_kernels_table() {
        assert_eq!(listening(TABLE, 9092).collect::<Vec<_>>(), [61225]);
        assert_eq!(listening(TABLE, 22).collect::<Vec<_>>(), [18045]);
        assert_eq!(listening(TABLE, 9093).count(), 0);
        assert_eq!(listening("nonsense\n: :\n", 9093).count(), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_found_by_a_port_that_it_listens_at() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = Holder::of(listener.local_addr().unwrap().port());
        assert_eq!(holder.unwrap().pid, std::process::id());
    }
}
