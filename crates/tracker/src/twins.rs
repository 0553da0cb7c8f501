//! Pairs a span and a log record that report the same model or tool call without sharing an id. Codex and Gemini CLI
//! report each call by an event and by a span, and no event contains the response's id.
//! Only records of one run are paired, and only if their dialect reports calls on both signals. Records on one signal
//! are separate calls, so there are as many calls as the signal with more records reports. Among equal records, the
//! nth span is paired with the nth log record. `group` merges records with one id; `layers` handles nested spans.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::group::{Call, Tool};
use super::run::{Item, What, first_nonzero};
use super::seen::flag;
use super::tokens::Tokens;

/// Properties that the two records of a call share. For model calls: the input, and the output without reasoning,
/// because some events alone separate reasoning and cached tokens. For tools: the name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Print {
    Model(u64, u64),
    Tool(u16),
}

/// Start, key, and index among the items.
type Records = Vec<(u64, u64, usize)>;

/// The merged records of paired calls, by index among the items.
#[derive(Default)]
pub(super) struct Twins {
    /// Spans, completed from their log records.
    calls: HashMap<usize, Call>,
    tools: HashMap<usize, Tool>,
    /// Log records that were merged into a span.
    told: HashSet<usize>,
}

impl Twins {
    /// `homes`: the run of each item.
    pub(super) fn of(items: &[Item<'_>], homes: &[Option<usize>]) -> Self {
        let mut alike: BTreeMap<(usize, Print), [Records; 2]> = BTreeMap::new();
        for (at, (item, home)) in items.iter().zip(homes).enumerate() {
            let Some((home, (print, is_span))) = home.zip(print(item)) else { continue };
            let [spans, logs] = alike.entry((home, print)).or_default();
            let records = if is_span { spans } else { logs };
            records.push((item.start, item.key, at));
        }
        let mut twins = Self::default();
        for [mut spans, mut logs] in alike.into_values() {
            spans.sort_unstable();
            logs.sort_unstable();
            for ((.., span), (.., log)) in spans.into_iter().zip(logs) {
                twins.pair(items, span, log);
            }
        }
        twins
    }

    fn pair(&mut self, items: &[Item<'_>], span: usize, log: usize) {
        match (items.get(span).map(|item| &item.what), items.get(log).map(|item| &item.what)) {
            (Some(What::Call(one)), Some(What::Call(other))) => {
                self.calls.insert(span, join(one, other));
            }
            (Some(What::Tool(one)), Some(What::Tool(other))) => {
                let flags = one.flags | (other.flags & (flag::FAILED | flag::DENIED));
                let (error, source) = (first_nonzero(one.error, other.error), first_nonzero(one.source, other.source));
                let args = first_nonzero(one.args, other.args);
                self.tools.insert(span, Tool { flags, error, source, args, ..(*one).clone() });
            }
            _ => return,
        }
        self.told.insert(log);
    }

    /// The model call to count for the item at an index; `None` if it was merged into another.
    pub(super) fn call<'c>(&'c self, at: usize, call: &'c Call) -> Option<&'c Call> {
        if self.told.contains(&at) { None } else { Some(self.calls.get(&at).unwrap_or(call)) }
    }

    /// The same for a tool call.
    pub(super) fn tool<'t>(&'t self, at: usize, tool: &'t Tool) -> Option<&'t Tool> {
        if self.told.contains(&at) { None } else { Some(self.tools.get(&at).unwrap_or(tool)) }
    }
}

/// The shared properties of a record, and whether it is a span.
fn print(item: &Item<'_>) -> Option<(Print, bool)> {
    let (flags, is_call, print) = match item.what {
        What::Call(call) => {
            let buckets = call.tokens.buckets();
            let output = buckets.output.saturating_sub(buckets.reasoning);
            (call.flags, call.flags & flag::SPENT != 0, Print::Model(runs::input(&buckets), output))
        }
        What::Tool(tool) => {
            (tool.flags, tool.flags & flag::RAN != 0, Print::Tool(first_nonzero(tool.name, tool.alias)))
        }
        What::Mark(_) => return None,
    };
    (is_call && flags & flag::TWIN != 0).then_some((print, flags & flag::SPAN != 0))
}

/// Merges both records; tokens are taken from the one that separates more kinds of them.
fn join(span: &Call, log: &Call) -> Call {
    let apart = |tokens: &Tokens| {
        let buckets = tokens.buckets();
        buckets.reasoning + buckets.cache_read + buckets.cache_write_5m + buckets.cache_write_1h
    };
    let tokens = [span.tokens, log.tokens].into_iter().max_by_key(|tokens| (apart(tokens), *tokens));
    let (worth, atto) = (span.worth, span.atto).max((log.worth, log.atto));
    Call {
        flags: span.flags | (log.flags & flag::LIMIT),
        finish: first_nonzero(span.finish, log.finish),
        model: first_nonzero(span.model, log.model),
        asked: first_nonzero(span.asked, log.asked),
        provider: first_nonzero(span.provider, log.provider),
        tenant: first_nonzero(span.tenant, log.tenant),
        feature: first_nonzero(span.feature, log.feature),
        error: first_nonzero(span.error, log.error),
        trouble: first_nonzero(span.trouble, log.trouble),
        fallback: first_nonzero(span.fallback, log.fallback),
        attempts: span.attempts.max(log.attempts),
        tokens: tokens.unwrap_or(span.tokens),
        worth,
        atto,
        ..span.clone()
    }
}
