//! The dashboard for Grafana. Each panel is a row of [`PANELS`]; `compat/prometheus` runs all queries on a real Prometheus.

use serde_json::{Value, json};

/// A panel; `section` begins a new row of the dashboard wherever it changes.
pub struct Panel {
    pub section: &'static str,
    pub title: &'static str,
    /// One of Grafana's units.
    pub unit: &'static str,
    pub about: &'static str,
    /// Expressions, each with its legend.
    pub queries: &'static [(&'static str, &'static str)],
}

const fn panel(
    section: &'static str,
    title: &'static str,
    unit: &'static str,
    about: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { section, title, unit, about, queries }
}

const HEALTH: &str = "Health";
const TRAFFIC: &str = "Traffic";
const GROUPS: &str = "Groups and transactions";
const DISK: &str = "Disk";
const CLIENTS: &str = "Clients";
const PROCESS: &str = "Process";

pub const PANELS: &[Panel] = &[
    panel(
        HEALTH,
        "Problems",
        "short",
        "0 without a problem. /health has the reasons.",
        &[("sum by (state) (jackdaw_trouble{instance=~\"$instance\"})", "{{state}}")],
    ),
    panel(
        HEALTH,
        "Takes writes",
        "short",
        "0 once the journal has failed, until a restart.",
        &[("min by (instance) (jackdaw_writable{instance=~\"$instance\"})", "{{instance}}")],
    ),
    panel(
        HEALTH,
        "Partitions without a leader or out of service",
        "short",
        "",
        &[
            (
                "sum(kafka_controller_kafkacontroller_offlinepartitionscount{instance=~\"$instance\"})",
                "without a leader",
            ),
            (
                "sum(kafka_server_replicamanager_offlinereplicacount{instance=~\"$instance\"})",
                "out of service",
            ),
        ],
    ),
    panel(
        HEALTH,
        "Version",
        "short",
        "When the line changes, another version or durability was started.",
        &[(
            "max by (version, durability) (jackdaw_info{instance=~\"$instance\"})",
            "{{version}}, durability {{durability}}",
        )],
    ),
    panel(
        TRAFFIC,
        "Records in",
        "wps",
        "Appended records per second.",
        &[(
            "sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesin_total{topic!=\"\",instance=~\"$instance\"}[$__rate_interval]))",
            "{{topic}}",
        )],
    ),
    panel(
        TRAFFIC,
        "Bytes in and out",
        "Bps",
        "Of all topics.",
        &[
            (
                "sum(rate(kafka_server_brokertopicmetrics_bytesin_total{topic=\"\",instance=~\"$instance\"}[$__rate_interval]))",
                "in",
            ),
            (
                "sum(rate(kafka_server_brokertopicmetrics_bytesout_total{topic=\"\",instance=~\"$instance\"}[$__rate_interval]))",
                "out",
            ),
        ],
    ),
    panel(
        TRAFFIC,
        "Requests",
        "reqps",
        "",
        &[(
            "sum by (request) (rate(kafka_network_requestmetrics_requests_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{request}}",
        )],
    ),
    panel(
        TRAFFIC,
        "Errors in answers",
        "short",
        "Per second, by request and Kafka's code. Some are ordinary, such as those of a rebalance.",
        &[(
            "sum by (request, error) (rate(kafka_network_requestmetrics_errors_total{instance=~\"$instance\"}[$__rate_interval])) or vector(0)",
            "{{request}} {{error}}",
        )],
    ),
    panel(
        TRAFFIC,
        "Time of requests, 99 of 100",
        "s",
        "With the waits for records, members and the disk.",
        &[(
            "histogram_quantile(0.99, sum by (le, request) (rate(jackdaw_request_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
            "{{request}}",
        )],
    ),
    panel(
        TRAFFIC,
        "Throttled",
        "short",
        "Answers per second after which a client was held back.",
        &[(
            "sum by (quota) (rate(jackdaw_throttled_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{quota}}",
        )],
    ),
    panel(
        GROUPS,
        "Lag in records",
        "short",
        "",
        &[(
            "sum by (consumergroup, topic) (kafka_consumergroup_lag_sum{instance=~\"$instance\"})",
            "{{consumergroup}} {{topic}}",
        )],
    ),
    panel(
        GROUPS,
        "Lag in seconds",
        "s",
        "How long the first record that a group has not read has been waiting.",
        &[(
            "max by (consumergroup, topic) (jackdaw_consumergroup_lag_seconds{instance=~\"$instance\"})",
            "{{consumergroup}} {{topic}}",
        )],
    ),
    panel(
        GROUPS,
        "Groups",
        "short",
        "",
        &[
            (
                "sum(kafka_coordinator_group_groupmetadatamanager_numgroupsstable{instance=~\"$instance\"})",
                "stable",
            ),
            (
                "sum(kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance{instance=~\"$instance\"}) + sum(kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance{instance=~\"$instance\"})",
                "rebalancing",
            ),
            (
                "sum(kafka_coordinator_group_groupmetadatamanager_numgroupsempty{instance=~\"$instance\"})",
                "empty",
            ),
        ],
    ),
    panel(
        GROUPS,
        "Members",
        "short",
        "",
        &[(
            "sum by (consumergroup) (kafka_consumergroup_members{instance=~\"$instance\"})",
            "{{consumergroup}}",
        )],
    ),
    panel(
        GROUPS,
        "Open transactions",
        "short",
        "",
        &[("sum(jackdaw_transactions_open{instance=~\"$instance\"})", "open")],
    ),
    panel(
        GROUPS,
        "Age of the oldest open transaction",
        "s",
        "Consumers of committed records wait for it.",
        &[("max(jackdaw_transaction_oldest_open_seconds{instance=~\"$instance\"}) or vector(0)", "oldest")],
    ),
    panel(
        DISK,
        "Free space",
        "bytes",
        "",
        &[
            ("min by (instance) (jackdaw_disk_free_bytes{instance=~\"$instance\"})", "free on {{instance}}"),
            ("min by (instance) (jackdaw_disk_bytes{instance=~\"$instance\"})", "all of {{instance}}"),
        ],
    ),
    panel(
        DISK,
        "Size of topics",
        "bytes",
        "",
        &[("topk(20, sum by (topic) (kafka_log_log_size{instance=~\"$instance\"}))", "{{topic}}")],
    ),
    panel(
        DISK,
        "Time of syncs, 99 of 100",
        "s",
        "An acknowledgement waits for one.",
        &[(
            "histogram_quantile(0.99, sum by (le, instance) (rate(jackdaw_sync_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
            "{{instance}}",
        )],
    ),
    panel(
        DISK,
        "Journal",
        "Bps",
        "Written bytes.",
        &[(
            "sum by (instance) (rate(jackdaw_journal_bytes_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{instance}}",
        )],
    ),
    panel(
        DISK,
        "Rounds and snapshots",
        "short",
        "Per second. Records that arrive together share a round.",
        &[
            ("sum(rate(jackdaw_journal_rounds_total{instance=~\"$instance\"}[$__rate_interval]))", "rounds"),
            ("sum(rate(jackdaw_snapshots_total{instance=~\"$instance\"}[$__rate_interval]))", "snapshots"),
        ],
    ),
    panel(
        DISK,
        "Scrub",
        "Bps",
        "Stored records that are checked again in the background.",
        &[(
            "sum by (instance) (rate(jackdaw_scrub_bytes_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{instance}}",
        )],
    ),
    panel(
        CLIENTS,
        "Connections",
        "short",
        "",
        &[("sum by (instance) (jackdaw_connections{instance=~\"$instance\"})", "{{instance}}")],
    ),
    panel(
        CLIENTS,
        "Connections that ended",
        "short",
        "Per second, by who or what ended them.",
        &[(
            "sum by (reason) (rate(jackdaw_connections_closed_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{reason}}",
        )],
    ),
    panel(
        CLIENTS,
        "Refused clients",
        "short",
        "Per second.",
        &[
            (
                "sum(rate(jackdaw_logins_total{outcome=\"failed\",instance=~\"$instance\"}[$__rate_interval])) or vector(0)",
                "failed logins",
            ),
            (
                "sum(rate(jackdaw_tls_handshakes_failed_total{instance=~\"$instance\"}[$__rate_interval])) or vector(0)",
                "failed TLS handshakes",
            ),
            (
                "sum(rate(jackdaw_denials_total{instance=~\"$instance\"}[$__rate_interval])) or vector(0)",
                "denials",
            ),
        ],
    ),
    panel(
        CLIENTS,
        "Memory for clients",
        "percentunit",
        "The part of each budget that is in use.",
        &[(
            "max by (budget) (jackdaw_memory_bytes{instance=~\"$instance\"} / jackdaw_memory_limit_bytes{instance=~\"$instance\"})",
            "{{budget}}",
        )],
    ),
    panel(
        PROCESS,
        "Processor",
        "percentunit",
        "1 is one core.",
        &[(
            "sum by (instance) (rate(process_cpu_seconds_total{instance=~\"$instance\",job=~\"$job\"}[$__rate_interval]))",
            "{{instance}}",
        )],
    ),
    panel(
        PROCESS,
        "Memory",
        "bytes",
        "",
        &[(
            "sum by (instance) (process_resident_memory_bytes{instance=~\"$instance\",job=~\"$job\"})",
            "{{instance}}",
        )],
    ),
    panel(
        PROCESS,
        "Open files",
        "short",
        "Connections included.",
        &[
            (
                "sum by (instance) (process_open_fds{instance=~\"$instance\",job=~\"$job\"})",
                "open on {{instance}}",
            ),
            (
                "sum by (instance) (process_max_fds{instance=~\"$instance\",job=~\"$job\"})",
                "limit of {{instance}}",
            ),
        ],
    ),
    panel(
        PROCESS,
        "Time since the start",
        "s",
        "",
        &[(
            "time() - max by (instance) (process_start_time_seconds{instance=~\"$instance\",job=~\"$job\"})",
            "{{instance}}",
        )],
    ),
];

const WIDTH: usize = 12;
const HEIGHT: usize = 8;

/// The file that Grafana imports.
pub fn json() -> String {
    let mut panels: Vec<Value> = Vec::new();
    let (mut y, mut section, mut in_line) = (0, "", 0);
    for panel in PANELS {
        if panel.section != section {
            y += if in_line > 0 { HEIGHT } else { 0 };
            (section, in_line) = (panel.section, 0);
            let place = json!({"h": 1, "w": 24, "x": 0, "y": y});
            panels.push(json!({"id": panels.len() + 1, "type": "row", "title": section, "gridPos": place, "panels": []}));
            y += 1;
        }
        let place = json!({"h": HEIGHT, "w": WIDTH, "x": in_line * WIDTH, "y": y});
        panels.push(panel.json(panels.len() + 1, &place));
        in_line += 1;
        if in_line == 24 / WIDTH {
            (y, in_line) = (y + HEIGHT, 0);
        }
    }
    let dashboard = json!({
        "uid": "jackdaw",
        "title": "Jackdaw",
        "tags": ["jackdaw", "kafka"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable("job", "label_values(jackdaw_info, job)"),
            variable("instance", "label_values(jackdaw_info{job=~\"$job\"}, instance)"),
        ]},
        "panels": panels,
    });
    format!("{dashboard:#}\n")
}

/// A variable whose values are asked for.
fn variable(name: &str, query: &str) -> Value {
    json!({
        "name": name, "type": "query", "datasource": source(), "query": query, "refresh": 2,
        "includeAll": true, "allValue": ".*", "multi": true,
        "current": {"text": "All", "value": "$__all"},
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

impl Panel {
    fn json(&self, id: usize, place: &Value) -> Value {
        let target = |(number, (expression, legend)): (usize, &(&str, &str))| {
            let name = char::from(b'A' + u8::try_from(number).unwrap_or(0)).to_string();
            json!({"refId": name, "datasource": source(), "expr": expression, "legendFormat": legend})
        };
        let targets: Vec<Value> = self.queries.iter().enumerate().map(target).collect();
        json!({
            "id": id, "type": "timeseries", "title": self.title, "description": self.about,
            "datasource": source(), "gridPos": place, "targets": targets,
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        })
    }
}
