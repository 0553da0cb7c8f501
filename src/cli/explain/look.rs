//! Compares one request before and after the pipeline, item by item, with the facts read from it. The result serialises
//! completely; it holds the user's payload, so it has no `Debug`. `show` prints it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Value as Json;

use crate::app::dry::{Passed, Verdict};
use genai::usage::split;
use genai::{
    Basis, Buckets, Call, ContentAt, ContentPlace, Facts, Inside, ItemFacts, Usage, Vocabulary, Why, missing, why,
};
use kernel::hex;
use otlp::{Field, Node, NodeKind, Payload, Value};
use redaction::Scratch;

/// The explanation of one request.
#[derive(Serialize)]
pub(super) struct Request {
    pub(super) signal: &'static str,
    pub(super) pipeline: String,
    pub(super) processors: Vec<String>,
    /// The privacy profile of the pipeline's vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) privacy: Option<&'static str>,
    pub(super) items: Vec<Item>,
    /// Resources and scopes.
    pub(super) shared: Vec<Part>,
}

/// A span, log record or data point.
#[derive(Serialize)]
pub(super) struct Item {
    pub(super) kind: &'static str,
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) trace_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) span_id: String,
    pub(super) dialect: Option<&'static str>,
    /// The conditions that identified the dialect.
    pub(super) because: Vec<String>,
    pub(super) agent: bool,
    pub(super) is: &'static str,
    pub(super) ids: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<Tokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<Price>,
    pub(super) vault: Vec<Vaulted>,
    /// The filter and rule that drop the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dropped: Option<Dropped>,
    /// Attributes that the conventions require and that are still missing.
    pub(super) missing: Vec<&'static str>,
    pub(super) parts: Vec<Part>,
}

/// The filter and rule that drop an item.
#[derive(Serialize)]
pub(super) struct Dropped {
    pub(super) by: String,
    pub(super) rule: String,
}

/// The item itself, one of its events, a resource or a scope.
#[derive(Serialize)]
pub(super) struct Part {
    pub(super) what: String,
    pub(super) changes: Vec<Change>,
}

/// An attribute or field before and after.
#[derive(Serialize)]
pub(super) struct Change {
    pub(super) key: String,
    /// `kept`, `changed`, `to the vault`, `dropped` or `added`.
    pub(super) now: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Json>,
    /// Why the whole text was replaced, if not because of a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) whole: Option<&'static str>,
    /// The rules that changed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<RuleHit>,
}

/// A finding of a redaction rule in the original text.
#[derive(Serialize)]
pub(super) struct RuleHit {
    pub(super) rule: String,
    pub(super) placeholder: String,
    /// How certain the rule is.
    pub(super) why: &'static str,
    /// Range in characters of the text; in a list or map, of the value that contains it.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Tokens as reported and as priced.
#[derive(Serialize)]
pub(super) struct Tokens {
    pub(super) reported: BTreeMap<&'static str, u64>,
    pub(super) buckets: BTreeMap<&'static str, u64>,
    /// Whether the reported input includes cached tokens; `None` if unknown.
    pub(super) input_includes_cached: Option<bool>,
}

/// The pricing of a call.
#[derive(Serialize)]
pub(super) struct Price {
    pub(super) status: &'static str,
    pub(super) usd: Option<String>,
    pub(super) row: Option<String>,
    pub(super) table: String,
    pub(super) reason: Option<&'static str>,
    pub(super) flags: Option<Json>,
    pub(super) sum: Vec<Product>,
}

/// One line of the calculation.
#[derive(Serialize)]
pub(super) struct Product {
    pub(super) bucket: &'static str,
    pub(super) tokens: u64,
    /// USD per million tokens, if one price applied to all of them.
    pub(super) usd_per_million: Option<String>,
    pub(super) usd: String,
}

/// Content that was moved to the vault.
#[derive(Serialize)]
pub(super) struct Vaulted {
    pub(super) key: String,
    pub(super) part: &'static str,
    pub(super) rule: &'static str,
    pub(super) bytes: usize,
}

/// Explains one request.
pub(super) fn request(vocabulary: &Vocabulary, passed: &Passed) -> Request {
    let (before, after) = (&passed.before, &passed.after);
    let none = Facts { items: Vec::new(), agent: false, late: Vec::new() };
    let facts = passed.facts.as_deref().unwrap_or(&none);
    let items = before.items().zip(after.items()).zip(why(vocabulary, before)).enumerate();
    let items = items.map(|(at, ((was, is), why))| Item {
        dropped: passed.dropped.get(at).and_then(Option::as_ref).map(dropped),
        ..item(passed, facts.items.get(at), was, is, why)
    });
    let items = items.collect();
    let outer = |node: &Node, payload: &Payload| matches!(payload.kind(*node), NodeKind::Resource | NodeKind::Scope);
    let shared = before.nodes().filter(|node| outer(node, before)).zip(after.nodes().filter(|node| outer(node, after)));
    let all: Vec<ContentPlace> = facts.items.iter().flat_map(|item| item.content.iter().copied()).collect();
    Request {
        signal: before.signal().as_str(),
        pipeline: passed.pipeline.to_string(),
        processors: passed.steps.iter().map(|step| step.to_string()).collect(),
        privacy: None,
        items,
        shared: shared.map(|(was, is)| part(passed, was, is, &all)).filter(|part| !part.changes.is_empty()).collect(),
    }
}

fn item(passed: &Passed, facts: Option<&ItemFacts>, was: Node, is: Node, why: Why) -> Item {
    let (before, after) = (&passed.before, &passed.after);
    let content = facts.map(|facts| facts.content.as_slice()).unwrap_or_default();
    let children = before.children(was).zip(after.children(is));
    let mut parts = vec![part(passed, was, is, content)];
    parts.extend(children.map(|(was, is)| part(passed, was, is, content)).filter(|part| !part.changes.is_empty()));
    Item {
        kind: kind(before.kind(was)),
        name: name(before, was),
        trace_id: hex::encode(before.trace_id(was)),
        span_id: hex::encode(before.span_id(was)),
        dialect: facts.and_then(|facts| facts.dialect).or(why.dialect),
        because: why.because,
        agent: facts.is_some_and(|facts| facts.agent),
        is: facts.map_or("other", |facts| call(facts.call)),
        ids: facts.map(|facts| ids(facts, after, is)).unwrap_or_default(),
        tokens: facts.filter(|facts| facts.usage.reported()).map(tokens),
        price: facts.and_then(|facts| price(facts, after, is)),
        vault: content.iter().filter_map(|place| vaulted(before, place, facts?.inside.as_deref())).collect(),
        dropped: None,
        missing: facts.map(|facts| missing(after, is, facts)).unwrap_or_default(),
        parts,
    }
}

fn dropped(what: &Verdict) -> Dropped {
    Dropped { by: what.by.to_string(), rule: what.rule.clone() }
}

fn name(payload: &Payload, node: Node) -> String {
    let field = match payload.kind(node) {
        NodeKind::LogRecord => Field::EventName,
        NodeKind::DataPoint => {
            return payload.parent(node).map(|metric| payload.text(metric, Field::Name).to_owned()).unwrap_or_default();
        }
        _ => Field::Name,
    };
    let named = payload.text(node, field);
    let attribute = payload.get_str(node, "event.name").unwrap_or_default();
    if named.is_empty() { attribute.to_owned() } else { named.to_owned() }
}

fn kind(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Resource => "resource",
        NodeKind::Scope => "scope",
        NodeKind::Span => "span",
        NodeKind::Event => "event",
        NodeKind::Link => "link",
        NodeKind::LogRecord => "log",
        NodeKind::Metric => "metric",
        NodeKind::DataPoint => "data point",
        NodeKind::Exemplar => "exemplar",
    }
}

fn call(call: Call) -> &'static str {
    match call {
        Call::Model => "model call",
        Call::ModelCopy => "model call, counted elsewhere or without tokens",
        Call::Tool => "tool call",
        Call::Agent => "agent invocation",
        Call::TurnEnd => "end of a turn",
        Call::SessionEnd => "end of a session",
        Call::Permission => "permission decision",
        Call::Other => "other",
    }
}

fn ids(facts: &ItemFacts, after: &Payload, is: Node) -> BTreeMap<&'static str, String> {
    let read = [
        ("session", &facts.session),
        ("turn", &facts.turn),
        ("user", &facts.user),
        ("tenant", &facts.tenant),
        ("provider", &facts.provider),
        ("model", &facts.request_model),
        ("answered by", &facts.response_model),
        ("response", &facts.response_id),
        ("tool", &facts.tool),
        ("tool call", &facts.tool_call),
        ("feature", &facts.feature),
    ];
    let read = read.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let run = after.get_str(is, "tollgate.run.id").map(|run| ("run", run.to_owned()));
    read.chain(run).collect()
}

fn tokens(facts: &ItemFacts) -> Tokens {
    let Usage { input, output, cache_read, cache_write, cache_write_5m, cache_write_1h, reasoning, total, .. } =
        facts.usage;
    let told = [
        ("input", input),
        ("output", output),
        ("cache_read", cache_read),
        ("cache_write", cache_write),
        ("cache_write_5m", cache_write_5m),
        ("cache_write_1h", cache_write_1h),
        ("reasoning", reasoning),
        ("total", total),
    ];
    Tokens {
        reported: told.into_iter().filter_map(|(name, count)| Some((name, count?))).collect(),
        buckets: buckets(facts)
            .map(|buckets| named(&buckets).into_iter().filter(|(_, count)| *count > 0).collect())
            .unwrap_or_default(),
        input_includes_cached: facts.input_includes_cached,
    }
}

fn buckets(facts: &ItemFacts) -> Option<Buckets> {
    let priced = facts.cost.as_deref().map(|cost| cost.buckets).filter(|buckets| *buckets != Buckets::default());
    priced.or_else(|| split(facts).ok().map(|split| split.buckets()))
}

fn named(buckets: &Buckets) -> [(&'static str, u64); 6] {
    [
        ("input", buckets.input),
        ("cache_read", buckets.cache_read),
        ("cache_write_5m", buckets.cache_write_5m),
        ("cache_write_1h", buckets.cache_write_1h),
        ("output", buckets.output),
        ("reasoning", buckets.reasoning),
    ]
}

fn price(facts: &ItemFacts, after: &Payload, is: Node) -> Option<Price> {
    let cost = facts.cost.as_deref()?;
    let (all, mut sum) = (cost.buckets, Vec::new());
    for (bucket, key, tokens, one_price) in [
        ("input", "tollgate.cost.input_usd", all.input, true),
        ("cache_read", "tollgate.cost.cache_read_usd", all.cache_read, true),
        (
            "cache_write",
            "tollgate.cost.cache_write_usd",
            all.cache_write_5m + all.cache_write_1h,
            all.cache_write_5m == 0 || all.cache_write_1h == 0,
        ),
        ("output", "tollgate.cost.output_usd", all.output, true),
        ("fees", "tollgate.cost.fees_usd", 0, false),
    ] {
        let Some(usd) = after.get_str(is, key) else { continue };
        let each = Some(()).filter(|()| one_price).and_then(|()| per_million(usd, tokens));
        sum.push(Product { bucket, tokens, usd_per_million: each, usd: usd.to_owned() });
    }
    Some(Price {
        status: cost.status.as_str(),
        usd: cost.usd.clone(),
        row: cost.rate.clone(),
        table: cost.rates.to_string(),
        reason: cost.reason,
        flags: after.get(is, "tollgate.cost.flags").map(json),
        sum,
    })
}

/// The price of a million tokens, if it is exact.
fn per_million(usd: &str, tokens: u64) -> Option<String> {
    let (amount, count) = (Decimal::from_str_exact(usd).ok()?, Decimal::from(tokens));
    let each = amount.checked_mul(Decimal::from(1_000_000))?.checked_div(count)?.normalize();
    let back = each.checked_mul(count)?.checked_div(Decimal::from(1_000_000))?;
    (back == amount).then(|| each.to_string())
}

fn vaulted(before: &Payload, place: &ContentPlace, inside: Option<&Inside>) -> Option<Vaulted> {
    if let ContentAt::Inside(at) = place.at {
        let part = inside?.parts.get(at as usize)?;
        let rule = "listed as content, inside a value that stays";
        return Some(Vaulted { key: part.key.clone(), part: place.part.as_str(), rule, bytes: part.value.len() });
    }
    let (key, value) = match place.at {
        ContentAt::Attribute(id) => {
            before.attribute(id).map(|attribute| (attribute.key.to_owned(), attribute.value))?
        }
        ContentAt::Body => ("body".to_owned(), before.body(place.node)?),
        ContentAt::Status => ("status.message".to_owned(), Value::Str(before.text(place.node, Field::StatusMessage))),
        ContentAt::Name | ContentAt::Inside(_) => ("name".to_owned(), Value::Str(before.text(place.node, Field::Name))),
    };
    let mut text = String::new();
    let bytes = match value {
        Value::Str(text) => text.len(),
        _ => {
            value.write_json(&mut text);
            text.len()
        }
    };
    let rule = match place.basis {
        Basis::Listed => "listed as content",
        Basis::Key => "the key is text, not a name",
        Basis::Guessed => "text of an agent's item that nothing says is harmless",
        Basis::LongLabel => "longer than a label; leaves once enough sessions have sent the same text (`vault.labels`)",
        Basis::Unlisted => {
            "text of an agent's item under a key that no list names; leaves once enough sessions have sent the same text \
             (`vault.labels`)"
        }
    };
    Some(Vaulted { key, part: place.part.as_str(), rule, bytes })
}

/// The visible fields and attributes of a node, in that order.
fn seen(payload: &Payload, node: Node) -> Vec<(String, Json)> {
    let fields = [
        ("name", Field::Name),
        ("event_name", Field::EventName),
        ("severity_text", Field::SeverityText),
        ("status.message", Field::StatusMessage),
        ("trace_state", Field::TraceState),
        ("version", Field::Version),
        ("schema_url", Field::SchemaUrl),
    ];
    let mut out: Vec<(String, Json)> = Vec::new();
    for (name, field) in fields {
        let text = payload.text(node, field);
        if !text.is_empty() {
            out.push((name.to_owned(), Json::String(text.to_owned())));
        }
    }
    out.extend(payload.body(node).map(|body| ("body".to_owned(), json(body))));
    out.extend(payload.attributes(node).map(|attribute| (attribute.key.to_owned(), json(attribute.value))));
    out
}

fn json(value: Value<'_>) -> Json {
    let mut text = String::new();
    value.write_json(&mut text);
    serde_json::from_str(&text).unwrap_or(Json::Null)
}

fn part(passed: &Passed, was: Node, is: Node, content: &[ContentPlace]) -> Part {
    let (before, after) = (seen(&passed.before, was), seen(&passed.after, is));
    let mut left: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
    for (key, value) in after.iter().rev() {
        left.entry(key).or_default().push(value);
    }
    let vaulted = |key: &str| {
        content.iter().filter(|place| place.node == was).any(|place| match place.at {
            ContentAt::Attribute(id) => passed.before.attribute(id).is_some_and(|attribute| attribute.key == key),
            ContentAt::Body => key == "body",
            ContentAt::Status => key == "status.message",
            ContentAt::Name => matches!(key, "name" | "event_name"),
            ContentAt::Inside(_) => false,
        })
    };
    let mut changes: Vec<Change> = Vec::new();
    for (key, value) in &before {
        let now = left.get_mut(key.as_str()).and_then(Vec::pop);
        let what = match now {
            Some(same) if same == value => "kept",
            Some(_) => "changed",
            None if vaulted(key) => "to the vault",
            None => "dropped",
        };
        let whole = now.filter(|_| what == "changed").and_then(|now| whole(now, vaulted(key)));
        changes.push(Change {
            key: key.clone(),
            now: what,
            before: Some(value.clone()),
            after: now.filter(|_| what == "changed").cloned(),
            rules: if what == "changed" && whole.is_none() { hits(passed, key, value) } else { Vec::new() },
            whole,
        });
    }
    for (key, value) in &after {
        // The rest was added; it is listed in its own order.
        if let Some(rest) = left.get_mut(key.as_str())
            && rest.pop().is_some()
        {
            changes.push(Change {
                key: key.clone(),
                now: "added",
                before: None,
                after: Some(value.clone()),
                whole: None,
                rules: Vec::new(),
            });
        }
    }
    let what = kind(passed.before.kind(was));
    let named = passed.before.text(was, Field::Name);
    Part { what: if named.is_empty() { what.to_owned() } else { format!("{what} {named}") }, changes }
}

/// Why a whole text was replaced. Rule findings in it are then not the reason.
fn whole(now: &Json, vaulted: bool) -> Option<&'static str> {
    match now.as_str()? {
        "[CONTENT]" if vaulted => Some("it is content, and in the vault"),
        "[CONTENT]" => Some("it repeats content that went to the vault"),
        "[UNSCANNED]" => Some("it can't be searched: too long, too deep, or no text"),
        _ => None,
    }
}

/// The rule findings in a value. Echoes of content and cut texts have none.
fn hits(passed: &Passed, key: &str, value: &Json) -> Vec<RuleHit> {
    let Some(rules) = &passed.rules else { return Vec::new() };
    let mut out = Vec::new();
    let mut scratch = Scratch::new();
    texts(value, &mut |text| {
        let named = passed.answers.as_ref().and_then(|answers| answers.of(text)).unwrap_or_default();
        for hit in rules.find_with(key, text, named, &mut scratch) {
            let chars = |at: usize| text.get(..at).unwrap_or_default().chars().count();
            out.push(RuleHit {
                rule: rules.rule_name(hit).to_owned(),
                placeholder: rules.placeholder(hit).to_owned(),
                why: rules.class(hit).why(),
                start: chars(hit.range.start),
                end: chars(hit.range.end),
            });
        }
    });
    out
}

fn texts(value: &Json, visit: &mut dyn FnMut(&str)) {
    match value {
        Json::String(text) => visit(text),
        Json::Array(list) => list.iter().for_each(|one| texts(one, visit)),
        Json::Object(map) => map.values().for_each(|one| texts(one, visit)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
