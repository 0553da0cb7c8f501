//! [`BatchObservation`]: the observations of one batch, as its effect carries them. Batches change the state only by
//! effects, so replaying the effects after a crash gives the same state. An observation holds ids and label-shaped
//! names, never content; number 0 means "none" everywhere. `observe` reads it from a payload; `group` applies it.

use std::collections::BTreeSet;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt as _};

use genai::{CallTokenBuckets, ItemFacts};
use runs::RunJudgement;
use serde::{Deserialize, Serialize};

use super::codec::{put, take};

/// Yes-or-no facts of an item, as bits.
pub(super) mod flag {
    pub(crate) const FAILED: u32 = 1;
    /// The run, turn or session that the item marks is over.
    pub(crate) const ENDED: u32 = 1 << 1;
    /// A span, so its place is its own; a log record's place is the span it was written in.
    pub(crate) const SPAN: u32 = 1 << 2;
    pub(crate) const SUB_AGENT: u32 = 1 << 3;
    /// A tool call was denied: the item's own, or that of the span directly above.
    pub(crate) const DENIED: u32 = 1 << 4;
    /// A model answered, as far as this item knows (not a copy, not a failure).
    pub(crate) const ANSWERED: u32 = 1 << 5;
    /// Tokens of a whole turn: they count only if no call of the run reports its own.
    pub(crate) const TURN_TOKENS: u32 = 1 << 6;
    /// The tool was run, or its result was reported (a decision alone is not a call).
    pub(crate) const TOOL_RAN: u32 = 1 << 7;
    /// The item is the tool call itself, so its name for the tool is preferred.
    pub(crate) const IS_TOOL_CALL: u32 = 1 << 8;
    pub(crate) const SUCCEEDED: u32 = 1 << 9;
    /// A model call that is not a step of the agent's loop (embeddings, reranking).
    pub(crate) const OUTSIDE_LOOP: u32 = 1 << 10;
    /// Stopped by a limit: turns, iterations, recursion.
    pub(crate) const LIMIT: u32 = 1 << 11;
    /// The same call also arrives on another signal, and this record lacks the response's id.
    pub(crate) const ON_BOTH_SIGNALS: u32 = 1 << 12;
    /// Tokens were consumed, whether the call was answered or failed midway.
    pub(crate) const USED_TOKENS: u32 = 1 << 13;
    /// An agent invocation that is a turn of a conversation: a root whatever its parent is.
    pub(crate) const IS_TURN: u32 = 1 << 14;
    /// A model call that succeeded and reports no tokens.
    pub(crate) const NO_USAGE: u32 = 1 << 15;
    /// Those of [`calls::traits`] with these names.
    pub(crate) const VENDOR_SDK: u32 = 1 << 16;
    pub(crate) const GUESSED: u32 = 1 << 17;
    pub(crate) const LEAF_ONLY: u32 = 1 << 18;
    pub(crate) const OF_SPAN: u32 = 1 << 19;
    /// A plan covers the price.
    pub(crate) const COVERED: u32 = 1 << 20;
    /// The highest 8 bits: a digest of the kind of the provider's response id; 0 = no id.
    pub(crate) const ANSWER_KIND_SHIFT: u32 = 24;
}

/// The event that an item marks.
pub(super) mod mark {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const AGENT: u8 = 1;
    pub(crate) const TURN_END: u8 = 2;
    pub(crate) const SESSION_END: u8 = 3;
    /// A sub-agent of which only the id is known.
    pub(crate) const SUB_AGENT: u8 = 4;
    /// A failure outside of any call or invocation, e.g. a graph that hit its recursion limit.
    pub(crate) const FAILURE: u8 = 5;
    /// The end of a span without a parent that is no agent invocation: the root of its trace.
    pub(crate) const ROOT: u8 = 6;
    /// The end of a span whose parent is in another process: the service's part of the trace.
    pub(crate) const ENTRY: u8 = 7;
}

pub(super) mod key_kind {
    pub(crate) const SESSION: u8 = 1;
    /// A trace, in hex.
    pub(crate) const TRACE: u8 = 2;
    /// A run that the dialect names, within its session.
    pub(crate) const RUN: u8 = 3;
}

/// Agents' items are observed, and items that carry a change of an earlier charge, but no records of budgets.
pub(super) fn is_observed(item: &ItemFacts) -> bool {
    (item.agent && !item.is_budget_record()) || item.cost.as_ref().is_some_and(|cost| !cost.corrected.is_empty())
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct BatchObservation {
    pub(super) account: Box<str>,
    /// Gateway time of arrival, unix ns.
    pub(super) received: u64,
    pub(super) keys: Vec<ObservedKey>,
    pub(super) names: Vec<Box<str>>,
    pub(super) items: Vec<ObservedItem>,
    pub(super) outcomes: Vec<ObservedOutcome>,
    pub(super) measures: Vec<ObservedMeasure>,
}

/// The id of a session, a trace or a run.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct ObservedKey {
    /// A constant of [`key_kind`].
    pub(super) kind: u8,
    pub(super) text: Box<str>,
    /// Of a run: its session.
    pub(super) session: u32,
}

/// Whose work it was and where it came from, as numbers of names.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Attribution<N> {
    pub(super) tenant: N,
    pub(super) feature: N,
    pub(super) user: N,
    pub(super) template: N,
    pub(super) incident: N,
    /// `build.commit_sha`.
    pub(super) commit: N,
    /// `work_tracker.issue_id`.
    pub(super) issue: N,
    pub(super) service: N,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct ObservedItem {
    pub(super) trace: u32,
    pub(super) session: u32,
    pub(super) run: u32,
    /// Place in the trace: see [`span_place`].
    pub(super) node: u64,
    pub(super) parent: u64,
    pub(super) flags: u32,
    /// Iteration number + 1; 0 = none.
    pub(super) iteration: u32,
    /// Unix ns; 0 = missing or implausible.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attribution: Attribution<u32>,
    pub(super) finish: u32,
    pub(super) error: u32,
    /// The model of an agent invocation, used for its calls that name none. Of the marks ROOT and ENTRY: the span's
    /// operation.
    pub(super) model: u32,
    pub(super) mark: u8,
    /// Digest of the sub-agent's id.
    pub(super) sub_agent: u64,
    pub(super) call: Option<ObservedModelCall>,
    pub(super) tool: Option<ObservedToolCall>,
    /// In the stored form it is at the end of the batch.
    #[serde(skip)]
    pub(super) work: ItemWork,
}

/// What the edit of a tool call changed, or how long the last message of a turn is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ItemWork {
    pub(super) lines_added: u32,
    pub(super) lines_removed: u32,
    pub(super) characters: u32,
    pub(super) words: u32,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct ObservedModelCall {
    /// Digest of the id that identifies the call.
    pub(super) key: u64,
    pub(super) model: u32,
    /// Quality of the price: see [`price_quality`].
    pub(super) price_quality: u8,
    pub(super) buckets: CallTokenBuckets,
    /// 1e-18 USD; valid only if priced.
    pub(super) atto: i128,
    /// What caching saved of it. In the stored form it is at the end of the batch.
    #[serde(skip)]
    pub(super) saved: i128,
    /// The requested model, if another may have answered.
    pub(super) requested_model: u32,
    pub(super) provider: u32,
    /// Why the call was not answered as requested: see [`trouble`].
    pub(super) trouble: u8,
    /// Why this model replaced another one, if the item says so: see [`trouble`].
    pub(super) fallback: u8,
    /// Number of attempts, at most 255; 0 = unknown. A `u8` from 128 on would not be read as 0.1 wrote it.
    pub(super) attempts: u16,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ObservedToolCall {
    pub(super) key: u64,
    pub(super) name: u32,
    /// Keyed digest of the arguments; 0 = unknown. Those of the tool's own span have the highest bit set.
    pub(super) args: u64,
    /// Who or what denied it.
    pub(super) denial_source: u32,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ObservedOutcome {
    /// Digest of the account and the run's id as shown.
    pub(super) run: u64,
    /// "" = none.
    pub(super) incident: Box<str>,
    pub(super) judgement: RunJudgement,
    /// The tenant and the feature of its scores, as numbers of names. In the stored form they are at the end of the
    /// batch.
    #[serde(skip)]
    pub(super) whose: [u32; 2],
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ObservedMeasure {
    /// Place of the span; 0 = the item has no span id.
    pub(super) place: u64,
    /// Position in the configured measures.
    pub(super) measure: u32,
    pub(super) service: u32,
    pub(super) tenant: u32,
    pub(super) commit: u32,
    pub(super) value: f64,
}

pub(super) mod trouble {
    /// It was, or nothing is known.
    pub(crate) const NONE: u8 = 0;
    /// The model, or its filter, refused.
    pub(crate) const REFUSAL: u8 = 1;
    /// HTTP status 429.
    pub(crate) const RATE_LIMITED: u8 = 2;
    /// HTTP status 529.
    pub(crate) const OVERLOADED: u8 = 3;
    pub(crate) const OTHER: u8 = 4;

    /// The value of `tollgate.fallback.reason`; "" for none.
    pub(crate) fn reason_text(kind: u8) -> &'static str {
        match kind {
            NONE => "",
            REFUSAL => "refusal",
            RATE_LIMITED => "rate_limited_429",
            OVERLOADED => "overloaded_529",
            _ => "other",
        }
    }
}

/// Quality of a record's price: of several records of one call, the one with the highest value gives the price.
pub(super) mod price_quality {
    /// A repeat of a call that was counted earlier.
    pub(crate) const NOT_COUNTED: u8 = 0;
    /// No cost step saw it.
    pub(crate) const UNKNOWN: u8 = 1;
    /// Billed on its other signal.
    pub(crate) const DEFERRED: u8 = 2;
    /// No price is known.
    pub(crate) const UNPRICED: u8 = 3;
    pub(crate) const PRICED: u8 = 4;
    /// No record of a call, but a change of what earlier ones were charged.
    pub(crate) const CHANGE: u8 = 5;
}

/// Version of the encoding of effects.
const VERSION: u8 = 2;

impl BatchObservation {
    /// The text of the key with this number.
    pub(super) fn key_text(&self, number: u32) -> Option<&str> {
        numbered(&self.keys, number).map(|key| &*key.text)
    }

    /// The effect's body.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.items.len() * 48);
        out.push(VERSION);
        put(self, &mut out);
        let saved = |(at, item): (usize, &ObservedItem)| {
            let saved = item.call.as_ref()?.saved;
            (saved != 0).then_some((at, saved))
        };
        let saved: Vec<(usize, i128)> = self.items.iter().enumerate().filter_map(saved).collect();
        let whose: Vec<[u32; 2]> = self.outcomes.iter().map(|outcome| outcome.whose).collect();
        let has_whose = whose.iter().any(|whose| *whose != [0; 2]);
        let work = self.items.iter().map(|item| item.work).enumerate();
        let work: Vec<(usize, ItemWork)> = work.filter(|(_, work)| *work != ItemWork::default()).collect();
        if has_whose || !saved.is_empty() || !work.is_empty() {
            put(&saved, &mut out);
        }
        if has_whose || !work.is_empty() {
            put(&whose, &mut out);
        }
        if !work.is_empty() {
            put(&work, &mut out);
        }
        out
    }

    /// `None`: damaged, or of another version.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = body.split_first()? else { return None };
        let mut batch: Self = take(&mut rest)?;
        let saved: Vec<(usize, i128)> = if rest.is_empty() { Vec::new() } else { take(&mut rest)? };
        for (at, saved) in saved {
            let call = batch.items.get_mut(at).and_then(|item| item.call.as_mut());
            call.into_iter().for_each(|call| call.saved = saved);
        }
        let whose: Vec<[u32; 2]> = if rest.is_empty() { Vec::new() } else { take(&mut rest)? };
        batch.outcomes.iter_mut().zip(whose).for_each(|(outcome, whose)| outcome.whose = whose);
        let work: Vec<(usize, ItemWork)> = if rest.is_empty() { Vec::new() } else { take(&mut rest)? };
        for (at, work) in work {
            batch.items.get_mut(at).into_iter().for_each(|item| item.work = work);
        }
        rest.is_empty().then_some(batch)
    }

    /// The names used by the batch's measures and scores, with their numbers.
    pub(super) fn measure_names(&self) -> impl Iterator<Item = (u32, &str)> {
        let of_measures = self.measures.iter().flat_map(|measure| [measure.service, measure.tenant, measure.commit]);
        let of_scores = self.outcomes.iter().flat_map(|outcome| outcome.whose);
        let numbers: BTreeSet<u32> = of_measures.chain(of_scores).collect();
        numbers.into_iter().filter_map(|number| Some((number, &**numbered(&self.names, number)?)))
    }

    /// Merges plain items that differ only in their times: a starting client writes dozens of such records.
    pub(super) fn merge_plain_items(&mut self) {
        let mut plain_positions = HashMap::new();
        let mut merged: Vec<ObservedItem> = Vec::with_capacity(self.items.len());
        for item in self.items.drain(..) {
            if !item.is_plain() {
                merged.push(item);
                continue;
            }
            let source = (item.attribution, item.iteration, item.sub_agent);
            let index =
                *plain_positions.entry((item.trace, item.session, item.run, item.node, source)).or_insert(merged.len());
            match merged.get_mut(index) {
                Some(known) => {
                    known.start = earlier(known.start, item.start);
                    known.end = known.end.max(item.end);
                }
                None => merged.push(item),
            }
        }
        self.items = merged;
    }
}

impl<N: Copy> Attribution<N> {
    /// Combines two attributions field by field.
    pub(super) fn zip<M>(self, other: Self, mut combine: impl FnMut(N, N) -> M) -> Attribution<M> {
        Attribution {
            tenant: combine(self.tenant, other.tenant),
            feature: combine(self.feature, other.feature),
            user: combine(self.user, other.user),
            template: combine(self.template, other.template),
            incident: combine(self.incident, other.incident),
            commit: combine(self.commit, other.commit),
            issue: combine(self.issue, other.issue),
            service: combine(self.service, other.service),
        }
    }

    pub(super) fn map<M>(self, mut change: impl FnMut(N) -> M) -> Attribution<M> {
        self.zip(self, |name, _| change(name))
    }
}

impl ObservedModelCall {
    /// Whether the call was answered, by its own record alone; `None`: the record doesn't count as a call. Of several
    /// records of one call, the cost step charged one. `flags`: of the item.
    pub(super) fn is_answered(&self, flags: u32) -> Option<bool> {
        let is_priced = self.price_quality == price_quality::PRICED;
        let is_counted = match self.price_quality {
            price_quality::PRICED | price_quality::UNPRICED => true,
            price_quality::UNKNOWN => flags & flag::SPAN != 0,
            _ => false,
        };
        // a price that came late says only that the call has not failed
        let is_answered = flags & flag::ANSWERED != 0 || (is_priced && flags & flag::FAILED == 0);
        is_counted.then_some(is_answered)
    }
}

impl ObservedItem {
    /// Whether it is a tool's own record of a call that ran.
    pub(super) fn is_tool_run(&self) -> bool {
        self.flags & (flag::TOOL_RAN | flag::IS_TOOL_CALL) == flag::TOOL_RAN | flag::IS_TOOL_CALL
    }

    /// The item reports only who was active, where and when.
    fn is_plain(&self) -> bool {
        self.flags == 0 && self.mark == mark::NONE && self.call.is_none() && self.tool.is_none()
    }
}

/// The entry with this number, where numbers begin at 1.
pub(super) fn numbered<T>(list: &[T], number: u32) -> Option<&T> {
    list.get((number as usize).checked_sub(1)?)
}

/// Nanoseconds, saturating.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The session of items that name none: that of their trace, whose id is given in hex.
pub(super) fn session_of_trace(trace: &str) -> String {
    format!("trace-{trace}")
}

/// Returns `a`, or `b` if `a` is missing.
pub(super) fn first_nonzero<N: Default + PartialEq>(a: N, b: N) -> N {
    if a == N::default() { b } else { a }
}

/// The earlier of two times; 0 means unknown.
pub(super) fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// A number for a span of a trace; never 0. Spans of one trace never share a number.
pub(super) fn span_place(trace: [u8; 16], span: [u8; 8]) -> u64 {
    let number = u128::from_be_bytes(trace);
    let seed = scramble(number as u64 ^ scramble((number >> 64) as u64));
    scramble(u64::from_be_bytes(span) ^ seed).max(1)
}

/// The span id from which [`span_place`] made this place.
pub(super) fn span_id_of_place(trace: [u8; 16], place: u64) -> [u8; 8] {
    let number = u128::from_be_bytes(trace);
    let seed = scramble(number as u64 ^ scramble((number >> 64) as u64));
    (unscramble(place) ^ seed).to_be_bytes()
}

/// The inverse of [`scramble`].
fn unscramble(mut bits: u64) -> u64 {
    bits ^= (bits >> 31) ^ (bits >> 62);
    bits = bits.wrapping_mul(0x3196_42b2_d24d_8ec3);
    bits ^= (bits >> 27) ^ (bits >> 54);
    bits = bits.wrapping_mul(0x96de_1b17_3f11_9089);
    bits ^ (bits >> 30) ^ (bits >> 60)
}

/// A one-to-one mixing of 64 bits (the finaliser of splitmix64).
fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
