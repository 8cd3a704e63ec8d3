//! Two rules of docs/rules.md by example.

use bytes::Bytes;
use jackdaw::protocol::messages::fetch_response::FetchableTopicResponse;
use jackdaw::protocol::messages::fetch_response::{EpochEndOffset, FetchResponse, PartitionData};
use jackdaw::protocol::{Message, Reader, RequestHeader, Writer};

#[test]
fn w6_the_tags_of_a_header_are_read_where_the_client_id_is_null() {
    // Metadata 9, correlation id 7, no client id, one tag (number 5, two bytes), then the body.
    let bytes = [0, 3, 0, 9, 0, 0, 0, 7, 0xff, 0xff, 1, 5, 2, 0xaa, 0xbb, 0x77];
    let mut input = Reader::new(Bytes::copy_from_slice(&bytes));
    let header = RequestHeader::read(&mut input).expect("a header");
    assert_eq!((header.correlation_id, header.client_id), (7, None));
    assert_eq!(input.remaining(), 1, "the body is where it should be");
}

#[test]
fn w7_a_tag_is_written_where_it_differs_from_its_default_and_only_at_versions_that_have_it() {
    let size = |diverging_epoch: EpochEndOffset, version| {
        let partition = PartitionData { diverging_epoch, ..PartitionData::default() };
        let topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
        let answer = FetchResponse { responses: vec![topic], ..Default::default() };
        let mut out = Writer::new();
        answer.encode(&mut out, version).expect("can be written");
        out.len()
    };
    let default = EpochEndOffset::default();
    // If a field inside is not at its default, the whole tag differs from its default.
    let set = EpochEndOffset { epoch: 3, ..default.clone() };
    // Number, size, then epoch, end offset and the struct's own tag section.
    assert_eq!(size(set.clone(), 12), size(default.clone(), 12) + 1 + 1 + 4 + 8 + 1);
    assert_eq!(size(set, 11), size(default, 11), "version 11 has no such tag");
}
