//! The fuzz targets of `security.rs`: their seeds, and mutations of their corpus.

use std::path::Path;
use std::{env, fs};

use jackdaw::security::sasl::scram::Client;
use jackdaw::types::ScramHash;

use crate::corpus::{Seeds, replay};
use crate::mutated::mutated;
use crate::security::{self, NONCE, PASSWORD, USER};

fn named(first: u8, seeds: &[(&str, &str)]) -> Seeds {
    seeds.iter().map(|(name, text)| ((*name).to_owned(), [&[first], text.as_bytes()].concat())).collect()
}

fn jaas() -> Seeds {
    let lines = [
        ("plain", "org.apache.kafka.common.security.plain.PlainLoginModule required user_ann=\"secret\";"),
        ("escapes", r#"M REQUIRED /* one */ user_a='a\101\n\\"' "user_b"="" ; // two"#),
        ("no-semicolon", "M required a=b"),
        ("no-flag", "M a=b;"),
        ("two-modules", "M required; N optional;"),
        ("cut-text", "M required a=\"b\\"),
        ("cut-comment", "M required /* ;"),
    ];
    let files = [
        ("file", "KafkaServer { M required user_ann=\"a b\";\n N optional; };\n# one\nClient { };"),
        ("file-with-property", "KafkaServer { M required a=\"${b}\"; };"),
        ("file-twice", "A { }; A { };"),
        ("file-cut", "KafkaServer { M required;"),
    ];
    [named(0, &lines), named(1, &files)].concat()
}

fn messages(mechanism: u8, all: &[&[u8]]) -> Vec<u8> {
    let mut seed = vec![mechanism];
    for message in all {
        seed.push(u8::try_from(message.len()).unwrap());
        seed.extend_from_slice(message);
    }
    seed
}

/// The messages of a client that knows the password.
fn scram(hash: ScramHash) -> (String, String) {
    let client = Client::new(hash, USER, PASSWORD, "client");
    let challenge = format!("r=client{NONCE},s=c2FsdA==,i=4096");
    (client.first_message(), client.prove(challenge.as_bytes()).unwrap().message)
}

fn sasl() -> Seeds {
    let (first, last) = scram(ScramHash::Sha256);
    let (first_512, last_512) = scram(ScramHash::Sha512);
    let seeds: [(&str, u8, &[&[u8]]); 9] = [
        ("plain", 0, &[b"\0ann\0secret"]),
        ("plain-wrong", 0, &[b"\0ann\0wrong"]),
        ("plain-other-user", 0, &[b"ben\0ann\0secret"]),
        ("scram", 1, &[first.as_bytes(), last.as_bytes()]),
        ("scram-512", 2, &[first_512.as_bytes(), last_512.as_bytes()]),
        ("scram-other-hash", 2, &[first.as_bytes(), last.as_bytes()]),
        ("scram-twice", 1, &[first.as_bytes(), first.as_bytes(), last.as_bytes()]),
        ("scram-extensions", 1, &[b"n,a=ann,n=ann,r=client,x=y", b"c=bixhPWFubiw=,r=clientserver,p=AAAA"]),
        ("scram-bound", 1, &[b"y,,n=ann,r=client"]),
    ];
    seeds.map(|(name, mechanism, all)| (name.to_owned(), messages(mechanism, all))).into()
}

fn keystores() -> Seeds {
    let seeds: [(&str, u8, usize); 9] = [
        ("leaf-key-aes.pem", 0, 0),
        ("leaf-key-des3.pem", 0, 0),
        ("leaf-key-old.pem", 0, 0),
        ("root.pem", 0, 0),
        ("jdk17.p12", 1, 0),
        ("openssl1.p12", 1, 0),
        ("trust-openssl3.p12", 1, 0),
        ("server.jks", 2, 20),
        ("trust.jks", 2, 20),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let of_file = |(name, format, digest): (&str, u8, usize)| {
        let bytes = fs::read(folder.join(name)).unwrap();
        (name.to_owned(), [&[format], &bytes[..bytes.len() - digest]].concat())
    };
    seeds.map(of_file).into()
}

fn principal_rules() -> Seeds {
    let seeds = [
        ("default", "DEFAULT\0CN=ann,O=Example"),
        ("group", "RULE:^CN=(.*?),O=(.*?)$/$1@$2/L, DEFAULT\0CN=Ann,O=Example"),
        ("escapes", "RULE:^CN=(\\w+)\\/(\\w+)$/$2-\\$1$9/U\0CN=a/b"),
        ("no-match", "RULE:CN=ben/ben/\0CN=ann"),
        ("unfinished", "RULE:CN=a/b"),
        ("look-ahead", "RULE:a(?=b)/c/"),
        ("repeated", "RULE:((a{1,99}){1,99}){1,99}/$1/\0aaaa"),
    ];
    seeds.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}

fn jwt() -> Seeds {
    let claims = [
        ("claims", security::CLAIMS),
        (
            "header",
            "{\"alg\":\"EdDSA\",\"kid\":\"one\",\"typ\":\"JWT\"}\0{\"sub\":\" ann \",\"iss\":\"issuer\",\"aud\":[\"kafka\"],\"iat\":0,\"exp\":1700000600.5,\"nbf\":1}",
        ),
        (
            "algorithm",
            "{\"alg\":\"none\"}\0{\"sub\":\"ann\",\"iss\":\"issuer\",\"aud\":\"kafka\",\"iat\":0,\"exp\":1700000600}",
        ),
        ("name-twice", r#"{"sub":"ben","sub":"ann","iss":"issuer","aud":"kafka","iat":0,"exp":1700000600}"#),
        (
            "scopes",
            r#"{"sub":"ann","iss":"issuer","aud":"kafka","iat":0,"exp":1700000600,"scope":["a","b"]}"#,
        ),
        ("blank-user", r#"{"sub":"\u0001","iss":"issuer","aud":"kafka","iat":0,"exp":1700000600}"#),
        ("huge-times", r#"{"sub":"ann","iss":"issuer","aud":"kafka","iat":1e300,"exp":1e308}"#),
    ];
    let good = security::good_token();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let unsigned = format!("{signed}.");
    let tokens = [("token", good.as_str()), ("token-unsigned", &unsigned), ("token-empty", "..")];
    let keys = [
        (
            "keys-ed25519",
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        ),
        (
            "keys-p256",
            r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
        ),
        ("keys-secret", r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#),
    ];
    [named(0, &claims), named(1, &tokens), named(2, &keys)].concat()
}

#[test]
fn jaas_lines_and_files_of_the_corpus_are_read_as_they_were_written() {
    replay("jaas", jaas, security::jaas);
}

#[test]
fn only_the_user_logs_in_with_the_messages_of_the_corpus() {
    replay("sasl", sasl, security::sasl);
}

#[test]
fn key_stores_of_the_corpus_are_read_or_refused() {
    replay("keystore", keystores, security::keystore);
}

#[test]
fn rules_of_the_corpus_find_the_same_name_with_another_rule_after_them() {
    replay("principal_rules", principal_rules, security::principal_rules);
}

#[test]
fn tokens_of_the_corpus_are_accepted_only_as_the_issuer_has_signed_them() {
    replay("jwt", jwt, security::jwt);
}

#[test]
fn mutated_jaas_lines_and_files_are_read_as_they_were_written() {
    mutated(jaas(), security::jaas);
}

#[test]
fn only_the_user_logs_in_with_mutated_messages() {
    mutated(sasl(), security::sasl);
}

#[test]
fn mutated_key_stores_are_read_or_refused() {
    mutated(keystores(), security::keystore);
}

#[test]
fn mutated_rules_find_the_same_name_with_another_rule_after_them() {
    mutated(principal_rules(), security::principal_rules);
}

#[test]
fn mutated_tokens_are_accepted_only_as_the_issuer_has_signed_them() {
    mutated(jwt(), security::jwt);
}
