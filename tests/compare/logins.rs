//! Clients that log in before their first request: `@user-ann` as the user ann, who is made first, and `@token-t` with the
//! delegation token of the variables `$t.id` and `$t.hmac`.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jackdaw::security::sasl::scram::{Client, salted_password};
use jackdaw::types::ScramHash;

use super::records::{hex, unhex};
use super::value::Names;

/// A client that logs in.
pub struct Login {
    pub client: Client,
    /// The fields of AlterUserScramCredentials for a user.
    pub new_user: Option<String>,
}

/// `None` for other connections.
pub fn login(connection: &str, names: &Names) -> Option<Login> {
    const NONCE: &str = "nonce";
    if let Some(user) = connection.strip_prefix("user-") {
        let client = Client::new(ScramHash::Sha256, user, user, NONCE);
        let iterations = NonZeroU32::new(4096).expect("a number from one on");
        let salted = salted_password(ScramHash::Sha256, user, b"salt", iterations);
        let new_user = format!(
            "upsertions: [{{name: {user}, mechanism: 1, iterations: {iterations}, salt: salt, \
             salted_password: hex({})}}]",
            hex(&salted)
        );
        return Some(Login { client, new_user: Some(new_user) });
    }
    let token = connection.strip_prefix("token-")?;
    let of = |what: &str| names.get(&format!("{token}.{what}")).map_or("", String::as_str);
    let password = STANDARD.encode(unhex(of("hmac")));
    let client = Client::new(ScramHash::Sha256, of("id"), &password, NONCE).with_extension("tokenauth=true");
    Some(Login { client, new_user: None })
}
