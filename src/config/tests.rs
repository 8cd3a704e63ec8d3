use std::collections::BTreeMap;
use std::time::Duration;

use super::listener::Build;
use super::*;
use crate::types::{NodeId, ScramHash};

mod prefixed;

fn broker(set: &[(&str, &str)]) -> Result<BrokerSettings, ConfigError> {
    let mut given = Given::default();
    for (name, value) in set {
        given.set(*name, *value);
    }
    BrokerSettings::load(given)
}

fn topic(own: &[(&str, &str)], set: &[(&str, &str)]) -> Result<TopicSettings, ConfigError> {
    TopicSettings::resolve(&overrides(own), &broker(set)?)
}

fn overrides(own: &[(&str, &str)]) -> Overrides {
    own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_default_passes_its_check_and_fits_its_field() {
    let settings = topic(&[], &[]).unwrap();
    assert_eq!(settings.retention, Some(Duration::from_hours(168)));
    assert_eq!(settings.segment_bytes, 1 << 30);
    assert_eq!(settings.flush_messages, None);
    assert!(settings.cleanup.delete && !settings.cleanup.compact && !settings.log_append_time);
    assert_eq!(broker(&[]).unwrap().listeners[0].host, "localhost");
    for row in super::topic::rows().iter().chain(super::broker::rows()) {
        row.default_value();
        assert!(row.acts || row.doc.starts_with("Accepted, no effect here: "), "{}", row.name);
        assert!(!row.doc.is_empty(), "{} has no documentation", row.name);
    }
}

#[test]
fn a_topic_takes_the_brokers_value_where_it_has_none_of_its_own() {
    let set = [("log.retention.hours", "2"), ("message.max.bytes", "500"), ("log.roll.ms", "7")];
    let inherited = topic(&[], &set).unwrap();
    assert_eq!(inherited.retention, Some(Duration::from_hours(2)));
    assert_eq!(inherited.max_message_bytes, 500);
    assert_eq!(inherited.segment_age, Duration::from_millis(7));
    let own = topic(&[("retention.ms", "-1"), ("max.message.bytes", "9")], &set).unwrap();
    assert_eq!((own.retention, own.max_message_bytes), (None, 9));
}

#[test]
fn milliseconds_go_before_minutes_and_minutes_before_hours() {
    let hours = ("log.retention.hours", "2");
    let minutes = ("log.retention.minutes", "3");
    assert_eq!(topic(&[], &[hours, minutes]).unwrap().retention, Some(Duration::from_mins(3)));
    let millis = ("log.retention.ms", "4");
    assert_eq!(topic(&[], &[hours, minutes, millis]).unwrap().retention, Some(Duration::from_millis(4)));
    assert_eq!(topic(&[], &[("log.retention.hours", "-5")]).unwrap().retention, None);
}

/// Only flush settings of the topic itself relax its durability: never a default, never the broker's.
#[test]
fn a10_only_a_topics_own_flush_settings_relax_its_durability() {
    let settings =
        topic(&[], &[("log.flush.interval.messages", "1"), ("log.flush.interval.ms", "1")]).unwrap();
    assert_eq!((settings.flush_messages, settings.flush_after), (None, None));
    let settings = topic(&[("flush.messages", "10"), ("flush.ms", "20")], &[]).unwrap();
    assert_eq!((settings.flush_messages, settings.flush_after), (Some(10), Some(Duration::from_millis(20))));
}

/// The texts are those of Apache Kafka 4.4, except where a value is not implemented yet.
#[test]
fn a15_settings_that_kafka_refuses_are_refused_in_kafkas_words() {
    for (name, value, text) in [
        (
            "retention.ms",
            "abc",
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        (
            "max.message.bytes",
            "3000000000",
            "Invalid value 3000000000 for configuration max.message.bytes: Not a number of type INT",
        ),
        (
            "segment.bytes",
            "1048575",
            "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576",
        ),
        ("flush.messages", "0", "Invalid value 0 for configuration flush.messages: Value must be at least 1"),
        (
            "cleanup.policy",
            "delete,foo",
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        ("cleanup.policy", "delete,", "Configuration 'cleanup.policy' values must not be empty."),
        (
            "preallocate",
            "x",
            "Invalid value x for configuration preallocate: Expected value to be either true or false",
        ),
        ("no.such", "x", "Unknown topic config name: no.such"),
    ] {
        assert_eq!(topic(&[(name, value)], &[]).unwrap_err().to_string(), text);
    }
    let both = topic(&[("retention.ms", "x"), ("unknown", "x")], &[]).unwrap_err();
    assert_eq!(both.to_string(), "Unknown topic config name: unknown");
    for (name, value) in
        [("retention.ms", " 5 "), ("retention.bytes", "-7"), ("cleanup.policy", ""), ("preallocate", "TRUE")]
    {
        topic(&[(name, value)], &[]).unwrap();
    }
}

#[test]
fn a_topic_without_a_cleanup_policy_keeps_everything() {
    assert!(!topic(&[("cleanup.policy", "")], &[]).unwrap().cleanup.delete);
    assert!(topic(&[("cleanup.policy", "delete,delete")], &[]).unwrap().cleanup.delete);
    let kept = topic(&[("cleanup.policy", "compact")], &[]).unwrap().cleanup;
    assert!(kept.compact && !kept.delete);
    let both = topic(&[("cleanup.policy", "delete,compact")], &[]).unwrap().cleanup;
    assert!(both.compact && both.delete);
}

#[test]
fn internal_segment_bytes_goes_below_the_bound_of_segment_bytes() {
    let settings = topic(&[("internal.segment.bytes", "1000"), ("segment.bytes", "1048576")], &[]).unwrap();
    assert_eq!(settings.segment_bytes, 1000);
}

#[test]
fn listeners_have_an_address_and_an_advertised_address() {
    let set = [
        ("listeners", "INSIDE://:29092,PLAINTEXT://[::1]:9092,CONTROLLER://:9093"),
        ("advertised.listeners", "INSIDE://broker:29092"),
        ("controller.listener.names", "CONTROLLER"),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ];
    let listener = |name: &str, host: &str, port, advertised: Option<(&str, u16)>| Listener {
        name: name.to_owned(),
        protocol: SecurityProtocol::Plaintext,
        host: host.to_owned(),
        port,
        advertised: advertised.map(|(host, port)| (host.to_owned(), port)),
    };
    let expected =
        [listener("INSIDE", "", 29092, Some(("broker", 29092))), listener("PLAINTEXT", "::1", 9092, None)];
    assert_eq!(broker(&set).unwrap().listeners, expected);
}

#[test]
fn listeners_are_read_as_people_write_them() {
    // A trailing comma, spaces, lower case, no advertised host.
    let set = [
        ("listeners", "inside://:29092, Controller://:9093,"),
        ("advertised.listeners", "INSIDE://:29092,CONTROLLER://controller:9093,"),
        ("controller.listener.names", "Controller"),
        ("listener.security.protocol.map", "inside : plaintext, CONTROLLER:PLAINTEXT"),
        ("inter.broker.listener.name", "INSIDE"),
    ];
    let listeners = broker(&set).unwrap().listeners;
    assert_eq!(listeners.len(), 1);
    assert_eq!(listeners[0].advertised, Some((String::new(), 29092)));
}

#[test]
fn clients_elsewhere_cannot_use_an_advertised_localhost() {
    let is_loopback = |advertised| {
        let set = [("listeners", "PLAINTEXT://:9092"), ("advertised.listeners", advertised)];
        broker(&set).unwrap().listeners[0].advertises_loopback()
    };
    assert!(is_loopback("PLAINTEXT://localhost:9092") && is_loopback("PLAINTEXT://127.0.0.1:9092"));
    assert!(is_loopback("PLAINTEXT://[::1]:9092"));
    assert!(!is_loopback("PLAINTEXT://broker:9092") && !is_loopback(""));
}

#[test]
fn a_later_source_wins_and_is_named() {
    let mut given = Given::default();
    let file = Properties::parse("num.partitions=1\nnode.id=1\nbroker.rack=a\n").unwrap();
    given.set_all(&file, "server.properties");
    let variables = [("KAFKA_NUM_PARTITIONS", "2"), ("KAFKA_NODE_ID", "2")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    given.set_environment(variables);
    given.set_from(Origin::Flag, "--set", "num.partitions", "3");
    let shown =
        |name| (given.get(name).unwrap(), given.origin(name), given.written(name).unwrap().to_string());
    assert_eq!(shown("num.partitions"), ("3", Origin::Flag, "flag --set".to_owned()));
    assert_eq!(shown("node.id"), ("2", Origin::Environment, "environment KAFKA_NODE_ID".to_owned()));
    assert_eq!(shown("broker.rack"), ("a", Origin::File, "file server.properties".to_owned()));
    assert_eq!(given.origin("listeners"), Origin::Default);
}

#[test]
fn a_cluster_id_is_any_word() {
    let cluster_id = |id| broker(&[("jackdaw.cluster.id", id)]).map(|settings| settings.cluster_id);
    assert_eq!(cluster_id("").unwrap(), None);
    let longest = "x".repeat(255);
    for id in [
        "4L6g3nShT-eMCtK--X86sw",
        "4L6g3nShT-eMCtK--X86sw==",
        "my-kafka-cluster",
        "my shop",
        "a=b#c",
        &longest,
    ] {
        assert_eq!(cluster_id(id).unwrap().unwrap().to_string(), id);
    }
    for wrong in ["two\nlines", "a\0b", &"x".repeat(256)] {
        assert!(cluster_id(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn m6_an_address_that_clients_cannot_connect_to_is_not_advertised() {
    let refusal = broker(&[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "Invalid value PLAINTEXT://0.0.0.0:9092 for configuration advertised.listeners: \
         clients cannot connect to every address; name one"
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused_at_the_start() {
    for (name, value) in [
        ("log.dirs", "/a,/b"),
        ("connection.failed.authentication.delay.ms", "600000"),
        ("connections.max.idle.ms", "100"),
        ("security.inter.broker.protocol", "FOO"),
        ("listeners", "OTHER://:9092"),
        ("listeners", "localhost:9092"),
        ("listeners", ""),
        ("num.partitions", "0"),
        ("jackdaw.durability", "maybe"),
        ("group.max.session.timeout.ms", "5000"),
    ] {
        assert!(broker(&[(name, value)]).is_err(), "{name}={value} was accepted");
    }
}

#[test]
fn a_failed_login_is_answered_before_its_connection_is_idle_as_in_kafka() {
    const DELAY: &str = "connection.failed.authentication.delay.ms";
    const IDLE: &str = "connections.max.idle.ms";
    assert_eq!(
        broker(&[(IDLE, "100")]).unwrap_err().to_string(),
        "requirement failed: connection.failed.authentication.delay.ms=100 should always be less than \
         connections.max.idle.ms=100 to prevent failed authentication responses from timing out"
    );
    assert_eq!(broker(&[(IDLE, "101")]).unwrap().max_idle, Duration::from_millis(101));
    for never in ["-1", "-5"] {
        assert_eq!(broker(&[(IDLE, never), (DELAY, "600000")]).unwrap().max_idle, Duration::MAX);
    }
}

#[test]
fn properties_are_read_as_java_reads_them() {
    let text = "# comment\n! too\n\n  a=1\nb : 2\nc 3\nd = x\\\n   y\n e\\=f=\\u0041\\t\\\\\ng\nh=a=b:c \n";
    let expected =
        [("a", "1"), ("b", "2"), ("c", "3"), ("d", "xy"), ("e=f", "A\t\\"), ("g", ""), ("h", "a=b:c ")];
    let expected: Vec<_> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(Properties::parse(text).unwrap().0, expected);
    assert!(Properties::parse("a=\\u00").is_err());
}

#[test]
fn a8_a_topics_value_comes_with_its_source_and_synonyms_as_in_kafka() {
    let settings = broker(&[("log.retention.hours", "1"), ("log.segment.bytes", "2000000")]).unwrap();
    let shown: BTreeMap<_, _> = describe_topic(&overrides(&[("retention.bytes", " 7 ")]), &settings)
        .map(|described| (described.name.clone(), described))
        .collect();
    let synonyms = |name: &str| -> Vec<String> {
        let all = shown[name].synonyms.iter();
        all.map(|one| format!("{}={:?} {:?}", one.name, one.value.as_deref().unwrap(), one.source)).collect()
    };
    // As in Kafka, values from other names (such as hours) are no synonyms.
    assert_eq!(shown["retention.ms"].value.as_deref(), Some("3600000"));
    assert_eq!((shown["retention.ms"].source, synonyms("retention.ms").len()), (Source::Default, 0));
    assert_eq!(shown["segment.bytes"].source, Source::StaticBroker);
    assert_eq!(
        synonyms("segment.bytes"),
        ["log.segment.bytes=\"2000000\" StaticBroker", "log.segment.bytes=\"1073741824\" Default"]
    );
    assert_eq!(
        (shown["retention.bytes"].source, shown["retention.bytes"].value.as_deref()),
        (Source::Topic, Some("7"))
    );
    assert_eq!(
        synonyms("retention.bytes"),
        ["retention.bytes=\"7\" Topic", "log.retention.bytes=\"-1\" Default"]
    );
}

#[test]
fn altered_settings_precede_given_ones() {
    let started = broker(&[("message.max.bytes", "1000"), ("log.retention.hours", "2")]).unwrap();
    let altered = |cluster: &[(&str, &str)], one: &[(&str, &str)]| {
        started.altered(Altered { cluster: overrides(cluster), broker: overrides(one) }).unwrap()
    };
    let limit = |settings: &BrokerSettings| topic_of(settings).max_message_bytes;
    assert_eq!(limit(&altered(&[("message.max.bytes", "2000")], &[])), 2000);
    assert_eq!(limit(&altered(&[("message.max.bytes", "2000")], &[("message.max.bytes", "3000")])), 3000);
    let retention = topic_of(&altered(&[("log.retention.ms", "5")], &[])).retention;
    assert_eq!(retention, Some(Duration::from_millis(5)));
    assert!(
        started
            .altered(Altered { cluster: overrides(&[("message.max.bytes", "x")]), ..Altered::default() })
            .is_err()
    );
}

#[test]
fn limits_with_which_nobody_could_come_in_are_not_altered_and_no_longer_in_effect_if_they_are_stored() {
    const MOST: &str = "max.connections";
    const PER_IP: &str = "max.connections.per.ip";
    const OF: &str = "max.connections.per.ip.overrides";
    const OF_THE_ONLY_ONE: &str = "listener.name.plaintext.max.connections";
    let started = broker(&[("log.cleaner.backoff.ms", "9")]).unwrap();
    let altered = |all: &[(&str, &str)]| {
        let refused = |altered| started.altered(altered).map(drop).map_err(|error| error.to_string());
        let of_one = refused(Altered { broker: overrides(all), ..Altered::default() });
        assert_eq!(of_one, refused(Altered { cluster: overrides(all), ..Altered::default() }));
        of_one
    };
    let zero = |name: &str| {
        Err(format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: Invalid {name} 0 for configuration Invalid \
             dynamic configuration"
        ))
    };
    let nobody = |name: &str| {
        Err(format!(
            "Invalid value 0 for configuration {name}: nobody could connect, not even to alter it again"
        ))
    };
    let needs_exceptions =
        format!("requirement failed: {PER_IP} can be set to zero only if {OF} property is set.");
    assert_eq!(altered(&[(MOST, "0")]), zero(MOST));
    assert_eq!(altered(&[(OF_THE_ONLY_ONE, "0")]), zero(MOST));
    assert_eq!(altered(&[(MOST, "0"), (OF_THE_ONLY_ONE, "1")]), Ok(()));
    let rate = "max.connection.creation.rate";
    assert_eq!(altered(&[(rate, "0")]), zero(rate));
    assert_eq!(altered(&[("listener.name.plaintext.max.connection.creation.rate", "0")]), zero(rate));
    assert_eq!(altered(&[("listener.name.other.max.connections", "0")]), Ok(()));
    assert_eq!(altered(&[(PER_IP, "0")]), Err(needs_exceptions.clone()));
    assert_eq!(altered(&[(PER_IP, "0"), (OF, "10.0.0.1:0,no.address:5")]), nobody(PER_IP));
    assert_eq!(altered(&[(PER_IP, "0"), (OF, "10.0.0.1:1")]), Ok(()));
    assert_eq!(altered(&[(MOST, "1"), (PER_IP, "1"), (OF, "10.0.0.1:0")]), Ok(()));
    let session = |millis| altered(&[("listener.name.plaintext.connections.max.reauth.ms", millis)]);
    assert!(session("1").unwrap_err().contains("sessions would end"), "no client can ask for anything");
    let login = |bytes| altered(&[("listener.name.plaintext.sasl.server.max.receive.size", bytes)]);
    assert!(login("4095").unwrap_err().contains("no client could log in") && login("4096").is_ok());
    assert!(session("999").is_err() && session("1000").is_ok() && session("0").is_ok());

    let stored =
        overrides(&[(MOST, "0"), (PER_IP, "0"), (OF, "10.0.0.1:0"), ("log.cleaner.backoff.ms", "7")]);
    let (settings, ignored) = started.altered_before(Altered { broker: stored, ..Altered::default() });
    assert_eq!((settings.max_connections, settings.max_connections_per_ip), (2_147_483_647, 2_147_483_647));
    assert_eq!(settings.cleaner_backoff, Duration::from_millis(7));
    assert_eq!(ignored.iter().map(|one| &*one.name).collect::<Vec<_>>(), [MOST, PER_IP]);

    // Given at the start, they can be corrected. As in Kafka, only `max.connections=0` needs no overrides there.
    let closed = broker(&[(MOST, "0"), (OF, "10.0.0.1:0")]).unwrap();
    assert!(closed.altered(Altered { broker: overrides(&[(MOST, "1")]), ..Altered::default() }).is_ok());
    assert_eq!(broker(&[(PER_IP, "0")]).map(drop).map_err(|error| error.to_string()), Err(needs_exceptions));
}

#[test]
fn only_stored_settings_that_are_not_valid_any_more_are_left_out() {
    let started = broker(&[]).unwrap();
    let stored = [("message.max.bytes", "many"), ("log.segment.bytes", "2000000"), ("custom", "x")];
    let (settings, invalid) =
        started.altered_before(Altered { cluster: overrides(&stored), ..Altered::default() });
    assert_eq!(
        (topic_of(&settings).max_message_bytes, topic_of(&settings).segment_bytes),
        (1_048_588, 2_000_000)
    );
    let [IgnoredSetting { name, .. }] = &invalid[..] else { panic!("{invalid:?}") };
    assert_eq!(name, "message.max.bytes");
    // These are valid one by one, but not together with the others.
    let stored = [&stored[..], &[("log.roll.ms", "-1"), ("log.retention.ms", "0")]].concat();
    let (settings, invalid) =
        started.altered_before(Altered { cluster: overrides(&stored), ..Altered::default() });
    assert_eq!(topic_of(&settings).segment_bytes, 2_000_000);
    let names: Vec<&str> = invalid.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["message.max.bytes", "log.retention.ms", "log.roll.ms"]);
    let (topic, invalid) = TopicSettings::of_stored(
        &overrides(&[("retention.ms", "soon"), ("gone", "1"), ("max.message.bytes", "7")]),
        &started,
    );
    assert_eq!((topic.max_message_bytes, topic.retention), (7, Some(Duration::from_hours(168))));
    assert_eq!(invalid.len(), 2);
}

#[test]
fn a_stored_login_setting_that_is_not_valid_any_more_is_left_out_alone() {
    const MECHANISMS: &str = "listener.name.outside.sasl.enabled.mechanisms";
    const REAUTH: &str = "listener.name.outside.connections.max.reauth.ms";
    const JAAS: &str = "listener.name.outside.plain.sasl.jaas.config";
    let started = broker(&[
        ("listeners", "OUTSIDE://:9093"),
        ("listener.security.protocol.map", "OUTSIDE:SASL_PLAINTEXT"),
        (MECHANISMS, "SCRAM-SHA-256"),
    ])
    .unwrap();
    let alice = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"1\";";
    let names = |ignored: Vec<IgnoredSetting>| ignored.into_iter().map(|one| one.name).collect::<Vec<_>>();
    let before = |stored: &[(&str, &str)]| {
        let one = overrides(&[stored, &[("log.cleaner.backoff.ms", "7"), ("custom", "x")]].concat());
        let cluster = overrides(&[("message.max.bytes", "2000")]);
        let (settings, ignored) = started.altered_before(Altered { cluster, broker: one });
        assert_eq!(settings.cleaner_backoff, Duration::from_millis(7));
        assert_eq!(topic_of(&settings).max_message_bytes, 2000);
        assert_eq!(settings.altered.broker.get("custom").map(String::as_str), Some("x"));
        (settings.logins["OUTSIDE"].mechanisms.clone(), names(ignored))
    };
    let [plain, scram] = [Mechanism::Plain, Mechanism::Scram(ScramHash::Sha256)];
    // PLAIN needs its users, whichever of the two comes first.
    assert_eq!(before(&[(MECHANISMS, "PLAIN"), (JAAS, alice)]), (vec![plain], vec![]));
    assert_eq!(before(&[(MECHANISMS, "PLAIN")]), (vec![scram], vec![MECHANISMS.to_owned()]));
    assert_eq!(
        before(&[(MECHANISMS, "CRAM-MD5"), (JAAS, alice)]),
        (vec![scram], vec![MECHANISMS.to_owned()])
    );
    assert_eq!(
        before(&[(MECHANISMS, "PLAIN"), (JAAS, alice), (REAUTH, "soon")]),
        (vec![plain], vec![REAUTH.to_owned()])
    );
}

#[test]
fn a_stored_setting_of_a_group_or_of_client_metrics_that_is_not_valid_any_more_is_named() {
    let stored = overrides(&[("consumer.session.timeout.ms", "soon"), ("gone", "1"), ("interval.ms", "x")]);
    assert_eq!(
        invalid_of_group(&stored).iter().map(|one| &*one.name).collect::<Vec<_>>(),
        ["consumer.session.timeout.ms", "gone", "interval.ms"]
    );
    let stored = overrides(&[("interval.ms", "x"), ("match", "client_id=a")]);
    let of_metrics = invalid_of_client_metrics(&stored);
    assert_eq!(of_metrics.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["interval.ms"]);
    assert!(of_metrics[0].error.to_string().contains("interval.ms"), "{of_metrics:?}");
}

#[test]
fn a_listener_is_unprotected_off_loopback_without_login_certificate_and_authorizer() {
    const MAP: (&str, &str) =
        ("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT,C:SASL_PLAINTEXT,D:SSL,E:SSL");
    const LISTENERS: (&str, &str) = ("listeners", "A://:1,B://kafka:2,C://:3,D://:4,E://10.0.0.1:5");
    const SCRAM: (&str, &str) = ("sasl.enabled.mechanisms", "SCRAM-SHA-256");
    const REQUIRED: (&str, &str) = ("listener.name.e.ssl.client.auth", "required");
    let names = |more: &[(&str, &str)]| {
        let settings = broker(&[&[MAP, LISTENERS, SCRAM, REQUIRED], more].concat()).unwrap();
        settings.unprotected_listeners().iter().map(|listener| listener.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["A", "B", "D"]);
    for loopback in ["A://localhost:1", "A://127.0.0.1:1", "A://[::1]:1"] {
        assert!(names(&[("listeners", loopback)]).is_empty(), "{loopback}");
    }
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let authorizer = ("authorizer.class.name", authorizer);
    assert!(names(&[authorizer]).is_empty());
    assert!(names(&[authorizer, ("super.users", "User:ann")]).is_empty());
    for open in [("super.users", "User:ann;User:ANONYMOUS"), ("allow.everyone.if.no.acl.found", "true")] {
        assert_eq!(names(&[authorizer, open]), ["A", "B", "D"], "{open:?}");
    }
}

#[test]
fn the_debug_form_of_settings_has_no_values() {
    let file = Properties::parse("ssl.keystore.password=hush\nmy.plugin=hush").unwrap();
    let mut given = Given::default();
    given.set_all(&file, "server.properties");
    let settings = BrokerSettings::load(given.clone()).unwrap();
    let altered = overrides(&[("listener.name.a.ssl.key.password", "hush")]);
    let altered = Altered { broker: altered.clone(), cluster: altered };
    let change = Alteration {
        name: "listener.name.a.ssl.key.password".to_owned(),
        operation: Operation::Set,
        value: "hush".to_owned(),
    };
    let settings = settings.altered(altered.clone()).unwrap();
    let written = given.written("ssl.keystore.password").unwrap();
    let shown = format!("{file:?} {given:?} {written:?} {settings:?} {altered:?} {change:?}");
    assert!(!shown.contains("hush"), "{shown}");
    for name in
        ["ssl.keystore.password", "my.plugin", "listener.name.a.ssl.key.password", "server.properties"]
    {
        assert!(shown.contains(name), "{name}: {shown}");
    }
}

#[test]
fn the_http_port_is_unprotected_off_loopback_without_tls_and_login() {
    let is_unprotected = |address: &str, more: &[(&str, &str)]| {
        let settings = broker(&[&[("jackdaw.http.listener", address)], more].concat()).unwrap();
        settings.is_http_unprotected()
    };
    assert!(is_unprotected(":9644", &[]) && is_unprotected("10.0.0.1:9644", &[]));
    for address in ["localhost:9644", "127.0.0.1:9644", "[::1]:9644", ""] {
        assert!(!is_unprotected(address, &[]), "{address}");
    }
    for protection in ["jackdaw.http.tls", "jackdaw.http.login"] {
        assert!(!is_unprotected(":9644", &[(protection, "true")]), "{protection}");
    }
    let sends_passwords = |address: &str, more: &[(&str, &str)]| {
        let settings = [("jackdaw.http.listener", address), ("jackdaw.http.login", "true")];
        broker(&[&settings, more].concat()).unwrap().is_http_login_in_the_open()
    };
    assert!(sends_passwords(":9644", &[]));
    assert!(!sends_passwords("localhost:9644", &[]) && !sends_passwords("", &[]));
    assert!(!sends_passwords(":9644", &[("jackdaw.http.tls", "true")]));
    assert!(!sends_passwords(":9644", &[("jackdaw.http.login", "false")]));
}

/// As Apache Kafka 4.4 describes the same settings.
#[test]
fn a_setting_of_a_listener_is_described_like_the_same_one_without_it() {
    let settings = broker(&[
        ("listener.name.outside.sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"),
        ("listener.name.outside.plain.sasl.jaas.config", "hush"),
        ("listener.name.outside.plain.connections.max.reauth.ms", "50000"),
        ("listener.name.outside.ssl.keystore.password", "hush"),
        ("listener.name.outside.gone", "hush"),
    ])
    .unwrap();
    let cluster = overrides(&[("listener.name.outside.max.connections", "5")]);
    let settings = settings.altered(Altered { cluster, ..Altered::default() }).unwrap();
    let all = describe_broker(&settings);
    let shown = |name: &str| {
        let row = all.iter().find(|row| row.name == format!("listener.name.outside.{name}")).unwrap();
        assert!(row.read_only && row.doc.is_none(), "{name}");
        let synonyms = row
            .synonyms
            .iter()
            .map(|one| (one.name.replace("listener.name.outside.", "*."), one.value.clone()));
        let synonyms: Vec<String> =
            synonyms.map(|(name, value)| format!("{name}={}", value.unwrap_or_default())).collect();
        (row.value.clone(), row.sensitive, synonyms.join(" "))
    };
    let value = |value: &str| Some(value.to_owned());
    let mechanisms = "*.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256 sasl.enabled.mechanisms=GSSAPI";
    assert_eq!(shown("sasl.enabled.mechanisms"), (value("PLAIN,SCRAM-SHA-256"), false, mechanisms.into()));
    let reauth = "*.plain.connections.max.reauth.ms=50000 connections.max.reauth.ms=0";
    assert_eq!(shown("plain.connections.max.reauth.ms"), (value("50000"), false, reauth.into()));
    let connections = "*.max.connections=5 max.connections=2147483647";
    assert_eq!(shown("max.connections"), (value("5"), false, connections.into()));
    assert_eq!(shown("plain.sasl.jaas.config"), (None, true, "*.plain.sasl.jaas.config=".into()));
    assert_eq!(shown("ssl.keystore.password"), (None, true, "*.ssl.keystore.password=".into()));
    assert_eq!(shown("gone"), (None, true, "*.gone=".into()));
    let altered = describe_cluster(&settings);
    assert_eq!((altered[0].value.clone(), altered[0].sensitive), (value("5"), false));
}

#[test]
fn a_wrong_rate_of_connections_of_a_listener_is_refused_by_name() {
    const NAME: &str = "listener.name.plaintext.max.connection.creation.rate";
    for wrong in ["soon", "-1", "2.5", ""] {
        let refused = broker(&[(NAME, wrong)]).unwrap_err();
        assert!(matches!(&refused, ConfigError::Invalid { name, .. } if name == NAME), "{wrong}: {refused}");
    }
    let settings = broker(&[(NAME, " 7 ")]).unwrap();
    assert_eq!(
        (settings.connection_rate_of("PLAINTEXT"), settings.connection_rate_of("SSL")),
        (Some(7), None)
    );
}

fn topic_of(settings: &BrokerSettings) -> TopicSettings {
    TopicSettings::resolve(&BTreeMap::new(), settings).unwrap()
}

#[test]
fn secrets_are_not_shown() {
    let of_listener = "listener.name.ssl.ssl.keystore.key";
    let names = ["ssl.keystore.password", "ssl.truststore.certificates", "my.plugin.token", of_listener];
    let settings = broker(&names.map(|name| (name, "hush"))).unwrap();
    let listing = listing(&settings);
    assert!(
        listing.contains(&format!("{of_listener}=[hidden]  (flag)")) && !listing.contains("hush"),
        "{listing}"
    );
    for name in names {
        let all = describe_broker(&settings);
        let shown = all.iter().find(|row| row.name == name).unwrap();
        assert!(shown.sensitive && !format!("{shown:?}").contains("hush"), "{shown:?}");
        assert_eq!(shown.source, Source::StaticBroker);
    }
}

#[test]
fn a_group_stays_within_what_the_broker_allows() {
    let settings = broker(&[("group.consumer.max.session.timeout.ms", "50000")]).unwrap();
    let check = |name: &str, value: &str| {
        group::check(&overrides(&[(name, value)]), &settings).map_err(|e| e.to_string())
    };
    assert_eq!(check("consumer.session.timeout.ms", "50000"), Ok(()));
    assert_eq!(
        check("consumer.session.timeout.ms", "50001").unwrap_err(),
        "consumer.session.timeout.ms must be in the range 45000 to 50000 inclusive."
    );
    assert_eq!(
        check("streams.num.standby.replicas", "3").unwrap_err(),
        "streams.num.standby.replicas must be less than or equal to 2"
    );
    assert_eq!(check("nope", "3").unwrap_err(), "Unknown group config name: nope");
}

#[test]
fn fractions_are_shown_as_java_shows_them() {
    for (written, shown) in [("0.50", "0.5"), ("1", "1.0"), ("0", "0.0")] {
        let own = overrides(&[("min.cleanable.dirty.ratio", written)]);
        let settings = broker(&[]).unwrap();
        let ratio =
            describe_topic(&own, &settings).find(|one| one.name == "min.cleanable.dirty.ratio").unwrap();
        assert_eq!(ratio.value.as_deref(), Some(shown));
    }
}

#[test]
fn a10_our_own_settings_are_not_described() {
    let settings = broker(&[("jackdaw.durability", "os")]).unwrap();
    assert!(describe_broker(&settings).iter().all(|row| !row.name.starts_with("jackdaw.")));
    assert!(describe_topic(&BTreeMap::new(), &settings).all(|row| !row.name.starts_with("internal.")));
    assert_eq!(settings.durability, Durability::Os);
}

#[test]
fn virtual_brokers_have_ids_and_ports_one_after_the_other() {
    let settings = broker(&[
        ("node.id", "5"),
        ("jackdaw.brokers", "3"),
        ("listeners", "PLAINTEXT://localhost:9092,OTHER://localhost:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT"),
        ("advertised.listeners", "PLAINTEXT://kafka.example:19092"),
    ]);
    let settings = settings.unwrap();
    assert_eq!(settings.broker_ids(), [5, 6, 7].map(NodeId));
    let third = settings.of_virtual_broker(2);
    assert_eq!(third.node_id, NodeId(7));
    assert_eq!((third.listeners[0].port, third.listeners[1].port), (9094, 0));
    assert_eq!(third.listeners[0].advertised, Some(("kafka.example".to_owned(), 19094)));
    let altered = third.altered(Altered::default()).unwrap();
    for third in [third, altered] {
        let shown = |name| {
            let all = describe_broker(&third);
            all.into_iter().find(|row| row.name == name).unwrap().value.unwrap()
        };
        assert_eq!(shown("listeners"), "PLAINTEXT://localhost:9094,OTHER://localhost:0");
        assert_eq!(shown("advertised.listeners"), "PLAINTEXT://kafka.example:19094");
        assert_eq!((shown("node.id"), shown("broker.id")), ("7".to_owned(), "7".to_owned()));
    }
}

#[test]
fn a_virtual_broker_moves_default_listeners_and_those_of_ipv6_too() {
    let shown = |settings: &BrokerSettings| {
        let all = describe_broker(settings);
        all.into_iter().find(|row| row.name == "listeners").unwrap().value.unwrap()
    };
    let default = broker(&[("jackdaw.brokers", "2")]).unwrap();
    assert_eq!(shown(&default.of_virtual_broker(0)), "PLAINTEXT://localhost:9092");
    assert_eq!(shown(&default.of_virtual_broker(1)), "PLAINTEXT://localhost:9093");
    let six = broker(&[("jackdaw.brokers", "2"), ("listeners", "PLAINTEXT://[::1]:65534")]).unwrap();
    assert_eq!(shown(&six.of_virtual_broker(1)), "PLAINTEXT://[::1]:65535");
}

#[test]
fn virtual_brokers_whose_ports_meet_or_are_not_there_are_refused() {
    let load = |brokers, listeners| {
        let protocols = ("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT");
        let loaded = broker(&[("jackdaw.brokers", brokers), ("listeners", listeners), protocols]);
        loaded.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(load("3", "A://localhost:9092,B://localhost:9095"), Ok(()));
    assert_eq!(load("1", "A://127.0.0.1:9092,B://10.0.0.1:9092"), Ok(()));
    assert!(load("3", "A://localhost:9092,B://localhost:9094").unwrap_err().contains("those of A are among"));
    assert!(load("3", "A://localhost:65534").unwrap_err().contains("no 3 ports from 65534 on"));
    for brokers in ["101", "65536"] {
        assert!(load(brokers, "A://localhost:9092").unwrap_err().contains("no more than 100"));
    }
    assert!(load("0", "A://localhost:9092").is_err());
}

fn in_a_file(set: &[(&str, &str)]) -> Given {
    let mut given = Given::default();
    for (name, value) in set {
        given.set_from(Origin::File, "server.properties", *name, *value);
    }
    given
}

#[test]
fn every_setting_that_can_be_altered_has_a_mark_on_the_page() {
    const BY_NAME: [&str; 4] = [
        "Cannot update these configs dynamically",
        "can be dynamically updated only per-listener",
        "Cannot update these configs at default cluster level",
        "These take effect at the start only",
    ];
    let settings = BrokerSettings::default();
    let may = |resource, name: &str, row: &Row| {
        let value = row.default.unwrap_or_default().to_owned();
        let change = Alteration { name: name.to_owned(), operation: Operation::Set, value };
        let refused = alter(resource, &Overrides::new(), &[change], &settings).err();
        refused.is_none_or(|why| !BY_NAME.iter().any(|rule| format!("{why:?}").contains(rule)))
    };
    let page = page();
    for row in super::broker::rows().iter().filter(|row| row.acts) {
        let mark =
            [" *", " †", ""].into_iter().find(|mark| page.contains(&format!("\n| `{}`{mark} |", row.name)));
        let is_right = match mark {
            Some(" *") => may(Resource::Cluster, row.name, row),
            Some(" †") => may(Resource::Broker, &format!("listener.name.outside.{}", row.name), row),
            _ => !may(Resource::Cluster, row.name, row) && !may(Resource::Broker, row.name, row),
        };
        assert!(is_right, "{} has the mark {mark:?}", row.name);
    }
}

#[test]
fn settings_that_are_read_again_change_where_they_may_and_wait_for_a_restart_where_not() {
    let before = BrokerSettings::load(in_a_file(&[
        ("log.retention.ms", "1000"),
        ("max.connections", "7"),
        ("num.partitions", "2"),
    ]));
    let before = before.unwrap();
    let written = in_a_file(&[("log.retention.ms", "2000"), ("num.partitions", "3"), ("mine", "x")]);
    let Reloaded { settings, changed, waiting, refused } = before.reloaded(&written);
    assert_eq!(
        TopicSettings::resolve(&BTreeMap::new(), &settings).unwrap().retention,
        Some(Duration::from_secs(2))
    );
    assert_eq!(settings.max_connections, 2_147_483_647, "the default again");
    assert_eq!((settings.num_partitions, &waiting[..]), (2, &["num.partitions"][..]));
    assert_eq!(refused, []);
    let shown: Vec<_> = changed
        .iter()
        .map(|one| (one.name.as_str(), one.from.as_deref(), one.to.as_deref(), one.is_altered))
        .collect();
    let expected = [
        ("log.retention.ms", Some("1000"), Some("2000"), false),
        ("max.connections", Some("7"), None, false),
    ];
    assert_eq!(shown, expected);
    assert_eq!(settings.reloaded(&written).changed, [], "a second look finds nothing new");
}

#[test]
fn a_wrong_value_that_is_read_again_changes_nothing_and_others_do() {
    let before = BrokerSettings::load(in_a_file(&[("log.retention.ms", "1000")])).unwrap();
    let written = in_a_file(&[("log.retention.ms", "soon"), ("max.connections", "7")]);
    let Reloaded { settings, refused, .. } = before.reloaded(&written);
    assert_eq!(
        TopicSettings::resolve(&BTreeMap::new(), &settings).unwrap().retention,
        Some(Duration::from_secs(1))
    );
    assert_eq!((settings.max_connections, refused.len()), (7, 1));
    // Each value is a number, but not valid for the broker.
    let written = in_a_file(&[("log.retention.ms", "0"), ("max.connections", "7")]);
    let Reloaded { settings, changed, refused, .. } = before.reloaded(&written);
    assert_eq!((settings.max_connections, changed.len(), refused.len()), (2_147_483_647, 0, 1));
}

#[test]
fn values_with_which_the_broker_would_not_start_are_refused_when_they_are_read_again() {
    let before = BrokerSettings::load(in_a_file(&[("num.partitions", "2")])).unwrap();
    let reloaded = |set: &[(&str, &str)]| {
        let Reloaded { waiting, refused, .. } = before.reloaded(&in_a_file(set));
        (waiting, refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let (waiting, refused) = reloaded(&[("num.partitions", "abc")]);
    assert_eq!(waiting, [""; 0]);
    assert!(refused.contains("num.partitions"), "{refused}");
    let (waiting, refused) = reloaded(&[("num.partitions", "3"), ("listeners", "nonsense")]);
    assert_eq!(waiting, [""; 0]);
    assert!(refused.contains("nonsense"), "{refused}");
    assert_eq!(reloaded(&[("num.partitions", "3")]), (vec!["num.partitions"], String::new()));
}

#[test]
fn settings_altered_over_the_wire_precede_those_that_are_read_again() {
    let before = BrokerSettings::load(in_a_file(&[("max.connections", "7")])).unwrap();
    let altered = Altered { cluster: overrides(&[("max.connections", "9")]), ..Altered::default() };
    let before = before.altered(altered).unwrap();
    let Reloaded { settings, changed, .. } = before.reloaded(&in_a_file(&[("max.connections", "8")]));
    assert_eq!((settings.max_connections, changed[0].is_altered), (9, true));
    let taken_away = Altered { cluster: BTreeMap::new(), ..settings.altered.clone() };
    assert_eq!(settings.altered(taken_away).unwrap().max_connections, 8);
}

#[test]
fn min_insync_replicas_that_no_client_has_altered_follow_the_file() {
    const NAME: &str = "min.insync.replicas";
    let min_insync = |settings: &BrokerSettings| {
        TopicSettings::resolve(&BTreeMap::new(), settings).unwrap().min_insync_replicas
    };
    let before = BrokerSettings::load(in_a_file(&[(NAME, "2")])).unwrap();
    let before = before.altered(Altered::default()).unwrap();
    let Reloaded { settings, changed, .. } = before.reloaded(&in_a_file(&[(NAME, "3")]));
    assert_eq!((min_insync(&settings), changed[0].is_altered), (3, false));
    let [shown] = &describe_cluster(&settings)[..] else { panic!("only this one is shown") };
    assert_eq!((shown.name.as_str(), shown.value.as_deref()), (NAME, Some("3")), "as in Kafka");
    // A client may set the value that it has already. From then on the file has no effect.
    let change = Alteration { name: NAME.to_owned(), operation: Operation::Set, value: "3".to_owned() };
    let changes = alter(Resource::Cluster, &settings.altered.cluster, &[change], &settings).unwrap();
    assert_eq!(changes, BTreeMap::from([(NAME.to_owned(), Some("3".to_owned()))]));
}

#[test]
fn settings_of_the_program_itself_are_not_removed_by_a_file() {
    let before = broker(&[("max.connections", "7")]).unwrap();
    let Reloaded { settings, changed, waiting, .. } = before.reloaded(&Given::default());
    assert_eq!((settings.max_connections, changed.len(), waiting.len()), (7, 0, 0));
}

#[test]
fn a_class_that_decides_about_quotas_is_refused_by_name() {
    let mut given = Given::default();
    given.set("client.quota.callback.class", "org.example.Quotas");
    let refused = BrokerSettings::load(given).unwrap_err().to_string();
    assert!(
        refused.contains("client.quota.callback.class") && refused.contains("org.example.Quotas"),
        "{refused}"
    );
}

#[test]
fn a_listener_has_the_protocol_that_the_map_names() {
    let set = [
        ("listeners", "SSL://:0,INSIDE://:0"),
        ("listener.security.protocol.map", "INSIDE:SSL,SSL:PLAINTEXT"),
    ];
    let protocols = |settings: BrokerSettings| settings.listeners.into_iter().map(|one| one.protocol);
    if cfg!(feature = "security") {
        let found: Vec<SecurityProtocol> = protocols(broker(&set).unwrap()).collect();
        assert_eq!(found, [SecurityProtocol::Plaintext, SecurityProtocol::Ssl]);
    } else {
        let refusal = broker(&set).unwrap_err().to_string();
        assert!(refusal.contains("SSL is not in this build"), "{refusal}");
    }
    let refusal =
        broker(&[("listeners", "X://:0"), ("listener.security.protocol.map", "X:TLS")]).unwrap_err();
    assert!(refusal.to_string().contains("TLS is no security protocol"), "{refusal}");
}

#[test]
fn a_build_without_tls_and_logins_refuses_listeners_that_need_them_by_name() {
    let (bare, full) = (Build { has_security: false }, Build { has_security: true });
    for (protocol, is_refused) in
        [("PLAINTEXT", false), ("SSL", true), ("SASL_PLAINTEXT", true), ("SASL_SSL", true)]
    {
        let row = |name: &str| match name {
            "listeners" => vec!["OUTSIDE://:0".to_owned()],
            "listener.security.protocol.map" => vec![format!("OUTSIDE:{protocol}")],
            _ => Vec::new(),
        };
        assert_eq!(listener::listeners(row, full).unwrap().len(), 1, "{protocol}");
        let refused = listener::listeners(row, bare).err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), is_refused, "{protocol}");
        let why = format!("{protocol} is not in this build");
        assert!(refused.is_none_or(
            |text| text.contains("OUTSIDE://:0 for configuration listeners") && text.contains(&why)
        ));
    }
    let http = |build| listener::http(Some("localhost:0".to_owned()), true, build);
    assert!(http(full).is_ok());
    assert!(http(bare).unwrap_err().to_string().contains("jackdaw.http.tls"));
    assert!(bare.require_security("a login").unwrap_err().contains("a login is not in this build"));
}

#[test]
fn test_hooks_need_a_token_where_others_can_reach_them() {
    let refused = |more: &[(&str, &str)]| {
        let hooks = [("jackdaw.test.hooks", "true")];
        broker(&[&hooks[..], more].concat()).err().map(|error| error.to_string())
    };
    let token = ("jackdaw.test.hooks.token", "geheim");
    let (near, far) =
        (("jackdaw.http.listener", "localhost:8080"), ("jackdaw.http.listener", "0.0.0.0:8080"));
    for fine in [&[][..], &[near], &[near, token], &[far, token]] {
        assert_eq!(refused(fine), None, "{fine:?}");
    }
    let why = refused(&[far]).unwrap();
    assert!(why.contains("jackdaw.test.hooks") && why.contains("set jackdaw.test.hooks.token"), "{why}");
    assert!(refused(&[far, ("jackdaw.test.hooks.token", "")]).is_some());
    assert!(!broker(&[far]).unwrap().test_hooks);
    #[cfg(feature = "security")]
    {
        let login = ("jackdaw.http.login", "true");
        assert!(refused(&[near, login]).is_some());
        assert_eq!(refused(&[near, login, token]), None);
    }
}
