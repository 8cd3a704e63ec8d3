//! The layout of a record in text, as kcat's option `-f` describes it: `%t [%p] at %o: %k = %s\n`.
//!
//! `consume` prints records in it. `produce` reads lines in it, where the text between two fields ends the first one.

use std::io::{self, Write};
use std::str::FromStr;

use super::{NewRecord, ReadRecord};

pub const HELP: &str = "%s value, %k key, %h headers (a=1,b=2), %t topic, %p partition, %o offset, %T timestamp \
                        (milliseconds since 1970), %S and %K length of value and key (-1 for null), %R length of the \
                        value as four bytes, %% a percent sign; \\n, \\r, \\t, \\xFF";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    /// As four bytes, the highest first.
    ValueLengthInBytes,
    Headers,
}

impl Field {
    fn of(letter: char) -> Option<Field> {
        Some(match letter {
            't' => Field::Topic,
            'p' => Field::Partition,
            'o' => Field::Offset,
            'T' => Field::Timestamp,
            'k' => Field::Key,
            'K' => Field::KeyLength,
            's' => Field::Value,
            'S' => Field::ValueLength,
            'R' => Field::ValueLengthInBytes,
            'h' => Field::Headers,
            _ => return None,
        })
    }

    /// Whether a line can set it.
    fn is_of_a_new_record(self) -> bool {
        match self {
            Field::Topic
            | Field::Partition
            | Field::Timestamp
            | Field::Key
            | Field::Value
            | Field::Headers => true,
            Field::Offset | Field::KeyLength | Field::ValueLength | Field::ValueLengthInBytes => false,
        }
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(written: &str) -> Result<Layout, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut letters = written.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                Some('%') => text.push('%'),
                Some(letter) => {
                    let field =
                        Field::of(letter).ok_or_else(|| format!("unknown %{letter}; there are {HELP}"))?;
                    push_text(&mut parts, &text)?;
                    text.clear();
                    parts.push(Part::Field(field));
                }
                None => return Err("a % at the end; %% is a percent sign".to_owned()),
            }
        }
        push_text(&mut parts, &text)?;
        Ok(Layout(parts))
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        parts.push(Part::Text(unescaped(text)?));
    }
    Ok(())
}

/// Replaces `\n`, `\r`, `\t`, `\xFF` (a byte in hexadecimal), `\012` (in octal) and `\12` (in decimal). Any other
/// letter after a backslash stands for itself.
pub fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let Some(letter) = after.chars().next() else { return Err("a \\ at the end; write \\\\".to_owned()) };
        let (digits, radix) = match letter {
            'x' => (leading(&after[1..], 2, 16), 16),
            '0' => (leading(after, 4, 8), 8),
            '1'..='9' => (leading(after, 3, 10), 10),
            _ => ("", 10),
        };
        if digits.is_empty() {
            match letter {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'x' => return Err("\\x without a byte in hexadecimal, such as \\x1f".to_owned()),
                letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
            rest = &after[letter.len_utf8()..];
        } else {
            let byte = u8::from_str_radix(digits, radix);
            bytes.push(byte.map_err(|_| format!("\\{digits} is no byte: the largest is \\255"))?);
            rest = &after[usize::from(letter == 'x') + digits.len()..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// The digits that a text begins with, at most this many.
fn leading(text: &str, most: usize, radix: u32) -> &str {
    let count = text.chars().take(most).take_while(|letter| letter.is_digit(radix)).count();
    &text[..count]
}

impl Layout {
    /// The key, this text and the value in a line; without the text the value alone.
    pub fn line(between: Option<&[u8]>) -> Layout {
        let mut parts = Vec::new();
        if let Some(between) = between {
            parts.push(Part::Field(Field::Key));
            if !between.is_empty() {
                parts.push(Part::Text(between.to_vec()));
            }
        }
        parts.extend([Part::Field(Field::Value), Part::Text(b"\n".to_vec())]);
        Layout(parts)
    }

    /// Prints a record, with the text `null` for a key or value that is null.
    pub fn print(&self, record: &ReadRecord<'_>, null: &[u8], out: &mut dyn Write) -> io::Result<()> {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.write_all(text)?,
                Part::Field(field) => print_field(*field, record, null, out)?,
            }
        }
        Ok(())
    }

    /// Checks that lines can be read in this layout.
    pub fn readable(self) -> Result<Layout, String> {
        let mut layout = self;
        // A line is read without its end.
        if let Some(Part::Text(text)) = layout.0.last_mut()
            && text.ends_with(b"\n")
        {
            text.pop();
            if text.is_empty() {
                layout.0.pop();
            }
        }
        let mut seen = Vec::new();
        for pair in layout.0.windows(2) {
            if matches!(pair, [Part::Field(_), Part::Field(_)]) {
                return Err("two fields without text between them".to_owned());
            }
        }
        for part in &layout.0 {
            let Part::Field(field) = part else { continue };
            if !field.is_of_a_new_record() {
                return Err("a line can have %s, %k, %h, %t, %p and %T".to_owned());
            }
            if seen.contains(field) {
                return Err("a field is there twice".to_owned());
            }
            seen.push(*field);
        }
        if !seen.contains(&Field::Value) {
            return Err("there is no %s for the value".to_owned());
        }
        Ok(layout)
    }

    /// Reads a line. A key, value or value of a header that is the text `null` is null.
    pub fn read(&self, line: &[u8], null: Option<&[u8]>) -> Result<NewRecord, String> {
        let mut record = NewRecord::default();
        let mut rest = line;
        let mut parts = self.0.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => {
                    rest = rest.strip_prefix(text.as_slice()).ok_or_else(|| lacks(text))?;
                }
                Part::Field(field) => {
                    let (found, after) = match parts.peek() {
                        None => (rest, &rest[rest.len()..]),
                        Some(Part::Text(text)) => {
                            let at = find(rest, text).ok_or_else(|| lacks(text))?;
                            rest.split_at(at)
                        }
                        Some(Part::Field(_)) => unreachable!("`readable` wants text between fields"),
                    };
                    set_field(&mut record, *field, found, null)?;
                    rest = after;
                }
            }
        }
        if !rest.is_empty() {
            return Err("the line goes on behind its last field".to_owned());
        }
        Ok(record)
    }
}

fn lacks(text: &[u8]) -> String {
    format!("there is no \"{}\" where the format has it", text.escape_ascii())
}

pub fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len().max(1)).position(|window| window == text)
}

fn print_field(field: Field, record: &ReadRecord<'_>, null: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let length =
        |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    match field {
        Field::Topic => out.write_all(record.topic.as_bytes()),
        Field::Partition => write!(out, "{}", record.partition),
        Field::Offset => write!(out, "{}", record.offset),
        Field::Timestamp => write!(out, "{}", record.timestamp.unwrap_or(-1)),
        Field::Key => out.write_all(record.key.unwrap_or(null)),
        Field::KeyLength => write!(out, "{}", length(record.key)),
        Field::Value => out.write_all(record.value.unwrap_or(null)),
        Field::ValueLength => write!(out, "{}", length(record.value)),
        Field::ValueLengthInBytes => {
            let length = i32::try_from(length(record.value)).unwrap_or(i32::MAX);
            out.write_all(&length.to_be_bytes())
        }
        Field::Headers => print_headers(record, null, out),
    }
}

/// As kcat does, which prints NULL for a header without a value.
fn print_headers(record: &ReadRecord<'_>, null: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let null = if null.is_empty() { b"NULL" } else { null };
    for (at, (name, value)) in record.headers.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        out.write_all(name)?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or(null))?;
    }
    Ok(())
}

fn set_field(record: &mut NewRecord, field: Field, found: &[u8], null: Option<&[u8]>) -> Result<(), String> {
    let bytes = |found: &[u8]| (Some(found) != null).then(|| found.to_vec());
    let text = |found: &[u8], name: &str| {
        String::from_utf8(found.to_vec()).map_err(|_| format!("the {name} is not UTF-8"))
    };
    match field {
        Field::Topic => record.topic = Some(text(found, "topic")?),
        Field::Partition => record.partition = Some(number(found, "partition")?),
        Field::Timestamp => record.timestamp = Some(number(found, "timestamp")?),
        Field::Key => record.key = bytes(found),
        Field::Value => record.value = bytes(found),
        Field::Headers => {
            for header in found.split(|byte| *byte == b',').filter(|header| !header.is_empty()) {
                let at = find(header, b"=").ok_or("a header is not NAME=VALUE")?;
                record.headers.push((text(&header[..at], "name of a header")?, bytes(&header[at + 1..])));
            }
        }
        Field::Offset | Field::KeyLength | Field::ValueLength | Field::ValueLengthInBytes => {
            unreachable!("`readable` refuses it")
        }
    }
    Ok(())
}

fn number<N: FromStr + PartialOrd + Default>(found: &[u8], name: &str) -> Result<N, String> {
    let number = std::str::from_utf8(found).ok().and_then(|text| text.parse().ok());
    let number = number.filter(|number| *number >= N::default());
    number.ok_or_else(|| format!("the {name} \"{}\" is not a whole number from 0 on", found.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::super::EXAMPLE;
    use super::*;

    fn printed(layout: &str, record: &ReadRecord<'_>, null: &str) -> Vec<u8> {
        let mut out = Vec::new();
        layout.parse::<Layout>().unwrap().print(record, null.as_bytes(), &mut out).unwrap();
        out
    }

    #[test]
    fn a_record_is_printed_as_kcat_prints_it() {
        let headers = vec![(&b"a"[..], Some(&b"1"[..])), (b"b", None), (b"c", Some(b""))];
        let full = ReadRecord { headers, ..EXAMPLE };
        let empty = ReadRecord { key: Some(b""), value: Some(b""), ..EXAMPLE };
        let null = ReadRecord { key: None, value: None, timestamp: None, ..EXAMPLE };
        for (layout, record, expected) in [
            ("%t [%p] at %o: %k = %s\\n", &full, &b"orders [3] at 42: anna = one coffee\n"[..]),
            ("%T %K %S", &full, b"1700000000123 4 10"),
            ("%R%s", &full, b"\0\0\0\x0aone coffee"),
            ("%h", &full, b"a=1,b=NULL,c="),
            ("100 %%%%\\t\\x41\\x0aB\\\\", &full, b"100 %%\tA\nB\\"),
            ("%k|%s|%K|%S|%R|%h", &empty, b"||0|0|\0\0\0\0|"),
            ("%k|%s|%K|%S|%R|%T", &null, b"||-1|-1|\xff\xff\xff\xff|-1"),
            ("", &full, b""),
        ] {
            assert_eq!(printed(layout, record, ""), expected, "{layout}");
        }
        assert_eq!(printed("%k|%s", &null, "NULL"), b"NULL|NULL");
        assert_eq!(printed("%k|%s", &empty, "NULL"), b"|", "empty is not null");
        assert_eq!(printed("%h", &full, "-"), b"a=1,b=-,c=");
    }

    #[test]
    fn a_layout_that_says_nothing_clear_is_refused() {
        for (layout, why) in [
            ("%", "a % at the end"),
            ("%x", "unknown %x"),
            ("%ü", "unknown %ü"),
            ("\\", "a \\ at the end"),
            ("\\xzz", "\\x without"),
            ("\\256", "is no byte"),
            ("\\0777", "is no byte"),
        ] {
            let refused = layout.parse::<Layout>().unwrap_err();
            assert!(refused.contains(why), "{layout}: {refused}");
        }
    }

    #[test]
    fn bytes_that_shells_cannot_pass_are_escaped() {
        for (text, bytes) in [
            ("a\\tb", &b"a\tb"[..]),
            ("\\x1fx", b"\x1fx"),
            ("\\x411", b"A1"),
            ("\\012\\10", b"\n\n"),
            ("\\0", b"\0"),
            ("\\:\\\\ü", ":\\ü".as_bytes()),
        ] {
            assert_eq!(unescaped(text).unwrap(), bytes, "{text}");
        }
    }

    fn read(layout: &str, line: &str) -> Result<NewRecord, String> {
        layout.parse::<Layout>().unwrap().readable()?.read(line.as_bytes(), Some(b"NULL"))
    }

    #[test]
    fn a_line_is_read_in_the_layout() {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        let record = read("%T|%h|%k=%s\\n", "1700|a=1,b=NULL,c=|k=v=w|x").unwrap();
        let headers = vec![("a".to_owned(), bytes("1")), ("b".to_owned(), None), ("c".to_owned(), bytes(""))];
        let expected = NewRecord {
            timestamp: Some(1700),
            key: bytes("k"),
            value: bytes("v=w|x"),
            headers,
            ..NewRecord::default()
        };
        assert_eq!(record, expected);
        let record = read("%t/%p %s", "orders/3 v").unwrap();
        assert_eq!(
            (record.topic.as_deref(), record.partition, record.value),
            (Some("orders"), Some(3), bytes("v"))
        );
        assert_eq!(read("%s", "NULL").unwrap().value, None);
        assert_eq!(read("<%s>", "<a>").unwrap().value, bytes("a"));
        assert_eq!(read("%s", "").unwrap().value, bytes(""));
    }

    #[test]
    fn a_line_in_another_layout_is_refused_with_the_reason() {
        for (layout, line, why) in [
            ("%k=%s", "v", "there is no \"=\""),
            ("%k\\t%s", "v", "there is no \"\\t\""),
            ("<%s>", "a>", "there is no \"<\""),
            ("<%s>", "<a>b", "the line goes on"),
            ("%T %s", "now v", "the timestamp \"now\" is not a whole number"),
            ("%T %s", "-1 v", "the timestamp \"-1\" is not a whole number"),
            ("%p %s", "9999999999 v", "the partition"),
            ("%h %s", "a v", "a header is not NAME=VALUE"),
            ("%s%k", "v", "two fields without text"),
            ("%k", "v", "there is no %s"),
            ("%s %s", "v v", "twice"),
            ("%o %s", "1 v", "a line can have"),
        ] {
            let refused = read(layout, line).unwrap_err();
            assert!(refused.contains(why), "{layout} {line}: {refused}");
        }
    }
}
