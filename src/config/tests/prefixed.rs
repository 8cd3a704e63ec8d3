//! Settings with the prefix of a listener, or of a listener and a mechanism.

use super::*;

const X: &str = "listener.name.x.";
const PLAIN: &str = "listener.name.x.plain.";

/// A full name with a value that it may not have, and a word of the refusal.
fn wrong() -> Vec<(String, &'static str, &'static str)> {
    let classes = [
        "principal.builder.class",
        "ssl.engine.factory.class",
        "security.providers",
        "client.quota.callback.class",
        "authorizer.class.name",
        "sasl.server.callback.handler.class",
        "sasl.oauthbearer.jwt.validator.class",
    ];
    let classes = classes.into_iter().flat_map(|base| {
        ["", X, PLAIN].map(|prefix| (format!("{prefix}{base}"), "com.example.Own", "com.example.Own"))
    });
    let values = [
        ("max.connections", "abc", "INT"),
        ("max.connections", "-1", "at least 0"),
        ("max.connection.creation.rate", "abc", "INT"),
        ("sasl.server.max.receive.size", "abc", "INT"),
        ("sasl.server.max.receive.size", "0", "at least 1"),
        ("ssl.client.auth", "perhaps", "must be one of"),
        ("ssl.allow.dn.changes", "perhaps", "true or false"),
    ];
    let values = values
        .into_iter()
        .flat_map(|(base, value, why)| ["", X, PLAIN].map(|prefix| (format!("{prefix}{base}"), value, why)));
    classes.chain(values).collect()
}

#[test]
fn a_wrong_value_is_refused_by_its_full_name_at_the_start() {
    for (name, value, why) in wrong() {
        let refused = broker(&[(&name, value)]).map(drop).unwrap_err().to_string();
        assert!(refused.contains(&format!("for configuration {name}: ")), "{refused}");
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_wrong_value_is_refused_when_a_client_alters_it() {
    let settings = broker(&[]).unwrap();
    for (name, value, _) in wrong() {
        let change = Alteration { name: name.clone(), operation: Operation::Set, value: value.to_owned() };
        for resource in [Resource::Broker, Resource::Cluster] {
            let altered = alter(resource, &Overrides::new(), std::slice::from_ref(&change), &settings);
            assert!(altered.is_err(), "{name}={value}");
        }
    }
}

#[test]
fn a_wrong_value_that_is_read_again_is_refused_alone() {
    let settings = broker(&[]).unwrap();
    for (name, value, _) in wrong() {
        let mut written = Given::default();
        written.set(&name, value);
        written.set("log.retention.ms", "2000");
        let reloaded = settings.reloaded(&written);
        let [refused] = &reloaded.refused[..] else { panic!("{name}: {:?}", reloaded.refused) };
        assert!(refused.to_string().contains(&name), "{refused}");
        assert_eq!(reloaded.settings.given.get(&name), None);
        assert_eq!((reloaded.changed.len(), reloaded.waiting.len()), (1, 0), "{name}");
    }
}

#[test]
fn a_wrong_value_that_was_stored_by_an_older_version_is_left_out_alone() {
    let settings = broker(&[]).unwrap();
    for (name, value, _) in wrong() {
        let stored = overrides(&[(&name, value), ("log.retention.ms", "2000")]);
        let (settings, ignored) = settings.altered_before(Altered { broker: stored, ..Altered::default() });
        assert_eq!(ignored.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [&*name]);
        assert_eq!(topic_of(&settings).retention, Some(Duration::from_secs(2)));
    }
}

#[test]
fn defaults_and_the_classes_of_kafka_itself_are_accepted() {
    for (name, value) in [
        (
            "principal.builder.class",
            "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder",
        ),
        ("ssl.engine.factory.class", ""),
        (
            "sasl.server.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
        ),
        (
            "sasl.oauthbearer.jwt.validator.class",
            "org.apache.kafka.common.security.oauthbearer.BrokerJwtValidator",
        ),
    ] {
        for prefix in [X, "listener.name.x.oauthbearer."] {
            broker(&[(&format!("{prefix}{name}"), value)]).unwrap();
        }
    }
}
