//! The metrics that clients push, under the names that the clients have given them.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::label::shown;
use crate::api::client_metrics::{Kind, Name, OfClient, Properties};

const HELP: &str = "Pushed by clients.";

/// One value with the labels of its client.
struct Row<'a> {
    client: &'a Properties,
    name: &'a Name,
    value: f64,
}

/// Writes all values. A name has one kind on a page: if clients push it with several kinds, the first one counts.
pub fn write(clients: &[OfClient], page: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut metrics: BTreeMap<&str, (Kind, Vec<Row<'_>>)> = BTreeMap::new();
    for OfClient { properties, series } in clients {
        for (name, value) in series {
            let (kind, rows) = metrics.entry(&name.metric).or_insert((name.kind, Vec::new()));
            if *kind == name.kind {
                rows.push(Row { client: properties, name, value: *value });
            }
        }
    }
    for (metric, (kind, rows)) in metrics {
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
        let of_client = [
            ("client_instance_id", instance_id),
            ("client_id", client_id),
            ("client_software_name", software_name),
            ("client_software_version", software_version),
        ];
        for (name, value) in of_client {
            (name, shown(value)).encode(encoder.encode_label())?;
        }
        // A client's own word does not count for these.
        let others =
            self.name.labels.iter().filter(|(name, _)| of_client.iter().all(|(known, _)| known != name));
        for (name, value) in others {
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
    fn values_of_all_clients_are_grouped_by_metric_and_a_client_cannot_pose_as_another() {
        let clients = || {
            let odd = [("client_id", "other"), ("topic", "a\"b")];
            vec![
                client("1", &[("lag", Kind::Gauge, &odd, 2.5), ("sent", Kind::Counter, &[], 3.0)]),
                client("2", &[("lag", Kind::Counter, &[], 9.0), ("sent", Kind::Counter, &[], 4.0)]),
            ]
        };
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
            "# HELP lag Pushed by clients.\n# TYPE lag gauge\nlag{{{first},topic=\"a\\\"b\"}} 2.5\n\
             # HELP sent Pushed by clients.\n# TYPE sent counter\nsent_total{{{first}}} 3.0\nsent_total{{{second}}} 4.0\n# EOF\n",
            first = of_client("1"),
            second = of_client("2"),
        );
        assert_eq!(page, expected);
    }
}
