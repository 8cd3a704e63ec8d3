//! Test hooks: a test of an application makes requests fail, does what happens to a cluster, and waits for what its
//! clients do.
//!
//! They exist only with `jackdaw.test.hooks`. A program that embeds the broker calls the methods of [`TestHooks`]; other
//! programs call them over HTTP with JSON (`call.rs`, `http/hooks.rs`). docs/testing.md has both for users.

mod brokers;
mod call;
mod clock;
mod disk;
mod fault;
mod groups;
mod transactions;
mod waits;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

pub use brokers::VirtualBrokers;
pub use call::{Method, call};
pub use fault::{CutAt, Fault, FaultId, FaultInfo};

use crate::api::context::Coordinators;
use crate::api::error::ErrorCode;
use crate::faults::Faults;
use crate::storage::Store;
use crate::time;

/// The test hooks of a broker. Cheap to clone.
#[derive(Clone)]
pub struct TestHooks {
    faults: Arc<Faults>,
    store: Store,
    coordinators: Coordinators,
    /// Gone when the `Broker` is dropped.
    brokers: Option<Weak<dyn VirtualBrokers>>,
}

/// The reason why a hook did nothing, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookError {
    /// There is no such hook.
    Unknown,
    /// The text says which argument is wrong, and what is expected.
    Wrong(String),
    /// The deadline has passed. The text says what was not reached.
    TimedOut(String),
    /// The broker refused it, or it is full.
    Refused(String),
}

impl TestHooks {
    #[doc(hidden)]
    pub fn new(faults: Arc<Faults>, store: Store, coordinators: Coordinators) -> TestHooks {
        TestHooks { faults, store, coordinators, brokers: None }
    }

    #[doc(hidden)]
    #[must_use]
    pub fn with_brokers(self, brokers: Weak<dyn VirtualBrokers>) -> TestHooks {
        TestHooks { brokers: Some(brokers), ..self }
    }

    /// Adds a fault after all others. A request takes the first one that it matches.
    pub fn inject(&self, fault: Fault) -> Result<FaultId, HookError> {
        let rule = fault.rule().map_err(HookError::Wrong)?;
        let added = self.faults.add(rule);
        added
            .map(FaultId::from)
            .map_err(|_| HookError::Refused("there are too many faults already".to_owned()))
    }

    /// The faults that are not used up, in order.
    pub fn faults(&self) -> Vec<FaultInfo> {
        self.faults.rules().iter().map(FaultInfo::of).collect()
    }

    /// Removes a fault. `false` if it is used up already.
    pub fn remove_fault(&self, fault: FaultId) -> bool {
        self.faults.remove(fault.into())
    }

    pub fn remove_all_faults(&self) {
        self.faults.clear();
    }

    /// Waits until a fault has met all of its requests, or is removed.
    pub async fn wait_for_fault(&self, fault: FaultId, limit: Duration) -> Result<(), HookError> {
        let id = fault.into();
        if !self.faults.rules().had(id) {
            return Err(HookError::Wrong("there was no such fault".to_owned()));
        }
        time::within(limit, self.faults.used_up(id)).await.ok_or_else(|| {
            let left = self.faults.rules().get(id).map_or(0, |rule| rule.left);
            HookError::TimedOut(format!("the fault still waits for {left} requests"))
        })
    }
}

/// The refusal of an action, with Kafka's name of its error.
fn refused(error: ErrorCode) -> HookError {
    HookError::Refused(format!("the broker refuses it: {}", error.name()))
}

impl std::error::Error for HookError {}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookError::Unknown => f.write_str("there is no such hook"),
            HookError::Wrong(why) | HookError::TimedOut(why) | HookError::Refused(why) => f.write_str(why),
        }
    }
}
