//! `--print-config`: all settings with their values and sources.

use std::fmt::Write;

use super::prefix::base_of;
use super::providers::OF_PROVIDERS;
use super::row::Row;
use super::unknown::UnknownName;
use super::value::Kind;
use super::{BrokerSettings, Meant, broker};
use crate::types::{HIDDEN, shown_url};

/// One line per setting, ordered by name: `name=value  (source)`. Those of single listeners and unknown ones come last.
pub fn listing(settings: &BrokerSettings) -> String {
    let mut page = String::new();
    for row in broker::rows() {
        let value = match shown(row, settings) {
            Some(value) if is_hidden(row.name, settings) && !value.is_empty() => HIDDEN.to_owned(),
            value => value.unwrap_or_default(),
        };
        // Defaults of settings without an effect are left out.
        if row.acts || settings.given.get(row.name).is_some() {
            line(&mut page, row.name, &value, &source(row, settings));
        }
    }
    let written = |name: &str| {
        let written = settings.given.written(name)?;
        Some((written, if is_hidden(name, settings) { HIDDEN } else { written.value.trim() }))
    };
    for (name, _) in settings.given.of_listeners() {
        let Some((written, value)) = written(name) else { continue };
        line(&mut page, name, value, &written.to_string());
    }
    for name in settings.given.of_providers() {
        let Some((written, value)) = written(name) else { continue };
        line(&mut page, name, value, &written.to_string());
    }
    for unknown in settings.given.unknown() {
        let Some((written, value)) = written(unknown.0) else { continue };
        let why = match unknown.meant() {
            Meant::ZooKeeper => "without effect: ZooKeeper is not needed".to_owned(),
            Meant::OtherVendor => "without effect: a setting of another vendor".to_owned(),
            Meant::Known(name) => format!("unknown and without effect; did you mean {name}?"),
            Meant::Nothing => "unknown and without effect".to_owned(),
        };
        line(&mut page, unknown.0, value, &format!("{written}, {why}"));
    }
    page
}

fn line(page: &mut String, name: &str, value: &str, source: &str) {
    let value = if name.ends_with(".url") { shown_url(value) } else { value.to_owned() };
    // Each setting is on one line, whatever the file contains.
    let value: String = value.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let _ = writeln!(page, "{name}={value}  ({source})");
}

fn is_hidden(name: &str, settings: &BrokerSettings) -> bool {
    may_be_secret(name) || settings.given.written(name).is_some_and(|written| written.is_provided)
}

fn shown(row: &Row, settings: &BrokerSettings) -> Option<String> {
    settings.value(row.name).shown()
}

/// The source of the value: under its own name, or under another name for it.
fn source(row: &Row, settings: &BrokerSettings) -> String {
    if let Some(own) = settings.given.written(row.name) {
        return if row.acts { own.to_string() } else { format!("{own}, without effect here") };
    }
    let mut others = row.stands_in.iter().map(|(name, _)| *name);
    match others.find_map(|other| Some((other, settings.given.written(other)?))) {
        Some((other, written)) => format!("{other}, {written}"),
        None => "default".to_owned(),
    }
}

/// Whether a setting of a broker is a password or a key. An unknown one can be, unless its name looks like that of a setting
/// that is none.
pub fn may_be_secret(name: &str) -> bool {
    let name = base_of(name);
    if name.starts_with(OF_PROVIDERS) && name.ends_with(".class") {
        return false;
    }
    let row = broker::row(name).or_else(|| match UnknownName(name).meant() {
        Meant::Known(known) => broker::row(known),
        Meant::ZooKeeper | Meant::OtherVendor | Meant::Nothing => None,
    });
    row.is_none_or(|row| row.kind == Kind::Password)
}
