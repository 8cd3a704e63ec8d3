//! The answers to a command about several things: what was done, and the reasons of those that were refused.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::{Value, json};

use super::table::Table;
use super::{CommandOutcome, Failure, Output, Session, shown};

pub struct Answers {
    json: bool,
    rows: Vec<Value>,
    refusals: Refusals,
}

impl Answers {
    pub fn new(session: &Session) -> Answers {
        Answers { json: session.json(), rows: Vec::new(), refusals: Refusals::default() }
    }

    pub fn done(&mut self, name: &str, result: &str, out: &mut dyn Write) -> io::Result<()> {
        self.done_as(name, result, result, out)
    }

    /// As `done`, but the text has `words` before the name instead of the result.
    pub fn done_as(&mut self, name: &str, result: &str, words: &str, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            self.rows.push(json!({ "name": name, "result": result }));
            return Ok(());
        }
        if result.ends_with("already") {
            return writeln!(out, "{} {result}", shown(name));
        }
        writeln!(out, "{words} {}", shown(name))
    }

    pub fn refused(&mut self, name: &str, why: String) {
        if self.json {
            self.rows.push(json!({ "name": name, "result": "refused", "error": why }));
        }
        self.refusals.add(format!("{}: {why}", shown(name)));
    }

    /// The value, or `None` if it was refused. Other failures end the command.
    pub fn keep<T>(&mut self, name: &str, outcome: CommandOutcome<T>) -> CommandOutcome<Option<T>> {
        if let (true, Err(Failure::Refused(why))) = (self.json, &outcome) {
            self.rows.push(json!({ "name": name, "result": "refused", "error": why }));
        }
        self.refusals.keep(outcome)
    }

    /// Prints the JSON, and fails if something was refused.
    pub fn end(self, out: &mut Output<'_>) -> CommandOutcome {
        if self.json {
            writeln!(out, "{}", Value::Array(self.rows))?;
        }
        self.refusals.end()
    }
}

/// The reasons for refusals. The command does everything else before it reports them.
#[derive(Debug, Default)]
pub struct Refusals(Vec<String>);

impl Refusals {
    pub fn add(&mut self, why: String) {
        self.0.push(why);
    }

    /// The value, or `None` if it was refused. Other failures end the command.
    pub fn keep<T>(&mut self, outcome: CommandOutcome<T>) -> CommandOutcome<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Refused(why)) => {
                self.add(why);
                Ok(None)
            }
            Err(failure @ (Failure::Unavailable(_) | Failure::Usage(_) | Failure::InputOutput(_))) => {
                Err(failure)
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Prints the reasons before the end of a command that may go on for long.
    pub fn show(&self) {
        self.0.iter().for_each(|why| eprintln!("jackdaw: {why}"));
    }

    /// Prints the table, unless everything was refused, and fails if something was.
    pub fn end_with(self, table: &Table, json: bool, out: &mut Output<'_>) -> CommandOutcome {
        if json || self.is_empty() || !table.is_empty() {
            table.print(json, out)?;
        }
        self.end()
    }

    /// Fails if something was refused, with a line for each.
    pub fn end(self) -> CommandOutcome {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::Refused(self.0.join("\njackdaw: "))) }
    }
}

/// Asks on the terminal. Without a terminal nobody can agree, so the command has to say `--yes`.
pub fn agrees(question: &str) -> CommandOutcome<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::Usage(
            "there is no terminal to ask on: add --yes, or --dry-run to see".to_owned(),
        ));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_y_and_yes_agree() {
        for (answer, expected) in
            [("y\n", true), ("YES \n", true), ("", false), ("\n", false), ("no\n", false), ("yep\n", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn what_was_done_is_printed_at_once_and_what_was_refused_is_the_failure() {
        let mut answers = Answers { json: false, rows: Vec::new(), refusals: Refusals::default() };
        let mut out = Vec::new();
        answers.done("a", "created", &mut out).unwrap();
        answers.done("b\x1b", "exists already", &mut out).unwrap();
        answers.refused("c", "no".to_owned());
        assert!(matches!(answers.keep("d", Err::<(), _>(Failure::refused("there is no d"))), Ok(None)));
        assert!(matches!(answers.keep("e", Ok(5)), Ok(Some(5))));
        assert_eq!(String::from_utf8(out).unwrap(), "created a\nb\\u{1b} exists already\n");
        assert_eq!(answers.refusals.0, ["c: no", "there is no d"]);
    }
}
