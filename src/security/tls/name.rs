//! Names of certificates in the form of RFC 2253, as Java's `X500Principal` writes them and Kafka's ACLs name them.

use std::fmt::Write;

use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::der;

/// The attributes with a keyword in RFC 2253. Java writes all others as numbers.
const KEYWORDS: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// Characters with a meaning of their own in a name.
const ESCAPED: &str = ",=+<>#;\"\\";

/// The name, with its last part first: `CN=alice,O=Example`.
pub(super) fn rfc2253(name: &X509Name<'_>) -> String {
    let parts = name.iter().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"));
    let mut parts: Vec<String> = parts.collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let value = attribute.attr_value();
    match KEYWORDS.iter().find(|(number, _)| *number == kind) {
        Some((_, keyword)) if is_text(value) => {
            format!("{keyword}={}", escaped(&String::from_utf8_lossy(value.data)))
        }
        Some((_, keyword)) => format!("{keyword}=#{}", hex(value)),
        None => format!("{kind}=#{}", hex(value)),
    }
}

/// Java takes the bytes of all these as UTF-8.
fn is_text(value: &Any<'_>) -> bool {
    [
        Tag::PrintableString,
        Tag::T61String,
        Tag::Ia5String,
        Tag::GeneralString,
        Tag::BmpString,
        Tag::Utf8String,
    ]
    .contains(&value.header.tag())
}

fn escaped(value: &str) -> String {
    let is_blank = |letter: char| letter == ' ' || letter == '\r';
    let inner = value.trim_matches(is_blank);
    let lead = value.len() - value.trim_start_matches(is_blank).len();
    let mut escaped = String::with_capacity(value.len());
    for (at, letter) in value.char_indices() {
        let is_outside = at < lead || at >= lead + inner.len();
        if letter == '\0' {
            escaped.push_str("\\00");
            continue;
        }
        if is_outside || ESCAPED.contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// The whole value in DER, as hexadecimal digits.
fn hex(value: &Any<'_>) -> String {
    let constructed = if value.header.is_constructed() { 0x20 } else { 0 };
    // Tags of values in names are small.
    let tag = u8::try_from(value.header.tag().0).unwrap_or(0) | constructed;
    der::write(tag, value.data).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
