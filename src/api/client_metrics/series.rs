//! The values of one client, under the names that they have on `/metrics`.

use std::collections::BTreeMap;

use super::Room;
use super::otlp::{NotOtlp, Point, Values};

/// Kafka's names of clients' metrics begin so. It is replaced by [`PREFIX`].
const KAFKA: &str = "org.apache.kafka.";
/// The names of clients' metrics on the page begin so, and no other names do.
const PREFIX: &str = "kafka_client_";

/// The maximum number of attributes of a value, and of bytes in its name and attributes. A value with more is left out.
const MOST_LABELS: usize = 16;
const MOST_TEXT: usize = 1 << 10;

/// The labels that name the client. A client's own word does not count for them.
pub const OF_CLIENT: [&str; 4] =
    ["client_instance_id", "client_id", "client_software_name", "client_software_version"];

/// The memory of a value beside its texts, and of each of its attributes.
const VALUE: usize = 160;
const LABEL: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The page adds `_total` to its name.
    Counter,
    Gauge,
}

/// The name of a value: a metric, and the labels by which it differs from the metric's other values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub metric: String,
    pub kind: Kind,
    pub labels: BTreeMap<String, String>,
}

/// The values of one client.
#[derive(Debug, Default)]
pub struct Series {
    values: BTreeMap<Name, f64>,
    bytes: usize,
}

impl Series {
    /// The newest value of each name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, f64)> {
        self.values.iter().map(|(name, value)| (name, *value))
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The memory that is counted for them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a value in. It is left out if there is no room. `of_client` are the bytes that the client's own labels have
    /// on each line of the page.
    pub(super) fn take(
        &mut self,
        point: &Point<'_>,
        of_client: usize,
        room: &mut Room<'_>,
    ) -> Result<(), NotOtlp> {
        let name = Name::of(point)?.filter(|name| name.kind == Kind::Gauge || point.value >= 0.0);
        let Some(name) = name else {
            room.leave_out(1);
            return Ok(());
        };
        let is_delta = matches!(point.values, Values::Sum { is_delta: true, .. });
        if let Some(value) = self.values.get_mut(&name) {
            *value = if is_delta { *value + point.value } else { point.value };
            return Ok(());
        }
        let bytes = name.bytes() + of_client;
        if room.take(bytes) {
            self.bytes += bytes;
            self.values.insert(name, point.value);
        } else {
            room.leave_out(1);
        }
        Ok(())
    }
}

impl Name {
    /// `None` if the name is too long for the page.
    fn of(point: &Point<'_>) -> Result<Option<Name>, NotOtlp> {
        let kind = match point.values {
            Values::Sum { is_monotonic: true, .. } => Kind::Counter,
            Values::Sum { is_monotonic: false, .. } | Values::Gauge => Kind::Gauge,
        };
        let mut text = point.metric.len();
        let mut labels = BTreeMap::new();
        for attribute in point.attributes().chain(point.resource.iter().cloned().map(Ok)) {
            let (name, value) = attribute?;
            text = text.saturating_add(name.len()).saturating_add(value.len());
            if text > MOST_TEXT || labels.len() == MOST_LABELS {
                return Ok(None);
            }
            let name = label(name);
            if !OF_CLIENT.contains(&name.as_str()) {
                labels.entry(name).or_insert_with(|| value.into_owned());
            }
        }
        if text > MOST_TEXT {
            return Ok(None);
        }
        let metric = point.metric.strip_prefix(KAFKA).unwrap_or(point.metric);
        let mut metric = format!("{PREFIX}{}", allowed(metric));
        // The page adds it to counters, and a gauge with it could not be told from them.
        while let Some(short) = metric.strip_suffix("_total") {
            metric.truncate(short.len());
        }
        Ok(Some(Name { metric, kind, labels }))
    }

    fn bytes(&self) -> usize {
        let labels = self.labels.iter().map(|(name, value)| LABEL + name.len() + value.len());
        VALUE + self.metric.len() + labels.sum::<usize>()
    }
}

/// The name of a label. Those that begin with two underscores belong to Prometheus.
fn label(attribute: &str) -> String {
    let name = allowed(attribute);
    let name = name.trim_start_matches('_');
    if name.starts_with(|letter: char| letter.is_ascii_digit()) || name.is_empty() {
        return format!("_{name}");
    }
    name.to_owned()
}

/// The text with underscores in place of the letters that names on the page cannot have.
fn allowed(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::otlp::points;
    use super::super::otlp::tests::{attribute, double, gauge, push, sum, text};
    use super::*;

    /// A client's values in a memory of this size.
    struct Play {
        series: Series,
        bytes: usize,
        most: usize,
        left_out: u64,
    }

    impl Play {
        fn new(most: usize) -> Play {
            Play { series: Series::default(), bytes: 0, most, left_out: 0 }
        }

        fn push(&mut self, metrics: &[Vec<u8>]) {
            let Play { series, bytes, most, left_out } = self;
            let mut room = Room { bytes, most: *most, left_out };
            points(&push(&[], metrics), |point| series.take(point, 0, &mut room)).unwrap();
        }

        fn shown(&self) -> Vec<(String, f64)> {
            let shown = |(name, value): (&Name, f64)| {
                let labels: Vec<String> =
                    name.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                (format!("{} {:?} {}", name.metric, name.kind, labels.join(",")), value)
            };
            self.series.iter().map(shown).collect()
        }
    }

    #[test]
    fn differences_are_added_up_and_other_values_are_replaced() {
        let mut play = Play::new(usize::MAX);
        for value in [2.0, 3.0] {
            let point = || [double(value, &[])];
            play.push(&[
                sum("org.apache.kafka.producer.record.send.total", 1, 1, &point()),
                sum("org.apache.kafka.producer.all.total", 2, 1, &point()),
                sum("waiting", 1, 0, &point()),
                gauge("org.apache.kafka.consumer.lag", &point()),
            ]);
        }
        let expected = [
            ("kafka_client_consumer_lag Gauge ", 3.0),
            ("kafka_client_producer_all Counter ", 3.0),
            ("kafka_client_producer_record_send Counter ", 5.0),
            ("kafka_client_waiting Gauge ", 5.0),
        ];
        assert_eq!(play.shown(), expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn attributes_are_labels_with_names_that_prometheus_reads() {
        let mut play = Play::new(usize::MAX);
        let attributes = ["node.id", "__name__", "9", ""].map(|name| attribute(7, name, &text("x")));
        play.push(&[gauge("a-b", &[double(1.0, &attributes)])]);
        assert_eq!(play.shown(), [("kafka_client_a_b Gauge _=x,_9=x,name__=x,node_id=x".to_owned(), 1.0)]);
    }

    #[test]
    fn counters_are_numbers_from_zero_up_and_clients_do_not_name_themselves() {
        let mut play = Play::new(usize::MAX);
        let other = attribute(7, "client.id", &text("other"));
        play.push(&[
            sum("a", 1, 1, &[double(-1.0, &[])]),
            sum("b", 1, 1, &[double(f64::NAN, &[])]),
            gauge("c_total", &[double(-1.0, &[other])]),
        ]);
        assert_eq!(play.shown(), [("kafka_client_c Gauge ".to_owned(), -1.0)]);
        assert_eq!(play.left_out, 2);
    }

    #[test]
    fn values_beyond_the_memory_and_with_long_names_are_left_out() {
        let mut play = Play::new(400);
        let metrics: Vec<Vec<u8>> =
            (0..10).map(|nth| gauge(&format!("m{nth}"), &[double(1.0, &[])])).collect();
        play.push(&metrics);
        assert_eq!((play.shown().len(), play.left_out), (2, 8));
        assert!(play.bytes <= 400 && play.bytes == play.series.bytes());
        play.push(&metrics[..1]);
        assert_eq!(play.left_out, 8, "known names need no more");
        let mut play = Play::new(usize::MAX);
        let long = attribute(7, "long", &text(&"x".repeat(MOST_TEXT)));
        let many: Vec<Vec<u8>> =
            (0..=MOST_LABELS).map(|nth| attribute(7, &format!("l{nth}"), &text("x"))).collect();
        play.push(&[
            gauge("long", &[double(1.0, &[long])]),
            gauge("many", &[double(1.0, &many)]),
            gauge(&"n".repeat(MOST_TEXT + 1), &[double(1.0, &[])]),
        ]);
        assert_eq!((play.shown().len(), play.left_out), (0, 3));
    }
}
