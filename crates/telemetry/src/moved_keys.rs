//! [`VaultSummary`]: attribute keys whose values a vault step moved although no list names them, each with the line of
//! configuration that keeps it, and the privacy profile of each vault step. A moved key breaks a dashboard's GROUP BY,
//! and its owner must be able to find out why.
//! The summary is made from the text of `/metrics` alone. `processors/vault` decides what moves.

use super::meter::Meter;
use super::names;
use super::samples::{MetricSample, parse_samples};

/// A key whose values moved to the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedKey {
    /// Id of the vault step.
    pub processor: String,
    /// The key, or `other` for all keys that are not listed singly.
    pub key: String,
    /// Number of values since the gateway started.
    pub count: u64,
    /// The configuration line that keeps the key's short texts; `None` if no line keeps the key.
    pub keep_line: Option<String>,
}

/// The rule that applies to every `keep` line.
pub const KEEP_RULE: &str = "texts of one line and at most 256 bytes stay under a key that `labels.keep` lists";

/// The vault steps, as `/metrics` reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultSummary {
    /// The privacy profile of each step, as `(processor, profile)`.
    pub privacy_profiles: Vec<(String, String)>,
    /// The keys whose values moved, most frequent first.
    pub moved_keys: Vec<MovedKey>,
}

impl VaultSummary {
    /// Reads the current metrics.
    pub fn from_meter(meter: &Meter) -> Self {
        Self::from_samples(&parse_samples(&meter.render()))
    }

    pub(super) fn from_samples(samples: &[MetricSample]) -> Self {
        let privacy_profiles = collect_profiles(samples);
        Self { moved_keys: collect_moved_keys(samples, &privacy_profiles), privacy_profiles }
    }
}

fn collect_moved_keys(samples: &[MetricSample], profiles: &[(String, String)]) -> Vec<MovedKey> {
    let is_strict = |vault: &str| profiles.iter().any(|(processor, profile)| processor == vault && profile == "strict");
    let counted =
        samples.iter().filter(|sample| sample.name == names::VAULT_MOVED_VALUES.name && sample.number() > 0.0);
    let mut moved_keys: Vec<MovedKey> = counted
        .map(|sample| {
            let (processor, key) = (sample.label("processor").to_owned(), sample.label("key").to_owned());
            let keep_line = match sample.label("rule") {
                "privacy" => is_strict(&processor).then(|| format!("{processor}: {{ privacy: standard }}")),
                _ => {
                    (key != "other").then(|| format!("{processor}: {{ labels: {{ keep: [{}] }} }}", yaml_scalar(&key)))
                }
            };
            MovedKey { processor, key, count: sample.number() as u64, keep_line }
        })
        .collect();
    moved_keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    moved_keys
}

/// Writes a key as a YAML scalar, quoted if necessary.
fn yaml_scalar(key: &str) -> String {
    let has_plain_start = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_plain = has_plain_start && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    let is_yaml_word =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].iter().any(|word| key.eq_ignore_ascii_case(word));
    if is_plain && !is_yaml_word { key.to_owned() } else { format!("'{}'", key.replace('\'', "''")) }
}

fn collect_profiles(samples: &[MetricSample]) -> Vec<(String, String)> {
    let in_force = samples.iter().filter(|sample| sample.name == names::VAULT_PRIVACY.name && sample.number() == 1.0);
    in_force.map(|sample| (sample.label("processor").to_owned(), sample.label("profile").to_owned())).collect()
}

#[cfg(test)]
mod tests;
