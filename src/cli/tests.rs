//! The commands on docs/client.md and in the help texts are commands that exist.

use clap::CommandFactory;

use super::*;

/// The words of a command line. Single quotes keep a text with spaces together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (nth, part) in line.split('\'').enumerate() {
        if nth % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn parses(line: &str) -> Result<(), String> {
    CommandLine::try_parse_from(words(line)).map(drop).map_err(|error| format!("{line}: {error}"))
}

/// The texts between single backticks of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn every_command_in_the_table_of_tools_can_be_run() {
    let page = include_str!("../../docs/client.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let last = |row: &&str| row.trim_end_matches(" |").rsplit_once(" | ").map(|(_, cell)| cell.to_owned());
    let cells: Vec<String> = rows.iter().filter_map(last).collect();
    let commands: Vec<&str> =
        cells.iter().flat_map(|cell| quoted(cell)).filter(|text| text.starts_with("jackdaw ")).collect();
    assert!(commands.len() > 50, "{}", commands.len());
    let complete = commands.into_iter().filter(|command| command.split(' ').count() > 2);
    let wrong: Vec<String> = complete.filter_map(|command| parses(command).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_of_the_table_of_tools_has_a_command_or_a_reason() {
    let page = include_str!("../../docs/client.md");
    let (_, tables) = page.split_once("## Commands of other tools").unwrap();
    let rows = tables.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| task"));
    for row in rows {
        let (_, ours) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        assert!(ours.starts_with("`jackdaw ") || ours.starts_with("none: "), "{row}");
        assert_eq!(row.matches(" |").count(), 5, "{row}");
    }
}

/// The commands of this program in a line of a shell.
fn commands(line: &str) -> impl Iterator<Item = &str> {
    let parts = line.trim().split(" | ").filter(|part| part.starts_with("jackdaw "));
    parts.map(|part| part.find(['<', '>']).map_or(part, |redirection| &part[..redirection]))
}

/// The commands without subcommands, with the names above them.
fn leaves(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
    let mut leaves = Vec::new();
    for below in command.get_subcommands() {
        let name = format!("{name} {}", below.get_name());
        if below.has_subcommands() {
            leaves.extend(self::leaves(below, &name));
        } else {
            leaves.push((name, below.clone()));
        }
    }
    leaves
}

#[test]
fn every_command_has_an_example_that_can_be_run() {
    let all = leaves(&CommandLine::command(), "jackdaw");
    assert!(all.len() > 45, "{}", all.len());
    for (name, command) in all {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().flat_map(commands).collect();
        assert!(examples.iter().any(|example| example.starts_with(&name)), "{name} has no example");
        for example in examples {
            assert_eq!(parses(example), Ok(()));
        }
    }
}

#[test]
fn every_exit_code_is_in_the_help() {
    for code in [Exit::Usage, Exit::Data, Exit::Unavailable, Exit::InputOutput, Exit::InUse, Exit::Settings] {
        assert!(EXIT_CODES.contains(&format!("\n  {}  ", code as u8)), "{code:?}");
    }
}
