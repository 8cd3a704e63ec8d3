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

/// An entity whose quota may apply to a client, and the clients that share it.
#[derive(Clone, Debug, PartialEq)]
pub struct Level<'a> {
    pub entity: QuotaEntity,
    /// The user whose clients share it; `None` if all users do.
    pub user: Option<&'a str>,
    /// The client id whose connections share it; `None` if all client ids do.
    pub client_id: Option<&'a str>,
}

/// The entities whose quotas may apply to a client. The first one that has a quota counts.
pub fn levels_of_client<'a>(user: &'a str, client_id: Option<&'a str>) -> Vec<Level<'a>> {
    use EntityName::Default;
    use QuotaEntity::{ClientId, User, UserAndClientId};
    let named = || EntityName::named(user);
    let of_user = |name| Level { entity: User(name), user: Some(user), client_id: None };
    // As in Kafka, a client without an id, or with an empty one, only has the quota of its user.
    let Some(id) = client_id.filter(|id| !id.is_empty()) else {
        return vec![of_user(named()), of_user(Default)];
    };
    let client = || EntityName::named(id);
    let of_both = |user_name, client_name| {
        let entity = UserAndClientId(user_name, client_name);
        Level { entity, user: Some(user), client_id: Some(id) }
    };
    let of_id = |name| Level { entity: ClientId(name), user: None, client_id: Some(id) };
    vec![
        of_both(named(), client()),
        of_both(named(), Default),
        of_user(named()),
        of_both(Default, client()),
        of_both(Default, Default),
        of_user(Default),
        of_id(client()),
        of_id(Default),
    ]
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

    /// The quota that counts, with those that share it.
    fn limit<'a>(
        set: u32,
        user: &'a str,
        client_id: Option<&'a str>,
    ) -> Option<(usize, Option<&'a str>, Option<&'a str>)> {
        let all = levels();
        levels_of_client(user, client_id).into_iter().find_map(|level| {
            let row = all.iter().position(|entity| *entity == level.entity)?;
            (set & (1 << row) != 0).then_some((row, level.user, level.client_id))
        })
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
            assert_eq!(limit(set, "ann", Some("one")), Some((first, user, client_id)), "{set:08b}");
        }
    }

    #[test]
    fn another_user_or_client_id_only_has_the_quotas_for_its_own_name_and_the_defaults() {
        let rate = |set, user, client_id| limit(set, user, Some(client_id)).map(|(row, ..)| row);
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
            assert_eq!(limit(set, "ann", id), expected.map(|row| (row, Some("ann"), None)), "{set:08b}");
        }
    }
}
