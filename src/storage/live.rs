//! The current settings of a broker: those from its start, overridden by settings altered at run time.

use std::sync::{Arc, RwLock};

use crate::config::{Altered, BrokerSettings, Given, IgnoredSetting, Reloaded};
use crate::kernel::{Scope, Settings};
use crate::types::{IgnorePoison, NodeId};

pub struct LiveSettings {
    node: NodeId,
    now: RwLock<Now>,
}

struct Now {
    /// The stored settings from which `settings` was made.
    stored: Arc<Settings>,
    settings: Arc<BrokerSettings>,
    /// The stored settings of this broker that were applied last, with those that are not valid any more; `None`
    /// if they have to be applied again.
    asked: Option<Altered>,
}

impl LiveSettings {
    pub fn new(started: Arc<BrokerSettings>, node: NodeId) -> LiveSettings {
        LiveSettings {
            node,
            now: RwLock::new(Now { stored: Arc::default(), settings: started, asked: None }),
        }
    }

    /// The current settings, given the stored ones. They are rebuilt only if the stored ones changed.
    pub fn at(&self, stored: &Arc<Settings>) -> Arc<BrokerSettings> {
        {
            let now = self.now.read().ignoring_poison();
            if Arc::ptr_eq(&now.stored, stored) {
                return Arc::clone(&now.settings);
            }
        }
        let mut now = self.now.write().ignoring_poison();
        let altered = self.altered(stored);
        if now.asked.as_ref() != Some(&altered) {
            let (settings, ignored) = now.settings.altered_before(altered.clone());
            now.asked = Some(altered);
            for IgnoredSetting { name, error } in ignored {
                tracing::warn!(
                    name, %error,
                    "a stored setting of the broker is no longer valid and is ignored; set it again or remove it"
                );
            }
            now.settings = Arc::new(settings);
        }
        now.stored = Arc::clone(stored);
        Arc::clone(&now.settings)
    }

    /// Applies the settings that are now given in file, environment and flags, as far as they may change
    /// while the broker runs.
    pub fn reload(&self, written: &Given) -> Reloaded {
        let mut now = self.now.write().ignoring_poison();
        let reloaded = now.settings.reloaded(written);
        now.settings = Arc::new(reloaded.settings.clone());
        // The stored values are applied again, because one may be valid over another base.
        (now.stored, now.asked) = (Arc::default(), None);
        reloaded
    }

    fn altered(&self, stored: &Settings) -> Altered {
        let of = |scope| stored.get(&scope).cloned().unwrap_or_default();
        Altered { cluster: of(Scope::DefaultBroker), broker: of(Scope::Broker(self.node)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Overrides;
    use crate::types::SharedMap;

    #[test]
    fn a_stored_value_that_becomes_valid_by_a_reload_takes_effect_at_once() {
        let live = LiveSettings::new(Arc::default(), NodeId(1));
        let mut by_scope = SharedMap::<Scope, Overrides>::default();
        let nobody = [("max.connections.per.ip".to_owned(), "0".to_owned())];
        by_scope.insert_mut(Scope::DefaultBroker, nobody.into_iter().collect());
        let stored = Arc::new(Settings::from(by_scope));
        assert_ne!(live.at(&stored).max_connections_per_ip, 0, "it would keep everybody out");
        let mut given = Given::default();
        given.set("max.connections.per.ip.overrides", "127.0.0.1:5");
        live.reload(&given);
        assert_eq!(live.at(&stored).max_connections_per_ip, 0);
    }

    #[test]
    fn settings_are_loaded_again_only_if_those_of_this_broker_change() {
        let started = Arc::new(BrokerSettings::load(Given::default()).unwrap());
        let live = LiveSettings::new(Arc::clone(&started), NodeId(1));
        let mut by_scope = SharedMap::<Scope, Overrides>::default();
        let mut with = |scope: Scope, settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            by_scope.insert_mut(scope, settings.collect());
            live.at(&Arc::new(Settings::from(by_scope.clone())))
        };
        // One value is not valid any more.
        let stored = [("message.max.bytes", "many"), ("log.cleaner.backoff.ms", "7")];
        let settings = with(Scope::DefaultBroker, &stored);
        assert_eq!(settings.cleaner_backoff, std::time::Duration::from_millis(7));
        let same = with(Scope::Broker(NodeId(2)), &[("log.cleaner.backoff.ms", "8")]);
        assert!(Arc::ptr_eq(&settings, &same));
        let other = with(Scope::Broker(NodeId(1)), &[("log.cleaner.backoff.ms", "9")]);
        assert_eq!(other.cleaner_backoff, std::time::Duration::from_millis(9));
    }
}
