//! Key stores and trust stores: which settings go together, and the files.
//!
//! The rules about the settings are those of Kafka's `DefaultSslEngineFactory`.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{jks, pem, pkcs12};
use crate::config::{ConfigError, KeyStoreSettings, Named, TrustStoreSettings};

/// The entries of a store in Java's or the PKCS12 format.
#[derive(Default)]
pub struct Entries {
    /// Ordered by alias.
    pub private: Vec<PrivateEntry>,
    pub trusted: Vec<Vec<u8>>,
}

pub struct PrivateEntry {
    pub alias: String,
    /// PKCS#8. `None` if the password is not that of the key.
    pub key: Option<Vec<u8>>,
    /// The certificate of the key first, then those of its issuers.
    pub chain: Vec<Vec<u8>>,
}

/// A private key and its certificates, which a server can show.
pub(super) struct Identity {
    pub alias: String,
    pub key: PrivateKeyDer<'static>,
    pub chain: Vec<CertificateDer<'static>>,
}

/// The format of a store, as its setting names it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// JKS or PKCS12. As in Java, the file itself decides.
    Java,
    Pem,
}

impl Format {
    fn of(kind: &Named<String>) -> Result<Format, ConfigError> {
        match kind.value.to_ascii_uppercase().as_str() {
            "JKS" | "PKCS12" => Ok(Format::Java),
            "PEM" => Ok(Format::Pem),
            _ => Err(kind.refuse(kind.value.as_str(), "expected JKS, PKCS12 or PEM")),
        }
    }
}

/// The keys and certificates of the server, ordered by alias. At least one.
pub(super) fn identities(settings: &KeyStoreSettings) -> Result<Vec<Identity>, ConfigError> {
    let KeyStoreSettings { kind, location, password, key_password, certificates, key } = settings;
    let is_pem = Format::of(kind)? == Format::Pem;
    if let Some(text) = &key.value {
        if !is_pem {
            return Err(kind.refuse(kind.value.as_str(), format!("{} needs PEM", key.name)));
        }
        let Some(chain) = &certificates.value else {
            return Err(certificates.refuse("null", format!("{} is set, but this is not", key.name)));
        };
        if let Some(location) = &location.value {
            return Err(refuse_both(&settings.location, location, &key.name));
        }
        refuse_password_of_pem(password)?;
        let chain = pem::certificates(chain).map_err(|why| certificates.refuse_hidden(why))?;
        let key =
            pem::private_key(text, key_password.value.as_deref()).map_err(|why| key.refuse_hidden(why))?;
        return Ok(vec![Identity { alias: "kafka".to_owned(), key, chain }]);
    }
    if certificates.value.is_some() {
        return Err(certificates.refuse_hidden(format!("{} is missing: the key to it", key.name)));
    }
    let Some(path) = &location.value else {
        return Err(location.refuse("null", "a listener with TLS needs a key store"));
    };
    if is_pem {
        refuse_password_of_pem(password)?;
        let text = String::from_utf8_lossy(&read(location, path)?).into_owned();
        let refuse = |why: String| location.refuse(path.as_str(), why);
        let chain = pem::certificates(&text).map_err(refuse)?;
        let key = pem::private_key(&text, key_password.value.as_deref()).map_err(refuse)?;
        return Ok(vec![Identity { alias: "kafka".to_owned(), key, chain }]);
    }
    let Some(store_password) = &password.value else {
        return Err(password.refuse("null", format!("the key store {path} needs its password")));
    };
    let bytes = read(location, path)?;
    let entries = entries(&bytes, Some(store_password), key_password.value.as_deref())
        .map_err(|why| location.refuse(path.as_str(), format!("it cannot be read: {why}")))?;
    let mut found = Vec::new();
    for PrivateEntry { alias, key, chain } in entries.private {
        if chain.is_empty() {
            continue;
        }
        let Some(key) = key else {
            let why = format!("the key {alias} in {path} has another password: set ssl.key.password");
            return Err(key_password.refuse_hidden(why));
        };
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        found.push(Identity { alias, key: PrivatePkcs8KeyDer::from(key).into(), chain });
    }
    if found.is_empty() {
        return Err(location.refuse(path.as_str(), "it has no private key with a certificate"));
    }
    Ok(found)
}

/// The certificates by which clients are verified. `None` without a trust store.
pub(super) fn trusted(
    settings: &TrustStoreSettings,
) -> Result<Option<Vec<CertificateDer<'static>>>, ConfigError> {
    let TrustStoreSettings { kind, location, password, certificates } = settings;
    let is_pem = Format::of(kind)? == Format::Pem;
    if let Some(text) = &certificates.value {
        if !is_pem {
            return Err(kind.refuse(kind.value.as_str(), format!("{} needs PEM", certificates.name)));
        }
        if let Some(path) = &location.value {
            return Err(refuse_both(location, path, &certificates.name));
        }
        refuse_password_of_pem(password)?;
        return pem::certificates(text).map(Some).map_err(|why| certificates.refuse_hidden(why));
    }
    let Some(path) = &location.value else {
        return match password.value {
            Some(_) => Err(password.refuse_hidden(format!("{} is not set", location.name))),
            None => Ok(None),
        };
    };
    if is_pem {
        refuse_password_of_pem(password)?;
        let text = String::from_utf8_lossy(&read(location, path)?).into_owned();
        return pem::certificates(&text).map(Some).map_err(|why| location.refuse(path.as_str(), why));
    }
    let bytes = read(location, path)?;
    let entries = entries(&bytes, password.value.as_deref(), None)
        .map_err(|why| location.refuse(path.as_str(), format!("it cannot be read: {why}")))?;
    // As in Java, the certificate of a key is trusted too.
    let own = entries.private.into_iter().filter_map(|entry| entry.chain.into_iter().next());
    let found: Vec<_> = entries.trusted.into_iter().chain(own).map(CertificateDer::from).collect();
    if found.is_empty() {
        return Err(location.refuse(path.as_str(), "it has no trusted certificate"));
    }
    Ok(Some(found))
}

fn read(location: &Named<Option<String>>, path: &str) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| location.refuse(path, format!("it cannot be read: {error}")))
}

/// The entries of a file in Java's or the PKCS12 format.
pub fn entries(bytes: &[u8], password: Option<&str>, key_password: Option<&str>) -> Result<Entries, String> {
    const JCEKS: &[u8] = &[0xce; 4];
    if jks::is_jks(bytes) {
        jks::read(bytes, password, key_password)
    } else if bytes.starts_with(JCEKS) {
        Err("it is a JCEKS store: convert it with keytool -importkeystore -deststoretype PKCS12".to_owned())
    } else if bytes.starts_with(b"-----BEGIN") {
        Err("it is PEM: set the type of the store to PEM".to_owned())
    } else {
        pkcs12::read(bytes, password)
    }
}

fn refuse_both(location: &Named<Option<String>>, path: &str, other: &str) -> ConfigError {
    location.refuse(path, format!("{other} is set too: set only one of them"))
}

fn refuse_password_of_pem(password: &Named<Option<String>>) -> Result<(), ConfigError> {
    if password.value.is_none() {
        return Ok(());
    }
    Err(password.refuse_hidden("a PEM store has no password; that of its key is ssl.key.password"))
}
