//! Tests of delegation tokens.

use super::*;

pub fn token(expires: Timestamp) -> DelegationToken {
    let credential = ScramCredential {
        iterations: 4096,
        salt: Secret::default(),
        stored_key: Secret::default(),
        server_key: Secret::default(),
    };
    DelegationToken {
        owner: "User:ann".to_owned(),
        requester: "User:ann".to_owned(),
        renewers: Vec::new(),
        issued: at(0),
        expires,
        max: at(9),
        hmac_digest: Secret::default(),
        sha_256: credential.clone(),
        sha_512: credential,
    }
}

#[test]
fn a_token_is_created_once_renewed_while_it_is_there_and_expires() {
    let mut shard = Shard::new(BROKER);
    let create = |id: &str| Command::CreateToken { id: id.to_owned(), token: Box::new(token(at(3))) };
    let change = |id: &str, expires| Command::ChangeToken { id: id.to_owned(), expires };
    let changed = |count| Ok(Applied::TokensChanged { count });
    assert_eq!(shard.apply(at(0), &create("a")), changed(1));
    assert!(shard.apply(at(0), &create("a")).is_err());
    assert_eq!(shard.apply(at(0), &create("b")), changed(1));
    assert_eq!(shard.apply(at(1), &change("b", Some(at(5)))), changed(1));
    assert_eq!(shard.apply(at(1), &change("c", Some(at(5)))), Err(Refusal::UnknownToken));
    assert_eq!(shard.apply(at(4), &Command::ExpireTokens { now: at(4) }), changed(1));
    assert_eq!(shard.tokens().iter().collect::<Vec<_>>(), [(&"b".to_owned(), &token(at(5)))]);
    let nothing = shard.apply(at(4), &Command::ExpireTokens { now: at(5) }).unwrap();
    assert!(
        !nothing.changed_something(),
        "its last millisecond is not over; nothing is written to the journal"
    );
    assert_eq!(shard.apply(at(4), &change("b", None)), changed(1));
    assert_eq!(shard.apply(at(4), &change("b", None)), Err(Refusal::UnknownToken));
    assert_eq!(shard.tokens(), &Tokens::default());
}
