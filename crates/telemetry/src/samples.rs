//! Parses the text of `/metrics` into samples, so that the page in `admin` shows exactly what `/metrics` reports. A
//! line that can't be parsed is skipped.

use std::collections::BTreeMap;

/// One sample of the exposition text.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSample {
    /// Metric name; for histograms with `_count`, `_sum` or `_bucket`.
    pub name: String,
    /// Label names and values.
    pub labels: BTreeMap<String, String>,
    /// The value as written.
    pub value: String,
}

impl MetricSample {
    /// The value as a number; zero if it is not one.
    pub fn number(&self) -> f64 {
        self.value.parse().unwrap_or(0.0)
    }

    /// The value of a label; empty if the label is missing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Parses the Prometheus text exposition format 0.0.4.
pub fn parse_samples(text: &str) -> Vec<MetricSample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(parse_sample).collect()
}

fn parse_sample(line: &str) -> Option<MetricSample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}')?)?),
        None => (series, BTreeMap::new()),
    };
    Some(MetricSample { name: name.to_owned(), labels, value: value.to_owned() })
}

fn parse_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (mut value, mut chars, mut end) = (String::new(), rest.char_indices(), None);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    escaped => value.push(escaped),
                },
                '"' => {
                    end = Some(at);
                    break;
                }
                other => value.push(other),
            }
        }
        labels.insert(name.to_owned(), value);
        text = rest.get(end?.checked_add(1)?..)?.trim_start_matches(',');
    }
    Some(labels)
}
