//! What was set, and where: configuration files, environment variables, flags.

use std::collections::BTreeMap;

use super::{Properties, broker};

/// Names and values in the order of precedence: what comes later wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<String, Written>,
}

/// A value as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub value: String,
    pub origin: Origin,
    /// The file, variable or flag; empty where the program itself said it.
    pub place: String,
}

/// Where a value comes from, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody said it. In [`Given`] it is what a container takes instead of the usual default.
    Default,
    File,
    Environment,
    /// A flag, or the program that has the broker in it.
    Flag,
}

impl Given {
    /// Over all that was said before, as a flag or as the program that has the broker in it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.set_from(Origin::Flag, "", name, value);
    }

    pub fn set_from(
        &mut self,
        origin: Origin,
        place: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) {
        self.values.insert(name.into(), Written { value: value.into(), origin, place: place.into() });
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.written(name).map(|written| written.value.as_str())
    }

    /// The value together with where it was written.
    pub fn written(&self, name: &str) -> Option<&Written> {
        self.values.get(name)
    }

    pub fn origin(&self, name: &str) -> Origin {
        self.written(name).map_or(Origin::Default, |written| written.origin)
    }

    /// Whether anything at all came from there.
    pub fn has_any_from(&self, origin: Origin) -> bool {
        self.values.values().any(|written| written.origin == origin)
    }

    /// As it is written now, or nothing.
    pub(super) fn replace(&mut self, name: &str, written: Option<Written>) {
        match written {
            Some(written) => drop(self.values.insert(name.to_owned(), written)),
            None => drop(self.values.remove(name)),
        }
    }

    /// All of another, over what was set before.
    pub fn merge(&mut self, other: Given) {
        self.values.extend(other.values);
    }

    /// The lines of a configuration file.
    pub fn set_all(&mut self, file: &Properties, path: &str) {
        for (name, value) in &file.0 {
            self.set_from(Origin::File, path, name, value);
        }
    }

    /// Settings of Kafka's that are set although nothing depends on them here.
    pub fn idle(&self) -> Vec<&'static str> {
        let idle = broker::rows().iter().filter(|row| !row.acts && self.get(row.name).is_some());
        idle.map(|row| row.name).collect()
    }

    /// Names that are no setting of ours, each with the nearest one that is. As in Kafka they are
    /// worth a warning, not a refusal: plugins and clients share such files.
    pub fn unknown(&self) -> Vec<(&str, Option<&'static str>)> {
        let unknown = self.values.keys().filter(|name| broker::row(name).is_none());
        unknown.map(|name| (name.as_str(), nearest(name))).collect()
    }
}

impl std::fmt::Display for Written {
    /// Where it was written: `environment KAFKA_NODE_ID`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.origin {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Environment => "environment",
            Origin::Flag => "flag",
        };
        f.write_str(kind)?;
        if self.place.is_empty() { Ok(()) } else { write!(f, " {}", self.place) }
    }
}

/// The known name that takes the fewest changes, unless it takes too many to be meant.
fn nearest(name: &str) -> Option<&'static str> {
    let known = broker::rows().iter().map(|row| (distance(name, row.name), row.name));
    known.min().filter(|(changes, _)| *changes <= name.len() / 3).map(|(_, known)| known)
}

/// How many letters have to be added, taken away or replaced.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other_letter) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(letter != other_letter);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
