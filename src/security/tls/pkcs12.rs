//! PKCS12, the key store format of newer Java versions and of OpenSSL.

use p12_keystore::{CertificateBag, Pkcs12Archive};

use super::certificate;
use super::store::{Entries, PrivateEntry};

/// Reads a store. Its keys have the password of the store, as in Java.
pub(super) fn read(bytes: &[u8], password: Option<&str>) -> Result<Entries, String> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.unwrap_or_default())
        .map_err(|error| format!("the password is wrong, or it is not a PKCS12 store: {error}"))?;
    let mut entries = Entries::default();
    for key in &archive.keys {
        let id = key.local_key_id.as_ref().map(AsRef::as_ref);
        let is_its_own = |bag: &&CertificateBag| id.is_some() && bag.local_key_id.as_deref() == id;
        let chain = archive.certs.iter().find(is_its_own).map(|own| chain(own, &archive.certs));
        entries.private.push(PrivateEntry {
            alias: key.friendly_name.clone().unwrap_or_default(),
            key: Some(key.key.as_der().to_vec()),
            chain: chain.unwrap_or_default(),
        });
    }
    entries.private.sort_by(|one, other| one.alias.cmp(&other.alias));
    // Java marks trusted certificates. OpenSSL does not: there all certificates of a store without keys are meant.
    let any_marked = archive.certs.iter().any(|bag| bag.trusted);
    let is_trusted = |bag: &&CertificateBag| bag.trusted || !any_marked && archive.keys.is_empty();
    let trusted = archive.certs.iter().filter(is_trusted);
    entries.trusted = trusted.map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok(entries)
}

/// A certificate and those of its issuers, in order.
fn chain(own: &CertificateBag, all: &[CertificateBag]) -> Vec<Vec<u8>> {
    let mut chain = vec![own.cert.as_der().to_vec()];
    while let Some(last) = chain.last()
        && let Some(issuer) = all.iter().find(|bag| certificate::is_issued_by(last, bag.cert.as_der()))
    {
        let issuer = issuer.cert.as_der().to_vec();
        if chain.contains(&issuer) {
            break;
        }
        chain.push(issuer);
    }
    chain
}
