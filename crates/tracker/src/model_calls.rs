//! [`ModelCalls`]: how the records of model calls count in a run. `calls::decide_roles` says which of them are one
//! call, and which an outer layer of it, by the rules of the ledger that bills them. It knows no charges and reduces no
//! totals; what the ledger changes of these comes as `Change`. A record that the ledger found to repeat a call of
//! another run does not count. Failures without tokens are no calls for the ledger: of a failed span and its parent the
//! inner one counts.

use foldhash::{HashMap, HashMapExt as _, HashSet};

use calls::{CallRecord, CallRole, CallTokenCounts, Decision, Money, model_stem, text_number, traits};
use kernel::sha256::Sha256;

use super::group::{ItemGroup, ModelCall, ModelCallRecord, RecordDetail as _, TracePosition};
use super::observation::{first_nonzero, flag, mark, price_quality};
use super::run::{ItemRecord, RunItem};
use super::tokens::PackedTokens;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CountDecision {
    /// Not counted: it is no call, or another record reports it.
    NotCounted,
    /// An answered call, with its price if it has one.
    Answered(Option<i128>),
    /// A total (an agent's span, the end of a turn), with its price if it has one.
    Total(Option<i128>),
    /// An answered call without token counts.
    NoUsage,
    /// A failed call that consumed no tokens.
    Failed,
    /// A failed call that consumed tokens, with their price if they have one.
    FailedWithTokens(Option<i128>),
    /// Cost without a call: a correction, or what a total costs in a run with calls.
    Change(i128),
}

pub(super) struct ModelCalls {
    /// By item.
    pub(super) decisions: Vec<CountDecision>,
    /// By item: the call's record, completed from its other records.
    merged: HashMap<usize, ModelCallRecord>,
}

impl ModelCalls {
    /// `item_runs`: the run of each item.
    pub(super) fn count(group: &ItemGroup, items: &[RunItem<'_>], item_runs: &[Option<usize>]) -> Self {
        let mut counted = Self { decisions: vec![CountDecision::NotCounted; items.len()], merged: HashMap::new() };
        let calls = || {
            items.iter().enumerate().filter_map(|(index, item)| match item.record {
                ItemRecord::Call(call) => Some((index, call)),
                _ => None,
            })
        };
        let known: Vec<(usize, &ModelCallRecord)> = calls().filter(|(_, call)| has_tokens_or_success(call)).collect();
        let mut reader = RecordReader { group, stems: HashMap::new() };
        let record = |(index, call): &(usize, &ModelCallRecord)| {
            let item = items.get(*index).map_or(0, |item| item.key);
            reader.call_record(item, call, item_runs.get(*index).copied().flatten())
        };
        let records: Vec<CallRecord> = known.iter().map(record).collect();
        let boundaries = tools_and_agents(group);
        let span_at = |_: [u8; 16], place: [u8; 8]| {
            let place = u64::from_le_bytes(place);
            let parent = group.nodes.get(place)?.parent;
            Some((parent.to_le_bytes(), boundaries.contains(&place)))
        };
        counted.count_calls(items, &known, &calls::decide_roles(&records, &span_at));
        let spans = known.iter().filter(|(_, call)| call.position.is_own_span && call.flags & flag::TURN_TOKENS == 0);
        let failures = Failures::of_spans(group, calls(), spans.map(|(_, call)| call.position.node).collect());
        for (index, call) in calls() {
            let decision = match call.price_quality {
                price_quality::CHANGE => Some(CountDecision::Change(call.atto.amount())),
                _ => {
                    failures.is_counted_at(&call.position).then_some(CountDecision::Failed).filter(|_| is_failure(call))
                }
            };
            if let (Some(slot), Some(decision)) = (counted.decisions.get_mut(index), decision) {
                *slot = decision;
            }
        }
        counted
    }

    /// Counts each call at its own span, else at its first record.
    fn count_calls(&mut self, items: &[RunItem<'_>], known: &[(usize, &ModelCallRecord)], decision: &Decision) {
        let mut of_call: Vec<Vec<usize>> = vec![Vec::new(); decision.calls.len()];
        for (record, call) in decision.call_of.iter().enumerate() {
            of_call.get_mut(*call).into_iter().for_each(|records| records.push(record));
        }
        for (call, mut records) in decision.calls.iter().zip(of_call) {
            if matches!(call.role, CallRole::Layer | CallRole::Sum) {
                continue;
            }
            let at =
                |record: &usize| known.get(*record).and_then(|(index, call)| Some((*call, items.get(*index)?.key)));
            records.sort_unstable_by_key(|record| {
                at(record).map(|(call, key)| (!call.position.is_own_span, call.start, key))
            });
            let mut whole: Option<ModelCallRecord> = None;
            for record in &records {
                let Some((call, _)) = at(record) else { continue };
                whole = Some(whole.map_or(*call, |known| complete_record(known, call)));
            }
            let first = records.first().and_then(|record| known.get(*record));
            let (Some((index, _)), Some(whole)) = (first, whole) else { continue };
            if let Some(slot) = self.decisions.get_mut(*index) {
                *slot = decide(&whole);
            }
            if records.len() > 1 {
                self.merged.insert(*index, whole);
            }
        }
    }

    /// The call to count for the item at an index.
    pub(super) fn call<'c>(&'c self, index: usize, call: &'c ModelCallRecord) -> &'c ModelCallRecord {
        self.merged.get(&index).unwrap_or(call)
    }
}

/// How a call counts that is no layer of another one.
fn decide(call: &ModelCallRecord) -> CountDecision {
    if call.price_quality == price_quality::NOT_COUNTED {
        return CountDecision::NotCounted;
    }
    let price = (call.price_quality == price_quality::PRICED).then(|| call.atto.amount());
    match call.flags & (flag::ANSWERED | flag::FAILED | flag::USED_TOKENS) {
        _ if call.flags & flag::TURN_TOKENS != 0 => CountDecision::Total(price),
        flags if flags & flag::USED_TOKENS == 0 => CountDecision::NoUsage,
        flags if flags & flag::ANSWERED == 0 && flags & flag::FAILED != 0 => CountDecision::FailedWithTokens(price),
        _ => CountDecision::Answered(price),
    }
}

/// Whether the record reports tokens, or success without them.
fn has_tokens_or_success(call: &ModelCallRecord) -> bool {
    let is_without_usage = call.flags & (flag::NO_USAGE | flag::FAILED) == flag::NO_USAGE;
    call.price_quality != price_quality::CHANGE && (call.flags & flag::USED_TOKENS != 0 || is_without_usage)
}

/// A failed call of which no record saw an answer or tokens.
fn is_failure(call: &ModelCallRecord) -> bool {
    call.flags & (flag::FAILED | flag::ANSWERED | flag::USED_TOKENS) == flag::FAILED
}

/// Places of tools and agents: a call inside one of them is a separate call.
fn tools_and_agents(group: &ItemGroup) -> HashSet<u64> {
    let tools = group.tools.values().map(|tool| &tool.position);
    let agents = group.marks.values().filter(|mark| mark.kind == mark::AGENT).map(|mark| &mark.position);
    tools.chain(agents).filter(|position| position.is_own_span).map(|position| position.node).collect()
}

/// Makes what `calls` compares out of the records of a group.
struct RecordReader<'g> {
    group: &'g ItemGroup,
    /// Digests of the stems of models' names, by the names' numbers.
    stems: HashMap<u16, u32>,
}

impl RecordReader<'_> {
    fn model(&mut self, name: u16) -> u32 {
        let text = self.group.name(name);
        *self.stems.entry(name).or_insert_with(|| match text {
            "" => 0,
            text => text_number(&model_stem(text).to_ascii_lowercase()),
        })
    }

    fn call_record(&mut self, key: u64, call: &ModelCallRecord, run: Option<usize>) -> CallRecord {
        let ModelCallRecord { position, flags, start, end, .. } = call;
        let tokens = call.tokens.to_buckets();
        let (uncached, input) = (tokens.input, runs::total_input_tokens(&tokens));
        let counted = |count: u64| Some(count).filter(|count| *count > 0);
        let is_total = flags & flag::TURN_TOKENS != 0;
        let traits = [
            (traits::SPAN, position.is_own_span),
            (traits::TOTAL, is_total),
            (traits::OF_TRACE, is_total && !position.is_own_span),
            (traits::WAITS, call.price_quality == price_quality::DEFERRED),
            (traits::CACHE_SPLIT, tokens.cache_write_1h > 0),
            (traits::VENDOR_SDK, flags & flag::VENDOR_SDK != 0),
            (traits::GUESSED, flags & flag::GUESSED != 0),
            (traits::LEAF_ONLY, flags & flag::LEAF_ONLY != 0),
            (traits::OF_SPAN, flags & flag::OF_SPAN != 0),
        ];
        let digest = |parts: &[&[u8]]| Sha256::short_list(parts);
        let answer_kind = flags >> flag::ANSWER_KIND_SHIFT;
        // The total input, and the output without reasoning, because only some events separate cached and reasoning
        // tokens. The run is part of it, because records of two runs are two calls.
        let output = tokens.output.saturating_sub(tokens.reasoning);
        let twin = match (flags & flag::ON_BOTH_SIGNALS != 0 && flags & flag::USED_TOKENS != 0, run) {
            (true, Some(run)) => digest(&[b"twin", &run.to_le_bytes(), &input.to_le_bytes(), &output.to_le_bytes()]),
            _ => [0; 16],
        };
        let (model, requested) = (self.model(call.model), self.model(call.requested_model));
        let own_span = self.group.nodes.get(position.node).filter(|_| position.is_own_span);
        let parent = own_span.map_or(0, |node| node.parent);
        CallRecord {
            id: digest(&[&key.to_le_bytes()]),
            trace: u128::from(position.trace).to_le_bytes(),
            span: position.node.to_le_bytes(),
            parent: parent.to_le_bytes(),
            traits: traits.into_iter().filter(|(_, is_set)| *is_set).fold(0, |sum, (bit, _)| sum | bit),
            answer: if answer_kind == 0 { [0; 16] } else { digest(&[b"answer", &key.to_le_bytes()]) },
            answer_kind,
            twin,
            counts: CallTokenCounts {
                input: [counted(input), counted(input), counted(uncached)],
                output: counted(tokens.output),
            },
            models: if requested == 0 { [0, model] } else { [model, requested] },
            start: *start,
            end: *end,
            price: (call.price_quality == price_quality::PRICED)
                .then(|| Money([call.atto.amount(), 0, 0, 0, 0], [0; 2])),
            ..CallRecord::default()
        }
    }
}

/// Where failures without tokens are counted.
struct Failures {
    /// Spans of calls that report tokens or success.
    with_usage: HashSet<u64>,
    /// These, and the spans of failures.
    spans: HashSet<u64>,
    /// Parents of `spans`.
    outer: HashSet<u64>,
}

impl Failures {
    fn of_spans<'g>(
        group: &ItemGroup,
        calls: impl Iterator<Item = (usize, &'g ModelCallRecord)>,
        with_usage: HashSet<u64>,
    ) -> Self {
        let is_failed_span = |call: &&ModelCallRecord| call.position.is_own_span && is_failure(call);
        let mut spans: HashSet<u64> =
            calls.map(|(_, call)| call).filter(is_failed_span).map(|call| call.position.node).collect();
        spans.extend(&with_usage);
        let outer = spans.iter().filter_map(|span| Some(group.nodes.get(*span)?.parent)).collect();
        Self { with_usage, spans, outer }
    }

    /// Whether a failure here counts: no call is right below it, and no call's span at this place reports it.
    fn is_counted_at(&self, position: &TracePosition) -> bool {
        let is_reported_by_span = !position.is_own_span && self.spans.contains(&position.node);
        !self.outer.contains(&position.node) && !is_reported_by_span && !self.with_usage.contains(&position.node)
    }
}

/// Completes a call's record from another one. Tokens come from the record with more reasoning and cached tokens.
fn complete_record(known: ModelCallRecord, other: &ModelCallRecord) -> ModelCallRecord {
    let distinct_tokens = |tokens: &PackedTokens| {
        let buckets = tokens.to_buckets();
        buckets.reasoning + buckets.cache_read + buckets.cache_write_5m + buckets.cache_write_1h
    };
    let tokens =
        [known.tokens, other.tokens].into_iter().max_by_key(|tokens| (distinct_tokens(tokens), tokens.counts()));
    let detail = ModelCall {
        model: first_nonzero(known.model, other.model),
        tokens: tokens.unwrap_or(known.tokens),
        trouble: first_nonzero(known.trouble, other.trouble),
        fallback: first_nonzero(known.fallback, other.fallback),
        ..known.detail.complete(other.detail, first_nonzero)
    };
    let flags = known.flags | (other.flags & (flag::LIMIT | flag::ANSWERED | flag::USED_TOKENS | flag::COVERED));
    ModelCallRecord { flags, detail, ..known }
}
