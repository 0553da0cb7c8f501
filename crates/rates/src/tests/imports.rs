//! Public lists are converted to our schema exactly, to the last digit.

use super::super::import::{PriceListFormat, import};
use super::super::{CallCircumstances, FindingSeverity, RateQuery, RateTable, TableSource, Unit, Usd};
use super::NOW;

const LITELLM: &str = r#"{"sample_spec": {"input_cost_per_token": 0, "litellm_provider": "x"},
 "gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.25e-06, "output_cost_per_token": 0.00001, "cache_read_input_token_cost": 1.25e-7,
   "input_cost_per_token_above_200k_tokens": 2.5e-06, "input_cost_per_token_flex": 6.25e-07, "input_cost_per_token_above_200k_tokens_priority": 5e-06, "input_cost_per_token_priority": 2.5e-06, "deprecation_date": "2020-01-01"},
 "claude-x": {"litellm_provider": "anthropic", "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06, "provider_specific_entry": {"us": 1.1}},
 "gemini/gem-x": {"litellm_provider": "gemini", "input_cost_per_token": 1e-07, "output_cost_per_token": 4e-07, "input_cost_per_audio_token": 7e-07},
 "1024-x-1024/dall-e-2": {"litellm_provider": "openai", "input_cost_per_pixel": 1.9e-08, "output_cost_per_pixel": 0.0},
 "free-x": {"litellm_provider": "openai", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
 "dust-x": {"litellm_provider": "openai", "input_cost_per_token": 0.0833333333333333333e-06, "output_cost_per_token": 1e-06}}"#;

const GENAI: &str = r#"{"providers": [{"id": "deepseek", "models": [
  {"id": "seek", "match": {"or": [{"equals": "seek-1"}, {"starts_with": "seek-2-"}, {"contains": "sook"}]},
   "prices": [{"prices": {"input_mtok": 0.135, "output_mtok": "0.55"}}, {"constraint": {"start_time": "00:30:00Z", "end_time": "16:30:00Z"}, "prices": {"input_mtok": 0.27, "output_mtok": 1.1}}]},
  {"id": "dated", "match": {"equals": "dated"}, "prices": [{"prices": {"input_mtok": 10}}, {"constraint": {"start_date": "2025-06-10"}, "prices": {"input_mtok": {"base": 2, "tiers": [{"start": 200000, "price": 4}]}, "web_searches_kcount": 10}}],
   "price_variants": [{"when": {"processing": "batch"}, "constraint": {"start_date": "2025-07-01"}, "prices": {"input_mtok": 1}}, {"when": {"search_type": "web"}, "prices": {"input_mtok": 9}}]}]},
 {"id": "x-ai", "models": [{"id": "grok", "match": {"equals": "grok"}, "prices": {"input_mtok": {"base": 3, "tiers": [{"start": 199999, "price": 6}]}}}]}]}"#;

const MODELS_DEV: &str = r#"{"openai": {"models": {"gpt-x": {"cost": {"input": 1.25, "output": 10, "cache_read": 0.125, "context_over_200k": {"input": 2.5}}}, "none": {}}},
 "xai": {"models": {"grok": {"cost": {"input": 3, "output": 15}}}}}"#;

fn made(format: PriceListFormat, text: &str) -> (TableSource, RateTable, Vec<String>) {
    let imported = import(format, text, "v1").unwrap_or_else(|error| panic!("{}", error.0));
    // the written table parses back to the same one
    let source =
        TableSource::parse("made.json", &imported.source.to_json()).unwrap_or_else(|error| panic!("{}", error.0));
    let table = source.compile().unwrap_or_else(|error| panic!("{}", error.0));
    let skipped = imported.skipped.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    (imported.source, table, skipped)
}

fn usd(
    table: &RateTable,
    provider: &str,
    model: &str,
    time: u64,
    input: u64,
    told: CallCircumstances<'_>,
    unit: Unit,
) -> Option<String> {
    let query = RateQuery { provider: Some(provider), models: &[model], time, circumstances: told };
    let (price, _) = table.row(&query, input).ok()?.price(unit)?;
    Some(Usd(price.0 * 1_000_000).to_string())
}

/// Everything left out is reported: prices that are not for calls, keys without an equivalent here, duplicate ids.
/// `tiered_pricing` and rows of regions are read.
#[test]
fn losses_are_told() {
    let text = r#"{"eu/gpt-x": {"litellm_provider": "azure", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "output_cost_per_character": 1e-06},
     "bedrock/us-east-1/1-month-commitment/claude": {"litellm_provider": "bedrock", "input_cost_per_second": 0.1},
     "dashscope/q": {"litellm_provider": "dashscope", "tiered_pricing": [{"range": [0, 32000], "input_cost_per_token": 1e-06, "output_cost_per_token": 5e-06}, {"range": [32000, 128000], "input_cost_per_token": 2e-06}]}}"#;
    let (_, table, skipped) = made(PriceListFormat::LiteLlm, text);
    let plain = CallCircumstances::default();
    for (provider, model, input, unit, expected) in [
        ("azure", "eu/gpt-x", 0, Unit::Output, "2"),
        ("dashscope", "q", 32_000, Unit::Input, "1"),
        ("dashscope", "q", 32_001, Unit::Input, "2"),
        ("dashscope", "q", 32_001, Unit::Output, "5"),
    ] {
        let got = usd(&table, provider, model, NOW, input, plain, unit);
        assert_eq!(got.as_deref(), Some(expected), "{model} {input}");
    }
    assert_eq!(skipped, ["bedrock/us-east-1/1-month-commitment/claude: price of a commitment, not of a call"]);
    let unread = |format, text| import(format, text, "v1").map(|list| list.unsupported).unwrap_or_default();
    assert_eq!(unread(PriceListFormat::LiteLlm, text).into_keys().collect::<Vec<_>>(), ["output_cost_per_character"]);
    assert_eq!(
        unread(PriceListFormat::GenaiPrices, GENAI).into_keys().collect::<Vec<_>>(),
        ["match: contains", "when: search_type"]
    );
}

/// LiteLLM's floats are read as text; tiers, circumstances and multipliers keep their meaning. Prices that cannot be
/// held exactly, free ones and those that are not per token are left out.
#[test]
fn litellm() {
    let (_, table, skipped) = made(PriceListFormat::LiteLlm, LITELLM);
    let plain = CallCircumstances::default();
    let tier = |tier| CallCircumstances { service_tier: Some(tier), ..plain };
    for (model, input, told, unit, expected) in [
        ("gpt-x", 0, plain, Unit::Input, "1.25"),
        ("gpt-x", 200_000, plain, Unit::Input, "1.25"),
        ("gpt-x", 200_001, plain, Unit::Input, "2.5"),
        ("gpt-x", 200_001, plain, Unit::Output, "10"),
        ("gpt-x", 0, plain, Unit::CacheRead, "0.125"),
        ("gpt-x", 0, tier("flex"), Unit::Input, "0.625"),
        ("gpt-x", 0, tier("priority"), Unit::Input, "2.5"),
        ("gpt-x", 200_001, tier("priority"), Unit::Input, "5"),
    ] {
        assert_eq!(usd(&table, "openai", model, NOW, input, told, unit).as_deref(), Some(expected), "{model} {input}");
    }
    let us = CallCircumstances { inference_geo: Some("us"), ..plain };
    assert_eq!(usd(&table, "anthropic", "claude-x", NOW, 0, us, Unit::CacheWrite1h).as_deref(), Some("6.6"));
    assert_eq!(usd(&table, "google", "gem-x", NOW, 0, plain, Unit::InputAudio).as_deref(), Some("0.7"));
    for word in ["dall-e", "free-x", "dust-x"] {
        assert!(skipped.iter().any(|line| line.contains(word)), "{word}: {skipped:?}");
    }
    assert!(
        import(PriceListFormat::LiteLlm, "[]", "v").is_err() && import(PriceListFormat::LiteLlm, "{}", "v").is_err()
    );
}

/// genai-prices: windows by date, prices by time of day, variants, inclusive limits, ids but no prefixes.
#[test]
fn genai_prices() {
    let (_, table, _) = made(PriceListFormat::GenaiPrices, GENAI);
    let plain = CallCircumstances::default();
    let at = |text: &str| super::super::compile::parse_time(text).unwrap();
    let noon = at("2026-11-20T12:00:00Z");
    for (model, time, expected) in [
        ("seek", at("2026-11-20T00:29:59Z"), Some("0.135")),
        ("seek-1", noon, Some("0.27")),
        ("seek-2", at("2026-11-20T16:30:00Z"), Some("0.135")),
        ("seek-2-20260101", noon, Some("0.27")),
        ("seek-2-large", noon, None),
        ("sook", noon, None),
        ("dated", at("2025-06-09T23:59:59Z"), Some("10")),
        ("dated", at("2025-06-10T00:00:00Z"), Some("2")),
    ] {
        assert_eq!(usd(&table, "deepseek", model, time, 0, plain, Unit::Input).as_deref(), expected, "{model} {time}");
    }
    assert_eq!(usd(&table, "deepseek", "dated", noon, 200_001, plain, Unit::Input).as_deref(), Some("4"));
    let batch = CallCircumstances { service_tier: Some("batch"), ..plain };
    assert_eq!(usd(&table, "deepseek", "dated", noon, 0, batch, Unit::Input).as_deref(), Some("1"));
    for (input, expected) in [(199_999, "3"), (200_000, "6")] {
        assert_eq!(usd(&table, "x-ai", "grok", noon, input, plain, Unit::Input).as_deref(), Some(expected));
    }
}

/// models.dev, and the comparison of two lists.
#[test]
fn models_dev_and_comparison() {
    let (source, table, _) = made(PriceListFormat::ModelsDev, MODELS_DEV);
    let plain = CallCircumstances::default();
    assert_eq!(usd(&table, "openai", "gpt-x", NOW, 200_001, plain, Unit::Input).as_deref(), Some("2.5"));
    assert_eq!(usd(&table, "x-ai", "grok", NOW, 0, plain, Unit::Output).as_deref(), Some("15"));
    let (other, ..) = made(PriceListFormat::LiteLlm, &LITELLM.replace("1.25e-7", "2e-7"));
    let compared = source.differences(&other);
    assert_eq!((compared.both, compared.equal, compared.theirs_only), (1, 0, 2), "{compared:?}");
    assert_eq!(compared.differences, [("openai/gpt-x".into(), "cache_read".into(), "0.125".into(), "0.2".into())]);
}

/// An import into a table: the past stays, a changed price opens a window, models that are not listed stay, and the
/// comparison detects the changes.
#[test]
fn laid_onto_a_table() {
    let (old, ..) = made(PriceListFormat::LiteLlm, LITELLM);
    let (new, ..) = made(
        PriceListFormat::LiteLlm,
        &LITELLM.replace("0.00001,", "0.00004,").replace("\"claude-x\"", "\"claude-y\""),
    );
    let both = old.merge_import(&new, "2026-11-01T00:00:00Z", "v2");
    let table = both.compile().unwrap_or_else(|error| panic!("{}", error.0));
    let plain = CallCircumstances::default();
    let price = |provider, model, time: &str| {
        usd(&table, provider, model, super::super::compile::parse_time(time).unwrap(), 0, plain, Unit::Output)
    };
    assert_eq!(price("openai", "gpt-x", "2026-10-31T23:59:59Z").as_deref(), Some("10"));
    assert_eq!(price("openai", "gpt-x", "2026-11-01T00:00:00Z").as_deref(), Some("40"));
    assert_eq!(price("anthropic", "claude-x", "2026-11-01T00:00:00Z").as_deref(), Some("15"));
    assert_eq!(price("anthropic", "claude-y", "2026-11-01T00:00:00Z").as_deref(), Some("15"));
    let findings = old.diff(&both, &[]);
    assert!(
        findings.iter().any(|one| one.severity == FindingSeverity::Refusal && one.place == "openai/gpt-x"),
        "{findings:?}"
    );
    assert!(old.merge_import(&old, "2026-11-01T00:00:00Z", "v3").diff(&old, &[]).is_empty());
}
