//! [`VaultSummary`]: attribute keys whose values a vault step moved although no list names them, each with the line of
//! configuration that keeps it, and the privacy profile of each vault step. A moved key breaks a dashboard's GROUP BY,
//! and its owner must be able to find out why.
//! The summary is made from the metrics alone. `processors/vault` decides what moves.

use super::meter::Meter;
use super::names;
use super::series::MetricSeries;

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
        let in_force = meter.series(&names::VAULT_PRIVACY).into_iter().filter(|series| series.number() == Some(1.0));
        let privacy_profiles: Vec<(String, String)> =
            in_force.map(|series| (series.label("processor").to_owned(), series.label("profile").to_owned())).collect();
        Self { moved_keys: collect_moved_keys(meter, &privacy_profiles), privacy_profiles }
    }
}

fn collect_moved_keys(meter: &Meter, profiles: &[(String, String)]) -> Vec<MovedKey> {
    let is_strict = |vault: &str| profiles.iter().any(|(processor, profile)| processor == vault && profile == "strict");
    let to_moved_key = |series: MetricSeries| {
        let count = series.number().filter(|count| *count > 0.0)? as u64;
        let (processor, key) = (series.label("processor").to_owned(), series.label("key").to_owned());
        let keep_line = match series.label("rule") {
            "privacy" => is_strict(&processor).then(|| format!("{processor}: {{ privacy: standard }}")),
            _ => (key != "other").then(|| format!("{processor}: {{ labels: {{ keep: [{}] }} }}", yaml_scalar(&key))),
        };
        Some(MovedKey { processor, key, count, keep_line })
    };
    let mut moved_keys: Vec<MovedKey> =
        meter.series(&names::VAULT_MOVED_VALUES).into_iter().filter_map(to_moved_key).collect();
    moved_keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    moved_keys
}

/// Writes a key as a YAML scalar, quoted if necessary.
pub(super) fn yaml_scalar(key: &str) -> String {
    let has_plain_start = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_plain = has_plain_start && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    let is_yaml_word =
        ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].iter().any(|word| key.eq_ignore_ascii_case(word));
    if is_plain && !is_yaml_word { key.to_owned() } else { format!("'{}'", key.replace('\'', "''")) }
}

#[cfg(test)]
mod tests;
