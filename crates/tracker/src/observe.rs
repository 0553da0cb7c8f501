//! Reads the agent items of one batch into a [`Sight`]. Pure; one [`Seen`] per agent item, in order. Nothing that
//! depends on other batches is decided here: `resolve` assigns items to runs.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use genai::usage::split;
use genai::{Billing, Buckets, Call, Facts, ItemFacts, LatePrice, Vaulted};
use kernel::CONTENT;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use otlp::{Node, NodeKind, Payload, Signal};
use pipeline::Origin;

use super::config::Settings;
use super::extras::{self, Extras};
use super::seen::{
    KeySeen, Seen, SeenCall, SeenMeasure, SeenOutcome, SeenTool, Sight, Who, flag, kind, mark, place, trouble, worth,
};
use super::{args, finish};

/// Longest name that is kept, bytes.
const NAME_BYTES: usize = 128;
/// OTLP status code of a span that completed without error.
const STATUS_OK: i32 = 1;
const DAY: u64 = 86_400_000_000_000;
/// Timestamps further from the time of arrival come from unset clocks and are ignored.
const OLDEST: u64 = 400 * DAY;
const NEWEST: u64 = DAY;
/// Outcomes of a permission request that mean "denied".
const DENIALS: [&str; 7] = ["reject", "rejected", "deny", "denied", "block", "blocked", "abort"];

/// Finish reasons of runs that were stopped by a limit.
const LIMITS: [&str; 9] = [
    "max_turns",
    "error_max_turns",
    "max_iterations",
    "iteration_limit",
    "max_steps",
    "recursion_limit",
    "tool_limit",
    "usage_limit_exceeded",
    "max_tool_calls",
];
/// Error types with the same meaning; only the last part of a dotted path is compared.
const LIMIT_ERRORS: [&str; 7] = [
    "GraphRecursionError",
    "MaxTurnsExceeded",
    "MaxIterationsExceeded",
    "UsageLimitExceeded",
    "RecursionLimitExceeded",
    "AgentMaxIterationsError",
    "MaxStepsExceeded",
];

/// Context for reading a batch.
#[derive(Clone, Copy)]
pub(super) struct With<'a> {
    pub(super) settings: &'a Settings,
    pub(super) ids: &'a dyn IdPolicy,
    /// Texts that only the vault may store.
    pub(super) vaulted: &'a Vaulted,
}

/// Reads the agent items of a batch and the measures of all its spans; also returns the number of rejected measures.
pub(super) fn observe(origin: &Origin, payload: &Payload, facts: &Facts, with: With<'_>) -> (Sight, u64) {
    let mut reader = Reader {
        received: origin.received.0,
        account: &origin.account,
        payload,
        with,
        keys: HashMap::new(),
        names: HashMap::new(),
        traces: HashMap::new(),
        resource: None,
        refused: 0,
        sight: Sight {
            account: (&*origin.account).into(),
            received: origin.received.0,
            keys: Vec::new(),
            names: Vec::new(),
            items: Vec::new(),
            outcomes: Vec::new(),
            measures: Vec::new(),
        },
    };
    let measured = payload.signal() == Signal::Traces && !with.settings.measures.is_empty();
    for item in facts.items.iter().filter(|item| item.agent || measured) {
        let extras = reader.extras(item.node);
        reader.measures(item, &extras);
        if item.agent {
            let seen = reader.item(item, &extras);
            reader.outcome(item, &extras);
            reader.sight.items.push(seen);
        }
    }
    for late in &facts.late {
        let seen = reader.late(late);
        reader.sight.items.push(seen);
    }
    (reader.sight, reader.refused)
}

struct Reader<'a> {
    received: u64,
    account: &'a str,
    payload: &'a Payload,
    with: With<'a>,
    keys: HashMap<(u8, &'a str, u32), u32>,
    names: HashMap<&'a str, u32>,
    traces: HashMap<[u8; 16], u32>,
    resource: Option<(Node, extras::Origin<'a>)>,
    refused: u64,
    sight: Sight,
}

impl<'a> Reader<'a> {
    fn origin(&mut self, node: Node) -> extras::Origin<'a> {
        let resource = self.payload.resource(node);
        match &self.resource {
            Some((known, origin)) if *known == resource => *origin,
            _ => {
                let origin = extras::Origin::of(self.payload, resource, self.with.settings);
                self.resource = Some((resource, origin));
                origin
            }
        }
    }

    fn extras(&mut self, node: Node) -> Extras<'a> {
        let origin = self.origin(node);
        let extras = Extras::of(self.payload, node, &origin, self.with.settings);
        self.refused += extras.refused;
        extras
    }

    fn measures(&mut self, item: &'a ItemFacts, extras: &Extras<'a>) {
        if extras.measures.is_empty() {
            return;
        }
        let service = self.origin(item.node).service;
        let [service, tenant, commit] = [service, item.tenant.as_deref(), extras.commit].map(|text| self.name(text));
        let (place, _) = self.places(item.node);
        for (name, value) in &extras.measures {
            let name = u32::try_from(*name).unwrap_or(u32::MAX);
            self.sight.measures.push(SeenMeasure { place, name, service, tenant, commit, value: *value });
        }
    }

    fn outcome(&mut self, item: &'a ItemFacts, extras: &Extras<'a>) {
        let Some(judged) = extras.judged() else { return };
        let trace = hex::encode(self.payload.trace_id(item.node));
        let trace = Some(trace).filter(|id| id.bytes().any(|digit| digit != b'0'));
        let Some(id) = item.run.clone().or(trace).or_else(|| item.session.clone()) else { return };
        let run = run_digest(self.account, &self.with.ids.shown(self.account, &id));
        let incident = extras.incident.unwrap_or("");
        let incident = self.with.ids.column(self.account, incident).as_ref().into();
        self.sight.outcomes.push(SeenOutcome { run, incident, judged });
    }

    /// Places of an item and of its parent; 0 = none.
    fn places(&self, node: Node) -> (u64, u64) {
        let payload = self.payload;
        let trace_id = <[u8; 16]>::try_from(payload.trace_id(node)).ok().filter(|id| *id != [0; 16]);
        let at = |span: &[u8]| {
            let span = <[u8; 8]>::try_from(span).ok().filter(|id| *id != [0; 8])?;
            Some(place(trace_id?, span))
        };
        let is_span = payload.kind(node) == NodeKind::Span;
        let parent = if is_span { at(payload.parent_span_id(node)) } else { None };
        (at(payload.span_id(node)).unwrap_or(0), parent.unwrap_or(0))
    }

    fn who(&mut self, item: &'a ItemFacts, extras: &Extras<'a>) -> Who {
        let feature = match &self.with.settings.feature_from {
            None => item.feature.as_deref(),
            Some(_) => extras.feature,
        };
        let service = self.origin(item.node).service;
        Who {
            tenant: self.name(item.tenant.as_deref()),
            feature: if item.sub_agent.is_some() { 0 } else { self.name(feature) },
            user: self.name(item.user.as_deref()),
            template: self.name(extras.template),
            incident: self.name(extras.incident),
            commit: self.name(extras.commit),
            issue: self.name(extras.issue),
            service: self.name(service),
        }
    }

    fn item(&mut self, item: &'a ItemFacts, extras: &Extras<'a>) -> Seen {
        let payload = self.payload;
        let is_span = payload.kind(item.node) == NodeKind::Span;
        let trace_id = <[u8; 16]>::try_from(payload.trace_id(item.node)).ok().filter(|id| *id != [0; 16]);
        let (node, parent) = self.places(item.node);
        let start = self.sane(payload.time(item.node));
        let end = self.sane(payload.end_time(item.node)).max(start);
        let session = self.key(kind::SESSION, item.session.as_deref(), 0);
        let error = self.error(item);
        let limit = is_limit(item, error);
        let mut mark = match item.call {
            Call::Agent => mark::AGENT,
            Call::TurnEnd => mark::TURN_END,
            Call::SessionEnd => mark::SESSION_END,
            _ => mark::NONE,
        };
        let call = self.call(item, extras, node);
        let denied = is_denied(item, extras);
        let tool = self.tool(item, extras, node, denied);
        let over = mark != mark::NONE && (!is_span || mark != mark::AGENT || payload.end_time(item.node) != 0);
        let okay = mark != mark::NONE && is_span && payload.status_code(item.node) == STATUS_OK;
        let told = call.is_some() || tool.is_some() || mark != mark::NONE;
        if limit && mark == mark::NONE && call.is_none() && tool.is_none() {
            mark = mark::FAILURE;
        }
        let more = [(flag::OKAY, okay), (flag::DENIED, denied), (flag::LIMIT, limit)];
        let more = more.into_iter().fold(0, |flags, (flag, holds)| if holds { flags | flag } else { flags });
        Seen {
            trace: trace_id.map_or(0, |id| self.trace(id)),
            session,
            run: self.key(kind::RUN, item.run.as_deref(), session),
            node,
            parent,
            flags: flags(item, is_span, over, told) | more,
            iteration: item.iteration.and_then(|n| u32::try_from(n).ok()).map_or(0, |n| n.saturating_add(1)),
            start,
            end,
            who: self.who(item, extras),
            finish: self.name(item.finish.as_deref().map(finish::one_word)),
            error: if item.failed && told { self.name(error) } else { 0 },
            model: if mark == mark::AGENT { self.name(item.request_model.as_deref()) } else { 0 },
            mark,
            sub_agent: item.sub_agent.as_deref().map_or(0, |id| digest(&["a", id])),
            call,
            tool,
        }
    }

    /// The error type of a failed item, from the item or its exception event.
    fn error(&self, item: &'a ItemFacts) -> Option<&'a str> {
        if !item.failed {
            return None;
        }
        let payload = self.payload;
        let is_label =
            |text: &&str| !text.is_empty() && text.len() <= NAME_BYTES && !text.contains(char::is_whitespace);
        let told = item.error.as_deref().filter(is_label);
        let exception = || {
            let places = item.errors.iter().map(|place| place.node).filter(|node| *node != item.node);
            places.filter_map(|node| payload.get_str(node, "exception.type")).find(is_label)
        };
        told.or_else(exception)
    }

    /// A price that arrived late, for a call of an earlier batch.
    fn late(&mut self, late: &'a LatePrice) -> Seen {
        let at = |span: [u8; 8]| if span == [0; 8] { 0 } else { place(late.trace, span) };
        let start = self.sane(late.basis.time);
        let call = SeenCall {
            key: digest(&["c", &late.call_key]),
            model: self.name(late.basis.models.first().map(String::as_str)),
            worth: worth::PRICED,
            buckets: late.cost.buckets,
            atto: late.cost.atto_usd.unwrap_or(0),
            asked: 0,
            provider: 0,
            trouble: 0,
            fallback: 0,
            attempts: 0,
        };
        Seen {
            trace: self.trace(late.trace),
            session: self.key(kind::SESSION, late.session.as_deref(), 0),
            run: 0,
            node: at(late.span),
            parent: at(late.parent),
            flags: flag::SPAN | flag::SPENT,
            iteration: 0,
            start,
            end: start,
            who: Who { tenant: self.name(late.tenant.as_deref()), ..Who::default() },
            finish: 0,
            error: 0,
            model: 0,
            mark: mark::NONE,
            sub_agent: 0,
            call: Some(call),
            tool: None,
        }
    }

    fn call(&mut self, item: &'a ItemFacts, extras: &Extras<'a>, node: u64) -> Option<SeenCall> {
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
        let atto = item.cost.as_ref().map_or(0, |cost| cost.atto_usd.unwrap_or(0).saturating_add(cost.before_atto_usd));
        Some(SeenCall {
            key,
            model: self.name(model),
            worth,
            buckets: buckets(item),
            atto,
            asked: self.name(item.request_model.as_deref().filter(|_| item.response_model.is_some())),
            provider: self.name(item.provider.as_deref()),
            trouble: finish::trouble(item, self.error(item)),
            fallback: extras.fallback.map_or(trouble::NONE, finish::reason),
            attempts: extras.attempts,
        })
    }

    fn tool(&mut self, item: &'a ItemFacts, extras: &Extras<'a>, node: u64, denied: bool) -> Option<SeenTool> {
        let by_id = item.tool_call.as_deref().filter(|_| !matches!(item.call, Call::Model | Call::ModelCopy));
        let named = item.call == Call::Tool;
        let key = match by_id {
            Some(id) => digest(&["t", id]),
            // several log records of this kind may have been written in one span
            None if named && item.twin && self.payload.kind(item.node) == NodeKind::LogRecord => {
                let time = self.payload.time(item.node).to_string();
                digest(&["l", item.session.as_deref().unwrap_or(""), &node.to_string(), &time, item.tool.as_deref()?])
            }
            None if named && node != 0 => node,
            // a denied permission without a call counts as a denial, not as a call
            None if denied && item.call == Call::Permission && node != 0 && item.tool.is_some() => node,
            None => return None,
        };
        let args = args::digest(self.with.ids, self.account, self.payload, item);
        let own = named && self.payload.kind(item.node) == NodeKind::Span;
        let args = if args == 0 { 0 } else { (args >> 1) | (u64::from(own) << 63) };
        let source = if denied { self.name(extras.source) } else { 0 };
        Some(SeenTool { key, name: self.name(item.tool.as_deref()), args, source })
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

    /// The number of a name; 0 = none. Vaulted content is replaced by a placeholder, a long name by its pseudonym.
    fn name(&mut self, text: Option<&'a str>) -> u32 {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return 0 };
        let names = &mut self.sight.names;
        *self.names.entry(text).or_insert_with(|| {
            names.push(match text {
                _ if self.with.vaulted.holds(text) => CONTENT.into(),
                _ if text.len() > NAME_BYTES => self.with.ids.pseudonym(self.account, text).into(),
                _ => text.into(),
            });
            count(names.len())
        })
    }

    /// Returns 0 for a time that is implausibly far from the time of arrival.
    fn sane(&self, time: u64) -> u64 {
        let low = self.received.saturating_sub(OLDEST);
        let high = self.received.saturating_add(NEWEST);
        if (low..=high).contains(&time) { time } else { 0 }
    }
}

/// The item says that the tool may not run.
fn is_denied(item: &ItemFacts, extras: &Extras<'_>) -> bool {
    let word = item.decision.as_deref().is_some_and(|word| DENIALS.contains(&word.to_lowercase().as_str()));
    word || (item.call == Call::Permission && (item.failed || extras.denied))
}

/// A limit stopped the run or call that the item describes.
fn is_limit(item: &ItemFacts, error: Option<&str>) -> bool {
    let stopped = item.finish.as_deref().is_some_and(|word| LIMITS.contains(&word.to_lowercase().as_str()));
    let last = |name: &str| name.rsplit(['.', ':', '/']).next().unwrap_or("").to_owned();
    stopped || error.is_some_and(|name| LIMIT_ERRORS.contains(&last(name).as_str()) || LIMITS.contains(&name))
}

fn flags(item: &ItemFacts, is_span: bool, over: bool, told: bool) -> u16 {
    let permission = item.call == Call::Permission;
    let turn = item.billable && item.call != Call::Model;
    [
        (flag::FAILED, told && item.failed && !permission),
        (flag::ENDED, over),
        (flag::SPAN, is_span),
        (flag::SUB, told && item.sub_agent.is_some()),
        (flag::REAL, (item.call == Call::Model && !item.failed) || turn),
        (flag::SPENT, item.call == Call::Model || turn),
        (flag::TURN, turn),
        (flag::RAN, item.call == Call::Tool || (item.tool_call.is_some() && !permission)),
        (flag::NAMED, item.call == Call::Tool),
        (flag::TWIN, item.twin && item.vendor_id().is_none() && (is_span || item.tool_call.is_none())),
        (flag::NO_USAGE, item.no_usage),
        (flag::IS_TURN, item.is_turn && item.call == Call::Agent),
        (flag::ASIDE, item.unbilled || matches!(item.operation.as_deref(), Some("embeddings" | "rerank"))),
    ]
    .into_iter()
    .fold(0, |flags, (flag, holds)| if holds { flags | flag } else { flags })
}

/// The digest by which outcomes find their run: of the account and the run's id as shown.
pub(super) fn run_digest(account: &str, run: &str) -> u64 {
    digest(&["outcome", account, run])
}

/// Billed tokens, otherwise reported ones.
fn buckets(item: &ItemFacts) -> Buckets {
    let billed = item.cost.as_ref().map(|cost| cost.buckets).filter(|buckets| *buckets != Buckets::default());
    billed.or_else(|| split(item).ok().map(|split| split.buckets())).unwrap_or_default()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The first 64 bits of SHA-256; never 0.
pub(super) fn digest(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    hash.first_chunk::<8>().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1)
}
