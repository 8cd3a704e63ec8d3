//! Connections with TLS: the handshake, and the socket after it.
//!
//! A client that has not sent its ClientHello yet costs little more than any connection, however slowly it sends: up to
//! 2 KiB of it are kept. After that its handshake takes one of a limited number of turns, because it takes memory and
//! processor time.

mod hello;
mod socket;
mod turns;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use self::socket::{TlsSocket, Wire};
pub(super) use self::turns::Turns;
use super::Shared;
use super::connection::{Connection, End};
use crate::api::connection::ConnectionInfo;
use crate::security::principal::Principal;
use crate::security::tls::{Failure, LoadedTls, TlsListener};
use crate::time;

/// The limits for reading on from a client whose handshake failed, so that it gets the reason.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_READS: usize = 16;

/// The handshake failed.
pub(super) struct NoConnection;

/// The reason of a failed handshake, and the error behind it if there is one.
struct HandshakeFailure(Failure, Option<io::Error>);

/// Serves a connection of a listener with TLS until it ends.
pub(super) async fn serve(
    stream: TcpStream,
    info: ConnectionInfo,
    shared: Arc<Shared>,
) -> Result<End, NoConnection> {
    let listener = Arc::clone(shared.api.tls().listener(&info.listener.name).ok_or(NoConnection)?);
    let handshake = time::within(shared.limits.handshake, handshake(stream, &listener, &shared));
    let outcome = tokio::select! {
        () = shared.stopping.begun() => return Ok(End::Stopping),
        outcome = handshake => outcome.unwrap_or(Err(HandshakeFailure(Failure::TooSlow, None))),
    };
    match outcome {
        Ok((stream, principal)) => {
            let info = if info.listener.protocol.needs_login() { info } else { info.of(principal) };
            Ok(Connection::new(TlsSocket::new(stream), info, shared).run().await)
        }
        Err(HandshakeFailure(failure, error)) => {
            listener.failures.one(failure);
            let ConnectionInfo { peer, ref listener, .. } = info;
            complain(failure, error.as_ref(), peer, &listener.name, listener.protocol.name());
            Err(NoConnection)
        }
    }
}

async fn handshake(
    mut stream: TcpStream,
    listener: &TlsListener,
    shared: &Shared,
) -> Result<(TlsStream<Wire>, Principal), HandshakeFailure> {
    let hello = hello::read(&mut stream).await?;
    let under_way = shared.counts.begin_handshake();
    let turn = shared.handshakes.take().await;
    // A certificate that is replaced now is for later connections.
    let loaded = listener.loaded();
    let accepted = tokio::select! {
        accepted = accept(stream, hello, &loaded) => accepted,
        () = turn.is_cut_off() => return Err(HandshakeFailure(Failure::MadeRoom, None)),
    };
    match accepted {
        Ok(stream) => identify(stream, &loaded),
        Err((error, wire)) => {
            drop((turn, under_way));
            Err(HandshakeFailure::told(error, wire).await)
        }
    }
}

/// The handshake of a client of the HTTP server, after the same rules. It takes no turn, because that server has few
/// connections. A failure is counted and logged.
pub(crate) async fn accept_for_http(
    stream: TcpStream,
    peer: SocketAddr,
    listener: &TlsListener,
    limit: Duration,
) -> Option<impl AsyncRead + AsyncWrite + Unpin> {
    let handshake = async {
        let mut stream = stream;
        let hello = hello::read(&mut stream).await?;
        match accept(stream, hello, &listener.loaded()).await {
            Ok(stream) => Ok(stream),
            Err((error, wire)) => Err(HandshakeFailure::told(error, wire).await),
        }
    };
    let too_slow = || Err(HandshakeFailure(Failure::TooSlow, None));
    let HandshakeFailure(failure, error) = match time::within(limit, handshake).await.unwrap_or_else(too_slow)
    {
        Ok(stream) => return Some(stream),
        Err(failure) => failure,
    };
    listener.failures.one(failure);
    if [Failure::NotTls, Failure::Http].contains(&failure) {
        warn!(
            %peer, listener = listener.name,
            "a client without TLS at the HTTP port, which has TLS: use https:// in the client; connection closed"
        );
    } else {
        complain(failure, error.as_ref(), peer, &listener.name, "SSL");
    }
    None
}

/// Completes a handshake whose first message is `hello`.
async fn accept(
    stream: TcpStream,
    hello: Bytes,
    loaded: &LoadedTls,
) -> Result<TlsStream<Wire>, (io::Error, Wire)> {
    let acceptor = TlsAcceptor::from(Arc::clone(&loaded.config));
    acceptor.accept(Wire::new(stream, hello)).into_fallible().await
}

impl HandshakeFailure {
    /// Gives the client time to read the alert, then returns the failure.
    async fn told(error: io::Error, wire: Wire) -> HandshakeFailure {
        let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let failure = reason.map_or(Failure::Closed, Failure::of);
        let _ = time::within(LINGER, linger(wire)).await;
        HandshakeFailure(failure, Some(error))
    }
}

fn identify(
    stream: TlsStream<Wire>,
    loaded: &LoadedTls,
) -> Result<(TlsStream<Wire>, Principal), HandshakeFailure> {
    match loaded.principal(stream.get_ref().1.peer_certificates()) {
        Some(principal) => Ok((stream, principal)),
        None => Err(HandshakeFailure(Failure::NoPrincipal, None)),
    }
}

/// A plain close with unread bytes would make the system discard the alert that tells the client why.
async fn linger(mut wire: Wire) -> io::Result<()> {
    wire.shutdown().await?;
    let mut rest = [0; 1 << 10];
    for _ in 0..LINGER_READS {
        if wire.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Logs what happened, and what to do if that is known.
fn complain(failure: Failure, error: Option<&io::Error>, peer: SocketAddr, listener: &str, protocol: &str) {
    let error = error.map(tracing::field::display);
    match failure {
        Failure::Closed | Failure::TooSlow => {
            debug!(%peer, listener, reason = failure.name(), "a TLS handshake was not completed");
        }
        Failure::NotTls => warn!(
            %peer, listener,
            "a client without TLS at a port with TLS: set security.protocol={protocol} in the client"
        ),
        Failure::Http => warn!(
            %peer, listener, "HTTP arrived at a Kafka port with TLS: health checks are answered where --http says"
        ),
        Failure::MadeRoom => warn!(
            %peer, listener,
            "too many TLS handshakes at a time and this one is slow: raise jackdaw.tls.handshakes.max if these \
             clients are expected; connection closed"
        ),
        Failure::Incompatible => warn!(
            %peer, listener, error,
            "a client and this listener have no version, cipher suite or key type of TLS in common: see \
             ssl.enabled.protocols and ssl.cipher.suites on both sides; connection closed"
        ),
        Failure::RefusedByClient => warn!(
            %peer, listener, error,
            "a client refused the handshake: usually its truststore does not have the issuer of the broker's \
             certificate, or the certificate lacks the name that it connects to; connection closed"
        ),
        Failure::NoCertificate => warn!(
            %peer, listener,
            "a client without a certificate: ssl.client.auth=required here, so set ssl.keystore.location in the \
             client; connection closed"
        ),
        Failure::BadCertificate => warn!(
            %peer, listener, error,
            "the certificate of a client is not accepted: the truststore here must have its issuer; connection closed"
        ),
        Failure::OldCertificate => warn!(
            %peer, listener,
            "the certificate of a client is not of X.509 version 3: issue it again with an extension, for example with \
             `-extfile` of `openssl x509 -req`; connection closed"
        ),
        Failure::NoPrincipal => warn!(
            %peer, listener,
            "no rule of ssl.principal.mapping.rules matches the certificate of a client; connection closed"
        ),
        Failure::Malformed => warn!(%peer, listener, error, "a malformed TLS handshake; connection closed"),
    }
}
