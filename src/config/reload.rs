//! Reloading settings while the broker runs (SIGHUP). Dynamic settings get their new values at once; the
//! others wait for a restart. As in Kafka, settings altered by clients take precedence over both.

use super::broker::rows;
use super::logins::is_about_tokens;
use super::row::{Change, Row};
use super::rules;
use super::value::Kind;
use super::{BrokerSettings, ConfigError, Given, Origin, Written};

/// The result of a reload.
#[derive(Debug)]
pub struct Reloaded {
    pub settings: BrokerSettings,
    pub changed: Vec<Difference>,
    /// These take effect at the next start.
    pub waiting: Vec<&'static str>,
    /// Invalid settings; they keep their old values.
    pub refused: Vec<ConfigError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub name: String,
    /// `None` means the default.
    pub from: Option<String>,
    pub to: Option<String>,
    /// A client has altered the setting, which takes precedence.
    pub is_altered: bool,
}

impl Given {
    /// Takes the TLS settings that have the prefix of this listener from `before`.
    pub fn keep_tls_of(&mut self, listener: &str, before: &Given) {
        let prefix = format!("listener.name.{}.ssl.", listener.to_lowercase());
        let names = self.names().chain(before.names()).filter(|name| name.starts_with(&prefix));
        for name in names.map(str::to_owned).collect::<Vec<_>>() {
            self.replace(&name, before.written(&name).cloned());
        }
    }
}

impl BrokerSettings {
    /// The settings with the current values of file, environment and flags.
    pub fn reloaded(&self, written: &Given) -> Reloaded {
        let mut given = self.given.clone();
        let (mut changed, mut waiting, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let value = |written: Option<&Written>| written.map(|written| written.value.clone());
        for row in rows() {
            let (before, now) = (self.given.written(row.name), written.written(row.name));
            if value(before) == value(now) || (now.is_none() && before.is_some_and(is_of_the_program)) {
                continue;
            }
            if let Some(Err(error)) = now.map(|now| rules::read(row.name, row, &now.value)) {
                refused.push(error.hiding_provided(written));
                continue;
            }
            if row.change != Change::Dynamic {
                waiting.push(row.name);
                continue;
            }
            given.replace(row.name, now.cloned());
            changed.push(self.difference(row.name, row, before, now));
        }
        // Those of single listeners act at once, except where they decide which tokens are trusted.
        for (name, row) in self.given.of_listeners().chain(written.of_listeners()) {
            let (before, now) = (given.written(name).cloned(), written.written(name));
            if now.is_none() && before.as_ref().is_some_and(is_of_the_program) {
                continue;
            }
            if value(before.as_ref()) == value(now) {
                given.replace(name, now.cloned());
            } else if let Some(Err(error)) = now.map(|now| rules::read(name, row, &now.value)) {
                let error = error.hiding_provided(written);
                if !refused.contains(&error) {
                    refused.push(error);
                }
            } else if !is_about_tokens(name) {
                changed.push(self.difference(name, row, before.as_ref(), now));
                given.replace(name, now.cloned());
            } else if !waiting.contains(&row.name) {
                waiting.push(row.name);
            }
        }
        if refused.is_empty()
            && !waiting.is_empty()
            && let Err(error) = BrokerSettings::load(written.clone())
        {
            // Nothing takes effect at the next start, because the broker would not start.
            waiting.clear();
            refused.push(error);
        }
        match self.given_anew(given) {
            Ok(settings) => Reloaded { settings, changed, waiting, refused },
            Err(error) => {
                // Each value may be valid, but not all of them together.
                refused.push(error.hiding_provided(written));
                Reloaded { settings: self.clone(), changed: Vec::new(), waiting, refused }
            }
        }
    }

    fn difference(
        &self,
        name: &str,
        row: &Row,
        before: Option<&Written>,
        now: Option<&Written>,
    ) -> Difference {
        let is_altered =
            [&self.altered.broker, &self.altered.cluster].iter().any(|layer| layer.contains_key(name));
        let [from, to] = [before, now].map(|written| written.map(|written| shown(row, written)));
        Difference { name: name.to_owned(), from, to, is_altered }
    }
}

/// The value as the log may show it.
fn shown(row: &Row, written: &Written) -> String {
    let is_hidden = row.kind == Kind::Password || written.is_provided;
    if is_hidden { "(hidden)".to_owned() } else { written.value.clone() }
}

/// Set by the program that embeds the broker; it takes precedence over a file.
fn is_of_the_program(written: &Written) -> bool {
    written.origin == Origin::Flag && written.place.is_empty()
}
