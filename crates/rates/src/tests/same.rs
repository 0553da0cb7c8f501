//! Whether two ids mean the same model: by their rows, otherwise by name.

use crate::{RateTables, TableSource, same_model};

/// Names with a common prefix are different models; a snapshot, a route, a revision and `-latest` are the same model.
#[test]
fn one_model_or_two() {
    let two = [
        ("openai", "gpt-5", "gpt-5-mini"),
        ("openai", "gpt-4o", "gpt-4o-mini"),
        ("openai", "o3", "o3-mini"),
        ("openai", "gpt-5-2025-08-07", "gpt-5-mini-2025-08-07"),
        ("gcp.gemini", "gemini-2.5-flash", "gemini-2.5-flash-lite"),
        ("anthropic", "claude-sonnet-4", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4-5-20250929"),
        ("", "gpt-5", "claude-sonnet-4-5"),
        ("acme", "house-model", "house-model-large"),
        ("acme", "house-1", "house-2"),
        ("openai", "gpt-5", "house-model"),
        ("anthropic", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-20250514"),
        ("", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-haiku-4-5"),
        ("aws.bedrock", "us.amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"),
    ];
    for (provider, one, other) in two {
        assert!(!same_model(provider, one, other) && !same_model(provider, other, one), "{one} is not {other}");
    }
    let one = [
        ("openai", "gpt-5-mini", "gpt-5-mini-2025-08-07"),
        ("openai", "gpt-4o", "openai/gpt-4o-2024-08-06"),
        ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("", "claude-sonnet-4-5", "Claude-Sonnet-4-5"),
        ("acme", "house-model", "house-model-latest"),
        ("acme", "house-model", "acme/house-model-2026-01-31"),
        ("acme", "house-model", "house-model-20260131"),
        ("acme", "house-model", "house-model@20260131"),
        ("acme", "house-model-0613", "house-model"),
        ("acme", "house-model-v1:0", "house-model"),
        ("openai", "", "gpt-5"),
        // Bedrock's id of the vendor's model, whatever provider is named
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("anthropic", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("somebody", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("aws.bedrock", "us-gov-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("", "us-gov-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "claude-sonnet-4-5-20250929"),
        // not listed yet
        ("aws.bedrock", "us.anthropic.claude-nobody-9-20290929-v1:0", "claude-nobody-9"),
    ];
    for (provider, one, other) in one {
        assert!(same_model(provider, one, other) && same_model(provider, other, one), "{one} is {other}");
    }
}

/// Overlays count: the ids and aliases they add to a model mean the same model, although their names differ.
#[test]
fn overlays_name_models_too() {
    let overlay = "schema: 1\noverlay: true\nversion: o\ncurrency: USD\nper_tokens: 1000000\nalias: {house-fast: openai/gpt-5-mini}\n\
        providers: {acme: {new: true, names: [acme], models: [{id: house-1, ids: [house-1, tuned-x], rates: [{price: {input: \"1\", output: \"2\"}}]}]}}\n";
    let overlay = TableSource::parse("o.yaml", overlay).unwrap_or_else(|error| panic!("{}", error.0));
    let base = TableSource::builtin().unwrap_or_else(|error| panic!("{}", error.0));
    let rates = RateTables::build(&base, &[overlay]).unwrap_or_else(|error| panic!("{}", error.0));
    for (provider, one, other) in [("acme", "house-1", "tuned-x"), ("openai", "house-fast", "gpt-5-mini")] {
        assert!(rates.common().is_same_model(provider, one, other), "{one} is {other}");
        assert!(!same_model(provider, one, other), "by name alone {one} is not {other}");
    }
    assert!(!rates.common().is_same_model("openai", "house-fast", "gpt-5"));
}
