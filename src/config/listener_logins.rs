//! Reads how clients log in at the listeners that ask for it (SASL): mechanisms, the users of PLAIN, the rules for
//! tokens, and the length of sessions.
//!
//! As in Kafka, a setting may have a listener in front (`listener.name.outside.`) and some also a mechanism
//! (`listener.name.outside.plain.`). The longest name wins, whichever source it is from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::jaas::{self, JAAS, JAAS_FILE, LoginModule};
use super::logins::{CALLBACK, MAX_REAUTH, MECHANISMS};
use super::oauth::{self, TokenSettings};
use super::value::Value;
use super::{ConfigError, Listener, Logins, Mechanism, Named, broker};
use crate::types::{HIDDEN, Secret};

const PLAIN_MODULE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM_MODULE: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const OAUTH_MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
/// The options of the login module of PLAIN that name users.
const USER: &str = "user_";

/// The logins of all listeners that ask for one, by the listener's name. `set` returns the value of a setting, by its
/// full name.
pub(super) fn of_listeners<'a>(
    listeners: &[Listener],
    set: impl Fn(&str) -> Option<&'a str>,
) -> Result<BTreeMap<String, Arc<Logins>>, ConfigError> {
    let asking: Vec<&Listener> =
        listeners.iter().filter(|listener| listener.protocol.needs_login()).collect();
    if asking.is_empty() {
        return Ok(BTreeMap::new());
    }
    let file = set(JAAS_FILE).map(str::trim).filter(|path| !path.is_empty());
    let file = file.map(read_file).transpose()?.unwrap_or_default();
    let logins = asking.into_iter().map(|listener| {
        let of_listener = OfListener { listener: &listener.name, file: &file, set: &set };
        Ok((listener.name.clone(), Arc::new(of_listener.logins()?)))
    });
    logins.collect()
}

type Contexts = BTreeMap<String, Vec<LoginModule>>;

fn read_file(path: &str) -> Result<Contexts, ConfigError> {
    let refuse = |why: String| ConfigError::invalid(JAAS_FILE, path, why);
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    jaas::of_file(&text).map_err(refuse)
}

/// The settings of one listener.
struct OfListener<'a, F> {
    listener: &'a str,
    file: &'a Contexts,
    set: &'a F,
}

impl<'a, F: Fn(&str) -> Option<&'a str>> OfListener<'_, F> {
    fn logins(&self) -> Result<Logins, ConfigError> {
        let mechanisms = self.mechanisms()?;
        let (mut plain_users, mut tokens, mut max_session) = (BTreeMap::new(), None, BTreeMap::new());
        for mechanism in &mechanisms {
            let callback = self.value(*mechanism, CALLBACK);
            let modules = self.login_modules(*mechanism)?;
            match (mechanism, callback) {
                (Mechanism::OauthBearer, callback) => tokens = Some(self.tokens(callback, modules.first())?),
                (Mechanism::Plain | Mechanism::Scram(_), Some((name, class))) => {
                    let why = "Java classes cannot be loaded; remove this setting";
                    return Err(ConfigError::invalid(&name, class, why));
                }
                (Mechanism::Plain, None) => plain_users = users(&modules),
                (Mechanism::Scram(_), None) => {}
            }
            if let Some(longest) = self.longest_session(*mechanism)? {
                max_session.insert(*mechanism, longest);
            }
        }
        Ok(Logins { mechanisms, plain_users, tokens, max_session })
    }

    fn tokens(
        &self,
        callback: Option<(String, &'a str)>,
        module: Option<&LoginModule>,
    ) -> Result<TokenSettings, ConfigError> {
        let mechanism = Mechanism::OauthBearer;
        let own = self.of_mechanism(mechanism, CALLBACK);
        if let Some((name, class)) = callback.as_ref().filter(|(name, _)| *name != own) {
            return Err(ConfigError::invalid(name, *class, format!("write {own}, as in Kafka")));
        }
        let value = |name: &'static str| self.read(mechanism, name);
        let jaas = self.of_mechanism(mechanism, JAAS);
        oauth::ListenerOptions { listener: self.listener, callback, module, jaas, value: &value }.settings()
    }

    fn mechanisms(&self) -> Result<Vec<Mechanism>, ConfigError> {
        let full = self.prefixed(MECHANISMS);
        let name = if (self.set)(&full).is_some() { full.as_str() } else { MECHANISMS };
        let written = (self.set)(name).or(broker::row(name).and_then(|row| row.default)).unwrap_or_default();
        let mut mechanisms = Vec::new();
        for word in written.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            // As in Kafka, the setting may be in lower case.
            let mechanism = Mechanism::named(&word.to_ascii_uppercase()).ok_or_else(|| {
                let why = format!(
                    "the listener {} can offer PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER",
                    self.listener
                );
                ConfigError::invalid(name, word, why)
            })?;
            if !mechanisms.contains(&mechanism) {
                mechanisms.push(mechanism);
            }
        }
        if mechanisms.is_empty() {
            return Err(ConfigError::invalid(
                name,
                written,
                format!("the listener {} needs a mechanism", self.listener),
            ));
        }
        Ok(mechanisms)
    }

    /// The login modules of a mechanism, from its own setting or from the file. PLAIN has its users there.
    fn login_modules(&self, mechanism: Mechanism) -> Result<Vec<LoginModule>, ConfigError> {
        let expected = match mechanism {
            Mechanism::Plain => PLAIN_MODULE,
            Mechanism::Scram(_) => SCRAM_MODULE,
            Mechanism::OauthBearer => OAUTH_MODULE,
        };
        let name = self.of_mechanism(mechanism, JAAS);
        if let Some(written) = (self.set)(&name) {
            let refuse = |why| ConfigError::invalid(&name, HIDDEN, why);
            let module = jaas::of_setting(written).map_err(refuse)?;
            if module.class == expected {
                return Ok(vec![module]);
            }
            return Err(refuse(format!("the login module is {}, expected {expected}", module.class)));
        }
        let of_listener = format!("{}.KafkaServer", self.listener.to_lowercase());
        let context = ["KafkaServer", &of_listener].into_iter().rfind(|name| self.file.contains_key(*name));
        let modules = context.and_then(|name| self.file.get(name)).map_or(&[][..], Vec::as_slice);
        let works = |module: &&LoginModule| {
            [PLAIN_MODULE, SCRAM_MODULE, OAUTH_MODULE].contains(&module.class.as_str())
        };
        if let Some(module) = modules.iter().find(|module| !works(module)) {
            return Err(ConfigError::invalid(JAAS_FILE, &module.class, "this login module cannot work here"));
        }
        if context.is_none() && mechanism == Mechanism::Plain {
            let why = format!(
                "the users of PLAIN are missing: set {name}, or name a JAAS file with a context KafkaServer; {JAAS} \
                 without listener and mechanism has no effect, as in Kafka"
            );
            return Err(ConfigError::Listeners(format!("listener {}: {why}", self.listener)));
        }
        Ok(modules.iter().filter(|module| module.class == expected).cloned().collect())
    }

    fn longest_session(&self, mechanism: Mechanism) -> Result<Option<Duration>, ConfigError> {
        let Some((name, written)) = self.value(mechanism, MAX_REAUTH) else { return Ok(None) };
        let millis: i64 = written
            .trim()
            .parse()
            .map_err(|_| ConfigError::invalid(&name, written, "Not a number of type LONG"))?;
        let longest = u64::try_from(millis).ok().filter(|millis| *millis > 0);
        Ok(longest.map(Duration::from_millis))
    }

    /// A setting of a mechanism, and its full name.
    fn value(&self, mechanism: Mechanism, name: &str) -> Option<(String, &'a str)> {
        let names = [self.of_mechanism(mechanism, name), self.prefixed(name), name.to_owned()];
        names.into_iter().find_map(|name| Some(((self.set)(&name)?, name))).map(|(value, name)| (name, value))
    }

    /// The checked value of a setting with a row, or its default.
    fn read(&self, mechanism: Mechanism, base: &'static str) -> Result<Named<Value>, ConfigError> {
        let row = broker::row(base).expect("the settings of tokens have rows");
        match self.value(mechanism, base) {
            None => Ok(Named { name: base.to_owned(), value: row.default_value() }),
            Some((name, written)) => {
                let value = row.read(written).map_err(|error| error.under(&name))?;
                Ok(Named { name, value })
            }
        }
    }

    fn of_mechanism(&self, mechanism: Mechanism, name: &str) -> String {
        self.prefixed(&format!("{}.{name}", mechanism.name().to_lowercase()))
    }

    fn prefixed(&self, name: &str) -> String {
        format!("listener.name.{}.{name}", self.listener.to_lowercase())
    }
}

fn users(modules: &[LoginModule]) -> BTreeMap<String, Secret> {
    let options = modules.iter().rev().flat_map(|module| &module.options);
    let named =
        options.filter_map(|(name, password)| Some((name.strip_prefix(USER)?.to_owned(), password.clone())));
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::oauth::{UNSECURED, VALIDATOR};
    use crate::config::{BrokerSettings, Given};
    use crate::types::ScramHash;

    const PLAIN: &str = "listener.name.outside.plain.sasl.jaas.config";
    const ALICE: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"geheim\" username=\"broker\";";
    const LISTENERS: [(&str, &str); 2] = [
        ("listeners", "OUTSIDE://:9093,INSIDE://:9092"),
        ("listener.security.protocol.map", "OUTSIDE:SASL_PLAINTEXT,INSIDE:PLAINTEXT"),
    ];

    fn load(settings: &[(&str, &str)]) -> Result<BrokerSettings, String> {
        let mut given = Given::default();
        for (name, value) in LISTENERS.iter().chain(settings) {
            given.set(*name, *value);
        }
        BrokerSettings::load(given).map_err(|error| error.to_string())
    }

    fn outside(settings: &[(&str, &str)]) -> Logins {
        let logins = load(settings).unwrap().logins;
        assert_eq!(logins.keys().collect::<Vec<_>>(), ["OUTSIDE"], "INSIDE asks for no login");
        Logins::clone(&logins["OUTSIDE"])
    }

    fn names(logins: &Logins) -> Vec<&str> {
        logins.plain_users.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_listener_with_a_login_has_mechanisms_and_the_users_of_plain() {
        let logins = outside(&[(MECHANISMS, "scram-sha-512, PLAIN,PLAIN"), (PLAIN, ALICE)]);
        assert_eq!(logins.mechanisms, [Mechanism::Scram(ScramHash::Sha512), Mechanism::Plain]);
        assert_eq!(logins.plain_users["alice"], Secret::new("geheim"));
        assert_eq!(names(&logins), ["alice"]);
    }

    #[test]
    fn mechanisms_of_a_listener_win_over_those_of_all() {
        let of_listener = "listener.name.outside.sasl.enabled.mechanisms";
        let logins = outside(&[(MECHANISMS, "PLAIN"), (of_listener, "SCRAM-SHA-256")]);
        assert_eq!(logins.mechanisms, [Mechanism::Scram(ScramHash::Sha256)]);
    }

    #[test]
    fn the_longest_session_is_that_of_the_mechanism_else_of_the_listener_else_of_all() {
        let both = (MECHANISMS, "PLAIN,SCRAM-SHA-256");
        let of = |settings: &[(&str, &str)]| {
            let logins = outside(&[&[both, (PLAIN, ALICE)][..], settings].concat());
            let millis = |mechanism| logins.max_session(mechanism).map(|longest| longest.as_millis());
            (millis(Mechanism::Plain), millis(Mechanism::Scram(ScramHash::Sha256)))
        };
        let (all, listener) =
            ((MAX_REAUTH, "1000"), ("listener.name.outside.connections.max.reauth.ms", "2000"));
        let plain = ("listener.name.outside.plain.connections.max.reauth.ms", "3000");
        let none = ("listener.name.outside.plain.connections.max.reauth.ms", "0");
        assert_eq!(of(&[]), (None, None));
        assert_eq!(of(&[all]), (Some(1000), Some(1000)));
        assert_eq!(of(&[all, listener]), (Some(2000), Some(2000)));
        assert_eq!(of(&[all, listener, plain]), (Some(3000), Some(2000)));
        assert_eq!(of(&[all, none]), (None, Some(1000)));
    }

    #[test]
    fn users_come_from_a_jaas_file_unless_the_listener_has_a_setting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jaas.conf");
        let path = path.to_str().unwrap();
        let file = (JAAS_FILE, path);
        let context = |name: &str, user: &str| {
            format!("{name} {{ {PLAIN_MODULE} required user_{user}=\"1\"; {SCRAM_MODULE} required; }};")
        };
        let both = context("KafkaServer", "ben") + &context("outside.KafkaServer", "cleo");
        for (text, settings, user) in [
            (&context("KafkaServer", "ben"), &[file][..], "ben"),
            (&both, &[file][..], "cleo"),
            (&both, &[file, (PLAIN, ALICE)][..], "alice"),
        ] {
            std::fs::write(path, text).unwrap();
            let logins = outside(&[&[(MECHANISMS, "PLAIN,SCRAM-SHA-256")][..], settings].concat());
            assert_eq!(names(&logins), [user]);
        }
    }

    #[test]
    fn settings_that_cannot_keep_anybody_out_are_refused_by_name_and_without_secrets() {
        const PLAIN_ONLY: (&str, &str) = (MECHANISMS, "PLAIN");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jaas.conf");
        std::fs::write(&path, "KafkaServer { com.sun.security.auth.module.Krb5LoginModule required; };")
            .unwrap();
        let scram = format!("{SCRAM_MODULE} required user_alice=\"geheim\";");
        let callback = "listener.name.outside.plain.sasl.server.callback.handler.class";
        type Settings<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Settings<'_>, &str, &str); 11] = [
            (&[], MECHANISMS, "GSSAPI"),
            (&[(MECHANISMS, "PLAIN,CRAM-MD5"), (PLAIN, ALICE)], MECHANISMS, "CRAM-MD5"),
            (&[(MECHANISMS, "")], MECHANISMS, "needs a mechanism"),
            (&[PLAIN_ONLY], PLAIN, "the users of PLAIN are missing"),
            (&[PLAIN_ONLY, (JAAS, ALICE)], PLAIN, "without listener and mechanism has no effect"),
            (&[PLAIN_ONLY, (PLAIN, &scram)], PLAIN, "the login module is org"),
            (&[PLAIN_ONLY, (PLAIN, &ALICE[..ALICE.len() - 1])], PLAIN, "semicolon"),
            (
                &[PLAIN_ONLY, (PLAIN, ALICE), (callback, "my.Handler")],
                callback,
                "Java classes cannot be loaded",
            ),
            (&[PLAIN_ONLY, (JAAS_FILE, path.to_str().unwrap())], JAAS_FILE, "Krb5LoginModule"),
            (&[PLAIN_ONLY, (JAAS_FILE, "/nowhere")], JAAS_FILE, "No such file"),
            (&[PLAIN_ONLY, (PLAIN, ALICE), (MAX_REAUTH, "soon")], MAX_REAUTH, "LONG"),
        ];
        for (settings, name, why) in cases {
            let error = load(settings).unwrap_err();
            assert!(error.contains(name) && error.contains(why), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    const OAUTH: &str = "listener.name.outside.oauthbearer.";
    const TOKENS_ONLY: (&str, &str) = (MECHANISMS, "OAUTHBEARER");
    const VERIFYING: &str =
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler";

    /// The settings of OAUTHBEARER with the listener and the mechanism in front, for a listener that verifies tokens.
    fn verifying(settings: &[(&str, &str)]) -> Vec<(String, String)> {
        let usual = [
            (CALLBACK, VERIFYING),
            ("sasl.oauthbearer.jwks.endpoint.url", "https://issuer/keys"),
            ("sasl.oauthbearer.expected.audience", "kafka,orders"),
            ("sasl.oauthbearer.expected.issuer", "https://issuer"),
        ];
        let own =
            usual.iter().chain(settings).map(|(name, value)| (format!("{OAUTH}{name}"), (*value).to_owned()));
        own.chain([(MECHANISMS.to_owned(), "OAUTHBEARER".to_owned())]).collect()
    }

    fn borrowed(settings: &[(String, String)]) -> Vec<(&str, &str)> {
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn tokens_are_verified_by_the_keys_of_the_issuer_if_kafkas_handler_is_set() {
        let module = format!(
            "{OAUTH_MODULE} required ssl.truststore.location=\"/ca.p12\" ssl.truststore.password=\"geheim\";"
        );
        let all = verifying(&[
            (JAAS, &module),
            ("sasl.oauthbearer.sub.claim.name", "email"),
            ("sasl.oauthbearer.clock.skew.seconds", "5"),
            ("sasl.oauthbearer.jwks.endpoint.refresh.ms", "1000"),
        ]);
        let logins = outside(&borrowed(&all));
        let Some(TokenSettings::Signed(rules)) = &logins.tokens else { panic!("{logins:?}") };
        assert_eq!((&*rules.user_claim, &*rules.scope_claim), ("email", "scope"));
        assert_eq!(rules.audiences, ["kafka", "orders"]);
        assert_eq!(rules.issuer.as_deref(), Some("https://issuer"));
        assert_eq!((rules.clock_skew, rules.keys.refresh), (Duration::from_secs(5), Duration::from_secs(1)));
        let trust = &rules.keys.trust;
        assert_eq!((trust.kind.value.as_str(), trust.location.value.as_deref()), ("JKS", Some("/ca.p12")));
        assert_eq!(trust.password.value.as_deref(), Some("geheim"));
        assert!(!format!("{logins:?}").contains("geheim"));
    }

    #[test]
    fn tokens_need_no_signature_only_if_the_login_module_is_there_and_no_handler() {
        let jaas = format!("{OAUTH}{JAAS}");
        let module = format!(
            "{OAUTH_MODULE} required unsecuredLoginStringClaim_sub=\"me\" unsecuredValidatorRequiredScope=\"a b\" \
             unsecuredValidatorAllowableClockSkewMs=\"3000\";"
        );
        let logins = outside(&[TOKENS_ONLY, (&jaas, &module)]);
        let Some(TokenSettings::Unsecured(rules)) = &logins.tokens else { panic!("{logins:?}") };
        assert_eq!((&*rules.user_claim, &*rules.scope_claim), ("sub", "scope"));
        assert_eq!(
            (&*rules.scopes, rules.clock_skew),
            (&["a".to_owned(), "b".to_owned()][..], Duration::from_secs(3))
        );
        let refused = load(&[TOKENS_ONLY]).unwrap_err();
        assert!(refused.contains("tokens without a signature") && refused.contains(&jaas), "{refused}");
        for (option, value) in [("AllowableClockSkewMs", "-1"), ("RequiredScope", "a\\\"b")] {
            let module = format!("{OAUTH_MODULE} required unsecuredValidator{option}=\"{value}\";");
            let refused = load(&[TOKENS_ONLY, (&jaas, &module)]).unwrap_err();
            assert!(refused.contains(&jaas) && refused.contains(option), "{refused}");
        }
    }

    #[test]
    fn settings_that_would_trust_every_token_are_refused() {
        let module = format!("{OAUTH_MODULE} required ssl.keystore.location=\"/own.p12\";");
        let login = format!("{OAUTH_MODULE} required;");
        type Settings<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Settings<'_>, &str, &str); 10] = [
            (&[("sasl.oauthbearer.jwks.endpoint.url", "")], "jwks.endpoint.url", "expected https://"),
            (
                &[("sasl.oauthbearer.jwks.endpoint.url", "http://issuer/keys")],
                "jwks.endpoint.url",
                "use https:",
            ),
            (&[("sasl.oauthbearer.expected.audience", "")], "expected.audience", "allow.unverified.audience"),
            (&[("sasl.oauthbearer.expected.issuer", "")], "expected.issuer", "allow.unverified.issuer"),
            (&[(VALIDATOR, "my.Validator")], VALIDATOR, "Java classes cannot be loaded"),
            (&[("sasl.oauthbearer.sub.claim.name", "")], "sub.claim.name", "name of a claim"),
            (&[("sasl.oauthbearer.clock.skew.seconds", "-1")], "clock.skew.seconds", "at least 0"),
            (&[(CALLBACK, "my.Handler")], CALLBACK, "Java classes cannot be loaded"),
            (&[(JAAS, &module)], JAAS, "ssl.keystore.location"),
            // Kafka would take tokens without a signature here.
            (
                &[(CALLBACK, UNSECURED), (JAAS, &login)],
                "jwks.endpoint.url",
                "OAuthBearerValidatorCallbackHandler",
            ),
        ];
        for (settings, name, why) in cases {
            let all = verifying(settings);
            let refused = load(&borrowed(&all)).unwrap_err();
            assert!(refused.contains(name) && refused.contains(why), "{refused}");
        }
        let url = "sasl.oauthbearer.jwks.endpoint.url";
        for secret in [
            &[(url, "https://ann:geheim@issuer/keys")][..],
            &[(url, "http://issuer/keys?key=geheim")],
            &[(CALLBACK, UNSECURED), (JAAS, &login), (url, "https://issuer/keys?key=geheim")],
        ] {
            let all = verifying(secret);
            let refused = load(&borrowed(&all)).unwrap_err();
            assert!(refused.contains(url) && refused.contains("issuer/keys"), "{refused}");
            assert!(!refused.contains("geheim"), "{refused}");
        }
        let any = verifying(&[
            ("sasl.oauthbearer.expected.audience", ""),
            ("sasl.oauthbearer.allow.unverified.audience", "true"),
            ("sasl.oauthbearer.expected.issuer", ""),
            ("sasl.oauthbearer.allow.unverified.issuer", "true"),
        ]);
        let logins = outside(&borrowed(&any));
        let Some(TokenSettings::Signed(rules)) = &logins.tokens else { panic!("{logins:?}") };
        assert!(rules.audiences.is_empty() && rules.issuer.is_none());
        let unprefixed = load(&[TOKENS_ONLY, (CALLBACK, VERIFYING)]).unwrap_err();
        assert!(unprefixed.contains(&format!("write {OAUTH}{CALLBACK}")), "{unprefixed}");
    }

    #[test]
    fn settings_that_decide_which_tokens_are_trusted_wait_for_the_next_start() {
        let all = verifying(&[]);
        let settings = load(&borrowed(&all)).unwrap();
        let mut written = settings.given.clone();
        written.set(format!("{OAUTH}sasl.oauthbearer.expected.audience"), "another");
        let reloaded = settings.reloaded(&written);
        assert_eq!(reloaded.waiting, ["sasl.oauthbearer.expected.audience"]);
        assert_eq!(reloaded.settings.logins, settings.logins);
    }

    #[test]
    fn users_that_are_written_anew_count_after_a_reload_and_wrong_ones_do_not() {
        let settings = load(&[(MECHANISMS, "PLAIN"), (PLAIN, ALICE)]).unwrap();
        let reloaded = |users: &str| {
            let mut written = settings.given.clone();
            written.set(PLAIN, users);
            settings.reloaded(&written)
        };
        let after = reloaded(&ALICE.replace("user_alice", "user_ben"));
        assert_eq!(names(&after.settings.logins["OUTSIDE"]), ["ben"]);
        let [changed] = &after.changed[..] else { panic!("{:?}", after.changed) };
        assert_eq!((changed.name.as_str(), changed.to.as_deref()), (PLAIN, Some("(hidden)")));
        let refused = reloaded("nothing");
        assert_eq!(names(&refused.settings.logins["OUTSIDE"]), ["alice"]);
        assert_eq!(refused.refused.len(), 1);
    }

    #[test]
    fn a_setting_of_a_listener_is_known_and_its_password_is_not_listed() {
        let mut given = Given::default();
        for (name, value) in LISTENERS.iter().chain(&[(MECHANISMS, "PLAIN"), (PLAIN, ALICE)]) {
            given.set(*name, *value);
        }
        assert_eq!(given.unknown().next(), None);
        let settings = BrokerSettings::load(given).unwrap();
        let page = crate::config::listing(&settings);
        assert!(page.contains(&format!("{PLAIN}=[hidden]")) && !page.contains("geheim"), "{page}");
        let shown = format!("{:?}", crate::config::describe_broker(&settings));
        assert!(shown.contains(PLAIN) && !shown.contains("geheim"));
        assert!(!format!("{:?}", settings.logins).contains("geheim"));
    }
}
