//! The values in a push: the numbers of an OTLP `MetricsData`, as version 1 of its protocol buffers has them.
//!
//! Only the few attributes of a resource are collected while it is read, because a byte of a hostile push could otherwise
//! take hundreds of bytes of memory.

use std::borrow::Cow;

/// Client input cannot be read as OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOtlp;

/// The kind of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Gauge,
    /// A sum, of the time since the push before or of all time.
    Sum {
        is_delta: bool,
        is_monotonic: bool,
    },
}

/// An attribute: its name and its value.
pub(super) type Attribute<'a> = (&'a str, Cow<'a, str>);

/// One value of a metric.
pub(super) struct Point<'a> {
    pub metric: &'a str,
    pub values: Values,
    pub value: f64,
    /// The attributes of its resource.
    pub resource: &'a [Attribute<'a>],
    point: &'a [u8],
}

/// The maximum number of attributes of a resource. The values of one with more are passed over.
const MOST_OF_RESOURCE: usize = 16;

/// Calls `take` with each value in `data`. The result is the number of values that are passed over, such as those of
/// histograms, which are not single numbers. The time grows with the size of `data`, whatever is in it.
pub(super) fn points(
    data: &[u8],
    mut take: impl FnMut(&Point<'_>) -> Result<(), NotOtlp>,
) -> Result<u64, NotOtlp> {
    let mut others = 0_u64;
    for of_resource in messages(data, 1) {
        let of_resource = of_resource?;
        let resource = messages(of_resource, 1).last().transpose()?.unwrap_or_default();
        let mut attributes = Vec::new();
        for attribute in messages(resource, 1).take(MOST_OF_RESOURCE + 1) {
            attributes.push(attribute_of(attribute?)?);
        }
        let is_large = attributes.len() > MOST_OF_RESOURCE;
        let attributes: Vec<Attribute<'_>> = attributes.into_iter().flatten().collect();
        for of_scope in messages(of_resource, 2) {
            for metric in messages(of_scope?, 2) {
                let more = if is_large { Ok(1) } else { of_metric(&attributes, metric?, &mut take) };
                others = others.saturating_add(more?);
            }
        }
    }
    Ok(others)
}

fn of_metric(
    resource: &[Attribute<'_>],
    metric: &[u8],
    take: &mut impl FnMut(&Point<'_>) -> Result<(), NotOtlp>,
) -> Result<u64, NotOtlp> {
    let mut name = "";
    let mut others = 0_u64;
    for field in fields(metric) {
        if let (1, Value::Bytes(text)) = field? {
            name = str::from_utf8(text).map_err(|_| NotOtlp)?;
        }
    }
    for field in fields(metric) {
        let (values, body) = match field? {
            (5, Value::Bytes(gauge)) => (Values::Gauge, gauge),
            (7, Value::Bytes(sum)) => (sum_of(sum)?, sum),
            // A histogram, an exponential histogram or a summary.
            (9..=11, Value::Bytes(other)) => {
                others = others.saturating_add(u64::try_from(messages(other, 1).count()).unwrap_or(u64::MAX));
                continue;
            }
            _ => continue,
        };
        for point in messages(body, 1) {
            let point = point?;
            match number(point)? {
                Some(value) => take(&Point { metric: name, values, value, resource, point })?,
                None => others = others.saturating_add(1),
            }
        }
    }
    Ok(others)
}

fn sum_of(sum: &[u8]) -> Result<Values, NotOtlp> {
    const DELTA: u64 = 1;
    let (mut is_delta, mut is_monotonic) = (false, false);
    for field in fields(sum) {
        match field? {
            (2, Value::Number(temporality)) => is_delta = temporality == DELTA,
            (3, Value::Number(monotonic)) => is_monotonic = monotonic != 0,
            _ => {}
        }
    }
    Ok(Values::Sum { is_delta, is_monotonic })
}

/// The value of a data point; `None` if it has none.
fn number(point: &[u8]) -> Result<Option<f64>, NotOtlp> {
    let mut value = None;
    for field in fields(point) {
        match field? {
            (4, Value::Fixed(bits)) => value = Some(f64::from_bits(bits)),
            #[expect(clippy::cast_precision_loss, reason = "the page has numbers of this precision")]
            (6, Value::Fixed(bits)) => value = Some(bits.cast_signed() as f64),
            _ => {}
        }
    }
    Ok(value)
}

impl<'a> Point<'a> {
    /// The attributes of the point, without those that are lists or maps.
    pub fn attributes(&self) -> impl Iterator<Item = Result<Attribute<'a>, NotOtlp>> + use<'a> {
        messages(self.point, 7).filter_map(|attribute| attribute.and_then(attribute_of).transpose())
    }
}

/// `None` if its value is a list, a map or bytes.
fn attribute_of(attribute: &[u8]) -> Result<Option<Attribute<'_>>, NotOtlp> {
    let (mut name, mut value) = ("", None);
    for field in fields(attribute) {
        match field? {
            (1, Value::Bytes(text)) => name = str::from_utf8(text).map_err(|_| NotOtlp)?,
            (2, Value::Bytes(any)) => value = text_of(any)?,
            _ => {}
        }
    }
    Ok(value.map(|value| (name, value)))
}

/// The text of an `AnyValue`; `None` if it is a list, a map or bytes.
fn text_of(any: &[u8]) -> Result<Option<Cow<'_, str>>, NotOtlp> {
    let mut text = None;
    for field in fields(any) {
        text = match field? {
            (1, Value::Bytes(bytes)) => Some(str::from_utf8(bytes).map_err(|_| NotOtlp)?.into()),
            (2, Value::Number(flag)) => Some((flag != 0).to_string().into()),
            (3, Value::Number(number)) => Some(number.cast_signed().to_string().into()),
            (4, Value::Fixed(bits)) => Some(f64::from_bits(bits).to_string().into()),
            _ => text,
        };
    }
    Ok(text)
}

/// A field of a protocol buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
    /// Of four bytes; OTLP's metrics have none that counts here.
    Short,
}

/// The messages in a repeated field.
fn messages(bytes: &[u8], wanted: u32) -> impl Iterator<Item = Result<&[u8], NotOtlp>> {
    fields(bytes).filter_map(move |field| match field {
        Ok((number, Value::Bytes(message))) if number == wanted => Some(Ok(message)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The fields of a message. After an error there are no more.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Value<'_>), NotOtlp>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or(NotOtlp))
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
    let value = match tag & 7 {
        0 => Value::Number(varint(rest)?),
        1 => Value::Fixed(u64::from_le_bytes(*rest.split_off(..8)?.first_chunk()?)),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(rest.split_off(..length)?)
        }
        5 => rest.split_off(..4).map(|_| Value::Short)?,
        // Groups have not been written for many years.
        _ => return None,
    };
    Some((number, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A field with a message or text.
    pub fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = content.len();
        while length > 127 {
            field.push((length & 127) as u8 | 128);
            length >>= 7;
        }
        field.push(length as u8);
        [field, content.to_vec()].concat()
    }

    fn number_field(number: u8, value: u8) -> Vec<u8> {
        vec![number << 3, value]
    }

    fn fixed(number: u8, bits: u64) -> Vec<u8> {
        [vec![number << 3 | 1], bits.to_le_bytes().to_vec()].concat()
    }

    pub fn attribute(number: u8, name: &str, any: &[u8]) -> Vec<u8> {
        bytes(number, &[bytes(1, name.as_bytes()), bytes(2, any)].concat())
    }

    pub fn text(value: &str) -> Vec<u8> {
        bytes(1, value.as_bytes())
    }

    /// A data point with a floating point number.
    pub fn double(value: f64, attributes: &[Vec<u8>]) -> Vec<u8> {
        bytes(1, &[fixed(4, value.to_bits()), attributes.concat()].concat())
    }

    fn whole(value: i64) -> Vec<u8> {
        bytes(1, &fixed(6, value.cast_unsigned()))
    }

    pub fn gauge(name: &str, points: &[Vec<u8>]) -> Vec<u8> {
        [bytes(1, name.as_bytes()), bytes(5, &points.concat())].concat()
    }

    pub fn sum(name: &str, temporality: u8, monotonic: u8, points: &[Vec<u8>]) -> Vec<u8> {
        let body = [points.concat(), number_field(2, temporality), number_field(3, monotonic)].concat();
        [bytes(7, &body), bytes(1, name.as_bytes())].concat()
    }

    /// A push with the metrics of one resource.
    pub fn push(resource: &[Vec<u8>], metrics: &[Vec<u8>]) -> Vec<u8> {
        let metrics: Vec<Vec<u8>> = metrics.iter().map(|metric| bytes(2, metric)).collect();
        bytes(1, &[bytes(1, &resource.concat()), bytes(2, &metrics.concat())].concat())
    }

    #[derive(Debug, PartialEq)]
    struct Seen(String, Values, f64, Vec<(String, String)>);

    fn read(data: &[u8]) -> Result<(Vec<Seen>, u64), NotOtlp> {
        let mut seen = Vec::new();
        let others = points(data, |point| {
            let attributes = point.attributes().map(Result::unwrap).chain(point.resource.iter().cloned());
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
            seen.push(Seen(point.metric.to_owned(), point.values, point.value, attributes));
            Ok(())
        })?;
        Ok((seen, others))
    }

    #[test]
    fn values_come_with_their_kind_and_with_the_attributes_of_point_and_resource() {
        let resource = attribute(1, "client_rack", &text("r"));
        let broker = attribute(7, "node_id", &number_field(3, 5));
        let data = push(
            &[resource],
            &[
                gauge("lag", &[double(1.5, &[broker]), whole(-3)]),
                sum("sent", 1, 1, &[double(2.0, &[])]),
                sum("open", 2, 0, &[double(4.0, &[])]),
            ],
        );
        let rack = || ("client_rack".to_owned(), "r".to_owned());
        let node = ("node_id".to_owned(), "5".to_owned());
        let (sent, open) = (
            Values::Sum { is_delta: true, is_monotonic: true },
            Values::Sum { is_delta: false, is_monotonic: false },
        );
        let expected = vec![
            Seen("lag".to_owned(), Values::Gauge, 1.5, vec![node, rack()]),
            Seen("lag".to_owned(), Values::Gauge, -3.0, vec![rack()]),
            Seen("sent".to_owned(), sent, 2.0, vec![rack()]),
            Seen("open".to_owned(), open, 4.0, vec![rack()]),
        ];
        assert_eq!(read(&data), Ok((expected, 0)));
    }

    #[test]
    fn values_that_are_not_single_numbers_are_counted() {
        let histogram = [bytes(1, b"latency"), bytes(9, &[whole(1), whole(2)].concat())].concat();
        let without_a_value = gauge("empty", &[bytes(1, &[])]);
        let (seen, others) = read(&push(&[], &[histogram, without_a_value])).unwrap();
        assert_eq!((seen, others), (Vec::new(), 3));
        assert_eq!(read(&[]), Ok((Vec::new(), 0)));
    }

    #[test]
    fn values_of_a_resource_with_many_attributes_are_passed_over() {
        let metric = || [gauge("lag", &[double(1.5, &[])])];
        let nothing = |count| vec![bytes(1, &[]); count];
        assert_eq!(read(&push(&nothing(MOST_OF_RESOURCE), &metric())).unwrap().0.len(), 1);
        assert_eq!(read(&push(&nothing(MOST_OF_RESOURCE + 1), &metric())), Ok((Vec::new(), 1)));
    }

    #[test]
    fn every_truncation_of_a_push_is_refused_or_a_shorter_push() {
        let data = push(&[attribute(1, "a", &text("b"))], &[gauge("lag", &[double(1.5, &[])])]);
        assert_eq!(read(&data).unwrap().0.len(), 1);
        for length in 1..data.len() {
            assert_eq!(read(&data[..length]), Err(NotOtlp), "{length} bytes");
        }
    }

    #[test]
    fn numbers_and_lengths_that_do_not_fit_are_refused() {
        for wrong in [
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x02, 0x00],
            &[0x0b],
            &[0x0d, 0, 0, 0],
        ] {
            assert_eq!(read(wrong), Err(NotOtlp), "{wrong:02x?}");
        }
        let no_text = push(&[], &[bytes(1, &[0xff])]);
        assert_eq!(read(&no_text), Err(NotOtlp));
    }
}
