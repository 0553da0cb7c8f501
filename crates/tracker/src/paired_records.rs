//! Pairs a span and a log record that report the same model or tool call without sharing an id. Codex and Gemini CLI
//! report each call by an event and by a span, and no event contains the response's id.
//! Only records of one run are paired, and only if their dialect reports calls on both signals. Records on one signal
//! are separate calls, so the signal with more records gives the number of calls. Among records with the same
//! properties, the nth span is paired with the nth log record. `group` merges records with one id; `layers` handles
//! nested spans.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet};

use super::group::{ModelCallRecord, ToolCallRecord, of_better};
use super::observation::flag;
use super::run::{ItemRecord, RunItem, first_nonzero};
use super::tokens::PackedTokens;

/// Properties that the two records of a call share. For model calls: the input, and the output without reasoning,
/// because some events alone separate reasoning and cached tokens. For tools: the name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum CallSignature {
    Model(u64, u64),
    Tool(u16),
}

/// Records with the same properties: start, key, and index among the items.
type CandidateRecords = Vec<(u64, u64, usize)>;

/// The merged records of paired calls, by index among the items.
#[derive(Default)]
pub(super) struct PairedRecords {
    /// Spans, completed from their log records.
    calls: HashMap<usize, ModelCallRecord>,
    tools: HashMap<usize, ToolCallRecord>,
    /// Log records that were merged into a span.
    merged_logs: HashSet<usize>,
}

impl PairedRecords {
    /// `item_runs`: the run of each item.
    pub(super) fn pair_records(items: &[RunItem<'_>], item_runs: &[Option<usize>]) -> Self {
        let mut candidates: BTreeMap<(usize, CallSignature), [CandidateRecords; 2]> = BTreeMap::new();
        for (index, (item, run)) in items.iter().zip(item_runs).enumerate() {
            let Some((run, (signature, is_span))) = run.zip(call_signature(item)) else { continue };
            let [spans, logs] = candidates.entry((run, signature)).or_default();
            let records = if is_span { spans } else { logs };
            records.push((item.start, item.key, index));
        }
        let mut pairs = Self::default();
        for [mut spans, mut logs] in candidates.into_values() {
            spans.sort_unstable();
            logs.sort_unstable();
            for ((.., span), (.., log)) in spans.into_iter().zip(logs) {
                pairs.pair(items, span, log);
            }
        }
        pairs
    }

    /// Merges the log record at one index into the span at another.
    fn pair(&mut self, items: &[RunItem<'_>], span_index: usize, log_index: usize) {
        match (items.get(span_index).map(|item| &item.record), items.get(log_index).map(|item| &item.record)) {
            (Some(ItemRecord::Call(span)), Some(ItemRecord::Call(log))) => {
                self.calls.insert(span_index, merge_call_records(span, log));
            }
            (Some(ItemRecord::Tool(span)), Some(ItemRecord::Tool(log))) => {
                let merged = ToolCallRecord {
                    flags: span.flags | (log.flags & (flag::FAILED | flag::DENIED)),
                    error: first_nonzero(span.error, log.error),
                    denial_source: first_nonzero(span.denial_source, log.denial_source),
                    args: first_nonzero(span.args, log.args),
                    ..(*span).clone()
                };
                self.tools.insert(span_index, merged);
            }
            _ => return,
        }
        self.merged_logs.insert(log_index);
    }

    /// The model call to count for the item at an index; `None` if it was merged into another.
    pub(super) fn call<'c>(&'c self, index: usize, call: &'c ModelCallRecord) -> Option<&'c ModelCallRecord> {
        if self.merged_logs.contains(&index) { None } else { Some(self.calls.get(&index).unwrap_or(call)) }
    }

    pub(super) fn tool<'t>(&'t self, index: usize, tool: &'t ToolCallRecord) -> Option<&'t ToolCallRecord> {
        if self.merged_logs.contains(&index) { None } else { Some(self.tools.get(&index).unwrap_or(tool)) }
    }
}

/// The properties that a record shares with its pair, and whether it is a span; `None` if it is never paired.
fn call_signature(item: &RunItem<'_>) -> Option<(CallSignature, bool)> {
    let (flags, is_call, signature) = match item.record {
        ItemRecord::Call(call) => {
            let buckets = call.tokens.to_buckets();
            let output = buckets.output.saturating_sub(buckets.reasoning);
            (
                call.flags,
                call.flags & flag::USED_TOKENS != 0,
                CallSignature::Model(runs::total_input_tokens(&buckets), output),
            )
        }
        ItemRecord::Tool(tool) => {
            (tool.flags, tool.flags & flag::TOOL_RAN != 0, CallSignature::Tool(first_nonzero(tool.name, tool.alias)))
        }
        ItemRecord::Mark(_) => return None,
    };
    (is_call && flags & flag::ON_BOTH_SIGNALS != 0).then_some((signature, flags & flag::SPAN != 0))
}

/// Merges both records; tokens are taken from the one that separates more kinds of them.
fn merge_call_records(span: &ModelCallRecord, log: &ModelCallRecord) -> ModelCallRecord {
    let separated_tokens = |tokens: &PackedTokens| {
        let buckets = tokens.to_buckets();
        buckets.reasoning + buckets.cache_read + buckets.cache_write_5m + buckets.cache_write_1h
    };
    let tokens = [span.tokens, log.tokens].into_iter().max_by_key(|tokens| (separated_tokens(tokens), *tokens));
    let (price_quality, atto) = (span.price_quality, span.atto).max((log.price_quality, log.atto));
    // the tenant for which the call was counted
    let tenant = of_better((span.price_quality, span.tenant), (log.price_quality, log.tenant), first_nonzero);
    ModelCallRecord {
        flags: span.flags | (log.flags & flag::LIMIT),
        finish: first_nonzero(span.finish, log.finish),
        model: first_nonzero(span.model, log.model),
        requested_model: first_nonzero(span.requested_model, log.requested_model),
        provider: first_nonzero(span.provider, log.provider),
        tenant,
        feature: first_nonzero(span.feature, log.feature),
        error: first_nonzero(span.error, log.error),
        trouble: first_nonzero(span.trouble, log.trouble),
        fallback: first_nonzero(span.fallback, log.fallback),
        attempts: span.attempts.max(log.attempts),
        tokens: tokens.unwrap_or(span.tokens),
        price_quality,
        atto,
        ..span.clone()
    }
}
