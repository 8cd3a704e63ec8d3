//! Filters, with which a client lists or deletes bindings.

use std::sync::Arc;

use crate::types::acl::{AclOperation, EVERY_NAME, PatternType, Permission, ResourceType};
use crate::types::{AclBinding, Acls};

/// Selects bindings. Names, principals and hosts are compared as text; `None` selects all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub resource_type: ResourceType,
    /// `MATCH` selects all patterns that the resource of this name matches.
    pub pattern_type: PatternType,
    pub name: Option<String>,
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: AclOperation,
    pub permission: Permission,
}

impl Filter {
    /// Selects all bindings.
    pub fn every() -> Filter {
        Filter {
            resource_type: ResourceType::ANY,
            pattern_type: PatternType::ANY,
            name: None,
            principal: None,
            host: None,
            operation: AclOperation::ANY,
            permission: Permission::ANY,
        }
    }

    /// The bindings that the filter selects, in order. With an exact pattern only its own bindings are looked at.
    pub fn select<'a>(&'a self, acls: &'a Acls) -> impl Iterator<Item = AclBinding> + 'a {
        let is_exact = [PatternType::LITERAL, PatternType::PREFIXED].contains(&self.pattern_type)
            && self.resource_type != ResourceType::ANY;
        let exact = self.name.as_ref().filter(|_| is_exact);
        let of_pattern = exact.map(|name| acls.with_pattern(self.resource_type, self.pattern_type, name));
        let all = of_pattern.is_none().then(|| acls.iter());
        let looked_at = of_pattern.into_iter().flatten().chain(all.into_iter().flatten());
        looked_at.filter(|binding| self.selects(binding))
    }

    pub fn selects(&self, binding: &AclBinding) -> bool {
        let is = |wanted: &Option<String>, text: &Arc<str>| {
            wanted.as_ref().is_none_or(|wanted| **wanted == **text)
        };
        (self.resource_type == ResourceType::ANY || self.resource_type == binding.resource_type)
            && (self.operation == AclOperation::ANY || self.operation == binding.operation)
            && (self.permission == Permission::ANY || self.permission == binding.permission)
            && is(&self.principal, &binding.principal)
            && is(&self.host, &binding.host)
            && self.selects_pattern(binding)
    }

    fn selects_pattern(&self, AclBinding { pattern_type, name, .. }: &AclBinding) -> bool {
        let is_of_type = [PatternType::ANY, PatternType::MATCH, *pattern_type].contains(&self.pattern_type);
        let Some(wanted) = self.name.as_deref() else { return is_of_type };
        let matches = match *pattern_type {
            _ if self.pattern_type != PatternType::MATCH => wanted == &**name,
            PatternType::LITERAL => wanted == &**name || &**name == EVERY_NAME,
            PatternType::PREFIXED => wanted.starts_with(&**name),
            _ => false,
        };
        is_of_type && matches
    }
}
