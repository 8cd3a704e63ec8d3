//! Notifies a service manager of our state, with systemd's protocol: one datagram per message.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixDatagram;

/// Clients can connect.
pub(super) const READY: &str = "READY=1";
/// The broker finishes outstanding work and stops.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Sends `state` to the service manager, if there is one.
pub(super) fn notify(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?socket, "the message {state} did not reach the service manager");
    }
}

fn send(socket: &OsString, state: &str) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    match socket.to_string_lossy().strip_prefix('@') {
        Some(name) => send_to_abstract(&sender, name, state),
        None => sender.send_to(state.as_bytes(), socket).map(drop),
    }
}

/// A socket in the abstract namespace, which has no path.
#[cfg(target_os = "linux")]
fn send_to_abstract(sender: &UnixDatagram, name: &str, state: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    sender.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send_to_abstract(_: &UnixDatagram, _: &str, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_datagram_to_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(&path.into_os_string(), READY).unwrap();
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn or_to_a_name_that_stands_in_no_directory() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("jackdaw-notify-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(&format!("@{name}").into(), STOPPING).unwrap();
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"STOPPING=1");
    }

    #[test]
    fn a_socket_without_a_listener_is_an_error_and_no_panic() {
        assert!(send(&"/no/such/place".into(), READY).is_err());
    }
}
