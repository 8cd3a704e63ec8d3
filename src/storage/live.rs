//! The current settings of a broker: those from its start, overridden by settings altered at run time.

use std::sync::{Arc, RwLock};

use crate::config::{Altered, BrokerSettings, Given, Reloaded};
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
}

impl LiveSettings {
    pub fn new(started: Arc<BrokerSettings>, node: NodeId) -> LiveSettings {
        LiveSettings { node, now: RwLock::new(Now { stored: Arc::default(), settings: started }) }
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
        if altered.cluster != now.settings.altered.cluster || altered.broker != now.settings.altered.broker {
            let (settings, invalid) = now.settings.altered_before(altered);
            for error in invalid {
                tracing::warn!(
                    %error,
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
        reloaded
    }

    fn altered(&self, stored: &Settings) -> Altered {
        let of = |scope| stored.get(&scope).cloned().unwrap_or_default();
        Altered { cluster: of(Scope::DefaultBroker), broker: of(Scope::Broker(self.node)) }
    }
}
