//! Which ids mean one model: by their rows, else by name.

use crate::same_model;

/// Names that begin alike are not one model; a snapshot, a route, a revision and `-latest` are.
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
    ];
    for (provider, one, other) in one {
        assert!(same_model(provider, one, other) && same_model(provider, other, one), "{one} is {other}");
    }
}
