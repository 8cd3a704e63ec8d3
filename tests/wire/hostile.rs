//! Hostile bytes. Each is refused or read as a message, without a panic, and takes less than 1 MiB unless the
//! frame itself is larger.

use bytes::Bytes;
use jackdaw::protocol::messages::fetch_request::FetchRequest;
use jackdaw::protocol::messages::join_group_response::JoinGroupResponse;
use jackdaw::protocol::messages::metadata_request::MetadataRequest;
use jackdaw::protocol::messages::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use jackdaw::protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use jackdaw::protocol::{Message, Reader, RequestHeader, WireError, Writer, decoded_at_most};
use jackdaw::types::Piece;

use crate::allocations::most_held_by;
use crate::inspect::{all, codec, decode, encode};
use crate::vectors;

const MEBIBYTE: usize = 1 << 20;

/// Wrong lengths and counts, as 32 bits, 16 bits and compact.
const LIES: [&[u8]; 8] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0x00, 0x00, 0x00],
    &[0x00, 0x0f, 0x42, 0x40],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff],
    &[0xc1, 0x84, 0x3d],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
];

fn metadata(body: &'static [u8], version: i16) -> Result<MetadataRequest, WireError> {
    decode(Bytes::from_static(body), version)
}

#[test]
fn a_count_beyond_the_frame_is_refused_without_the_memory() {
    let huge = [
        // Each of these ended the process with another codec.
        ("MetadataRequest", 0, &[0x7f, 0xff, 0xff, 0xff][..]),
        ("MetadataRequest", 0, &[0x03, 0x3c, 0x08, 0x00]),
        ("MetadataRequest", 9, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("ProduceRequest", 3, &[0xff, 0xff, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]),
    ];
    for (name, version, body) in huge {
        let codec = codec(name).expect("a message");
        let (result, bytes) = most_held_by(|| (codec.decode)(Bytes::from_static(body), version));
        assert!(result.is_err(), "{name} {body:02x?}");
        assert!(bytes < MEBIBYTE, "{name} {body:02x?} takes {bytes}");
    }
}

#[test]
fn a_count_is_held_against_the_frame_before_anything_is_reserved() {
    // Within the limit for a frame of 4 bytes, but more than its bytes can contain.
    let (result, bytes) = most_held_by(|| metadata(&[0, 0, 0, 25], 0));
    assert_eq!(result, Err(WireError::Truncated));
    assert_eq!(bytes, 0);
}

#[test]
fn a_count_reserves_only_for_the_first_elements() {
    // Within the frame and its limit, but already the first name is invalid.
    let mut body = vec![0xff; 8 << 20];
    body[..4].copy_from_slice(&700_000i32.to_be_bytes());
    let body = Bytes::from(body);
    let (result, bytes) = most_held_by(|| decode::<MetadataRequest>(body, 0));
    assert_eq!(result, Err(WireError::Null));
    assert!(bytes <= 32 << 10, "{bytes}");
}

#[test]
fn a_lie_anywhere_in_a_message_costs_nothing() {
    let mut tried = 0;
    let mut refused = 0;
    for vector in vectors::all().iter().filter(|vector| ["full", "mixed"].contains(&vector.kind.as_str())) {
        let Some(codec) = codec(&vector.name) else { continue };
        for place in 0..vector.bytes.len().min(400) {
            let lie = LIES[(tried + place) % LIES.len()];
            let body: Bytes = [&vector.bytes[..place], lie, &vector.bytes[place..]].concat().into();
            let (result, bytes) = most_held_by(|| (codec.decode)(body, vector.version));
            assert!(bytes < MEBIBYTE, "{} {} at {place} takes {bytes}", vector.name, vector.version);
            refused += usize::from(result.is_err());
            tried += 1;
        }
    }
    assert!(refused > tried / 2, "{refused} of {tried}");
}

#[test]
fn every_message_survives_lies_and_nothing_else() {
    for codec in all() {
        for version in codec.versions.clone() {
            for lie in LIES {
                for length in [lie.len(), 64, 4096] {
                    let body: Bytes = lie.iter().copied().cycle().take(length).collect();
                    let (_, bytes) = most_held_by(|| (codec.decode)(body, version));
                    assert!(bytes < MEBIBYTE, "{} {version} {lie:02x?} takes {bytes}", codec.name);
                }
            }
        }
    }
}

#[test]
fn elements_of_one_byte_do_not_multiply_a_frame() {
    // Empty names take 2 bytes, and 40 in memory. Names fill the frame, a half of it, or a quarter.
    for length in [100, 1 << 10, 100 << 10, 8 << 20] {
        for share in [2, 4, 8] {
            let mut body = vec![0u8; length];
            body[..4].copy_from_slice(&(length as i32 / share).min(1_000_000).to_be_bytes());
            let (result, bytes) = most_held_by(|| decode::<MetadataRequest>(body.into(), 0));
            assert!(result.is_err(), "{length} / {share}");
            // While a list grows, the old and the new copy are in memory.
            assert!(bytes < 2 * decoded_at_most(length), "{bytes} for {length} / {share}");
        }
    }
    assert!(decoded_at_most(100 << 20) <= 32 << 20);
}

#[test]
fn a_list_of_short_names_is_no_attack() {
    // The request of `kafka-consumer-groups --describe --all-groups`: six bytes for each group, and 80 in
    // memory.
    let groups = (0..800).map(|group| OffsetFetchRequestGroup {
        group_id: format!("g{group}"),
        topics: None,
        ..OffsetFetchRequestGroup::default()
    });
    let request = OffsetFetchRequest { groups: groups.collect(), ..OffsetFetchRequest::default() };
    let mut body = Writer::new();
    request.encode(&mut body, 8).expect("it fits the version");
    let read = OffsetFetchRequest::decode(&mut Reader::new(body.into_bytes()), 8).expect("a request");
    assert_eq!(read.groups.len(), 800);
}

#[test]
fn what_was_allocated_for_a_frame_can_be_asked() {
    let mut input = Reader::new(Bytes::from_static(&[0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b']));
    let before = input.budget();
    let (request, bytes) = most_held_by(|| MetadataRequest::decode(&mut input, 0).expect("a request"));
    assert_eq!(request.topics.map(|topics| topics.len()), Some(2));
    assert_eq!(before - input.budget(), bytes);
}

#[test]
fn more_elements_than_kafka_reads_are_refused() {
    // OffsetFetch: group "g", one topic "t", then `count` partitions.
    let indexes = |count: i32| {
        let mut body = vec![0, 1, b'g', 0, 0, 0, 1, 0, 1, b't'];
        body.extend(count.to_be_bytes());
        body.resize(body.len() + 4 * count as usize, 0);
        decode::<OffsetFetchRequest>(body.into(), 1)
    };
    let most = indexes(1_000_000).expect("as many as Kafka reads");
    assert_eq!(
        most.topics.iter().flatten().map(|topic| topic.partition_indexes.len()).sum::<usize>(),
        1_000_000
    );
    assert_eq!(indexes(1_000_001), Err(WireError::TooMany(1_000_001)));
    let long = JoinGroupResponse { members: vec![Default::default(); 1_000_001], ..Default::default() };
    assert_eq!(encode(&long, 5), Err(WireError::TooMany(1_000_001)));
}

#[test]
fn more_tags_than_kafka_reads_are_refused() {
    let tags = |count: u32| {
        let mut body = vec![0, 1, 0, 0];
        body.extend([count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8]);
        for tag in 0..count {
            body.extend([tag as u8 | 0x80, (tag >> 7) as u8 | 0x80, (tag >> 14) as u8, 0]);
        }
        decode::<MetadataRequest>(body.into(), 9).map(drop)
    };
    assert_eq!(tags(10_000), Ok(()));
    assert_eq!(tags(10_001), Err(WireError::TooMany(10_001)));
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    assert_eq!(metadata(&[0xff, 0xff, 0xff, 0xff], 0), Err(WireError::Null));
    assert_eq!(metadata(&[0xff, 0xff, 0xff, 0xff], 1).map(|request| request.topics), Ok(None));
    // A topic's name: 16 bits of −1, and compact 0 before version 10.
    assert_eq!(metadata(&[0, 0, 0, 1, 0xff, 0xff], 1), Err(WireError::Null));
    assert_eq!(metadata(&[2, 0, 0, 1, 0, 0, 0], 9), Err(WireError::Null));
    let nameless = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(encode(&nameless, 0), Err(WireError::Null));
}

#[test]
fn a_negative_length_other_than_null_is_refused() {
    assert_eq!(metadata(&[0xff, 0xff, 0xff, 0xfe], 1), Err(WireError::Length(-2)));
    assert_eq!(metadata(&[0, 0, 0, 1, 0xff, 0xfe], 1), Err(WireError::Length(-2)));
    assert_eq!(metadata(&[0x80, 0, 0, 0], 1), Err(WireError::Length(i32::MIN.into())));
}

#[test]
fn a_string_is_at_most_32767_bytes_long() {
    let name = |length: usize| {
        let mut body = vec![2];
        let claim = length as u32 + 1;
        body.extend([claim as u8 | 0x80, (claim >> 7) as u8 | 0x80, (claim >> 14) as u8]);
        body.extend(vec![b'a'; length]);
        body.extend([0, 1, 0, 0, 0]);
        decode::<MetadataRequest>(body.into(), 9)
    };
    let longest = name(32_767).expect("the longest name");
    assert_eq!(name(32_768), Err(WireError::Length(32_768)));
    assert_eq!(encode(&longest, 9).map(|bytes| bytes.len()), Ok(32_767 + 9));
    let mut longer = longest;
    for topic in longer.topics.iter_mut().flatten() {
        topic.name = Some("a".repeat(32_768));
    }
    assert_eq!(encode(&longer, 9), Err(WireError::Length(32_768)));
    assert_eq!(encode(&longer, 1), Err(WireError::Length(32_768)));
}

#[test]
fn text_that_is_not_utf_8_is_refused_but_for_the_client_id() {
    assert_eq!(metadata(&[0, 0, 0, 1, 0, 2, 0xc3, 0x28], 1), Err(WireError::Utf8));
    let frame = Bytes::from_static(&[0, 3, 0, 1, 0, 0, 0, 7, 0, 2, 0xc3, 0x28]);
    let header = RequestHeader::read(&mut Reader::new(frame)).expect("a header");
    assert_eq!(header.client_id.as_deref(), Some("\u{fffd}("));
}

#[test]
fn tags_come_in_order_and_once() {
    // Metadata 9: topics null, three flags, then tags 5 and 5, 6 and 5, 5 and 6.
    assert_eq!(metadata(&[0, 1, 0, 0, 2, 5, 0, 5, 0], 9), Err(WireError::TagOrder(5)));
    assert_eq!(metadata(&[0, 1, 0, 0, 2, 6, 0, 5, 0], 9), Err(WireError::TagOrder(5)));
    assert!(metadata(&[0, 1, 0, 0, 2, 5, 0, 6, 0], 9).is_ok());
    let last = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let twice = [&[0, 1, 0, 0, 2][..], &last, &last].concat();
    assert_eq!(decode::<MetadataRequest>(twice.into(), 9), Err(WireError::TagOrder(u32::MAX)));
}

#[test]
fn a_tag_holds_exactly_its_value() {
    // Fetch 12 with only the cluster id, tag 0: "c", then with a byte more and a byte less.
    let fetch = |tag: &[u8]| {
        let mut body = encode(&FetchRequest::default(), 12).expect("a request").to_vec();
        assert_eq!(body.pop(), Some(0), "no tags so far");
        body.extend([1, 0]);
        body.extend(tag);
        decode::<FetchRequest>(body.into(), 12).map(|request| request.cluster_id)
    };
    assert_eq!(fetch(&[2, 2, b'c']), Ok(Some("c".to_owned())));
    assert_eq!(fetch(&[3, 2, b'c', 0]), Err(WireError::LeftOver(1)));
    assert_eq!(fetch(&[1, 2, b'c']), Err(WireError::Truncated));
    // Missing bytes of a tagged value are not taken from the bytes after the tag.
    assert_eq!(fetch(&[9, 2, b'c']), Err(WireError::Truncated));
}

#[test]
fn a_tag_at_its_default_and_a_long_varint_are_read() {
    let mut body = encode(&FetchRequest::default(), 12).expect("a request").to_vec();
    body.pop();
    body.extend([0x81, 0x80, 0x00, 0x80, 0x00, 0x81, 0x00, 0x00]);
    assert_eq!(decode::<FetchRequest>(body.into(), 12), Ok(FetchRequest::default()));
}

#[test]
fn a_varint_has_at_most_32_bits() {
    assert_eq!(metadata(&[0xff, 0xff, 0xff, 0xff, 0x1f], 9), Err(WireError::Varint));
    assert_eq!(metadata(&[0x80, 0x80, 0x80, 0x80, 0x80, 0], 9), Err(WireError::Varint));
}

#[test]
fn a_short_header_is_an_error_and_an_unknown_key_is_none() {
    for length in 0..8 {
        let frame = Bytes::from(vec![0; length]);
        assert_eq!(RequestHeader::read(&mut Reader::new(frame)), Err(WireError::Truncated));
    }
    for key in [-1, 4, 7, 52, 200, i16::MAX] {
        let mut frame = Writer::new();
        frame.put(&key.to_be_bytes());
        frame.put(&[0, 9, 0, 0, 0, 42]);
        let header = RequestHeader::read(&mut Reader::new(frame.into_bytes())).expect("readable");
        assert_eq!((header.api_key, header.api_version, header.correlation_id), (key, 9, 42));
    }
}

#[test]
fn the_header_of_a_version_that_is_yet_to_come_is_readable() {
    let frame = Bytes::from_static(&[0, 18, 0x7f, 0xff, 0, 0, 0, 7, 0, 1, b'x', 0, 2, b'a']);
    let mut input = Reader::new(frame);
    let header = RequestHeader::read(&mut input).expect("a header");
    assert_eq!((header.api_version, header.client_id.as_deref()), (i16::MAX, Some("x")));
    assert_eq!(input.remaining(), 2);
}

#[test]
fn records_are_borrowed_from_the_frame_and_written_without_a_copy() {
    let batch = Bytes::from(vec![7u8; 100_000]);
    let partition = PartitionProduceData { records: Some(batch.clone().into()), ..Default::default() };
    let topic = TopicProduceData { partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..Default::default() };
    let mut out = Writer::new();
    let ((), bytes) = most_held_by(|| request.encode(&mut out, 9).expect("a request"));
    assert!(bytes < 1000, "{bytes}");
    let pieces = out.into_frame().expect("a frame");
    let pieces: Vec<Bytes> = pieces.iter().filter_map(Piece::as_bytes).cloned().collect();
    assert!(pieces.iter().any(|piece| piece.as_ptr() == batch.as_ptr() && piece.len() == batch.len()));

    let frame = Bytes::from(pieces[1..].concat());
    let (read, bytes) = most_held_by(|| decode::<ProduceRequest>(frame.clone(), 9).expect("a request"));
    assert!(bytes < 1000, "{bytes}");
    let records = read.topic_data[0].partition_data[0].records.as_ref().expect("records");
    assert_eq!(records.pieces().len(), 1);
    let piece = records.pieces()[0].as_bytes().expect("a piece in memory");
    assert!(frame.as_ptr_range().contains(&piece.as_ptr()));
}
