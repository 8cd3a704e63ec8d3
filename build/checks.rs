//! Writes what `tests/wire` includes: for every struct of every message a look at each field by
//! the name Kafka gives it in JSON, and a way to draw a value; and the list of all messages.

use std::fmt::Write;

use crate::messages::{condition, default_value, ident, line, null_since};
use crate::schema::{Kind, Message, Struct};

pub fn generate(messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        line!(
            out,
            "mod {0} {{ use super::generated::*; use jackdaw::protocol::messages::{0}::*;",
            message.module()
        );
        for each in &message.structs {
            inspect(&mut out, each);
        }
        line!(out, "}}");
    }
    line!(out, "pub fn all() -> Vec<Codec> {{ vec![");
    for message in messages {
        let kind = match message.kind {
            Kind::Request => "Request",
            Kind::Response => "Response",
            Kind::Data => "Data",
        };
        let (name, module, key) = (message.name(), message.module(), message.key);
        line!(
            out,
            "Codec::of::<jackdaw::protocol::messages::{module}::{name}>({name:?}, Kind::{kind}, {key:?}),"
        );
    }
    line!(out, "] }}");
    out
}

fn inspect(out: &mut String, each: &Struct) {
    line!(out, "impl Inspect for {} {{", each.name);
    line!(out, "fn agrees(&self, json: &Json, at: &str) -> Result<(), String> {{");
    line!(out, "let fresh = Self::default(); let mut fields = Fields::of(json, at)?;");
    for field in &each.fields {
        let name = ident(field);
        line!(out, "fields.agree({:?}, &self.{name}, &fresh.{name})?;", camel(&field.name));
    }
    line!(out, "fields.finish() }}");

    line!(out, "fn draw(source: &mut Source, version: i16) -> Self {{ Self {{");
    for field in &each.fields {
        let drawn = match null_since(field) {
            Some(since) => format!("source.draw_nullable_since({since}, version)"),
            None => "Inspect::draw(source, version)".to_owned(),
        };
        let value = match field.versions {
            Some(range) => {
                format!(
                    "if {} {{ {drawn} }} else {{ {} }}",
                    condition(range, "version"),
                    default_value(field)
                )
            }
            None => drawn,
        };
        line!(out, "{}: {value},", ident(field));
    }
    line!(out, "}} }} }}");
}

/// `rack_id` is `rackId` in Kafka's JSON.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        camel.push_str(&first.to_uppercase());
        camel.push_str(rest);
    }
    camel
}
