//! The client's side of SCRAM, for the client commands of this program.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{LEAST_ITERATIONS, digest_of, is_same, salted_password, sign};
use crate::types::{ScramHash, Secret};

/// The header of a client that binds to no channel, and its base64 form.
const HEADER: &str = "n,,";
const CHANNEL: &str = "biws";

/// A server that asks for more is not obeyed: the hashes would take seconds. One that asks for less than
/// [`LEAST_ITERATIONS`] wants a proof from which the password is easy to guess.
const MOST_ITERATIONS: i32 = 1 << 20;

/// A client that logs in.
pub struct Client {
    hash: ScramHash,
    password: Secret,
    /// The first message without its header.
    first: String,
    nonce: String,
}

/// A client that has sent its proof, and waits for that of the server.
pub struct Proved {
    pub message: String,
    verifier: Vec<u8>,
}

impl Client {
    /// `nonce` is a random text of letters and digits.
    pub fn new(hash: ScramHash, user: &str, password: &str, nonce: &str) -> Client {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        Client { hash, password: Secret::new(password), first, nonce: nonce.to_owned() }
    }

    /// The client also sends this, such as `tokenauth=true`.
    #[must_use]
    pub fn with_extension(mut self, extension: &str) -> Client {
        self.first.push(',');
        self.first.push_str(extension);
        self
    }

    pub fn first_message(&self) -> String {
        format!("{HEADER}{}", self.first)
    }

    /// The final message; `None` if the server's challenge is none.
    pub fn prove(&self, challenge: &[u8]) -> Option<Proved> {
        let challenge = std::str::from_utf8(challenge).ok()?;
        let mut parts = challenge.split(',');
        let nonce = parts.next()?.strip_prefix("r=").filter(|nonce| nonce.starts_with(&self.nonce))?;
        let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let iterations: i32 = parts.next()?.strip_prefix("i=")?.parse().ok()?;
        let is_fair = (LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations);
        let iterations = NonZeroU32::new(iterations.try_into().ok()?).filter(|_| is_fair)?;
        let password = std::str::from_utf8(self.password.bytes()).ok()?;
        let salted = salted_password(self.hash, password, &salt, iterations);
        let without_proof = format!("c={CHANNEL},r={nonce}");
        let exchange = format!("{},{challenge},{without_proof}", self.first);
        let client_key = sign(self.hash, &salted, b"Client Key");
        let signature = sign(self.hash, &digest_of(self.hash, &client_key), exchange.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(one, other)| one ^ other).collect();
        let server_key = sign(self.hash, &salted, b"Server Key");
        Some(Proved {
            message: format!("{without_proof},p={}", STANDARD.encode(proof)),
            verifier: sign(self.hash, &server_key, exchange.as_bytes()),
        })
    }
}

impl Proved {
    /// Whether the server's answer proves that it knows the credential.
    pub fn trusts(&self, answer: &[u8]) -> bool {
        let expected = format!("v={}", STANDARD.encode(&self.verifier));
        is_same(expected.as_bytes(), answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn client(nonce: &str) -> Client {
        Client::new(ScramHash::Sha256, "user", "pencil", nonce)
    }

    #[test]
    fn the_messages_are_those_of_the_rfc() {
        let client = client("rOprNGfwEbeRWgbNEkqO");
        assert_eq!(client.first_message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proved = client.prove(CHALLENGE).unwrap();
        assert_eq!(
            proved.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(proved.trusts(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proved.trusts(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=") && !proved.trusts(b""));
    }

    #[test]
    fn a_challenge_for_another_client_gets_no_proof() {
        assert!(client("another").prove(CHALLENGE).is_none());
        for wrong in [&b""[..], b"r=", b"r=another", b"r=anotherx,s=!,i=4096", b"r=anotherx,s=,i=0"] {
            assert!(client("another").prove(wrong).is_none(), "{}", wrong.escape_ascii());
        }
        for iterations in ["1", "4095", "1048577", "4294967295"] {
            let challenge = format!("r=anotherx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}");
            assert!(client("another").prove(challenge.as_bytes()).is_none(), "{iterations} iterations");
        }
    }

    #[test]
    fn commas_and_equals_signs_in_a_name_are_escaped() {
        let client = Client::new(ScramHash::Sha256, "a,b=c", "pencil", "r");
        assert_eq!(client.first_message(), "n,,n=a=2Cb=3Dc,r=r");
    }
}
