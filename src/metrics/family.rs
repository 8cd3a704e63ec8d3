//! The declaration of a metric: its name, its help, and its rows.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabel, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder,
    LabelValueEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::look::Look;
use crate::telemetry::Durations;

/// A metric with one row for each combination of its labels.
pub struct Family {
    /// The page adds `_total` to the name of a counter.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    /// One line without a backslash.
    pub help: &'static str,
    pub rows: fn(&Look, &mut Rows<'_>) -> fmt::Result,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Family {
    pub fn write(&self, look: &Look, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        // A metric without rows is left out, because readers interpret it differently.
        let has_a_row = (self.rows)(look, &mut Rows { page: None, labels: self.labels }).is_err();
        if !has_a_row {
            return Ok(());
        }
        let encoder = page.encode_descriptor(self.name, self.help, None, kind)?;
        (self.rows)(look, &mut Rows { page: Some(encoder), labels: self.labels })
    }

    pub fn shown_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// Receives the rows of a metric.
pub struct Rows<'a> {
    /// Without a page the first row returns an error, which shows that there is a row.
    page: Option<MetricEncoder<'a>>,
    labels: &'static [&'static str],
}

/// The value of a label.
#[derive(Clone, Copy)]
pub enum Label<'a> {
    Text(&'a str),
    Number(i32),
}

impl Rows<'_> {
    pub fn gauge(&mut self, labels: &[Label<'_>], value: impl EncodeGaugeValue) -> fmt::Result {
        self.row(labels, |row| row.encode_gauge(&value))
    }

    pub fn counter(&mut self, labels: &[Label<'_>], value: u64) -> fmt::Result {
        self.row(labels, |row| row.encode_counter::<NoLabelSet, u64, f64>(&value, None))
    }

    pub fn seconds(&mut self, labels: &[Label<'_>], value: f64) -> fmt::Result {
        self.row(labels, |row| row.encode_counter::<NoLabelSet, f64, f64>(&value, None))
    }

    pub fn histogram(&mut self, labels: &[Label<'_>], durations: &Durations) -> fmt::Result {
        let bound = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets: Vec<(f64, u64)> =
            durations.buckets().map(|(upper, count)| (bound(upper), count)).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = durations.sum().as_secs_f64();
        self.row(labels, |row| row.encode_histogram::<NoLabelSet>(sum, count, &buckets, None))
    }

    fn row(
        &mut self,
        labels: &[Label<'_>],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let page = self.page.as_mut().ok_or(fmt::Error)?;
        match labels {
            [] => write(page),
            values => write(&mut page.encode_family(&Labels { names: self.labels, values })?),
        }
    }
}

struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [Label<'a>],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        debug_assert_eq!(self.names.len(), self.values.len(), "every label that was declared has its value");
        for (name, value) in self.names.iter().zip(self.values) {
            (*name, *value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

impl EncodeLabelValue for Label<'_> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Label::Number(number) => EncodeLabelValue::encode(number, encoder),
            Label::Text(text) => text.encode(encoder),
        }
    }
}

impl<'a, T: AsRef<str> + ?Sized> From<&'a T> for Label<'a> {
    fn from(text: &'a T) -> Label<'a> {
        Label::Text(text.as_ref())
    }
}

impl From<i32> for Label<'_> {
    fn from(number: i32) -> Label<'static> {
        Label::Number(number)
    }
}

impl From<i16> for Label<'_> {
    fn from(number: i16) -> Label<'static> {
        Label::Number(number.into())
    }
}
