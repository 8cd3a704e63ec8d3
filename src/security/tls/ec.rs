//! Private keys of elliptic curves as Java writes them: without their public key, which ring demands. It is taken from
//! the certificate of the key.

use rustls::pki_types::{PrivateKeyDer, PrivateSec1KeyDer};

use super::der::{self, BIT_STRING, IDENTIFIER, INTEGER, OCTET_STRING, SEQUENCE};

/// 1.2.840.10045.2.1, the algorithm of a key of an elliptic curve.
const ELLIPTIC_CURVE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// The tag of the public key in a private key.
const PUBLIC_KEY: u8 = 0xa1;

/// The key with this public key, which is that of a certificate. `None` if it is no key of an elliptic curve.
pub(super) fn with_public_key(key: &PrivateKeyDer<'_>, public_key: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let PrivateKeyDer::Pkcs8(key) = key else { return None };
    let (info, _) = der::read(key.secret_pkcs8_der(), SEQUENCE)?;
    let (_version, rest) = der::read(info, INTEGER)?;
    let (algorithm, rest) = der::read(rest, SEQUENCE)?;
    if der::read(algorithm, IDENTIFIER)?.0 != ELLIPTIC_CURVE {
        return None;
    }
    let (inner, _) = der::read(rest, OCTET_STRING)?;
    let (inner, _) = der::read(inner, SEQUENCE)?;
    let (_version, rest) = der::read(inner, INTEGER)?;
    let (secret, _) = der::read(rest, OCTET_STRING)?;

    let (public_key, _) = der::read(public_key, SEQUENCE)?;
    let (_algorithm, rest) = der::read(public_key, SEQUENCE)?;
    let (bits, _) = der::read(rest, BIT_STRING)?;
    // The number of unused bits, the form of the point, and its two coordinates.
    let size = bits.len().checked_sub(2)? / 2;
    // Old versions of Java leave out zeros at the front.
    let first = secret.iter().position(|byte| *byte != 0)?;
    let secret = &secret[first..];
    let secret = [vec![0; size.checked_sub(secret.len())?], secret.to_vec()].concat();

    let public_key = der::write(PUBLIC_KEY, &der::write(BIT_STRING, bits));
    let parts = [der::write(INTEGER, &[1]), der::write(OCTET_STRING, &secret), public_key];
    Some(PrivateSec1KeyDer::from(der::write(SEQUENCE, &parts.concat())).into())
}
