//! [`VaultSummary`]: what users may want to change about a vault step, with the lines of configuration to paste: the
//! attribute keys whose values moved although no list names them, and the services that send agents' operations but are
//! not declared. A moved key breaks a dashboard's GROUP BY, and its owner must be able to find out why.
//! The summary is made from the metrics alone. `processors/vault` decides what moves and what is an agent's.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::meter::Meter;
use super::names;
use super::series::MetricSeries;

/// A key whose values moved to the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MovedKey {
    /// Id of the vault step.
    pub processor: String,
    /// The key, or `other` for all keys that are not listed singly.
    pub key: String,
    /// Number of values since the gateway started.
    pub count: u64,
    /// The rule that moved them, as in the metric.
    pub rule: String,
    /// The configuration line that keeps the key's short texts; `None` if no line keeps the key.
    #[serde(rename = "keep_config")]
    pub keep_line: Option<String>,
}

/// A service that sends agents' operations and that the configuration does not declare as an agent's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UndeclaredAgent {
    /// Id of the vault step.
    pub processor: String,
    /// The service's name, or `other` for all services that are not listed singly.
    pub service: String,
    /// All its items are closed, because an earlier version took it for an agent's.
    #[serde(rename = "closed")]
    pub is_closed: bool,
}

/// The rule that applies to every `keep` line.
pub const KEEP_RULE: &str = "texts of one line and at most 256 bytes stay under a key that `labels.keep` lists; a key \
    that no line proposes holds content by its name or shape, or its texts were moved by `privacy`";

/// The vault steps, as `/metrics` reports them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultSummary {
    /// The privacy profile of each step, as `(processor, profile)`.
    pub privacy_profiles: Vec<(String, String)>,
    /// The keys whose values moved, most frequent first.
    pub moved_keys: Vec<MovedKey>,
    /// The configuration lines that keep the short texts of all moved keys for which there is one.
    pub keep_lines: Vec<String>,
    /// The undeclared services, by name.
    pub undeclared_agents: Vec<UndeclaredAgent>,
    /// The configuration lines that declare those with a name, or else all services.
    pub agents_lines: Vec<String>,
}

impl VaultSummary {
    /// Reads the current metrics.
    pub fn from_meter(meter: &Meter) -> Self {
        let in_force = meter.series(&names::VAULT_PRIVACY).into_iter().filter(|series| series.number() == Some(1.0));
        let privacy_profiles: Vec<(String, String)> =
            in_force.map(|series| (series.label("processor").to_owned(), series.label("profile").to_owned())).collect();
        let moved_keys = collect_moved_keys(meter, &privacy_profiles);
        let kept = moved_keys.iter().filter(|moved| moved.keep_line.is_some());
        let (by_profile, by_key): (Vec<&MovedKey>, Vec<&MovedKey>) = kept.partition(|moved| moved.rule == "privacy");
        let mut keep_lines =
            list_lines(by_key.iter().map(|moved| (&*moved.processor, &*moved.key)), ["labels", "keep"]);
        let profile_lines: BTreeSet<String> = by_profile.iter().filter_map(|moved| moved.keep_line.clone()).collect();
        keep_lines.extend(profile_lines);
        let undeclared_agents = collect_undeclared_agents(meter);
        let named = undeclared_agents.iter().map(|agent| (&*agent.processor, &*agent.service));
        let named = named.filter(|(_, service)| !matches!(*service, "other" | "unattributed"));
        let mut agents_lines = list_lines(named, ["agents", "services"]);
        if let (true, Some(agent)) = (agents_lines.is_empty(), undeclared_agents.first()) {
            agents_lines.push(format!("{}: {{ agents: {{ services: all }} }}", agent.processor));
        }
        Self { privacy_profiles, moved_keys, keep_lines, undeclared_agents, agents_lines }
    }
}

fn collect_moved_keys(meter: &Meter, profiles: &[(String, String)]) -> Vec<MovedKey> {
    let is_strict = |vault: &str| profiles.iter().any(|(processor, profile)| processor == vault && profile == "strict");
    let to_moved_key = |series: MetricSeries| {
        let count = series.number().filter(|count| *count > 0.0)? as u64;
        let [processor, key, rule] = ["processor", "key", "rule"].map(|name| series.label(name).to_owned());
        let keep_line = match &*rule {
            "privacy" => is_strict(&processor).then(|| format!("{processor}: {{ privacy: standard }}")),
            "guess" => None,
            _ => Some((&*processor, &*key))
                .filter(|(_, key)| *key != "other")
                .and_then(|moved| list_lines([moved].into_iter(), ["labels", "keep"]).pop()),
        };
        Some(MovedKey { processor, key, count, rule, keep_line })
    };
    let mut moved_keys: Vec<MovedKey> =
        meter.series(&names::VAULT_MOVED_VALUES).into_iter().filter_map(to_moved_key).collect();
    moved_keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    moved_keys
}

fn collect_undeclared_agents(meter: &Meter) -> Vec<UndeclaredAgent> {
    let in_force = meter.series(&names::UNDECLARED_AGENT_SERVICES).into_iter();
    let to_agent = |series: MetricSeries| UndeclaredAgent {
        processor: series.label("processor").to_owned(),
        service: series.label("service").to_owned(),
        is_closed: series.label("closed") == "true",
    };
    in_force.filter(|series| series.number() == Some(1.0)).map(to_agent).collect()
}

/// One line of configuration for each vault step: the list at these two keys, with its names.
fn list_lines<'n>(names: impl Iterator<Item = (&'n str, &'n str)>, [section, list]: [&str; 2]) -> Vec<String> {
    let mut by_processor: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (processor, name) in names {
        let (listed, name) = (by_processor.entry(processor).or_default(), yaml_scalar(name));
        if !listed.contains(&name) {
            listed.push(name);
        }
    }
    let line = |(processor, names): (&str, Vec<String>)| {
        format!("{processor}: {{ {section}: {{ {list}: [{}] }} }}", names.join(", "))
    };
    by_processor.into_iter().map(line).collect()
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
