//! The APIs of quotas (keys 48 and 49, KIP-546), one file per key, and the types of entities.

mod alter_client_quotas;
mod describe_client_quotas;

use crate::types::{EntityName, QuotaEntity};

/// A part of an entity, in the order of Kafka's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EntityType {
    ClientId,
    User,
    Ip,
}

impl EntityType {
    const ALL: [EntityType; 3] = [EntityType::ClientId, EntityType::User, EntityType::Ip];

    fn name(self) -> &'static str {
        match self {
            EntityType::ClientId => "client-id",
            EntityType::User => "user",
            EntityType::Ip => "ip",
        }
    }

    fn named(name: &str) -> Option<EntityType> {
        EntityType::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

fn parts(entity: &QuotaEntity) -> Vec<(EntityType, &EntityName)> {
    match entity {
        QuotaEntity::User(user) => vec![(EntityType::User, user)],
        QuotaEntity::ClientId(id) => vec![(EntityType::ClientId, id)],
        QuotaEntity::UserAndClientId(user, id) => vec![(EntityType::ClientId, id), (EntityType::User, user)],
        QuotaEntity::Ip(ip) => vec![(EntityType::Ip, ip)],
    }
}
