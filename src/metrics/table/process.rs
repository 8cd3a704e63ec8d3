//! Metrics that all processes have.

use super::super::family::Family;
use super::{counter, gauge};

pub const FAMILIES: &[Family] = &[
    counter("process_cpu_seconds", &[], "Processor time that was used.", |look, rows| {
        look.process.cpu_seconds.map_or(Ok(()), |seconds| rows.seconds(&[], seconds))
    }),
    gauge("process_open_fds", &[], "Open files, connections included.", |look, rows| {
        look.process.open_files.map_or(Ok(()), |files| rows.gauge(&[], files))
    }),
    gauge("process_max_fds", &[], "How many files may be open.", |look, rows| {
        look.process.most_files.map_or(Ok(()), |files| rows.gauge(&[], files))
    }),
    gauge("process_resident_memory_bytes", &[], "Memory that is in use.", |look, rows| {
        look.process.resident_bytes.map_or(Ok(()), |bytes| rows.gauge(&[], bytes))
    }),
    gauge("process_virtual_memory_bytes", &[], "Addresses that are in use.", |look, rows| {
        look.process.virtual_bytes.map_or(Ok(()), |bytes| rows.gauge(&[], bytes))
    }),
    gauge("process_start_time_seconds", &[], "When the broker started, since 1970.", |look, rows| {
        rows.gauge(&[], look.broker.started.0 as f64 / 1000.0)
    }),
];
