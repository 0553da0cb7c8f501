//! Writes the text of `/metrics`. Metric names are written unescaped (a test of `names` checks them), label names are
//! literals in the code, and metrics appear in the order of `names::ALL`.
//!
//! Source: Prometheus text exposition format 0.0.4.

use std::fmt::{Display, Write as _};

use super::meter::Meter;
use super::names::{ALL, MetricKind};
use super::series::{Histogram, MetricSeries, SeriesValue};

impl Meter {
    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for def in ALL {
            let family = self.series(def);
            if family.is_empty() {
                continue;
            }
            let kind = match def.kind {
                MetricKind::Counter | MetricKind::Sum => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram(_) => "histogram",
            };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", def.name, escape_text(def.help, false), def.name);
            for series in &family {
                match &series.value {
                    SeriesValue::Histogram(histogram) => write_histogram(&mut text, def.name, series, histogram),
                    number => write_line(&mut text, def.name, "", series, None, number),
                }
            }
            text.push('\n');
        }
        text
    }
}

fn write_histogram(text: &mut String, name: &str, series: &MetricSeries, histogram: &Histogram) {
    let reading = histogram.read();
    let mut cumulative = 0;
    let bounds = reading.bounds.iter().map(f64::to_string).chain(std::iter::once("+Inf".to_owned()));
    for (bound, count) in bounds.zip(&reading.counts) {
        cumulative += count;
        write_line(text, name, "_bucket", series, Some(&bound), cumulative);
    }
    write_line(text, name, "_sum", series, None, reading.sum);
    write_line(text, name, "_count", series, None, cumulative);
}

fn write_line(
    text: &mut String,
    name: &str,
    suffix: &str,
    series: &MetricSeries,
    bound: Option<&str>,
    value: impl Display,
) {
    let _ = write!(text, "{name}{suffix}");
    let mut separator = '{';
    let labels = series.labels.iter().map(|(name, value)| (*name, value.as_str()));
    for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
        let _ = write!(text, "{separator}{name}=\"{}\"", escape_text(value, true));
        separator = ',';
    }
    let end = if separator == ',' { "}" } else { "" };
    let _ = writeln!(text, "{end} {value}");
}

/// Escapes `\` and newline, and `"` in label values, as the exposition format requires.
fn escape_text(text: &str, is_label_value: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if is_label_value => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
