//! Tests of `explain` with the recordings of all clients.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::compare::{self, ItemExplanation};
use super::input::read_requests;
use super::sender_trust;
use crate::app::build::GatewayDeps;
use crate::app::dry_run::{DryRun, DryRunResult};
use crate::app::resolve::ValidSettings;
use crate::cli::common::CommonArgs;
use crate::cli::config_loading::{FileAccess, load_config};
use otlp::{Signal, UnknownFields, json as otlp_json};

/// The recorded requests below `folder`, in order.
fn recorded_requests(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let is_request = |path: &Path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        ["-traces", "-logs"].iter().any(|signal| stem.ends_with(signal))
    };
    let below = |path: PathBuf| if path.is_dir() { recorded_requests(&path) } else { vec![path] };
    paths.into_iter().flat_map(below).filter(|path| is_request(path)).collect()
}

/// One run of `explain`.
struct Explained {
    dry: DryRun,
    prices: Vec<String>,
}

impl Explained {
    fn new(valid: &ValidSettings) -> Self {
        let dry = DryRun::new(valid, &GatewayDeps::system()).unwrap_or_else(|_| panic!("the embedded default"));
        Self { dry, prices: Vec::new() }
    }

    /// Adds the requests of a file, and returns them with the results.
    fn read(&mut self, path: &Path) -> Vec<(Signal, DryRunResult)> {
        let requests = read_requests(path, None).unwrap_or_else(|_| panic!("{}", path.display()));
        let explain = |(signal, wire)| {
            self.dry.trust = sender_trust(signal, &wire);
            let result = self.dry.process_request(signal, wire, None).unwrap_or_else(|_| panic!("refused"));
            let mut explained = compare::explain_request(self.dry.vocabulary(), &result, None);
            compare::add_remedies(&mut explained.items, &self.dry);
            self.prices.extend(explained.items.iter().map(|item| price(path, item)));
            (signal, result)
        };
        requests.into_iter().map(explain).collect()
    }
}

/// The price of an item, without the rate table, of which a call that is not charged has no stamp, and without flags:
/// several are a list of words, which a second pipeline takes for content.
fn price(path: &Path, ItemExplanation { trace_id, span_id, price, .. }: &ItemExplanation) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut price = json!(price);
    if let Some(price) = price.as_object_mut() {
        price.retain(|key, _| !["rate_table", "flags"].contains(&key.as_str()));
    }
    json!([name, trace_id, span_id, price]).to_string()
}

/// A line of `tap --json`.
fn tapped(signal: Signal, result: &DryRunResult) -> String {
    let bytes = result.after.encode(UnknownFields::Drop).unwrap_or_else(|_| panic!("encoded")).bytes;
    let mut request = String::new();
    otlp_json::encode(signal, &bytes, &mut request).unwrap_or_else(|_| panic!("JSON"));
    format!("{{\"pipeline\":\"{}\",\"request\":{request}}}\n", result.pipeline)
}

/// What `tap` shows of a request costs the same as the request itself, part by part, for every client. (Shown to fail:
/// when stamps were removed, Genkit's calls had no model, which was in their content, and Anthropic's SDK and
/// OpenInference swapped the span that is priced.)
#[test]
fn tapped_requests_cost_the_same() {
    let common = CommonArgs { data_dir: Some(PathBuf::from("/nonexistent")), ..CommonArgs::default() };
    let loaded = load_config(&common, FileAccess::Read).unwrap_or_else(|_| panic!("the embedded default"));
    let folder = tempfile::tempdir().unwrap();
    let mut paid: BTreeMap<String, usize> = BTreeMap::new();
    let clients = fs::read_dir(fixtures::at("tests/recordings")).unwrap().map(|entry| entry.unwrap().path());
    for client in clients.filter(|path| path.is_dir()) {
        let name = client.file_name().unwrap().to_string_lossy().into_owned();
        let (mut original, mut output) = (Explained::new(&loaded.valid), Explained::new(&loaded.valid));
        for path in recorded_requests(&client) {
            let lines = original.read(&path).iter().map(|(signal, result)| tapped(*signal, result)).collect::<String>();
            let copy = folder.path().join(path.file_name().unwrap());
            fs::write(&copy, lines).unwrap();
            output.read(&copy);
        }
        let pairs = std::iter::zip(&original.prices, &output.prices);
        let wrong: Vec<_> = pairs.filter(|(before, after)| before != after).collect();
        assert!(wrong.is_empty() && original.prices.len() == output.prices.len(), "{name}: {wrong:#?}");
        paid.insert(name, original.prices.iter().filter(|price| price.contains(r#""status":"priced""#)).count());
    }
    // OpenCode was recorded with a provider that no table has
    assert!(paid.len() > 30 && paid.iter().all(|(name, calls)| *calls > 0 || name == "opencode"), "{paid:?}");
}
