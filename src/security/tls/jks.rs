//! JKS, Java's own key store format. The store has a digest over all of it, and its keys are encrypted with a stream
//! of SHA-1 digests. The format is simple and does not change, so it is read here.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::der::{self, IDENTIFIER, OCTET_STRING, SEQUENCE};
use super::store::{Entries, PrivateEntry};

const MAGIC: u32 = 0xfeed_feed;
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
const PRIVATE_KEY: u32 = 1;
const CERTIFICATE: u32 = 2;
/// SHA-1 has 20 bytes; so have the salt of a key and its check value.
const DIGEST: usize = 20;
/// Java's salt of the digest over the store.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// Java's algorithm of encrypted keys: 1.3.6.1.4.1.42.2.17.1.1.
const KEY_PROTECTOR: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];

/// Whether the file begins as a JKS store does.
pub(super) fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC.to_be_bytes())
}

/// Reads a store. Without a password its integrity is not checked; its keys have the store's password unless they
/// have their own.
pub(super) fn read(
    bytes: &[u8],
    password: Option<&str>,
    key_password: Option<&str>,
) -> Result<Entries, String> {
    let Some((content, digest)) = bytes.split_last_chunk::<DIGEST>() else { return Err(damaged()) };
    if let Some(password) = password
        && sha1(&[&utf16(password), WHITENER, content]) != *digest
    {
        return Err("the password is wrong, or the file is damaged".to_owned());
    }
    let mut input = Input(content);
    let (magic, version) = (input.number()?, input.number()?);
    if magic != MAGIC || !VERSIONS.contains(&version) {
        return Err(damaged());
    }
    let mut entries = Entries::default();
    for _ in 0..input.number()? {
        let tag = input.number()?;
        let alias = input.text()?;
        // The creation time.
        input.take(8)?;
        match tag {
            PRIVATE_KEY => {
                let protected = input.block()?;
                let mut chain = Vec::new();
                for _ in 0..input.number()? {
                    chain.push(input.certificate(version)?);
                }
                let key = key_password.or(password).and_then(|password| unprotect(protected, password));
                entries.private.push(PrivateEntry { alias, key, chain });
            }
            CERTIFICATE => entries.trusted.push(input.certificate(version)?),
            _ => return Err(damaged()),
        }
    }
    entries.private.sort_by(|one, other| one.alias.cmp(&other.alias));
    Ok(entries)
}

/// Decrypts a key. `None` if the password is wrong.
fn unprotect(protected: &[u8], password: &str) -> Option<Vec<u8>> {
    let (info, _) = der::read(protected, SEQUENCE)?;
    let (algorithm, rest) = der::read(info, SEQUENCE)?;
    let (algorithm, _) = der::read(algorithm, IDENTIFIER)?;
    let (data, _) = der::read(rest, OCTET_STRING)?;
    if algorithm != KEY_PROTECTOR {
        return None;
    }
    let (salt, data) = data.split_first_chunk::<DIGEST>()?;
    let (encrypted, check) = data.split_last_chunk::<DIGEST>()?;
    let password = utf16(password);
    let mut key = Vec::with_capacity(encrypted.len());
    let mut mask = *salt;
    for block in encrypted.chunks(DIGEST) {
        mask = sha1(&[&password, &mask]);
        key.extend(block.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    }
    (sha1(&[&password, &key]) == *check).then_some(key)
}

fn sha1(parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

fn damaged() -> String {
    "it is not a JKS store, or it is damaged".to_owned()
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, String> {
        let (bytes, rest) = self.0.split_first_chunk::<4>().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Bytes behind their length.
    fn block(&mut self) -> Result<&'a [u8], String> {
        let len = self.number()?;
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn text(&mut self) -> Result<String, String> {
        let len = self.take(2)?;
        let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }

    fn certificate(&mut self, version: u32) -> Result<Vec<u8>, String> {
        if version > 1 && self.text()? != "X.509" {
            return Err("it has a certificate that is not X.509".to_owned());
        }
        Ok(self.block()?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_foreign_store_is_refused_without_a_panic() {
        let store = [&MAGIC.to_be_bytes()[..], &2_u32.to_be_bytes(), &1_u32.to_be_bytes(), &[0; 40]].concat();
        for len in 0..store.len() {
            assert!(read(&store[..len], None, None).is_err(), "{len}");
        }
        assert!(read(b"-----BEGIN CERTIFICATE-----", None, None).is_err());
    }
}
