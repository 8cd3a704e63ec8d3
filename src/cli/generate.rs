//! `jackdaw generate`: files that belong to the binary, written for other programs.

mod alerts;
mod command_line;
mod dashboard;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::{Exit, fail};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the completions of this command line for a shell
    #[command(after_help = "Example:\n  jackdaw generate completions bash > /etc/bash_completion.d/jackdaw")]
    Completions { shell: Shell },
    /// Write the man page of each command into a directory
    #[command(after_help = "Example:\n  jackdaw generate man /usr/local/share/man/man1")]
    Man { dir: PathBuf },
    /// A Grafana dashboard (jackdaw-dashboard.json) and alert rules for Prometheus (jackdaw-alerts.yml) over the
    /// metrics of `serve --http`. The rules expect the scrape job `jackdaw`
    #[command(after_help = "Example:\n  jackdaw generate dashboards /etc/prometheus/rules")]
    Dashboards {
        /// The directory for the files, which is made if it does not exist; existing files are replaced
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
}

/// `program` is the whole command line.
pub(super) fn run(options: &Options, program: clap::Command) -> Exit {
    match &options.command {
        Command::Completions { shell } => command_line::completions(*shell, program),
        Command::Man { dir } => command_line::man(dir, program),
        Command::Dashboards { dir } => write_all(
            dir,
            &[("jackdaw-dashboard.json", dashboard::json()), ("jackdaw-alerts.yml", alerts::yaml())],
        ),
    }
}

/// Writes the files, and prints their paths.
fn write_all(dir: &Path, files: &[(&str, String)]) -> Exit {
    if let Err(error) = std::fs::create_dir_all(dir) {
        return fail(Exit::InputOutput, format_args!("{}: {error}", dir.display()));
    }
    for (name, text) in files {
        let path = dir.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            return fail(Exit::InputOutput, format_args!("{}: {error}", path.display()));
        }
        crate::telemetry::say(&format!("wrote {}", path.display()));
    }
    Exit::Fine
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metrics;

    /// The words of an expression that look like metrics of the broker.
    fn metrics_in(expression: &str) -> BTreeSet<&str> {
        let words = expression.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        words
            .filter(|word| ["kafka_", "jackdaw_", "process_"].iter().any(|room| word.starts_with(room)))
            .collect()
    }

    #[test]
    fn every_metric_in_a_query_is_on_the_page_of_a_scrape() {
        let known: BTreeSet<String> = metrics::sample_names().collect();
        let alerts = alerts::ALERTS.iter().map(|alert| alert.value);
        let panels =
            dashboard::PANELS.iter().flat_map(|panel| panel.queries).map(|(expression, _)| *expression);
        let mut seen = 0;
        for expression in alerts.chain(panels) {
            for name in metrics_in(expression) {
                assert!(known.contains(name), "{name} in {expression}");
                seen += 1;
            }
        }
        assert!(seen > 60, "{seen} names");
    }
}
