//! Reads the facts of one item from its dialect's sources. `request_facts` settles the facts that need the
//! whole payload, `content` finds content.

use kernel::hex;
use otlp::{NodeId, NodeKind, Value};

use super::detect::has_equal_values;
use super::facts::{ItemFacts, ItemRole, PriceContext, TokenUsage};
use super::item_reader::{ItemReader, ReportedCount, text_of};
use super::label_shape;
use super::sources::{CountSources, Emitter, SourceList, Sources};
use super::vocabulary::{CallRule, Dialect};

/// Stop reasons that mean failure.
const FAILED_STOPS: [&str; 2] = ["error", "max_turns"];

/// Current name of the operation of a tool call.
const EXECUTE_TOOL: &str = "execute_tool";

/// Reads the facts of the reader's current item.
pub(super) fn read_item(reader: &ItemReader<'_, '_>, node: NodeId, dialect: Option<&Dialect>) -> ItemFacts {
    let sources = dialect.map_or(&reader.vocabulary.identity, |dialect| &dialect.sources);
    let mut facts = ItemFacts {
        node,
        dialect: dialect.map(|dialect| dialect.name),
        agent: dialect.is_some(),
        inherits_model: dialect.is_some_and(|dialect| dialect.inherit_model),
        from_vendor_sdk: dialect.is_some_and(|dialect| dialect.from_vendor_sdk),
        ..ItemFacts::default()
    };
    read_identity(reader, sources, &mut facts);
    if let Some(dialect) = dialect.filter(|_| reader.kind != NodeKind::DataPoint) {
        read_call(reader, dialect, &mut facts);
        let rules =
            reader.vocabulary.extract.iter().filter(|rule| rule.dialect.is_none_or(|name| name == dialect.name));
        facts.extracted = rules.filter_map(|rule| Some((rule.to, reader.extract_value(rule)?))).collect();
        facts.converted = reader.converted_attributes();
        read_outcome(reader, dialect, &mut facts);
        facts.sold_by_other_unit &= !facts.failed;
        facts.no_usage &= !facts.failed && reader.payload.end_time(facts.node) != 0;
        if facts.call == ItemRole::Model && facts.failed && !facts.usage.has_billed_tokens() {
            // Some emitters report zero tokens for a request that was refused.
            (facts.call, facts.billable) = (ItemRole::ModelCopy, false);
        }
    }
    facts
}

fn read_identity(reader: &ItemReader<'_, '_>, sources: &Sources, facts: &mut ItemFacts) {
    facts.session = reader.item_or_resource_text(&sources.session);
    facts.run = reader.text(&sources.run);
    facts.sub_agent = reader.text(&sources.sub_agent);
    facts.turn = reader.text(&sources.turn);
    let read = |list: &SourceList| {
        let found = list.iter().find_map(|source| Some((reader.text_at(source)?, !source.on_resource)));
        found.map_or_else(|| (reader.resource_text(list), false), |(text, is_own)| (Some(text), is_own))
    };
    let owner = [&sources.tenant, &sources.feature, &sources.user].map(read);
    facts.owner_decided = owner.each_ref().map(|(_, is_own)| *is_own);
    [facts.tenant, facts.feature, facts.user] = owner.map(|(text, _)| text);
    facts.actor = reader.item_or_resource_text(&sources.actor);
    facts.trace = reader.text(&sources.trace);
    facts.span = reader.text(&sources.span);
    facts.iteration = match reader.count(&sources.iteration) {
        ReportedCount::Number(number) => i64::try_from(number).ok(),
        ReportedCount::Invalid | ReportedCount::Absent => None,
    };
}

/// Returns true if the item belongs to a tool, so that its error text is the tool's output.
pub(super) fn is_tool(reader: &ItemReader<'_, '_>, facts: &ItemFacts, dialect: &Dialect) -> bool {
    let name = if reader.kind == NodeKind::Span { Some(reader.name) } else { facts.event.as_deref() };
    facts.call == ItemRole::Tool
        || (facts.call == ItemRole::Other && facts.operation.as_deref() == Some(EXECUTE_TOOL))
        || name.is_some_and(|name| dialect.tool_items.matches(name))
}

/// Reads everything about model and tool calls.
fn read_call(reader: &ItemReader<'_, '_>, dialect: &Dialect, facts: &mut ItemFacts) {
    let sources = &dialect.sources;
    let event = reader.event_name.strip_prefix(dialect.event_prefix.as_str()).unwrap_or(reader.event_name);
    facts.event = (reader.kind == NodeKind::LogRecord && label_shape::is_label(event) && !event.is_empty())
        .then(|| event.to_owned());
    facts.operation = read_operation(reader, &sources.operation);
    facts.usage = read_usage(reader, &dialect.usage.counts);
    facts.request_model = reader.label(&sources.request_model);
    facts.response_model = reader.label(&sources.response_model);
    facts.provider = read_provider(reader, dialect);
    facts.tool = reader.label_from(sources.tool.iter().filter(|source| source.slot != reader.vocabulary.span_name));
    facts.tool_call = reader.text(&sources.tool_call);
    let rule = dialect.calls.iter().find(|rule| matches_rule(rule, reader, event, facts));
    if let Some(rule) = rule {
        apply_rule(reader, rule, facts);
    }
    match facts.call {
        // On these items the dialect's tool key names the agent or workflow instead.
        ItemRole::Model | ItemRole::ModelCopy | ItemRole::Agent => facts.tool = None,
        ItemRole::Tool => facts.tool = facts.tool.take().or_else(|| reader.label_from(sources.tool.iter())),
        _ => {}
    }
    if matches!(facts.call, ItemRole::Model | ItemRole::ModelCopy) || facts.billable {
        facts.response_id = reader.text(&sources.response_id);
        read_embedded_counts(reader, &dialect.usage.counts, &mut facts.usage);
        facts.context = read_price_context(reader, sources);
        facts.reported_cost = reader.label(&sources.cost).filter(|text| is_decimal(text));
        let usage = &dialect.usage;
        let emitter = Emitter {
            scope: reader.scope_name,
            version: reader.scope_version,
            provider: facts.provider.as_deref(),
            marks: reader.marker_bits,
        };
        facts.input_includes_cached = usage.includes_cached(emitter);
        facts.output_excludes_reasoning = !usage.includes_reasoning(emitter);
        facts.total_by_provider = usage.total_by_provider;
        if let Some(reasoning) = usage.hidden_reasoning(&facts.usage, facts.provider.as_deref()) {
            facts.usage.reasoning = Some(reasoning);
            facts.output_excludes_reasoning = true;
        }
        facts.call_key = build_call_key(reader, facts);
    }
    if facts.operation.is_none() {
        facts.operation = default_operation(facts.call).map(str::to_owned);
    }
}

fn matches_rule(rule: &CallRule, reader: &ItemReader<'_, '_>, event: &str, facts: &ItemFacts) -> bool {
    let operation = facts.operation.as_deref().unwrap_or("");
    (rule.span.is_empty() || (reader.kind == NodeKind::Span && rule.span.matches(reader.name)))
        && (rule.log.is_empty() || (reader.kind == NodeKind::LogRecord && rule.log.matches(event)))
        && (rule.operation.is_empty() || rule.operation.matches(operation))
        && has_equal_values(&rule.equals, reader)
        && (!rule.data.root || (reader.kind == NodeKind::Span && reader.payload.parent_span_id(facts.node).is_empty()))
        && (!rule.data.usage || facts.usage.is_reported())
}

fn apply_rule(reader: &ItemReader<'_, '_>, rule: &CallRule, facts: &mut ItemFacts) {
    let data = &rule.data;
    facts.call = match data.role {
        ItemRole::Model if !facts.usage.is_reported() => ItemRole::ModelCopy,
        role => role,
    };
    (facts.on_two_signals, facts.may_lack_other_signal) = (data.on_two_signals, data.may_lack_other_signal);
    facts.is_turn = data.turn;
    facts.failed |= data.failed;
    facts.decision.clone_from(&data.decision);
    let operation = facts.operation.as_deref();
    facts.guessed = facts.call == ItemRole::Model
        && data.usage
        && operation.is_some_and(|operation| !reader.vocabulary.known_operations.contains(operation));
    facts.sold_by_other_unit = data.role == ItemRole::Model
        && facts.call == ItemRole::ModelCopy
        && operation.is_some_and(|operation| reader.vocabulary.media.contains(operation));
    let is_single_span = reader.kind == NodeKind::Span && !data.on_two_signals;
    facts.no_usage = data.role == ItemRole::Model && facts.call == ItemRole::ModelCopy && is_single_span;
    facts.copy = data.role == ItemRole::ModelCopy && facts.usage.has_billed_tokens();
    facts.counts_if_no_span = data.counts_if_no_span && facts.usage.is_reported();
    let is_only_carrier = rule.bill_unless.is_some_and(|slot| match reader.value(slot) {
        None => true,
        Some(value) => value.as_count() == Some(0),
    });
    facts.billable = facts.call == ItemRole::Model || (is_only_carrier && facts.usage.is_reported());
}

fn default_operation(call: ItemRole) -> Option<&'static str> {
    match call {
        ItemRole::Model | ItemRole::ModelCopy => Some("chat"),
        ItemRole::Tool => Some(EXECUTE_TOOL),
        ItemRole::Agent => Some("invoke_agent"),
        ItemRole::TurnEnd | ItemRole::SessionEnd | ItemRole::Permission | ItemRole::Other => None,
    }
}

/// The current name of the operation. A span kind that has no such name yields none.
fn read_operation(reader: &ItemReader<'_, '_>, sources: &SourceList) -> Option<String> {
    let vocabulary = reader.vocabulary;
    sources.iter().find_map(|source| {
        let text = reader.text_at(source)?;
        let known = vocabulary.operations.get(&text.to_lowercase()).cloned();
        known.or_else(|| (source.slot == vocabulary.operation_name && label_shape::is_label(&text)).then_some(text))
    })
}

fn read_provider(reader: &ItemReader<'_, '_>, dialect: &Dialect) -> Option<String> {
    let mut is_reported = false;
    for name in dialect.sources.provider.iter().filter_map(|source| reader.text_at(source)) {
        is_reported = true;
        let name = Some(name).filter(|name| name.len() <= label_shape::LABEL_BYTES);
        if let Some(provider) = name.and_then(|name| reader.vocabulary.current_provider_name(&name)) {
            return Some(provider);
        }
    }
    if is_reported { None } else { dialect.default_provider.clone() }
}

/// Problems found in the counts of an item.
#[derive(Default)]
struct CountFaults {
    invalid: bool,
    conflicting: bool,
}

fn read_count(reader: &ItemReader<'_, '_>, list: &SourceList, faults: &mut CountFaults) -> Option<u64> {
    match reader.count(list) {
        ReportedCount::Number(number) => {
            faults.conflicting |= list.len() > 1 && reader.contradicts(list, number);
            Some(number)
        }
        ReportedCount::Absent => None,
        ReportedCount::Invalid => {
            faults.invalid = true;
            None
        }
    }
}

/// Reads counts that are often only found inside content, such as cache lifetimes. Parsing content is expensive, so
/// this is done for calls only.
fn read_embedded_counts(reader: &ItemReader<'_, '_>, sources: &CountSources, usage: &mut TokenUsage) {
    let mut faults = CountFaults { invalid: usage.invalid_count, conflicting: usage.conflicting_counts };
    usage.cache_write_5m = read_count(reader, &sources.cache_write_5m, &mut faults);
    usage.cache_write_1h = read_count(reader, &sources.cache_write_1h, &mut faults);
    let embedded = [
        (&mut usage.cache_read, &sources.cache_read_in_content),
        (&mut usage.cache_write, &sources.cache_write_in_content),
        (&mut usage.reasoning, &sources.reasoning_in_content),
    ];
    for (count, list) in embedded {
        *count = count.or_else(|| read_count(reader, list, &mut faults));
    }
    (usage.invalid_count, usage.conflicting_counts) = (faults.invalid, faults.conflicting);
}

fn read_usage(reader: &ItemReader<'_, '_>, sources: &CountSources) -> TokenUsage {
    let mut faults = CountFaults::default();
    let mut read = |list: &SourceList| read_count(reader, list, &mut faults);
    let usage = TokenUsage {
        input: read(&sources.input),
        output: read(&sources.output),
        cache_read: read(&sources.cache_read),
        cache_write: read(&sources.cache_write),
        cache_write_5m: None,
        cache_write_1h: None,
        reasoning: read(&sources.reasoning),
        total: read(&sources.total),
        input_audio: read(&sources.input_audio),
        output_audio: read(&sources.output_audio),
        cache_read_audio: read(&sources.cache_read_audio),
        input_image: read(&sources.input_image),
        output_image: read(&sources.output_image),
        input_video: read(&sources.input_video),
        ..TokenUsage::default()
    };
    TokenUsage { invalid_count: faults.invalid, conflicting_counts: faults.conflicting, ..usage }
}

fn read_price_context(reader: &ItemReader<'_, '_>, sources: &Sources) -> Option<Box<PriceContext>> {
    let lower_label = |list| reader.label(list).map(|text| text.to_lowercase());
    let count = |list| match reader.count(list) {
        ReportedCount::Number(number) => number,
        ReportedCount::Invalid | ReportedCount::Absent => 0,
    };
    let context = PriceContext {
        service_tier: lower_label(&sources.service_tier),
        speed: lower_label(&sources.speed),
        inference_geo: lower_label(&sources.inference_geo),
        server_address: lower_label(&sources.server_address),
        web_searches: count(&sources.web_searches),
        file_searches: count(&sources.file_searches),
    };
    (context != PriceContext::default()).then(|| Box::new(context))
}

fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    unsigned.starts_with(|c: char| c.is_ascii_digit()) && unsigned.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Returns true if a response id is usable: not a word for "none", and not made of punctuation or zeros only.
fn is_usable_id(id: &str) -> bool {
    const NONE_WORDS: &str = "none|null|nil|undefined|unknown|unset|missing|empty|absent|default|n/a|na|nan|no id|\
        no_id|no-id|not set|not_set|true|false";
    let word = id.trim_matches(|c: char| !c.is_alphanumeric());
    let only_zeros = id.chars().all(|c| c == '0' || !c.is_alphanumeric());
    !only_zeros && !NONE_WORDS.split('|').any(|none| word.eq_ignore_ascii_case(none))
}

/// The kind of a response id (`chatcmpl`, `msg`; empty if the id has no such prefix). Two different ids of the same
/// kind are two calls; ids of two kinds may be the instrumentation's and the vendor's id of one call.
pub fn response_id_kind(id: &str) -> &str {
    let kind = id.split_once(['-', '_']).map_or("", |(kind, _)| kind);
    if kind.bytes().all(|byte| byte.is_ascii_alphabetic()) { kind } else { "" }
}

/// The call's identity: the provider's response id; else the span; else, for a log record without either, session, time
/// and tokens.
fn build_call_key(reader: &ItemReader<'_, '_>, facts: &ItemFacts) -> Option<String> {
    // Clients write a placeholder when they know no id, which would merge all their calls into one.
    if let Some(id) = facts.response_id.as_deref().filter(|id| is_usable_id(id)) {
        return Some(format!("r/{id}"));
    }
    let payload = reader.payload;
    let (trace, span) = (hex::encode(payload.trace_id(facts.node)), hex::encode(payload.span_id(facts.node)));
    if reader.kind == NodeKind::Span || (facts.counts_if_no_span && !span.is_empty()) {
        return (!trace.is_empty() && !span.is_empty()).then(|| format!("s/{trace}/{span}"));
    }
    let (time, usage) = (payload.time(facts.node), &facts.usage);
    let session = facts.session.as_deref().unwrap_or("");
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    Some(format!("l/{session}/{trace}/{span}/{time}/{input}/{output}"))
}

fn read_outcome(reader: &ItemReader<'_, '_>, dialect: &Dialect, facts: &mut ItemFacts) {
    let sources = &dialect.sources;
    let tool = is_tool(reader, facts, dialect);
    facts.finish = read_finish_reason(reader, &sources.finish);
    facts.decision = reader.label(&sources.decision).or_else(|| facts.decision.take());
    facts.status = reader.values(&sources.status).find_map(|(_, value)| {
        value.as_count().and_then(|code| u16::try_from(code).ok()).filter(|code| (100..=599).contains(code))
    });
    let success = reader.values(&sources.success).find_map(|(_, value)| parse_success(value));
    let failed_exit = !matches!(reader.count(&sources.exit_code), ReportedCount::Absent | ReportedCount::Number(0));
    let mut has_error = false;
    for (source, value) in reader.values(&sources.error) {
        match parse_truth(value) {
            Some(truth) => has_error |= truth,
            None => has_error = true,
        }
        // A word in a tool's output is not an error type.
        let is_tool_output = tool && reader.vocabulary.is_tool_error(source.slot, value);
        let label = text_of(value)
            .filter(|text| parse_truth(value).is_none() && !is_tool_output && label_shape::is_label(text));
        facts.error = facts.error.take().or(label);
    }
    let failed_stop = facts.finish.as_deref().is_some_and(|finish| FAILED_STOPS.contains(&finish));
    let error_status = reader.kind == NodeKind::Span && reader.payload.status_code(facts.node) == 2;
    facts.failed |= has_error || failed_stop || error_status || failed_exit || success == Some(false);
}

/// Reads success from a boolean or a word.
fn parse_success(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Str("success" | "ok" | "OK") => Some(true),
        Value::Str("error" | "failed" | "failure") => Some(false),
        _ => parse_truth(value),
    }
}

fn parse_truth(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(truth),
        Value::Str("true" | "True") => Some(true),
        Value::Str("false" | "False") => Some(false),
        _ => None,
    }
}

/// The first finish reason, also from a list in JSON text.
fn read_finish_reason(reader: &ItemReader<'_, '_>, sources: &SourceList) -> Option<String> {
    sources.iter().find_map(|source| {
        let text = reader.text_at(source)?;
        if !text.starts_with('[') {
            return label_shape::is_label(&text).then_some(text);
        }
        let list: Vec<String> = serde_json::from_str(&text).ok()?;
        list.into_iter().next().filter(|reason| label_shape::is_label(reason))
    })
}
