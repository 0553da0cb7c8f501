//! Normalises how a model call ended: finish reasons ([`normalize_finish_reason`]), and the reason why it was not
//! answered as requested ([`classify_trouble`]). Providers spell one reason differently (`length`, `max_tokens`,
//! `MAX_TOKENS`), and a single count of fallbacks would hide their causes.

use genai::ItemFacts;

use super::observation::trouble;

/// Finish reasons: the normalised spelling, and all spellings.
const FINISH_REASONS: [(&str, &str); 6] = [
    ("stop", "stop end_turn stop_sequence eos eos_token completed complete finished success"),
    (
        "length",
        "length max_tokens max_output_tokens max_completion_tokens token_limit model_length \
         model_context_window_exceeded incomplete",
    ),
    ("tool_calls", "tool_calls tool_call tool_use function_call tool-calls"),
    ("refusal", "refusal refused"),
    (
        "content_filter",
        "content_filter content-filter content_filtered safety recitation blocklist prohibited_content spii \
         guardrail_intervened",
    ),
    ("max_turns", "max_turns error_max_turns"),
];

/// Whether the list, a text of words between spaces, has the word.
pub(super) fn has_word(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}

/// The normalised spelling of a finish reason; unknown ones are returned unchanged.
pub(super) fn normalize_finish_reason(reason: &str) -> &str {
    let lower = reason.to_ascii_lowercase();
    let word = lower.strip_prefix("finish_reason_").unwrap_or(&lower);
    let found = FINISH_REASONS.iter().find(|(_, spellings)| has_word(spellings, word));
    found.map_or(reason, |(normalized, _)| normalized)
}

/// Why a model call was not answered as requested: a constant of [`trouble`]. `error` is the type of its error, from
/// the item or its exception.
pub(super) fn classify_trouble(item: &ItemFacts, error: Option<&str>) -> u8 {
    if matches!(item.finish.as_deref().map(normalize_finish_reason), Some("refusal" | "content_filter")) {
        return trouble::REFUSAL;
    }
    if !item.failed {
        return if item.event.as_deref() == Some("api_refusal") { trouble::REFUSAL } else { trouble::NONE };
    }
    match item.status {
        Some(429) => trouble::RATE_LIMITED,
        Some(529) => trouble::OVERLOADED,
        _ => error.map_or(trouble::OTHER, classify_reason),
    }
}

/// Maps a free-text reason to a constant of [`trouble`].
pub(super) fn classify_reason(reason: &str) -> u8 {
    let reason = reason.to_ascii_lowercase();
    let has = |part: &str| reason.contains(part);
    if has("429") || has("ratelimit") || has("rate_limit") || has("rate limit") || has("too_many_requests") {
        trouble::RATE_LIMITED
    } else if has("529") || has("overloaded") {
        trouble::OVERLOADED
    } else if has("refus") || has("content_filter") || has("content filter") {
        trouble::REFUSAL
    } else {
        trouble::OTHER
    }
}
