//! A file of `scripts`: requests in order, and the allowed differences of the answers.
//!
//! ```text
//! every version of Fetch                 runs the file once for each version, `$v`; without it, once
//! broker group.max.size=9 …              settings of the broker beside those of all scripts; `logins`, `tokens`,
//!                                        `signed` and `tls` stand for those of LOGINS, TOKENS, SIGNED and TLS in
//!                                        main.rs, `telemetry` for what takes metrics of clients
//! reason batches: Only whole batches …   differences below may name it: `| @batches`
//! topic t$v 2 retention.ms=1000          created and waited for; its id is `$t.id`
//! delete t$v                             deleted and waited for
//! transactions                           waited for their coordinator; `$own` begins ids that only this run has
//!
//! # an offset beyond the end             the request's title
//! Fetch v topics: [{topic: t$v,          key and version: `v` or a number; then its fields, with
//!     partitions: [{fetch_offset: 9}]}]  more of them indented by four
//!   only 4-12                            the versions in which it is sent
//!   let session = session_id             a variable from the answer; elsewhere it is `$session`, or `hex($session)`
//!                                        if it is bytes
//!   until error_code = 0                 repeated until the answer has this value, which may be `absent`
//!   times 1000                           sent so many times; the last answer counts
//!   some throttle_time_ms                a number from one on, which depends on the time
//!   differs 4-6 error_code: 1 -> 0 | why, for these versions; `absent` is a value too
//!   differs as above                     the differences of the request above once more
//! @b send JoinGroup 5 …                  connection b, without waiting
//! @b answer                              the answer to that
//! @b close                               the client disconnects
//! administrator                          gives all rights to those who come from 127.0.0.1
//! rights                                 also makes the other clients of `clients.rs`, with single rights
//! @no-rights,may-read Fetch v …          sent by each of these clients
//! @sasl SaslHandshake 1 …                connections whose name begins so are to the listener for logins
//! @sasl token plain(ann, secret)         bytes without a header, as after a SaslHandshake 0; the answer is bytes, too
//! @client-a Fetch v …                    sent by a client with the id `a`, not `compare`; `@client-null` has none, and
//!                                        `@client-a/2` is another connection of it
//! @tls-ann Fetch v …                      with TLS and the certificate `certificates/ann.pem`; `@tls-none` has none
//! @user-ann Fetch v …                    sent by a client that has logged in as this user
//! @token-t Fetch v …                     … with the delegation token of the variables `$t.id` and `$t.hmac`
//!
//! wrong DeleteTopics 1,5 topic_names: [a, b]   a request in these versions; only the lines below send it
//!   but topic_names.1 = ""                     with another value; our broker must change nothing
//!   but timeout_ms = 0 and topic_names = []    with several other values
//!   but nothing                                without another value
//! ```
//!
//! Requests are written as `value.rs` describes; `batch(…)` and similar functions are in `records.rs`. A line of
//! `shorthands.txt` is a short form for a request: a word, and the values that take the places of its names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use super::value::Value;

pub struct Script {
    pub name: String,
    /// The script runs once for each version of this API.
    pub api: Option<String>,
    /// `NAME=VALUE` of its `broker` line, separated by spaces.
    pub settings: String,
    pub steps: Vec<Step>,
}

pub struct Step {
    pub line: usize,
    /// The index of the step in the script.
    pub number: usize,
    pub title: String,
    pub connection: String,
    pub act: Act,
    pub only: Versions,
    pub lets: Vec<(String, String)>,
    pub until: Option<(String, String)>,
    pub times: usize,
    pub some: Vec<String>,
    pub differs: Vec<Difference>,
    pub changes_nothing: bool,
}

pub enum Act {
    Topic { name: String, partitions: i32, settings: Vec<(String, String)> },
    Delete { name: String },
    Transactions,
    Administrator,
    Rights,
    Call(Request),
    Send(Request),
    Token(Value),
    Answer,
    Close,
}

#[derive(Clone)]
pub struct Request {
    pub api: String,
    /// `None`: the version of the run.
    pub version: Option<i16>,
    pub fields: Vec<(String, Value)>,
}

/// A difference that is allowed in an answer.
#[derive(Clone)]
pub struct Difference {
    pub versions: Versions,
    pub path: String,
    pub kafka: String,
    pub ours: String,
    pub reason: String,
    /// The reason was written once above, for another request.
    pub is_again: bool,
}

#[derive(Clone, Copy)]
pub struct Versions(i16, i16);

impl Versions {
    const ALL: Versions = Versions(i16::MIN, i16::MAX);

    pub fn holds(self, version: Option<i16>) -> bool {
        version.is_none_or(|version| (self.0..=self.1).contains(&version))
    }

    pub fn and(self, other: Versions) -> Versions {
        Versions(self.0.max(other.0), self.1.min(other.1))
    }

    /// `None`: no limit.
    pub fn ends(self) -> (Option<i16>, Option<i16>) {
        ((self.0 != i16::MIN).then_some(self.0), (self.1 != i16::MAX).then_some(self.1))
    }

    fn parse(text: &str) -> Option<Versions> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let last = if last.is_empty() { i16::MAX } else { last.parse().ok()? };
        Some(Versions(first.parse().ok()?, last))
    }
}

impl Step {
    fn new(line: usize, number: usize, title: &str, act: Act) -> Step {
        Step {
            line,
            number,
            title: title.to_owned(),
            connection: String::new(),
            act,
            only: Versions::ALL,
            lets: Vec::new(),
            until: None,
            times: 1,
            some: Vec::new(),
            differs: Vec::new(),
            changes_nothing: false,
        }
    }

    /// The request of this step.
    pub fn request(&self) -> Option<&Request> {
        match &self.act {
            Act::Call(request) | Act::Send(request) => Some(request),
            _ => None,
        }
    }
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare")
}

pub fn all() -> Vec<Script> {
    let only = env::var("ONLY").unwrap_or_default();
    let files = fs::read_dir(folder().join("scripts")).expect("the scripts");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a script").path()).collect();
    files.sort();
    let name = |file: &Path| file.file_stem().expect("a name").to_string_lossy().into_owned();
    let files = files.iter().filter(|file| only.split(',').any(|only| name(file).contains(only)));
    files
        .map(|file| {
            let text = fs::read_to_string(file).expect("a script is text");
            parse(&name(file), &text)
        })
        .collect()
}

/// Panics with the line that it does not understand; its reader is the author of the script.
pub fn parse(name: &str, text: &str) -> Script {
    let mut script = Script { name: name.to_owned(), api: None, settings: String::new(), steps: Vec::new() };
    let mut reasons = BTreeMap::new();
    let mut title = String::new();
    let mut right: Vec<Request> = Vec::new();
    for (number, line) in joined(text) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let wrong = |why: &str| -> ! { panic!("{name}.txt line {number}: {why}: {line}") };
        if let Some(comment) = line.strip_prefix("# ") {
            title = comment.to_owned();
        } else if let Some(rest) = line.strip_prefix("wrong ") {
            right = requests(rest).unwrap_or_else(|error| wrong(&error));
        } else if let Some(change) = line.strip_prefix("  but ") {
            let wrongs = right.iter().map(|right| changed(right, change));
            let words = std::mem::take(&mut title);
            for request in wrongs.collect::<Result<Vec<_>, _>>().unwrap_or_else(|error| wrong(&error)) {
                let own = format!("{}, but {change}", request.api);
                let title = if words.is_empty() { own } else { words.clone() };
                let step = Step::new(number, script.steps.len(), &title, Act::Call(request));
                script.steps.push(Step { changes_nothing: true, ..step });
            }
        } else if let Some(directive) = line.strip_prefix("  ") {
            let mut above =
                script.steps.iter().rev().skip(1).find(|step| !step.differs.is_empty()).map(again);
            let Some(line_above) = script.steps.last().map(|step| step.line) else {
                wrong("no request is above it")
            };
            if directive == "differs as above" {
                let Some(step) = script.steps.last_mut() else { wrong("no request is above it") };
                step.differs = above.take().unwrap_or_else(|| wrong("nothing differs above"));
                continue;
            }
            // A `but` line of a request in several versions is several steps.
            for step in script.steps.iter_mut().filter(|step| step.line == line_above) {
                if below(step, directive, &reasons).is_none() {
                    wrong("not understood");
                }
            }
        } else if let Some(api) = line.strip_prefix("every version of ") {
            script.api = Some(api.to_owned());
        } else if let Some(settings) = line.strip_prefix("broker ") {
            script.settings = settings.to_owned();
        } else if let Some((name, reason)) =
            line.strip_prefix("reason ").and_then(|rest| rest.split_once(": "))
        {
            reasons.insert(name.to_owned(), reason.to_owned());
        } else if !words.is_empty() {
            let (connections, line) = match line.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
                Some((connections, rest)) => (connections, rest),
                None => ("", line.as_str()),
            };
            let title = std::mem::take(&mut title);
            for connection in connections.split(',') {
                let act = act(line).unwrap_or_else(|error| wrong(&error));
                let title =
                    if connections == connection { title.clone() } else { format!("{title} ({connection})") };
                let step = Step::new(number, script.steps.len(), &title, act);
                script.steps.push(Step { connection: connection.to_owned(), ..step });
            }
        }
    }
    script
}

fn again(step: &Step) -> Vec<Difference> {
    step.differs.iter().map(|one| Difference { is_again: true, ..one.clone() }).collect()
}

/// Lines that begin with four spaces continue the line above.
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("    "), lines.last_mut()) {
            (Some(more), Some((_, last))) => {
                last.push(' ');
                last.push_str(more.trim());
            }
            _ => lines.push((at + 1, line.trim_end().to_owned())),
        }
    }
    lines
}

fn act(line: &str) -> Result<Act, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["answer"] => Ok(Act::Answer),
        ["close"] => Ok(Act::Close),
        ["transactions"] => Ok(Act::Transactions),
        ["administrator"] => Ok(Act::Administrator),
        ["rights"] => Ok(Act::Rights),
        ["topic", name, partitions, settings @ ..] => {
            let setting = |text: &&str| text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
            let settings: Option<Vec<_>> = settings.iter().map(setting).collect();
            Ok(Act::Topic {
                name: (*name).to_owned(),
                partitions: partitions.parse().map_err(|_| "no number of partitions")?,
                settings: settings.ok_or("a setting is NAME=VALUE")?,
            })
        }
        ["token", ..] => {
            let mut values = Value::fields(line["token".len()..].trim_start())?;
            Ok(Act::Token(values.pop().ok_or("a value")?.1))
        }
        ["delete", name] => Ok(Act::Delete { name: (*name).to_owned() }),
        ["send", ..] => Ok(Act::Send(request(line["send".len()..].trim_start())?)),
        _ => Ok(Act::Call(request(line)?)),
    }
}

/// The request for which a line stands: `shorthands.txt` has `commit $id = EndTxn 5 transactional_id: $id, …`.
fn written_out(line: &str) -> Result<String, String> {
    let shorthands = include_str!("shorthands.txt").lines().filter_map(|line| line.split_once(" = "));
    for (short, long) in shorthands {
        let (word, names) = short.split_once(' ').unwrap_or((short, ""));
        let Some(values) = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')) else { continue };
        let names: Vec<&str> = names.split(' ').collect();
        let values: Vec<&str> = values.splitn(names.len(), ' ').collect();
        if names.len() != values.len() {
            return Err(format!("values for {short}"));
        }
        let put = |long: String, (name, value): (&&str, &&str)| long.replace(name, value);
        return Ok(names.iter().zip(&values).fold(long.to_owned(), put));
    }
    Ok(line.to_owned())
}

fn request(line: &str) -> Result<Request, String> {
    let line = written_out(line)?;
    let (api, rest) = line.split_once(' ').ok_or("a key and its version")?;
    let (version, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let version = match version {
        "v" => None,
        number => Some(number.parse().map_err(|_| "no version")?),
    };
    Ok(Request { api: api.to_owned(), version, fields: Value::fields(rest)? })
}

/// `DeleteTopics 1,5 names: [a]`: the same request in several versions.
fn requests(line: &str) -> Result<Vec<Request>, String> {
    let (api, rest) = line.split_once(' ').ok_or("a key and its versions")?;
    let (versions, fields) = rest.split_once(' ').unwrap_or((rest, ""));
    versions.split(',').map(|version| request(&format!("{api} {version} {fields}"))).collect()
}

/// The request with other values, as in `topics.0.name = "" and timeout_ms = 0`.
fn changed(right: &Request, changes: &str) -> Result<Request, String> {
    let mut fields = Value::Object(right.fields.clone());
    for change in changes.split(" and ").filter(|change| *change != "nothing") {
        let (path, value) = change.split_once(" = ").ok_or("a path and its value")?;
        let value = Value::fields(value)?.pop().map(|(_, value)| value).ok_or("a value")?;
        fields.put(&path.split('.').collect::<Vec<_>>(), value).ok_or("no such place in the request")?;
    }
    let Value::Object(fields) = fields else { return Err("a request has fields".to_owned()) };
    Ok(Request { fields, ..right.clone() })
}

fn below(step: &mut Step, directive: &str, reasons: &BTreeMap<String, String>) -> Option<()> {
    let (word, rest) = directive.split_once(' ')?;
    match word {
        "only" => step.only = Versions::parse(rest)?,
        "let" => {
            let (name, path) = rest.split_once(" = ")?;
            step.lets.push((name.to_owned(), path.to_owned()));
        }
        "until" => {
            let (path, value) = rest.split_once(" = ")?;
            step.until = Some((path.to_owned(), value.to_owned()));
        }
        "times" => step.times = rest.parse().ok()?,
        "some" => step.some.push(rest.to_owned()),
        "differs" => {
            let (first, _) = rest.split_once(' ')?;
            let (versions, rest) = match Versions::parse(first) {
                Some(versions) => (versions, &rest[first.len() + 1..]),
                None => (Versions::ALL, rest),
            };
            let (path, rest) = rest.split_once(": ")?;
            let (values, reason) = rest.rsplit_once(" | ")?;
            let (kafka, ours) = values.split_once(" -> ")?;
            let reason = match reason.strip_prefix('@') {
                Some(name) => reasons.get(name)?.clone(),
                None => reason.to_owned(),
            };
            let sent = step.request().and_then(|request| request.version);
            if step.changes_nothing && !versions.holds(sent) {
                return Some(());
            }
            step.differs.push(Difference {
                versions,
                path: path.to_owned(),
                kafka: kafka.to_owned(),
                ours: ours.to_owned(),
                reason,
                is_again: false,
            });
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorthand_stands_for_a_request() {
        let script = parse("s", "@b send abort v $own-a $a 3\n  times 4");
        let Act::Send(request) = &script.steps[0].act else { panic!("it is sent") };
        let fields = "transactional_id: $own-a, producer_id: $a, producer_epoch: 3, committed: false";
        assert_eq!((request.api.as_str(), request.version), ("EndTxn", None));
        assert_eq!(format!("{:?}", request.fields), format!("{:?}", Value::fields(fields).unwrap()));
        assert_eq!(script.steps[0].times, 4);
    }

    #[test]
    fn a_wrong_request_is_sent_in_each_of_its_versions_once_for_each_but_line() {
        let text = "wrong DeleteTopics 1,5 topic_names: [a, b], timeout_ms: 9\n  \
                    but topic_names.1 = \"\"\n  differs 5 a: 1 -> 2 | because\n  \
                    but nothing\n  but timeout_ms = 0 and topic_names = []";
        let script = parse("s", text);
        let sent = |step: &Step| {
            let request = step.request().unwrap();
            (request.version, format!("{:?}", request.fields), step.changes_nothing, step.differs.len())
        };
        let fields = |text: &str| format!("{:?}", Value::fields(text).unwrap());
        let forms = [
            "topic_names: [a, \"\"], timeout_ms: 9",
            "topic_names: [a, b], timeout_ms: 9",
            "topic_names: [], timeout_ms: 0",
        ];
        let expected: Vec<_> = forms
            .iter()
            .zip([[0, 1], [0, 0], [0, 0]])
            .flat_map(|(form, differs)| {
                [(Some(1), fields(form), true, differs[0]), (Some(5), fields(form), true, differs[1])]
            })
            .collect();
        assert_eq!(script.steps.iter().map(sent).collect::<Vec<_>>(), expected);
    }
}
