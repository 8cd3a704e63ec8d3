//! Loads the settings of the broker from the values that were given and those that were altered.

use std::collections::BTreeMap;

use super::authorizer;
use super::broker::{
    BROKERS, CONNECTION_RATE, CONNECTIONS_OF, CONNECTIONS_PER_IP, HTTP_LOGIN, LOGIN_MAX_BYTES,
    MAX_CONNECTIONS, TEST_HOOKS, current, row, rows,
};
use super::initial_topics::{self, INITIAL_TOPICS};
use super::listener::{self, Build, Listener};
use super::listener_logins;
use super::logins::MAX_REAUTH;
use super::prefix::base_of;
use super::row::Row;
use super::rules::{self, Candidate};
use super::value::Value;
use super::{Altered, BrokerSettings, ConfigError, Given, IgnoredSetting, Origin};
use crate::types::{ClusterId, NodeId};

/// The shortest session that can be set while the broker runs, in milliseconds. A client needs a round trip of the network
/// before its first request.
const SHORTEST_SESSION: i64 = 1000;

/// The smallest limit for requests before the login that can be set while the broker runs. ApiVersions and SCRAM need less.
const SMALLEST_LOGIN: i64 = 4096;

/// The listeners alone, whatever other settings are.
pub fn listeners_of(given: &Given) -> Result<Vec<Listener>, ConfigError> {
    let read = |row: &Row| given.get(row.name).and_then(|written| row.read(written).ok());
    let words = |name: &str| row(name).map_or_else(Vec::new, |row| resolve(row, read).words());
    listener::listeners(words, Build::THIS).map_err(|error| error.hiding_provided(given))
}

impl BrokerSettings {
    /// The settings of a broker that is started with `given`. An unknown name is no error: see
    /// [`Given::unknown`].
    pub fn load(given: Given) -> Result<BrokerSettings, ConfigError> {
        let settings = BrokerSettings::with(given.clone(), Altered::default())
            .map_err(|error| error.hiding_provided(&given))?;
        listener::check_room(&settings.listeners, settings.brokers)?;
        Ok(settings)
    }

    /// The settings with `altered` over those the broker was started with.
    pub fn altered(&self, altered: Altered) -> Result<BrokerSettings, ConfigError> {
        let settings = BrokerSettings::with(self.given.clone(), altered)?;
        settings.let_somebody_in()?;
        // Each virtual broker has its own id.
        Ok(BrokerSettings { node_id: self.node_id, ..settings })
    }

    /// Refuses altered limits that would keep out every client, also one that would alter them again. Limits that were
    /// given at the start can be corrected there.
    fn let_somebody_in(&self) -> Result<(), ConfigError> {
        let Altered { cluster, broker } = &self.altered;
        let refuse = |name: &str, value: &str, why| Err(ConfigError::invalid(name, value, why));
        let is_altered = |name| cluster.contains_key(name) || broker.contains_key(name);
        let all = || cluster.iter().chain(broker);
        for (base, of_all, own) in [
            (MAX_CONNECTIONS, self.max_connections, BrokerSettings::max_connections_of as fn(&_, &_) -> _),
            (CONNECTION_RATE, self.connection_rate, BrokerSettings::connection_rate_of),
        ] {
            let is_zero = |listener: &Listener| own(self, &listener.name).unwrap_or(of_all) == 0;
            if all().any(|(name, _)| base_of(name) == base) && self.listeners.iter().any(is_zero) {
                // As in Kafka.
                return Err(ConfigError::Conflict(format!(
                    "Invalid value org.apache.kafka.common.config.ConfigException: Invalid {base} 0 for configuration \
                     Invalid dynamic configuration"
                )));
            }
        }
        let admits_one =
            self.max_connections_per_ip > 0 || self.connections_of.values().any(|most| *most > 0);
        if !admits_one && [CONNECTIONS_PER_IP, CONNECTIONS_OF].into_iter().any(is_altered) {
            return refuse(CONNECTIONS_PER_IP, "0", "nobody could connect, not even to alter it again");
        }
        for (name, value) in all() {
            let too_little =
                |least| value.trim().parse::<i64>().is_ok_and(|given| (1..least).contains(&given));
            if base_of(name) == MAX_REAUTH && too_little(SHORTEST_SESSION) {
                let why = "sessions would end before their first request: expected 0, or 1000 at least";
                return refuse(name, value, why);
            }
            if base_of(name) == LOGIN_MAX_BYTES && too_little(SMALLEST_LOGIN) {
                return refuse(name, value, "no client could log in: expected 4096 at least");
            }
        }
        Ok(())
    }

    /// The same altered settings over another base.
    pub(super) fn given_anew(&self, given: Given) -> Result<BrokerSettings, ConfigError> {
        let mut settings = BrokerSettings::with(given, self.altered.clone())?;
        settings.node_id = self.node_id;
        // The listeners of this virtual broker. Ids and listeners do not change while it runs.
        settings.listeners.clone_from(&self.listeners);
        Ok(settings)
    }

    /// As [`BrokerSettings::altered`], for values that were checked when they were stored. A value that
    /// is no longer valid is left out alone, and returned with the reason. The settings are loaded once for each value
    /// only if the values are valid one by one, but not together.
    pub fn altered_before(&self, altered: Altered) -> (BrokerSettings, Vec<IgnoredSetting>) {
        if let Ok(settings) = self.altered(altered.clone()) {
            return (settings, Vec::new());
        }
        let (mut rest, mut kept) = altered.split_known();
        let mut wrong = Vec::new();
        rest.retain(|(_, name, value)| match row(base_of(name)).map(|row| rules::read(name, row, value)) {
            Some(Err(error)) => {
                wrong.push(IgnoredSetting { name: name.clone(), error });
                false
            }
            Some(Ok(_)) | None => true,
        });
        let mut together = kept.clone();
        for (is_cluster, name, value) in &rest {
            together.layer(*is_cluster).insert(name.clone(), value.clone());
        }
        if let Ok(settings) = self.altered(together) {
            return (settings, wrong);
        }
        let mut settings = self.altered(kept.clone()).unwrap_or_else(|_| self.clone());
        loop {
            let before = rest.len();
            let mut ignored = Vec::new();
            rest.retain(|(is_cluster, name, value)| {
                let mut more = kept.clone();
                more.layer(*is_cluster).insert(name.clone(), value.clone());
                match self.altered(more.clone()) {
                    Ok(with_it) => {
                        (kept, settings) = (more, with_it);
                        false
                    }
                    Err(error) => {
                        ignored.push(IgnoredSetting { name: name.clone(), error });
                        true
                    }
                }
            });
            // A value may be valid only after one that was added later.
            if rest.len() == before || rest.is_empty() {
                wrong.append(&mut ignored);
                return (settings, wrong);
            }
        }
    }

    fn with(given: Given, altered: Altered) -> Result<BrokerSettings, ConfigError> {
        let mut set: BTreeMap<&'static str, String> = BTreeMap::new();
        for row in rows() {
            if let Some(written) = given.get(row.name) {
                set.insert(row.name, written.to_owned());
            }
        }
        for (name, value) in altered.cluster.iter().chain(&altered.broker) {
            let Some(row) = row(name) else { continue };
            // Older names of the setting were set earlier, and no longer count.
            for (stand_in, _) in row.stands_in {
                set.remove(stand_in);
            }
            set.insert(row.name, value.clone());
        }

        let mut own = BTreeMap::new();
        for (name, written) in &set {
            let row = row(name).expect("only names of rows are set");
            own.insert(*name, rules::read(name, row, written)?);
        }
        let started = given.all().map(|(name, written)| (name, written.value.as_str()));
        let since = altered.cluster.iter().chain(&altered.broker);
        rules::check_prefixed(started.chain(since.map(|(name, value)| (name.as_str(), value.as_str()))))?;
        let values = Values { own };
        let value = |name: &str| row(name).map(|row| values.get(row));
        let candidate = Candidate { own: &values.own, inherited: &value };
        candidate.keeps(rules::BROKER)?;
        let list = |name: &str| value(name).map_or_else(Vec::new, |value| value.words());
        let listeners = listener::listeners(list, Build::THIS)?;
        let logins = listener_logins::of_listeners(&listeners, |name| current(name, &altered, &given))?;
        let value = |name: &str| values.get(row(name).expect("the setting has a row"));
        let (http, tls) = (value("jackdaw.http.listener"), value("jackdaw.http.tls").flag());
        let http = listener::http(http.text_if_any(), tls, Build::THIS)?;
        let cluster_id = value("jackdaw.cluster.id").text_if_any();
        let cluster_id = cluster_id.map(|written| read_cluster_id(&written)).transpose()?;
        let initial_topics = initial_topics::read(&value(INITIAL_TOPICS).text(), value(BROKERS).number())?;
        let (class, super_users) = (value(authorizer::CLASS).text(), value(authorizer::SUPER_USERS).text());
        let authorizer = authorizer::read(&class, &super_users, value(authorizer::ALLOW_EVERYONE).flag())?;
        let settings = BrokerSettings::from_values(
            |row| values.get(row),
            (listeners, logins, http, cluster_id, initial_topics, authorizer, given, altered, set),
        );
        if settings.http_login {
            Build::THIS
                .require_security("a login")
                .map_err(|why| ConfigError::invalid(HTTP_LOGIN, "true", why))?;
        }
        let is_open = |http: &Listener| http.is_on_loopback() && !settings.http_login;
        let needs_token = settings.test_hooks && !settings.http.as_ref().is_none_or(is_open);
        if needs_token && settings.test_hooks_token.is_none() {
            let why = "everyone who reaches the HTTP port could use them: set jackdaw.test.hooks.token, or let HTTP listen on \
                       localhost without jackdaw.http.login";
            return Err(ConfigError::invalid(TEST_HOOKS, "true", why));
        }
        Ok(settings)
    }

    /// The rate of new connections of one listener; `None` if it has none of its own.
    pub fn connection_rate_of(&self, listener: &str) -> Option<u32> {
        self.number_of(listener, CONNECTION_RATE)
    }

    /// The maximum number of connections of one listener; `None` if it has none of its own.
    pub fn max_connections_of(&self, listener: &str) -> Option<u32> {
        self.number_of(listener, MAX_CONNECTIONS)
    }

    /// The maximum size of a request before the login at one listener.
    pub fn login_max_bytes_of(&self, listener: &str) -> u32 {
        self.number_of(listener, LOGIN_MAX_BYTES).unwrap_or(self.login_max_bytes)
    }

    /// The number that a listener has of its own. It was checked when the settings were loaded.
    fn number_of(&self, listener: &str, base: &str) -> Option<u32> {
        let name = format!("listener.name.{}.{base}", listener.to_ascii_lowercase());
        let written = current(&name, &self.altered, &self.given)?;
        Some(row(base)?.read(written).ok()?.number())
    }

    /// The ids of the virtual brokers of this process.
    pub fn broker_ids(&self) -> Vec<NodeId> {
        (0..i32::from(self.brokers)).map(|nth| NodeId(self.node_id.0.saturating_add(nth))).collect()
    }

    /// The settings of the `nth` virtual broker: its id, and its listeners with ports offset by `nth`.
    #[must_use]
    pub fn of_virtual_broker(&self, nth: u16) -> BrokerSettings {
        let mut own = self.clone();
        own.node_id = NodeId(self.node_id.0.saturating_add(nth.into()));
        if nth == 0 {
            return own;
        }
        own.listeners = self.listeners.iter().map(|listener| listener.behind(nth)).collect();
        // As a configuration file of its own would have them, for DescribeConfigs.
        for name in ["listeners", "advertised.listeners"] {
            let written = self.given.written(name).cloned();
            let default = row(name).and_then(|row| row.default.map(str::to_owned)).unwrap_or_default();
            let value = written.as_ref().map_or(default, |written| written.value.clone());
            if value.is_empty() {
                continue;
            }
            let value = listener::behind(&value, nth);
            let (origin, place) =
                written.map_or((Origin::Flag, String::new()), |written| (written.origin, written.place));
            if let Some(row) = row(name) {
                own.set.insert(row.name, value.clone());
            }
            own.given.set_from(origin, place, name, value);
        }
        own
    }

    /// The value of a setting: its own, or one of another name for it, or the default.
    pub(super) fn value(&self, name: &str) -> Value {
        let Some(row) = row(name) else { return Value::Null };
        let read = |row: &Row| self.set.get(row.name).and_then(|written| row.read(written).ok());
        resolve(row, read)
    }

    /// The value that was set under this name itself.
    pub(super) fn own_value(&self, row: &Row) -> Value {
        let set = self.set.get(row.name).and_then(|written| row.read(written).ok());
        set.unwrap_or_else(|| row.default_value())
    }
}

impl Default for BrokerSettings {
    fn default() -> BrokerSettings {
        BrokerSettings::load(Given::default()).expect("the defaults pass their own checks")
    }
}

fn read_cluster_id(written: &str) -> Result<ClusterId, ConfigError> {
    ClusterId::parse(written.trim()).ok_or_else(|| {
        let why = format!("expected at most {} bytes without control characters", ClusterId::MOST);
        ConfigError::invalid("jackdaw.cluster.id", written, why)
    })
}

struct Values {
    own: BTreeMap<&'static str, Value>,
}

impl Values {
    fn get(&self, row: &Row) -> Value {
        resolve(row, |row| self.own.get(row.name).cloned())
    }
}

/// The value of a row: its own, or the first other name's that is set, or the first default.
fn resolve(asked: &Row, set: impl Fn(&Row) -> Option<Value>) -> Value {
    if let Some(value) = set(asked) {
        return value;
    }
    let stand_ins = asked.stands_in.iter().filter_map(|(name, factor)| Some((row(name)?, *factor)));
    for (stand_in, factor) in stand_ins.clone() {
        if let Some(value) = set(stand_in) {
            return value.scaled(factor, asked.kind);
        }
    }
    if asked.default.is_some() {
        return asked.default_value();
    }
    stand_ins
        .map(|(stand_in, factor)| (stand_in.default_value(), factor))
        .find(|(value, _)| *value != Value::Null)
        .map_or(Value::Null, |(value, factor)| value.scaled(factor, asked.kind))
}
