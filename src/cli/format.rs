//! `jackdaw format`: makes a data directory with its first users, as Kafka's `kafka-storage.sh format --add-scram` does.
//! Without users there is no need for it: the broker makes its directory when it starts.

use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use clap::builder::{StringValueParser, TypedValueParser};

use super::sources::Sources;
use super::{Exit, exit_of_open, fail};
use crate::config::BrokerSettings;
use crate::kernel::CredentialChange;
use crate::security::sasl::scram::{self, LEAST_ITERATIONS, MOST_ITERATIONS};
use crate::storage::local::fs::DiskFs;
use crate::storage::local::inspect;
use crate::storage::{Location, Store, StoreOptions};
use crate::time;
use crate::types::{ScramHash, Secret};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  jackdaw format --data-dir /var/lib/jackdaw --ignore-formatted")]
pub(super) struct Options {
    #[command(flatten)]
    sources: Sources,
    /// The directory to make [default: log.dirs of the settings]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The cluster id of a new directory [default: jackdaw.cluster.id of the settings, else a random one]
    #[arg(long, short = 't', value_name = "ID")]
    cluster_id: Option<String>,
    /// A user, as 'SCRAM-SHA-256=[name=alice,password=…]', with iterations=, salt= and saltedpassword= (Base64) as in
    /// Kafka. Other programs can see it: `jackdaw user add --offline` reads a password from a file
    #[arg(long, short = 'S', value_name = "USER", value_parser = StringValueParser::new().map(Secret::new))]
    add_scram: Vec<Secret>,
    /// Succeed without a change if the directory is formatted already
    #[arg(long, short = 'g')]
    ignore_formatted: bool,
    #[command(flatten)]
    ignored: IgnoredOptions,
}

/// Options of `kafka-storage.sh format` that are taken and have no effect.
#[derive(Debug, Args)]
struct IgnoredOptions {
    #[arg(long, short = 's', hide = true)]
    standalone: bool,
    #[arg(long, short = 'N', hide = true)]
    no_initial_controllers: bool,
    #[arg(long, short = 'I', hide = true)]
    initial_controllers: Option<String>,
    #[arg(long, short = 'r', hide = true)]
    release_version: Option<String>,
    #[arg(long, short = 'f', hide = true)]
    feature: Vec<String>,
}

/// The credential of a user as it is written. The texts of the errors have no passwords.
fn parse(written: &str) -> Result<CredentialChange, String> {
    let (mechanism, rest) = written.split_once('=').ok_or("expected MECHANISM=[name=…,password=…]")?;
    let hash = ScramHash::ALL.iter().copied().find(|hash| hash.name() == mechanism);
    let hash = hash.ok_or("expected SCRAM-SHA-256 or SCRAM-SHA-512 before the first =")?;
    let fields = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let mut fields = Fields::parse(fields.ok_or("expected [name=…,password=…] after the mechanism")?)?;
    let user = fields.take("name").filter(|name| !name.is_empty()).ok_or("name is missing")?;
    let bounds = || format!("iterations must be between {LEAST_ITERATIONS} and {MOST_ITERATIONS}");
    let iterations = fields.take("iterations").map_or(Ok(LEAST_ITERATIONS), |text| text.parse());
    let iterations = iterations.map_err(|_| bounds())?;
    let applied = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
    let applied = applied.filter(|_| (LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations));
    let applied = applied.ok_or_else(bounds)?;
    let given_salt = fields.take("salt").map(|text| decoded("salt", &text)).transpose()?;
    let (password, salted) = (fields.take("password"), fields.take("saltedpassword"));
    fields.end()?;
    let has_salt = given_salt.is_some();
    let salt = given_salt.unwrap_or_else(|| time::random_bytes::<32>().to_vec());
    let salted = match (password, salted) {
        (Some(_), Some(_)) => return Err("password and saltedpassword cannot both be given".to_owned()),
        (Some(password), None) if !password.is_empty() => {
            scram::salted_password(hash, &password, &salt, applied)
        }
        (None, Some(_)) if !has_salt => return Err("saltedpassword needs its salt".to_owned()),
        (None, Some(salted)) if !salted.is_empty() => decoded("saltedpassword", &salted)?,
        (Some(_), None) | (None, Some(_) | None) => return Err("password is missing".to_owned()),
    };
    let credential = Some(scram::credential_of_salted(hash, &salted, &salt, iterations));
    Ok(CredentialChange { user, mechanism: hash.number(), credential })
}

fn decoded(name: &str, text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| format!("{name} is not Base64"))
}

/// `name=value,name="value, with a comma"`
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(written: &str) -> Result<Fields, String> {
        let (mut fields, mut rest) = (Vec::new(), written);
        while !rest.is_empty() {
            let (name, from) = rest.split_once('=').ok_or("expected NAME=VALUE, separated by commas")?;
            let (value, after) = match from.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or("a closing quote is missing")?,
                None => from.split_at(from.find(',').unwrap_or(from.len())),
            };
            fields.push((name.trim().to_owned(), value.to_owned()));
            rest = match after.strip_prefix(',') {
                Some(next) => next,
                None if after.is_empty() => "",
                None => return Err("expected a comma after a closing quote".to_owned()),
            };
        }
        Ok(Fields(fields))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(at).1)
    }

    /// Refuses what was not taken.
    fn end(self) -> Result<(), String> {
        match self.0.first() {
            Some((name, _)) => Err(format!(
                "{name} is unknown or given twice; expected name, password, iterations, salt and saltedpassword"
            )),
            None => Ok(()),
        }
    }
}

pub(super) fn run(options: &Options) -> Exit {
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let settings = match options.sources.of_broker(&[
        ("--data-dir", "log.dirs", options.data_dir.as_ref().map(text)),
        ("--cluster-id", "jackdaw.cluster.id", options.cluster_id.clone()),
    ]) {
        Ok(settings) => settings,
        Err((exit, why)) => return fail(exit, why),
    };
    // Parsed here, because a refusal of the command line would show the password.
    let users = options.add_scram.iter().map(|user| parse(&String::from_utf8_lossy(user.bytes())));
    match users.collect::<Result<Vec<_>, String>>() {
        // As in Kafka: the users of a broker that ran already are not replaced by the first ones.
        Ok(_) if inspect::is_formatted(&DiskFs, &settings.data_dir) => formatted(options, &settings),
        Ok(changes) => store_users(settings, changes),
        Err(why) => fail(Exit::Usage, format_args!("--add-scram: {why}")),
    }
}

/// The end for a directory that is formatted already, with Kafka's texts.
fn formatted(options: &Options, settings: &BrokerSettings) -> Exit {
    if !options.ignore_formatted {
        let why = format_args!(
            "Log directory {} is already formatted. Use --ignore-formatted to ignore this directory and format the \
             others.",
            settings.data_dir.display()
        );
        return fail(Exit::Refused, why);
    }
    // Ignored: the reader may stop reading, and nothing is to do.
    let _ = writeln!(io::stdout(), "All of the log directories are already formatted.");
    Exit::Fine
}

/// Stores users in the data directory of a broker that does not run, which is made if it does not exist.
pub(super) fn store_users(settings: BrokerSettings, changes: Vec<CredentialChange>) -> Exit {
    let place = Location::Directory(settings.data_dir.clone());
    let store = match Store::open(StoreOptions::new(place, Arc::new(settings))) {
        Ok(store) => store,
        Err(error) => return fail(exit_of_open(&error), error),
    };
    let stored = match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime.block_on(store.alter_credentials(changes)),
        Err(error) => return fail(Exit::InputOutput, format_args!("no thread to work in: {error}")),
    };
    store.close();
    match stored {
        Ok(()) => Exit::Fine,
        Err(error) => fail(Exit::InputOutput, format_args!("the user is not stored: {error:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(written: &str) -> CredentialChange {
        parse(written).unwrap()
    }

    #[test]
    fn a_user_is_written_as_for_kafka() {
        let alice = parsed("SCRAM-SHA-512=[name=alice,password=alice-secret]");
        assert_eq!((alice.user.as_str(), alice.mechanism), ("alice", 2));
        assert_eq!(alice.credential.unwrap().iterations, 4096);
        let quoted = parsed("SCRAM-SHA-256=[name=a=b,password=\"x,y\",iterations=8192,salt=\"c2FsdA==\"]");
        let iterations = NonZeroU32::new(8192).unwrap();
        let expected = scram::credential(ScramHash::Sha256, "x,y", b"salt", iterations);
        assert_eq!((quoted.user.as_str(), quoted.credential), ("a=b", Some(expected.clone())));
        let salted = scram::salted_password(ScramHash::Sha256, "x,y", b"salt", iterations);
        let salted = STANDARD.encode(salted);
        let salted =
            format!("SCRAM-SHA-256=[name=a,iterations=8192,salt=\"c2FsdA==\",saltedpassword=\"{salted}\"]");
        assert_eq!(parsed(&salted).credential, Some(expected));
    }

    #[test]
    fn each_salt_is_another_one_if_none_is_given() {
        let [one, other] =
            [(), ()].map(|()| parsed("SCRAM-SHA-256=[name=a,password=hush]").credential.unwrap());
        assert_ne!(one.salt, other.salt);
    }

    #[test]
    fn a_wrong_user_is_refused_without_its_password() {
        for (written, why) in [
            ("alice", "expected MECHANISM"),
            ("SCRAM-SHA-1=[name=a,password=hush]", "SCRAM-SHA-256 or"),
            ("SCRAM-SHA-256=name=a,password=hush", "expected [name"),
            ("SCRAM-SHA-256=[password=hush]", "name is missing"),
            ("SCRAM-SHA-256=[name=,password=hush]", "name is missing"),
            ("SCRAM-SHA-256=[name=a]", "password is missing"),
            ("SCRAM-SHA-256=[name=a,password=]", "password is missing"),
            ("SCRAM-SHA-256=[name=a,password=hush,iterations=4095]", "between 4096 and 16384"),
            ("SCRAM-SHA-256=[name=a,password=hush,iterations=16385]", "between 4096 and 16384"),
            ("SCRAM-SHA-256=[name=a,password=hush,iterations=many]", "between 4096 and 16384"),
            ("SCRAM-SHA-256=[name=a,password=hush,salt=!]", "salt is not Base64"),
            ("SCRAM-SHA-256=[name=a,saltedpassword=aHVzaA==]", "needs its salt"),
            ("SCRAM-SHA-256=[name=a,password=hush,salt=aa==,saltedpassword=aHVzaA==]", "salt"),
            ("SCRAM-SHA-256=[name=a,password=hush,password=hush]", "given twice"),
            ("SCRAM-SHA-256=[name=a,password=hush,admin=yes]", "admin is unknown"),
            ("SCRAM-SHA-256=[name=a,password=\"hush]", "closing quote"),
            ("SCRAM-SHA-256=[name=a,password=\"hush\"x]", "expected a comma"),
            ("SCRAM-SHA-256=[name=a,hush]", "NAME=VALUE"),
        ] {
            let refused = parse(written).unwrap_err();
            assert!(refused.contains(why) && !refused.contains("hush"), "{written}: {refused}");
        }
    }
}
