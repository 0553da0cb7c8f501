//! Measures how much ordinary telemetry reaches a third party unchanged with the profile `standard`. The input is
//! `tests/cases/ordinary`, recorded by `tests/peers/ordinary/record.py`; `billing`, a service in which some requests
//! call a model, is made up. `TOLLGATE_UPDATE=1 cargo test --test it usefulness` writes the table.

use crate::sources::{check_generated, root};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use otlp::{NodeId, Payload, Signal, TextField, json as otlp_json};
use tollgate::app::build::GatewayDeps;
use tollgate::app::dry_run::DryRun;
use tollgate::app::resolve;

use super::config::Everything;

const TABLE: &str = "tests/cases/usefulness.txt";
/// Clients' addresses are private wherever they occur; those in the recording have this prefix (RFC 5737).
const CLIENTS: &str = "203.0.113.";
/// Minimum number of values per thousand that must stay unchanged.
const SURVIVE: usize = 995;

/// The line of the embedded default after which `vault.agents` may stand.
const BEFORE_AGENTS: &str = "    privacy: standard\n";

/// The processors of the embedded default.
pub(crate) fn dry() -> DryRun {
    dry_with("")
}

/// The processors of the embedded default with more options of the vault step.
fn dry_with(options: &str) -> DryRun {
    let text = fs::read_to_string(root().join("config/default.yaml")).unwrap();
    assert_eq!(text.matches(BEFORE_AGENTS).count(), 1, "config/default.yaml has no `privacy: standard`");
    let text = text.replace(BEFORE_AGENTS, &format!("{BEFORE_AGENTS}{options}"));
    let read = resolve::resolve_config("default.yaml", &text, &Everything, &root().join("target"));
    let (_, valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
    let seams = GatewayDeps::system();
    DryRun::new(&valid, &seams).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn read(path: &Path) -> Option<(Signal, Bytes)> {
    let stem = path.file_stem()?.to_str()?;
    let signal = match stem.rsplit('-').next()? {
        "traces" => Signal::Traces,
        "logs" => Signal::Logs,
        "metrics" => Signal::Metrics,
        _ => return None,
    };
    let bytes = fs::read(path).unwrap();
    let is_json = path.extension().is_some_and(|ending| ending == "json");
    let wire = if is_json { otlp_json::decode(signal, &bytes).unwrap() } else { bytes };
    Some((signal, Bytes::from(wire)))
}

/// Fields, body and attributes of a node, by name.
fn values(payload: &Payload, node: NodeId) -> Vec<(String, String)> {
    let fields = [
        ("(name)", TextField::Name),
        ("(event_name)", TextField::EventName),
        ("(severity_text)", TextField::SeverityText),
        ("(status)", TextField::StatusMessage),
        ("(version)", TextField::Version),
        ("(unit)", TextField::Unit),
        ("(description)", TextField::Description),
    ];
    let texts = fields.map(|(name, field)| (name.to_owned(), payload.text(node, field).to_owned()));
    let mut out: Vec<(String, String)> = texts.into_iter().filter(|(_, text)| !text.is_empty()).collect();
    let json = |value: otlp::Value<'_>| {
        let mut text = String::new();
        value.write_json(&mut text);
        text
    };
    out.extend(payload.body(node).map(|body| ("(body)".to_owned(), json(body))));
    out.extend(payload.attributes(node).map(|attribute| (attribute.key.to_owned(), json(attribute.value))));
    out
}

/// The placeholders in a text.
fn placeholders(text: &str) -> String {
    let inner = text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(name, _)| name);
    let name = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    let is_one = |name: &String| name.len() > 2 && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let mut all: Vec<String> = inner.map(name).filter(is_one).collect();
    all.dedup();
    if all.is_empty() { "changed".to_owned() } else { all.join(" ") }
}

/// A value in which each client address is replaced by a placeholder.
fn without_clients(value: &str) -> String {
    let mut parts = value.split(CLIENTS);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("[IP_ADDRESS]");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

#[derive(Default)]
struct Count {
    values: usize,
    meant: usize,
    gone: BTreeMap<(String, String), usize>,
}

impl Count {
    fn add(&mut self, before: &Payload, after: &Payload) {
        let pairs: Vec<(NodeId, NodeId)> = before.nodes().zip(after.nodes()).collect();
        assert_eq!(pairs.len(), before.nodes().count());
        for (was, is) in pairs {
            let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (key, value) in values(after, is) {
                left.entry(key).or_default().push(value);
            }
            for (key, value) in values(before, was) {
                let now = left.get_mut(&key).and_then(|all| (!all.is_empty()).then(|| all.remove(0)));
                let expected = without_clients(&value);
                self.meant += usize::from(expected != value);
                self.values += 1;
                if now.as_ref() != Some(&expected) {
                    let by = now.map_or("removed".to_owned(), |now| placeholders(&now));
                    *self.gone.entry((key, by)).or_default() += 1;
                }
            }
        }
    }

    fn unchanged(&self) -> usize {
        self.values - self.gone.values().sum::<usize>()
    }
}

/// Sends a recording of `tests/cases/ordinary`.
fn send(dry: &mut DryRun, source: &Path) -> Count {
    let mut count = Count::default();
    let mut files: Vec<PathBuf> = fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for (signal, wire) in files.iter().filter_map(|path| read(path)) {
        let passed = dry.process_request(signal, wire, None).unwrap_or_else(|error| panic!("{error}"));
        count.add(&passed.before, &passed.after);
    }
    count
}

/// A service in which some requests call a model is no agent: it keeps each of its attributes, log bodies, process
/// arguments and pool names; only the call's messages go.
#[test]
fn a_service_that_calls_a_model_keeps_its_own() {
    let count = send(&mut dry(), &root().join("tests/cases/ordinary/billing"));
    let messages = ["gen_ai.input.messages", "gen_ai.output.messages"];
    let lost: Vec<_> = count.gone.iter().filter(|((key, _), _)| !messages.contains(&key.as_str())).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(count.gone.values().sum::<usize>(), 4, "the messages of two calls");
}

/// An agent's own service, declared, keeps 95 % of its values at first sight, and a week of repeats changes nothing.
#[test]
fn a_declared_agent_keeps_its_own() {
    let mut dry = dry_with("    agents: { services: all }\n");
    let source = root().join("tests/cases/ordinary/assistant");
    let first = send(&mut dry, &source);
    assert!(
        first.unchanged() * 100 >= first.values * 95,
        "{} of {}: {:?}",
        first.unchanged(),
        first.values,
        first.gone
    );
    for day in 1..=7 {
        assert_eq!(send(&mut dry, &source).gone, first.gone, "day {day}");
    }
}

/// With the processors of the embedded default, 99.5 % of the values in the telemetry of a shop, a cluster, a web
/// server and a service that calls a model stay unchanged, except for clients' addresses; the table lists what replaces
/// the others.
#[test]
fn ordinary_telemetry_survives() {
    let mut table = String::new();
    let mut all = Count::default();
    let mut sources: Vec<PathBuf> =
        fs::read_dir(root().join("tests/cases/ordinary")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.sort();
    for source in sources {
        let count = send(&mut dry(), &source);
        let name = source.file_name().unwrap().to_str().unwrap().to_owned();
        let percent = count.unchanged() as f64 * 100.0 / count.values as f64;
        writeln!(
            table,
            "{name}: {} of {} values, {percent:.2} %; in {} a client's address",
            count.unchanged(),
            count.values,
            count.meant
        )
        .unwrap();
        for ((key, by), many) in &count.gone {
            writeln!(table, "  {many} x {key}: {by}").unwrap();
        }
        if name != "assistant" {
            all.values += count.values;
            all.gone.extend(count.gone.into_iter().map(|((key, by), many)| ((format!("{name} {key}"), by), many)));
        }
    }
    check_generated(TABLE, &table);
    assert!(all.unchanged() * 1000 >= all.values * SURVIVE, "{} of {}", all.unchanged(), all.values);
}
