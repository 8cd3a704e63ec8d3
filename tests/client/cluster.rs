//! `jackdaw cluster`, addresses and profiles, and transactions that hang.

use serde_json::{Value, json};

use super::{Stage, open_transaction};

#[test]
fn the_cluster_is_shown_with_its_brokers_features_requests_and_controllers() {
    let stage = Stage::virtual_brokers(3);
    let cluster = stage.json(&["cluster", "describe"]);
    let brokers = cluster["brokers"].as_array().unwrap();
    let ids: Vec<i64> = brokers.iter().map(|broker| broker["broker"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(brokers[0]["state"], json!("running"));
    assert!(cluster["cluster_id"].is_string() && cluster["controller"].is_i64(), "{cluster}");
    let text = stage.run(&["cluster", "describe"]);
    assert!(text.starts_with("cluster ") && text.contains("BROKER"), "{text}");

    let features = stage.json(&["cluster", "features"]);
    let metadata =
        features.as_array().unwrap().iter().find(|one| one["feature"] == "metadata.version").unwrap();
    assert!(metadata["level"].as_i64().unwrap() > 0, "{metadata}");
    let apis = stage.json(&["cluster", "apis", "--broker", "2"]);
    assert_eq!((&apis[0]["key"], &apis[0]["request"]), (&json!(0), &json!("Produce")));
    let (code, err) = stage.refused(&["cluster", "apis", "--broker", "7"]);
    assert_eq!((code, err.as_str()), (1, "jackdaw: there is no broker 7; there are 1, 2, 3\n"));

    let quorum = stage.json(&["cluster", "quorum"]);
    let leader = quorum["replicas"].as_array().unwrap().iter().find(|node| node["role"] == "leader").unwrap();
    assert_eq!((&leader["node"], &leader["lag"]), (&quorum["leader"], &json!(0)));
}

#[test]
fn log_directories_are_shown_with_the_sizes_of_their_replicas() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "t", "--partitions", "2"]);
    stage.produce("t", &["one", "two"]);
    let sums = stage.json(&["cluster", "log-dirs", "--broker", "1"]);
    assert_eq!((&sums[0]["broker"], &sums[0]["error"]), (&json!(1), &Value::Null));
    let replicas = stage.json(&["cluster", "log-dirs", "--replicas"]);
    let of_topic = replicas.as_array().unwrap().iter().filter(|replica| replica["topic"] == "t");
    let bytes: i64 = of_topic.map(|replica| replica["bytes"].as_i64().unwrap()).sum();
    assert!(bytes > 0);
    assert_eq!(stage.json(&["topic", "list"])[0]["bytes"], json!(bytes));
}

#[test]
fn the_address_has_the_names_of_other_tools_and_may_be_in_a_profile() {
    let stage = Stage::new();
    let address = stage.broker.bootstrap().to_owned();
    let run = |arguments: &[&str], profile: Option<&str>| {
        let mut command = stage.command(&[&["topic", "list"], arguments].concat());
        command.env_remove("JACKDAW_BOOTSTRAP").envs(profile.map(|profile| ("JACKDAW_PROFILE", profile)));
        command.output().unwrap().status.code()
    };
    for name in ["-b", "--bootstrap-server", "--brokers", "--bootstrap"] {
        assert_eq!(run(&[name, &address], None), Some(0), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("profile");
    std::fs::write(&file, format!("bootstrap.servers={address}\n")).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(run(&["--profile", file], None), Some(0));
    assert_eq!(run(&[], Some(file)), Some(0));
    assert_eq!(run(&["-b", "127.0.0.1:1"], Some(file)), Some(69), "an option has precedence");

    let config = dir.path().join("jackdaw");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("profiles"), format!("[test]\nbootstrap.servers={address}\n")).unwrap();
    let named = |name: &str| {
        let mut command = stage.command(&["topic", "list", "--profile", name]);
        command.env_remove("JACKDAW_BOOTSTRAP").env("XDG_CONFIG_HOME", dir.path());
        command.output().unwrap().status.code()
    };
    assert_eq!((named("test"), named("prod")), (Some(0), Some(64)));
}

#[test]
fn every_verb_takes_the_addresses_that_librdkafka_takes() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "orders"]);
    let address = stage.broker.bootstrap();
    for verb in
        [&["topic", "list"][..], &["consume", "orders", "--until-end"], &["produce", "orders"], &["health"]]
    {
        for (written, code, why) in [
            (format!("plaintext://{address}"), 0, ""),
            (format!("SSL://{address}"), 64, "the connection has security.protocol PLAINTEXT"),
            (format!("{address},broker:port"), 64, "broker:port is no address of a broker"),
        ] {
            let done = stage.try_with(&[verb, &["-b", &written]].concat(), b"");
            assert!(done.code == code && done.err.contains(why), "{verb:?} {written}: {}", done.err);
        }
    }
}

#[test]
fn a_transaction_hangs_only_if_its_coordinator_does_not_know_it() {
    let stage = Stage::new();
    stage.run(&["topic", "create", "orders", "--partitions", "1"]);
    let _open = open_transaction(&stage, "billing-1", "orders");
    assert_eq!(stage.json(&["transaction", "find-hanging", "--older-than", "0s"]), json!([]));
    assert_eq!(stage.json(&["transaction", "find-hanging", "--topic", "orders", "--broker", "1"]), json!([]));
    let (code, err) = stage.refused(&["transaction", "find-hanging", "--broker", "7"]);
    assert!(code == 1 && err.contains("there is no broker 7"), "{err}");
}

#[test]
fn settings_of_all_brokers_and_of_groups_are_set() {
    let stage = Stage::new();
    stage.run(&["config", "set", "broker", "default", "log.retention.ms=7200000"]);
    let got = stage.json(&["config", "get", "broker", "1", "log.retention.ms"]);
    assert_eq!((&got[0]["value"], &got[0]["source"]), (&json!("7200000"), &json!("all brokers")));
    stage.run(&["config", "unset", "broker", "default", "log.retention.ms"]);
    stage.run(&["config", "set", "group", "g", "consumer.session.timeout.ms=50000"]);
    let got = stage.json(&["config", "get", "group", "g", "consumer.session.timeout.ms"]);
    assert_eq!((&got[0]["value"], &got[0]["source"]), (&json!("50000"), &json!("group")));
    assert_eq!(
        stage.run(&["config", "set", "group", "g", "consumer.session.timeout.ms=46000", "--dry-run"]),
        "would set consumer.session.timeout.ms=46000\n"
    );
    let got = stage.json(&["config", "get", "group", "g"]);
    assert_eq!(got[0]["value"], json!("50000"), "a dry run sets nothing");
}
