//! The sources of settings: file < environment < flags, and the defaults in a container.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Exit;
use crate::config::{
    BrokerSettings, ConfigError, Given, Listener, Origin, Properties, SECRETS, listeners_of,
};
use crate::storage::local::fs::DiskFs;
use crate::storage::local::inspect;

/// The directories where containers for Kafka's image mount their data volume. One of the first two is
/// used if it exists, because in a new container only a mount creates it; else the last one.
const DATA_DIRS: &[&str] = &["/tmp/kafka-logs", "/tmp/kraft-combined-logs", "/var/lib/kafka/data"];

/// The options of all commands that need the settings.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Sources {
    /// Settings in Kafka's syntax, as in its server.properties
    #[arg(long, short = 'c', value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Use defaults for a container: listen on all addresses, advertise localhost:9092, keep the data in
    /// /var/lib/kafka/data
    #[arg(long)]
    pub(super) container: bool,
}

/// The data directory of a command that works on its files.
#[derive(Debug, Default, Args)]
pub(super) struct DataDir {
    #[command(flatten)]
    sources: Sources,
    /// The data directory [default: log.dirs of the settings]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDir {
    /// The directory, which is `own` if that is given. Fails if it is none of ours.
    pub(super) fn find(&self, own: Option<&Path>) -> Result<PathBuf, (Exit, String)> {
        let dir = match own.or(self.data_dir.as_deref()) {
            Some(dir) => dir.to_owned(),
            None => self.sources.of_broker(&[])?.data_dir,
        };
        if inspect::is_data_directory(&DiskFs, &dir) {
            return Ok(dir);
        }
        Err((Exit::Data, format!("{} is no data directory", dir.display())))
    }
}

/// Variables of the environment with their values.
type Variables = Vec<(String, String)>;

impl Sources {
    /// The settings from file and environment.
    pub(super) fn read(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Given, (Exit, String)> {
        let (mut given, variables) = self.read_without_secrets(variables)?;
        let secrets = given.set_secrets(&variables, SECRETS);
        secrets.map_err(|error| (Exit::Settings, error.to_string()))?;
        Ok(given)
    }

    /// The listeners, also if no other setting is valid. It reads no secret.
    pub(super) fn listeners(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Vec<Listener>, (Exit, String)> {
        let (given, _) = self.read_without_secrets(variables)?;
        let mut given = given.of_all_listeners();
        self.finish(&mut given)?;
        listeners_of(&given).map_err(|error| (Exit::Settings, refusal(&error, &given)))
    }

    /// The settings but those of `SECRETS`, and the variables.
    fn read_without_secrets(
        &self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(Given, Variables), (Exit, String)> {
        let mut given = match &self.config {
            Some(path) => read_file(path)?,
            None => Given::default(),
        };
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let variables: Variables = variables.map(|(name, value)| (text(name), text(value))).collect();
        given.set_environment(variables.clone());
        Ok((given, variables))
    }

    /// Sets defaults for settings that are not in `given`, and asks the providers of `config.providers`.
    pub(super) fn finish(&self, given: &mut Given) -> Result<(), (Exit, String)> {
        self.complete(given);
        let resolved = given.resolve(&|name| std::env::var(name).ok());
        resolved.map_err(|error| (Exit::Settings, refusal(&error, given)))
    }

    /// The settings of a broker, for a command that works on its data directory. Each of `flags` is a flag of the command,
    /// its setting, and its value if it is given.
    pub(super) fn of_broker(
        &self,
        flags: &[(&'static str, &'static str, Option<String>)],
    ) -> Result<BrokerSettings, (Exit, String)> {
        let mut given = self.read(std::env::vars_os())?;
        self.finish(&mut given)?;
        for &(flag, name, ref value) in flags {
            if let Some(value) = value {
                given.set_from(Origin::Flag, flag, name, value.clone());
            }
        }
        BrokerSettings::load(given.clone()).map_err(|error| (Exit::Settings, refusal(&error, &given)))
    }

    fn complete(&self, given: &mut Given) {
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

/// The error message, with the file, variable or flag of the setting.
pub(super) fn refusal(error: &ConfigError, given: &Given) -> String {
    let written = match error {
        ConfigError::Invalid { name, .. } => given.written(name),
        ConfigError::UnknownTopicSetting { .. }
        | ConfigError::Listeners(_)
        | ConfigError::OnlyController
        | ConfigError::Conflict(_)
        | ConfigError::File(_) => None,
    };
    written.map_or_else(|| error.to_string(), |written| format!("{error} ({written})"))
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

    fn completed(container: bool, settings: &[(&str, &str)]) -> Given {
        let mut given = Given::default();
        for (name, value) in settings {
            given.set(*name, *value);
        }
        Sources { config: None, container }.complete(&mut given);
        given
    }

    #[test]
    fn without_settings_it_listens_on_this_machine_only() {
        let given = completed(false, &[]);
        assert_eq!(given.get("listeners"), Some("PLAINTEXT://localhost:9092"));
        assert_eq!(given.written("listeners").unwrap().to_string(), "default");
        assert_eq!((given.get("advertised.listeners"), given.get("log.dirs")), (None, None));
    }

    #[test]
    fn the_listeners_are_known_also_if_a_secret_cannot_be_read() {
        let variables = || {
            [
                ("KAFKA_LISTENERS", "SASL_SSL://broker:9093"),
                ("KAFKA_CONFIG_PROVIDERS", "file"),
                (
                    "KAFKA_CONFIG_PROVIDERS_FILE_CLASS",
                    "org.apache.kafka.common.config.provider.FileConfigProvider",
                ),
                ("KAFKA_SSL_KEYSTORE_PASSWORD", "${file:/nowhere:password}"),
                ("KAFKA_SSL_KEY_CREDENTIALS", "nowhere"),
            ]
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        };
        let sources = Sources::default();
        assert!(sources.read(variables()).is_err());
        let listeners = sources.listeners(variables()).unwrap();
        assert_eq!((listeners[0].host.as_str(), listeners[0].port), ("broker", 9093));
    }

    #[test]
    fn in_a_container_without_settings_it_listens_everywhere_and_advertises_localhost() {
        let given = completed(true, &[]);
        assert_eq!(given.get("listeners"), Some("PLAINTEXT://:9092"));
        assert_eq!(given.get("advertised.listeners"), Some("PLAINTEXT://localhost:9092"));
        assert!(DATA_DIRS.contains(&given.get("log.dirs").unwrap()));
        assert_eq!(given.written("listeners").unwrap().to_string(), "default of a container");
    }

    #[test]
    fn in_a_container_the_settings_of_listeners_are_not_mixed_with_the_defaults() {
        let given = completed(true, &[("listeners", "INSIDE://:29092"), ("log.dir", "/data")]);
        assert_eq!((given.get("advertised.listeners"), given.get("log.dirs")), (None, None));
        let given = completed(true, &[("advertised.listeners", "PLAINTEXT://kafka:9092")]);
        assert_eq!(given.get("listeners"), Some("PLAINTEXT://:9092"));
        assert_eq!(given.get("advertised.listeners"), Some("PLAINTEXT://kafka:9092"));
    }
}
