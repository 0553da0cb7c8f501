//! Tables as files: every error with its line, JSON, contract prices, comparisons, refreshing, pins.

use super::super::source::digest_text;
use super::super::{
    CallCircumstances, Fee, RateQuery, RateTable, RateTables, TablePin, TableRefresher, TableSource, Unit,
    UnpricedReason, Usd, compile,
};
use super::{NOW, builtin, find, price, small};

const MANY_ERRORS: &str = r#"schema: 1
version: bad
currency: USD
per_tokens: 1000000
unit_parents: {cache_read: input, input: cache_read}
alias: {a: b, b: a, c: p/none, d: z/m}
providers:
  p:
    names: [p]
    models:
      - id: m
        ids: [m, M]
        rates:
          - {to: "2026-02-01T00:00:00Z", price: {input: "1"}}
          - {from: "2026-01-01T00:00:00Z", price: {input: "-1"}}
      - id: m2
        ids: [m]
        patterns: ["gpt"]
        rates: []
  q:
    names: [P]
    fallback: [p, nobody]
    models: []
"#;

/// All problems of a table are reported at once, each with its line: duplicate ids and names, overlapping windows,
/// negative prices, loops of aliases and of units, missing targets.
#[test]
fn every_error_has_its_line() {
    let error = RateTable::parse("bad.yaml", MANY_ERRORS).err().unwrap().0;
    for (line, word) in [
        (5, "loop"),
        (6, "alias a is part of a loop"),
        (6, "alias b is part of a loop"),
        (6, "alias c: p/none"),
        (6, "alias d: z/m"),
        (12, "id M occurs twice"),
        (15, "price -1 of input is negative"),
        (15, "must not start before the previous one ends"),
        (17, "id m occurs twice"),
        (18, "starts with `^`"),
        (19, "at least one window is required"),
        (21, "provider name P occurs twice"),
        (22, "fallback nobody"),
    ] {
        let found = error.lines().any(|one| one.starts_with(&format!("bad.yaml:{line}:")) && one.contains(word));
        assert!(found, "line {line}: {word}\n{error}");
    }
}

/// A table may be JSON, and its numbers keep their text.
#[test]
fn json_tables_load() {
    let text = r#"{"schema": 1, "version": "j", "currency": "USD", "per_tokens": 1000000, "providers": {"p": {"names": ["p"], "models": [
        {"id": "m", "rates": [{"price": {"input": 0.1, "output": "3e-1"}}]}]}}}"#;
    let table = RateTable::parse("t.json", text).unwrap_or_else(|error| panic!("{}", error.0));
    let at =
        |unit| price(&table, "2026-05-06T12:00:00Z", 0, CallCircumstances::default(), unit).map(|(price, _)| price);
    assert_eq!((at(Unit::Input).as_deref(), at(Unit::Output).as_deref()), (Some("0.1"), Some("0.3")));
    let twice = text.replace(r#""schema": 1"#, r#""schema": 1, "schema": 1"#);
    assert!(RateTable::parse("t.json", &twice).is_err(), "a key that stands twice");
}

fn source(text: &str) -> TableSource {
    TableSource::parse("t.yaml", text).unwrap_or_else(|error| panic!("{}", error.0))
}

const OTHER: &str = r#"{price: {input: "1", output: "2"}}"#;

fn base_text(version: &str, rates: &str) -> String {
    let models: String = (0..30).map(|n| format!("      - {{id: x{n}, rates: [{OTHER}]}}\n")).collect();
    format!(
        "schema: 1\nversion: \"{version}\"\ncurrency: USD\nper_tokens: 1000000\nproviders:\n  p:\n    names: [p]\n    models:\n      - {{id: m, ids: [m, m-long], rates: [{rates}]}}\n{models}"
    )
}

/// The table without one of its models.
fn without(text: &str, model: &str) -> String {
    text.replace(&format!("      - {{id: {model}, rates: [{OTHER}]}}\n"), "")
}

const PLAIN: &str = r#"{price: {input: "2", output: "10"}}"#;

fn overlay(rest: &str) -> String {
    format!("schema: 1\noverlay: true\nversion: o\ncurrency: USD\nper_tokens: 1000000\n{rest}")
}

/// Prices of `m` (as provider `p`) in USD per million.
fn of_m(rates: &RateTables, tenant: Option<&str>, model: &str, time: &str) -> Option<String> {
    let time = compile::parse_time(time).unwrap();
    let query = RateQuery { provider: Some("p"), models: &[model], time, circumstances: CallCircumstances::default() };
    let (price, _) = rates.table(tenant).row(&query, 0).ok()?.price(Unit::Input)?;
    Some(Usd(price.0 * 1_000_000).to_string())
}

const CONTRACT: &str = r#"base: ">=6"
alias: {my-deployment: p/m, "arn:aws:x/1": my-deployment}
providers:
  p:
    models:
      - {id: m, rates: [{from: "2026-03-01T00:00:00Z", to: "2026-04-01T00:00:00Z", price: {input: "1.5", output: "9"}}]}
"#;

/// Contract prices apply in their windows and to their tenant only; discounts apply to all prices; deployments have
/// aliases. The stamp shows base and overlays.
#[test]
fn overlays() {
    let base = source(&base_text("7", PLAIN));
    let all = source(&overlay(CONTRACT));
    let acme = source(&overlay("match: {resource: {tenant.id: acme}}\ndiscount: \"0.85\"\n"));
    let rates = RateTables::build(&base, &[all, acme]).unwrap_or_else(|error| panic!("{}", error.0));
    let (before, within, after) = ("2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
    for (tenant, model, time, expected) in [
        (None, "m", before, "2"),
        (None, "m", within, "1.5"),
        (None, "m", after, "2"),
        (None, "m-long", within, "1.5"),
        (None, "My-Deployment", within, "1.5"),
        (None, "arn:aws:x/1", after, "2"),
        (Some("other"), "m", after, "2"),
        (Some("acme"), "m", after, "1.7"),
        (Some("acme"), "m", within, "1.275"),
        (Some("acme"), "x3", within, "0.85"),
    ] {
        assert_eq!(of_m(&rates, tenant, model, time).as_deref(), Some(expected), "{tenant:?} {model} {time}");
    }
    let (hidden, contract) = (format!("h-{}", "0a".repeat(16)), rates.contract_digest(Some("acme")));
    for (shown, contract, behind, expected, is_unknown) in [
        ("h-7290", contract, None, None, false),
        (&hidden, contract, None, Some("acme"), false),
        (&hidden, None, Some("acme"), Some("acme"), false),
        (&hidden, Some("?"), None, None, true),
        (&hidden, None, None, None, true),
    ] {
        let (table, unknown) = rates.table_of_line(shown, contract, behind);
        assert_eq!((table.stamp(), unknown), (rates.table(expected).stamp(), is_unknown), "{shown} {contract:?}");
    }
    let alone = RateTables::build(&base, &[]).unwrap_or_else(|error| panic!("{}", error.0));
    assert_ne!(alone.common().stamp(), rates.common().stamp());
    assert_ne!(rates.table(Some("acme")).stamp(), rates.common().stamp());
    assert!(rates.common().stamp().starts_with("7+"));
    for (rest, word) in [
        ("base: \">=8\"\n", "requires a base table >=8"),
        ("match: {resource: {region: x}}\n", "only `tenant.id`"),
        ("discount: \"-1\"\n", "must be a factor such as"),
        ("discount: \"0.00000000000001\"\n", "too many digits"),
        ("providers: {p: {models: [{id: m, rates: [{price: {inptu: \"1\"}}]}]}}\n", "t.yaml:6:"),
        ("alias: {x: p/none}\n", "is not a `provider/model` of the table"),
    ] {
        let error = RateTables::build(&base, &[source(&overlay(rest))]).err().map(|error| error.0).unwrap_or_default();
        assert!(error.contains(word), "{rest}: {error}");
    }
    assert!(RateTables::build(&base, &[source(&base_text("8", PLAIN))]).is_err(), "a table is no overlay");
    assert!(RateTable::parse("o", &overlay("")).is_err(), "an overlay is no table");
}

/// A new table is used as a whole or not at all; a vanished model keeps its old entry; an invalid table changes
/// nothing.
#[test]
fn refreshing() {
    let base = source(&base_text("7", PLAIN));
    let contract = source(&overlay("match: {resource: {tenant.id: acme}}\ndiscount: \"0.5\"\n"));
    let mut refresher = TableRefresher::new(base, vec![contract], Vec::new());
    let now = "2026-05-06T12:00:00Z";
    assert!(matches!(refresher.offer_table("t", &base_text("7", PLAIN)), Ok(None)));
    let text = |version: &str, input: &str| {
        let rates = format!(
            r#"{{to: "2026-05-01T00:00:00Z", price: {{input: "2", output: "10"}}}}, {{from: "2026-05-01T00:00:00Z", price: {{input: "{input}", output: "10"}}}}"#
        );
        base_text(version, &rates)
    };
    // `guards` has the tables that are refused
    for (bad, word) in [
        (text("8", "9"), "changed by more than a factor of three"),
        ("rubbish: [".to_owned(), "t:"),
        (without(&without(&text("8", "3"), "x1"), "x2"), "2 of 31 models are missing"),
    ] {
        let error = refresher.offer_table("t", &bad).err().map(|error| error.0).unwrap_or_default();
        assert!(error.contains(word), "{word}: {error}");
        assert_eq!(refresher.base().version(), "7");
    }
    let renamed = text("8", "3").replace("id: x1,", "id: y1,");
    let Ok(Some(taken)) = refresher.offer_table("t", &renamed) else { panic!("not taken") };
    assert_eq!(taken.kept_models, ["p/x1"]);
    for (tenant, model, expected) in [
        (None, "m", "3"),
        (None, "x1", "1"),
        (None, "y1", "1"),
        (Some("acme"), "m", "1.5"),
        (Some("acme"), "x1", "0.5"),
    ] {
        assert_eq!(of_m(&taken.rates, tenant, model, now).as_deref(), Some(expected), "{tenant:?} {model}");
    }
    assert!(matches!(refresher.offer_table("t", &renamed), Ok(None)));
}

/// A pin accepts its own bytes and no others.
#[test]
fn pins() {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    let pin = TablePin::sha256(&digest_text("table").to_uppercase()).unwrap();
    assert!(pin.check(b"table", None).is_ok() && pin.check(b"tables", None).is_err());
    assert!(TablePin::sha256("abc").is_none() && TablePin::ed25519("abc").is_none());
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let pin = TablePin::ed25519(&base64.encode(pair.public_key().as_ref())).unwrap();
    let signature = pair.sign(b"table");
    let text = base64.encode(signature.as_ref());
    assert!(
        pin.check(b"table", Some(signature.as_ref())).is_ok() && pin.check(b"table", Some(text.as_bytes())).is_ok()
    );
    assert!(pin.check(b"tablf", Some(signature.as_ref())).is_err() && pin.check(b"table", None).is_err());
    assert!(pin.check(b"table", Some(b"rubbish")).is_err());
}

/// Callers' ids fill a cache of fixed size, and a repeated look-up gives the same answer.
#[test]
fn ids_are_remembered_within_bounds() {
    let table = builtin();
    for round in 0..2 {
        for n in 0..5_000 {
            let id = format!("nobody-{n}");
            assert_eq!(find(&table, Some("openai"), &[&id]), Err(UnpricedReason::UnknownModel), "{round}");
        }
        assert_eq!(find(&table, Some("openai"), &["gpt-5-mini"]), Ok(("openai/gpt-5-mini".to_owned(), false)));
    }
    assert!(table.cache.read().len() <= 4_096);
    // a cached id is not resolved again: nothing is added for it
    let before = table.cache.read().len();
    for _ in 0..1_000 {
        assert!(find(&table, Some("openai"), &["gpt-5-mini"]).is_ok());
    }
    assert_eq!(table.cache.read().len(), before);
}

/// The nearest listed id is found for a typing error, and none for an unrelated word.
#[test]
fn nearest_ids() {
    let table = builtin();
    assert_eq!(table.nearest_id(Some("anthropic"), "claude-sonet-4-5").as_deref(), Some("anthropic/claude-sonnet-4-5"));
    assert_eq!(table.nearest_id(None, "gpt5-mini").as_deref().map(|id| id.ends_with("gpt-5-mini")), Some(true));
    assert_eq!(table.nearest_id(Some("openai"), "zzzz"), None);
}

/// Fees are separate from token prices and are not multiplied.
#[test]
fn fees() {
    let table = small(
        r#"{price: {input: "1"}, fees_per_1000: {web_search: "10"}, adjust: [{when: {inference_geo: [us]}, multiply: "1.1"}]}"#,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let told = CallCircumstances { inference_geo: Some("us"), ..CallCircumstances::default() };
    let query = RateQuery { provider: Some("p"), models: &["m"], time: NOW, circumstances: told };
    let row = table.row(&query, 0).unwrap_or_else(|reason| panic!("{reason:?}"));
    assert_eq!(row.fee(Fee::WebSearch).map(|fee| fee.to_string()).as_deref(), Some("0.01"));
    assert_eq!(row.fee(Fee::FileSearch), None);
}
