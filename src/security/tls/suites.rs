//! Versions and cipher suites of TLS by Java's names.

use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use crate::config::{ConfigError, Named};

/// Old, insecure versions that Java knows.
const OLD_VERSIONS: &[&str] = &["SSLv2Hello", "SSLv3", "TLSv1", "TLSv1.1"];

/// The versions to serve. The names of those that are not served go to `left_out`.
pub(super) fn versions(
    names: &Named<Vec<String>>,
    left_out: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
    let mut versions = Vec::new();
    for name in &names.value {
        match name.as_str() {
            "TLSv1.2" => versions.push(&rustls::version::TLS12),
            "TLSv1.3" => versions.push(&rustls::version::TLS13),
            old if OLD_VERSIONS.contains(&old) => left_out.push(old.to_owned()),
            other => return Err(names.refuse(other, "expected TLSv1.2 or TLSv1.3")),
        }
    }
    if versions.is_empty() {
        return Err(
            names.refuse(names.value.join(","), "none of these is served: expected TLSv1.2 or TLSv1.3")
        );
    }
    Ok(versions)
}

/// The cipher suites to serve, out of those that are known. The names of the others go to `left_out`.
pub(super) fn suites(
    names: &Named<Vec<String>>,
    known: &[SupportedCipherSuite],
    left_out: &mut Vec<String>,
) -> Result<Vec<SupportedCipherSuite>, ConfigError> {
    if names.value.is_empty() {
        return Ok(known.to_vec());
    }
    let mut suites = Vec::new();
    for name in &names.value {
        match known.iter().find(|suite| java_name(suite) == *name) {
            Some(suite) => suites.push(*suite),
            None if name.starts_with("TLS_") || name.starts_with("SSL_") => left_out.push(name.clone()),
            None => return Err(names.refuse(name.as_str(), format!("expected {}", all(known)))),
        }
    }
    if suites.is_empty() {
        let why = format!("none of these is served: expected {}", all(known));
        return Err(names.refuse(names.value.join(","), why));
    }
    Ok(suites)
}

fn all(known: &[SupportedCipherSuite]) -> String {
    known.iter().map(java_name).collect::<Vec<_>>().join(", ")
}

/// `TLS_AES_256_GCM_SHA384` for TLS 1.3, which rustls calls `TLS13_…`.
fn java_name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}
