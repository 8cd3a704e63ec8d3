//! `config.providers` (KIP-297): values that are kept elsewhere, such as `${file:/run/secrets/tls.properties:password}`.
//!
//! References are replaced in the values of the file, the environment and the flags, before the start and at SIGHUP. A
//! value that arrives over the wire is never looked at, because its sender could read files and variables with it.
//! Stricter than Kafka: a reference that leads nowhere is refused, and not used as it is written.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::given::Written;
use super::{ConfigError, Given, Properties, listener};
use crate::types::WholePattern;

pub(super) const PROVIDERS: &str = "config.providers";
/// The beginning of the names of a provider's own settings.
pub(super) const OF_PROVIDERS: &str = "config.providers.";

const FILE: &str = "org.apache.kafka.common.config.provider.FileConfigProvider";
const DIRECTORY: &str = "org.apache.kafka.common.config.provider.DirectoryConfigProvider";
const ENVIRONMENT: &str = "org.apache.kafka.common.config.provider.EnvVarConfigProvider";

/// The variables of a process.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

enum Provider {
    /// A key of a properties file.
    File(AllowedPaths),
    /// The content of a file in a directory.
    Directory(AllowedPaths),
    /// A variable whose whole name matches the pattern, if there is one.
    Environment(Option<WholePattern>),
}

/// The files and directories that may be read, with all below them; all if it is `None`.
struct AllowedPaths(Option<Vec<PathBuf>>);

/// `${PROVIDER:PATH:KEY}` or `${PROVIDER:KEY}`
struct Reference<'a> {
    written: &'a str,
    provider: &'a str,
    path: &'a str,
    key: &'a str,
}

impl Given {
    /// Replaces all references with the values that they lead to. `variable` returns a variable of the process.
    pub fn resolve(&mut self, variable: Variables<'_>) -> Result<(), ConfigError> {
        let providers = self.providers()?;
        if providers.is_empty() {
            return Ok(());
        }
        let mut resolved = Vec::new();
        for (name, written) in self.all() {
            if name == PROVIDERS || name.starts_with(OF_PROVIDERS) {
                continue;
            }
            if let Some(value) = replace(&written.value, &providers, variable)
                .map_err(|(reference, why)| ConfigError::invalid(name, reference, why))?
            {
                resolved.push((name.to_owned(), Written { value, is_provided: true, ..written.clone() }));
            }
        }
        for (name, written) in resolved {
            self.replace(&name, Some(written));
        }
        Ok(())
    }

    /// The settings that [`listeners_of`](super::listeners_of) reads, and those of providers.
    #[must_use]
    pub fn of_all_listeners(mut self) -> Given {
        self.retain(|name| {
            listener::SETTINGS.contains(&name) || name == PROVIDERS || name.starts_with(OF_PROVIDERS)
        });
        self
    }

    /// The settings of single providers.
    pub(super) fn of_providers(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| name.starts_with(OF_PROVIDERS))
    }

    fn providers(&self) -> Result<BTreeMap<String, Provider>, ConfigError> {
        let names = self.get(PROVIDERS).unwrap_or_default().split(',').map(str::trim);
        let names = names.filter(|name| !name.is_empty());
        names.map(|name| Ok((name.to_owned(), self.provider(name)?))).collect()
    }

    fn provider(&self, name: &str) -> Result<Provider, ConfigError> {
        let class_name = format!("{OF_PROVIDERS}{name}.class");
        let class = self.get(&class_name).unwrap_or_default().trim();
        match class {
            FILE => Ok(Provider::File(self.allowed_paths(name)?)),
            DIRECTORY => Ok(Provider::Directory(self.allowed_paths(name)?)),
            ENVIRONMENT => Ok(Provider::Environment(self.allowed_variables(name)?)),
            "" => Err(ConfigError::invalid(PROVIDERS, name, format!("{class_name} is not set"))),
            other => {
                let why = format!("the providers here are {FILE}, {DIRECTORY} and {ENVIRONMENT}");
                Err(ConfigError::invalid(&class_name, other, why))
            }
        }
    }

    fn allowed_paths(&self, name: &str) -> Result<AllowedPaths, ConfigError> {
        let full_name = format!("{OF_PROVIDERS}{name}.param.allowed.paths");
        let Some(written) = self.get(&full_name).map(str::trim).filter(|paths| !paths.is_empty()) else {
            return Ok(AllowedPaths(None));
        };
        let paths = written.split(',').map(|path| {
            let path = normal(Path::new(path.trim()));
            path.filter(|path| path.is_absolute()).ok_or_else(|| {
                ConfigError::invalid(&full_name, written, "expected absolute paths, separated by commas")
            })
        });
        Ok(AllowedPaths(Some(paths.collect::<Result<_, _>>()?)))
    }

    fn allowed_variables(&self, name: &str) -> Result<Option<WholePattern>, ConfigError> {
        let full_name = format!("{OF_PROVIDERS}{name}.param.allowlist.pattern");
        let Some(pattern) = self.get(&full_name).map(str::trim).filter(|pattern| !pattern.is_empty()) else {
            return Ok(None);
        };
        WholePattern::of_operator(pattern)
            .map(Some)
            .map_err(|error| ConfigError::invalid(&full_name, pattern, error.to_string()))
    }
}

/// The value with its references replaced; `None` if it has none. The error is the reference and the reason.
fn replace(
    value: &str,
    providers: &BTreeMap<String, Provider>,
    variable: Variables<'_>,
) -> Result<Option<String>, (String, String)> {
    let (mut replaced, mut rest, mut found) = (String::new(), value, false);
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        replaced.push_str(before);
        let known = Reference::parse(from).and_then(|reference| {
            let provider = providers.get(reference.provider)?;
            Some((reference, provider))
        });
        let Some((reference, provider)) = known else {
            // As in Kafka, what names no provider is an ordinary part of the value.
            replaced.push_str("${");
            rest = &from[2..];
            continue;
        };
        found = true;
        let provided = provider.provide(&reference, variable);
        replaced.push_str(&provided.map_err(|why| (reference.written.to_owned(), why))?);
        rest = &from[reference.written.len()..];
    }
    replaced.push_str(rest);
    Ok(found.then_some(replaced))
}

impl<'a> Reference<'a> {
    /// The reference that the text begins with.
    fn parse(text: &'a str) -> Option<Reference<'a>> {
        let written = &text[..=text.find('}')?];
        let inner = written.strip_prefix("${")?.strip_suffix('}')?;
        let (provider, rest) = inner.split_once(':')?;
        let (path, key) = rest.split_once(':').unwrap_or(("", rest));
        Some(Reference { written, provider, path, key })
    }
}

impl Provider {
    fn provide(&self, reference: &Reference<'_>, variable: Variables<'_>) -> Result<String, String> {
        let Reference { path, key, .. } = *reference;
        match self {
            Provider::File(allowed) => {
                let path = allowed.check(path)?;
                let text = read(&path)?;
                let file =
                    Properties::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
                let value = file.0.into_iter().rev().find(|(name, _)| name == key);
                value
                    .map(|(_, value)| value)
                    .ok_or_else(|| format!("there is no {key} in {}", path.display()))
            }
            Provider::Directory(allowed) => {
                let directory = allowed.check(path)?;
                let is_file_name = Path::new(key).components().collect::<Vec<_>>().len() == 1
                    && Path::new(key).file_name().is_some_and(|name| name == key);
                if !is_file_name {
                    return Err("expected the name of a file in the directory".to_owned());
                }
                read(&directory.join(key))
            }
            Provider::Environment(_) if !path.is_empty() => {
                Err("expected the name of a variable, without a path".to_owned())
            }
            Provider::Environment(Some(allowed)) if !allowed.matches(key) => {
                Err("param.allowlist.pattern does not allow this variable".to_owned())
            }
            Provider::Environment(_) => {
                variable(key).ok_or_else(|| "there is no such environment variable".to_owned())
            }
        }
    }
}

impl AllowedPaths {
    fn check(&self, path: &str) -> Result<PathBuf, String> {
        let path = normal(Path::new(path)).filter(|path| !path.as_os_str().is_empty());
        let path = path.ok_or_else(|| "expected a path".to_owned())?;
        let is_allowed = |allowed: &Vec<PathBuf>| allowed.iter().any(|allowed| path.starts_with(allowed));
        match &self.0 {
            Some(allowed) if !is_allowed(allowed) => {
                Err("param.allowed.paths does not allow this path".to_owned())
            }
            Some(_) | None => Ok(path),
        }
    }
}

/// The path without `.` and `..`; `None` if it leads above its beginning.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => normal.push(component),
        }
    }
    Some(normal)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerSettings, Origin, describe_broker, listing};

    const PASSWORD: &str = "ssl.keystore.password";

    /// The value of `name` after all references are replaced, or the error.
    fn resolved(name: &str, settings: &[(&str, &str)]) -> Result<String, String> {
        let mut given = Given::default();
        for (provider, class) in [("file", FILE), ("dir", DIRECTORY), ("env", ENVIRONMENT)] {
            given.set_from(Origin::File, "a", format!("config.providers.{provider}.class"), class);
        }
        given.set_from(Origin::File, "a", PROVIDERS, "file, dir,env");
        settings.iter().for_each(|(name, value)| given.set_from(Origin::File, "a", *name, *value));
        let variable = |name: &str| (name == "SECRET").then(|| "from the environment".to_owned());
        given.resolve(&variable).map_err(|error| error.to_string())?;
        Ok(given.get(name).unwrap().to_owned())
    }

    #[test]
    fn each_provider_gives_the_values_that_references_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join("tls.properties"), "password=hush\nother: x:y\n").unwrap();
        std::fs::write(dir.path().join("token"), "whole file\n").unwrap();
        let value = |written: &str| resolved(PASSWORD, &[(PASSWORD, &written.replace("DIR", path))]);
        assert_eq!(value("${file:DIR/tls.properties:password}"), Ok("hush".into()));
        assert_eq!(value("<${file:DIR/./x/../tls.properties:other}>"), Ok("<x:y>".into()));
        assert_eq!(value("${dir:DIR:token}"), Ok("whole file\n".into()));
        assert_eq!(
            value("${env:SECRET}, ${env:SECRET}"),
            Ok("from the environment, from the environment".into())
        );
        for plain in ["${other:a:b}", "${file", "${file}", "$file:a:b", "${}", "a$"] {
            assert_eq!(value(plain), Ok(plain.into()), "no reference");
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_refused_with_the_setting_and_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join("a"), "password=hush").unwrap();
        for (reference, why) in [
            ("${file:DIR/a:user}", "there is no user in"),
            ("${file:DIR/b:user}", "No such file"),
            ("${file:a}", "expected a path"),
            ("${dir:DIR:b}", "No such file"),
            ("${dir:DIR:../a}", "expected the name of a file"),
            ("${dir:DIR:..}", "expected the name of a file"),
            ("${env:OTHER}", "there is no such environment variable"),
            ("${env:a:SECRET}", "without a path"),
        ] {
            let reference = reference.replace("DIR", path);
            let refused = resolved(PASSWORD, &[(PASSWORD, &reference)]).unwrap_err();
            assert!(
                refused.contains(PASSWORD) && refused.contains(&reference) && refused.contains(why),
                "{refused}"
            );
            assert!(!refused.contains("hush"), "{refused}");
        }
    }

    #[test]
    fn paths_and_variables_can_be_limited() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        std::fs::write(dir.path().join("a"), "b=c").unwrap();
        let file = format!("${{file:{path}/a:b}}");
        let with = |limit: &str, value: &str, reference: &str| {
            resolved(PASSWORD, &[(limit, value), (PASSWORD, reference)])
        };
        const PATHS: &str = "config.providers.file.param.allowed.paths";
        const PATTERN: &str = "config.providers.env.param.allowlist.pattern";
        assert_eq!(with(PATHS, &format!("/nowhere,{path}"), &file), Ok("c".into()));
        assert_eq!(with(PATHS, &format!("{path}/a"), &file), Ok("c".into()));
        let outside = format!("${{file:{path}/x/../../a:b}}");
        for (allowed, reference) in [("/nowhere", &file), (&format!("{path}/other"), &file), (path, &outside)]
        {
            let refused = with(PATHS, allowed, reference).unwrap_err();
            assert!(refused.contains("param.allowed.paths does not allow"), "{refused}");
        }
        assert!(with(PATHS, "relative", &file).unwrap_err().contains(PATHS));
        assert!(with(PATTERN, "SECR.*", "${env:SECRET}").is_ok());
        let refused = with(PATTERN, "ECR|SECRETS?X", "${env:SECRET}").unwrap_err();
        assert!(refused.contains("param.allowlist.pattern does not allow"), "{refused}");
        let refused = with(PATTERN, "(", "${env:SECRET}").unwrap_err();
        assert!(refused.contains(PATTERN) && refused.contains("unclosed group"), "{refused}");
        let refused = with(PATTERN, "A)|(?:SECRET", "${env:SECRET}").unwrap_err();
        assert!(refused.contains(PATTERN) && refused.contains("unopened group"), "{refused}");
    }

    #[test]
    fn unknown_classes_are_refused_by_name() {
        let with = |settings: &[(&str, &str)]| resolved(PROVIDERS, settings).unwrap_err();
        let refused = with(&[("config.providers.env.class", "com.example.VaultProvider")]);
        assert!(refused.contains("com.example.VaultProvider") && refused.contains(FILE), "{refused}");
        assert!(with(&[(PROVIDERS, "vault")]).contains("config.providers.vault.class is not set"));
    }

    #[test]
    fn a_provided_value_is_hidden_as_a_password_is_and_nothing_is_replaced_twice_or_over_the_wire() {
        let mut given = Given::default();
        given.set(PROVIDERS, "env");
        given.set("config.providers.env.class", ENVIRONMENT);
        for name in ["my.plugin", "node.id", "super.users", "broker.rack", PASSWORD] {
            given.set(name, "${env:SECRET}");
        }
        let secret = |value: &'static str| move |_: &str| Some(value.to_owned());
        given.resolve(&secret("7${env:SECRET}")).unwrap();
        assert_eq!(given.get(PASSWORD), Some("7${env:SECRET}"), "a value may look like a reference");
        let refused = BrokerSettings::load(given.clone()).unwrap_err().to_string();
        assert!(refused.contains("node.id") && !refused.contains("SECRET"), "{refused}");
        given.set("node.id", "7");
        let settings = BrokerSettings::load(given).unwrap();
        let altered = [("listener.name.a.ssl.key.password".to_owned(), "${env:SECRET}".to_owned())].into();
        let settings =
            settings.altered(crate::config::Altered { broker: altered, ..Default::default() }).unwrap();
        let kept = settings.altered.broker.values().next().map(String::as_str);
        assert_eq!(kept, Some("${env:SECRET}"), "over the wire it is an ordinary value");
        let shown = format!("{}{settings:?}", listing(&settings));
        assert!(!shown.contains("7${env"), "{shown}");
        // As in Kafka, the value of a setting that is known and no password is described.
        let described = describe_broker(&settings).into_iter().map(|one| (format!("{one:?}"), one.name));
        let described = described.filter(|(shown, _)| shown.contains("7${env")).map(|(_, name)| name);
        assert_eq!(described.collect::<Vec<_>>(), ["broker.rack"]);
        assert!(settings.given.unknown().all(|unknown| !unknown.0.starts_with(OF_PROVIDERS)));
    }
}
