//! **What**: reads one batch's agent items into a [`Sight`]. **Invariants**: pure; one [`Seen`] per agent item, in order;
//! nothing is decided here that another batch could decide differently.
//! **Not here**: which run an item belongs to (`resolve`).

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::genai::usage::split;
use crate::genai::{Billing, Buckets, Call, Facts, ItemFacts, LatePrice};
use crate::hex;
use crate::otlp::{NodeKind, Payload};
use crate::pipeline::Origin;

use super::seen::{KeySeen, Seen, SeenCall, SeenTool, Sight, flag, kind, mark, place, worth};

/// Longest name that is kept, bytes.
const NAME_BYTES: usize = 128;
/// A span's status code for "all went well".
const STATUS_OK: i32 = 1;
const DAY: u64 = 86_400_000_000_000;
/// Times further from the arrival are clocks that were never set.
const OLDEST: u64 = 30 * DAY;
const NEWEST: u64 = DAY;
/// What a permission's outcome is when the tool may not run.
const DENIALS: [&str; 7] = ["reject", "rejected", "deny", "denied", "block", "blocked", "abort"];

/// Reads the agent items of a batch.
pub(super) fn observe(origin: &Origin, payload: &Payload, facts: &Facts) -> Sight {
    let mut reader = Reader {
        received: origin.received.0,
        payload,
        keys: HashMap::new(),
        names: HashMap::new(),
        traces: HashMap::new(),
        sight: Sight {
            account: (&*origin.account).into(),
            received: origin.received.0,
            keys: Vec::new(),
            names: Vec::new(),
            items: Vec::new(),
        },
    };
    for item in facts.items.iter().filter(|item| item.agent) {
        let seen = reader.item(item);
        reader.sight.items.push(seen);
    }
    for late in &facts.late {
        let seen = reader.late(late);
        reader.sight.items.push(seen);
    }
    reader.sight
}

struct Reader<'a> {
    received: u64,
    payload: &'a Payload,
    keys: HashMap<(u8, &'a str, u32), u32>,
    names: HashMap<&'a str, u32>,
    traces: HashMap<[u8; 16], u32>,
    sight: Sight,
}

impl<'a> Reader<'a> {
    fn item(&mut self, item: &'a ItemFacts) -> Seen {
        let payload = self.payload;
        let is_span = payload.kind(item.node) == NodeKind::Span;
        let trace_id = <[u8; 16]>::try_from(payload.trace_id(item.node)).ok().filter(|id| *id != [0; 16]);
        let at = |span: &[u8]| {
            let span = <[u8; 8]>::try_from(span).ok().filter(|id| *id != [0; 8])?;
            Some(place(trace_id?, span))
        };
        let node = at(payload.span_id(item.node)).unwrap_or(0);
        let parent = if is_span { at(payload.parent_span_id(item.node)).unwrap_or(0) } else { 0 };
        let start = self.sane(payload.time(item.node));
        let end = self.sane(payload.end_time(item.node)).max(start);
        let session = self.key(kind::SESSION, item.session.as_deref(), 0);
        let mark = match item.call {
            Call::Agent => mark::AGENT,
            Call::TurnEnd => mark::TURN_END,
            Call::SessionEnd => mark::SESSION_END,
            _ => mark::NONE,
        };
        let call = self.call(item, node);
        let tool = self.tool(item, node);
        let over = mark != mark::NONE && (!is_span || mark != mark::AGENT || payload.end_time(item.node) != 0);
        let okay = mark != mark::NONE && is_span && payload.status_code(item.node) == STATUS_OK;
        let told = call.is_some() || tool.is_some() || mark != mark::NONE;
        Seen {
            trace: trace_id.map_or(0, |id| self.trace(id)),
            session,
            run: self.key(kind::RUN, item.run.as_deref(), session),
            node,
            parent,
            flags: flags(item, is_span, over, told) | if okay { flag::OKAY } else { 0 },
            iteration: item.iteration.and_then(|n| u32::try_from(n).ok()).map_or(0, |n| n.saturating_add(1)),
            start,
            end,
            tenant: self.name(item.tenant.as_deref()),
            feature: if item.sub_agent.is_some() { 0 } else { self.name(item.feature.as_deref()) },
            finish: self.name(item.finish.as_deref()),
            model: if mark == mark::AGENT { self.name(item.request_model.as_deref()) } else { 0 },
            mark,
            sub_agent: item.sub_agent.as_deref().map_or(0, |id| digest(&["a", id])),
            call,
            tool,
        }
    }

    /// A call of an earlier batch, seen again with its price.
    fn late(&mut self, late: &'a LatePrice) -> Seen {
        let at = |span: [u8; 8]| if span == [0; 8] { 0 } else { place(late.trace, span) };
        let start = self.sane(late.basis.time);
        let call = SeenCall {
            key: digest(&["c", &late.call_key]),
            model: self.name(late.basis.models.first().map(String::as_str)),
            worth: worth::PRICED,
            buckets: late.cost.buckets,
            atto: late.cost.atto_usd.unwrap_or(0),
        };
        Seen {
            trace: self.trace(late.trace),
            session: self.key(kind::SESSION, late.session.as_deref(), 0),
            run: 0,
            node: at(late.span),
            parent: at(late.parent),
            flags: flag::SPAN | flag::REAL,
            iteration: 0,
            start,
            end: start,
            tenant: self.name(late.tenant.as_deref()),
            feature: 0,
            finish: 0,
            model: 0,
            mark: mark::NONE,
            sub_agent: 0,
            call: Some(call),
            tool: None,
        }
    }

    fn call(&mut self, item: &'a ItemFacts, node: u64) -> Option<SeenCall> {
        if !item.billable && !matches!(item.call, Call::Model | Call::ModelCopy) {
            return None;
        }
        let key = match &item.call_key {
            Some(key) => digest(&["c", key]),
            None if node != 0 => node,
            None => return None,
        };
        let model = item.response_model.as_deref().or(item.request_model.as_deref());
        let worth = item.cost.as_ref().map_or(worth::UNKNOWN, |cost| match cost.status {
            Billing::Priced => worth::PRICED,
            Billing::Unpriced => worth::UNPRICED,
            Billing::Deferred => worth::DEFERRED,
            Billing::NotCounted => worth::NOT_COUNTED,
        });
        let atto = item.cost.as_ref().and_then(|cost| cost.atto_usd).unwrap_or(0);
        Some(SeenCall { key, model: self.name(model), worth, buckets: buckets(item), atto })
    }

    fn tool(&mut self, item: &'a ItemFacts, node: u64) -> Option<SeenTool> {
        let by_id = item.tool_call.as_deref().filter(|_| !matches!(item.call, Call::Model | Call::ModelCopy));
        let key = match by_id {
            Some(id) => digest(&["t", id]),
            None if item.call == Call::Tool && node != 0 => node,
            None => return None,
        };
        Some(SeenTool { key, name: self.name(item.tool.as_deref()) })
    }

    fn trace(&mut self, id: [u8; 16]) -> u32 {
        let keys = &mut self.sight.keys;
        *self.traces.entry(id).or_insert_with(|| {
            keys.push(KeySeen { kind: kind::TRACE, text: hex::encode(&id).into(), within: 0 });
            count(keys.len())
        })
    }

    fn key(&mut self, kind: u8, text: Option<&'a str>, within: u32) -> u32 {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return 0 };
        let keys = &mut self.sight.keys;
        *self.keys.entry((kind, text, within)).or_insert_with(|| {
            keys.push(KeySeen { kind, text: text.into(), within });
            count(keys.len())
        })
    }

    fn name(&mut self, text: Option<&'a str>) -> u32 {
        let Some(text) = text.map(short).filter(|text| !text.is_empty()) else { return 0 };
        let names = &mut self.sight.names;
        *self.names.entry(text).or_insert_with(|| {
            names.push(text.into());
            count(names.len())
        })
    }

    /// A time that can be: else 0.
    fn sane(&self, time: u64) -> u64 {
        let low = self.received.saturating_sub(OLDEST);
        let high = self.received.saturating_add(NEWEST);
        if (low..=high).contains(&time) { time } else { 0 }
    }
}

fn flags(item: &ItemFacts, is_span: bool, over: bool, told: bool) -> u16 {
    let denied = item.decision.as_deref().is_some_and(|word| DENIALS.contains(&word.to_lowercase().as_str()));
    let permission = item.call == Call::Permission;
    let turn = item.billable && item.call != Call::Model;
    [
        (flag::FAILED, told && item.failed && !permission),
        (flag::ENDED, over),
        (flag::SPAN, is_span),
        (flag::SUB, told && item.sub_agent.is_some()),
        (flag::DENIED, denied || (permission && item.failed)),
        (flag::REAL, item.call == Call::Model || turn),
        (flag::TURN, turn),
        (flag::RAN, item.call == Call::Tool || (item.tool_call.is_some() && !permission)),
        (flag::NAMED, item.call == Call::Tool),
        (flag::ASIDE, matches!(item.operation.as_deref(), Some("embeddings" | "rerank"))),
    ]
    .into_iter()
    .fold(0, |flags, (flag, holds)| if holds { flags | flag } else { flags })
}

/// What was billed, else what was reported.
fn buckets(item: &ItemFacts) -> Buckets {
    let billed = item.cost.as_ref().map(|cost| cost.buckets).filter(|buckets| *buckets != Buckets::default());
    billed.or_else(|| split(item).ok().map(|split| split.buckets())).unwrap_or_default()
}

/// At most 128 bytes.
fn short(text: &str) -> &str {
    let cut = text.floor_char_boundary(NAME_BYTES);
    text.get(..cut).unwrap_or(text)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// 64 bits of SHA-256; never 0.
pub(super) fn digest(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    hash.first_chunk::<8>().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1)
}
