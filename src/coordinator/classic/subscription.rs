//! Decodes consumers' subscriptions, to find the topics that a group reads. This is the only
//! protocol whose bytes the broker reads. Layout: version, topic names, then fields that we do not
//! need. New versions only append fields.

use std::collections::BTreeSet;

use crate::kernel::group::Group;

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// An assignment of version 0 without topics and user data.
pub(super) const EMPTY_ASSIGNMENT: &[u8] = &[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];

/// Which of certain topics the members of a group read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subscribed<'a> {
    /// The members are not consumers.
    NotConsumers,
    To(BTreeSet<&'a str>),
    /// A consumer's bytes cannot be decoded, so it may read any topic.
    ToAnything,
}

impl Subscribed<'_> {
    pub fn includes(&self, topic: &str) -> bool {
        match self {
            Subscribed::NotConsumers => false,
            Subscribed::To(topics) => topics.contains(topic),
            Subscribed::ToAnything => true,
        }
    }
}

/// Which of the `wanted` topics the members of a group read. Members may name millions of topics, so no others are
/// collected.
pub(super) fn of_group<'a>(group: &Group, wanted: impl Iterator<Item = &'a str>) -> Subscribed<'a> {
    if group.protocol_type() != Some(CONSUMER) {
        return Subscribed::NotConsumers;
    }
    let wanted: BTreeSet<&str> = wanted.collect();
    let mut read = BTreeSet::new();
    for member in group.members().values() {
        let metadata = group.protocol().and_then(|protocol| member.metadata(protocol));
        let seen = metadata
            .and_then(|metadata| see_topics(metadata.bytes(), |topic| read.extend(wanted.get(topic))));
        if seen.is_none() {
            return Subscribed::ToAnything;
        }
    }
    Subscribed::To(read)
}

/// The topics of a consumer's subscription; `None` if the bytes are not one.
pub fn topics(bytes: &[u8]) -> Option<Vec<&str>> {
    let mut topics = Vec::new();
    see_topics(bytes, |topic| topics.push(topic))?;
    Some(topics)
}

/// Calls `see` with each topic of a consumer's subscription, until its end or until the bytes are not one. Returns `None`
/// then.
fn see_topics<'a>(mut bytes: &'a [u8], mut see: impl FnMut(&'a str)) -> Option<()> {
    let input = &mut bytes;
    let version = i16::from_be_bytes(take(input, 2)?.try_into().ok()?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(input, 4)?.try_into().ok()?);
    for _ in 0..count {
        let length = i16::from_be_bytes(take(input, 2)?.try_into().ok()?);
        see(std::str::from_utf8(take(input, usize::try_from(length).ok()?)?).ok()?);
    }
    Some(())
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(count)?;
    *input = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_what_follows_them_is_not() {
        assert_eq!(topics(b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff"), Some(vec!["a", "bc"]));
        assert_eq!(topics(EMPTY_ASSIGNMENT), Some(vec![]));
    }

    #[test]
    fn bytes_that_are_no_subscription_are_none() {
        for bytes in
            [&b""[..], b"\0", b"meta", b"\0\0\x7f\xff\xff\xff", b"\0\0\0\0\0\x01\0\x09a", b"\xff\xff\0\0\0\0"]
        {
            assert_eq!(topics(bytes), None, "{bytes:?}");
        }
        assert_eq!(topics(b"\0\0\0\0\0\x01\0\x01\xff"), None, "not UTF-8");
    }
}
