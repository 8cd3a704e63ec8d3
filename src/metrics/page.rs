//! Prints `docs/metrics.md` from the table.

use std::fmt::Write;

use super::MOST_ROWS;
use super::family::Family;
use super::table::SECTIONS;

/// The page as it has to be committed.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    for section in SECTIONS {
        let _ = writeln!(page, "\n## {}\n\n{}\n", section.title, section.about);
        let _ = writeln!(page, "| name | type | labels | |\n|---|---|---|---|");
        for family in section.families {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let Family { kind, help, .. } = family;
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {help} |",
                family.shown_name(),
                kind.name(),
                labels.join(", ")
            );
        }
    }
    page.replace("{most}", &format!("{},000", MOST_ROWS / 1000))
}

const HEAD: &str = "\
# Metrics

Printed from the table in `src/metrics`; `cargo test --test docs` compares. `--http HOST:PORT` answers
`/metrics`, in Prometheus's text or as OpenMetrics, whichever is asked for. Counters begin at 0 when the broker starts.

A topic or group has its rows for as long as it exists. A group's name may hold any letter; quotes, backslashes and
line ends are escaped. One that is longer than 255 letters, or holds other control characters, is shown cut or
replaced, with a checksum behind it. A page has at most {most} rows for partitions and as many for the
partitions of groups; `jackdaw_metrics_left_out` says how many are missing, and the sums by topic are whole. Kafka's own
topics (`__consumer_offsets`) are empty here: their partitions are counted, but have no rows.

The metrics that clients push (KIP-714) are there, too, for subscriptions that `kafka-client-metrics.sh` or any admin client
has made. Only clients that connect while `--http` is on push metrics. In the names, `kafka_client_` stands for
`org.apache.kafka.`, and underscores for other letters. The labels are `client_instance_id`, `client_id`,
`client_software_name`, `client_software_version` and those that the client adds. Differences are added up from the client's
first push on. A client that is silent for three intervals leaves the page.

```yaml
scrape_configs:
  - job_name: jackdaw
    static_configs: [{targets: ['localhost:9644']}]   # where `jackdaw --http localhost:9644` answers
```
";
