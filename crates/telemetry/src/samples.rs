//! **What**: reads the text of `/metrics` back into samples. **Why**: the page shows what `/metrics` says, by
//! construction. **Invariants**: a line that can't be read is skipped. **Not here**: the page (`admin`).

use std::collections::BTreeMap;

/// One sample of the exposition text.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Metric name (of histograms: with `_count`, `_sum`, `_bucket`).
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The value as written.
    pub value: String,
}

impl Sample {
    /// The value as a number; zero when it is none.
    pub fn number(&self) -> f64 {
        self.value.parse().unwrap_or(0.0)
    }

    /// A label's value; empty when absent.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Reads Prometheus text exposition format 0.0.4.
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        Some((name, rest)) => (name, read_labels(rest.strip_suffix('}')?)?),
        None => (head, BTreeMap::new()),
    };
    Some(Sample { name: name.to_owned(), labels, value: value.to_owned() })
}

fn read_labels(mut text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (mut value, mut chars, mut end) = (String::new(), rest.char_indices(), None);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
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
