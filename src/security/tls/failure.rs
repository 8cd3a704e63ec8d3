//! The reasons why handshakes fail, as operators and metrics name them.

use rustls::{CertificateError, Error};

use super::verifier::OldVersion;
use crate::telemetry::Count;

macro_rules! failures {
    ($($(#[$doc:meta])* $variant:ident $name:literal)+) => {
        /// The reason why a handshake failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failure {
            $($(#[$doc])* $variant,)+
        }

        impl Failure {
            pub const ALL: &[Failure] = &[$(Failure::$variant,)+];

            /// The name in metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Failure::$variant => $name,)+
                }
            }
        }
    };
}

failures! {
    /// The client does not speak TLS.
    NotTls "not_tls"
    /// It speaks HTTP without TLS.
    Http "http"
    /// The client took too long.
    TooSlow "too_slow"
    /// Other handshakes waited, and this one had been under way for longest.
    MadeRoom "made_room"
    /// The client closed the connection, or it broke.
    Closed "closed"
    /// There is no version or cipher suite that both sides have.
    Incompatible "incompatible"
    /// The client refused, usually the certificate of the server.
    RefusedByClient "refused_by_client"
    /// A certificate is required, and the client has none.
    NoCertificate "no_certificate"
    /// The client's certificate is not trusted, expired, or not for clients.
    BadCertificate "bad_certificate"
    /// The client's certificate is older than X.509 version 3.
    OldCertificate "old_certificate"
    /// No rule of `ssl.principal.mapping.rules` matches the client's certificate, or it has no name.
    NoPrincipal "no_principal"
    /// The client broke the protocol.
    Malformed "malformed"
}

impl Failure {
    pub fn of(error: &Error) -> Failure {
        match error {
            Error::PeerIncompatible(_) => Failure::Incompatible,
            Error::AlertReceived(_) => Failure::RefusedByClient,
            Error::NoCertificatesPresented => Failure::NoCertificate,
            Error::InvalidCertificate(CertificateError::Other(why)) if why.0.is::<OldVersion>() => {
                Failure::OldCertificate
            }
            Error::InvalidCertificate(_) => Failure::BadCertificate,
            _ => Failure::Malformed,
        }
    }
}

/// Counters of failed handshakes.
#[derive(Debug, Default)]
pub struct Failures([Count; Failure::ALL.len()]);

impl Failures {
    pub fn one(&self, failure: Failure) {
        self.0[failure as usize].one();
    }

    pub fn all(&self) -> impl Iterator<Item = (Failure, u64)> {
        Failure::ALL.iter().copied().zip(self.0.iter().map(Count::get))
    }
}
