//! Which of several quotas applies to a client. Kafka's order, from the first that is looked for to the last:
//!
//! ```text
//! user, client id               default user, client id            client id
//! user, default client id       default user, default client id    default client id
//! user                          default user
//! ```
//!
//! Clients that the same quota is for share it, except that each user and each client id that has no name in the quota
//! has its own: the default client id gives each client id as much.

use crate::types::{EntityName, QuotaEntity};

/// The quota of a client, and the clients that share it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit<'a> {
    /// The rate per second.
    pub rate: f64,
    /// The user whose clients share it; `None` if all users do.
    pub user: Option<&'a str>,
    /// The client id whose connections share it; `None` if all client ids do.
    pub client_id: Option<&'a str>,
}

/// The quota of a client; `None` if it has none. `of` returns the value of an entity.
pub fn limit_of_client<'a>(
    of: impl Fn(&QuotaEntity) -> Option<f64>,
    user: &'a str,
    client_id: Option<&'a str>,
) -> Option<Limit<'a>> {
    use EntityName::Default;
    use QuotaEntity::{ClientId, User, UserAndClientId};
    let named = || EntityName::named(user);
    let by_user = || {
        let rate = of(&User(named())).or_else(|| of(&User(Default)))?;
        Some(Limit { rate, user: Some(user), client_id: None })
    };
    // As in Kafka, a client without an id, or with an empty one, only has the quota of its user.
    let Some(id) = client_id.filter(|id| !id.is_empty()) else { return by_user() };
    let client = || EntityName::named(id);
    let shared_by = |user, client_id| move |rate| Limit { rate, user, client_id };
    let (of_both, of_user, of_id) =
        (shared_by(Some(user), Some(id)), shared_by(Some(user), None), shared_by(None, Some(id)));
    of(&UserAndClientId(named(), client()))
        .or_else(|| of(&UserAndClientId(named(), Default)))
        .map(of_both)
        .or_else(|| of(&User(named())).map(of_user))
        .or_else(|| {
            of(&UserAndClientId(Default, client()))
                .or_else(|| of(&UserAndClientId(Default, Default)))
                .map(of_both)
        })
        .or_else(|| of(&User(Default)).map(of_user))
        .or_else(|| of(&ClientId(client())).or_else(|| of(&ClientId(Default))).map(of_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The quotas that are set are the numbers of their rows in this table, from the first to the last that counts.
    fn levels() -> [QuotaEntity; 8] {
        use EntityName::Default;
        use QuotaEntity::{ClientId, User, UserAndClientId};
        let (ann, one) = (|| EntityName::named("ann"), || EntityName::named("one"));
        [
            UserAndClientId(ann(), one()),
            UserAndClientId(ann(), Default),
            User(ann()),
            UserAndClientId(Default, one()),
            UserAndClientId(Default, Default),
            User(Default),
            ClientId(one()),
            ClientId(Default),
        ]
    }

    fn limit<'a>(set: u32, user: &'a str, client_id: Option<&'a str>) -> Option<Limit<'a>> {
        let levels = levels();
        let of = |entity: &QuotaEntity| {
            let level = levels.iter().position(|level| level == entity)?;
            (set & (1 << level) != 0).then_some(level as f64)
        };
        limit_of_client(of, user, client_id)
    }

    /// Which user and which client id share the quota of each level.
    const SHARED_BY: [(Option<&str>, Option<&str>); 8] = [
        (Some("ann"), Some("one")),
        (Some("ann"), Some("one")),
        (Some("ann"), None),
        (Some("ann"), Some("one")),
        (Some("ann"), Some("one")),
        (Some("ann"), None),
        (None, Some("one")),
        (None, Some("one")),
    ];

    #[test]
    fn of_all_quotas_that_are_set_the_first_in_kafkas_order_applies() {
        assert_eq!(limit(0, "ann", Some("one")), None);
        for set in 1..=u32::from(u8::MAX) {
            let first = set.trailing_zeros() as usize;
            let (user, client_id) = SHARED_BY[first];
            let expected = Limit { rate: first as f64, user, client_id };
            assert_eq!(limit(set, "ann", Some("one")), Some(expected), "{set:08b}");
        }
    }

    #[test]
    fn another_user_or_client_id_only_has_the_quotas_for_its_own_name_and_the_defaults() {
        let rate = |set, user, client_id| limit(set, user, Some(client_id)).map(|limit| limit.rate as usize);
        for set in 0..=u32::from(u8::MAX) {
            let first_of = |levels: &[usize]| levels.iter().copied().find(|level| set & (1 << level) != 0);
            assert_eq!(rate(set, "ann", "two"), first_of(&[1, 2, 4, 5, 7]), "{set:08b}");
            assert_eq!(rate(set, "ben", "one"), first_of(&[3, 4, 5, 6, 7]), "{set:08b}");
            assert_eq!(rate(set, "ben", "two"), first_of(&[4, 5, 7]), "{set:08b}");
        }
    }

    #[test]
    fn a_client_without_an_id_only_has_the_quotas_of_users() {
        for (set, id) in (0..=u32::from(u8::MAX)).flat_map(|set| [(set, None), (set, Some(""))]) {
            let expected = [2, 5].into_iter().find(|level| set & (1 << level) != 0);
            let limit = limit(set, "ann", id);
            assert_eq!(limit.map(|limit| limit.rate as usize), expected, "{set:08b}");
            assert!(limit.is_none_or(|limit| limit.client_id.is_none()));
        }
    }
}
