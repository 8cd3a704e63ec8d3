//! The metrics that clients push, under the names that the clients have given them.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::label::shown;
use crate::api::client_metrics::{Kind, Name, OF_CLIENT, OfClient, Properties};

const HELP: &str = "Pushed by clients.";

/// One value with the labels of its client.
struct Row<'a> {
    client: &'a Properties,
    name: &'a Name,
    value: f64,
}

/// The values of all clients by metric. A metric has one kind on a page: if clients push it with both, the kind of most
/// values counts. Also the number of the other values.
fn grouped(clients: &[OfClient]) -> (BTreeMap<&str, (Kind, Vec<Row<'_>>)>, usize) {
    let mut metrics: BTreeMap<&str, [Vec<Row<'_>>; 2]> = BTreeMap::new();
    for OfClient { properties, series } in clients {
        for (name, value) in series {
            let [counters, gauges] = metrics.entry(&name.metric).or_default();
            let rows = if name.kind == Kind::Counter { counters } else { gauges };
            rows.push(Row { client: properties, name, value: *value });
        }
    }
    let mut left_out = 0;
    let chosen = metrics.into_iter().map(|(metric, [counters, gauges])| {
        left_out += counters.len().min(gauges.len());
        let of_one_kind =
            if counters.len() > gauges.len() { (Kind::Counter, counters) } else { (Kind::Gauge, gauges) };
        (metric, of_one_kind)
    });
    (chosen.collect(), left_out)
}

/// The number of values that [`write()`] leaves out.
pub fn left_out(clients: &[OfClient]) -> usize {
    grouped(clients).1
}

/// Writes the values.
pub fn write(clients: &[OfClient], page: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (metric, (kind, rows)) in grouped(clients).0 {
        let kind_on_page = match kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut encoder = page.encode_descriptor(metric, HELP, None, kind_on_page)?;
        for row in rows {
            let mut encoder = encoder.encode_family(&row)?;
            match kind {
                Kind::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&row.value, None)?,
                Kind::Gauge => encoder.encode_gauge(&row.value)?,
            }
        }
    }
    Ok(())
}

impl EncodeLabelSet for Row<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Properties { instance_id, client_id, software_name, software_version, .. } = self.client;
        let of_client = [instance_id, client_id, software_name, software_version];
        for (name, value) in OF_CLIENT.into_iter().zip(of_client) {
            (name, shown(value)).encode(encoder.encode_label())?;
        }
        for (name, value) in &self.name.labels {
            (name.as_str(), shown(value)).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Clients(fn() -> Vec<OfClient>);

    impl Collector for Clients {
        fn encode(&self, mut page: DescriptorEncoder<'_>) -> fmt::Result {
            write(&(self.0)(), &mut page)
        }
    }

    type Value<'a> = (&'a str, Kind, &'a [(&'a str, &'a str)], f64);

    fn client(id: &str, series: &[Value<'_>]) -> OfClient {
        let properties = Properties {
            instance_id: id.to_owned(),
            client_id: "shop".to_owned(),
            software_name: "soft".to_owned(),
            software_version: "1".to_owned(),
            ..Properties::default()
        };
        let series = series.iter().map(|(metric, kind, labels, value)| {
            let labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            (Name { metric: (*metric).to_owned(), kind: *kind, labels }, *value)
        });
        OfClient { properties: Arc::new(properties), series: series.collect() }
    }

    #[test]
    fn values_of_all_clients_are_grouped_by_metric_and_a_metric_has_the_kind_of_most_of_them() {
        let clients = || {
            let topic = [("topic", "a\"b")];
            vec![
                client("0", &[("lag", Kind::Counter, &[], 9.0)]),
                client("1", &[("lag", Kind::Gauge, &topic, 2.5), ("sent", Kind::Counter, &[], 3.0)]),
                client("2", &[("lag", Kind::Gauge, &[], 1.0), ("sent", Kind::Counter, &[], 4.0)]),
            ]
        };
        assert_eq!(left_out(&clients()), 1);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Clients(clients)));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        let of_client = |id: &str| {
            format!(
                r#"client_instance_id="{id}",client_id="shop",client_software_name="soft",client_software_version="1""#
            )
        };
        let expected = format!(
            "# HELP lag Pushed by clients.\n# TYPE lag gauge\nlag{{{first},topic=\"a\\\"b\"}} 2.5\nlag{{{second}}} 1.0\n\
             # HELP sent Pushed by clients.\n# TYPE sent counter\nsent_total{{{first}}} 3.0\nsent_total{{{second}}} 4.0\n# EOF\n",
            first = of_client("1"),
            second = of_client("2"),
        );
        assert_eq!(page, expected);
    }
}
