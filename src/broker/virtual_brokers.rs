//! All virtual brokers of a process. Each of them can be stopped and started.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinSet;

use super::virtual_broker::{Common, VirtualBroker, VirtualBrokerError};
use crate::config::{BrokerSettings, Given};
use crate::hooks::{self, HookError};
use crate::security::tls::Tls;
use crate::server::Bound;
use crate::storage::Store;
use crate::types::{IgnorePoison, NodeId};

/// The time limit for outstanding responses when a virtual broker stops.
const DRAIN: Duration = Duration::from_secs(10);

pub(super) struct VirtualBrokers {
    state: Mutex<State>,
    /// Held while one of them is stopped or started, and while the settings are reloaded.
    turn: tokio::sync::Mutex<()>,
    common: Common,
    store: Store,
}

struct State {
    all: Vec<VirtualBroker>,
    /// The process stops: from now on none of them is started or stopped by itself.
    is_closing: bool,
}

impl VirtualBrokers {
    pub fn new(all: Vec<VirtualBroker>, common: Common, store: Store) -> VirtualBrokers {
        let state = Mutex::new(State { all, is_closing: false });
        VirtualBrokers { state, turn: tokio::sync::Mutex::default(), common, store }
    }

    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Stops one. Other brokers become leaders of its partitions and coordinators of its groups. Its connections are
    /// closed and its ports refuse new ones.
    pub async fn stop_one(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        let _turn = self.turn.lock().await;
        if !self.with(id, |one| one.is_running())? {
            return Ok(());
        }
        let others = self.running().into_iter().filter(|other| *other != id).collect();
        self.store.set_brokers(others).await.map_err(VirtualBrokerError::Store)?;
        self.halt(id).await
    }

    /// Starts one that was stopped, at its old addresses. It is in the ISR at once, and leads the partitions that had no
    /// leader.
    pub async fn start_one(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        let _turn = self.turn.lock().await;
        let stopped = self.with(id, |one| (!one.is_running()).then(|| one.listeners().to_vec()))?;
        if let Some(listeners) = &stopped {
            let bound = Bound::at(listeners).await.map_err(VirtualBrokerError::Bind)?;
            let started = self.with(id, |one| one.start_at(bound, &self.common))?;
            started.map_err(VirtualBrokerError::Bind)?;
        }
        // Also if it runs already: it may be half stopped, because the caller of its stop gave up.
        let published = self.store.set_brokers(self.running()).await.map_err(VirtualBrokerError::Store);
        if published.is_err() && stopped.is_some() {
            self.halt(id).await?;
        }
        published
    }

    /// The keys and certificates of each virtual broker, with its settings after a reload.
    pub fn tls_after(&self, written: &Given) -> Vec<(Arc<Tls>, Arc<BrokerSettings>)> {
        let after = |one: &VirtualBroker| {
            let (tls, settings) = one.tls(&self.common);
            (tls, Arc::new(settings.reloaded(written).settings))
        };
        self.state().all.iter().map(after).collect()
    }

    /// The turn to reload the settings, when none of them is being stopped or started, and no request changes how clients
    /// log in.
    pub async fn turn_to_reload(&self) -> impl Send {
        (self.turn.lock().await, self.common.services.turn_to_change_logins().await)
    }

    /// Reloads their settings. The caller has the [turn](VirtualBrokers::turn_to_reload).
    pub fn reload(&self, written: &Given) {
        let mut state = self.state();
        state.all.iter_mut().for_each(|one| one.reload(written));
        self.common.services.reload(written);
    }

    /// Stops all of them, and answers the requests in flight. Stops and starts of single brokers that have not ended by then
    /// may be refused.
    pub async fn stop_all(&self) {
        let running: Vec<_> = {
            let mut state = self.state();
            state.is_closing = true;
            state.all.iter_mut().filter_map(VirtualBroker::take_running).collect()
        };
        // All at the same time, so that the limit is one for all of them.
        let stops: JoinSet<()> = running.into_iter().map(|one| one.stop(DRAIN)).collect();
        stops.join_all().await;
        // Waits for the stop of a single broker that had begun before, which answers its requests, too.
        drop(self.turn.lock().await);
    }

    /// Ends all connections at once. Nothing can be started afterwards.
    pub fn cut_off(&self) {
        let mut state = self.state();
        state.is_closing = true;
        state.all.clear();
    }

    async fn halt(&self, id: NodeId) -> Result<(), VirtualBrokerError> {
        if let Some(running) = self.with(id, VirtualBroker::take_running)? {
            running.stop(DRAIN).await;
        }
        Ok(())
    }

    fn running(&self) -> Vec<NodeId> {
        self.state().all.iter().filter(|one| one.is_running()).map(|one| one.id).collect()
    }

    fn with<T>(
        &self,
        id: NodeId,
        act: impl FnOnce(&mut VirtualBroker) -> T,
    ) -> Result<T, VirtualBrokerError> {
        let mut state = self.state();
        if state.is_closing {
            return Err(VirtualBrokerError::Closing);
        }
        let one = state.all.iter_mut().find(|one| one.id == id);
        one.map(act).ok_or(VirtualBrokerError::Unknown(id))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignoring_poison()
    }
}

impl hooks::VirtualBrokers for VirtualBrokers {
    fn stop(&self, id: NodeId) -> Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + '_>> {
        Box::pin(async move { self.stop_one(id).await.map_err(refused) })
    }

    fn start(&self, id: NodeId) -> Pin<Box<dyn Future<Output = Result<(), HookError>> + Send + '_>> {
        Box::pin(async move { self.start_one(id).await.map_err(refused) })
    }
}

fn refused(error: VirtualBrokerError) -> HookError {
    HookError::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;
    use std::pin::pin;
    use std::task::Poll;

    #[cfg(feature = "security")]
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;
    use tokio::task::yield_now;

    use super::*;
    use crate::broker::Broker;
    use crate::hooks::{Fault, Method};
    use crate::protocol::messages::IncrementalAlterConfigsRequest;
    use crate::protocol::messages::incremental_alter_configs_request::{
        AlterConfigsResource, AlterableConfig,
    };
    use crate::protocol::{Message, Request, RequestHeader, Writer};
    use crate::time;

    const LIMIT: Duration = Duration::from_secs(60);
    const FIRST: NodeId = NodeId(1);
    const SECOND: NodeId = NodeId(2);
    const KEYSTORE: &str = "listener.name.ssl.ssl.keystore.location";

    async fn two() -> Broker {
        let builder = Broker::builder().ephemeral().brokers(2).test_hooks();
        builder.listen("127.0.0.1:0").start().await.unwrap()
    }

    fn addresses(broker: &Broker) -> Vec<SocketAddr> {
        broker.brokers().map(|(_, address)| address.parse().unwrap()).collect()
    }

    #[cfg(feature = "security")]
    fn store(file: &str) -> String {
        format!("{}/tests/tls/{file}", env!("CARGO_MANIFEST_DIR"))
    }

    /// A client that asks the broker to set the key store of its listener SSL. The answer comes later.
    async fn set_keystore(address: SocketAddr, id: NodeId, keystore: String) -> TcpStream {
        let change =
            AlterableConfig { name: KEYSTORE.to_owned(), config_operation: 0, value: Some(keystore) };
        let of_broker =
            AlterConfigsResource { resource_type: 4, resource_name: id.to_string(), configs: vec![change] };
        let request = IncrementalAlterConfigsRequest { resources: vec![of_broker], validate_only: false };
        let header = RequestHeader {
            api_key: IncrementalAlterConfigsRequest::KEY,
            api_version: 1,
            correlation_id: 1,
            client_id: None,
        };
        let mut out = Writer::new();
        header.write(&mut out).unwrap();
        request.encode(&mut out, 1).unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&out.into_request().unwrap()).await.unwrap();
        client
    }

    /// Lets the future begin, and leaves it where it waits first.
    async fn begin(mut future: Pin<&mut impl Future>) {
        poll_fn(|context| {
            assert!(future.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    async fn closes(address: SocketAddr) {
        let closes = async {
            while TcpStream::connect(address).await.is_ok() {
                yield_now().await;
            }
        };
        time::within(LIMIT, closes).await.expect("it closes its port");
    }

    #[tokio::test]
    async fn an_action_of_the_hooks_whose_client_goes_away_is_done_to_its_end() {
        let broker = two().await;
        let hooks = broker.hooks().unwrap();
        begin(pin!(hooks::call(hooks, Method::Post, "stop-broker", br#"{"broker": 1}"#))).await;
        closes(addresses(&broker)[0]).await;
        assert_eq!(broker.store.topics().running(), [SECOND]);
    }

    #[tokio::test]
    async fn a_start_makes_one_known_again_that_runs_but_was_half_stopped() {
        let broker = two().await;
        broker.store.set_brokers(vec![SECOND]).await.unwrap();
        broker.start_one(FIRST).await.unwrap();
        assert_eq!(broker.store.topics().running(), [FIRST, SECOND]);
    }

    #[tokio::test]
    async fn the_process_stops_without_those_that_wait_for_their_turn_and_none_of_them_starts_afterwards() {
        let broker = two().await;
        let [first, second] = addresses(&broker)[..] else { panic!("there are two") };
        broker.stop_one(SECOND).await.unwrap();
        let all = &broker.virtual_brokers;
        let turn = all.turn.lock().await;
        let mut stop = pin!(all.stop_all());
        begin(stop.as_mut()).await;
        let mut start = pin!(all.start_one(SECOND));
        begin(start.as_mut()).await;
        let both_end = async {
            closes(first).await;
            drop(turn);
            start.await
        };
        let ((), started) = tokio::join!(stop, both_end);
        assert!(matches!(started, Err(VirtualBrokerError::Closing)), "{started:?}");
        closes(second).await;
    }

    #[tokio::test]
    async fn all_of_them_stop_within_the_time_limit_of_one() {
        let broker = two().await;
        let (all, hooks) = (&broker.virtual_brokers, broker.hooks().unwrap());
        // The requests wait for it, so they are in flight when the brokers stop.
        let turn = all.common.services.turn_to_change_logins().await;
        let seen = Fault::of("IncrementalAlterConfigs").answer_delay(Duration::from_millis(1)).times(2);
        let seen = hooks.inject(seen).unwrap();
        let mut clients = Vec::new();
        for (address, id) in addresses(&broker).into_iter().zip([FIRST, SECOND]) {
            clients.push(set_keystore(address, id, String::new()).await);
        }
        hooks.wait_for_fault(seen, LIMIT).await.unwrap();
        tokio::time::pause();
        let stopped = time::within(DRAIN + Duration::from_secs(1), all.stop_all()).await;
        assert!(stopped.is_some());
        drop((turn, clients));
    }

    #[cfg(feature = "security")]
    #[tokio::test]
    async fn a_reload_that_waits_for_its_turn_does_not_bring_back_an_older_certificate() {
        let (mut given, older) = (Given::default(), store("server.jks"));
        for (name, value) in [
            ("listeners", "PLAINTEXT://127.0.0.1:0,SSL://127.0.0.1:0"),
            ("ssl.keystore.location", older.as_str()),
            ("ssl.keystore.password", "changeit"),
            ("ssl.allow.dn.changes", "true"),
            ("ssl.allow.san.changes", "true"),
        ] {
            given.set(name, value);
        }
        let broker = Broker::builder().ephemeral().set_all(given.clone()).start().await.unwrap();
        let all = &broker.virtual_brokers;
        let turn = all.turn.lock().await;
        let mut reload = pin!(broker.reload(given));
        begin(reload.as_mut()).await;
        let mut client = set_keystore(addresses(&broker)[0], FIRST, store("jdk17.p12")).await;
        client.read_exact(&mut [0; 4]).await.unwrap();
        drop(turn);
        reload.await;
        let (tls, _) = all.state().all[0].tls(&all.common);
        let subject = &tls.expiries()[0].1.subject;
        assert!(subject.contains("jdk17"), "{subject}");
    }
}
