//! `KAFKA_…` environment variables and `CLUSTER_ID`, read as in the image `apache/kafka`. Those of other images
//! (`KAFKA_CFG_…` of bitnami's) mean the same.

use super::initial_topics::INITIAL_TOPICS;
use super::jaas::JAAS_FILE;
use super::{ConfigError, Given, Origin};

const PREFIX: &str = "KAFKA_";
/// The prefix of the settings in bitnami's image.
const BITNAMI_PREFIX: &str = "KAFKA_CFG_";

/// Variables of the scripts around a JVM. They are not settings and need no warning.
const FOR_SCRIPTS: &[&str] = &[
    "CREATE_TOPICS_SEPARATOR",
    "DEBUG",
    "ENABLE_KRAFT",
    "GC_LOG_OPTS",
    "HEAP_OPTS",
    "HOME",
    "JVM_PERFORMANCE_OPTS",
    "LOG4J_CMD_OPTS",
    "LOG4J_LOGGERS",
    "LOG4J_OPTS",
    "LOG4J_ROOT_LOGLEVEL",
    "OPTS",
    "TOOLS_LOG4J_LOGLEVEL",
    "VERSION",
];

/// The directory of the image that keys, certificates and their passwords are mounted to.
pub const SECRETS: &str = "/etc/kafka/secrets";

/// Variables with the name of a file among the secrets, and the settings of its path.
const FILE_NAMES: &[(&str, &str)] = &[
    ("KAFKA_SSL_KEYSTORE_FILENAME", "ssl.keystore.location"),
    ("KAFKA_SSL_TRUSTSTORE_FILENAME", "ssl.truststore.location"),
];

/// Variables with the name of a file among the secrets, and the settings of the password in it.
const CREDENTIALS: &[(&str, &str)] = &[
    ("KAFKA_SSL_KEYSTORE_CREDENTIALS", "ssl.keystore.password"),
    ("KAFKA_SSL_KEY_CREDENTIALS", "ssl.key.password"),
    ("KAFKA_SSL_TRUSTSTORE_CREDENTIALS", "ssl.truststore.password"),
];

impl Given {
    /// Sets the key stores and passwords among the secrets of the image that variables name. As in the image, they have
    /// precedence over variables of the settings themselves.
    pub fn set_secrets(
        &mut self,
        variables: &[(String, String)],
        directory: &str,
    ) -> Result<(), ConfigError> {
        let named = |names: &'static [(&str, &'static str)]| {
            variables.iter().filter(|(_, file)| !file.is_empty()).filter_map(move |(variable, file)| {
                let (_, setting) = names.iter().find(|(name, _)| name == variable)?;
                Some((variable, *setting, format!("{directory}/{file}")))
            })
        };
        for (variable, setting, path) in named(FILE_NAMES) {
            self.set_from(Origin::Environment, variable, setting, path);
        }
        for (variable, setting, path) in named(CREDENTIALS) {
            let password = std::fs::read_to_string(&path)
                .map_err(|error| ConfigError::invalid(variable, &path, error.to_string()))?;
            let password = password.trim_end_matches(['\n', '\r']);
            self.set_from(Origin::Environment, variable, setting, password);
        }
        Ok(())
    }

    /// Sets the settings among the variables of a process, over earlier values.
    ///
    /// As in the image, a broker that only has advertised listeners listens at their ports on all
    /// addresses. The image does this even if a file has `listeners`. Here the file wins, because it may
    /// restrict the broker to this machine.
    pub fn set_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        let mut variables: Vec<(String, String)> = variables.into_iter().collect();
        // Bitnami's variables first, so that those of `apache/kafka` have precedence.
        variables
            .sort_by_cached_key(|(variable, _)| (!variable.starts_with(BITNAMI_PREFIX), variable.clone()));
        for (variable, value) in variables {
            if let Some(path) = jaas_file(&variable, &value) {
                self.set_from(Origin::Environment, variable, JAAS_FILE, path);
            } else if let Some(name) = setting(&variable) {
                self.set_from(Origin::Environment, variable, name, value);
            }
        }
        let is_said = |name| self.get(name).is_some_and(|value| !value.trim().is_empty());
        if is_said("advertised.listeners")
            && !is_said("listeners")
            && let Some(advertised) = self.written("advertised.listeners")
            && advertised.origin == Origin::Environment
        {
            let (variable, listeners) = (advertised.place.clone(), at_every_address(&advertised.value));
            self.set_from(Origin::Environment, variable, "listeners", listeners);
        }
    }
}

/// `KAFKA_LOG_RETENTION_MS` → `log.retention.ms`: one underscore becomes a dot, two become an underscore,
/// three a dash. `None` for variables that are no settings.
fn setting(variable: &str) -> Option<String> {
    if ["CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID"].contains(&variable) {
        return Some("jackdaw.cluster.id".to_owned());
    }
    let rest = variable.strip_prefix(BITNAMI_PREFIX).or_else(|| variable.strip_prefix(PREFIX));
    let rest = rest.filter(|rest| !rest.is_empty())?;
    if rest == "CREATE_TOPICS" {
        return Some(INITIAL_TOPICS.to_owned());
    }
    let is_for_scripts = FOR_SCRIPTS.contains(&rest) || rest.starts_with("JMX_");
    let is_secret = FILE_NAMES.iter().chain(CREDENTIALS).any(|(name, _)| *name == variable);
    if is_secret || is_for_scripts || is_a_kubernetes_service(rest) {
        return None;
    }
    Some(rest.to_lowercase().replace('_', ".").replace("...", "-").replace("..", "_"))
}

/// The JAAS file that options for a JVM name.
fn jaas_file<'a>(variable: &str, options: &'a str) -> Option<&'a str> {
    let options = options.split_whitespace().filter(|_| variable == "KAFKA_OPTS");
    options.filter_map(|option| option.strip_prefix("-Djava.security.auth.login.config=")).next_back()
}

/// If a service is named `kafka`, Kubernetes describes it to every pod in variables that look like
/// settings: `KAFKA_PORT=tcp://10.0.0.1:9092`, `KAFKA_SERVICE_HOST`.
fn is_a_kubernetes_service(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

/// `INSIDE://broker:29092` → `INSIDE://:29092`.
fn at_every_address(advertised: &str) -> String {
    let listener = |endpoint: &str| {
        let (name, address) = endpoint.trim().split_once("://")?;
        let (_, port) = address.rsplit_once(':')?;
        Some(format!("{name}://:{port}"))
    };
    // Invalid entries are refused later, with the name of their own setting.
    let listeners: Vec<String> = advertised.split(',').filter_map(listener).collect();
    listeners.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(variables: &[(&str, &str)]) -> Given {
        let mut given = Given::default();
        set(&mut given, variables);
        given
    }

    fn set(given: &mut Given, variables: &[(&str, &str)]) {
        given.set_environment(variables.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    }

    #[test]
    fn one_underscore_is_a_dot_two_are_an_underscore_three_a_dash() {
        for (variable, name) in [
            ("KAFKA_NODE_ID", Some("node.id")),
            ("KAFKA_LOG_RETENTION_MS", Some("log.retention.ms")),
            ("KAFKA_ABC__DEF", Some("abc_def")),
            ("KAFKA_ABC___DEF", Some("abc-def")),
            ("KAFKA_VALID___PROPERTY__ALL_CASES", Some("valid-property_all.cases")),
            ("KAFKA_LISTENER_NAME_SASL__SSL_SSL_CLIENT_AUTH", Some("listener.name.sasl_ssl.ssl.client.auth")),
            ("KAFKA_A____B", Some("a-.b")),
            ("CLUSTER_ID", Some("jackdaw.cluster.id")),
            ("KAFKA_KRAFT_CLUSTER_ID", Some("jackdaw.cluster.id")),
            ("KAFKA_CFG_LOG_RETENTION_MS", Some("log.retention.ms")),
            ("KAFKA_CREATE_TOPICS", Some("jackdaw.initial.topics")),
            ("KAFKA_CFG_", None),
            ("KAFKA_", None),
            ("KAFKA", None),
            ("PATH", None),
            ("MY_KAFKA_NODE_ID", None),
        ] {
            assert_eq!(setting(variable).as_deref(), name, "{variable}");
        }
    }

    #[test]
    fn variables_for_a_jvm_or_from_kubernetes_are_no_settings() {
        for variable in [
            "KAFKA_VERSION",
            "KAFKA_HEAP_OPTS",
            "KAFKA_LOG4J_OPTS",
            "KAFKA_OPTS",
            "KAFKA_JMX_OPTS",
            "KAFKA_JMX_PORT",
            "KAFKA_JMX_HOSTNAME",
            "KAFKA_JVM_PERFORMANCE_OPTS",
            "KAFKA_GC_LOG_OPTS",
            "KAFKA_ENABLE_KRAFT",
            "KAFKA_LOG4J_ROOT_LOGLEVEL",
            "KAFKA_LOG4J_LOGGERS",
            "KAFKA_TOOLS_LOG4J_LOGLEVEL",
            "KAFKA_PORT",
            "KAFKA_PORT_9092_TCP_ADDR",
            "KAFKA_SERVICE_HOST",
        ] {
            assert_eq!(setting(variable), None, "{variable}");
        }
    }

    #[test]
    fn the_jaas_file_of_a_jvm_is_a_setting() {
        let opts = "-Xmx1g -Djava.security.auth.login.config=/etc/kafka/jaas.conf -Da=b";
        let given = given(&[("KAFKA_OPTS", opts), ("KAFKA_HEAP_OPTS", opts)]);
        assert_eq!(given.get("jackdaw.sasl.jaas.file"), Some("/etc/kafka/jaas.conf"));
        assert_eq!(given.written("jackdaw.sasl.jaas.file").unwrap().to_string(), "environment KAFKA_OPTS");
    }

    #[test]
    fn key_stores_and_passwords_come_from_the_secrets_that_variables_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        for (file, password) in
            [("key_creds", "k e y\n"), ("store_creds", "store\r\n\n"), ("trust_creds", "trust")]
        {
            std::fs::write(dir.path().join(file), password).unwrap();
        }
        let variables = [
            ("KAFKA_SSL_KEYSTORE_FILENAME", "server.p12"),
            ("KAFKA_SSL_KEYSTORE_CREDENTIALS", "store_creds"),
            ("KAFKA_SSL_KEY_CREDENTIALS", "key_creds"),
            ("KAFKA_SSL_TRUSTSTORE_FILENAME", "trust.p12"),
            ("KAFKA_SSL_TRUSTSTORE_CREDENTIALS", "trust_creds"),
            ("KAFKA_SSL_KEYSTORE_LOCATION", "/elsewhere"),
        ];
        let mut found = given(&variables);
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        found.set_secrets(&variables, path).unwrap();
        let store = format!("{path}/server.p12");
        let trust = format!("{path}/trust.p12");
        for (setting, value) in [
            ("ssl.keystore.location", store.as_str()),
            ("ssl.keystore.password", "store"),
            ("ssl.key.password", "k e y"),
            ("ssl.truststore.location", trust.as_str()),
            ("ssl.truststore.password", "trust"),
        ] {
            assert_eq!(found.get(setting), Some(value), "{setting}");
        }
        let from = found.written("ssl.key.password").unwrap().to_string();
        assert_eq!(from, "environment KAFKA_SSL_KEY_CREDENTIALS");
        assert_eq!(found.unknown().next(), None);
    }

    #[test]
    fn a_password_file_that_is_not_there_is_refused_with_the_variable_and_the_path() {
        let variable = ("KAFKA_SSL_KEY_CREDENTIALS".to_owned(), "creds".to_owned());
        let refused = Given::default().set_secrets(&[variable], "/nowhere").unwrap_err().to_string();
        assert!(
            refused.contains("KAFKA_SSL_KEY_CREDENTIALS") && refused.contains("/nowhere/creds"),
            "{refused}"
        );
        let empty = ("KAFKA_SSL_KEY_CREDENTIALS".to_owned(), String::new());
        assert_eq!(Given::default().set_secrets(&[empty], "/nowhere"), Ok(()));
    }

    #[test]
    fn who_says_only_what_is_advertised_listens_there_at_every_address() {
        let advertised =
            ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT_HOST://localhost:9092, INSIDE://[fd00::1]:19092");
        let derived = given(&[advertised]);
        assert_eq!(derived.get("listeners"), Some("PLAINTEXT_HOST://:9092,INSIDE://:19092"));
        assert_eq!(
            derived.written("listeners").unwrap().to_string(),
            "environment KAFKA_ADVERTISED_LISTENERS"
        );
        let said = given(&[advertised, ("KAFKA_LISTENERS", "INSIDE://:1")]);
        assert_eq!(said.get("listeners"), Some("INSIDE://:1"));
        assert_eq!(given(&[("KAFKA_ADVERTISED_LISTENERS", "")]).get("listeners"), None);
        let mut of_a_file = Given::default();
        of_a_file.set_from(Origin::File, "server.properties", "listeners", "INSIDE://localhost:1");
        set(&mut of_a_file, &[advertised]);
        assert_eq!(of_a_file.get("listeners"), Some("INSIDE://localhost:1"));
    }

    #[test]
    fn variables_of_bitnamis_image_mean_the_same_and_give_way_to_those_of_apache_kafka() {
        let bitnami = ("KAFKA_CFG_ADVERTISED_LISTENERS", "PLAINTEXT://localhost:9092");
        let derived = given(&[bitnami, ("KAFKA_CFG_NODE_ID", "7")]);
        assert_eq!(derived.get("node.id"), Some("7"));
        assert_eq!(derived.get("listeners"), Some("PLAINTEXT://:9092"));
        assert_eq!(
            derived.written("listeners").unwrap().to_string(),
            "environment KAFKA_CFG_ADVERTISED_LISTENERS"
        );
        let both = given(&[bitnami, ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://kafka:9092")]);
        assert_eq!(both.get("advertised.listeners"), Some("PLAINTEXT://kafka:9092"));
    }

    #[test]
    fn a_value_keeps_the_variable_it_came_in() {
        let given = given(&[("KAFKA_NUM_PARTITIONS", "3"), ("HOME", "/root")]);
        let written = given.written("num.partitions").unwrap();
        assert_eq!((written.value.as_str(), written.origin), ("3", Origin::Environment));
        assert_eq!(written.to_string(), "environment KAFKA_NUM_PARTITIONS");
        assert!(given.has_any_from(Origin::Environment) && !given.has_any_from(Origin::File));
    }
}
