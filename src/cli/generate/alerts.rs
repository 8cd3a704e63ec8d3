//! The alert rules for Prometheus, one row each. `compat/prometheus` loads them into a real one.

use std::fmt::Write;

/// It fires once the value has compared like this for so long.
pub struct Alert {
    pub name: &'static str,
    pub value: &'static str,
    pub compared: &'static str,
    pub lasting: &'static str,
    pub severity: Severity,
    pub summary: &'static str,
    /// The next step.
    pub step: &'static str,
}

#[derive(Clone, Copy)]
pub enum Severity {
    Critical,
    Warning,
}

use Severity::{Critical, Warning};

const fn alert(
    name: &'static str,
    (value, compared): (&'static str, &'static str),
    lasting: &'static str,
    severity: Severity,
    summary: &'static str,
    step: &'static str,
) -> Alert {
    Alert { name, value, compared, lasting, severity, summary, step }
}

pub const ALERTS: &[Alert] = &[
    alert(
        "JackdawDown",
        ("up{job=\"jackdaw\"}", "== 0"),
        "1m",
        Critical,
        "The broker at {{ $labels.instance }} cannot be scraped",
        "See whether the process runs, and the end of its log.",
    ),
    alert(
        "JackdawTakesNoWrites",
        ("jackdaw_writable", "== 0"),
        "0m",
        Critical,
        "The journal of {{ $labels.instance }} has failed: nothing is written until a restart",
        "Check the disk, then restart. Acknowledged records are safe.",
    ),
    alert(
        "JackdawDiskFull",
        ("jackdaw_disk_full", "== 1"),
        "0m",
        Critical,
        "The disk of {{ $labels.instance }} is full: records are refused",
        "Make room: shorten the retention of a topic, delete one, or enlarge the disk.",
    ),
    alert(
        "JackdawDiskLow",
        ("jackdaw_disk_free_bytes / jackdaw_disk_bytes", "< 0.1"),
        "10m",
        Warning,
        "Less than a tenth of the disk of {{ $labels.instance }} is free",
        "Make room before records are refused.",
    ),
    alert(
        "JackdawDiskFillsUp",
        ("predict_linear(jackdaw_disk_free_bytes[6h], 86400)", "< 0"),
        "1h",
        Warning,
        "The disk of {{ $labels.instance }} is full in less than a day at this rate",
        "See which topics grow, and whether their retention is what you want.",
    ),
    alert(
        "JackdawPartitionsOutOfService",
        ("jackdaw_trouble{state=\"partitions_out_of_service\"}", "> 0"),
        "0m",
        Critical,
        "{{ $value }} partitions of {{ $labels.instance }} are out of service: their files are damaged",
        "Stop the broker and run `jackdaw log verify` with its data directory; restore a backup, or repair and accept the loss.",
    ),
    alert(
        "JackdawPartitionsNotWritable",
        ("jackdaw_trouble{state=\"partitions_not_writable\"}", "> 0"),
        "1m",
        Critical,
        "{{ $value }} partitions of {{ $labels.instance }} refuse records: their files cannot be written",
        "See the log for the file and the reason.",
    ),
    alert(
        "JackdawPartitionsWithoutLeader",
        ("kafka_controller_kafkacontroller_offlinepartitionscount", "> 0"),
        "1m",
        Critical,
        "{{ $value }} partitions of {{ $labels.instance }} have no leader",
        "Restart the broker: all virtual brokers start, and each partition has a leader again.",
    ),
    alert(
        "JackdawClockUntrusted",
        ("jackdaw_trouble{state=\"clock_untrusted\"}", "> 0"),
        "5m",
        Warning,
        "The clock of {{ $labels.instance }} looks wrong: nothing is deleted by age",
        "Set the clock, or confirm it with jackdaw.clock.confirmed.ms.",
    ),
    alert(
        "JackdawRetentionHalted",
        ("jackdaw_trouble{state=\"retention_halted\"}", "> 0"),
        "30m",
        Warning,
        "Records of {{ $labels.instance }} that should be deleted are kept",
        "/health has the reason.",
    ),
    alert(
        "JackdawBackupStalled",
        ("jackdaw_trouble{state=\"backup_stalled\"}", "> 0"),
        "0m",
        Warning,
        "A backup of {{ $labels.instance }} makes no progress, and files that are not needed any more wait for it",
        "Let it go on or end it. After five minutes it loses the files and fails.",
    ),
    alert(
        "JackdawSlowDisk",
        (
            "histogram_quantile(0.99, sum by (instance, le) (rate(jackdaw_sync_duration_seconds_bucket[5m])))",
            "> 0.5",
        ),
        "10m",
        Warning,
        "Syncs of {{ $labels.instance }} take {{ $value | humanizeDuration }}: acknowledgements wait for them",
        "See what else uses the disk.",
    ),
    alert(
        "JackdawScrubLate",
        ("time() - jackdaw_scrub_last_pass_timestamp_seconds", "> 21 * 86400"),
        "1h",
        Warning,
        "The stored records of {{ $labels.instance }} were not checked for three weeks",
        "Raise jackdaw.scrub.interval.ms to what the disk can read, or see why it is slow.",
    ),
    alert(
        "JackdawGroupBehind",
        ("max by (instance, consumergroup, topic) (jackdaw_consumergroup_lag_seconds)", "> 600"),
        "15m",
        Warning,
        "The group {{ $labels.consumergroup }} has not read records of {{ $labels.topic }} for {{ $value | humanizeDuration }}",
        "See its members with `jackdaw group describe`.",
    ),
    alert(
        "JackdawLateTransactions",
        ("kafka_server_replicamanager_partitionswithlatetransactionscount", "> 0"),
        "5m",
        Warning,
        "{{ $value }} partitions of {{ $labels.instance }} wait for a transaction that does not end",
        "`jackdaw transaction list` shows it, `jackdaw transaction abort` ends it.",
    ),
    alert(
        "JackdawCertificateExpires",
        ("jackdaw_tls_certificate_expiry_timestamp_seconds - time()", "< 14 * 86400"),
        "1h",
        Warning,
        "The certificate {{ $labels.subject }} of {{ $labels.listener }} expires in {{ $value | humanizeDuration }}",
        "Replace it in its key store or trust store, and send SIGHUP.",
    ),
    alert(
        "JackdawFewOpenFilesLeft",
        ("process_open_fds{job=\"jackdaw\"} / process_max_fds{job=\"jackdaw\"}", "> 0.9"),
        "10m",
        Warning,
        "{{ $labels.instance }} has nearly as many files open as it may have",
        "Raise the limit of open files, and restart.",
    ),
    alert(
        "JackdawMemoryBudget",
        ("jackdaw_memory_bytes / jackdaw_memory_limit_bytes", "> 0.9"),
        "15m",
        Warning,
        "The memory for {{ $labels.budget }} of {{ $labels.instance }} is nearly used up: clients wait or are refused",
        "docs/limits.md says what happens then, and which setting raises it.",
    ),
    alert(
        "JackdawRestarts",
        ("changes(process_start_time_seconds{job=\"jackdaw\"}[1h])", "> 3"),
        "0m",
        Warning,
        "{{ $labels.instance }} was started {{ $value }} times within an hour",
        "See the end of the log before each start.",
    ),
    alert(
        "JackdawLogLinesDropped",
        ("increase(jackdaw_log_lines_dropped_total[15m])", "> 0"),
        "0m",
        Warning,
        "Log lines of {{ $labels.instance }} were dropped",
        "Whatever reads the log is too slow, or its disk is full.",
    ),
];

/// The file that Prometheus reads.
pub fn yaml() -> String {
    let mut file = String::from("groups:\n  - name: jackdaw\n    rules:\n");
    for alert in ALERTS {
        let Alert { name, value, compared, lasting, severity, summary, step } = alert;
        let severity = match severity {
            Critical => "critical",
            Warning => "warning",
        };
        let expression = quoted(&format!("{value} {compared}"));
        let _ = write!(
            file,
            "      - alert: {name}\n        expr: {expression}\n        for: {lasting}\n        labels:\n          \
             severity: {severity}\n        annotations:\n          summary: {}\n          description: {}\n",
            quoted(summary),
            quoted(step),
        );
    }
    file
}

/// A string of YAML.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
