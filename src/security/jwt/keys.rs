//! The keys of an issuer of tokens (JWKS, RFC 7517).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde_json::Value;

use super::{Members, json};

/// The longest text of keys that is read.
pub const MOST_KEY_BYTES: usize = 1 << 20;

/// The bytes of a coordinate of a point on these curves.
const P256: usize = 32;
const P384: usize = 48;
/// The bytes of a point of Ed25519.
const POINT_25519: usize = 32;

/// The keys of an issuer that signatures can be verified with.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// The number of keys that are for something else, or not supported.
    pub left_out: usize,
}

/// A public key.
#[derive(Debug)]
pub(super) struct Key {
    pub id: Option<String>,
    /// The only algorithm that the key is for.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Debug)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    /// A point as it is encoded for this curve.
    Ed25519(Vec<u8>),
}

/// The algorithms of signatures that are accepted (RFC 7518), by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    /// With Ed25519. The name also stands for Ed448, which is not supported.
    EdDsa,
}

impl Algorithm {
    const ALL: [(Algorithm, &str); 9] = [
        (Algorithm::Rs256, "RS256"),
        (Algorithm::Rs384, "RS384"),
        (Algorithm::Rs512, "RS512"),
        (Algorithm::Ps256, "PS256"),
        (Algorithm::Ps384, "PS384"),
        (Algorithm::Ps512, "PS512"),
        (Algorithm::Es256, "ES256"),
        (Algorithm::Es384, "ES384"),
        (Algorithm::EdDsa, "EdDSA"),
    ];

    pub fn named(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.iter().find(|(_, known)| *known == name).map(|(algorithm, _)| *algorithm)
    }

    fn name(self) -> &'static str {
        Algorithm::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

/// Reads the keys in a file.
pub fn read_file(path: &Path) -> Result<KeySet, String> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST_KEY_BYTES).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| format!("it cannot be read: {error}"))?;
    KeySet::parse(&bytes)
}

impl KeySet {
    pub fn parse(bytes: &[u8]) -> Result<KeySet, String> {
        if bytes.len() > MOST_KEY_BYTES {
            return Err("it is longer than 1 MiB".to_owned());
        }
        let whole = json::read(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        let all =
            whole.get("keys").and_then(Value::as_array).ok_or("it is no JWKS: it has no list \"keys\"")?;
        let keys: Vec<Key> = all.iter().filter_map(|key| Key::of(key.as_object()?)).collect();
        if keys.is_empty() {
            return Err("it has no RSA, EC or Ed25519 key for signatures".to_owned());
        }
        Ok(KeySet { left_out: all.len() - keys.len(), keys })
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key for a token: the one that it names, or, as in Kafka, the first that can be meant if it names none.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let is_meant = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        self.keys.iter().filter(is_meant).find(|key| key.is_for(algorithm))
    }
}

/// `None` for a key that verifies no signature here: it has 2048 to 8192 bits, and an exponent of at most 33.
fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Material> {
    let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    let (modulus, exponent) = (number(modulus), number(exponent));
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let fits = (256..=1024).contains(&modulus.len()) && exponent.len() <= 5 && exponent != [1];
    (fits && is_odd(&modulus) && is_odd(&exponent)).then_some(Material::Rsa { modulus, exponent })
}

impl Key {
    /// `None` if it is not a public key for signatures that can be verified here.
    fn of(members: &Members) -> Option<Key> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let operations = members.get("key_ops").and_then(Value::as_array);
        if operations.is_some_and(|all| !all.iter().any(|one| one == "verify")) {
            return None;
        }
        let point = |length: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == length && y.len() == length).then(|| [&[4], &*x, &*y].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?)?,
            ("EC", Some("P-256")) => Material::P256(point(P256)?),
            ("EC", Some("P-384")) => Material::P384(point(P384)?),
            ("OKP", Some("Ed25519")) => {
                Material::Ed25519(bytes("x").filter(|point| point.len() == POINT_25519)?)
            }
            _ => return None,
        };
        Some(Key { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), material })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let has_its_type = match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self.material, Material::Rsa { .. }),
            Algorithm::Es256 => matches!(self.material, Material::P256(_)),
            Algorithm::Es384 => matches!(self.material, Material::P384(_)),
            Algorithm::EdDsa => matches!(self.material, Material::Ed25519(_)),
        };
        has_its_type && self.algorithm.as_deref().is_none_or(|only| only == algorithm.name())
    }

    /// Whether the signature of `signed` is that of this key.
    pub fn has_signed(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let rsa = match algorithm {
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
            Algorithm::Es256 => return self.has_signed_on(&ECDSA_P256_SHA256_FIXED, signed, signature),
            Algorithm::Es384 => return self.has_signed_on(&ECDSA_P384_SHA384_FIXED, signed, signature),
            Algorithm::EdDsa => return self.has_signed_on(&ED25519, signed, signature),
        };
        match &self.material {
            Material::Rsa { modulus, exponent } => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(rsa, signed, signature).is_ok()
            }
            Material::P256(_) | Material::P384(_) | Material::Ed25519(_) => false,
        }
    }

    fn has_signed_on(
        &self,
        curve: &'static dyn VerificationAlgorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        match &self.material {
            Material::P256(point) | Material::P384(point) | Material::Ed25519(point) => {
                UnparsedPublicKey::new(curve, point).verify(signed, signature).is_ok()
            }
            Material::Rsa { .. } => false,
        }
    }
}
