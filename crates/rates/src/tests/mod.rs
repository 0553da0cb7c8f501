//! The rate table: exactness, spellings of ids, windows, tiers, adjustments; and that the built-in table equals the
//! YAML file.

use super::decimal::{Decimal, Ratio};
use super::source;
use super::{CallCircumstances, RateQuery, RateTable, TableSource, Unit, UnpricedReason, Usd};
use config::load;
use fixtures::at;
use serde_json::{Value as Json, json};

mod exchange;
mod guards;
mod overlays;
mod parts;
mod same;
mod tables;

/// 2026-11-20 00:00 UTC, a Friday.
const NOW: u64 = 1_795_132_800_000_000_000;

fn builtin() -> RateTable {
    RateTable::builtin().unwrap_or_else(|error| panic!("{}", error.0))
}

/// `builtin.json` and `builtin-models.json` equal `rates.yaml`. To regenerate them: `TOLLGATE_UPDATE=1 cargo test -p
/// rates builtin_is_the_yaml_file`.
#[test]
fn builtin_is_the_yaml_file() {
    let text = std::fs::read_to_string(at("config/rates/rates.yaml")).unwrap();
    let mut table: Json = load::parse_data("rates.yaml", &text).unwrap_or_else(|problem| panic!("{problem}"));
    let (mut models, mut ranges) = (String::new(), serde_json::Map::new());
    for (key, provider) in table["providers"].as_object_mut().unwrap() {
        let own = provider.as_object_mut().unwrap().remove("models").unwrap().to_string();
        ranges.insert(key.clone(), json!([models.len(), own.len()]));
        models.push_str(&own);
        models.push('\n');
    }
    let head = json!({"sha256": source::digest_text(&text), "table": table, "models": ranges}).to_string();
    for (name, made) in [("builtin.json", head), ("builtin-models.json", models)] {
        let path = at("config/rates").join(name);
        if config::env::var("TOLLGATE_UPDATE").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == made, "{name} is not made from rates.yaml");
    }
}

/// The built-in table is complete. The part parsed at every start is small, and JSON: YAML would take 20 times as
/// long.
#[test]
fn builtin_is_small_and_whole() {
    let table = builtin();
    assert!(source::BUILTIN.len() < 1 << 20, "{} bytes", source::BUILTIN.len());
    assert_eq!(table.model_count(), 4057);
    assert!(table.stamp().starts_with("2026-11-20.8+") && table.stamp().len() == "2026-11-20.5+".len() + 12);
}

/// Models are parsed on first use, when problems can no longer be reported. They must equal the models of the whole
/// table, which compiles without problems.
#[test]
fn models_read_late_are_those_of_the_whole_table() {
    let source = TableSource::builtin().unwrap();
    let whole = super::compile::compile(&source.file, source.digest()).unwrap_or_else(|_| panic!("a fault in it"));
    let late = builtin();
    assert_eq!(late.providers.len(), whole.providers.len());
    for (late, whole) in late.providers.iter().zip(&whole.providers) {
        let (key, late, whole) = (&late.key, &*late.catalog, &*whole.catalog);
        assert!(late.ids == whole.ids && late.patterns.len() == whole.patterns.len(), "{key}");
        let same = late.models.iter().zip(&whole.models).all(|(a, b)| a.id == b.id && a.rates == b.rates);
        assert!(same && late.models.len() == whole.models.len() && !late.models.is_empty(), "{key}");
    }
}

/// Amounts print as plain decimals and parse back.
#[test]
fn decimals_are_exact() {
    for text in ["0", "1", "0.0625", "-0.5", "123.000000000000000001", "-2.5"] {
        assert_eq!(Usd::parse(text).unwrap().to_string(), text);
    }
    for (text, printed) in
        [("1.50", "1.5"), ("3e-7", "0.0000003"), ("25", "25"), ("-0.5", "-0.5"), ("1e3", "1000"), ("0", "0")]
    {
        assert_eq!(Usd::parse(text).unwrap().to_string(), printed);
        assert_eq!(Decimal::parse(text).unwrap().to_string(), printed);
    }
    assert_eq!(Decimal::parse("1.5").unwrap().times(Decimal::parse("0.85").unwrap()).unwrap().to_string(), "1.275");
    assert_eq!(Usd::parse("0.0019349999999999999").map(Usd::to_f64), None);
    for bad in ["", ".5", "1,5", "abc", "1e99", "--1", "1.-2"] {
        assert!(Usd::parse(bad).is_none(), "{bad}");
    }
    assert_eq!(Decimal::parse("0.0833333333").unwrap().per_unit(1_000_000), Some(83_333_333_300));
    assert_eq!(Decimal::parse("0.00000000000000000001").unwrap().per_unit(1), None);
    let ratio = Decimal::parse("1.1").unwrap().to_ratio().unwrap();
    assert_eq!(ratio.multiply(10), Some(11));
    assert_eq!(ratio.multiply(1), None);
    assert_eq!(ratio.times(Ratio::ONE), Some(ratio));
}

fn find(table: &RateTable, provider: Option<&str>, models: &[&str]) -> Result<(String, bool), UnpricedReason> {
    let query = RateQuery { provider, models, time: NOW, circumstances: CallCircumstances::default() };
    table.row(&query, 0).map(|row| (format!("{}/{}", row.provider(), row.model()), row.flags().date_dropped))
}

/// Every spelling of an id found in telemetry, and ids that must not match another model.
#[test]
fn model_ids() {
    let table = builtin();
    let some = |name: &str, dropped| Ok((name.to_owned(), dropped));
    type Case<'a> = (Option<&'a str>, &'a str, Result<(String, bool), UnpricedReason>);
    let cases: &[Case<'_>] = &[
        (Some("anthropic"), " Claude-Sonnet-4-5 ", some("anthropic/claude-sonnet-4-5", false)),
        (Some("anthropic"), "claude-sonnet-4-5-20250929", some("anthropic/claude-sonnet-4-5", true)),
        (Some("anthropic"), "claude-sonnet-4-5[1m]", some("anthropic/claude-sonnet-4-5", false)),
        (Some("anthropic"), "claude-sonnet-4-5-latest", some("anthropic/claude-sonnet-4-5", false)),
        (Some("anthropic"), "claude-sonnet-4-5-turbo", Err(UnpricedReason::UnknownModel)),
        (Some("anthropic"), "anthropic/claude-sonnet-4-5", some("anthropic/claude-sonnet-4-5", false)),
        (Some("openai"), "gpt-4o-2024-05-13", some("openai/gpt-4o-2024-05-13", false)),
        (Some("openai"), "gpt-4o-2024-08-06", some("openai/gpt-4o", false)),
        (Some("openai"), "gpt-4o-2031-01-01", some("openai/gpt-4o", true)),
        (Some("openai"), "gpt-4o-20240806", some("openai/gpt-4o", false)),
        (Some("openai"), "ft:gpt-4o-2024-08-06:acme::abc", some("openai/ft:gpt-4o", false)),
        (Some("openai.chat"), "gpt-5-mini", some("openai/gpt-5-mini", false)),
        (Some("gcp.vertex_ai"), "claude-sonnet-4-5@20250929", some("google/claude-sonnet-4-5", true)),
        (Some("gcp.vertex_ai"), "publishers/google/models/gemini-2.0-flash", some("google/gemini-2.0-flash", false)),
        (Some("gemini"), "models/gemini-2.0-flash-001", some("google/gemini-2.0-flash", false)),
        (
            Some("aws.bedrock"),
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            some("aws/anthropic.claude-sonnet-4-5", false),
        ),
        (Some("bedrock"), "anthropic.claude-3-haiku-20240307-v1:0:48k", some("aws/anthropic.claude-3-haiku", true)),
        (None, "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", some("aws/anthropic.claude-sonnet-4-5", false)),
        (
            None,
            "arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            some("aws/anthropic.claude-sonnet-4-5", false),
        ),
        (None, "arn:aws:bedrock:us-east-1:123:application-inference-profile/abc", Err(UnpricedReason::UnknownModel)),
        (Some("litellm"), "gpt-4o", Err(UnpricedReason::UnknownProvider)),
        (Some("azure.ai.openai"), "gpt-4o-mini", some("openai/gpt-4o-mini", false)),
        (Some("groq"), "openai/gpt-oss-120b", some("groq/openai/gpt-oss-120b", false)),
        (Some("openrouter"), "anthropic/claude-sonnet-4.5", some("openrouter/anthropic/claude-sonnet-4.5", false)),
        (Some("openrouter"), "anthropic/claude-sonnet-4.5:free", Err(UnpricedReason::UnknownModel)),
        (None, "gpt-5-mini", some("openai/gpt-5-mini", false)),
        (None, "claude-opus-4-8", some("anthropic/claude-opus-4-8", false)),
        (None, "my-own-model", Err(UnpricedReason::UnknownModel)),
        (None, "", Err(UnpricedReason::NoModel)),
        (Some("deepseek"), "deepseek-chat-v9", Err(UnpricedReason::UnknownModel)),
    ];
    let mut failed = Vec::new();
    for (provider, model, expected) in cases {
        let got = find(&table, *provider, &[model]);
        if got != *expected {
            failed.push(format!("{provider:?} {model}: {got:?}, expected {expected:?}"));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    assert_eq!(
        find(&table, Some("azure"), &["gpt-4o-2024-08-06", "my-deployment"]),
        find(&table, Some("azure"), &["my-deployment", "gpt-4o-2024-08-06"])
    );
}

fn small(rates: &str) -> Result<RateTable, String> {
    let text = format!(
        "schema: 1\nversion: t\ncurrency: USD\nper_tokens: 1000000\nunit_parents: {{cache_read: input}}\nproviders:\n  p:\n    names: [p]\n    models:\n      - {{id: m, ids: [m], rates: [{rates}]}}\n"
    );
    RateTable::parse("t.yaml", &text).map_err(|error| error.0)
}

/// The problems of a table are reported when it is parsed.
#[test]
fn bad_tables_are_refused() {
    for (rates, word) in [
        (r#"{price: {inptu: "1"}}"#, "unit inptu"),
        (r#"{price: {input: "0.0000000000001"}}"#, "too many digits"),
        (r#"{price: {input: "0.000000000001"}, adjust: [{when: {speed: [fast]}, multiply: "1.1"}]}"#, "finer"),
        (r#"{price: {input: "1"}, adjust: [{when: {moon: [full]}}]}"#, "`when: moon`"),
        (r#"{price: {input: "1"}, adjust: [{when: {utc_time: [noon]}}]}"#, "utc_time"),
        (r#"{price: {input: "1"}, from: yesterday}"#, "RFC 3339"),
        (r#"{price: {input: "1"}, tiers: [{price: {}}]}"#, "over_input"),
        (
            r#"{price: {input: "1"}, tiers: [{over_input: 9, price: {}}, {at_least_input: 10, price: {}}]}"#,
            "two tiers have the same limit",
        ),
        (r#"{price: {input: "1"}, fees_per_1000: {dance: "1"}}"#, "unit dance"),
        (r#"{price: {input: "1"}, from: "2026-01-02T00:00:00Z", to: "2026-01-01T00:00:00Z"}"#, "empty"),
        (r#"{price: {input: "1"}, adjust: [{when: {speed: [fast]}, multiply: "-2"}]}"#, "multiplier"),
        (r#"{prize: {}}"#, "prize"),
    ] {
        let error = small(rates).err().unwrap_or_default();
        assert!(error.contains(word), "{rates}: {error}");
    }
    let float = small("{price: {input: 0.1}}");
    assert!(float.is_ok(), "plain scalars keep their text: {float:?}", float = float.err());
    let other = "schema: 2\nversion: t\ncurrency: USD\nper_tokens: 1\nproviders: {}\n";
    assert!(RateTable::parse("t.yaml", other).err().unwrap().0.contains("schema 2"));
}

fn price(table: &RateTable, time: &str, input: u64, told: CallCircumstances<'_>, unit: Unit) -> Option<(String, Unit)> {
    let time = time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).unwrap();
    let time = u64::try_from(time.unix_timestamp_nanos()).unwrap();
    let query = RateQuery { provider: Some("p"), models: &["m"], time, circumstances: told };
    let (price, named) = table.row(&query, input).ok()?.price(unit)?;
    Some((Usd(price.0 * 1_000_000).to_string(), named))
}

/// Windows, tiers, times of day and weekdays, the first entry that names a unit, multipliers, `final`.
#[test]
fn adjustments() {
    let table = small(
        r#"{to: "2026-01-01T00:00:00Z", price: {input: "9"}},
           {from: "2026-02-01T00:00:00Z", price: {input: "1", output: "4"}, tiers: [{over_input: 100, price: {input: "2"}}, {at_least_input: 1000, price: {output: "8"}}],
            adjust: [{when: {processing: [batch]}, price: {input: "0.5"}, tiers: [{over_input: 100, price: {input: "0.7"}}]},
                     {when: {utc_time: ["23:00-01:00"], utc_weekday: [fri]}, price: {input: "7"}, final: true},
                     {when: {inference_geo: [us]}, multiply: "1.1"},
                     {when: {speed: [fast]}, from: "2026-06-01T00:00:00Z", multiply: "3"}]}"#,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let plain = CallCircumstances::default();
    let batch = CallCircumstances { service_tier: Some("batch"), ..plain };
    let us = CallCircumstances { inference_geo: Some("us"), ..plain };
    let both = CallCircumstances { inference_geo: Some("US"), ..batch };
    let fast = CallCircumstances { speed: Some("fast"), ..us };
    let tiers = [fast, us, CallCircumstances { speed: Some("standard"), ..batch }].map(|told| told.tier());
    assert_eq!(tiers, [Some("fast"), None, Some("batch")]);
    let wed = "2026-05-06T12:00:00Z";
    let text = |time, input, told, unit| price(&table, time, input, told, unit).map(|(price, _)| price);
    assert_eq!(text("2025-12-31T23:59:59Z", 0, plain, Unit::Input).as_deref(), Some("9"));
    assert_eq!(text("2026-01-01T00:00:00Z", 0, plain, Unit::Input), None);
    assert_eq!(text(wed, 100, plain, Unit::Input).as_deref(), Some("1"));
    assert_eq!(text(wed, 101, plain, Unit::Input).as_deref(), Some("2"));
    assert_eq!(text(wed, 1000, plain, Unit::Input).as_deref(), Some("2"));
    assert_eq!(text(wed, 1000, plain, Unit::Output).as_deref(), Some("8"));
    assert_eq!(text(wed, 999, plain, Unit::Output).as_deref(), Some("4"));
    assert_eq!(text(wed, 0, batch, Unit::Input).as_deref(), Some("0.5"));
    assert_eq!(text(wed, 101, batch, Unit::Input).as_deref(), Some("0.7"));
    assert_eq!(text(wed, 0, batch, Unit::Output).as_deref(), Some("4"));
    assert_eq!(text(wed, 101, both, Unit::Input).as_deref(), Some("0.77"));
    assert_eq!(text(wed, 0, fast, Unit::Input).as_deref(), Some("1.1"));
    assert_eq!(text("2026-06-03T12:00:00Z", 0, fast, Unit::Input).as_deref(), Some("3.3"));
    assert_eq!(text("2026-05-08T23:30:00Z", 0, us, Unit::Input).as_deref(), Some("7"));
    assert_eq!(text("2026-05-09T00:30:00Z", 0, us, Unit::Input).as_deref(), Some("1.1"));
    assert_eq!(text("2026-05-08T00:59:00Z", 0, plain, Unit::Input).as_deref(), Some("7"));
    assert_eq!(text("2026-05-08T01:00:00Z", 0, plain, Unit::Input).as_deref(), Some("1"));
    assert_eq!(price(&table, wed, 0, plain, Unit::CacheRead), Some(("1".to_owned(), Unit::Input)));
    assert_eq!(price(&table, wed, 0, plain, Unit::InputVideo), None);
}

/// A row's name contains provider, model, window and adjustments; a tier without a rate is flagged.
#[test]
fn rows_have_names() {
    let table = builtin();
    let row = |model: &str, told| {
        let query = RateQuery { provider: Some("openai"), models: &[model], time: NOW, circumstances: told };
        table.row(&query, 0).map(|row| (row.name(), row.flags().context_unmatched))
    };
    let priority = CallCircumstances { service_tier: Some("priority"), ..CallCircumstances::default() };
    assert_eq!(row("gpt-5-mini", priority), Ok(("openai/gpt-5-mini;priority".to_owned(), false)));
    let auto = CallCircumstances { service_tier: Some("auto"), ..CallCircumstances::default() };
    assert_eq!(row("gpt-5-mini", auto), Ok(("openai/gpt-5-mini".to_owned(), false)));
    assert_eq!(row("text-embedding-3-small", priority).map(|(_, unmatched)| unmatched), Ok(true));
}
