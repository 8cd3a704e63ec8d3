//! The sources of settings: file < environment < flags, and the defaults in a container.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use crate::config::{Given, Origin, Properties};

/// The directories where containers for Kafka's image mount their data volume. One of the first two is
/// used if it exists, because in a new container only a mount creates it; else the last one.
const DATA_DIRS: &[&str] = &["/tmp/kafka-logs", "/tmp/kraft-combined-logs", "/var/lib/kafka/data"];

/// The options of all commands that need the settings.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Sources {
    /// Settings in Kafka's syntax, as in its server.properties
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Use defaults for a container: listen on all addresses, advertise localhost:9092, keep the data in
    /// /var/lib/kafka/data
    #[arg(long)]
    pub(super) container: bool,
}

impl Sources {
    /// The settings from file and environment.
    pub(super) fn read(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Given, (Exit, String)> {
        let mut given = match &self.config {
            Some(path) => read_file(path)?,
            None => Given::default(),
        };
        let text = |text: OsString| text.to_string_lossy().into_owned();
        given.set_environment(variables.map(|(name, value)| (text(name), text(value))));
        Ok(given)
    }

    /// Sets defaults for settings that are not in `given`.
    pub(super) fn complete(&self, given: &mut Given) {
        let is_silent = |given: &Given, name| given.get(name).is_none();
        let default = |given: &mut Given, name, value: &str| {
            let place = if self.container { "of a container" } else { "" };
            given.set_from(Origin::Default, place, name, value);
        };
        if !self.container {
            if is_silent(given, "listeners") {
                default(given, "listeners", "PLAINTEXT://localhost:9092");
            }
            return;
        }
        if is_silent(given, "listeners") && is_silent(given, "advertised.listeners") {
            default(given, "advertised.listeners", "PLAINTEXT://localhost:9092");
        }
        if is_silent(given, "listeners") {
            default(given, "listeners", "PLAINTEXT://:9092");
        }
        if is_silent(given, "log.dirs") && is_silent(given, "log.dir") {
            let mounted = DATA_DIRS.iter().find(|dir| Path::new(dir).is_dir());
            default(given, "log.dirs", mounted.or(DATA_DIRS.last()).expect("there are some"));
        }
    }
}

fn read_file(path: &Path) -> Result<Given, (Exit, String)> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| (Exit::InputOutput, format!("{}: {error}", path.display())))?;
    let file =
        Properties::parse(&text).map_err(|error| (Exit::Settings, format!("{}: {error}", path.display())))?;
    let mut given = Given::default();
    given.set_all(&file, &path.to_string_lossy());
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(container: bool, said: &[(&str, &str)]) -> Given {
        let mut given = Given::default();
        for (name, value) in said {
            given.set(*name, *value);
        }
        Sources { config: None, container }.complete(&mut given);
        given
    }

    #[test]
    fn without_a_word_it_listens_on_this_machine_only() {
        let given = completed(false, &[]);
        assert_eq!(given.get("listeners"), Some("PLAINTEXT://localhost:9092"));
        assert_eq!(given.written("listeners").unwrap().to_string(), "default");
        assert_eq!((given.get("advertised.listeners"), given.get("log.dirs")), (None, None));
    }

    #[test]
    fn in_a_container_without_settings_it_listens_everywhere_and_says_localhost() {
        let given = completed(true, &[]);
        assert_eq!(given.get("listeners"), Some("PLAINTEXT://:9092"));
        assert_eq!(given.get("advertised.listeners"), Some("PLAINTEXT://localhost:9092"));
        assert!(DATA_DIRS.contains(&given.get("log.dirs").unwrap()));
        assert_eq!(given.written("listeners").unwrap().to_string(), "default of a container");
    }

    #[test]
    fn in_a_container_what_is_said_about_listeners_is_not_mixed_with_the_defaults() {
        let given = completed(true, &[("listeners", "INSIDE://:29092"), ("log.dir", "/data")]);
        assert_eq!((given.get("advertised.listeners"), given.get("log.dirs")), (None, None));
        let given = completed(true, &[("advertised.listeners", "PLAINTEXT://kafka:9092")]);
        assert_eq!(given.get("listeners"), Some("PLAINTEXT://:9092"));
        assert_eq!(given.get("advertised.listeners"), Some("PLAINTEXT://kafka:9092"));
    }
}
