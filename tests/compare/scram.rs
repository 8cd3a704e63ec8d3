//! The client's side of SCRAM, for scripts. It is computed here, apart from the broker's own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use ring::hmac::{self, HMAC_SHA256, HMAC_SHA512, Key};

use super::records::{Entries, bytes_of};
use super::value::Value;

fn hashed(hash: &Value) -> (hmac::Algorithm, &'static digest::Algorithm) {
    match hash.word() {
        "256" => (HMAC_SHA256, &digest::SHA256),
        "512" => (HMAC_SHA512, &digest::SHA512),
        other => panic!("no hash of SCRAM: {other}"),
    }
}

fn sign(algorithm: hmac::Algorithm, key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&Key::new(algorithm, key), message).as_ref().to_vec()
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

/// `Hi` of RFC 5802.
fn repeated(algorithm: hmac::Algorithm, password: &[u8], salt: &[u8], iterations: i64) -> Vec<u8> {
    let mut last = sign(algorithm, password, &[salt, &[0, 0, 0, 1]].concat());
    let mut all = last.clone();
    for _ in 1..iterations {
        last = sign(algorithm, password, &last);
        all = xor(&all, &last);
    }
    all
}

/// `salted(256, PASSWORD, SALT, ITERATIONS)`: a password as AlterUserScramCredentials has it.
pub fn salted(entries: &Entries) -> Vec<u8> {
    let [(_, hash), (_, password), (_, salt), (_, iterations)] = entries else {
        panic!("salted(hash, password, salt, iterations)")
    };
    repeated(hashed(hash).0, &bytes_of(password), &bytes_of(salt), iterations.number())
}

/// `proof(256, PASSWORD, "n=ann,r=abc", "$challenge")`: the final message, to the first message without its header and to
/// the server's answer. With `header: "n,a=ann,"` if the first message had another one than `n,,`, `nonce: x` in place of
/// the server's, `more: ",x=y"` before the proof, and `signed: "…"` in place of the first message.
pub fn proof(entries: &Entries) -> Vec<u8> {
    let [(_, hash), (_, password), (_, first), (_, challenge), others @ ..] = entries else {
        panic!("proof(hash, password, first, challenge)")
    };
    let other = |name: &str| others.iter().find(|(key, _)| key == name).map(|(_, value)| value.word());
    let (algorithm, digest) = hashed(hash);
    let challenge = challenge.word();
    let mut parts = challenge.split(',').map(|part| part.split_once('=').map_or("", |(_, value)| value));
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (nonce, salt, iterations) = (part(), part(), part());
    let salt = STANDARD.decode(salt).expect("the salt is base64");
    // Without a challenge the login has failed already, and the answer shows it.
    let salted = repeated(algorithm, &bytes_of(password), &salt, iterations.parse().unwrap_or(1));
    let channel = STANDARD.encode(other("header").unwrap_or("n,,"));
    let nonce = other("nonce").unwrap_or(&nonce);
    let message = format!("c={channel},r={nonce}{}", other("more").unwrap_or_default());
    let exchange = format!("{},{challenge},{message}", other("signed").unwrap_or(first.word()));
    let client_key = sign(algorithm, &salted, b"Client Key");
    let stored_key = digest::digest(digest, &client_key);
    let proof = xor(&client_key, &sign(algorithm, stored_key.as_ref(), exchange.as_bytes()));
    format!("{message},p={}", STANDARD.encode(proof)).into_bytes()
}

#[test]
fn the_proof_is_that_of_rfc_7677() {
    let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let given = ["256", "pencil", "n=user,r=rOprNGfwEbeRWgbNEkqO", challenge];
    let entries = given.map(|word| (String::new(), Value::Word(word.to_owned())));
    let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(String::from_utf8(proof(&entries)).unwrap(), expected);
}
