//! Repricing from OTLP and from index rows gives the same amounts, to the last digit.

use super::render_rates;
use super::reprice::{CallPricer, RepriceReport, TenantLookup, as_json, reprice_row};
use genai::testing::request;
use genai::usage::PriceBasis;
use kernel::clock::UnixNanos;
use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use rates::{EffectiveTable, RateTables, TableSource};
use vault::index_row::{IndexRow, RowTail};
use vault::object_names::rfc3339;

/// A table whose prices are three tenths higher than the built-in ones.
fn dearer() -> RateTables {
    let overlay = "schema: 1\noverlay: true\nversion: o\ncurrency: USD\nper_tokens: 1000000\ndiscount: \"1.3\"\n";
    let overlay = TableSource::parse("overlay", overlay).ok().unwrap();
    let base = TableSource::builtin().ok().unwrap();
    RateTables::build(&base, &[overlay]).ok().unwrap()
}

fn hex(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| kernel::hex::encode(bytes))
}

/// The calls of every recorded session, repriced from the requests and from their index rows (after serialising and
/// parsing a row), have equal prices to the last digit.
#[test]
fn rows_are_repriced_as_requests_are() {
    let mut compared = 0;
    for session in [
        "claude-code/plain",
        "claude-code/mixed",
        "claude-code/fallback",
        "openinference/anthropic",
        "semconv/openai",
        "semconv/anthropic",
    ] {
        let mut files: Vec<_> = std::fs::read_dir(request::at("tests/recordings").join(session))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "pb" || ending == "json"));
        files.retain(|path| {
            !path.to_string_lossy().contains("metrics") && path.file_name().unwrap().to_string_lossy().starts_with('0')
        });
        files.sort();
        let (mut direct, mut rows) = (RepriceReport::default(), RepriceReport::default());
        let (mut calls, rates) = (CallPricer::new(dearer(), false).unwrap(), dearer());
        for file in files {
            let payload = request::recorded(&file);
            let from = direct.lines.len();
            let facts = calls.price_payload(payload.clone(), &mut direct).unwrap();
            let priced: Vec<(String, String)> =
                direct.lines[from..].iter().map(|line| (line.began.clone(), line.span.clone())).collect();
            for item in &facts.items {
                let at = rfc3339(UnixNanos(payload.time(item.node)));
                let span = hex(payload.span_id(item.node)).unwrap_or_default();
                if !item.billable || !priced.contains(&(at, span)) {
                    continue;
                }
                let basis = PriceBasis::from_facts(item, payload.time(item.node));
                let line = serde_json::to_string(&basis).unwrap();
                let tail = RowTail {
                    cost_status: Some("priced".to_owned()),
                    tenant: item.tenant.clone().unwrap_or_else(|| "unattributed".to_owned()),
                    trace_id: hex(payload.trace_id(item.node)),
                    span_id: hex(payload.span_id(item.node)),
                    basis: serde_json::from_str(&line).unwrap(),
                    ..RowTail::default()
                };
                let row = IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail };
                reprice_row(&row, &rates, &TenantLookup::default(), false, &mut rows);
            }
        }
        let figures = |report: &mut RepriceReport| {
            report.lines.sort();
            let lines = report
                .lines
                .iter()
                .map(|line| (line.began.clone(), line.span.clone(), line.new.clone(), line.rate.clone()));
            lines.collect::<std::collections::BTreeSet<_>>()
        };
        let (direct, rows) = (figures(&mut direct), figures(&mut rows));
        assert!(direct.is_subset(&rows), "{session}: {:?}", direct.difference(&rows).take(3).collect::<Vec<_>>());
        compared += direct.len();
    }
    assert!(compared > 20, "{compared}");
}

/// Rows without the basis of a price are reported, not guessed; copies are left out; the sums are exact.
#[test]
fn rows_that_say_too_little() {
    let (rates, mut report) = (dearer(), RepriceReport::default());
    let row = |status: &str, basis: Option<PriceBasis>| {
        let tail = RowTail {
            cost_status: Some(status.to_owned()),
            cost_usd: Some("0.1".to_owned()),
            basis,
            ..RowTail::default()
        };
        IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail }
    };
    let mut basis = PriceBasis {
        time: 1_795_132_800_000_000_000,
        provider: Some("openai".to_owned()),
        models: vec!["gpt-5-mini".to_owned()],
        ..PriceBasis::default()
    };
    basis.units.input = 1_000_000;
    reprice_row(&row("priced", None), &rates, &TenantLookup::default(), false, &mut report);
    reprice_row(&row("not_counted", Some(basis.clone())), &rates, &TenantLookup::default(), false, &mut report);
    reprice_row(&row("priced", Some(basis.clone())), &rates, &TenantLookup::default(), false, &mut report);
    basis.models = vec!["nobody".to_owned()];
    reprice_row(&row("unpriced", Some(basis)), &rates, &TenantLookup::default(), false, &mut report);
    let json = as_json(&report);
    assert_eq!(json["rows_without_basis"], 1);
    assert_eq!(json["calls"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["calls"][0]["new_usd"], "0.325");
    assert_eq!(json["calls"][0]["delta_usd"], "0.225");
    assert_eq!(json["calls"][1]["reason"], "unknown_model");
    assert_eq!((&json["new_usd"], &json["unpriced_after"]), (&"0.325".into(), &1.into()));
}

/// Changes by overlays, and the sources of prices, are shown with one line each.
#[test]
fn overlays_are_shown_with_their_sources() {
    let overlay = "schema: 1\noverlay: true\nversion: c-1\ncurrency: USD\nper_tokens: 1000000\nproviders: {openai: {models: [{id: gpt-5-mini, rates: [{price: {input: \"0.2\"}}]}]}}\n";
    let overlay = TableSource::parse("acme.yaml", overlay).ok().unwrap();
    let base = TableSource::builtin().ok().unwrap();
    let effective = EffectiveTable::build_explained(&base, &[overlay], None).ok().unwrap();
    let model: String = effective.find_models("openai/gpt-5-mini").iter().map(render_rates::model_text).collect();
    let has = |text: &str, words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&model, &["    input ", "0.2", "acme.yaml c-1"]), "{model}");
    assert!(has(&model, &["    output ", "builtin 2026-"]), "{model}");
    let changes: String = effective.changes.iter().map(render_rates::change_text).collect();
    assert!(has(&changes, &["openai/gpt-5-mini", " input ", "0.25 -> 0.2", "acme.yaml c-1"]), "{changes}");
    assert!(has(&changes, &[" cache_read ", "(not set by the overlay: kept from the table below)"]), "{changes}");
    let json = render_rates::model_json(effective.find_models("openai/gpt-5-mini").first().unwrap());
    assert_eq!(json["windows"][0]["sources"]["input"], "acme.yaml c-1");
}

/// If the index does not hold a tenant's name, the overlay that priced the call identifies the table; under other
/// overlays the pseudonym key does, and finds the tenant by name; without either, the report says so. A model whose
/// name was redacted is priced by the table id stored beside it.
#[test]
fn tenants_and_models_that_redaction_changed() {
    let overlay = |discount: &str| {
        let text = format!(
            "schema: 1\noverlay: true\nversion: o\ncurrency: USD\nper_tokens: 1000000\ndiscount: \"{discount}\"\nmatch: {{resource: {{tenant.id: ops@acme.example}}}}\n"
        );
        TableSource::parse("overlay", &text).ok().unwrap()
    };
    let base = TableSource::builtin().ok().unwrap();
    let rates = |discount| RateTables::build(&base, &[overlay(discount)]).ok().unwrap();
    let (same, other) = (rates("0.5"), rates("0.1"));
    let key = || Pseudonymizer::new(&Secret::new("k".to_owned()));
    let mut basis = PriceBasis {
        time: 1_795_132_800_000_000_000,
        provider: Some("openai".to_owned()),
        models: vec!["ft:[EMAIL]".to_owned()],
        listed: Some("gpt-5-mini".to_owned()),
        contract: same.contract_digest(Some("ops@acme.example")).map(str::to_owned),
        ..PriceBasis::default()
    };
    basis.units.input = 1_000_000;
    let tail = RowTail {
        cost_status: Some("priced".to_owned()),
        account: "default".to_owned(),
        tenant: key().pseudonym("default", "ops@acme.example"),
        basis: Some(basis),
        ..RowTail::default()
    };
    let row = IndexRow { v: 1, leaf: 0, object_key: None, off: None, of: None, tail };
    let priced = |rates: &RateTables, key: Option<Pseudonymizer>| {
        let mut report = RepriceReport::default();
        reprice_row(&row, rates, &TenantLookup { keys: key.into_iter().collect(), wanted: None }, false, &mut report);
        (report.lines[0].new.clone().unwrap(), report.unknown_tenants, report.lines[0].tenant.clone())
    };
    assert_eq!(priced(&same, None).0, "0.125");
    assert_eq!((priced(&other, None).0.as_str(), priced(&other, None).1), ("0.25", 1));
    let (usd, unknown, tenant) = priced(&other, Some(key()));
    assert_eq!((usd.as_str(), unknown, tenant.as_str()), ("0.025", 0, "ops@acme.example"));
}
