//! Names and texts that would be lines of their own, or commands to a terminal, where they were logged as
//! they came.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::amplify::{Names, every_array, without_arrays};
use crate::harness::Client;
use crate::victim::{alone, framed_by, play, serves};

/// A line end and the beginning of a forged line, a colour, a bell, and line ends of other systems.
const EVIL: &str = "x\n2026-01-01T00:00:00.000000Z ERROR forged\r\u{1b}[31m\u{7}\u{85}\u{2028}";

#[test]
fn no_text_of_any_request_begins_a_line_of_the_log_or_reaches_a_terminal() {
    alone(async {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_jackdaw"))
            .args(["serve", "--listen", "127.0.0.1:0", "--ephemeral", "--log-level", "trace"])
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let address = ready.split_whitespace().find(|word| word.contains("127.0.0.1:"));
        let address = address.expect("a line that says where").trim_end_matches(',');
        Client::of(address).await.create_topic("t").await;

        let names = Names::only(EVIL);
        let attacks = every_array(&names, EVIL.len() * 4).into_iter().chain(without_arrays(&names));
        for attack in attacks {
            let request = framed_by(Some(EVIL), attack.key, attack.version, &attack.body);
            play(address.parse().unwrap(), request.into()).await;
        }
        serves(address).await;
        process.kill().unwrap();
        process.wait().unwrap();

        let log = fs::read_to_string(&log).unwrap();
        let place = "a member joins";
        let line = log.lines().find(|line| line.contains(place)).unwrap_or_default();
        assert!(line.contains("forged"), "{place}: {line:?}");
        for line in log.lines() {
            assert!(line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00.000000Z"), "{line:?}");
            assert!(!line.contains(|letter: char| letter.is_control() || letter == '\u{2028}'), "{line:?}");
        }
    });
}
