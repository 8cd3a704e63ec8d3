//! `jackdaw acl`: lists, adds and removes access control lists. Its options are those of Kafka's `kafka-acls.sh`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::peer::{Peer, bootstrap};
use super::table::Table;
use super::{CommandOutcome, Connect, Exit, Failure, Output, Session, run};
use crate::protocol::messages::{
    AclCreation, CreateAclsRequest, DeleteAclsFilter, DeleteAclsRequest, DescribeAclsRequest,
};
use crate::security::acl::{CLUSTER_NAME, Filter};
use crate::security::operations::operations_on;
use crate::types::AclBinding;
use crate::types::acl::{AclOperation, PatternType, Permission, ResourceType};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the lists of resources, or all of them
    #[command(after_help = "Example:\n  jackdaw acl list --topic orders")]
    List {
        #[command(flatten)]
        resources: Resources,
        /// Only the lists of this principal; may be repeated
        #[arg(long = "principal", value_name = "TYPE:NAME", value_parser = principal)]
        principals: Vec<String>,
    },
    /// Allow or deny principals operations on resources
    #[command(
        after_help = "Example:\n  jackdaw acl add --allow-principal User:ann --consumer --topic orders --group billing"
    )]
    Add {
        #[command(flatten)]
        resources: Resources,
        #[command(flatten)]
        entries: Entries,
    },
    /// Remove lists of resources; those of all principals if none is named
    #[command(after_help = "Example:\n  jackdaw acl remove --topic orders")]
    Remove {
        #[command(flatten)]
        resources: Resources,
        #[command(flatten)]
        entries: Entries,
    },
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Resources")]
struct Resources {
    /// A topic, or * for all topics; may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// A group, or * for all groups; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// A transactional id, or * for all of them; may be repeated
    #[arg(long = "transactional-id", value_name = "ID")]
    transactional_ids: Vec<String>,
    /// A delegation token, or * for all of them; may be repeated
    #[arg(long = "delegation-token", value_name = "TOKEN")]
    tokens: Vec<String>,
    /// A user whose delegation tokens are meant; may be repeated
    #[arg(long = "user-principal", value_name = "TYPE:NAME")]
    users: Vec<String>,
    /// The cluster
    #[arg(long)]
    cluster: bool,
    /// How the names are compared. `add` takes `literal` and `prefixed` only
    #[arg(long, value_enum, value_name = "TYPE", default_value = "literal")]
    resource_pattern_type: Pattern,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pattern {
    /// This name
    Literal,
    /// All names that begin with this one
    Prefixed,
    /// All lists that apply to this name
    Match,
    /// This name, literal or prefixed
    Any,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Principals and operations")]
struct Entries {
    /// A principal that may carry out the operations, such as User:alice or User:*; may be repeated
    #[arg(long = "allow-principal", value_name = "TYPE:NAME", value_parser = principal)]
    allowed: Vec<String>,
    /// A principal that may not; may be repeated
    #[arg(long = "deny-principal", value_name = "TYPE:NAME", value_parser = principal)]
    denied: Vec<String>,
    /// An address or range of addresses of the allowed principals; may be repeated
    #[arg(long = "allow-host", value_name = "HOST", requires = "allowed", default_value = "*")]
    allowed_hosts: Vec<String>,
    /// The same for the denied principals; may be repeated
    #[arg(long = "deny-host", value_name = "HOST", requires = "denied", default_value = "*")]
    denied_hosts: Vec<String>,
    /// An operation, such as Read or DescribeConfigs; may be repeated. By default `add` adds All, and `remove`
    /// without a principal removes the lists of each operation
    #[arg(long = "operation", value_name = "OPERATION", value_parser = operation)]
    operations: Vec<AclOperation>,
    /// The operations that a producer needs on its topics and transactional ids
    #[arg(long, conflicts_with = "operations")]
    producer: bool,
    /// With --producer: also the right to be idempotent
    #[arg(long, requires = "producer")]
    idempotent: bool,
    /// The operations that a consumer needs on its topics and groups
    #[arg(long, conflicts_with = "operations")]
    consumer: bool,
}

fn principal(written: &str) -> Result<String, &'static str> {
    if written.contains(':') { Ok(written.to_owned()) } else { Err("expected TYPE:NAME, such as User:alice") }
}

/// Kafka's name of an operation. Upper and lower case and underscores are the same.
fn operation(written: &str) -> Result<AclOperation, String> {
    let name = |one: &AclOperation| one.name().replace('_', "");
    let known = AclOperation::NAMED.iter().filter(|one| **one != AclOperation::ANY);
    let written = written.replace('_', "");
    let found = known.clone().find(|one| name(one).eq_ignore_ascii_case(&written));
    found
        .copied()
        .ok_or_else(|| format!("expected one of {}", known.map(name).collect::<Vec<_>>().join(", ")))
}

pub fn execute(options: Options) -> Exit {
    let Options { connect, command } = options;
    run(&connect, |session, out| match command {
        Command::List { resources, principals } => list(session, &resources, &principals, out),
        Command::Add { resources, entries } => add(session, &resources, &entries, out),
        Command::Remove { resources, entries } => remove(session, &resources, &entries, out),
    })
}

impl Resources {
    /// The named resources with their types.
    fn named(&self) -> Vec<(ResourceType, &str)> {
        let lists: [(ResourceType, &[String]); 5] = [
            (ResourceType::TOPIC, &self.topics),
            (ResourceType::GROUP, &self.groups),
            (ResourceType::TRANSACTIONAL_ID, &self.transactional_ids),
            (ResourceType::DELEGATION_TOKEN, &self.tokens),
            (ResourceType::USER, &self.users),
        ];
        let named = lists.iter().flat_map(|(kind, names)| names.iter().map(|name| (*kind, name.as_str())));
        named.chain(self.cluster.then_some((ResourceType::CLUSTER, CLUSTER_NAME))).collect()
    }

    /// The filters for all lists of these resources; one for all lists if none is named.
    fn filters(&self) -> Vec<Filter> {
        let named = self.named();
        if named.is_empty() {
            return vec![Filter::every()];
        }
        let of = |(resource_type, name): &(ResourceType, &str)| Filter {
            resource_type: *resource_type,
            pattern_type: self.resource_pattern_type.kind(),
            name: Some((*name).to_owned()),
            ..Filter::every()
        };
        named.iter().map(of).collect()
    }
}

impl Pattern {
    fn kind(self) -> PatternType {
        match self {
            Pattern::Literal => PatternType::LITERAL,
            Pattern::Prefixed => PatternType::PREFIXED,
            Pattern::Match => PatternType::MATCH,
            Pattern::Any => PatternType::ANY,
        }
    }
}

impl Entries {
    /// The operations on a type of resources.
    fn operations_on(&self, resource_type: ResourceType) -> Vec<AclOperation> {
        let of_producer = match resource_type {
            ResourceType::TOPIC => &[AclOperation::WRITE, AclOperation::DESCRIBE, AclOperation::CREATE][..],
            ResourceType::TRANSACTIONAL_ID => &[AclOperation::WRITE, AclOperation::DESCRIBE],
            ResourceType::CLUSTER if self.idempotent => &[AclOperation::IDEMPOTENT_WRITE],
            _ => &[],
        };
        let of_consumer = match resource_type {
            ResourceType::TOPIC => &[AclOperation::READ, AclOperation::DESCRIBE][..],
            ResourceType::GROUP => &[AclOperation::READ],
            _ => &[],
        };
        let mut operations = Vec::new();
        operations.extend(of_producer.iter().filter(|_| self.producer));
        operations.extend(of_consumer.iter().filter(|_| self.consumer));
        if self.producer || self.consumer {
            operations.sort_unstable();
            operations.dedup();
        } else if self.operations.is_empty() {
            operations.push(AclOperation::ALL);
        } else {
            operations.extend(&self.operations);
        }
        operations
    }

    /// The lists for these resources.
    fn bindings(&self, resources: &Resources) -> CommandOutcome<Vec<AclBinding>> {
        let mut named = resources.named();
        if self.idempotent && !resources.cluster {
            named.push((ResourceType::CLUSTER, CLUSTER_NAME));
        }
        if named.is_empty() {
            return Err(Failure::Usage("name a resource, for example with --topic".to_owned()));
        }
        let sides = [
            (Permission::ALLOW, &self.allowed, &self.allowed_hosts),
            (Permission::DENY, &self.denied, &self.denied_hosts),
        ];
        let mut bindings = Vec::new();
        for (resource_type, name) in named {
            let pattern_type = match resource_type {
                ResourceType::CLUSTER => PatternType::LITERAL,
                _ => resources.resource_pattern_type.kind(),
            };
            for operation in self.operations_on(resource_type) {
                check(resource_type, operation)?;
                for (permission, principals, hosts) in sides {
                    for (principal, host) in
                        principals.iter().flat_map(|one| hosts.iter().map(move |host| (one, host)))
                    {
                        bindings.push(AclBinding {
                            resource_type,
                            pattern_type,
                            name: name.into(),
                            principal: principal.as_str().into(),
                            host: host.as_str().into(),
                            operation,
                            permission,
                        });
                    }
                }
            }
        }
        Ok(bindings)
    }

    /// The filters for the lists to remove: exactly the named ones, or those of all principals if none is named.
    fn filters(&self, resources: &Resources) -> CommandOutcome<Vec<Filter>> {
        if self.has_no_principal() {
            return self.filters_of_all_principals(resources);
        }
        let exact = |binding: AclBinding| Filter {
            resource_type: binding.resource_type,
            pattern_type: binding.pattern_type,
            name: Some(binding.name.to_string()),
            principal: Some(binding.principal.to_string()),
            host: Some(binding.host.to_string()),
            operation: binding.operation,
            permission: binding.permission,
        };
        Ok(self.bindings(resources)?.into_iter().map(exact).collect())
    }

    fn filters_of_all_principals(&self, resources: &Resources) -> CommandOutcome<Vec<Filter>> {
        if self.producer || self.consumer {
            // Producers and consumers share operations, so without a principal it would take too much away.
            let why = "name the principals with --allow-principal, or the operations with --operation";
            return Err(Failure::Usage(why.to_owned()));
        }
        if self.operations.is_empty() {
            return Ok(resources.filters());
        }
        let mut filters = Vec::new();
        for filter in resources.filters() {
            for operation in &self.operations {
                check(filter.resource_type, *operation)?;
                filters.push(Filter { operation: *operation, ..filter.clone() });
            }
        }
        Ok(filters)
    }

    fn has_no_principal(&self) -> bool {
        self.allowed.is_empty() && self.denied.is_empty()
    }
}

/// As Kafka's tool, refuses an operation that the resources do not have.
fn check(resource_type: ResourceType, operation: AclOperation) -> CommandOutcome {
    let of_resource = operations_on(resource_type).iter().map(|one| one.name());
    let known: Vec<&str> = std::iter::once(AclOperation::ALL.name()).chain(of_resource).collect();
    if known.contains(&operation.name()) {
        return Ok(());
    }
    let (kind, known) = (resource_type.name(), known.join(", "));
    Err(Failure::Usage(format!("there is no {} on {kind}: its operations are {known}", operation.name())))
}

fn list(
    session: &Session,
    resources: &Resources,
    principals: &[String],
    out: &mut Output<'_>,
) -> CommandOutcome {
    let mut broker = bootstrap(session)?;
    let mut found = Vec::new();
    for filter in resources.filters() {
        let of_principals =
            principals.iter().map(|one| Filter { principal: Some(one.clone()), ..filter.clone() });
        let filters: Vec<Filter> =
            if principals.is_empty() { vec![filter.clone()] } else { of_principals.collect() };
        for filter in filters {
            found.extend(described(&mut broker, filter)?);
        }
    }
    print(session, found, out)
}

fn described(broker: &mut Peer, filter: Filter) -> CommandOutcome<Vec<AclBinding>> {
    let request = DescribeAclsRequest {
        resource_type_filter: filter.resource_type.0,
        resource_name_filter: filter.name,
        pattern_type_filter: filter.pattern_type.0,
        principal_filter: filter.principal,
        host_filter: filter.host,
        operation: filter.operation.0,
        permission_type: filter.permission.0,
    };
    let answer = broker.call(1..=3, &request)?;
    broker.accept_with(answer.error_code, answer.error_message)?;
    let bindings = answer.resources.into_iter().flat_map(|resource| {
        resource.acls.into_iter().map(move |acl| AclBinding {
            resource_type: ResourceType(resource.resource_type),
            pattern_type: PatternType(resource.pattern_type),
            name: resource.resource_name.as_str().into(),
            principal: acl.principal.into(),
            host: acl.host.into(),
            operation: AclOperation(acl.operation),
            permission: Permission(acl.permission_type),
        })
    });
    Ok(bindings.collect())
}

/// Adds lists, and prints them.
fn add(session: &Session, resources: &Resources, entries: &Entries, out: &mut Output<'_>) -> CommandOutcome {
    if entries.has_no_principal() {
        return Err(Failure::Usage("name a principal with --allow-principal or --deny-principal".to_owned()));
    }
    if ![Pattern::Literal, Pattern::Prefixed].contains(&resources.resource_pattern_type) {
        return Err(Failure::Usage(
            "a new list is literal or prefixed: see --resource-pattern-type".to_owned(),
        ));
    }
    let bindings = entries.bindings(resources)?;
    let creations = bindings.iter().map(|binding| AclCreation {
        resource_type: binding.resource_type.0,
        resource_name: binding.name.to_string(),
        resource_pattern_type: binding.pattern_type.0,
        principal: binding.principal.to_string(),
        host: binding.host.to_string(),
        operation: binding.operation.0,
        permission_type: binding.permission.0,
    });
    let request = CreateAclsRequest { creations: creations.collect() };
    let mut broker = bootstrap(session)?;
    let answer = broker.call(1..=3, &request)?;
    for result in answer.results {
        broker.accept_with(result.error_code, result.error_message)?;
    }
    print(session, bindings, out)
}

/// Removes lists, and prints those that were there.
fn remove(
    session: &Session,
    resources: &Resources,
    entries: &Entries,
    out: &mut Output<'_>,
) -> CommandOutcome {
    if resources.named().is_empty() {
        return Err(Failure::Usage("name a resource, for example with --topic".to_owned()));
    }
    let filters = entries.filters(resources)?;
    let filters = filters.into_iter().map(|filter| DeleteAclsFilter {
        resource_type_filter: filter.resource_type.0,
        resource_name_filter: filter.name,
        pattern_type_filter: filter.pattern_type.0,
        principal_filter: filter.principal,
        host_filter: filter.host,
        operation: filter.operation.0,
        permission_type: filter.permission.0,
    });
    let mut broker = bootstrap(session)?;
    let answer = broker.call(1..=3, &DeleteAclsRequest { filters: filters.collect() })?;
    let mut removed = Vec::new();
    for result in answer.filter_results {
        broker.accept_with(result.error_code, result.error_message)?;
        for acl in result.matching_acls {
            broker.accept_with(acl.error_code, acl.error_message)?;
            removed.push(AclBinding {
                resource_type: ResourceType(acl.resource_type),
                pattern_type: PatternType(acl.pattern_type),
                name: acl.resource_name.into(),
                principal: acl.principal.into(),
                host: acl.host.into(),
                operation: AclOperation(acl.operation),
                permission: Permission(acl.permission_type),
            });
        }
    }
    print(session, removed, out)
}

fn print(session: &Session, mut bindings: Vec<AclBinding>, out: &mut Output<'_>) -> CommandOutcome {
    bindings.sort();
    bindings.dedup();
    let mut table =
        Table::new(&["resource", "pattern", "name", "permission", "principal", "host", "operation"]);
    for binding in bindings {
        table.row([
            json!(binding.resource_type.name()),
            json!(binding.pattern_type.name()),
            json!(&*binding.name),
            json!(binding.permission.name()),
            json!(&*binding.principal),
            json!(&*binding.host),
            json!(binding.operation.name()),
        ]);
    }
    Ok(table.print(session.json(), out)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    /// The operations of the lists that these arguments make, or the refusal.
    fn made(arguments: &str) -> Result<Vec<&'static str>, String> {
        let words = ["acl", "add", "--allow-principal", "User:ann"].into_iter().chain(arguments.split(' '));
        let Command::Add { resources, entries } = Line::parse_from(words).options.command else {
            panic!("it adds lists");
        };
        match entries.bindings(&resources) {
            Ok(bindings) => Ok(bindings.iter().map(|one| one.operation.name()).collect()),
            Err(Failure::Usage(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_operation_that_a_resource_does_not_have_is_refused_with_those_that_it_has() {
        assert_eq!(
            made("--operation Create --group g"),
            Err("there is no CREATE on GROUP: its operations are ALL, READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, \
                 ALTER_CONFIGS"
                .to_owned())
        );
        for wrong in [
            "--operation ClusterAction --topic t",
            "--operation Read --cluster",
            "--operation Read --transactional-id x",
            "--operation Write --delegation-token x",
            "--operation Describe --user-principal User:bob",
            "--operation Create --topic t --group g",
        ] {
            assert!(made(wrong).is_err(), "{wrong}");
        }
        assert_eq!(made("--operation Create --operation All --topic t"), Ok(vec!["CREATE", "ALL"]));
        assert_eq!(made("--group g"), Ok(vec!["ALL"]));
        assert_eq!(made("--consumer --topic t --group g"), Ok(vec!["READ", "DESCRIBE", "READ"]));
    }
}
