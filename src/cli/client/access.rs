//! The way to a broker that asks for TLS or a login: options of this program become settings of librdkafka, which the
//! requests that this program sends itself obey, too.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::{CommandOutcome, Failure};
use crate::cli::serve::name_and_value;

/// How to connect. A later source has precedence: the profile that a variable names, the variables, the profile that the
/// command line names, its options, and then `-X`.
#[derive(Clone, Debug)]
pub struct Access {
    line: AccessOptions,
    /// The options whose values come from variables.
    variables: AccessOptions,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Encryption and login")]
struct AccessOptions {
    /// The bootstrap broker, or several separated by commas [default: that of the profile, else
    /// localhost:9092]
    #[arg(
        short = 'b',
        long,
        visible_aliases = ["bootstrap-server", "brokers"],
        global = true,
        value_name = "HOST:PORT",
        env = "JACKDAW_BOOTSTRAP",
        help_heading = "Connection and output"
    )]
    bootstrap: Option<String>,
    /// Encrypt the connection
    #[arg(long, global = true, env = "JACKDAW_TLS", value_parser = FalseyValueParser::new())]
    tls: bool,
    /// The certificates of the authorities that the broker's certificate may come from, in PEM [default:
    /// those of this machine]
    #[arg(long, global = true, value_name = "FILE", env = "JACKDAW_CA")]
    ca: Option<PathBuf>,
    /// Log in as this user. The password is in JACKDAW_PASSWORD, in a file, or in the profile
    #[arg(id = "login user", long = "user", global = true, value_name = "NAME", env = "JACKDAW_USER")]
    user: Option<String>,
    /// Read the password for --user from the first line of this file
    #[arg(long, global = true, value_name = "FILE")]
    user_password_file: Option<PathBuf>,
    /// The mechanism of the login: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 [default: that of the profile,
    /// else SCRAM-SHA-512]
    #[arg(long, global = true, value_name = "MECHANISM", env = "JACKDAW_MECHANISM")]
    user_mechanism: Option<String>,
    /// A file with settings of librdkafka, NAME=VALUE on each line, or the name of a section of
    /// ~/.config/jackdaw/profiles
    #[arg(long, global = true, value_name = "FILE|NAME", env = "JACKDAW_PROFILE")]
    profile: Option<String>,
    /// A setting of librdkafka, such as client.id=me; may be repeated
    #[arg(short = 'X', long = "option", global = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
    options: Vec<(String, String)>,
}

impl Args for Access {
    fn augment_args(command: Command) -> Command {
        AccessOptions::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        AccessOptions::augment_args_for_update(command)
    }
}

impl FromArgMatches for Access {
    fn from_arg_matches(found: &ArgMatches) -> Result<Access, clap::Error> {
        let mut line = AccessOptions::from_arg_matches(found)?;
        let variables = AccessOptions {
            bootstrap: of_variable(found, "bootstrap", &mut line.bootstrap),
            tls: of_variable(found, "tls", &mut line.tls),
            ca: of_variable(found, "ca", &mut line.ca),
            user: of_variable(found, "login user", &mut line.user),
            user_mechanism: of_variable(found, "user_mechanism", &mut line.user_mechanism),
            profile: of_variable(found, "profile", &mut line.profile),
            user_password_file: None,
            options: Vec::new(),
        };
        Ok(Access { line, variables })
    }

    fn update_from_arg_matches(&mut self, found: &ArgMatches) -> Result<(), clap::Error> {
        *self = Access::from_arg_matches(found)?;
        Ok(())
    }
}

/// Takes an option whose value is that of a variable.
fn of_variable<T: Default>(found: &ArgMatches, id: &str, option: &mut T) -> T {
    match found.value_source(id) {
        Some(ValueSource::EnvVariable) => std::mem::take(option),
        _ => T::default(),
    }
}

/// Not an option, because other users of a machine can read command lines.
const PASSWORD_VARIABLE: &str = "JACKDAW_PASSWORD";
pub const PROTOCOL: &str = "security.protocol";
const MECHANISM: &str = "sasl.mechanism";
const USER_NAME: &str = "sasl.username";
const PASSWORD: &str = "sasl.password";
pub const BOOTSTRAP: &str = "bootstrap.servers";
/// librdkafka's second name for the same.
pub const OLD_BOOTSTRAP: &str = "metadata.broker.list";
pub const CLIENT_ID: &str = "client.id";
const DEFAULT_BOOTSTRAP: &str = "localhost:9092";

/// Settings of librdkafka. Of two with one name the last one counts. Values may be secrets, so there is no `Debug`.
#[derive(Clone, Default, PartialEq)]
pub struct Settings {
    all: Vec<(String, String)>,
    /// The first of those that the command line has, also by naming a profile.
    named: usize,
    /// The first of those that are on the command line with `-X`.
    given: usize,
}

impl Settings {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Those for which a command that does not use librdkafka has to do something: of `-X` all but addresses and the
    /// client id, which every command has, and of a profile those for encryption and login.
    pub fn binding(&self) -> impl Iterator<Item = &str> {
        const EVERYWHERE: [&str; 3] = [BOOTSTRAP, OLD_BOOTSTRAP, CLIENT_ID];
        let secures = |name: &str| ["security.", "ssl.", "sasl."].iter().any(|part| name.starts_with(part));
        let all = self.all.iter().map(|(name, _)| name.as_str()).enumerate();
        all.filter(move |(nth, name)| secures(name) || (*nth >= self.given && !EVERYWHERE.contains(name)))
            .map(|(_, name)| name)
    }

    /// Whether there is an address among these settings.
    pub fn names_addresses(&self) -> bool {
        self.get(BOOTSTRAP).is_some()
    }

    /// The addresses of the cluster.
    pub fn bootstrap(&self) -> String {
        self.get(BOOTSTRAP).unwrap_or(DEFAULT_BOOTSTRAP).to_owned()
    }

    #[cfg(test)]
    pub fn given(options: &[(&str, &str)]) -> Settings {
        Settings { named: 0, given: 0, ..Settings::of_profile(options) }
    }

    #[cfg(test)]
    pub fn of_profile(options: &[(&str, &str)]) -> Settings {
        let all = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings { all, named: options.len(), given: options.len() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all.iter().rev().find(|(known, _)| canonical(known) == name).map(|(_, value)| value.as_str())
    }

    /// The value of this setting on the command line, with `-X`.
    pub fn on_command_line(&self, name: &str) -> Option<&str> {
        let found = self.all[self.given..].iter().rev().find(|(known, _)| canonical(known) == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the command line has this setting, which then has precedence over the environment.
    #[cfg(feature = "security")]
    pub fn is_named(&self, name: &str) -> bool {
        self.all[self.named..].iter().any(|(known, _)| canonical(known) == name)
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.all.push((name.to_owned(), value.into()));
    }

    /// Adds what options ask for, except for the password.
    fn apply(&mut self, options: &AccessOptions) {
        if let Some(addresses) = options.bootstrap.as_ref().filter(|addresses| !addresses.is_empty()) {
            self.set(BOOTSTRAP, addresses);
        }
        let before = self.get(PROTOCOL).unwrap_or("plaintext").to_ascii_lowercase();
        let wants_tls = options.tls || options.ca.is_some();
        if wants_tls || options.user.is_some() {
            let is_encrypted = wants_tls || before.ends_with("ssl");
            let logs_in = options.user.is_some() || before.starts_with("sasl_");
            self.set(PROTOCOL, protocol(is_encrypted, logs_in));
        }
        if let Some(ca) = &options.ca {
            self.set("ssl.ca.location", ca.to_string_lossy());
        }
        if let Some(user) = &options.user {
            self.set(USER_NAME, user);
        }
        let needs_one = options.user.is_some() && self.get(MECHANISM).is_none();
        let default = needs_one.then(|| "SCRAM-SHA-512".to_owned());
        if let Some(mechanism) = options.user_mechanism.clone().or(default) {
            self.set(MECHANISM, mechanism);
        }
    }
}

/// librdkafka has two names for some settings.
fn canonical(name: &str) -> &str {
    match name {
        "sasl.mechanisms" => MECHANISM,
        OLD_BOOTSTRAP => BOOTSTRAP,
        name => name,
    }
}

impl Access {
    /// The same with this address.
    pub fn at(&self, address: String) -> Access {
        let line = AccessOptions { bootstrap: Some(address), ..self.line.clone() };
        Access { line, ..self.clone() }
    }

    /// The settings that the options ask for.
    pub fn settings(&self) -> CommandOutcome<Settings> {
        let in_file = match &self.line.user_password_file {
            Some(file) => Some(read(file)?.lines().next().unwrap_or_default().to_owned()),
            None => None,
        };
        let named = self.line.profile.as_deref().or(self.variables.profile.as_deref());
        let profile = named.map(profile).transpose()?;
        Ok(self.settings_of(profile.unwrap_or_default(), in_file, std::env::var(PASSWORD_VARIABLE).ok()))
    }

    fn settings_of(
        &self,
        profile: Vec<(String, String)>,
        password_in_file: Option<String>,
        password_variable: Option<String>,
    ) -> Settings {
        let mut settings = Settings::default();
        let is_named = self.line.profile.is_some();
        if is_named {
            settings.apply(&self.variables);
            settings.named = settings.all.len();
        }
        settings.all.extend(profile);
        if !is_named {
            settings.apply(&self.variables);
            settings.named = settings.all.len();
        }
        settings.apply(&self.line);
        // The password of a profile is not that of another user.
        let has_its_own = is_named && self.line.user.is_none() && settings.get(PASSWORD).is_some();
        let password = password_in_file.or(password_variable.filter(|_| !has_its_own));
        if let Some(password) = password.filter(|_| settings.get(USER_NAME).is_some()) {
            settings.set(PASSWORD, password);
        }
        settings.given = settings.all.len();
        settings.all.extend(self.line.options.iter().cloned());
        settings
    }
}

fn protocol(is_encrypted: bool, logs_in: bool) -> &'static str {
    match (is_encrypted, logs_in) {
        (true, true) => "sasl_ssl",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (false, false) => "plaintext",
    }
}

/// The settings of a profile: of a file, or of a part of the file of all profiles.
fn profile(named: &str) -> CommandOutcome<Vec<(String, String)>> {
    let file = Path::new(named);
    if file.is_file() || named.contains('/') {
        return pairs(&read(file)?, &file.display());
    }
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let all = config.unwrap_or_default().join("jackdaw/profiles");
    let part = part(&read(&all)?, named);
    let part = part.ok_or_else(|| {
        Failure::Usage(format!(
            "--profile {named}: there is no such file, and no [{named}] in {}",
            all.display()
        ))
    })?;
    pairs(&part, &named)
}

/// The lines below `[name]`, after those that stand before all names and apply to each of them.
fn part(all: &str, name: &str) -> Option<String> {
    let (mut lines, mut is_meant, mut is_found) = (String::new(), true, false);
    for line in all.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_meant = heading.trim() == name;
            is_found |= is_meant;
        } else if is_meant {
            lines += line;
            lines.push('\n');
        }
    }
    is_found.then_some(lines)
}

/// The settings of a profile. Empty lines and those that begin with `#` say nothing.
fn pairs(profile: &str, file: &dyn fmt::Display) -> CommandOutcome<Vec<(String, String)>> {
    let lines = (1..).zip(profile.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|(number, line)| {
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--profile {file}, line {number}: expected NAME=VALUE")))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    pairs.collect()
}

pub(super) fn read(file: &Path) -> CommandOutcome<String> {
    let failed = |error: io::Error| Failure::Usage(format!("{}: {error}", file.display()));
    std::fs::read_to_string(file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        access: Access,
    }

    /// The settings of a command line, as librdkafka takes them.
    fn settings(line: &str, profile: &str, password: Option<&str>) -> Vec<(String, String)> {
        let line = Line::try_parse_from(["jackdaw"].into_iter().chain(line.split_whitespace())).unwrap();
        let profile = pairs(profile, &"profile").unwrap();
        shown(&line.access.settings_of(profile, None, password.map(str::to_owned)))
    }

    /// Each setting with the value that counts.
    fn shown(settings: &Settings) -> Vec<(String, String)> {
        let mut found: Vec<_> = Vec::new();
        for (name, _) in settings.iter().map(|(name, value)| (canonical(name), value)) {
            let value = settings.get(name).unwrap();
            if !found.iter().any(|(known, _)| known == name) {
                found.push((name.to_owned(), value.to_owned()));
            }
        }
        found.sort();
        found
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_become_settings_of_librdkafka() {
        assert_eq!(settings("", "", Some("unused")), []);
        let tls = [("security.protocol", "ssl"), ("ssl.ca.location", "ca.pem")];
        assert_eq!(settings("--tls --ca ca.pem", "", None), owned(&tls));
        assert_eq!(settings("--ca ca.pem", "", None), owned(&tls), "no certificate is checked without TLS");
        let login = [
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.password", "geheim"),
            ("sasl.username", "ann"),
            ("security.protocol", "sasl_ssl"),
        ];
        assert_eq!(settings("--tls --user ann", "", Some("geheim")), owned(&login));
    }

    #[test]
    fn options_have_precedence_over_the_profile_and_those_of_librdkafka_over_both() {
        let profile = "# of the cluster\nsecurity.protocol = SASL_SSL\nsasl.mechanism=PLAIN\n\nsasl.username=bob\nsasl.password=old\n";
        let found = settings("--user ann -X sasl.password=newest", profile, Some("new"));
        let wanted = [
            ("sasl.mechanism", "PLAIN"),
            ("sasl.password", "newest"),
            ("sasl.username", "ann"),
            ("security.protocol", "sasl_ssl"),
        ];
        assert_eq!(found, owned(&wanted));
        let other = settings("--user ann -X sasl.mechanisms=PLAIN", "", None);
        assert!(other.contains(&("sasl.mechanism".to_owned(), "PLAIN".to_owned())), "{other:?}");
        let named = settings("", "sasl.username=bob", Some("new"));
        assert!(named.contains(&("sasl.password".to_owned(), "new".to_owned())), "{named:?}");
    }

    #[test]
    fn a_profile_is_a_part_of_the_file_with_what_all_parts_share() {
        let all =
            "client.id=me\n[prod]\nsecurity.protocol=ssl\n[ test ]\n# none\n[prod]\nssl.ca.location=ca\n";
        assert_eq!(part(all, "prod").unwrap(), "client.id=me\nsecurity.protocol=ssl\nssl.ca.location=ca\n");
        assert_eq!(part(all, "test").unwrap(), "client.id=me\n# none\n");
        assert_eq!(part(all, "other"), None);
    }

    #[test]
    fn the_addresses_are_those_of_librdkafkas_options_then_of_ours_then_of_the_profile() {
        let settings = |profile: &str, options: &str| {
            let line =
                Line::try_parse_from(["jackdaw"].into_iter().chain(options.split_whitespace())).unwrap();
            line.access.settings_of(pairs(profile, &"profile").unwrap(), None, None).bootstrap()
        };
        let profile = "metadata.broker.list=profile:1";
        assert_eq!(settings("", ""), "localhost:9092");
        assert_eq!(settings(profile, ""), "profile:1");
        assert_eq!(settings(profile, "-b option:1"), "option:1");
        assert_eq!(settings(profile, "-b option:1 -X metadata.broker.list=given:1"), "given:1");
    }

    #[test]
    fn a_profile_has_precedence_over_variables_if_the_command_line_names_it() {
        let named = |text: &str| Some(text.to_owned());
        let variables = AccessOptions {
            bootstrap: named("variable:1"),
            tls: true,
            user: named("ann"),
            user_mechanism: named("PLAIN"),
            ..AccessOptions::default()
        };
        let profile = "bootstrap.servers=profile:1\nsasl.mechanism=SCRAM-SHA-256\nsasl.password=of bob\n\
             sasl.username=bob\nsecurity.protocol=sasl_plaintext";
        let of_profile = pairs(profile, &"profile").unwrap();
        let settings = |line: AccessOptions, profile: &[(String, String)]| {
            let access = Access { line, variables: variables.clone() };
            shown(&access.settings_of(profile.to_vec(), None, named("of ann")))
        };
        let on_line = || AccessOptions { profile: named("p"), ..AccessOptions::default() };
        assert_eq!(settings(on_line(), &of_profile), of_profile);
        let of_variables = owned(&[
            ("bootstrap.servers", "variable:1"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.password", "of ann"),
            ("sasl.username", "ann"),
            ("security.protocol", "sasl_ssl"),
        ]);
        assert_eq!(
            settings(AccessOptions::default(), &of_profile),
            of_variables,
            "a variable names the profile"
        );
        assert_eq!(settings(on_line(), &[]), of_variables, "what the profile does not say");
        let of_both = settings(AccessOptions { user: named("ann"), ..on_line() }, &of_profile);
        assert!(of_both.contains(&("sasl.password".to_owned(), "of ann".to_owned())), "{of_both:?}");
    }

    #[test]
    fn a_line_of_a_profile_without_a_value_is_refused_and_not_shown() {
        let Err(Failure::Usage(why)) = pairs("\nsasl.password:geheim", &"file") else {
            panic!("it is taken")
        };
        assert_eq!(why, "--profile file, line 2: expected NAME=VALUE");
    }
}
