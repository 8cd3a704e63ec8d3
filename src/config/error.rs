//! The refusals of settings.

/// The reasons why settings are refused, in Kafka's words if Kafka has the same error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    UnknownTopicSetting {
        name: String,
    },
    Invalid {
        name: String,
        value: String,
        why: String,
    },
    /// Values that contradict each other.
    Conflict(String),
    Listeners(String),
    /// A node without the broker role, which would serve no clients.
    OnlyController,
    File(String),
}

impl ConfigError {
    pub(super) fn invalid(name: &str, value: impl Into<String>, why: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { name: name.to_owned(), value: value.into(), why: why.into() }
    }

    /// The same error for a setting with the prefix of a listener.
    pub(super) fn under(self, full_name: &str) -> ConfigError {
        match self {
            ConfigError::Invalid { value, why, .. } => {
                ConfigError::Invalid { name: full_name.to_owned(), value, why }
            }
            other @ (ConfigError::UnknownTopicSetting { .. }
            | ConfigError::Conflict(_)
            | ConfigError::Listeners(_)
            | ConfigError::OnlyController
            | ConfigError::File(_)) => other,
        }
    }
}

impl std::error::Error for ConfigError {}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigError::UnknownTopicSetting { name } => write!(f, "Unknown topic config name: {name}"),
            ConfigError::Invalid { name, value, why } => {
                write!(f, "Invalid value {value} for configuration {name}: {why}")
            }
            ConfigError::OnlyController => f.write_str(
                "process.roles names the controller only: Jackdaw needs no controllers, leave this process out",
            ),
            ConfigError::Conflict(what) | ConfigError::Listeners(what) | ConfigError::File(what) => {
                f.write_str(what)
            }
        }
    }
}

/// The reasons why settings are not altered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterError {
    /// An invalid request in Kafka's terms.
    Request(String),
    /// An invalid configuration in Kafka's terms.
    Config(String),
    TooLarge,
}

impl From<ConfigError> for AlterError {
    fn from(error: ConfigError) -> AlterError {
        AlterError::Config(error.to_string())
    }
}
