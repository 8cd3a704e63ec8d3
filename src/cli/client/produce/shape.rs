//! How a line becomes a record.

use super::super::record::layout::{self, Layout};
use super::super::record::{NewRecord, json};
use super::super::{CommandOutcome, Failure};
use super::Options;

/// How a record is made of a line.
pub enum Shape {
    /// The line or file is the value.
    Value,
    /// Key and value, with these bytes between them.
    Keyed(Vec<u8>),
    Layout(Layout),
    Json,
}

impl Shape {
    pub fn of(options: &Options) -> CommandOutcome<Shape> {
        let usage = |option: &str| {
            let option = option.to_owned();
            move |why: String| Failure::Usage(format!("{option}: {why}"))
        };
        let shape = match (&options.format, &options.key_separator) {
            (Some(layout), _) => Shape::Layout(layout.clone().readable().map_err(usage("--format"))?),
            (None, Some(text)) => Shape::Keyed(layout::unescaped(text).map_err(usage("--key-separator"))?),
            (None, None) if options.from_json => Shape::Json,
            (None, None) => Shape::Value,
        };
        let names_topics = matches!(shape, Shape::Json | Shape::Layout(_));
        if options.topic.is_none() && !names_topics {
            return Err(Failure::Usage("name the topic to write to: see --help".to_owned()));
        }
        Ok(shape)
    }

    /// The record in a line, with all that the options add.
    pub fn record(&self, line: &[u8], options: &Options) -> Result<NewRecord, String> {
        let null = options.null.as_deref().map(str::as_bytes);
        let bytes = |part: &[u8]| (Some(part) != null).then(|| part.to_vec());
        let mut record = match self {
            Shape::Value => NewRecord { value: bytes(line), ..NewRecord::default() },
            Shape::Keyed(separator) => match split(line, separator) {
                Some((key, value)) => {
                    NewRecord { key: bytes(key), value: bytes(value), ..NewRecord::default() }
                }
                None if options.key_optional => NewRecord { value: bytes(line), ..NewRecord::default() },
                None => return Err(format!("without \"{}\" there is no key", separator.escape_ascii())),
            },
            Shape::Layout(layout) => layout.read(line, null)?,
            Shape::Json => json::read(line)?,
        };
        if record.timestamp == Some(0) {
            return Err("librdkafka cannot write the timestamp 0".to_owned());
        }
        if let Some(topic) = &options.topic {
            record.topic = Some(topic.clone());
        }
        if record.topic.is_none() {
            return Err("it names no topic".to_owned());
        }
        if options.repartition {
            record.partition = None;
        }
        record.partition = options.partition.or(record.partition);
        if let Some(key) = &options.key {
            record.key = Some(key.clone().into_bytes());
        }
        let own = options.headers.iter();
        record.headers.extend(own.map(|(name, value)| (name.clone(), Some(value.clone().into_bytes()))));
        Ok(record)
    }
}

/// Splits a line into key and value.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = layout::find(line, separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Line::try_parse_from([&["jackdaw", "orders"], arguments].concat()).unwrap().options
    }

    fn record(arguments: &[&str], line: &str) -> Result<NewRecord, String> {
        let options = options(arguments);
        Shape::of(&options).unwrap().record(line.as_bytes(), &options)
    }

    #[test]
    fn a_line_becomes_a_record_as_the_options_say() {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        let keyed = |key: Option<&str>, value: Option<&str>| NewRecord {
            topic: Some("orders".to_owned()),
            key: key.and_then(bytes),
            value: value.and_then(bytes),
            ..NewRecord::default()
        };
        for (arguments, line, expected) in [
            (&[][..], "a=b", keyed(None, Some("a=b"))),
            (&["--key-separator", "="], "a=b=c", keyed(Some("a"), Some("b=c"))),
            (&["--key-separator", "=>"], "=>b", keyed(Some(""), Some("b"))),
            (&["--key-separator", "\\t"], "a\tb", keyed(Some("a"), Some("b"))),
            (&["--key-separator", "=", "--key-optional"], "a", keyed(None, Some("a"))),
            (&["--key-separator", "=", "--null", "-"], "a=-", keyed(Some("a"), None)),
            (&["--key-separator", "=", "--null", ""], "=", keyed(None, None)),
            (&["--null", "NULL"], "NULL", keyed(None, None)),
            (&["--key", "k"], "v", keyed(Some("k"), Some("v"))),
            (&["-f", "%s (%k)"], "v (k)", keyed(Some("k"), Some("v"))),
            (&["--from-json"], "{\"topic\":\"x\",\"key\":\"k\",\"value\":null}", keyed(Some("k"), None)),
        ] {
            assert_eq!(record(arguments, line), Ok(expected), "{arguments:?} {line}");
        }
        let line = "{\"partition\":3,\"value\":\"\",\"headers\":[{\"key\":\"a\",\"value\":null}]}";
        let all = record(&["--from-json", "--header", "b=1"], line).unwrap();
        assert_eq!(all.headers, [("a".to_owned(), None), ("b".to_owned(), bytes("1"))]);
        assert_eq!(all.partition, Some(3));
        assert_eq!(record(&["--from-json", "-p", "5"], line).unwrap().partition, Some(5));
        assert_eq!(record(&["--from-json", "--repartition"], line).unwrap().partition, None);
    }

    #[test]
    fn a_line_that_makes_no_record_is_refused_with_the_reason() {
        for (arguments, line, why) in [
            (&["--key-separator", "="][..], "v", "without \"=\" there is no key"),
            (&["-f", "%T %s"], "0 v", "librdkafka cannot write the timestamp 0"),
            (&["--from-json"], "v", "this is no JSON"),
        ] {
            let refused = record(arguments, line).unwrap_err();
            assert!(refused.contains(why), "{arguments:?} {line}: {refused}");
        }
    }
}
