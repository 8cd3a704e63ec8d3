//! Sends the same requests to Apache Kafka 4.4 and to Jackdaw, and compares the answers field by field.
//!
//! Kafka's answers are stored in `kafka`, so the comparison needs no Kafka. To use a running, fresh Apache
//! Kafka 4.4 that has the settings of SETTINGS below:
//!
//! ```text
//! tests/compare/oracle                                               starts one
//! ORACLE=127.0.0.1:9392 cargo test --test compare                    compares with that broker
//! ORACLE=127.0.0.1:9392 RECORD=1 cargo test --test compare           only records its answers
//! ONLY=fetch,produce …                                               only some scripts
//! WITH='a=1 b=2' …                                                   scripts that say `broker a=1 b=2`, whose
//!                                                                    oracle is `tests/compare/oracle 9392 a=1 b=2`;
//!                                                                    it knows `logins` and the other words, too
//! ```
//!
//! A difference is a bug, unless the script lists it below its request with a reason; then it is also in
//! `docs/differences.md`. A listed difference that no longer exists is an error as well.

mod clients;
mod codec;
mod differences;
#[expect(dead_code, reason = "shared with tests/api")]
#[path = "../api/harness.rs"]
mod harness;
#[cfg(feature = "security")]
mod logins;
mod plain;
mod play;
mod recorded;
mod records;
#[expect(dead_code, reason = "the build script uses all of it")]
#[path = "../../build/schema.rs"]
mod schema;
#[cfg(feature = "security")]
mod scram;
mod script;
mod tls;
#[cfg(feature = "security")]
mod tokens;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::{env, fs};

use jackdaw::api::TABLE;
use tokio::task::JoinSet;

use harness::Node;
use play::Player;
use recorded::Plays;
use script::{Act, Script, Step};

/// Settings that are not at their defaults, so that a script reaches these cases. The oracle (the Kafka in
/// `ORACLE`) is started with the same settings.
const SETTINGS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "true"),
    ("num.partitions", "1"),
    ("offsets.topic.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "200"),
    ("group.max.size", "4"),
    ("offsets.retention.check.interval.ms", "200"),
    ("transaction.state.log.num.partitions", "3"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200"),
];

/// The settings of scripts that say `broker logins`: a second listener, at which clients log in.
const LOGINS: &[(&str, &str)] = &[
    ("listeners", "PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0"),
    ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"),
    ("listener.name.sasl_plaintext.scram-sha-512.connections.max.reauth.ms", "3600000"),
    ("jackdaw.sasl.jaas.file", "tests/compare/logins.jaas"),
];

/// The settings of scripts that say `broker tokens`: clients log in with tokens that nobody has signed.
#[rustfmt::skip]
const TOKENS: &[(&str, &str)] = &[
    ("listeners", "PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0"),
    ("sasl.enabled.mechanisms", "OAUTHBEARER"),
    ("listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=broker unsecuredValidatorRequiredScope=kafka;"),
];

/// The settings of scripts that say `broker signed`: clients log in with tokens of an issuer.
#[rustfmt::skip]
const SIGNED: &[(&str, &str)] = &[
    ("listeners", "PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0"),
    ("sasl.enabled.mechanisms", "OAUTHBEARER"),
    ("sasl.oauthbearer.expected.audience", "kafka"),
    ("sasl.oauthbearer.expected.issuer", "https://issuer"),
    ("sasl.oauthbearer.jwks.endpoint.url", concat!("file://", env!("CARGO_MANIFEST_DIR"), "/tests/tokens/keys.json")),
    ("listener.name.sasl_plaintext.oauthbearer.sasl.server.callback.handler.class", "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"),
    ("listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"),
];

/// The settings of scripts that say `broker tls`: a second listener, which asks for certificates of clients.
#[rustfmt::skip]
const TLS: &[(&str, &str)] = &[
    ("listeners", "PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0"),
    ("ssl.client.auth", "requested"),
    ("ssl.keystore.type", "PEM"),
    ("ssl.keystore.location", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compare/certificates/server.pem")),
    ("ssl.truststore.type", "PEM"),
    ("ssl.truststore.location", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/compare/certificates/root.pem")),
    ("delegation.token.secret.key", "secret"),
];

/// The setting of scripts that say `broker telemetry`: the metrics of clients are shown on a page.
const PAGE_OF_METRICS: (&str, &str) = ("jackdaw.http.listener", "localhost:0");

/// All settings of a script, of which its line `broker` has some.
fn settings_of(line: &str) -> Vec<(&str, &str)> {
    SETTINGS.iter().copied().chain(line.split_whitespace().flat_map(settings_of_word)).collect()
}

fn settings_of_word(word: &str) -> Vec<(&str, &str)> {
    match word {
        "logins" => LOGINS.to_vec(),
        "tokens" => TOKENS.to_vec(),
        "signed" => SIGNED.to_vec(),
        "tls" => TLS.to_vec(),
        "telemetry" => vec![PAGE_OF_METRICS],
        _ => word.split_once('=').into_iter().collect(),
    }
}

/// The number of scripts that one broker plays. Scripts often wait, so several brokers play at a time.
const SCRIPTS_OF_A_BROKER: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_kafkas_or_differs_for_a_reason() {
    let mut by_settings: BTreeMap<String, Vec<Script>> = BTreeMap::new();
    for script in script::all().into_iter().filter(can_be_played) {
        by_settings.entry(script.settings.clone()).or_default().push(script);
    }
    if env::var_os("ORACLE").is_some() {
        let with = env::var("WITH").unwrap_or_default();
        by_settings.retain(|settings, _| *settings == with);
    }
    let mut playing = JoinSet::new();
    let mut wrong = Vec::new();
    let mut unused = plain::rows();
    // There is only one oracle, so it gets all scripts one after the other.
    let at_a_time = if env::var_os("ORACLE").is_some() { usize::MAX } else { SCRIPTS_OF_A_BROKER };
    for (settings, mut scripts) in by_settings {
        while !scripts.is_empty() {
            let some = scripts.split_off(scripts.len().saturating_sub(at_a_time));
            playing.spawn(differences_with(settings.clone(), some));
        }
    }
    while let Some(played) = playing.join_next().await {
        let (differences, used) = played.expect("scripts that are played to the end");
        wrong.extend(differences);
        unused.retain(|row| !used.contains(row));
    }
    if !records() && env::var_os("ONLY").is_none() {
        wrong.extend(unused.iter().map(|(api, path)| format!("plain.rs: nothing needs {api} {path}")));
    }
    wrong.sort();
    let first = wrong[..wrong.len().min(150)].join("\n");
    assert!(wrong.is_empty(), "{} differences (Kafka -> ours):\n{first}", wrong.len());
}

/// The differences of scripts with the same settings, and the rows of `plain.rs` that they need.
async fn differences_with(
    settings: String,
    scripts: Vec<Script>,
) -> (Vec<String>, BTreeSet<(&'static str, &'static str)>) {
    let node = Node::with(&settings_of(&settings)).await;
    let second = node.listening().nth(1).map(|address| address.to_string());
    let mut ours = Player::new(&node.address.to_string(), second, Some(node.store.clone())).await;
    let wrong = differences_of(&scripts, &mut ours).await;
    (wrong, ours.plain.used)
}

/// Without the feature `security` nobody can log in.
fn can_be_played(script: &Script) -> bool {
    let asks_for = |login| script.settings.split_whitespace().any(|word| word == login);
    cfg!(feature = "security") || !["logins", "tokens", "signed", "tls"].into_iter().any(asks_for)
}

async fn differences_of(scripts: &[Script], ours: &mut Player) -> Vec<String> {
    let mut oracle = match env::var("ORACLE") {
        Ok(address) => Some(Player::new(&address, Some(next_port(&address)), None).await),
        Err(_) => None,
    };
    let mut wrong = Vec::new();
    for script in scripts {
        let kafka = match &mut oracle {
            Some(oracle) => played(oracle, script).await,
            None => recorded::read(script),
        };
        if records() {
            recorded::write(script, &kafka);
        } else {
            wrong.extend(compared(script, &kafka, &played(ours, script).await));
        }
    }
    wrong
}

/// The listener of the oracle at which clients log in, or which has TLS.
fn next_port(address: &str) -> String {
    let mut next: SocketAddr = address.parse().expect("an address");
    next.set_port(next.port() + 1);
    next.to_string()
}

/// Whether Kafka's answers are recorded, which needs no answers of ours.
fn records() -> bool {
    env::var_os("ORACLE").is_some() && env::var_os("RECORD").is_some()
}

async fn played(player: &mut Player, script: &Script) -> Plays {
    let mut plays = Plays::new();
    for version in versions(script) {
        plays.insert(version, player.play(script, version).await);
    }
    plays
}

fn versions(script: &Script) -> Vec<Option<i16>> {
    let Some(api) = &script.api else { return vec![None] };
    let Some(row) = TABLE.iter().find(|row| row.name == api) else {
        assert!(records(), "{api} is not served");
        let sent = codec::message(api, schema::Kind::Request).versions;
        return (sent.first..=sent.last.expect("a last version")).map(Some).collect();
    };
    (row.min_version..=row.max_version).map(Some).collect()
}

/// One line for all versions with the same difference.
fn compared(script: &Script, kafka: &Plays, ours: &Plays) -> Vec<String> {
    let mut wrong: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
    for (version, ours) in ours {
        for step in script.steps.iter().filter(|step| step.only.holds(*version)) {
            let Some(ours) = ours.get(&step.number) else { continue };
            let found = match kafka.get(version).and_then(|answers| answers.get(&step.number)) {
                Some(kafka) => differences::between(kafka, ours),
                None => vec![("answer".to_owned(), "not recorded: RECORD=1".to_owned(), ours.to_string())],
            };
            for one in differences::unreasoned(&found, &step.differs, *version) {
                let version = version.map_or_else(|| "once".to_owned(), |version| version.to_string());
                wrong.entry((step.line, one)).or_default().push(version);
            }
        }
    }
    let line = |((line, what), versions): (&(usize, String), &Vec<String>)| {
        format!("{}.txt:{line} [{}] {what}", script.name, versions.join(","))
    };
    wrong.iter().map(line).collect()
}

fn is_sent(step: &Step, version: Option<i16>) -> bool {
    step.only.holds(version) && matches!(step.act, Act::Call(_) | Act::Send(_))
}

#[test]
fn every_advertised_key_and_version_is_asked_three_things_at_least() {
    let mut asked: BTreeMap<(String, i16), usize> = BTreeMap::new();
    for script in script::all() {
        for version in versions(&script) {
            for request in script.steps.iter().filter(|step| is_sent(step, version)).filter_map(Step::request)
            {
                let version = request.version.or(version).expect("a version to play");
                *asked.entry((request.api.clone(), version)).or_default() += 1;
            }
        }
    }
    let mut short: Vec<&str> = Vec::new();
    for row in TABLE {
        for version in row.min_version..=row.max_version {
            let count = asked.get(&(row.name.to_owned(), version)).copied().unwrap_or(0);
            if count < 3 && !short.contains(&row.name) {
                short.push(row.name);
            }
        }
    }
    assert!(short.is_empty() || env::var_os("ONLY").is_some(), "asked too little: {short:?}");
}

#[test]
fn differences_md_is_what_the_scripts_allow() {
    if env::var_os("ONLY").is_some() {
        return;
    }
    let scripts = script::all();
    let mut count = 0;
    for script in &scripts {
        for version in versions(script) {
            count += script.steps.iter().filter(|step| is_sent(step, version)).count();
        }
    }
    let versions: i16 = TABLE.iter().map(|row| row.max_version - row.min_version + 1).sum();
    let count =
        format!("{count} requests, at least three for each of {versions} versions of {} keys.", TABLE.len());
    let printed = differences::page(&scripts, &count);
    let path = script::folder().join("../../docs/differences.md");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &printed).expect("the page can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == printed, "docs/differences.md: UPDATE_DOCS=1 cargo test --test compare writes it");
}
