//! TLS and the login of the requests that this program sends itself. They obey the settings that librdkafka has for it.

use std::fmt;

use super::access::Settings;
use super::{CommandOutcome, Failure, shown};
use crate::cli::wire::Wire;
use crate::config::{Mechanism, SecurityProtocol};
use crate::protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use crate::security::sasl::scram;
use crate::security::tls::client::{TlsClient, Unusable};
use crate::time;
use crate::types::Secret;

/// The encryption and the login that a broker asks for.
pub struct Entry {
    pub tls: Option<Tls>,
    pub login: Option<Login>,
}

/// The certificates for connections.
pub struct Tls(TlsClient);

/// A user, and the mechanism to log in with.
#[derive(Clone, Debug)]
pub struct Login {
    mechanism: Mechanism,
    user: String,
    password: Secret,
}

const CA: &str = "ssl.ca.location";
const CERTIFICATE: &str = "ssl.certificate.location";
const KEY: &str = "ssl.key.location";

impl Entry {
    /// Fails if a setting is about something else.
    pub fn of(settings: &Settings) -> CommandOutcome<Entry> {
        const KNOWN: [&str; 8] = [
            "security.protocol",
            CA,
            CERTIFICATE,
            KEY,
            "sasl.mechanism",
            "sasl.mechanisms",
            "sasl.username",
            "sasl.password",
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
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        wire.encrypt(&self.0, host).map_err(|error| Failure::no_answer(address, &error))
    }
}

impl Login {
    fn of(settings: &Settings) -> CommandOutcome<Login> {
        let mechanism = settings.get("sasl.mechanism");
        let mechanism = mechanism
            .and_then(Mechanism::named)
            .ok_or_else(|| usage("-X sasl.mechanism: expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"))?;
        let given =
            |name: &str| settings.get(name).ok_or_else(|| usage(format_args!("-X {name} is missing")));
        let user = given("sasl.username")?.to_owned();
        let password = settings.get("sasl.password").ok_or_else(|| {
            usage("sasl.password is missing: set JACKDAW_PASSWORD, --user-password-file or -X sasl.password")
        })?;
        let password = Secret::new(password);
        Ok(Login { mechanism, user, password })
    }

    /// Logs in on a new connection.
    pub fn perform(&self, wire: &mut Wire, address: &str) -> CommandOutcome {
        let refused = |why: &dyn fmt::Display| Failure::refused(format_args!("{address}: {why}"));
        let handshake = SaslHandshakeRequest { mechanism: self.mechanism.to_string() };
        let answer = wire.call(1, &handshake).map_err(|error| Failure::no_answer(address, &error))?;
        if answer.error_code != 0 {
            let offered = shown(&answer.mechanisms.join(", "));
            return Err(refused(&format_args!("the login is refused; it offers {offered}")));
        }
        let mut send = |message: &[u8]| {
            let request = SaslAuthenticateRequest { auth_bytes: message.to_vec().into() };
            let answer = wire.call(0, &request).map_err(|error| Failure::no_answer(address, &error))?;
            match answer.error_code {
                0 => Ok(answer.auth_bytes),
                code => {
                    let why = answer.error_message.map_or_else(|| format!("error {code}"), |why| shown(&why));
                    Err(refused(&why))
                }
            }
        };
        let password = String::from_utf8_lossy(self.password.bytes());
        match self.mechanism {
            Mechanism::Plain => send(format!("\0{}\0{password}", self.user).as_bytes()).map(drop),
            Mechanism::Scram(hash) => {
                let nonce = time::random_uuid().to_string();
                let client = scram::Client::new(hash, &self.user, &password, &nonce);
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
            Mechanism::OauthBearer => Err(usage("-X sasl.mechanism: OAUTHBEARER is not implemented")),
        }
    }
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
        assert_eq!((login.mechanism, login.user.as_str()), (Mechanism::Plain, "alice"));
        assert!(!format!("{login:?}").contains("geheim"));
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
