//! Keys are read by their words, whatever the order, case and notation.

use serde_json::json;

use super::super::tests::{data, named_words, notations};
use super::{UsageKey, UsageWords};

fn words() -> UsageWords {
    UsageWords::new(&serde_json::from_value(data()["usage_words"].clone()).unwrap())
}

/// All orders of `words`.
fn orders(words: &[&str]) -> Vec<String> {
    let Some((first, rest)) = words.split_first() else { return vec![String::new()] };
    let with_first = |order: String| {
        let words: Vec<&str> = order.split_whitespace().collect();
        let insert = |at: usize| [&words[..at], &[*first], &words[at..]].concat().join(" ");
        (0..=words.len()).map(insert).collect::<Vec<_>>()
    };
    orders(rest).into_iter().flat_map(with_first).collect()
}

/// Must not regress: a count is read in any order, case and notation of its words, below every namespace.
#[test]
fn any_order_case_and_notation() {
    let grammar = words();
    let places = ["gen_ai.usage.", "llm.usage.", "llm.token_count.", "ai.usage.", "my.usage.", "usage.", ""];
    for (name, text) in named_words("counts") {
        let orders = orders(&text.split(' ').collect::<Vec<_>>());
        for key in orders.iter().flat_map(|order| notations(order)) {
            for place in places {
                let read = match grammar.read(&format!("{place}{key}")) {
                    Some(UsageKey::Tokens { bucket, bare }) => Some((bucket.as_str(), bare)),
                    _ => None,
                };
                let bare = ["my.usage.", "usage.", ""].contains(&place);
                assert_eq!(read, Some((&*name, bare)), "{place}{key}");
            }
        }
    }
}

/// Must not regress: money, ratios, limits and sums of a conversation are no counts; keys that are not understood are
/// reported, not guessed.
#[test]
fn other_numbers_are_not_counts() {
    let grammar = words();
    let no_counts = "gen_ai.usage.cost gen_ai.usage.cache_hit_ratio ai.usage.maxOutputTokens max_tokens tokenizer \
        gen_ai.usage.tokens_per_second llm.usage.prompt_cache_miss_tokens gen_ai.aggregated_usage.input_tokens \
        codex.turn.token_usage.input_tokens system.memory.usage.cached gen_ai.request.max_tokens \
        app.daily.usage.input_tokens app.session.usage.cache_read_tokens rate_limit.usage.reasoning_tokens \
        gen_ai.usage.text.cache_read.input_tokens";
    let unclear = "gen_ai.usage.cache_tokens gen_ai.usage.tool_use_prompt_tokens gen_ai.usage.audio_tokens \
        gen_ai.usage.input_output_tokens gen_ai.usage.cached_output_tokens llm.usage.billed";
    for (keys, expected) in [(no_counts, None), (unclear, Some(UsageKey::Unrecognized))] {
        keys.split(' ').for_each(|key| assert_eq!(grammar.read(key), expected, "{key}"));
    }
    let listed = [data()["usage_words"]["words"].as_object().unwrap().len(), super::TokenBucket::ALL.len()];
    assert_eq!(listed, [17, 16], "a meaning without words is never read");
}

/// Must not regress: the counts that a vendor's metadata holds are found for every vendor, beside or below `usage`.
#[test]
fn structures_of_any_vendor() {
    let grammar = words();
    let read = |key: &str, json| {
        let mut found = Vec::new();
        grammar.read_structure(key, &json, &mut |bucket, number| {
            let name = bucket.map_or_else(|path| format!("?{path}"), |bucket| bucket.as_str().into());
            found.push(format!("{name} {number}"));
        });
        found.sort();
        found.join(", ")
    };
    let metadata = "ai.response.providerMetadata";
    for vendor in ["bedrock", "vertex", "anthropic", "a-new-one"] {
        let usage = json!({vendor: {"usage": {"cacheWriteInputTokens": 7}, "seed": 3}});
        assert_eq!(read(metadata, usage), "cache_write 7");
        assert_eq!(read(metadata, json!({vendor: {"cacheCreationInputTokens": 7}})), "cache_write 7");
    }
    let google = json!({"google": {"usageMetadata": {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}], "thoughtsTokenCount": 2}}});
    assert_eq!(read(metadata, google), "input_audio 5, reasoning 2");
    let details = read("gen_ai.usage.input_token_details", json!({"cache_read": 3, "odd": 1}));
    assert_eq!(details, "?input_token_details.odd. 1, cache_read 3");
    for limit in [json!({"budget": {"max": {"reasoningTokens": 8}}}), json!({"limits": {"cachedTokens": 8}})] {
        assert_eq!(read(metadata, json!({"openai": limit})), "");
    }
    // a long key takes no time, and its text is not kept
    let long = "a.".repeat(100_000);
    assert_eq!(read("gen_ai.usage.raw", json!({"usage": {long.as_str(): {"b": 1, "modality": long.as_str()}}})), "");
    assert_eq!(read(metadata, json!({"openrouter": {"usage": {"cost": 0.1, "isByok": false}}})), "");
}
