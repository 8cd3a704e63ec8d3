//! Clients in large numbers that ask for a lot and read nothing. The broker is a process of its own, whose memory the
//! system counts, and sends records from their files.
#![cfg(target_os = "linux")]

use jackdaw::protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use jackdaw::protocol::messages::fetch_request::FetchRequest;
use jackdaw::protocol::{Message, Request, Writer};

use crate::connections::{Files, Usage};
use crate::descriptors::Limited;
use crate::harness::{Client, batch, fetch_from};
use crate::victim::{MEMORY, MIB, MOST, alone, framed, is_served, play, unread};

const READERS: usize = 1_000;
/// One of so many asks for all metadata, the others for records.
const OF_METADATA: usize = 10;
const PARTITIONS: i32 = 2_000;

#[test]
fn a_thousand_readers_that_stall_hold_no_more_than_answers_may_and_others_are_served() {
    alone(async {
        let (files, readers) = Files::for_clients(READERS, 1);
        let data = tempfile::tempdir().unwrap();
        let broker = Limited::with(4096, data.path(), &[&format!("jackdaw.memory.max.bytes={MEMORY}")]);
        let mut good = Client::of(&broker.address).await;
        good.create_topic("t").await;
        good.create_topic("large").await;
        let wide = CreatableTopic {
            name: "wide".to_owned(),
            num_partitions: PARTITIONS,
            replication_factor: 1,
            ..Default::default()
        };
        let create = CreateTopicsRequest { topics: vec![wide], timeout_ms: 30_000, ..Default::default() };
        assert_eq!(good.call(7, create).await.topics[0].error_code, 0);
        let large = "v".repeat(MIB * 9 / 10);
        for _ in 0..2 {
            assert_eq!(good.produce("large", 0, batch(&[&large])).await.error_code, 0);
        }
        is_served(&mut good).await;

        let everything = framed(3, 12, b"\0\x01\x01\0");
        let mut fetch = Writer::new();
        fetch_from("large", 0, 0).encode(&mut fetch, 12).unwrap();
        let records = framed(FetchRequest::KEY, 12, &fetch.into_bytes());
        let before = Usage::of(&broker);
        let mut open = Vec::new();
        for number in 0..readers {
            let request = if number % OF_METADATA == 0 { &everything } else { &records };
            open.push(unread(broker.address.parse().unwrap(), &request.repeat(10)).await);
            if number % 100 == 99 {
                is_served(&mut good).await;
            }
        }
        // Large answers, too, also to a client that comes only now.
        let fetched = good.fetch("large", 0, 0).await;
        assert!(fetched.records.is_some_and(|records| records.into_bytes().len() >= large.len()));
        let answer = play(broker.address.parse().unwrap(), everything.into()).await;
        assert!(answer.is_some_and(|bytes| bytes > 20 * PARTITIONS.unsigned_abs() as usize));
        let grown = Usage::of(&broker).peak_kib - before.peak_kib;
        println!("{grown} KiB");
        assert!(grown < MOST >> 10, "{grown} KiB");
        drop((open, files));
    });
}
