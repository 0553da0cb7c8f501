//! Keys are read by their words, whatever the order, case and notation.

use serde_json::json;

use super::super::tests::data;
use super::{TokenBucket, UsageKey, UsageWords};

fn words() -> UsageWords {
    UsageWords::new(&serde_json::from_value(data()["usage_words"].clone()).unwrap())
}

/// All orders of `words`.
fn orders(words: &[&str]) -> Vec<Vec<String>> {
    if words.is_empty() {
        return vec![Vec::new()];
    }
    let first = |at: usize| {
        let rest: Vec<&str> =
            words.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, word)| *word).collect();
        orders(&rest).into_iter().map(move |order| [vec![words[at].to_owned()], order].concat())
    };
    (0..words.len()).flat_map(first).collect()
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// The words in every notation that emitters use.
fn notations(words: &[String]) -> Vec<String> {
    let capitals: String = words.iter().map(|word| capital(word)).collect();
    let camel = capitals[..1].to_lowercase() + &capitals[1..];
    let joined = ["_", ".", "-", ""].map(|mark| words.join(mark));
    [camel, capitals, words.join("_").to_uppercase()].into_iter().chain(joined).collect()
}

/// Must not regress: a count is read in any order, case and notation of its words, below every namespace.
#[test]
fn any_order_case_and_notation() {
    let grammar = words();
    let cases = [
        ("input tokens", TokenBucket::Input),
        ("prompt token count", TokenBucket::Input),
        ("completion tokens", TokenBucket::Output),
        ("cached tokens", TokenBucket::CacheRead),
        ("cached input tokens", TokenBucket::CacheRead),
        ("prompt tokens details cached", TokenBucket::CacheRead),
        ("cache hit tokens", TokenBucket::CacheRead),
        ("cache creation input tokens", TokenBucket::CacheWrite),
        ("cache write tokens", TokenBucket::CacheWrite),
        ("ephemeral 5m input tokens", TokenBucket::CacheWrite5m),
        ("cache write 1h tokens", TokenBucket::CacheWrite1h),
        ("reasoning output tokens", TokenBucket::Reasoning),
        ("thoughts token count", TokenBucket::Reasoning),
        ("input audio tokens", TokenBucket::InputAudio),
        ("output audio tokens", TokenBucket::OutputAudio),
        ("cached audio input tokens", TokenBucket::CacheReadAudio),
        ("input text tokens", TokenBucket::InputText),
        ("image input tokens", TokenBucket::InputImage),
        ("output image tokens", TokenBucket::OutputImage),
        ("video prompt tokens", TokenBucket::InputVideo),
        ("total tokens", TokenBucket::Total),
    ];
    for (text, bucket) in cases {
        for order in orders(&text.split(' ').collect::<Vec<_>>()) {
            for key in notations(&order) {
                for namespace in
                    ["gen_ai.usage.", "llm.usage.", "llm.token_count.", "ai.usage.", "my.usage.", "usage.", ""]
                {
                    let bare = !namespace.contains('i') && !namespace.contains("llm");
                    let read = grammar.read(&format!("{namespace}{key}"));
                    assert_eq!(read, Some(UsageKey::Tokens { bucket, bare }), "{namespace}{key}");
                }
            }
        }
    }
}

/// Must not regress: money, ratios, limits and sums of a conversation are no counts; keys that are not understood are
/// reported, not guessed.
#[test]
fn other_numbers_are_not_counts() {
    let grammar = words();
    for key in [
        "gen_ai.usage.cost",
        "gen_ai.usage.cache_hit_ratio",
        "ai.usage.maxOutputTokens",
        "gen_ai.usage.tokens_per_second",
        "llm.usage.prompt_cache_miss_tokens",
        "gen_ai.aggregated_usage.input_tokens",
        "codex.turn.token_usage.input_tokens",
        "max_tokens",
        "system.memory.usage.cached",
        "tokenizer",
        "gen_ai.request.max_tokens",
        "app.daily.usage.input_tokens",
        "app.session.usage.cache_read_tokens",
        "rate_limit.usage.reasoning_tokens",
        "gen_ai.usage.text.cache_read.input_tokens",
    ] {
        assert_eq!(grammar.read(key), None, "{key}");
    }
    for key in [
        "gen_ai.usage.cache_tokens",
        "gen_ai.usage.tool_use_prompt_tokens",
        "gen_ai.usage.audio_tokens",
        "gen_ai.usage.input_output_tokens",
        "gen_ai.usage.cached_output_tokens",
        "llm.usage.billed",
    ] {
        assert_eq!(grammar.read(key), Some(UsageKey::Unrecognized), "{key}");
    }
    let unlisted = [data()["usage_words"]["words"].as_object().unwrap().len(), super::TokenBucket::ALL.len()];
    assert_eq!(unlisted, [17, 16], "a meaning without words is never read");
}

/// Must not regress: the counts that a vendor's metadata holds are found for every vendor, beside or below `usage`.
#[test]
fn structures_of_any_vendor() {
    let grammar = words();
    let read = |key: &str, json| {
        let mut found = Vec::new();
        grammar.read_structure(key, &json, &mut |bucket, number| {
            found.push(format!(
                "{} {number}",
                bucket.map_or_else(|path| format!("?{path}"), |bucket| bucket.as_str().into())
            ));
        });
        found.sort();
        found.join(", ")
    };
    let metadata = "ai.response.providerMetadata";
    for vendor in ["bedrock", "vertex", "anthropic", "a-new-one"] {
        assert_eq!(
            read(metadata, json!({vendor: {"usage": {"cacheWriteInputTokens": 7}, "seed": 3}})),
            "cache_write 7"
        );
        assert_eq!(read(metadata, json!({vendor: {"cacheCreationInputTokens": 7}})), "cache_write 7");
    }
    let google = json!({"google": {"usageMetadata": {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}], "thoughtsTokenCount": 2}}});
    assert_eq!(read(metadata, google), "input_audio 5, reasoning 2");
    assert_eq!(
        read("gen_ai.usage.input_token_details", json!({"cache_read": 3, "odd": 1})),
        "?input_token_details.odd. 1, cache_read 3"
    );
    for limit in [json!({"budget": {"max": {"reasoningTokens": 8}}}), json!({"limits": {"cachedTokens": 8}})] {
        assert_eq!(read(metadata, json!({"openai": limit})), "");
    }
    // a long key takes no time, and its text is not kept
    let long = "a.".repeat(100_000);
    assert_eq!(read("gen_ai.usage.raw", json!({"usage": {long.as_str(): {"b": 1, "modality": long.as_str()}}})), "");
    assert_eq!(read(metadata, json!({"openrouter": {"usage": {"cost": 0.1, "isByok": false}}})), "");
}
