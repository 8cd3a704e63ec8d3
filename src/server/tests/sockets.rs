//! Listeners on the loopback interface.

use super::*;
use crate::config::Given;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct RunningServer {
    server: Server,
    stop: Stop,
}

async fn start(settings: &[(&str, &str)]) -> Result<RunningServer, BindError> {
    let mut given = Given::default();
    given.set("listeners", "PLAINTEXT://localhost:0");
    for (name, value) in settings {
        given.set(*name, *value);
    }
    let settings = BrokerSettings::load(given).unwrap();
    let (stop, stopping) = Stop::new();
    let services = Services::in_memory_with(settings.clone(), stopping.clone());
    let server = Server::start(&settings, Api::with_table(&TABLE, Arc::new(services)), stopping).await?;
    Ok(RunningServer { server, stop })
}

impl RunningServer {
    fn addresses(&self) -> Vec<SocketAddr> {
        self.server.listening().map(|(_, address)| address).collect()
    }
}

async fn is_served(stream: &mut TcpStream) -> bool {
    let request = ask(ORDINARY, 1, "now", &Gate::new());
    if stream.write_all(&request).await.is_err() {
        return false;
    }
    let Ok(length) = stream.read_u32().await else { return false };
    stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await.is_ok()
}

#[tokio::test]
async fn m6_localhost_is_both_address_families_at_the_same_port() {
    let running = start(&[]).await.unwrap();
    let addresses = running.addresses();
    let [v4, v6] = addresses[..] else { panic!("two addresses: {addresses:?}") };
    assert_eq!((v4.ip().to_string(), v6.ip().to_string()), ("127.0.0.1".into(), "::1".into()));
    assert_eq!(v4.port(), v6.port());
    for address in addresses {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(is_served(&mut stream).await, "{address} serves");
    }
}

#[tokio::test]
async fn of_two_brokers_that_start_at_once_the_second_finds_its_port_in_use_before_either_listens() {
    let settings = |port| {
        let mut given = Given::default();
        given.set("listeners", format!("PLAINTEXT://localhost:{port}"));
        BrokerSettings::load(given).unwrap()
    };
    let first = Bound::at(&settings(0).listeners).await.unwrap();
    let port = first.0[0].1[0].local_addr().unwrap().port();
    let second = Bound::at(&settings(port).listeners).await.map(|_| ()).unwrap_err();
    assert_eq!((second.error.kind(), second.port), (std::io::ErrorKind::AddrInUse, port));
    drop(first);
    assert!(Bound::at(&settings(port).listeners).await.is_ok());
}

#[tokio::test]
async fn connections_that_linger_at_a_port_do_not_keep_it_from_the_next_start() {
    let running = start(&[]).await.unwrap();
    let address = running.addresses()[0];
    let mut client = TcpStream::connect(address).await.unwrap();
    assert!(is_served(&mut client).await);
    // The server closes first: its end lingers.
    running.stop.begin();
    running.server.drain(Duration::from_secs(10)).await;
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    drop(client);
    let again = start(&[("listeners", &format!("PLAINTEXT://{address}"))]).await.unwrap();
    assert_eq!(again.addresses(), [address]);
}

#[tokio::test]
async fn an_address_that_is_only_taken_refuses_clients_until_it_is_served() {
    let mut given = Given::default();
    given.set("listeners", "PLAINTEXT://127.0.0.1:0");
    let settings = BrokerSettings::load(given).unwrap();
    let bound = Bound::at(&settings.listeners).await.unwrap();
    let address = bound.0[0].1[0].local_addr().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    let (_stop, stopping) = Stop::new();
    let services = Services::in_memory_with(settings.clone(), stopping.clone());
    let resources = Resources::of(&settings, || Arc::new(BrokerSettings::default()));
    let api = Api::with_table(&TABLE, Arc::new(services));
    let _server = Server::start_beside(&resources, &settings, bound, api, stopping).unwrap();
    assert!(is_served(&mut TcpStream::connect(address).await.unwrap()).await);
    let taken = Listener { port: address.port(), ..settings.listeners[0].clone() };
    assert!(Bound::at(&[taken]).await.is_err(), "somebody listens there");
}

#[tokio::test]
async fn several_listeners_serve_and_every_address_takes_both_families() {
    let set = [
        ("listeners", "PLAINTEXT://:0,OTHER://127.0.0.1:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT"),
    ];
    let running = start(&set).await.unwrap();
    let [all, other] = running.addresses()[..] else { panic!("two listeners") };
    for (host, port) in [("127.0.0.1", all.port()), ("::1", all.port()), ("127.0.0.1", other.port())] {
        let mut stream = TcpStream::connect((host, port)).await.unwrap();
        assert!(is_served(&mut stream).await, "{host}:{port} serves");
    }
}

#[tokio::test]
async fn a_port_is_free_again_at_once_although_connections_were_open() {
    let running = start(&[]).await.unwrap();
    let port = running.addresses()[0].port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(is_served(&mut stream).await);
    running.stop.begin();
    running.server.drain(Duration::from_secs(60)).await;
    let again = format!("PLAINTEXT://localhost:{port}");
    let running = start(&[("listeners", &again)]).await.unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert!(is_served(&mut stream).await);
    drop(running);
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_by_name() {
    let running = start(&[]).await.unwrap();
    let port = running.addresses()[0].port();
    let taken = format!("PLAINTEXT://localhost:{port}");
    let Err(error) = start(&[("listeners", &taken)]).await else { panic!("the port is taken") };
    assert!(error.to_string().starts_with(&format!("cannot listen at localhost:{port}: ")), "{error}");
}

/// A new connection, which ends when it is served.
async fn begin_asking(address: SocketAddr) -> JoinHandle<bool> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    tokio::spawn(async move { is_served(&mut stream).await })
}

#[tokio::test]
async fn a_connection_too_many_waits_until_another_ends() {
    let running = start(&[("max.connections", "1")]).await.unwrap();
    let address = running.addresses()[0];
    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(is_served(&mut first).await);
    let mut second = begin_asking(address).await;
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    assert!(is_served(&mut first).await, "the first is served all the while");
    drop(first);
    assert!((&mut second).await.unwrap());
}

#[tokio::test]
async fn a_connection_too_many_of_a_listener_waits_and_those_of_another_are_served() {
    let running = start(&[
        ("listeners", "A://127.0.0.1:0,B://127.0.0.1:0"),
        ("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT"),
        ("listener.name.a.max.connections", "1"),
    ]);
    let running = running.await.unwrap();
    let [a, b] = running.addresses()[..] else { panic!("one address for each listener") };
    let mut first = TcpStream::connect(a).await.unwrap();
    assert!(is_served(&mut first).await);
    let mut second = begin_asking(a).await;
    for _ in 0..2 {
        assert!(is_served(&mut TcpStream::connect(b).await.unwrap()).await);
    }
    assert!(!second.is_finished());
    drop(first);
    assert!((&mut second).await.unwrap());
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let running = start(&[("max.connections.per.ip", "1")]).await.unwrap();
    let addresses = running.addresses();
    let mut first = TcpStream::connect(addresses[0]).await.unwrap();
    assert!(is_served(&mut first).await);
    let mut second = TcpStream::connect(addresses[0]).await.unwrap();
    assert!(!is_served(&mut second).await);
    let mut other = TcpStream::connect(addresses[1]).await.unwrap();
    assert!(is_served(&mut other).await, "another address is not its concern");
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let running = start(&[]).await.unwrap();
    let mut stream = TcpStream::connect(running.addresses()[0]).await.unwrap();
    assert!(is_served(&mut stream).await);
    drop(running.server);
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)), "the connection ended");
}

#[tokio::test]
async fn the_wait_of_a_client_ends_when_the_client_is_gone() {
    let running = start(&[]).await.unwrap();
    for (key, what) in [(ORDINARY, "slowly"), (ORDINARY, "later"), (OVERLAPPING, "later")] {
        let gate = Gate::new();
        let mut stream = TcpStream::connect(running.addresses()[0]).await.unwrap();
        stream.write_all(&ask(key, 1, what, &gate)).await.unwrap();
        until(|| gate.waiting() == 1).await;
        // A reset, as when a client's machine drops the connection.
        stream.set_zero_linger().unwrap();
        drop(stream);
        until(|| gate.waiting() == 0).await;
    }
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}
