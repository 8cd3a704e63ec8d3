//! TLS and the login of the requests that this program sends itself. They obey the settings that librdkafka has for it.

use std::fmt;
use std::path::Path;

use super::access::{self, Settings};
use super::peer::reason;
use super::{CommandOutcome, Failure, shown};
use crate::cli::wire::Wire;
use crate::config::{Mechanism, SecurityProtocol};
use crate::protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use crate::security::sasl::scram;
use crate::security::tls::client::{TlsClient, Unusable};
use crate::time;
use crate::types::{ScramHash, Secret};

/// The encryption and the login that a broker asks for.
pub struct Entry {
    pub tls: Option<Tls>,
    pub login: Option<Login>,
}

/// The certificates for connections.
pub struct Tls(TlsClient);

/// The proof of a user for a mechanism.
#[derive(Clone, Debug)]
pub enum Login {
    Plain {
        user: String,
        password: Secret,
    },
    Scram {
        hash: ScramHash,
        user: String,
        password: Secret,
    },
    /// With OAUTHBEARER.
    Token(Secret),
}

const CA: &str = "ssl.ca.location";
const CERTIFICATE: &str = "ssl.certificate.location";
const KEY: &str = "ssl.key.location";
/// Kafka's name of the place of a token, which may be a file.
const TOKEN_URL: &str = "sasl.oauthbearer.token.endpoint.url";
/// Not an option, because other users of a machine can read command lines.
const TOKEN: &str = "JACKDAW_TOKEN";

impl Entry {
    /// Fails if a setting is about something else.
    pub fn of(settings: &Settings) -> CommandOutcome<Entry> {
        const KNOWN: [&str; 9] = [
            "security.protocol",
            CA,
            CERTIFICATE,
            KEY,
            "sasl.mechanism",
            "sasl.mechanisms",
            "sasl.username",
            "sasl.password",
            TOKEN_URL,
        ];
        if let Some(name) = settings.binding().find(|name| !KNOWN.contains(name)) {
            let known = KNOWN.join(", ");
            return Err(usage(format_args!(
                "-X {name}: this command does not use librdkafka, and has only {known}"
            )));
        }
        let written = settings.get("security.protocol").unwrap_or("plaintext");
        let protocol = SecurityProtocol::of_this_build(&written.to_ascii_uppercase())
            .map_err(|why| usage(format_args!("-X security.protocol={written}: {why}")))?;
        let tls = protocol.is_encrypted().then(|| Tls::of(settings)).transpose()?;
        let login = protocol.needs_login().then(|| Login::of(settings)).transpose()?;
        Ok(Entry { tls, login })
    }
}

impl Tls {
    fn of(settings: &Settings) -> CommandOutcome<Tls> {
        let shown = match (settings.get(CERTIFICATE), settings.get(KEY)) {
            (None, None) => None,
            (Some(certificate), key) => Some((certificate, key.unwrap_or(certificate))),
            (None, Some(_)) => return Err(usage(format_args!("-X {CERTIFICATE} is missing"))),
        };
        let client = TlsClient::new(settings.get(CA), shown);
        Ok(Tls(client.map_err(|unusable| {
            let (name, why) = match unusable {
                Unusable::Authorities(why) => (CA, why),
                Unusable::Certificate(why) => (CERTIFICATE, why),
            };
            usage(format_args!("-X {name}: {why}"))
        })?))
    }

    /// Encrypts a new connection to a broker, which has to have a certificate for the host of this address.
    pub fn encrypt(&self, wire: Wire, address: &str) -> CommandOutcome<Wire> {
        wire.encrypt(&self.0).map_err(|error| Failure::no_answer(address, &error))
    }
}

impl Login {
    fn of(settings: &Settings) -> CommandOutcome<Login> {
        let mechanism = settings.get("sasl.mechanism");
        let mechanism = mechanism.and_then(Mechanism::named).ok_or_else(|| {
            usage("-X sasl.mechanism: expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
        })?;
        match mechanism {
            Mechanism::Plain => {
                let (user, password) = Login::user(settings)?;
                Ok(Login::Plain { user, password })
            }
            Mechanism::Scram(hash) => {
                let (user, password) = Login::user(settings)?;
                Ok(Login::Scram { hash, user, password })
            }
            Mechanism::OauthBearer => Ok(Login::Token(token(settings, std::env::var(TOKEN).ok())?)),
        }
    }

    fn user(settings: &Settings) -> CommandOutcome<(String, Secret)> {
        let user = settings.get("sasl.username").ok_or_else(|| usage("-X sasl.username is missing"))?;
        let password = settings.get("sasl.password").ok_or_else(|| {
            usage("sasl.password is missing: set JACKDAW_PASSWORD, --user-password-file or -X sasl.password")
        })?;
        Ok((user.to_owned(), Secret::new(password)))
    }

    fn mechanism(&self) -> Mechanism {
        match self {
            Login::Plain { .. } => Mechanism::Plain,
            Login::Scram { hash, .. } => Mechanism::Scram(*hash),
            Login::Token(_) => Mechanism::OauthBearer,
        }
    }

    /// Logs in on a new connection.
    pub fn perform(&self, wire: &mut Wire, address: &str) -> CommandOutcome {
        let refused = |why: &dyn fmt::Display| Failure::refused(format_args!("{address}: {why}"));
        let handshake = SaslHandshakeRequest { mechanism: self.mechanism().to_string() };
        let answer = wire.call(1, &handshake).map_err(|error| Failure::no_answer(address, &error))?;
        if answer.error_code != 0 {
            return Err(refused(&no_handshake(answer.error_code, &answer.mechanisms)));
        }
        let mut send = |message: &[u8]| {
            let request = SaslAuthenticateRequest { auth_bytes: message.to_vec().into() };
            let answer = wire.call(0, &request).map_err(|error| Failure::no_answer(address, &error))?;
            match answer.error_code {
                0 => Ok(answer.auth_bytes),
                code => Err(refused(&reason(code, answer.error_message))),
            }
        };
        match self {
            Login::Plain { user, password } => {
                send(&[&b"\0"[..], user.as_bytes(), b"\0", password.bytes()].concat()).map(drop)
            }
            Login::Scram { hash, user, password } => {
                let nonce = time::random_uuid().to_string();
                let password = String::from_utf8_lossy(password.bytes());
                let client = scram::Client::new(*hash, user, &password, &nonce);
                let challenge = send(client.first_message().as_bytes())?;
                let proved = client
                    .prove(&challenge)
                    .ok_or_else(|| refused(&"its challenge is not a SCRAM message"))?;
                let answer = send(proved.message.as_bytes())?;
                let knows_us = proved.trusts(&answer);
                if knows_us {
                    Ok(())
                } else {
                    Err(refused(
                        &"it does not prove that it has this user's credential; it may not be the broker",
                    ))
                }
            }
            Login::Token(token) => {
                let answer = send(&[&b"n,,\x01auth=Bearer "[..], token.bytes(), b"\x01\x01"].concat())?;
                if answer.is_empty() {
                    return Ok(());
                }
                let status = shown(&String::from_utf8_lossy(&answer));
                Err(refused(&format_args!("the token is refused: {status}")))
            }
        }
    }
}

/// Why a broker takes no login with the mechanism.
fn no_handshake(code: i16, offered: &[String]) -> String {
    let offered = shown(&offered.join(", "));
    let offered = if offered.is_empty() { offered } else { format!("; it offers {offered}") };
    format!("the login is refused: {}{offered}", reason(code, None))
}

/// The token of OAUTHBEARER: in the file that the command line names, else that of the environment, else in the file of
/// a profile that a variable names.
fn token(settings: &Settings, of_environment: Option<String>) -> CommandOutcome<Secret> {
    let of_environment = of_environment.filter(|_| !settings.is_named(TOKEN_URL));
    let read = match (of_environment, settings.get(TOKEN_URL)) {
        (Some(token), _) => token,
        (None, Some(url)) => {
            let file = url.strip_prefix("file://").ok_or_else(|| {
                usage(format_args!("-X {TOKEN_URL}: expected file:// and the path of a file with a token"))
            })?;
            access::read(Path::new(file))?
        }
        (None, None) => {
            let why = format_args!("a token is missing: set {TOKEN}, or -X {TOKEN_URL}=file:///PATH");
            return Err(usage(why));
        }
    };
    let token = read.trim();
    let is_of_token = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    if token.is_empty() || !token.bytes().all(is_of_token) {
        return Err(usage(
            "the token is not in the compact form of a JWT: three texts in base64url with dots between",
        ));
    }
    Ok(Secret::new(token))
}

fn usage(why: impl fmt::Display) -> Failure {
    Failure::Usage(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Entry, String> {
        Entry::of(&Settings::given(options)).map_err(|failure| match failure {
            Failure::Usage(why) => why,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_login_has_the_options_of_librdkafka() {
        for none in [&[][..], &[("security.protocol", "plaintext")]] {
            let entry = of(none).unwrap();
            assert!(entry.tls.is_none() && entry.login.is_none());
        }
        let entry = of(&[
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanisms", "PLAIN"),
            ("sasl.username", "alice"),
            ("sasl.password", "geheim"),
        ]);
        let login = entry.unwrap().login.unwrap();
        assert!(matches!(&login, Login::Plain { user, .. } if user == "alice"));
        assert!(!format!("{login:?}").contains("geheim"));
    }

    #[test]
    fn a_token_is_in_the_file_of_the_command_line_or_that_of_the_environment_or_in_the_file_of_a_profile() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a.b-c_d.\n").unwrap();
        let url = format!("file://{}", file.path().display());
        let taken = |settings: Settings, of_environment: Option<&str>| match token(
            &settings,
            of_environment.map(str::to_owned),
        ) {
            Ok(token) => String::from_utf8(token.bytes().to_vec()).unwrap(),
            Err(Failure::Usage(why)) => why,
            Err(other) => panic!("{other:?}"),
        };
        let file = [(TOKEN_URL, url.as_str())];
        for (settings, of_environment, expected) in [
            (Settings::given(&file), None, "a.b-c_d."),
            (Settings::given(&file), Some("e.f.g"), "a.b-c_d."),
            (Settings::of_profile(&file), Some("e.f.g"), "e.f.g"),
            (Settings::of_profile(&file), None, "a.b-c_d."),
            (Settings::default(), Some("e.f.g"), "e.f.g"),
        ] {
            assert_eq!(taken(settings, of_environment), expected);
        }
        for (url, of_environment, why) in [
            (None, None, "a token is missing: set JACKDAW_TOKEN, or -X sasl.oauthbearer.token.endpoint.url"),
            (Some("https://issuer/token"), None, "-X sasl.oauthbearer.token.endpoint.url: expected file://"),
            (Some("file:///not/there"), None, "/not/there: "),
            (None, Some(""), "the token is not in the compact form"),
            (None, Some("a.b.c\u{1}host=x"), "the token is not in the compact form"),
        ] {
            let settings = url.map_or_else(Settings::default, |url| Settings::given(&[(TOKEN_URL, url)]));
            let refused = taken(settings, of_environment);
            assert!(refused.starts_with(why), "{refused}");
        }
    }

    #[test]
    fn a_port_without_a_login_is_named_as_such_and_other_mechanisms_are_offered() {
        assert_eq!(
            no_handshake(34, &[]),
            "the login is refused: the port has no login: leave out --user, or use the address of a port with SASL \
             (ILLEGAL_SASL_STATE)"
        );
        assert_eq!(
            no_handshake(33, &["PLAIN".to_owned(), "OAUTHBEARER".to_owned()]),
            "the login is refused: the broker does not have the mechanism of the login \
             (UNSUPPORTED_SASL_MECHANISM); it offers PLAIN, OAUTHBEARER"
        );
    }

    #[test]
    fn an_option_that_is_missing_or_has_no_effect_is_refused_by_name() {
        const SASL: (&str, &str) = ("security.protocol", "sasl_plaintext");
        const TLS: (&str, &str) = ("security.protocol", "ssl");
        let plain = ("sasl.mechanism", "PLAIN");
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("linger.ms", "5")], "-X linger.ms"),
            (&[("security.protocol", "tls")], "-X security.protocol=tls"),
            (&[SASL], "-X sasl.mechanism: expected"),
            (&[SASL, plain], "-X sasl.username is missing"),
            (&[SASL, plain, ("sasl.username", "a")], "sasl.password is missing"),
            (&[TLS, (CA, "/not/there")], "-X ssl.ca.location: /not/there"),
            (&[TLS, (CA, "Cargo.toml")], "-X ssl.ca.location: no certificate"),
        ];
        for (options, why) in cases {
            let refused = of(options).err().unwrap();
            assert!(refused.starts_with(why), "{refused}");
        }
    }
}
