//! TLS: from the settings of a listener to the configuration of its handshakes.
//!
//! Keys and certificates are read when the broker starts, when a client sets their settings again, and at SIGHUP. A
//! connection keeps those of its handshake.

mod certificate;
#[cfg(feature = "client")]
pub mod client;
mod der;
mod ec;
mod failure;
mod jks;
mod name;
mod outgoing;
pub mod pem;
mod pkcs12;
pub mod rules;
pub mod store;
mod suites;
mod verifier;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

pub use failure::{Failure, Failures};
pub use outgoing::OutgoingTls;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoClientAuth, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use self::certificate::Certificate;
use self::rules::PrincipalRules;
use self::store::Identity;
use super::principal::Principal;
use crate::config::{BrokerSettings, ClientAuth, ConfigError, KeyStoreSettings, Listener, TlsSettings};
use crate::types::{HIDDEN, IgnorePoison, Timestamp};

/// The maximum number of trusted certificates of a listener that are shown to operators: those that expire first.
const MOST_TRUSTED: usize = 100;
/// A certificate is named in a warning from this long before its end.
const WARNED_BEFORE: i64 = 30 * DAY;
/// In milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// The listeners of a broker that have TLS.
#[derive(Default)]
pub struct Tls(Vec<Arc<TlsListener>>);

/// One listener with TLS.
pub struct TlsListener {
    pub name: String,
    loaded: RwLock<Arc<LoadedTls>>,
    pub failures: Failures,
}

/// The keys, certificates and rules of handshakes. It is replaced as a whole.
pub struct LoadedTls {
    pub config: Arc<ServerConfig>,
    rules: PrincipalRules,
    /// The server's own certificates, each with the alias of its key.
    own: Vec<(String, Certificate)>,
    expiries: Vec<Expiry>,
    /// Protocols and cipher suites that are set and not served.
    left_out: Vec<String>,
    /// The users who can have a certificate that is accepted. `None` if that can be everyone: an authority may issue one
    /// for each name.
    users: Option<Vec<String>>,
}

/// The expiry of a certificate in use: the server's own, one of its issuers, or a trusted one that verifies clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry {
    pub expires: Timestamp,
    pub subject: String,
    /// The setting that it comes from.
    setting: String,
}

/// Keys and certificates that are read and checked, and not in use yet.
pub struct Replacement {
    listener: Arc<TlsListener>,
    loaded: Arc<LoadedTls>,
}

impl Tls {
    /// Reads the keys and certificates of all listeners with TLS.
    pub fn load(settings: &BrokerSettings) -> Result<Tls, ConfigError> {
        Tls::of(settings.listeners.iter(), settings)
    }

    /// Reads the keys and certificates of the HTTP server, if it has TLS. Its settings may have the prefix
    /// `listener.name.http.`.
    pub fn load_for_http(settings: &BrokerSettings) -> Result<Tls, ConfigError> {
        Tls::of(settings.http.iter(), settings)
    }

    fn of<'a>(
        listeners: impl Iterator<Item = &'a Listener>,
        settings: &BrokerSettings,
    ) -> Result<Tls, ConfigError> {
        let encrypted = listeners.filter(|listener| listener.protocol.is_encrypted());
        let listeners = encrypted.map(|listener| {
            let loaded = RwLock::new(Arc::new(LoadedTls::read(&settings.tls(&listener.name)?)?));
            let failures = Failures::default();
            Ok(Arc::new(TlsListener { name: listener.name.clone(), loaded, failures }))
        });
        Ok(Tls(listeners.collect::<Result<_, ConfigError>>()?))
    }

    pub fn listener(&self, name: &str) -> Option<&Arc<TlsListener>> {
        self.0.iter().find(|listener| listener.name == name)
    }

    pub fn listeners(&self) -> impl Iterator<Item = &Arc<TlsListener>> {
        self.0.iter()
    }

    /// The users who can have a certificate that a listener accepts, once the `new` ones have replaced the present ones.
    /// `None` if that can be everyone.
    pub fn users_with_certificates(&self, listener: &str, new: &[Replacement]) -> Option<Vec<String>> {
        match new.iter().find(|new| new.listener.name == listener) {
            Some(new) => new.loaded.users.clone(),
            None => {
                self.listener(listener).map_or(Some(Vec::new()), |listener| listener.loaded().users.clone())
            }
        }
    }

    /// The numbers of failed handshakes, by listener and reason.
    pub fn failed(&self) -> Vec<(String, &'static str, u64)> {
        let all = self.0.iter().flat_map(|listener| {
            listener.failures.all().map(|(failure, count)| (listener.name.clone(), failure.name(), count))
        });
        all.collect()
    }

    /// The expiries of the certificates in use, by listener.
    pub fn expiries(&self) -> Vec<(String, Expiry)> {
        let all = self.0.iter().flat_map(|listener| {
            let expiries = listener.loaded().expiries.clone();
            expiries.into_iter().map(|expiry| (listener.name.clone(), expiry))
        });
        all.collect()
    }

    /// Reads the keys and certificates of all listeners anew at the start, when settings that clients had altered are
    /// known. There are no present ones to compare them with.
    pub fn load_again(&self, settings: &BrokerSettings) -> Result<(), ConfigError> {
        for listener in &self.0 {
            let loaded = Arc::new(LoadedTls::read(&settings.tls(&listener.name)?)?);
            Replacement { listener: Arc::clone(listener), loaded }.install();
        }
        Ok(())
    }

    /// Reads the keys and certificates of all listeners anew, and checks whether they may replace the present ones.
    /// Returns the outcome for each listener.
    pub fn prepare_all(&self, settings: &BrokerSettings) -> Vec<(String, Result<Replacement, ConfigError>)> {
        let prepare = |listener: &Arc<TlsListener>| (listener.name.clone(), listener.prepare(settings));
        self.0.iter().map(prepare).collect()
    }

    /// What operators have to know about the present certificates and settings, as whole sentences.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let near = self.expiries().into_iter().filter(|(_, expiry)| expiry.is_near(now));
        let near = near.map(|(listener, Expiry { expires, subject, setting })| {
            let days = (expires.0.saturating_sub(now.0)) / DAY;
            let when = match days {
                _ if expires <= now => "has expired".to_owned(),
                days => format!("expires in {days} days"),
            };
            format!(
                "the certificate of {subject} at the listener {listener} {when}: replace it in {setting} and send SIGHUP"
            )
        });
        let left_out = self.0.iter().filter_map(|listener| {
            let loaded = listener.loaded();
            let names = loaded.left_out.join(" ");
            let name = &listener.name;
            (!names.is_empty())
                .then(|| format!("the listener {name} does not serve these of its TLS settings: {names}"))
        });
        near.chain(left_out).collect()
    }

    /// Reads the keys and certificates anew for the listeners that the changed settings are about, and checks whether
    /// they may replace the present ones.
    pub fn prepare<'a>(
        &self,
        settings: &BrokerSettings,
        changed: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Replacement>, ConfigError> {
        let changed: Vec<&str> = changed.collect();
        let is_meant = |listener: &&Arc<TlsListener>| {
            changed.iter().any(|name| match name.strip_prefix("listener.name.") {
                Some(own) => own
                    .strip_prefix(&listener.name.to_lowercase())
                    .is_some_and(|rest| rest.starts_with(".ssl.")),
                None => name.starts_with("ssl."),
            })
        };
        self.0.iter().filter(is_meant).map(|listener| listener.prepare(settings)).collect()
    }
}

impl TlsListener {
    /// The present keys and certificates.
    pub fn loaded(&self) -> Arc<LoadedTls> {
        Arc::clone(&self.loaded.read().ignoring_poison())
    }

    /// Reads the keys and certificates anew, and checks whether they may replace the present ones.
    pub fn prepare(self: &Arc<TlsListener>, settings: &BrokerSettings) -> Result<Replacement, ConfigError> {
        let settings = settings.tls(&self.name)?;
        let loaded = LoadedTls::read(&settings)?;
        loaded.may_replace(&self.loaded(), &settings)?;
        Ok(Replacement { listener: Arc::clone(self), loaded: Arc::new(loaded) })
    }
}

impl Replacement {
    /// New connections get these from now on.
    pub fn install(self) {
        *self.listener.loaded.write().ignoring_poison() = self.loaded;
    }
}

impl Expiry {
    /// The expiries of the certificates from one setting, the earliest first. Of several with the same name it keeps only
    /// the earliest.
    fn all<'a>(
        certificates: impl Iterator<Item = &'a CertificateDer<'static>>,
        setting: &str,
    ) -> Vec<Expiry> {
        // One that cannot be read is refused where it is needed.
        let parsed = certificates.filter_map(|der| Certificate::parse(der).ok());
        let one = |Certificate { subject, expires, .. }| Expiry {
            expires: Timestamp(expires.saturating_mul(1000)),
            subject,
            setting: setting.to_owned(),
        };
        let all: BTreeSet<Expiry> = parsed.map(one).collect();
        let mut names = BTreeSet::new();
        all.into_iter().filter(|expiry| names.insert(expiry.subject.clone())).collect()
    }

    /// Whether operators have to be warned.
    pub fn is_near(&self, now: Timestamp) -> bool {
        self.expires.0.saturating_sub(now.0) <= WARNED_BEFORE
    }
}

impl LoadedTls {
    fn read(settings: &TlsSettings) -> Result<LoadedTls, ConfigError> {
        let mut left_out = Vec::new();
        let versions = suites::versions(&settings.protocols, &mut left_out)?;
        let known = ring::default_provider();
        let names = &settings.cipher_suites;
        let cipher_suites = suites::suites(names, &known.cipher_suites, &mut left_out)?;
        let provider = Arc::new(CryptoProvider { cipher_suites, ..known });
        let keystore = &settings.keystore;
        let mut own = Vec::new();
        let mut keys = Vec::new();
        let identities = store::identities(keystore)?;
        let mut expiries =
            Expiry::all(identities.iter().flat_map(|identity| &identity.chain), keystore.setting());
        for identity in identities {
            let (certificate, key) =
                certified(&identity, &provider).map_err(|why| refuse_keystore(keystore, &why))?;
            own.push((identity.alias, certificate));
            keys.push(Arc::new(key));
        }
        // A trust store must be readable even if clients need no certificate.
        let trusted = store::trusted(&settings.truststore)?;
        if settings.client_auth.value != ClientAuth::None {
            let trusted = trusted.iter().flatten();
            expiries
                .extend(Expiry::all(trusted, settings.truststore.setting()).into_iter().take(MOST_TRUSTED));
        }
        if !is_any_usable(&provider.cipher_suites, &versions, &keys) {
            let why =
                "none of these can be used with the keys in the key store and the enabled versions of TLS";
            return Err(names.refuse(names.value.join(","), why));
        }
        let rules = PrincipalRules::parse(&settings.principal_rules.value)
            .map_err(|why| settings.principal_rules.refuse(settings.principal_rules.value.as_str(), why))?;
        let users = users_of(trusted.as_deref().unwrap_or_default(), &rules);
        let clients = client_verifier(settings, trusted, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| names.refuse(names.value.join(","), error.to_string()))?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(Identities(keys)));
        if settings.client_auth.value != ClientAuth::None {
            // The certificate of a client is verified in full handshakes only. A client that resumed its session would
            // be accepted after its certificate has expired.
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        Ok(LoadedTls { config: Arc::new(config), rules, own, expiries, left_out, users })
    }

    /// The principal of a client. `None` if no rule matches its certificate.
    pub fn principal(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<Principal> {
        let Some(own) = chain.and_then(<[_]>::first) else { return Some(Principal::anonymous()) };
        let name = Certificate::parse(own).ok()?.subject;
        Some(Principal::user(&self.rules.apply(&name)?))
    }

    /// Kafka's rules for certificates that replace others while the broker runs.
    fn may_replace(&self, present: &LoadedTls, settings: &TlsSettings) -> Result<(), ConfigError> {
        let refuse = |why: String| Err(refuse_keystore(&settings.keystore, &why));
        if self.own.len() != present.own.len() {
            return refuse(format!(
                "it has {} keys, but the one in use has {}",
                self.own.len(),
                present.own.len()
            ));
        }
        for ((alias, new), (_, old)) in self.own.iter().zip(&present.own) {
            if new.subject != old.subject && !settings.allows_dn_changes {
                let (new, old) = (&new.subject, &old.subject);
                return refuse(format!(
                    "the certificate of the key {alias} is of {new}, and the present one of {old}: \
                     ssl.allow.dn.changes=true allows that"
                ));
            }
            let missing: Vec<&str> =
                old.alternative_names.difference(&new.alternative_names).map(String::as_str).collect();
            if !missing.is_empty() && !settings.allows_san_changes {
                return refuse(format!(
                    "the certificate of the key {alias} lacks alternative names of the present one ({}): \
                     ssl.allow.san.changes=true allows that",
                    missing.join(", ")
                ));
            }
        }
        Ok(())
    }
}

/// The users whom trusted certificates name; `None` if one of them is, or may be, that of an authority.
fn users_of(trusted: &[CertificateDer<'_>], rules: &PrincipalRules) -> Option<Vec<String>> {
    let mut users = Vec::new();
    for certificate in trusted {
        let own = Certificate::parse(certificate).ok().filter(|own| !own.is_authority)?;
        users.extend(rules.apply(&own.subject));
    }
    Some(users)
}

fn client_verifier(
    settings: &TlsSettings,
    trusted: Option<Vec<CertificateDer<'static>>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ConfigError> {
    let auth = settings.client_auth.value;
    let is_required = match auth {
        ClientAuth::None => return Ok(Arc::new(NoClientAuth)),
        ClientAuth::Requested => false,
        ClientAuth::Required => true,
    };
    let location = &settings.truststore.location;
    let Some(trusted) = trusted else {
        let why = format!("{} needs a trust store to verify clients by", settings.client_auth.name);
        return Err(location.refuse("null", why));
    };
    verifier::verifier(trusted, is_required, provider)
        .map_err(|why| location.refuse(location.value.clone().unwrap_or_else(|| HIDDEN.to_owned()), why))
}

/// A key that can sign, with its certificates.
fn certified(
    Identity { alias, key, chain }: &Identity,
    provider: &CryptoProvider,
) -> Result<(Certificate, CertifiedKey), String> {
    let Some(own) = chain.first() else { return Err(format!("the key {alias} has no certificate")) };
    let certificate = Certificate::parse(own)?;
    let load = |key| provider.key_provider.load_private_key(key).ok();
    let with_public_key = || load(ec::with_public_key(key, &certificate.public_key)?);
    let Some(signing) = load(key.clone_key()).or_else(with_public_key) else {
        return Err(format!(
            "the key {alias} cannot be used: expected RSA of 2048 to 8192 bits, EC on P-256 or P-384, or Ed25519, and \
             the key of its first certificate"
        ));
    };
    if signing.public_key().is_some_and(|public| *public != *certificate.public_key) {
        return Err(format!("the first certificate of the key {alias} is for another key"));
    }
    Ok((certificate, CertifiedKey::new(chain.clone(), signing)))
}

/// Whether a handshake can succeed with one of the suites.
fn is_any_usable(
    suites: &[SupportedCipherSuite],
    versions: &[&'static SupportedProtocolVersion],
    keys: &[Arc<CertifiedKey>],
) -> bool {
    suites.iter().any(|suite| match suite {
        SupportedCipherSuite::Tls13(_) => versions.contains(&&version::TLS13),
        SupportedCipherSuite::Tls12(suite) => {
            let is_for = |own: &Arc<CertifiedKey>| own.key.choose_scheme(suite.sign).is_some();
            versions.contains(&&version::TLS12) && keys.iter().any(is_for)
        }
    })
}

/// Refuses what was read from the key store, by the setting that says where it is.
fn refuse_keystore(keystore: &KeyStoreSettings, why: &str) -> ConfigError {
    match &keystore.location.value {
        Some(path) => keystore.location.refuse(path.as_str(), why),
        None => keystore.certificates.refuse_hidden(why),
    }
}

/// The keys of a server. The first that the client can verify is used.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        self.0.iter().find(|own| own.key.choose_scheme(schemes).is_some()).cloned()
    }
}
