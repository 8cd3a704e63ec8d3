//! AlterUserScramCredentials (key 51): sets and removes SCRAM credentials. The client sends the salted password, and the
//! broker keeps the keys that follow from it.

use std::collections::BTreeMap;
use std::future::ready;

use crate::api::context::{Cluster, Context};
use crate::api::error::{ErrorCode, Refusal};
use crate::api::{Handler, Later, Reply, queued};
use crate::kernel::CredentialChange;
use crate::protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use crate::security::operations::Operation;
use crate::security::sasl::scram::{LEAST_ITERATIONS, MOST_ITERATIONS, credential_of_salted};
use crate::types::ScramHash;

/// The memory for the names, salts and keys of all users.
const MOST_BYTES: usize = 64 << 20;

impl Handler for AlterUserScramCredentialsRequest {
    const GAPS: &'static [&'static str] = &[
        "The credentials of all users may take 64 MiB; more are POLICY_VIOLATION.",
        "A credential without which no super user could log in any more is not deleted: POLICY_VIOLATION.",
    ];

    fn named(&self) -> usize {
        self.deletions.len().saturating_add(self.upsertions.len())
    }

    async fn handle(self, ctx: Context) -> Reply<AlterUserScramCredentialsResponse> {
        let has_the_right = || ctx.quietly().cluster(Operation::Alter).is_ok();
        if !self.deletions.iter().any(|deletion| ctx.is_super_user(&deletion.name)) || !has_the_right() {
            return Reply::Later(begin(self, &ctx));
        }
        Reply::later(async move {
            let turn = ctx.services.turn_to_change_logins().await;
            queued::to_the_end(begin(self, &ctx), turn).await
        })
    }
}

/// Queues the changes, and returns the answer that waits for them.
fn begin(
    request: AlterUserScramCredentialsRequest,
    ctx: &Context,
) -> Later<AlterUserScramCredentialsResponse> {
    let cluster = match ctx.cluster_or_reason(Operation::Alter) {
        Ok(cluster) => cluster,
        Err(refusal) => {
            let users = request.deletions.into_iter().map(|deletion| deletion.name);
            let users = users.chain(request.upsertions.into_iter().map(|upsertion| upsertion.name));
            return Box::pin(ready(refuse_all(users, &refusal)));
        }
    };
    let (changes, mut results) = plan(request, &cluster);
    let (changes, refused) = keeping_a_way_in(changes, &cluster);
    results.extend(refused);
    let users: Vec<String> = changes.iter().map(|change| change.user.clone()).collect();
    let stored = (!changes.is_empty()).then(|| cluster.alter_credentials(changes));
    Box::pin(async move {
        if let Some(stored) = stored {
            let refusal = stored.await.map_err(|error| Refusal::from(&error)).err();
            results.extend(users.into_iter().map(|user| result(user, refusal.as_ref())));
        }
        AlterUserScramCredentialsResponse { results, ..AlterUserScramCredentialsResponse::default() }
    })
}

/// The changes to store, and the results of the users that are refused. As in Kafka, a request may name a user once,
/// also with another mechanism.
fn plan(
    request: AlterUserScramCredentialsRequest,
    cluster: &Cluster<'_>,
) -> (Vec<CredentialChange>, Vec<AlterUserScramCredentialsResult>) {
    let credentials = cluster.credentials();
    let is_full = !request.upsertions.is_empty() && credentials.bytes() > MOST_BYTES;
    let deletions = request.deletions.into_iter().map(|deletion| {
        let is_there = credentials.get(&deletion.name, deletion.mechanism).is_some();
        let change = removed(&deletion, is_there);
        (deletion.name, change)
    });
    let upsertions = request.upsertions.into_iter().map(|upsertion| {
        let change = set(&upsertion, is_full);
        (upsertion.name, change)
    });
    let mut by_user: BTreeMap<String, Result<CredentialChange, Refusal>> = BTreeMap::new();
    for (user, change) in deletions.chain(upsertions) {
        match by_user.get_mut(&user) {
            None => drop(by_user.insert(user, change)),
            Some(first) if first.is_ok() => {
                let why = "A user credential cannot be altered twice in the same request";
                *first = Err(Refusal::new(ErrorCode::DuplicateResource, why));
            }
            // The first refusal stays.
            Some(_) => {}
        }
    }
    let (mut changes, mut refused) = (Vec::new(), Vec::new());
    for (user, change) in by_user {
        match change {
            Ok(change) => changes.push(change),
            Err(refusal) => refused.push(result(user, Some(&refusal))),
        }
    }
    (changes, refused)
}

/// Refuses deletions after which no super user could come in. If none can come in now, there is nothing to keep.
fn keeping_a_way_in(
    changes: Vec<CredentialChange>,
    cluster: &Cluster<'_>,
) -> (Vec<CredentialChange>, Vec<AlterUserScramCredentialsResult>) {
    let is_critical =
        |change: &CredentialChange| change.credential.is_none() && cluster.is_super_user(&change.user);
    let (critical, mut kept): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_critical);
    let mut after = cluster.credentials();
    after.alter(&kept);
    let mut refused = Vec::new();
    for deletion in critical {
        let mut without = after.clone();
        without.alter(std::slice::from_ref(&deletion));
        let is_last = cluster.lets_super_users_in(&after) == Some(true)
            && cluster.lets_super_users_in(&without) == Some(false);
        if is_last {
            let why = format!(
                "without this credential no super user could log in any more; give another user of super.users a \
                 credential before {} loses the last one",
                deletion.user
            );
            refused.push(result(deletion.user, Some(&Refusal::new(ErrorCode::PolicyViolation, why))));
        } else {
            after = without;
            kept.push(deletion);
        }
    }
    (kept, refused)
}

fn removed(deletion: &ScramCredentialDeletion, is_there: bool) -> Result<CredentialChange, Refusal> {
    check(&deletion.name, deletion.mechanism)?;
    if !is_there {
        let why = "Attempt to delete a user credential that does not exist";
        return Err(Refusal::new(ErrorCode::ResourceNotFound, why));
    }
    Ok(CredentialChange { user: deletion.name.clone(), mechanism: deletion.mechanism, credential: None })
}

fn set(upsertion: &ScramCredentialUpsertion, is_full: bool) -> Result<CredentialChange, Refusal> {
    let ScramCredentialUpsertion { name, mechanism, iterations, salt, salted_password } = upsertion;
    let hash = check(name, *mechanism)?;
    let unacceptable = |why: &str| Err(Refusal::new(ErrorCode::UnacceptableCredential, why));
    if *iterations < LEAST_ITERATIONS {
        return unacceptable("Too few iterations");
    }
    if *iterations > MOST_ITERATIONS {
        return unacceptable("Too many iterations");
    }
    if salted_password.is_empty() {
        return unacceptable("The salted password must not be empty");
    }
    if is_full {
        let why = "this broker stores at most 64 MiB of credentials; delete some users";
        return Err(Refusal::new(ErrorCode::PolicyViolation, why));
    }
    let credential = Some(credential_of_salted(hash, salted_password, salt, *iterations));
    Ok(CredentialChange { user: name.clone(), mechanism: *mechanism, credential })
}

fn check(user: &str, mechanism: i8) -> Result<ScramHash, Refusal> {
    if user.is_empty() {
        return Err(Refusal::new(ErrorCode::UnacceptableCredential, "Username must not be empty"));
    }
    let unknown = || Refusal::new(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism");
    ScramHash::numbered(mechanism).ok_or_else(unknown)
}

fn refuse_all(users: impl Iterator<Item = String>, refusal: &Refusal) -> AlterUserScramCredentialsResponse {
    let users: std::collections::BTreeSet<String> = users.collect();
    AlterUserScramCredentialsResponse {
        results: users.into_iter().map(|user| result(user, Some(refusal))).collect(),
        ..AlterUserScramCredentialsResponse::default()
    }
}

fn result(user: String, refusal: Option<&Refusal>) -> AlterUserScramCredentialsResult {
    AlterUserScramCredentialsResult {
        user,
        error_code: refusal.map_or(ErrorCode::None, |refusal| refusal.code).code(),
        error_message: refusal.and_then(|refusal| refusal.message.clone()),
    }
}
