//! Writes the types of `protocol::messages`: a module per message, a struct for all its versions.
//! What is written uses only `Reader`, `Writer` and `Field` of the room; no length, no index and
//! no arithmetic appears in it.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::schema::{Base, Field, Kind, Message, Struct, Versions};

pub fn generate(messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        module(&mut out, message);
    }
    flat(&mut out, messages);
    apis(&mut out, messages);
    indented(&out)
}

/// Every type also without its module, if no other module has a type of that name.
fn flat(out: &mut String, messages: &[Message]) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for each in messages.iter().flat_map(|message| &message.structs) {
        *times.entry(&each.name).or_default() += 1;
    }
    for message in messages {
        for each in message.structs.iter().filter(|each| times[each.name.as_str()] == 1) {
            line!(out, "pub use {}::{};", message.module(), each.name);
        }
    }
}

/// For who looks at what was generated: each line as deep as the braces that are open.
fn indented(code: &str) -> String {
    let mut out = String::new();
    let mut depth = 0usize;
    for line in code.lines() {
        let closes =
            line.chars().take_while(|letter| matches!(letter, '}' | ' ')).filter(|letter| *letter == '}');
        let here = depth.saturating_sub(closes.count());
        out.push_str(&"    ".repeat(here));
        out.push_str(line);
        out.push('\n');
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
    }
    out
}

macro_rules! line {
    ($out:expr, $($text:tt)*) => { writeln!($out, $($text)*).expect("a string takes it") };
}
pub(crate) use line;

fn module(out: &mut String, message: &Message) {
    line!(out, "pub mod {} {{", message.module());
    line!(out, "use super::generated::*;");
    for each in &message.structs {
        declaration(out, each);
        if !each.fields.iter().all(starts_at_nothing) {
            default(out, each);
        }
        line!(out, "impl Field for {} {{", each.name);
        read(out, each, message.flexible.is_some());
        write(out, each, message);
        if message.kind == Kind::Response {
            replace_errors(out, each);
        }
        line!(out, "}}");
        if message.structs.iter().flat_map(|any| &any.fields).any(|field| is_nullable_struct(field, each)) {
            line!(out, "nullable_struct!({});", each.name);
        }
    }
    message_traits(out, message);
    line!(out, "}}");
}

fn declaration(out: &mut String, each: &Struct) {
    let default = if each.fields.iter().all(starts_at_nothing) { ", Default" } else { "" };
    line!(out, "#[derive(Clone, Debug, PartialEq{default})]");
    line!(out, "pub struct {} {{", each.name);
    for field in &each.fields {
        line!(out, "pub {}: {},", ident(field), rust_type(field));
    }
    line!(out, "}}");
}

fn default(out: &mut String, each: &Struct) {
    line!(out, "impl Default for {} {{", each.name);
    line!(out, "fn default() -> Self {{\nSelf {{");
    for field in &each.fields {
        line!(out, "{}: {},", ident(field), default_value(field));
    }
    line!(out, "}}\n}}\n}}");
}

fn read(out: &mut String, each: &Struct, ever_flexible: bool) {
    let (tagged, plain): (Vec<_>, Vec<_>) = each.fields.iter().partition(|field| field.tag.is_some());
    line!(out, "fn read(input: &mut Reader, at: At) -> Result<Self, WireError> {{");
    line!(out, "let mut it = Self::default();");
    for field in plain {
        let body = format!("it.{} = input.read(at)?;{}", ident(field), null_check("it", field));
        line!(out, "{}", if_in_version(field.versions, &body));
    }
    if !tagged.is_empty() {
        line!(out, "if at.flexible {{\ninput.tags(|tag, input| {{\nmatch tag {{");
        for field in tagged {
            let guard = field
                .versions
                .map(|range| format!(" if {}", condition(range, "at.version")))
                .unwrap_or_default();
            let tag = field.tag.unwrap_or_default();
            let check = null_check("it", field);
            line!(out, "{tag}{guard} => {{ it.{} = input.read(at)?;{check} }}", ident(field));
        }
        line!(out, "_ => return Ok(false),\n}}\nOk(true)\n}})?;\n}}");
    } else if ever_flexible {
        line!(out, "if at.flexible {{ input.skip_tags()?; }}");
    }
    line!(out, "Ok(it)\n}}");
}

fn write(out: &mut String, each: &Struct, message: &Message) {
    let (mut tagged, plain): (Vec<_>, Vec<_>) = each.fields.iter().partition(|field| field.tag.is_some());
    tagged.sort_by_key(|field| field.tag);
    line!(out, "fn write(&self, out: &mut Writer, at: At) -> Result<(), WireError> {{");
    for field in plain {
        let mut body = format!("{}self.{}.write(out, at)?;", null_check("self", field), ident(field));
        if message.kind == Kind::Response && is_error_code(field) {
            body.push_str(&format!(" out.note_error(self.{});", ident(field)));
        }
        line!(out, "{}", if_in_version(field.versions, &body));
    }
    if !tagged.is_empty() {
        line!(out, "if at.flexible {{\nlet mut tags = Tags::default();");
        for field in tagged {
            let name = ident(field);
            let check = null_check("self", field);
            let tag = field.tag.unwrap_or_default();
            let put = format!("{check}tags.put({tag}, &self.{name}, at)?;");
            let changed = format!("if self.{name} != {} {{ {put} }}", default_value(field));
            line!(out, "{}", if_in_version(field.versions, &changed));
        }
        line!(out, "out.tags(tags)?;\n}}");
    } else if message.flexible.is_some() {
        line!(out, "if at.flexible {{ out.tags(Tags::default())?; }}");
    }
    line!(out, "Ok(())\n}}");
}

/// Only for a struct with an error code, or with structs that may have one.
fn replace_errors(out: &mut String, each: &Struct) {
    let code = each.fields.iter().find(|field| is_error_code(field));
    let structs = || each.fields.iter().filter(|field| matches!(field.base, Base::Struct(_)));
    if code.is_none() && structs().next().is_none() {
        return;
    }
    line!(out, "fn replace_errors(&mut self, code: i16) -> bool {{\nlet mut found = false;");
    if let Some(field) = code {
        let name = ident(field);
        let message = each.fields.iter().find(|field| field.name == "error_message");
        let no_message =
            message.map_or_else(String::new, |_| "self.error_message = Default::default();".to_owned());
        line!(out, "if self.{name} != 0 {{ self.{name} = code; {no_message} found = true; }}");
    }
    for field in structs() {
        line!(out, "found |= self.{}.replace_errors(code);", ident(field));
    }
    line!(out, "found\n}}");
}

fn message_traits(out: &mut String, message: &Message) {
    let name = message.name();
    let Versions { first, last } = message.versions;
    let last = last.unwrap_or(first);
    let flexible = message.flexible.map_or("i16::MAX".to_owned(), |version| version.to_string());
    line!(out, "impl Message for {name} {{");
    line!(out, "const VERSIONS: RangeInclusive<i16> = {first}..={last};");
    line!(out, "const FIRST_FLEXIBLE: i16 = {flexible};");
    let is_throttle_time = |field: &Field| field.name == "throttle_time_ms";
    if message.structs.first().is_some_and(|body| body.fields.iter().any(is_throttle_time)) {
        line!(out, "fn throttle_time_ms(&self) -> i32 {{ self.throttle_time_ms }}");
        line!(
            out,
            "fn hold_back(&mut self, ms: i32) {{ self.throttle_time_ms = self.throttle_time_ms.max(ms); }}"
        );
    }
    let has_error_code = message.structs.first().is_some_and(|body| body.fields.iter().any(is_error_code));
    if message.kind == Kind::Response && has_error_code {
        line!(out, "fn set_error_code(&mut self, code: i16) {{ self.error_code = code; }}");
    }
    line!(out, "}}");
    if let (Kind::Request, Some(key)) = (message.kind, message.key) {
        let module = message.module().replace("_request", "_response");
        line!(out, "impl Request for {name} {{");
        line!(out, "type Response = super::{module}::{}Response;", message.api);
        line!(out, "const KEY: i16 = {key};");
        line!(out, "const NAME: &'static str = {:?};", message.api);
        line!(out, "}}");
    }
}

/// One line per API key, in ascending order.
fn apis(out: &mut String, messages: &[Message]) {
    line!(out, "pub static APIS: &[KafkaApi] = &[");
    let mut requests: Vec<_> = messages.iter().filter(|message| message.kind == Kind::Request).collect();
    requests.sort_by_key(|message| message.key);
    for message in requests {
        line!(out, "KafkaApi::of::<{}::{}>(),", message.module(), message.name());
    }
    line!(out, "];");
}

pub fn ident(field: &Field) -> String {
    match field.name.as_str() {
        name @ ("type" | "match") => format!("r#{name}"),
        name => name.to_owned(),
    }
}

fn rust_type(field: &Field) -> String {
    let base = match &field.base {
        Base::Bool => "bool",
        Base::Int8 => "i8",
        Base::Int16 => "i16",
        Base::Uint16 => "u16",
        Base::Int32 => "i32",
        Base::Int64 => "i64",
        Base::Float64 => "f64",
        Base::Uuid => "Uuid",
        Base::String => "String",
        Base::Bytes => "Bytes",
        Base::Records => "Records",
        Base::Struct(name) => name,
    };
    let whole = if field.array { format!("Vec<{base}>") } else { base.to_owned() };
    if field.nullable.is_some() { format!("Option<{whole}>") } else { whole }
}

/// As Kafka: a field that may be null is null by default only where the schema says so (or where
/// it holds records).
pub fn default_value(field: &Field) -> String {
    if let Some(default) = &field.default {
        return if default == "null" { "None".to_owned() } else { default.clone() };
    }
    let value = match &field.base {
        _ if field.array => "Vec::new()".to_owned(),
        Base::Bool => "false".to_owned(),
        Base::Int8 | Base::Int16 | Base::Uint16 | Base::Int32 | Base::Int64 => "0".to_owned(),
        Base::Float64 => "0.0".to_owned(),
        Base::Uuid => "Uuid::ZERO".to_owned(),
        Base::String => "String::new()".to_owned(),
        Base::Bytes => "Bytes::new()".to_owned(),
        Base::Records if field.nullable.is_some() => return "None".to_owned(),
        Base::Records => "Records::default()".to_owned(),
        Base::Struct(name) => format!("{name}::default()"),
    };
    if field.nullable.is_some() { format!("Some({value})") } else { value }
}

/// Whether it says that what was asked for failed; CreateTopics has a code that says less.
fn is_error_code(field: &Field) -> bool {
    matches!(field.name.as_str(), "error_code" | "partition_error_code")
        && matches!(field.base, Base::Int16)
        && !field.array
}

/// Whether Rust's own default is Kafka's.
fn starts_at_nothing(field: &Field) -> bool {
    match &field.default {
        Some(default) => default == "null",
        None => field.nullable.is_none() || matches!(field.base, Base::Records),
    }
}

/// The version from which on a field may be null that may not be null before.
pub fn null_since(field: &Field) -> Option<i16> {
    field.nullable.filter(|since| *since > 0)
}

fn null_check(owner: &str, field: &Field) -> String {
    match null_since(field) {
        Some(since) => format!("if at.version < {since} {{ not_null(&{owner}.{})?; }} ", ident(field)),
        None => String::new(),
    }
}

fn if_in_version(range: Option<Versions>, body: &str) -> String {
    match range {
        Some(range) => format!("if {} {{ {body} }}", condition(range, "at.version")),
        None => body.to_owned(),
    }
}

pub fn condition(Versions { first, last }: Versions, version: &str) -> String {
    match last {
        Some(last) if last == first => format!("{version} == {first}"),
        Some(last) => format!("({first}..={last}).contains(&{version})"),
        None => format!("{version} >= {first}"),
    }
}

fn is_nullable_struct(field: &Field, each: &Struct) -> bool {
    let same = matches!(&field.base, Base::Struct(name) if *name == each.name);
    same && !field.array && field.nullable.is_some()
}
