//! **What**: which span and which log record tell of one model or tool call though they share no id. **Why**: Codex and
//! Gemini CLI tell each call by an event and by a span, and no event knows the answer's id. **Invariants**: only
//! records of one run whose dialect says that calls come on both signals; records of one signal are calls of their own,
//! so there are as many calls as the signal with more of them tells; of records that are alike the nth span is the nth
//! log record. **Not here**: records with one id, which are one already (`group`); spans inside each other (`layers`).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::group::{Call, Tool};
use super::run::{Item, What, first_nonzero};
use super::seen::flag;
use super::tokens::Tokens;

/// What records of one call have in common. Of model calls: the input, and the output without reasoning, as some events
/// alone tell reasoning and cached tokens apart. Of tools: the name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Print {
    Model(u64, u64),
    Tool(u16),
}

/// Begin, key, and place among the items.
type Records = Vec<(u64, u64, usize)>;

/// What the two records of one call became, by their place among the items.
#[derive(Default)]
pub(super) struct Twins {
    /// The spans, with what only the log records know.
    calls: HashMap<usize, Call>,
    tools: HashMap<usize, Tool>,
    /// Log records that another item tells of.
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

    /// What counts of the model call at a place: `None` where another item tells of it.
    pub(super) fn call<'c>(&'c self, at: usize, call: &'c Call) -> Option<&'c Call> {
        if self.told.contains(&at) { None } else { Some(self.calls.get(&at).unwrap_or(call)) }
    }

    /// The same of a tool call.
    pub(super) fn tool<'t>(&'t self, at: usize, tool: &'t Tool) -> Option<&'t Tool> {
        if self.told.contains(&at) { None } else { Some(self.tools.get(&at).unwrap_or(tool)) }
    }
}

/// What a record has in common with its twin, and whether it is a span.
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

/// Tokens are those of the record that tells more kinds of them apart.
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
