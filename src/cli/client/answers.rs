//! The answers to a command about several things: a line for each, and the reasons of those that were refused.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::{Value, json};

use super::{CommandOutcome, Failure, Output, Session, shown};

pub struct Answers {
    json: bool,
    rows: Vec<Value>,
    refused: Vec<String>,
}

impl Answers {
    pub fn new(session: &Session) -> Answers {
        Answers { json: session.json(), rows: Vec::new(), refused: Vec::new() }
    }

    pub fn done(&mut self, name: &str, result: &str, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            self.rows.push(json!({ "name": name, "result": result }));
            return Ok(());
        }
        if result.ends_with("already") {
            return writeln!(out, "{} {result}", shown(name));
        }
        writeln!(out, "{result} {}", shown(name))
    }

    pub fn refused(&mut self, name: &str, why: String) {
        if self.json {
            self.rows.push(json!({ "name": name, "result": "refused", "error": why }));
        }
        self.refused.push(format!("{}: {why}", shown(name)));
    }

    /// Prints the JSON, and fails if something was refused.
    pub fn end(self, out: &mut Output<'_>) -> CommandOutcome {
        if self.json {
            writeln!(out, "{}", Value::Array(self.rows))?;
        }
        if self.refused.is_empty() { Ok(()) } else { Err(Failure::Refused(self.refused.join("\njackdaw: "))) }
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
        let mut answers = Answers { json: false, rows: Vec::new(), refused: Vec::new() };
        let mut out = Vec::new();
        answers.done("a", "created", &mut out).unwrap();
        answers.done("b\x1b", "exists already", &mut out).unwrap();
        answers.refused("c", "no".to_owned());
        assert_eq!(String::from_utf8(out).unwrap(), "created a\nb\\u{1b} exists already\n");
        assert_eq!(answers.refused, ["c: no"]);
    }
}
