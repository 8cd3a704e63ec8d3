//! `--json`, and whether it is on the command line or only in the environment.

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

#[derive(Clone, Copy, Debug, Default)]
pub struct Json {
    pub is_wanted: bool,
    /// A variable asks for JSON in general; the option asks for it here.
    pub is_given: bool,
}

#[derive(Args)]
struct JsonOption {
    /// Print JSON instead of a table
    #[arg(long, global = true, env = "JACKDAW_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

impl Args for Json {
    fn augment_args(command: Command) -> Command {
        JsonOption::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        JsonOption::augment_args_for_update(command)
    }
}

impl FromArgMatches for Json {
    fn from_arg_matches(found: &ArgMatches) -> Result<Json, clap::Error> {
        let JsonOption { json } = JsonOption::from_arg_matches(found)?;
        Ok(Json { is_wanted: json, is_given: found.value_source("json") == Some(ValueSource::CommandLine) })
    }

    fn update_from_arg_matches(&mut self, found: &ArgMatches) -> Result<(), clap::Error> {
        *self = Json::from_arg_matches(found)?;
        Ok(())
    }
}
