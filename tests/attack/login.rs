//! The attacks of clients that have not logged in: before a login, in the middle of one, and after a failed one.

use std::net::SocketAddr;

use bytes::Bytes;
use jackdaw::protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use jackdaw::protocol::{Request, Writer};
use jackdaw::time::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::amplify::{Attack, Names, every_array, without_arrays};
use crate::counting::Watch;
use crate::harness::{Client, PATIENCE};
use crate::victim::{MIB, Victim, alone, framed, is_served};

const USERS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_ann=\"secret\";";
const RIGHT: &[u8] = b"\0ann\0secret";
const WRONG: &[u8] = b"\0ann\0wrong";
/// The maximum size of a request before the login.
const MOST_BEFORE_LOGIN: usize = 512 << 10;
/// The requests that are served before a login.
const VERSIONS: i16 = 18;
const HANDSHAKE: i16 = 17;

async fn victim() -> Victim {
    Victim::with(&[
        ("listeners", "SASL_PLAINTEXT://127.0.0.1:0"),
        ("sasl.enabled.mechanisms", "PLAIN"),
        ("listener.name.sasl_plaintext.plain.sasl.jaas.config", USERS),
        ("connection.failed.authentication.delay.ms", "0"),
    ])
    .await
}

/// A client that means well logs in and is served.
async fn serves_a_good_client(victim: &Victim) {
    let mut good = Client::of(&victim.address().to_string()).await;
    assert_eq!(good.call(1, plain()).await.error_code, 0);
    assert_eq!(good.call(2, message(RIGHT)).await.error_code, 0);
    is_served(&mut good).await;
}

fn plain() -> SaslHandshakeRequest {
    SaslHandshakeRequest { mechanism: "PLAIN".to_owned() }
}

fn message(bytes: &'static [u8]) -> SaslAuthenticateRequest {
    SaslAuthenticateRequest { auth_bytes: Bytes::from_static(bytes) }
}

fn request<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let mut body = Writer::new();
    request.encode(&mut body, version).unwrap();
    framed(R::KEY, version, &body.into_bytes())
}

/// Sends these bytes; returns the number and the size of the answers before the connection is closed.
async fn answers(address: SocketAddr, bytes: &[u8]) -> (usize, usize) {
    let mut socket = TcpStream::connect(address).await.expect("the broker listens");
    let talk = async {
        // The broker may close it before it has all of them.
        let _ = socket.write_all(bytes).await;
        let (mut count, mut size) = (0, 0);
        while let Ok(length) = socket.read_u32().await {
            if socket.read_exact(&mut vec![0; length as usize]).await.is_err() {
                break;
            }
            count += 1;
            size += length as usize;
        }
        (count, size)
    };
    within(PATIENCE, talk).await.expect("the connection is closed")
}

/// Every request that is large, or as large as may be, and those without arrays.
fn attacks(names: &Names) -> Vec<Attack> {
    let mut attacks = every_array(names, MOST_BEFORE_LOGIN - 100);
    attacks.extend(without_arrays(names));
    attacks
}

/// Plays all attacks after these requests, which have so many answers.
async fn all_are_refused(victim: &Victim, before: &[u8], answered: usize) {
    let attacks = attacks(&victim.names);
    let watch = Watch::new();
    for Attack { name, key, version, body } in attacks {
        if before.is_empty() && [VERSIONS, HANDSHAKE].contains(&key) {
            continue;
        }
        let bytes = [before, &framed(key, version, &body)].concat();
        let (count, _) = answers(victim.address(), &bytes).await;
        assert_eq!(count, answered, "{name}");
    }
    println!("{:>10} {answered} answers before", watch.most());
    assert!(watch.most() < 4 * MIB, "{} bytes", watch.most());
    serves_a_good_client(victim).await;
}

#[test]
fn before_a_login_no_attack_is_answered_and_none_takes_more_than_its_bytes() {
    alone(async {
        let victim = victim().await;
        all_are_refused(&victim, &[], 0).await;
    });
}

#[test]
fn after_a_failed_login_no_attack_is_answered_and_none_takes_more_than_its_bytes() {
    alone(async {
        let victim = victim().await;
        let failed = [request(1, &plain()), request(2, &message(WRONG))].concat();
        all_are_refused(&victim, &failed, 2).await;
    });
}

#[test]
fn in_the_middle_of_a_login_an_attack_gets_at_most_one_small_answer() {
    alone(async {
        let victim = victim().await;
        let begun = request(1, &plain());
        let attacks = attacks(&victim.names);
        let watch = Watch::new();
        for Attack { name, key, version, body } in attacks {
            let bytes = [&begun[..], &framed(key, version, &body)].concat();
            let (count, size) = answers(victim.address(), &bytes).await;
            assert!(count <= 2 && size <= 1 << 10, "{name}: {count} answers of {size} bytes");
        }
        assert!(watch.most() < 4 * MIB, "{} bytes", watch.most());
        serves_a_good_client(&victim).await;
    });
}

#[test]
fn bytes_that_are_no_request_close_the_connection_before_a_login_and_after_a_failed_one() {
    const GARBAGE: [&[u8]; 8] = [
        // Lengths that are negative, zero, too small, larger than any request and than one before the login.
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\x04\0\x12\0\0",
        b"\x7f\xff\xff\xff\0\x12\0\0",
        b"\0\x08\0\x01\0\x12\0\0",
        // TLS, SSH, and a handshake that claims a mechanism of 32 KiB.
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0\0\0\x0c\0\x11\0\x01\0\0\0\x07\xff\xff\x7f\xff",
    ];
    alone(async {
        let victim = victim().await;
        let failed = [request(1, &plain()), request(2, &message(WRONG))].concat();
        for (before, answered) in [(&[][..], 0), (&failed[..], 2)] {
            let watch = Watch::new();
            for garbage in GARBAGE {
                let (count, _) = answers(victim.address(), &[before, garbage].concat()).await;
                assert_eq!(count, answered, "{garbage:02x?}");
            }
            assert!(watch.most() < MIB, "{} bytes", watch.most());
        }
        serves_a_good_client(&victim).await;
    });
}

#[test]
fn a_thousand_logins_that_stop_in_the_middle_hold_little_and_keep_no_others_out() {
    const CLIENTS: usize = 1_000;
    alone(async {
        let victim = victim().await;
        let begun = request(1, &plain());
        // A length within the limit, and the first bytes of what it promises.
        let half = [&begun[..], &[0, 7, 0xff, 0xff, 0, 36, 0, 2]].concat();
        let watch = Watch::new();
        let mut open = Vec::new();
        for number in 0..CLIENTS {
            let mut socket = TcpStream::connect(victim.address()).await.unwrap();
            let sent = [&begun[..1], &begun, &half][number % 3];
            socket.write_all(sent).await.unwrap();
            open.push(socket);
        }
        serves_a_good_client(&victim).await;
        println!("{:>10}", watch.most());
        assert!(watch.most() < 32 * MIB, "{} bytes", watch.most());
    });
}
