//! How the tokens of clients (OAUTHBEARER) are verified at one listener.
//!
//! As in Kafka, `sasl.server.callback.handler.class` decides: without it tokens are taken without a signature, and with
//! Kafka's own validator their signatures are verified by the keys of the issuer.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::jaas::{JAAS, LoginModule};
use super::value::Value;
use super::{ConfigError, Named, TrustStoreSettings};
use crate::types::{HIDDEN, host_and_port, shown_url};

pub(super) const KEYS_URL: &str = "sasl.oauthbearer.jwks.endpoint.url";
pub(super) const REFRESH: &str = "sasl.oauthbearer.jwks.endpoint.refresh.ms";
pub(super) const RETRY: &str = "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms";
pub(super) const RETRY_MOST: &str = "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms";
pub(super) const AUDIENCE: &str = "sasl.oauthbearer.expected.audience";
pub(super) const ANY_AUDIENCE: &str = "sasl.oauthbearer.allow.unverified.audience";
pub(super) const ISSUER: &str = "sasl.oauthbearer.expected.issuer";
pub(super) const ANY_ISSUER: &str = "sasl.oauthbearer.allow.unverified.issuer";
pub(super) const CLOCK_SKEW: &str = "sasl.oauthbearer.clock.skew.seconds";
pub(super) const SCOPE_CLAIM: &str = "sasl.oauthbearer.scope.claim.name";
pub(super) const SUBJECT_CLAIM: &str = "sasl.oauthbearer.sub.claim.name";
pub(super) const VALIDATOR: &str = "sasl.oauthbearer.jwt.validator.class";
pub(super) const DEFAULT_VALIDATOR: &str = "org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator";

/// The validators of tokens that verify signatures.
pub(super) const VALIDATORS: [&str; 2] =
    [DEFAULT_VALIDATOR, "org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator"];
/// The callback handler that verifies signatures: its name, and the name that it had before Kafka 4.
const VERIFYING: [&str; 2] = [
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
    "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerValidatorCallbackHandler",
];
/// The callback handler that takes tokens without a signature. It is the default.
pub(super) const UNSECURED: &str = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler";

/// The callback handlers of the server that can be chosen.
pub(super) const HANDLERS: [&str; 3] = [VERIFYING[0], VERIFYING[1], UNSECURED];

/// How the tokens of clients are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSettings {
    Unsecured(UnsecuredTokens),
    Signed(Box<SignedTokens>),
}

/// Rules for tokens without a signature, which everybody can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsecuredTokens {
    pub user_claim: String,
    pub scope_claim: String,
    /// Tokens need all of these scopes.
    pub scopes: Vec<String>,
    pub clock_skew: Duration,
}

/// Rules for tokens with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTokens {
    pub keys: KeySource,
    /// Tokens need one of these audiences; empty means that any will do.
    pub audiences: Vec<String>,
    /// `None` means any.
    pub issuer: Option<String>,
    pub user_claim: String,
    pub scope_claim: String,
    pub clock_skew: Duration,
}

/// The place of the issuer's keys (JWKS), and how often they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    pub url: Named<String>,
    pub place: KeyPlace,
    pub refresh: Duration,
    pub retry: Duration,
    pub longest_retry: Duration,
    /// The certificates that verify the server of the keys.
    pub trust: TrustStoreSettings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    File(PathBuf),
    Https(HttpsAddress),
}

/// A resource of an HTTPS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsAddress {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// The path and the query, from the slash on.
    pub path: String,
}

/// The settings and options of one listener.
pub(super) struct ListenerOptions<'a> {
    pub listener: &'a str,
    /// The callback handler, and the name of the setting.
    pub callback: Option<(String, &'a str)>,
    pub module: Option<&'a LoginModule>,
    /// The full name of the setting that has the login module.
    pub jaas: String,
    /// The value of a setting, and the full name that it has or would have.
    pub value: &'a dyn Fn(&'static str) -> Result<Named<Value>, ConfigError>,
}

impl ListenerOptions<'_> {
    pub(super) fn settings(&self) -> Result<TokenSettings, ConfigError> {
        match &self.callback {
            Some((_, class)) if VERIFYING.contains(class) => {
                Ok(TokenSettings::Signed(Box::new(self.signed()?)))
            }
            Some((name, class)) if *class != UNSECURED => {
                let why = format!("Java classes cannot be loaded; expected {}", VERIFYING[0]);
                Err(ConfigError::invalid(name, *class, why))
            }
            Some(_) | None => Ok(TokenSettings::Unsecured(self.unsecured()?)),
        }
    }

    fn signed(&self) -> Result<SignedTokens, ConfigError> {
        let validator = self.text(VALIDATOR)?;
        if !VALIDATORS.contains(&validator.value.as_str()) {
            let why = "Java classes cannot be loaded; remove this setting";
            return Err(validator.refuse(validator.value.as_str(), why));
        }
        let audiences = (self.value)(AUDIENCE)?;
        let (name, audiences) = (audiences.name, audiences.value.list());
        if audiences.is_empty() && !(self.value)(ANY_AUDIENCE)?.value.flag() {
            let why =
                format!("set it to the audience that stands for this cluster, or {ANY_AUDIENCE} to true");
            return Err(ConfigError::invalid(&name, "", why));
        }
        let issuer = (self.value)(ISSUER)?;
        let (name, issuer) = (issuer.name, issuer.value.text_if_any());
        if issuer.is_none() && !(self.value)(ANY_ISSUER)?.value.flag() {
            let why = format!("set it to the issuer of the tokens, or {ANY_ISSUER} to true");
            return Err(ConfigError::invalid(&name, "", why));
        }
        Ok(SignedTokens {
            keys: self.keys()?,
            audiences,
            issuer,
            user_claim: self.claim(SUBJECT_CLAIM)?,
            scope_claim: self.claim(SCOPE_CLAIM)?,
            clock_skew: Duration::from_secs((self.value)(CLOCK_SKEW)?.value.number()),
        })
    }

    fn keys(&self) -> Result<KeySource, ConfigError> {
        let url = self.text(KEYS_URL)?;
        let place = place(&url.value).map_err(|why| url.refuse(shown_url(&url.value), why))?;
        let millis = |name| (self.value)(name).map(|read| Duration::from_millis(read.value.number()));
        Ok(KeySource {
            url,
            place,
            refresh: millis(REFRESH)?,
            retry: millis(RETRY)?,
            longest_retry: millis(RETRY_MOST)?,
            trust: self.trust()?,
        })
    }

    /// As in Kafka, the options of the login module name the trust store of this one connection.
    fn trust(&self) -> Result<TrustStoreSettings, ConfigError> {
        const STORE: [&str; 4] = [
            "ssl.truststore.type",
            "ssl.truststore.location",
            "ssl.truststore.password",
            "ssl.truststore.certificates",
        ];
        let names = self.module.iter().flat_map(|module| module.options.keys());
        if let Some(other) =
            names.into_iter().find(|name| name.starts_with("ssl.") && !STORE.contains(&name.as_str()))
        {
            let why = format!("the option {other} has no effect here; expected {}", STORE.join(", "));
            return Err(ConfigError::invalid(&self.jaas, HIDDEN, why));
        }
        let [kind, location, password, certificates] = STORE.map(|name| Named {
            name: format!("{} (option {name})", self.jaas),
            value: self.option(name).map(str::to_owned),
        });
        let kind = Named { value: kind.value.unwrap_or_else(|| "JKS".to_owned()), name: kind.name };
        Ok(TrustStoreSettings { kind, location, password, certificates })
    }

    fn unsecured(&self) -> Result<UnsecuredTokens, ConfigError> {
        let url = (self.value)(KEYS_URL)?;
        if let Some(set) = url.value.text_if_any() {
            // Kafka would take tokens without a signature here.
            let why = format!("it needs sasl.server.callback.handler.class={}", VERIFYING[0]);
            return Err(ConfigError::invalid(&url.name, shown_url(&set), why));
        }
        if self.module.is_none() {
            let why = format!(
                "listener {}: OAUTHBEARER needs sasl.server.callback.handler.class={}, or, to accept tokens without a \
                 signature, {} with the login module of OAUTHBEARER; {JAAS} without listener and mechanism has no \
                 effect, as in Kafka",
                self.listener, VERIFYING[0], self.jaas
            );
            return Err(ConfigError::Listeners(why));
        }
        let claim = |name, default: &str| {
            let set = self.option(name).map(str::trim).filter(|claim| !claim.is_empty());
            set.unwrap_or(default).to_owned()
        };
        let skew = self
            .option("unsecuredValidatorAllowableClockSkewMs")
            .map(str::trim)
            .filter(|set| !set.is_empty());
        let skew = skew.map(str::parse::<u32>).transpose().map_err(|_| {
            let why = "unsecuredValidatorAllowableClockSkewMs: expected a number of milliseconds";
            ConfigError::invalid(&self.jaas, HIDDEN, why)
        })?;
        let scopes = self.option("unsecuredValidatorRequiredScope").unwrap_or_default().split_whitespace();
        let scopes: Vec<String> = scopes.map(str::to_owned).collect();
        // They are shown to clients in a text of JSON, without escapes.
        let is_plain = |letter: u8| letter.is_ascii_graphic() && letter != b'"' && letter != b'\\';
        if scopes.iter().any(|scope| !scope.bytes().all(is_plain)) {
            let why = "unsecuredValidatorRequiredScope: expected scopes without quotes and backslashes";
            return Err(ConfigError::invalid(&self.jaas, HIDDEN, why));
        }
        Ok(UnsecuredTokens {
            user_claim: claim("unsecuredValidatorPrincipalClaimName", "sub"),
            scope_claim: claim("unsecuredValidatorScopeClaimName", "scope"),
            scopes,
            clock_skew: Duration::from_millis(skew.unwrap_or_default().into()),
        })
    }

    fn option(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.module?.options.get(name)?.bytes()).ok()
    }

    fn text(&self, name: &'static str) -> Result<Named<String>, ConfigError> {
        let Named { name, value } = (self.value)(name)?;
        Ok(Named { name, value: value.text_if_any().unwrap_or_default() })
    }

    fn claim(&self, name: &'static str) -> Result<String, ConfigError> {
        let claim = self.text(name)?;
        if claim.value.is_empty() {
            return Err(claim.refuse("", "expected the name of a claim"));
        }
        Ok(claim.value)
    }
}

fn place(url: &str) -> Result<KeyPlace, String> {
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let path = path.strip_prefix("localhost").unwrap_or(path);
            if path.starts_with('/') {
                Ok(KeyPlace::File(path.into()))
            } else {
                Err("expected the whole path of a file, as in file:///etc/kafka/jwks.json".to_owned())
            }
        }
        "https" => {
            address(rest).map(KeyPlace::Https).ok_or_else(|| "expected https://HOST:PORT/PATH".to_owned())
        }
        "http" => Err("keys that come without TLS prove nothing; use https:".to_owned()),
        _ => Err("expected https://HOST/PATH or file:///PATH".to_owned()),
    }
}

/// The part of an address after `https:`.
fn address(rest: &str) -> Option<HttpsAddress> {
    const PORT: u16 = 443;
    let rest = rest.strip_prefix("//")?;
    if !rest.bytes().all(|letter| letter.is_ascii_graphic() && letter != b'#') {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => PORT,
        None => return None,
    };
    // A user or a password before the host is no part of it.
    let is_host = !host.is_empty() && !host.contains('@');
    is_host.then(|| HttpsAddress { host: host.to_owned(), port, path })
}

/// As it may be shown: a query can be a secret.
impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyPlace::File(path) => write!(f, "file://{}", path.display()),
            KeyPlace::Https(HttpsAddress { host, port, path }) => {
                let shown = path.split_once('?').map_or(path.clone(), |(path, _)| format!("{path}?{HIDDEN}"));
                write!(f, "https://{}{shown}", host_and_port(host, port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(host: &str, port: u16, path: &str) -> Result<KeyPlace, String> {
        Ok(KeyPlace::Https(HttpsAddress { host: host.to_owned(), port, path: path.to_owned() }))
    }

    #[test]
    fn keys_are_in_a_file_or_at_an_https_address() {
        for url in ["file:///etc/jwks.json", "file:/etc/jwks.json", "FILE://localhost/etc/jwks.json"] {
            assert_eq!(place(url), Ok(KeyPlace::File("/etc/jwks.json".into())), "{url}");
        }
        assert_eq!(place("https://example.com/keys?a=b"), https("example.com", 443, "/keys?a=b"));
        assert_eq!(place("HTTPS://example.com:8443"), https("example.com", 8443, "/"));
        assert_eq!(place("https://[::1]:9/k"), https("::1", 9, "/k"));
        assert_eq!(place("https://example.com?k"), https("example.com", 443, "/?k"));
    }

    #[test]
    fn the_place_of_keys_is_shown_without_its_query() {
        for (url, shown) in [
            ("file:/etc/jwks.json", "file:///etc/jwks.json"),
            ("https://[::1]:9/@me/keys?key=geheim", "https://[::1]:9/@me/keys?[hidden]"),
            ("https://example.com/keys", "https://example.com:443/keys"),
        ] {
            assert_eq!(place(url).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_places_of_keys_are_refused() {
        for url in [
            "",
            "jwks.json",
            "file:jwks.json",
            "file://host/jwks.json",
            "http://example.com/keys",
            "ftp://example.com/",
            "https:example.com",
            "https://",
            "https://:443/",
            "https://user@example.com/",
            "https://example.com:x/",
            "https://example.com:70000/",
            "https://[::1/",
            "https://[::1]x/",
            "https://exam ple.com/",
            "https://example.com/keys#part",
        ] {
            assert!(place(url).is_err(), "{url}");
        }
    }
}
