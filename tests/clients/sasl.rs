//! Logins. librdkafka is built without OpenSSL here, so it has PLAIN only.

use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use crate::support::{Server, numbered, read, values};

const BROKER: [(&str, &str); 3] = [
    ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
    ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512"),
    (
        "listener.name.sasl_plaintext.plain.sasl.jaas.config",
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";",
    ),
];

fn alice(password: &str) -> [(&str, &str); 4] {
    [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "alice"),
        ("sasl.password", password),
    ]
}

#[test]
fn a_client_that_logs_in_with_plain_produces_and_consumes() {
    let Some(server) = Server::with(&BROKER) else { return };
    let producer = server.producer(&[&alice("secret")[..], &[("allow.auto.create.topics", "true")]].concat());
    producer.send_all("logged-in", 0, &numbered("", 20));
    let consumer = server.assigned("logged-in", 0, Offset::Beginning, &alice("secret"));
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(values(&read(&consumer, 20)), expected);
}

#[test]
fn a_client_with_a_wrong_password_or_without_a_login_is_not_served() {
    let Some(server) = Server::with(&BROKER) else { return };
    for settings in [&alice("wrong")[..], &[]] {
        let consumer = server.consumer(settings);
        let error = consumer.fetch_metadata(None, Duration::from_secs(3)).unwrap_err();
        let code = error.rdkafka_error_code().unwrap();
        let expected = [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::OperationTimedOut];
        assert!(expected.contains(&code), "{code:?}");
    }
}
