//! Values of this process from the operating system. Most are missing on systems without `/proc`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

#[derive(Debug, Default)]
pub struct Process {
    pub open_files: Option<u64>,
    pub most_files: Option<u64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub cpu_seconds: Option<f64>,
}

impl Process {
    pub fn look() -> Process {
        // `pid (name) state …`: the name may contain any characters, so parsing starts after it.
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        // proc(5) numbers the fields from 1; the first one after the name is number 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14).zip(field(15)).map(|(user, system)| user + system);
        Process {
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            most_files: getrlimit(Resource::Nofile).current,
            resident_bytes: field(24).map(|pages| pages * page_size() as u64),
            virtual_bytes: field(23),
            cpu_seconds: ticks.map(|ticks| ticks as f64 / clock_ticks_per_second() as f64),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_a_limit() {
        let process = Process::look();
        assert!(process.open_files.unwrap() >= 3);
        assert!(process.resident_bytes.unwrap() > 100_000);
        assert!(process.virtual_bytes.unwrap() >= process.resident_bytes.unwrap());
        assert!(process.cpu_seconds.unwrap() >= 0.0);
    }
}
