//! The few values of DER that are read and written here.

/// The tags of values.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// The content of the first value, which must have this tag, and the bytes after it.
pub(super) fn read(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0x80.. => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = len.iter().try_fold(0_usize, |len, byte| {
                Some(len.checked_mul(256)?.saturating_add(usize::from(*byte)))
            })?;
            (len, rest)
        }
        _ => (usize::from(first), rest),
    };
    (found == tag).then(|| rest.split_at_checked(len))?
}

/// A value with this tag.
pub(super) fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let mut value = vec![tag];
    if len >= 0x80 {
        value.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
    } else if len == 0 {
        value.push(0);
    }
    value.extend(bytes);
    value.extend(content);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_written_is_read() {
        for len in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; len];
            let value = [write(SEQUENCE, &content), vec![1]].concat();
            assert_eq!(read(&value, SEQUENCE), Some((&content[..], &[1][..])), "{len}");
            assert_eq!(read(&value, INTEGER), None);
        }
    }

    #[test]
    fn lengths_beyond_the_bytes_are_no_value() {
        for wrong in [&[][..], &[0x30], &[0x30, 0x05, 1], &[0x30, 0x89, 255, 255, 255]] {
            assert_eq!(read(wrong, SEQUENCE), None, "{wrong:?}");
        }
        assert_eq!(read(&[&[0x30, 0x88][..], &[255; 8]].concat(), SEQUENCE), None);
        assert_eq!(read(&[&[0x30, 0x8a][..], &[255; 10]].concat(), SEQUENCE), None);
    }
}
