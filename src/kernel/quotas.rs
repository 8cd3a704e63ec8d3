//! The quotas of users, client ids and addresses, and the memory that they take. The kernel knows neither the names of
//! values nor their meaning: `security/quota.rs` has them.

use serde::{Deserialize, Serialize};

use super::weight;
use crate::types::{EntityName, QuotaChanges, QuotaEntity, QuotaValues, SharedMap};

type ByEntity = SharedMap<QuotaEntity, QuotaValues>;

/// A clone costs O(1). A change costs O(log n) and the size of its entity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "ByEntity", into = "ByEntity")]
pub struct Quotas {
    by_entity: ByEntity,
    bytes: usize,
}

impl Quotas {
    pub fn get(&self, entity: &QuotaEntity) -> Option<&QuotaValues> {
        self.by_entity.get(entity)
    }

    /// The entities with quotas, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&QuotaEntity, &QuotaValues)> {
        self.by_entity.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.by_entity.is_empty()
    }

    /// The memory of all entities.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the changes would change anything.
    pub(super) fn differ_by(&self, entity: &QuotaEntity, changes: &QuotaChanges) -> bool {
        let before = self.by_entity.get(entity);
        changes.iter().any(|(name, value)| before.and_then(|before| before.get(name)) != value.as_ref())
    }

    pub(super) fn alter(&mut self, entity: &QuotaEntity, changes: &QuotaChanges) {
        let before = self.by_entity.get(entity);
        let mut values = before.cloned().unwrap_or_default();
        self.bytes -= before.map_or(0, |before| weigh(entity, before));
        for (name, value) in changes {
            match value {
                Some(value) => drop(values.insert(name.clone(), *value)),
                None => drop(values.remove(name)),
            }
        }
        if values.is_empty() {
            self.by_entity.remove_mut(entity);
        } else {
            self.bytes += weigh(entity, &values);
            self.by_entity.insert_mut(entity.clone(), values);
        }
    }
}

/// The memory of an entity with its values.
fn weigh(entity: &QuotaEntity, values: &QuotaValues) -> usize {
    let name = |name: &EntityName| weight::text(name.text().unwrap_or_default());
    let names = match entity {
        QuotaEntity::User(one) | QuotaEntity::ClientId(one) | QuotaEntity::Ip(one) => name(one),
        QuotaEntity::UserAndClientId(user, client_id) => name(user) + name(client_id),
    };
    let values: usize = values.keys().map(|name| weight::text(name)).sum();
    weight::entry::<QuotaEntity, QuotaValues>() + weight::btree_node::<String, f64>() + names + values
}

impl From<ByEntity> for Quotas {
    fn from(by_entity: ByEntity) -> Quotas {
        let bytes = by_entity.iter().map(|(entity, values)| weigh(entity, values)).sum();
        Quotas { by_entity, bytes }
    }
}

impl From<Quotas> for ByEntity {
    fn from(quotas: Quotas) -> ByEntity {
        quotas.by_entity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(all: &[(&str, Option<f64>)]) -> QuotaChanges {
        all.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn an_entity_without_values_is_forgotten_and_so_is_its_memory() {
        let mut quotas = Quotas::default();
        let ann = QuotaEntity::User(EntityName::named("ann"));
        let all = QuotaEntity::UserAndClientId(EntityName::Default, EntityName::Default);
        quotas.alter(&ann, &changes(&[("producer_byte_rate", Some(1.0)), ("consumer_byte_rate", Some(2.0))]));
        quotas.alter(&all, &changes(&[("request_percentage", Some(0.5))]));
        let both = quotas.clone();
        assert!(!quotas.differ_by(&ann, &changes(&[("producer_byte_rate", Some(1.0)), ("no_such", None)])));
        assert!(quotas.differ_by(&ann, &changes(&[("producer_byte_rate", None)])));
        assert_eq!(Quotas::from(ByEntity::from(both.clone())), both, "the memory is counted again");
        quotas.alter(&ann, &changes(&[("producer_byte_rate", None), ("consumer_byte_rate", Some(3.0))]));
        assert_eq!(quotas.get(&ann), Some(&QuotaValues::from([("consumer_byte_rate".to_owned(), 3.0)])));
        assert!(quotas.bytes() < both.bytes());
        quotas.alter(&ann, &changes(&[("consumer_byte_rate", None), ("no_such", None)]));
        quotas.alter(&all, &changes(&[("request_percentage", None)]));
        assert_eq!((quotas.is_empty(), quotas.bytes()), (true, 0));
        assert_eq!(both.iter().len(), 2, "an earlier image stays as it was");
    }
}
