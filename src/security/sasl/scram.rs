//! SCRAM (RFC 5802, RFC 7677): the client proves that it knows the password, and the server that it knows the
//! credential. The password is never sent.
//!
//! Kafka fails at the first message if it does not know the user, so a made-up salt would not hide it. Stricter than
//! Kafka: the channel binding in the final message has to be that of the first, and a mandatory extension (`m=`), which
//! no server knows, is refused.

mod client;

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::{Facts, Login, LoginFailure, LoginFault, OTHER_USER, Step, TokenLogin, is_same};
use crate::types::{ScramCredential, ScramHash, Secret};
pub use client::{Client, Proved};

/// The iterations that a credential may have.
pub const LEAST_ITERATIONS: i32 = 4096;
pub const MOST_ITERATIONS: i32 = 16384;

/// One login with SCRAM.
#[derive(Debug)]
pub struct Scram {
    hash: ScramHash,
    state: State,
}

#[derive(Debug)]
enum State {
    Begins,
    Challenged(Box<SentChallenge>),
    Over,
}

/// The client has to prove that it knows the password.
#[derive(Debug)]
struct SentChallenge {
    login: Login,
    credential: ScramCredential,
    /// The header of the client's first message, which the final one repeats.
    header: String,
    /// The client's first message without its header, and the server's answer.
    first: String,
    challenge: String,
    /// The client's part and the server's.
    nonce: String,
}

impl Scram {
    pub fn new(hash: ScramHash) -> Scram {
        Scram { hash, state: State::Begins }
    }

    pub(super) fn step(&mut self, message: &[u8], facts: &Facts<'_>) -> Result<Step, LoginFailure> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begins => {
                let challenged = self.begin(message, facts)?;
                let challenge = challenged.challenge.clone().into_bytes();
                self.state = State::Challenged(Box::new(challenged));
                Ok(Step::Challenge(challenge))
            }
            State::Challenged(challenged) => challenged.finish(self.hash, message),
            State::Over => Err(LoginFailure::Malformed),
        }
    }

    fn begin(&self, message: &[u8], facts: &Facts<'_>) -> Result<SentChallenge, LoginFailure> {
        let first = FirstMessage::parse(message).ok_or(LoginFailure::Malformed)?;
        let known = if first.by_token {
            (facts.token)(&first.user, self.hash).map(|token| {
                let TokenLogin { owner, expires, credential } = token;
                (Login { user: owner, until: Some(expires), by_token: true }, credential)
            })
        } else {
            let credential = (facts.credential)(&first.user, self.hash);
            credential.map(|credential| (Login::by_password(first.user.clone()), credential))
        };
        let (login, credential) = known.ok_or(LoginFailure::Credentials)?;
        if !first.authorization_id.is_empty() && first.authorization_id != first.user {
            return Err(LoginFailure::because(LoginFault::OtherUser, OTHER_USER));
        }
        let nonce = format!("{}{}", first.nonce, (facts.nonce)());
        let salt = STANDARD.encode(credential.salt.bytes());
        Ok(SentChallenge {
            challenge: format!("r={nonce},s={salt},i={}", credential.iterations),
            header: first.header.to_owned(),
            first: first.bare.to_owned(),
            login,
            credential,
            nonce,
        })
    }
}

impl SentChallenge {
    fn finish(self, hash: ScramHash, message: &[u8]) -> Result<Step, LoginFailure> {
        let message = FinalMessage::parse(message).ok_or(LoginFailure::Malformed)?;
        // librdkafka before 2.6.1 sends its own part twice, and Kafka accepts that. The proof covers the message as it was sent.
        if message.channel != self.header.as_bytes() || !message.nonce.ends_with(&self.nonce) {
            return Err(LoginFailure::Malformed);
        }
        let exchange = format!("{},{},{}", self.first, self.challenge, message.without_proof);
        let ScramCredential { stored_key, server_key, .. } = &self.credential;
        let signature = sign(hash, stored_key.bytes(), exchange.as_bytes());
        if signature.len() != message.proof.len() {
            return Err(LoginFailure::Malformed);
        }
        let client_key: Vec<u8> =
            signature.iter().zip(&message.proof).map(|(one, other)| one ^ other).collect();
        if !is_same(stored_key.bytes(), &digest_of(hash, &client_key)) {
            return Err(LoginFailure::Credentials);
        }
        let verifier = STANDARD.encode(sign(hash, server_key.bytes(), exchange.as_bytes()));
        Ok(Step::Done { bytes: format!("v={verifier}").into_bytes(), login: self.login })
    }
}

/// `n,a=AUTHORIZATION,n=USER,r=NONCE,EXTENSIONS`
struct FirstMessage<'a> {
    header: &'a str,
    authorization_id: String,
    bare: &'a str,
    user: String,
    nonce: &'a str,
    /// Whether the user is the id of a delegation token.
    by_token: bool,
}

impl<'a> FirstMessage<'a> {
    fn parse(message: &'a [u8]) -> Option<FirstMessage<'a>> {
        let text = ascii(message)?;
        // `y` says that the client can bind to a channel, and `p` that it does: both need TLS inside of SASL.
        let (authorization_id, bare) = text.strip_prefix("n,")?.split_once(',')?;
        let header = &text[..text.len() - bare.len()];
        let authorization_id = match authorization_id {
            "" => String::new(),
            given => name(given.strip_prefix("a=")?)?,
        };
        let mut parts = bare.split(',');
        let user = name(parts.next()?.strip_prefix("n=")?)?;
        let nonce = parts.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        let mut by_token = false;
        for part in parts {
            let (extension, value) = part.split_once('=')?;
            if extension.is_empty()
                || !extension.bytes().all(|letter| letter.is_ascii_alphabetic())
                || value.is_empty()
            {
                return None;
            }
            by_token |= extension == "tokenauth" && value.eq_ignore_ascii_case("true");
        }
        Some(FirstMessage { header, authorization_id, bare, user, nonce, by_token })
    }
}

/// `c=CHANNEL,r=NONCE,p=PROOF`
struct FinalMessage<'a> {
    channel: Vec<u8>,
    nonce: &'a str,
    proof: Vec<u8>,
    without_proof: &'a str,
}

impl<'a> FinalMessage<'a> {
    fn parse(message: &'a [u8]) -> Option<FinalMessage<'a>> {
        let text = ascii(message)?;
        let (without_proof, proof) = text.split_once(",p=")?;
        let (channel, nonce) = without_proof.split_once(',')?;
        let nonce = nonce.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        Some(FinalMessage {
            channel: STANDARD.decode(channel.strip_prefix("c=")?).ok()?,
            nonce,
            proof: STANDARD.decode(proof).ok()?,
            without_proof,
        })
    }
}

fn ascii(message: &[u8]) -> Option<&str> {
    std::str::from_utf8(message).ok().filter(|text| text.bytes().all(|byte| (1..0x80).contains(&byte)))
}

/// A name, in which `=2C` is a comma and `=3D` an equals sign.
fn name(written: &str) -> Option<String> {
    let mut parts = written.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = [("2C", ','), ("3D", '=')]
            .iter()
            .find_map(|(code, letter)| Some((*letter, part.strip_prefix(code)?)))?;
        name.push(escaped);
        name.push_str(rest);
    }
    Some(name).filter(|name| !name.is_empty())
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// The credential of a password.
pub fn credential(hash: ScramHash, password: &str, salt: &[u8], iterations: NonZeroU32) -> ScramCredential {
    let salted = salted_password(hash, password, salt, iterations);
    credential_of_salted(hash, &salted, salt, i32::try_from(iterations.get()).unwrap_or(i32::MAX))
}

/// The password after the hash function has been applied to it many times. Clients send this to the server
/// for a new credential.
pub fn salted_password(hash: ScramHash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
    let algorithm = match hash {
        ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        ScramHash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    let mut salted = vec![0; digest_algorithm(hash).output_len()];
    pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
    salted
}

/// The credential of a salted password.
pub fn credential_of_salted(hash: ScramHash, salted: &[u8], salt: &[u8], iterations: i32) -> ScramCredential {
    let client_key = sign(hash, salted, b"Client Key");
    ScramCredential {
        iterations,
        salt: Secret::new(salt),
        stored_key: Secret::new(digest_of(hash, &client_key)),
        server_key: Secret::new(sign(hash, salted, b"Server Key")),
    }
}

fn sign(hash: ScramHash, key: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        ScramHash::Sha256 => hmac::HMAC_SHA256,
        ScramHash::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

fn digest_of(hash: ScramHash, bytes: &[u8]) -> Vec<u8> {
    digest::digest(digest_algorithm(hash), bytes).as_ref().to_vec()
}

fn digest_algorithm(hash: ScramHash) -> &'static digest::Algorithm {
    match hash {
        ScramHash::Sha256 => &digest::SHA256,
        ScramHash::Sha512 => &digest::SHA512,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::Timestamp;

    /// The exchange of RFC 7677, section 3.
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const VERIFIER: &str = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    /// The same with SHA-512, computed with the library of Python.
    const PROOF_512: &str =
        "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
    const VERIFIER_512: &str =
        "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

    fn known(user: &str, hash: ScramHash) -> Option<ScramCredential> {
        let salt = STANDARD.decode(SALT).unwrap();
        let is_known = ["user", "a,b=c"].contains(&user);
        is_known.then(|| credential(hash, "pencil", &salt, NonZeroU32::new(4096).unwrap()))
    }

    fn no_tokens(_: &str) -> Result<super::super::Login, super::super::BadToken> {
        unreachable!("SCRAM has no tokens of this kind")
    }

    /// The token `token` has the password of the user.
    fn token(id: &str, hash: ScramHash) -> Option<TokenLogin> {
        let credential = known("user", hash)?;
        (id == "token").then(|| TokenLogin { owner: "alice".to_owned(), expires: Timestamp(7), credential })
    }

    fn facts(plain_users: &BTreeMap<String, Secret>) -> Facts<'_> {
        Facts {
            plain_users,
            credential: &known,
            token: &token,
            nonce: &|| SERVER_NONCE.to_owned(),
            bearer: &no_tokens,
        }
    }

    /// Plays the messages and returns the last answer.
    fn play(hash: ScramHash, messages: &[&[u8]]) -> Step {
        let plain_users = BTreeMap::new();
        let facts = facts(&plain_users);
        let mut exchange = super::super::Exchange::Scram(Box::new(Scram::new(hash)));
        let mut steps = messages.iter().map(|message| exchange.step(message, &facts));
        let last = messages.len() - 1;
        for at in 0..last {
            let step = steps.next().unwrap();
            assert!(matches!(step, Step::Challenge(_)), "message {at}: {step:?}");
        }
        steps.next().unwrap()
    }

    fn first() -> String {
        format!("n,,n=user,r={CLIENT_NONCE}")
    }

    fn last(proof: &str) -> String {
        format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={proof}")
    }

    fn is_refused(messages: &[&str]) -> bool {
        let messages: Vec<&[u8]> = messages.iter().map(|message| message.as_bytes()).collect();
        matches!(fault(&messages), Some(LoginFault::Credentials | LoginFault::Malformed))
    }

    fn fault(messages: &[&[u8]]) -> Option<LoginFault> {
        match play(ScramHash::Sha256, messages) {
            Step::Failed(failure) => Some(failure.fault()),
            Step::Challenge(_) | Step::BadToken { .. } | Step::Done { .. } => None,
        }
    }

    #[test]
    fn an_operator_sees_whether_the_credentials_were_wrong_or_the_message() {
        let (right, wrong) = (first(), last(PROOF).replace("dHzb", "dHzc"));
        let faults = [
            fault(&[b"n,,n=nobody,r=abc"]),
            fault(&[right.as_bytes(), wrong.as_bytes()]),
            fault(&[b"n,,n=user"]),
            fault(&[right.as_bytes(), b"c=biws"]),
            fault(&[right.as_bytes(), last(PROOF).replace(CLIENT_NONCE, "another").as_bytes()]),
        ];
        let (credentials, malformed) = (Some(LoginFault::Credentials), Some(LoginFault::Malformed));
        assert_eq!(faults, [credentials, credentials, malformed, malformed, malformed]);
    }

    #[test]
    fn the_exchange_of_the_rfc_logs_its_user_in() {
        for (hash, proof, verifier) in
            [(ScramHash::Sha256, PROOF, VERIFIER), (ScramHash::Sha512, PROOF_512, VERIFIER_512)]
        {
            let challenge = format!("r={CLIENT_NONCE}{SERVER_NONCE},s={SALT},i=4096").into_bytes();
            assert_eq!(play(hash, &[first().as_bytes()]), Step::Challenge(challenge));
            let answer = format!("v={verifier}").into_bytes();
            let done = Step::done(answer, "user".to_owned());
            assert_eq!(play(hash, &[first().as_bytes(), last(proof).as_bytes()]), done);
        }
    }

    #[test]
    fn a_first_message_with_one_thing_wrong_is_refused() {
        for wrong in [
            "",
            "n",
            "n,,",
            "y,,n=user,r=abc",
            "p=tls-unique,,n=user,r=abc",
            "n,b=user,n=user,r=abc",
            "n,a=,n=user,r=abc",
            "n,,m=1,n=user,r=abc",
            "n,,n=,r=abc",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=user,r=a\u{7f}c",
            "n,,r=abc,n=user",
            "n,,n=us=2er,r=abc",
            "n,,n=us=2cer,r=abc",
            "n,,n=user,r=abc,x",
            "n,,n=user,r=abc,x=",
            "n,,n=user,r=abc,1=y",
            "n,,n=user,r=abc,",
            "n,,n=us\u{e9}r,r=abc",
            "n,,n=us\0er,r=abc",
            "n,,n=nobody,r=abc",
            "n,,n=user,r=abc,tokenauth=true",
            "n,,n=user,r=abc,tokenauth=TRUE",
            "n,,n=token,r=abc",
            "n,,n=token,r=abc,tokenauth=no",
        ] {
            assert!(is_refused(&[wrong]), "{wrong:?}");
        }
        assert_eq!(fault(&[b"n,,n=user,r=\xff"]), Some(LoginFault::Malformed));
    }

    #[test]
    fn a_client_with_a_token_is_logged_in_as_its_owner_until_the_token_expires() {
        let hash = ScramHash::Sha256;
        for extension in ["tokenauth=true", "tokenauth=TRUE", "x=y,tokenauth=true"] {
            let client = Client::new(hash, "token", "pencil", CLIENT_NONCE).with_extension(extension);
            let first = client.first_message();
            let Step::Challenge(challenge) = play(hash, &[first.as_bytes()]) else {
                panic!("{first} is refused")
            };
            let proved = client.prove(&challenge).unwrap();
            let Step::Done { bytes, login } = play(hash, &[first.as_bytes(), proved.message.as_bytes()])
            else {
                panic!("the proof is refused")
            };
            assert!(proved.trusts(&bytes));
            let until = Some(Timestamp(7));
            assert_eq!(login, Login { user: "alice".to_owned(), until, by_token: true });
        }
    }

    #[test]
    fn a_client_with_a_token_may_ask_to_act_as_the_token_and_not_as_its_owner() {
        let hash = ScramHash::Sha256;
        let step = play(hash, &[b"n,a=alice,n=token,r=abc,tokenauth=true"]);
        assert_eq!(step, Step::Failed(LoginFailure::because(LoginFault::OtherUser, OTHER_USER)));
        let step = play(hash, &[b"n,a=token,n=token,r=abc,tokenauth=true"]);
        assert!(matches!(step, Step::Challenge(_)), "{step:?}");
    }

    #[test]
    fn names_may_have_commas_and_equals_signs_and_unknown_extensions_are_ignored() {
        for right in ["n,,n=a=2Cb=3Dc,r=abc", "n,,n=user,r=abc,x=y,tokenauth=no", "n,a=user,n=user,r=abc"] {
            assert!(matches!(play(ScramHash::Sha256, &[right.as_bytes()]), Step::Challenge(_)), "{right}");
        }
    }

    #[test]
    fn a_client_that_wants_to_act_as_another_user_gets_its_own_text() {
        let step = play(ScramHash::Sha256, &[b"n,a=ben,n=user,r=abc"]);
        assert_eq!(step, Step::Failed(LoginFailure::because(LoginFault::OtherUser, OTHER_USER)));
        assert!(is_refused(&["n,a=ben,n=nobody,r=abc"]), "an unknown user counts first");
    }

    #[test]
    fn a_final_message_with_one_thing_wrong_is_refused() {
        let right = last(PROOF);
        for wrong in [
            String::new(),
            right.replace("c=biws", "c=eSws"),
            right.replace("c=biws", "c=bi"),
            right.replace("c=biws", "c="),
            right.replace(SERVER_NONCE, ""),
            right.replace(CLIENT_NONCE, "another"),
            right.replace(",p=", ",x=y,p="),
            right.replace("dHzb", "dHzc"),
            format!("{right}AAAA"),
            format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE}"),
            last(""),
            last(PROOF_512),
            last("=="),
        ] {
            assert!(is_refused(&[&first(), &wrong]), "{wrong:?}");
        }
    }

    #[test]
    fn a_client_that_repeats_its_part_of_the_nonce_logs_in_with_a_proof_of_that() {
        let repeated = |proof| last(proof).replace("r=", &format!("r={CLIENT_NONCE}"));
        let proof = "1Y75+q7XaCGJj/r6vyQWwoNxSzV5ksS8xhp5Lqyriec=";
        let answer = b"v=3svB0h5EwFJ/+WVn2GpJ5uBzW8HEv9nm1rcYAhYlm0A=";
        let step = play(ScramHash::Sha256, &[first().as_bytes(), repeated(proof).as_bytes()]);
        assert_eq!(step, Step::done(answer.to_vec(), "user".to_owned()));
        assert!(is_refused(&[&first(), &repeated(PROOF)]), "the proof of another message");
    }

    #[test]
    fn a_proof_is_good_for_one_exchange_only() {
        let proof = last(PROOF);
        assert!(is_refused(&["n,,n=user,r=fresh", &proof]), "with another nonce");
        let mut scram = Scram::new(ScramHash::Sha256);
        let plain_users = BTreeMap::new();
        let facts = facts(&plain_users);
        assert!(scram.step(first().as_bytes(), &facts).is_ok());
        assert!(scram.step(last("AAAA").as_bytes(), &facts).is_err());
        assert_eq!(
            scram.step(proof.as_bytes(), &facts),
            Err(LoginFailure::Malformed),
            "there is no second try"
        );
    }

    #[test]
    fn a_credential_shows_neither_salt_nor_keys() {
        let shown = format!("{:?}", known("user", ScramHash::Sha256));
        assert_eq!(shown.matches("[hidden]").count(), 3, "{shown}");
    }
}
