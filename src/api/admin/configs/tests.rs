use std::future::poll_fn;
use std::task::Poll;

use super::*;
use crate::api::connection::ConnectionInfo;
use crate::api::context::Services;
use crate::config::Given;
use crate::security::tls::Tls;
use crate::stop::Stop;

const KEYSTORE: &str = "listener.name.ssl.ssl.keystore.location";

#[tokio::test]
async fn a_certificate_is_installed_also_if_the_client_goes_away_before_its_setting_is_stored() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/server.jks");
    let mut given = Given::default();
    given.set("listeners", "SSL://127.0.0.1:0");
    given.set("ssl.keystore.location", file);
    given.set("ssl.keystore.password", "changeit");
    let settings = BrokerSettings::load(given).unwrap();
    let tls = Arc::new(Tls::load(&settings).unwrap());
    let listener = Arc::new(settings.listeners[0].clone());
    let (_stop, stopping) = Stop::new();
    let services = Arc::new(Services::in_memory_with(settings, stopping).with_tls(Arc::clone(&tls)));
    let address = "192.0.2.1:1".parse().unwrap();
    let connection = Arc::new(ConnectionInfo::new(1, address, address, listener));
    let ctx = Context::new(&services, connection, "IncrementalAlterConfigs", 1, None, 0);

    let loaded = || tls.listener("SSL").unwrap().loaded();
    let before = loaded();
    let wish = Wish::Alter(vec![(KEYSTORE.to_owned(), 0, Some(file.to_owned()))]);
    let asked = vec![AlterRequest { kind: BROKER, name: "1".to_owned(), wish }];
    let mut altered = Box::pin(alter(asked, false, &ctx));
    assert!(poll_fn(|context| Poll::Ready(altered.as_mut().poll(context).is_pending())).await);
    drop(altered);

    let _turn = services.turn_to_change_logins().await;
    assert_eq!(services.settings().altered.broker.get(KEYSTORE).map(String::as_str), Some(file));
    assert!(!Arc::ptr_eq(&before, &loaded()), "it was read again");
}
