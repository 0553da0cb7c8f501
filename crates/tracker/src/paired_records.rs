//! Pairs a span and a log record that report the same model or tool call without sharing an id. Codex and Gemini CLI
//! report each call by an event and by a span, and no event contains the response's id.
//! Only records of one run are paired, and only if their dialect reports calls on both signals. Records on one signal
//! are separate calls, so there are as many calls as the signal with more records reports. Among equal records, the
//! nth span is paired with the nth log record. `group` merges records with one id; `layers` handles nested spans.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::group::{ModelCallRecord, ToolCallRecord};
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

/// Start, key, and index among the items.
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
    /// `homes`: the run of each item.
    pub(super) fn pair_records(items: &[RunItem<'_>], homes: &[Option<usize>]) -> Self {
        let mut alike: BTreeMap<(usize, CallSignature), [CandidateRecords; 2]> = BTreeMap::new();
        for (at, (item, home)) in items.iter().zip(homes).enumerate() {
            let Some((home, (print, is_span))) = home.zip(call_signature(item)) else { continue };
            let [spans, logs] = alike.entry((home, print)).or_default();
            let records = if is_span { spans } else { logs };
            records.push((item.start, item.key, at));
        }
        let mut pairs = Self::default();
        for [mut spans, mut logs] in alike.into_values() {
            spans.sort_unstable();
            logs.sort_unstable();
            for ((.., span), (.., log)) in spans.into_iter().zip(logs) {
                pairs.pair(items, span, log);
            }
        }
        pairs
    }

    fn pair(&mut self, items: &[RunItem<'_>], span: usize, log: usize) {
        match (items.get(span).map(|item| &item.record), items.get(log).map(|item| &item.record)) {
            (Some(ItemRecord::Call(one)), Some(ItemRecord::Call(other))) => {
                self.calls.insert(span, merge_call_records(one, other));
            }
            (Some(ItemRecord::Tool(one)), Some(ItemRecord::Tool(other))) => {
                let flags = one.flags | (other.flags & (flag::FAILED | flag::DENIED));
                let (error, source) =
                    (first_nonzero(one.error, other.error), first_nonzero(one.denial_source, other.denial_source));
                let args = first_nonzero(one.args, other.args);
                self.tools.insert(span, ToolCallRecord { flags, error, denial_source: source, args, ..(*one).clone() });
            }
            _ => return,
        }
        self.merged_logs.insert(log);
    }

    /// The model call to count for the item at an index; `None` if it was merged into another.
    pub(super) fn call<'c>(&'c self, at: usize, call: &'c ModelCallRecord) -> Option<&'c ModelCallRecord> {
        if self.merged_logs.contains(&at) { None } else { Some(self.calls.get(&at).unwrap_or(call)) }
    }

    /// The same for a tool call.
    pub(super) fn tool<'t>(&'t self, at: usize, tool: &'t ToolCallRecord) -> Option<&'t ToolCallRecord> {
        if self.merged_logs.contains(&at) { None } else { Some(self.tools.get(&at).unwrap_or(tool)) }
    }
}

/// The shared properties of a record, and whether it is a span.
fn call_signature(item: &RunItem<'_>) -> Option<(CallSignature, bool)> {
    let (flags, is_call, print) = match item.record {
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
    (is_call && flags & flag::ON_BOTH_SIGNALS != 0).then_some((print, flags & flag::SPAN != 0))
}

/// Merges both records; tokens are taken from the one that separates more kinds of them.
fn merge_call_records(span: &ModelCallRecord, log: &ModelCallRecord) -> ModelCallRecord {
    let apart = |tokens: &PackedTokens| {
        let buckets = tokens.to_buckets();
        buckets.reasoning + buckets.cache_read + buckets.cache_write_5m + buckets.cache_write_1h
    };
    let tokens = [span.tokens, log.tokens].into_iter().max_by_key(|tokens| (apart(tokens), *tokens));
    let (worth, atto) = (span.price_quality, span.atto).max((log.price_quality, log.atto));
    ModelCallRecord {
        flags: span.flags | (log.flags & flag::LIMIT),
        finish: first_nonzero(span.finish, log.finish),
        model: first_nonzero(span.model, log.model),
        requested_model: first_nonzero(span.requested_model, log.requested_model),
        provider: first_nonzero(span.provider, log.provider),
        tenant: first_nonzero(span.tenant, log.tenant),
        feature: first_nonzero(span.feature, log.feature),
        error: first_nonzero(span.error, log.error),
        trouble: first_nonzero(span.trouble, log.trouble),
        fallback: first_nonzero(span.fallback, log.fallback),
        attempts: span.attempts.max(log.attempts),
        tokens: tokens.unwrap_or(span.tokens),
        price_quality: worth,
        atto,
        ..span.clone()
    }
}
