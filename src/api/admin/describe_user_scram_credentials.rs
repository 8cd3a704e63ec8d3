//! DescribeUserScramCredentials (key 50): the mechanisms and iterations of users, but not their salts and keys.

use std::collections::BTreeMap;

use crate::api::context::Context;
use crate::api::error::ErrorCode;
use crate::api::{Handler, Reply, Size, Weight};
use crate::kernel::{Credentials, CredentialsOfUser};
use crate::protocol::messages::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use crate::security::operations::Operation;

/// The memory that a user takes in the answer, without its name.
const OF_USER: usize = 256;

impl Handler for DescribeUserScramCredentialsRequest {
    fn named(&self) -> usize {
        self.users.as_ref().map_or(0, Vec::len)
    }

    fn weigh(&self, size: Size, ctx: &Context) -> Weight {
        let Ok(cluster) = ctx.cluster(Operation::Describe) else { return Weight::asked(size.echoed()) };
        let all = if self.named() == 0 { cluster.credentials() } else { Credentials::default() };
        Weight::asked(size.echoed()).and_held(all.users().len() * OF_USER + 2 * all.bytes())
    }

    async fn handle(self, ctx: Context) -> Reply<DescribeUserScramCredentialsResponse> {
        let credentials = match ctx.cluster(Operation::Describe) {
            Ok(cluster) => cluster.credentials(),
            Err(forbidden) => return Reply::Now(refused(self.named(), forbidden.into())),
        };
        let named = self.users.filter(|users| !users.is_empty());
        let results = match named {
            None => credentials.users().map(|(user, of_user)| described(user, of_user)).collect(),
            Some(users) => {
                let mut times: BTreeMap<String, usize> = BTreeMap::new();
                users.into_iter().for_each(|user| *times.entry(user.name).or_default() += 1);
                let all = times.into_iter();
                all.map(|(user, times)| one(user, times > 1, &credentials)).collect()
            }
        };
        Reply::Now(DescribeUserScramCredentialsResponse {
            results,
            ..DescribeUserScramCredentialsResponse::default()
        })
    }
}

/// As in Kafka, each user that was asked for has the error, and none has a name.
fn refused(users: usize, error: ErrorCode) -> DescribeUserScramCredentialsResponse {
    let result = DescribeUserScramCredentialsResult {
        error_code: error.code(),
        error_message: None,
        ..DescribeUserScramCredentialsResult::default()
    };
    DescribeUserScramCredentialsResponse {
        error_code: error.code(),
        error_message: None,
        results: vec![result; users],
        ..DescribeUserScramCredentialsResponse::default()
    }
}

fn one(user: String, is_repeated: bool, credentials: &Credentials) -> DescribeUserScramCredentialsResult {
    let refuse = |error: ErrorCode, why: &str| DescribeUserScramCredentialsResult {
        error_code: error.code(),
        error_message: Some(format!("{why}: {user}")),
        user: user.clone(),
        ..DescribeUserScramCredentialsResult::default()
    };
    if is_repeated {
        let why = "Cannot describe SCRAM credentials for the same user twice in a single request";
        return refuse(ErrorCode::DuplicateResource, why);
    }
    match credentials.of_user(&user) {
        Some(of_user) => described(&user, of_user),
        None => {
            let why = "Attempt to describe a user credential that does not exist";
            refuse(ErrorCode::ResourceNotFound, why)
        }
    }
}

fn described(user: &str, of_user: &CredentialsOfUser) -> DescribeUserScramCredentialsResult {
    let infos = of_user.iter().map(|(mechanism, credential)| CredentialInfo {
        mechanism: *mechanism,
        iterations: credential.iterations,
    });
    DescribeUserScramCredentialsResult {
        user: user.to_owned(),
        credential_infos: infos.collect(),
        ..DescribeUserScramCredentialsResult::default()
    }
}
