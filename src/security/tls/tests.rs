//! Stores as keytool and OpenSSL write them; `tests/tls/make` makes them.

use super::*;
use crate::config::Given;

const KEYSTORE: &str = "ssl.keystore.location";
const PASSWORD: (&str, &str) = ("ssl.keystore.password", "changeit");

fn path(file: &str) -> String {
    format!("{}/tests/tls/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn text(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

/// The text on one line, as the value of a property may be.
fn line(file: &str) -> String {
    text(file).replace('\n', " ")
}

fn settings(set: &[(&str, &str)]) -> BrokerSettings {
    read(set).unwrap()
}

fn read(set: &[(&str, &str)]) -> Result<BrokerSettings, ConfigError> {
    let mut given = Given::default();
    given.set("listeners", "SSL://localhost:0");
    set.iter().for_each(|(name, value)| given.set(*name, *value));
    BrokerSettings::load(given)
}

fn load(set: &[(&str, &str)]) -> Result<Arc<LoadedTls>, ConfigError> {
    Tls::load(&read(set)?).map(|tls| tls.listener("SSL").unwrap().loaded())
}

fn subjects(loaded: &LoadedTls) -> Vec<&str> {
    loaded.own.iter().map(|(_, certificate)| certificate.subject.as_str()).collect()
}

/// The refusal of these settings.
fn refused(set: &[(&str, &str)]) -> String {
    load(set).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn key_stores_of_all_versions_of_keytool_and_openssl_are_read() {
    for (file, subject) in [
        ("server.jks", "CN=jks,O=Example"),
        ("jdk8.p12", "CN=jdk8,O=Example"),
        ("jdk17.p12", "CN=jdk17,O=Example"),
        ("openssl1.p12", "CN=leaf,O=Example"),
        ("openssl3.p12", "CN=leaf,O=Example"),
    ] {
        // As in Java, the file itself decides between these two.
        for kind in ["JKS", "PKCS12"] {
            let loaded = load(&[(KEYSTORE, &path(file)), PASSWORD, ("ssl.keystore.type", kind)]).unwrap();
            assert_eq!(subjects(&loaded), [subject], "{file}");
        }
    }
}

#[test]
fn the_certificates_of_issuers_are_shown_in_their_order() {
    for file in ["openssl1.p12", "openssl3.p12"] {
        let settings = settings(&[(KEYSTORE, &path(file)), PASSWORD]).tls("SSL").unwrap();
        let chain = &store::identities(&settings.keystore).unwrap()[0].chain;
        let names = chain.iter().map(|one| Certificate::parse(one).unwrap().subject);
        let expected = ["CN=leaf,O=Example", "CN=middle,O=Example", "CN=root,O=Example"];
        assert_eq!(names.collect::<Vec<_>>(), expected, "{file}");
    }
}

#[test]
fn a_store_may_have_several_keys_and_a_key_its_own_password() {
    let several = load(&[(KEYSTORE, &path("several.jks")), PASSWORD]).unwrap();
    assert_eq!(subjects(&several), ["CN=rsa,O=Example", "CN=jks,O=Example"]);
    let own = (KEYSTORE, &*path("key-password.jks"));
    let loaded = load(&[own, PASSWORD, ("ssl.key.password", "another")]).unwrap();
    assert_eq!(subjects(&loaded), ["CN=other password,O=Example"]);
    let refusal = refused(&[own, PASSWORD]);
    assert!(refusal.contains("[hidden] for configuration ssl.key.password"), "{refusal}");
}

#[test]
fn pem_is_read_from_a_file_and_from_a_setting_also_on_one_line_and_with_an_encrypted_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.pem");
    let pem = ("ssl.keystore.type", "PEM");
    for key in ["leaf-key.pem", "leaf-key-aes.pem", "leaf-key-des3.pem"] {
        let password = ("ssl.key.password", "changeit");
        std::fs::write(&file, text(key) + &text("leaf.pem")).unwrap();
        let from_file = load(&[pem, password, (KEYSTORE, file.to_str().unwrap())]).unwrap();
        assert_eq!(subjects(&from_file), ["CN=leaf,O=Example"], "{key}");
        let inline = [("ssl.keystore.certificate.chain", line("leaf.pem")), ("ssl.keystore.key", line(key))];
        let inline: Vec<_> = inline.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let inline = load(&[&[pem, password], &inline[..]].concat()).unwrap();
        assert_eq!(subjects(&inline), ["CN=leaf,O=Example"], "{key}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_the_file_and_the_setting() {
    let (jks, missing, leaf) = (path("server.jks"), path("missing.jks"), path("leaf.pem"));
    let (dsa, jceks, trust, own) = (path("dsa.jks"), path("jceks.jks"), path("trust.jks"), path("make"));
    let chain = ("ssl.keystore.certificate.chain", &*text("leaf.pem"));
    let key = ("ssl.keystore.key", &*text("leaf-key.pem"));
    let old = ("ssl.keystore.key", &*text("leaf-key-old.pem"));
    let encrypted = ("ssl.keystore.key", &*text("leaf-key-aes.pem"));
    let pem = ("ssl.keystore.type", "PEM");
    let other = ("ssl.keystore.certificate.chain", &*text("jks.pem"));
    let stored = (KEYSTORE, &*jks);
    for (set, expected) in [
        (&[][..], "null for configuration ssl.keystore.location: a listener with TLS needs a key store"),
        (
            &[(KEYSTORE, &*missing), PASSWORD],
            "missing.jks for configuration ssl.keystore.location: it cannot be",
        ),
        (&[stored], "null for configuration ssl.keystore.password"),
        (&[stored, ("ssl.keystore.password", "wrong")], "server.jks for configuration ssl.keystore.location"),
        (&[(KEYSTORE, &*path("jdk17.p12")), ("ssl.keystore.password", "wrong")], "the password is wrong"),
        (&[(KEYSTORE, &*path("openssl1.p12")), ("ssl.keystore.password", "")], "the password is wrong"),
        (&[(KEYSTORE, &*own), PASSWORD], "make for configuration ssl.keystore.location"),
        (&[(KEYSTORE, &*leaf), PASSWORD], "it is PEM"),
        (&[(KEYSTORE, &*jceks), PASSWORD], "JCEKS"),
        (&[(KEYSTORE, &*dsa), PASSWORD], "the key dsa cannot be used: expected RSA"),
        (&[(KEYSTORE, &*trust), PASSWORD], "it has no private key with a certificate"),
        (&[stored, PASSWORD, ("ssl.keystore.type", "BKS")], "BKS for configuration ssl.keystore.type"),
        (
            &[pem, chain],
            "[hidden] for configuration ssl.keystore.certificate.chain: ssl.keystore.key is missing",
        ),
        (&[pem, key], "null for configuration ssl.keystore.certificate.chain"),
        (
            &[pem, (KEYSTORE, &*leaf)],
            "leaf.pem for configuration ssl.keystore.location: it has no section PRIVATE",
        ),
        (&[chain, key], "JKS for configuration ssl.keystore.type"),
        (
            &[pem, chain, key, (KEYSTORE, "")],
            " for configuration ssl.keystore.location: ssl.keystore.key is set",
        ),
        (&[pem, chain, key, PASSWORD], "[hidden] for configuration ssl.keystore.password"),
        (&[pem, other, key], "the first certificate of the key kafka is for another key"),
        (
            &[pem, chain, old],
            "[hidden] for configuration ssl.keystore.key: its key has OpenSSL's old encryption",
        ),
        (&[pem, chain, encrypted], "ssl.key.password is not set"),
        (&[pem, chain, encrypted, ("ssl.key.password", "wrong")], "cannot be decrypted"),
        (
            &[stored, PASSWORD, ("ssl.client.auth", "required")],
            "null for configuration ssl.truststore.location",
        ),
        (&[stored, PASSWORD, ("ssl.truststore.password", "x")], "ssl.truststore.location is not set"),
        (
            &[stored, PASSWORD, ("ssl.truststore.location", &*missing)],
            "missing.jks for configuration ssl.truststore.location",
        ),
        (
            &[stored, PASSWORD, ("ssl.enabled.protocols", "TLSv2")],
            "TLSv2 for configuration ssl.enabled.protocols",
        ),
        (&[stored, PASSWORD, ("ssl.enabled.protocols", "TLSv1,TLSv1.1")], "none of these is served"),
        (
            &[stored, PASSWORD, ("ssl.cipher.suites", "AES")],
            "AES for configuration ssl.cipher.suites: expected TLS_",
        ),
        (
            &[stored, PASSWORD, ("ssl.cipher.suites", "TLS_RSA_WITH_AES_128_CBC_SHA")],
            "none of these is served",
        ),
        (
            &[
                stored,
                PASSWORD,
                ("ssl.cipher.suites", "TLS_AES_128_GCM_SHA256"),
                ("ssl.enabled.protocols", "TLSv1.2"),
            ],
            "none of these can be used with the keys",
        ),
        (
            &[
                stored,
                PASSWORD,
                ("ssl.cipher.suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256"),
                ("ssl.enabled.protocols", "TLSv1.2"),
            ],
            "for configuration ssl.cipher.suites: none of these can be used with the keys in the key store",
        ),
        (
            &[stored, PASSWORD, ("ssl.principal.mapping.rules", "RULE:x")],
            "RULE:x for configuration ssl.principal.mapping.rules",
        ),
        (
            &[stored, PASSWORD, ("listener.name.ssl.ssl.client.auth", "maybe")],
            "maybe for configuration listener.name.ssl.ssl.client.auth",
        ),
    ] {
        let refusal = refused(set);
        assert!(refusal.contains(expected), "{refusal}\nlacks {expected}");
        assert!(!refusal.contains("PRIVATE KEY-----") && !refusal.contains("wrong for"), "{refusal}");
    }
}

#[test]
fn trust_stores_are_read_in_every_form() {
    for (file, expected) in [
        ("trust.jks", 2),
        ("trust-jdk8.p12", 2),
        ("trust-jdk17.p12", 2),
        ("trust-openssl3.p12", 1),
        ("server.jks", 1),
    ] {
        let set = [("ssl.truststore.location", &*path(file)), ("ssl.truststore.password", "changeit")];
        let settings = settings(&set).tls("SSL").unwrap();
        assert_eq!(store::trusted(&settings.truststore).unwrap().unwrap().len(), expected, "{file}");
    }
    let pem = ("ssl.truststore.type", "PEM");
    let both = line("root.pem") + &line("jks.pem");
    let inline = settings(&[pem, ("ssl.truststore.certificates", &both)]).tls("SSL").unwrap();
    assert_eq!(store::trusted(&inline.truststore).unwrap().unwrap().len(), 2);
    let without_password = settings(&[("ssl.truststore.location", &path("trust.jks"))]).tls("SSL").unwrap();
    assert_eq!(store::trusted(&without_password.truststore).unwrap().unwrap().len(), 2);
}

#[test]
fn the_users_who_can_have_a_certificate_are_those_of_trusted_ones_or_everyone_with_an_authority() {
    let users = |trusted: &str, rules: &str| {
        let set = [
            (KEYSTORE, &*path("server.jks")),
            PASSWORD,
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.certificates", &*line(trusted)),
            ("ssl.principal.mapping.rules", rules),
        ];
        Tls::load(&settings(&set)).unwrap().users_with_certificates("SSL", &[])
    };
    let only = |user: &str| Some(vec![user.to_owned()]);
    assert_eq!(users("jks.pem", "DEFAULT"), only("CN=jks,O=Example"));
    assert_eq!(users("jks.pem", "RULE:^CN=(.*?),.*$/$1/U"), only("JKS"));
    assert_eq!(users("jks.pem", "RULE:^nobody$//"), Some(Vec::new()), "no rule matches");
    assert_eq!(users("root.pem", "DEFAULT"), None);
}

#[test]
fn a_listener_has_its_own_settings_before_those_of_all() {
    let (all, own) = (path("server.jks"), path("jdk17.p12"));
    let set = [(KEYSTORE, &*all), PASSWORD, ("listener.name.ssl.ssl.keystore.location", &*own)];
    assert_eq!(subjects(&load(&set).unwrap()), ["CN=jdk17,O=Example"]);
    let other = [(KEYSTORE, &*all), PASSWORD, ("listener.name.other.ssl.keystore.location", &*own)];
    assert_eq!(subjects(&load(&other).unwrap()), ["CN=jks,O=Example"]);
}

#[test]
fn names_are_written_as_java_writes_them() {
    let der = std::fs::read(path("names.der")).unwrap();
    // What `X500Principal.getName("RFC2253")` of JDK 17 returns for it.
    let expected = r#"1.2.840.113549.1.9.1=#160d61406578616d706c652e6f7267,CN=\ x\=y\;\<z\>\\\ ,OU=a+UID=b,O=Exämple\, \"Inc.\",C=DE"#;
    assert_eq!(Certificate::parse(&der).unwrap().subject, expected);
}

#[test]
fn versions_and_suites_that_are_not_served_are_left_out_by_name() {
    let suites =
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA,TLS_AES_256_GCM_SHA384";
    let set = [(KEYSTORE, &*path("server.jks")), PASSWORD, ("ssl.cipher.suites", suites)];
    let loaded = load(&[&set[..], &[("ssl.enabled.protocols", "TLSv1.1,TLSv1.2,TLSv1.3")]].concat()).unwrap();
    assert_eq!(loaded.left_out, ["TLSv1.1", "TLS_RSA_WITH_AES_128_CBC_SHA"]);
    assert_eq!(loaded.config.crypto_provider().cipher_suites.len(), 2);
}

#[test]
fn a_certificate_is_replaced_by_one_of_the_same_owner_unless_more_is_allowed() {
    let own = "listener.name.ssl.ssl.keystore.location";
    let tls = Tls::load(&settings(&[(own, &path("server.jks")), PASSWORD])).unwrap();
    let with = |more: &[(&str, &str)]| settings(&[&[(own, &*path("jdk17.p12")), PASSWORD], more].concat());
    let prepare = |settings: &BrokerSettings, changed: &str| {
        tls.prepare(settings, std::iter::once(changed)).map_err(|error| error.to_string())
    };
    let (dn, san) = (("ssl.allow.dn.changes", "true"), ("ssl.allow.san.changes", "true"));
    for (allowed, missing) in [
        (&[][..], "ssl.allow.dn.changes"),
        (&[san], "ssl.allow.dn.changes"),
        (&[dn], "ssl.allow.san.changes"),
    ] {
        let refusal = prepare(&with(allowed), own).err().unwrap();
        assert!(refusal.contains(missing) && refusal.contains(own), "{refusal}");
    }
    assert!(prepare(&with(&[]), "listener.name.other.ssl.keystore.location").unwrap().is_empty());
    let subject = || tls.expiries()[0].1.subject.clone();
    let prepared = prepare(&with(&[dn, san]), own).unwrap();
    assert_eq!(subject(), "CN=jks,O=Example", "it is not in use before it is installed");
    prepared.into_iter().for_each(Replacement::install);
    assert_eq!(subject(), "CN=jdk17,O=Example");
}

#[test]
fn a_certificate_is_warned_of_in_its_last_thirty_days() {
    let day = 24 * 60 * 60 * 1000;
    let expiry = Expiry { expires: Timestamp(100 * day), subject: "CN=a".into(), setting: KEYSTORE.into() };
    assert!(!expiry.is_near(Timestamp(69 * day)));
    assert!(expiry.is_near(Timestamp(70 * day)) && expiry.is_near(Timestamp(101 * day)));
    let protocols = ("ssl.enabled.protocols", "TLSv1.1,TLSv1.3");
    let tls = Tls::load(&settings(&[(KEYSTORE, &path("server.jks")), PASSWORD, protocols])).unwrap();
    let left_out = "the listener SSL does not serve these of its TLS settings: TLSv1.1";
    assert_eq!(tls.warnings(Timestamp(0)), [left_out]);
    let expires = tls.expiries()[0].1.expires;
    let [near, _] = &tls.warnings(Timestamp(expires.0 - 3 * day - 1))[..] else { panic!("two warnings") };
    assert!(near.contains("of CN=jks,O=Example at the listener SSL expires in 3 days"), "{near}");
    assert!(tls.warnings(expires)[0].contains("has expired"));
}

/// A certificate that expires when a day in May 2030 begins, issued by itself or by `issuer`.
fn until(day: u8, name: &str, issuer: Option<&rcgen::Issuer<'_, rcgen::KeyPair>>) -> rcgen::Certificate {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = params_until(day, name);
    match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    }
}

fn params_until(day: u8, name: &str) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_after = rcgen::date_time_ymd(2030, 5, day);
    params
}

#[test]
fn issuers_and_trusted_certificates_are_warned_of_by_name_and_setting() {
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(params_until(10, "issuer"), rcgen::KeyPair::generate().unwrap());
    let own = params_until(20, "own").signed_by(&key, &issuer).unwrap();
    let chain = [own, until(10, "issuer", None)].map(|one| one.pem()).concat();
    let trusted = [until(5, "clients", None), until(3, "clients", None), until(7, "owner", Some(&issuer))];
    let trusted = trusted.map(|one| one.pem()).concat();
    let tls = |auth: &str| {
        Tls::load(&settings(&[
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.certificate.chain", &chain),
            ("ssl.keystore.key", &key.serialize_pem()),
            ("ssl.truststore.type", "PEM"),
            ("listener.name.ssl.ssl.truststore.certificates", &trusted),
            ("ssl.client.auth", auth),
        ]))
        .unwrap()
    };
    let midnight = |day: i64| Timestamp((1_903_824_000 + (day - 1) * 86_400) * 1000);
    let line = |name: &str, days: u8, setting: &str| {
        format!(
            "the certificate of CN={name} at the listener SSL expires in {days} days: replace it in {setting} and send SIGHUP"
        )
    };
    let of_server =
        [("issuer", 9), ("own", 19)].map(|(name, days)| line(name, days, "ssl.keystore.certificate.chain"));
    assert_eq!(tls("none").warnings(midnight(1)), of_server, "nobody is verified by the trust store");
    let of_clients = [("clients", 2), ("owner", 6)]
        .map(|(name, days)| line(name, days, "listener.name.ssl.ssl.truststore.certificates"));
    assert_eq!(tls("required").warnings(midnight(1)), [of_server, of_clients].concat());
}

#[test]
fn of_many_trusted_certificates_those_that_expire_first_are_shown() {
    let many =
        (0..=MOST_TRUSTED).rev().map(|nth| until(1 + (nth / 10) as u8, &format!("{nth:03}"), None).pem());
    let set = [
        (KEYSTORE, &*path("server.jks")),
        PASSWORD,
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.certificates", &many.collect::<String>()),
        ("ssl.client.auth", "requested"),
    ];
    let expiries = Tls::load(&settings(&set)).unwrap().expiries();
    let names: Vec<&str> = expiries.iter().map(|(_, expiry)| expiry.subject.as_str()).collect();
    assert_eq!((names.len(), names[1], names[MOST_TRUSTED]), (MOST_TRUSTED + 1, "CN=000", "CN=099"));
}

#[test]
fn a_certificate_of_version_1_is_refused_for_that_reason_whoever_issued_it() {
    let own = pem::certificates(&text("version1.pem")).unwrap().remove(0);
    let provider = Arc::new(ring::default_provider());
    for trusted in ["version1.pem", "root.pem"] {
        let trusted = pem::certificates(&text(trusted)).unwrap();
        let verifier = verifier::verifier(trusted, true, &provider).unwrap();
        let now =
            rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_903_824_000));
        let refusal = verifier.verify_client_cert(&own, &[], now).unwrap_err();
        assert_eq!(Failure::of(&refusal), Failure::OldCertificate, "{refusal}");
    }
}

#[test]
fn a_client_trusts_its_store_else_the_certificates_of_the_machine() {
    let named = |value: Option<&str>| crate::config::Named {
        name: "trust".to_owned(),
        value: value.map(str::to_owned),
    };
    let load = |kind: &str, location: Option<&str>| {
        let settings = crate::config::TrustStoreSettings {
            kind: crate::config::Named { name: "type".to_owned(), value: kind.to_owned() },
            location: named(location),
            password: named(location.filter(|_| kind != "PEM").map(|_| "changeit")),
            certificates: named(None),
        };
        OutgoingTls::load(&settings).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(load("PEM", Some(&path("root.pem"))), Ok(()));
    assert_eq!(load("JKS", Some(&path("trust-jdk17.p12"))), Ok(()));
    assert!(load("PEM", Some("/nowhere")).unwrap_err().contains("/nowhere for configuration trust"));
    let of_the_machine = rustls_native_certs::load_native_certs().certs;
    match load("JKS", None) {
        Ok(()) => assert!(!of_the_machine.is_empty()),
        Err(why) => assert!(of_the_machine.is_empty() && why.contains("no trusted certificates"), "{why}"),
    }
}
