//! The settings of the authorizer. Kafka leaves `super.users` and `allow.everyone.if.no.acl.found` to its authorizer,
//! so for DescribeConfigs they are settings that the broker does not know.

use std::collections::BTreeSet;

use super::ConfigError;

pub(super) const CLASS: &str = "authorizer.class.name";
pub(super) const SUPER_USERS: &str = "super.users";
pub(super) const ALLOW_EVERYONE: &str = "allow.everyone.if.no.acl.found";

/// The principal of a client without a login.
const ANONYMOUS: &str = "User:ANONYMOUS";

const STANDARD: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

/// The rules beside the access control lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizerSettings {
    /// They may do everything, for example `User:admin`.
    pub super_users: BTreeSet<String>,
    /// Whether everyone may use a resource that no access control list is for.
    pub allow_everyone_if_no_acl_found: bool,
}

impl AuthorizerSettings {
    /// Whether clients without a login may do everything, at least until there are access control lists.
    pub fn lets_strangers_in(&self) -> bool {
        self.allow_everyone_if_no_acl_found || self.super_users.contains(ANONYMOUS)
    }
}

/// Whether DescribeConfigs shows the setting as one that the broker does not know.
pub(super) fn is_unknown_to_kafka(name: &str) -> bool {
    [SUPER_USERS, ALLOW_EVERYONE].contains(&name)
}

/// `None` without an authorizer: everyone may do everything.
pub(super) fn read(
    class: &str,
    super_users: &str,
    allow_everyone: bool,
) -> Result<Option<AuthorizerSettings>, ConfigError> {
    let super_users = read_super_users(super_users)?;
    let class = class.trim();
    if class.is_empty() {
        return Ok(None);
    }
    check_class(CLASS, class)?;
    Ok(Some(AuthorizerSettings { super_users, allow_everyone_if_no_acl_found: allow_everyone }))
}

/// `name` is the full name of the setting.
pub(super) fn check_class(name: &str, class: &str) -> Result<(), ConfigError> {
    if class == STANDARD {
        return Ok(());
    }
    Err(ConfigError::invalid(name, class, format!("the only authorizer is {STANDARD}")))
}

fn read_super_users(written: &str) -> Result<BTreeSet<String>, ConfigError> {
    let users = written.split(';').map(str::trim).filter(|user| !user.is_empty());
    let checked = users.map(|user| match user.split_once(':') {
        Some((kind, _)) if !kind.is_empty() => Ok(user.to_owned()),
        Some(_) | None => Err(ConfigError::invalid(
            SUPER_USERS,
            written,
            format!("expected principals with a type, such as User:admin;User:other, but {user} has none"),
        )),
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerSettings, Given};

    fn load(settings: &[(&str, &str)]) -> Result<Option<AuthorizerSettings>, String> {
        let mut given = Given::default();
        settings.iter().for_each(|(name, value)| given.set(*name, *value));
        BrokerSettings::load(given).map(|settings| settings.authorizer).map_err(|error| error.to_string())
    }

    #[test]
    fn only_kafkas_standard_authorizer_can_be_chosen() {
        assert_eq!(load(&[]), Ok(None));
        assert_eq!(load(&[(CLASS, "")]), Ok(None));
        assert_eq!(load(&[(CLASS, STANDARD)]), Ok(Some(AuthorizerSettings::default())));
        let refused = load(&[(CLASS, "kafka.security.authorizer.AclAuthorizer")]).unwrap_err();
        assert!(refused.contains(CLASS) && refused.contains(STANDARD), "{refused}");
    }

    #[test]
    fn super_users_have_a_type_and_are_separated_by_semicolons() {
        let with = |users| load(&[(CLASS, STANDARD), (SUPER_USERS, users), (ALLOW_EVERYONE, "true")]);
        let settings = with(" User:ann ;User:CN=ben,O=x; ;Group:c:d").unwrap().unwrap();
        let expected = ["User:ann", "User:CN=ben,O=x", "Group:c:d"].map(str::to_owned);
        assert_eq!(settings.super_users, expected.into());
        assert!(settings.allow_everyone_if_no_acl_found);
        for users in ["ann", "User:ann;ben", ":ann"] {
            let refused = with(users).unwrap_err();
            assert!(refused.contains(SUPER_USERS) && refused.contains("User:admin"), "{refused}");
        }
        assert!(load(&[(SUPER_USERS, "ann")]).is_err(), "also without an authorizer");
        assert!(load(&[(ALLOW_EVERYONE, "yes")]).unwrap_err().contains(ALLOW_EVERYONE));
    }
}
