//! PEM: certificates and private keys as text. As in Kafka, the text may be on one line, because the value of a
//! property is one line.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// One section of a text: its label, such as `CERTIFICATE`, and its bytes.
struct Section {
    label: String,
    der: Vec<u8>,
}

/// All certificates of a text, in its order.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let sections = sections(text)?;
    let found = sections.into_iter().filter(|section| section.label.ends_with("CERTIFICATE"));
    let found: Vec<_> = found.map(|section| CertificateDer::from(section.der)).collect();
    if found.is_empty() { Err("it has no section CERTIFICATE".to_owned()) } else { Ok(found) }
}

/// The one private key of a text.
pub fn private_key(text: &str, password: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let mut keys = sections(text)?.into_iter().filter(|section| section.label.ends_with("PRIVATE KEY"));
    let Some(Section { label, der }) = keys.next() else {
        return Err("it has no section PRIVATE KEY".to_owned());
    };
    if keys.next().is_some() {
        return Err("it has several private keys, and only one can be served".to_owned());
    }
    match label.as_str() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(der.into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(der.into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(der.into())),
        "ENCRYPTED PRIVATE KEY" => {
            let Some(password) = password else {
                return Err("the private key is encrypted, and ssl.key.password is not set".to_owned());
            };
            let encrypted = EncryptedPrivateKeyInfoRef::try_from(der.as_slice())
                .map_err(|error| format!("the encryption of the private key is not supported: {error}"))?;
            if !is_affordable(&encrypted.encryption_algorithm) {
                return Err("the encryption of the private key takes too much time or memory".to_owned());
            }
            let plain = encrypted
                .decrypt(password)
                .map_err(|_| "the private key cannot be decrypted with ssl.key.password".to_owned())?;
            Ok(PrivateKeyDer::Pkcs8(plain.as_bytes().to_vec().into()))
        }
        _ => Err(format!("a section {label} is not supported, only PKCS#8 keys, and RSA and EC keys")),
    }
}

/// Whether a key can be decrypted in seconds, and with little memory. The parameters are those in the key, and could ask
/// for days, or for more memory than there is.
fn is_affordable(scheme: &EncryptionScheme) -> bool {
    const MOST_ITERATIONS: u32 = 10_000_000;
    const MOST_MEMORY: u64 = 64 << 20;
    const MOST_LANES: u16 = 16;
    match scheme {
        EncryptionScheme::Pbes2(Parameters { kdf: Kdf::Pbkdf2(own), .. }) => {
            own.iteration_count <= MOST_ITERATIONS
        }
        EncryptionScheme::Pbes2(Parameters { kdf: Kdf::Scrypt(own), .. }) => {
            let memory = own.cost_parameter.saturating_mul(u64::from(own.block_size)).saturating_mul(128);
            memory <= MOST_MEMORY && own.parallelization <= MOST_LANES
        }
        // The older scheme has at most 65,535 iterations, and others cannot be read.
        _ => true,
    }
}

fn sections(text: &str) -> Result<Vec<Section>, String> {
    let mut sections = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let parts = after.split_once(DASHES).and_then(|(label, after)| {
            let (body, after) = after.split_once(END)?;
            let (end, after) = after.split_once(DASHES)?;
            (end == label).then_some((label, body, after))
        });
        let Some((label, body, after)) = parts else {
            return Err("it is not PEM: a section does not end".to_owned());
        };
        if body.contains("Proc-Type") {
            return Err(
                "its key has OpenSSL's old encryption: convert it with `openssl pkcs8 -topk8`".to_owned()
            );
        }
        let packed: String = body.split_whitespace().collect();
        let der = STANDARD.decode(packed).map_err(|_| format!("the section {label} is not in base64"))?;
        sections.push(Section { label: label.trim().to_owned(), der });
        rest = after;
    }
    if sections.is_empty() { Err("it is not PEM".to_owned()) } else { Ok(sections) }
}

#[cfg(test)]
mod tests {
    use super::super::der::{IDENTIFIER, INTEGER, OCTET_STRING, SEQUENCE, write};
    use super::*;

    const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
    const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
    const SCRYPT: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];
    const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

    /// The reason why a key with these numbers in its encryption is refused.
    fn refused(derivation: &[u8], numbers: &[&[u8]]) -> String {
        let sequence = |parts: &[Vec<u8>]| write(SEQUENCE, &parts.concat());
        let numbers = numbers.iter().map(|number| write(INTEGER, number));
        let salted: Vec<Vec<u8>> = [write(OCTET_STRING, b"saltsalt")].into_iter().chain(numbers).collect();
        let derivation = sequence(&[write(IDENTIFIER, derivation), sequence(&salted)]);
        let cipher = sequence(&[write(IDENTIFIER, AES_256_CBC), write(OCTET_STRING, &[0; 16])]);
        let scheme = sequence(&[write(IDENTIFIER, PBES2), sequence(&[derivation, cipher])]);
        let key = STANDARD.encode(sequence(&[scheme, write(OCTET_STRING, &[0; 16])]));
        let text = format!("-----BEGIN ENCRYPTED PRIVATE KEY-----{key}-----END ENCRYPTED PRIVATE KEY-----");
        private_key(&text, Some("changeit")).expect_err("nothing is encrypted with it")
    }

    #[test]
    fn a_key_whose_decryption_would_take_days_or_gigabytes_is_refused_at_once() {
        const WRONG_PASSWORD: &str = "the private key cannot be decrypted with ssl.key.password";
        const TOO_MUCH: &str = "the encryption of the private key takes too much time or memory";
        let (r, p): (&[u8], &[u8]) = (&[8], &[1]);
        assert_eq!(refused(PBKDF2, &[&[8, 0]]), WRONG_PASSWORD);
        assert_eq!(refused(PBKDF2, &[&[0x7f, 0xff, 0xff, 0xff]]), TOO_MUCH);
        assert_eq!(refused(SCRYPT, &[&[0x40, 0], r, p]), WRONG_PASSWORD);
        assert_eq!(refused(SCRYPT, &[&[1, 0, 0, 0, 0, 0], r, p]), TOO_MUCH);
        assert_eq!(refused(SCRYPT, &[&[0x40, 0], r, &[0x7f, 0xff]]), TOO_MUCH);
    }
}
