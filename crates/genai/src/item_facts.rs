//! Chooses an item's dialect, and reads the item's facts from the dialect's sources.
//! `request_facts` settles the facts that need the whole payload, `content` finds content.

use kernel::hex;
use otlp::{NodeId, NodeKind, Value};

use super::claims::{OwnerKey, VERIFIED_IDS};
use super::detect::{DialectMatch, has_equal_values, matching_dialects};
use super::facts::{ItemFacts, ItemRole, MAX_UNRECOGNIZED_KEYS, PriceContext, TokenBucket, TokenUsage};
use super::item_reader::{ItemReader, is_structure, text_of};
use super::label_shape;
use super::sources::{Emitter, SourceList, Sources, UsageSources};
use super::usage_words::UsageKey;
use super::value_paths;
use super::vocabulary::{CallRule, Dialect};

/// Stop reasons that mean failure.
const FAILED_STOPS: [&str; 2] = ["error", "max_turns"];

/// Current name of the operation of a tool call.
const EXECUTE_TOOL: &str = "execute_tool";

/// An item's dialect with what decided it.
pub(super) struct DialectChoice<'v> {
    pub(super) dialect: &'v Dialect,
    /// What of the item matches the dialect.
    shown_by: DialectMatch,
    /// The rule that says what the item is.
    rule: Option<&'v CallRule>,
    operation: Option<String>,
    usage: TokenUsage,
}

/// Chooses the dialect of the reader's current item among those that match it:
///
/// 1. the first by priority with a rule that matches;
/// 2. the first whose rule for a model-call log event matches apart from the event's name, if the item has tokens and
///    lost its name on the way;
/// 3. the first that item or scope match and that reads tokens;
/// 4. the first.
///
/// Generic dialects are asked only if no other reads tokens.
///
/// Once the item itself, not only its scope or resource, has matched a dialect, a later dialect needs a rule on
/// operation or tokens.
pub(super) fn choose_dialect<'v>(reader: &ItemReader<'v, '_>) -> Option<DialectChoice<'v>> {
    let (mut first, mut without_event_name, mut with_tokens): (Option<DialectChoice<'v>>, _, _) = (None, None, None);
    let (mut last, mut is_shown): (Option<&Dialect>, _) = (None, false);
    for (dialect, match_kind) in matching_dialects(reader) {
        let is_last = last.is_some_and(|last| std::ptr::eq(last, dialect));
        let is_shown_before = is_shown;
        is_shown |= match_kind == DialectMatch::Item;
        if is_last {
            continue;
        }
        last = Some(dialect);
        if reader.kind == NodeKind::DataPoint {
            let (shown_by, usage) = (match_kind, TokenUsage::default());
            return Some(DialectChoice { dialect, shown_by, rule: None, operation: None, usage });
        }
        if dialect.data.leaves_only && (without_event_name.is_some() || with_tokens.is_some()) {
            break;
        }
        let mut choice = DialectChoice {
            dialect,
            shown_by: match_kind,
            rule: None,
            operation: read_operation(reader, &dialect.sources.operation),
            usage: read_usage(reader, &dialect.usage),
        };
        let says_kind = |rule: &CallRule| !is_shown_before || rule.data.usage || !rule.data.operation.is_empty();
        choice.rule = dialect.calls.iter().find(|rule| says_kind(rule) && matches_rule(rule, reader, &choice, true));
        if choice.rule.is_some() {
            return Some(choice);
        }
        let is_call = |rule: &&CallRule| matches!(rule.data.role, ItemRole::Model | ItemRole::ModelCopy);
        let mut calls = dialect.calls.iter().filter(|rule| is_call(rule) && !rule.log.is_empty());
        if choice.usage.is_reported() && has_lost_name(reader, dialect) {
            choice.rule = calls.find(|rule| matches_rule(rule, reader, &choice, false));
        }
        let kept = match (choice.rule, choice.usage.is_reported()) {
            (Some(_), _) => &mut without_event_name,
            (None, true) if match_kind != DialectMatch::Resource => &mut with_tokens,
            (None, _) => &mut first,
        };
        kept.get_or_insert(choice);
    }
    without_event_name.or(with_tokens).or(first)
}

/// Returns true if a log record has no event name, or one that can't be its emitter's: text instead of a name, a name
/// in a namespace that the dialect's events don't have, or another name than the event in the body.
fn has_lost_name(reader: &ItemReader<'_, '_>, dialect: &Dialect) -> bool {
    let (name, prefix) = (reader.event_name, dialect.data.event_prefix.as_str());
    let known = || dialect.calls.iter().flat_map(|rule| &rule.data.log);
    let namespaces = [Some("*"), name.split('.').next()];
    let body = reader.body.and_then(|body| body.as_str()).map(|body| body.strip_prefix(prefix).unwrap_or(body));
    let names_other = |body: &str| body != event_name(reader, dialect) && known().any(|known| known == body);
    name.is_empty()
        || name.bytes().any(|byte| !byte.is_ascii_alphanumeric() && !b"._-".contains(&byte))
        || (prefix.is_empty() && !known().any(|known| namespaces.contains(&known.split('.').next())))
        || body.is_some_and(names_other)
}

/// Reads the facts of the reader's current item.
pub(super) fn read_item(reader: &ItemReader<'_, '_>, node: NodeId, choice: Option<DialectChoice<'_>>) -> ItemFacts {
    let dialect = choice.as_ref().map(|choice| choice.dialect);
    let sources = dialect.map_or(&reader.vocabulary.identity, |dialect| &dialect.sources);
    let mut facts = ItemFacts {
        node,
        dialect: dialect.map(|dialect| dialect.name),
        agent: dialect.is_some(),
        closed: reader.is_agent_resource
            || choice.as_ref().is_some_and(|choice| choice.shown_by != DialectMatch::Resource),
        of_agent_resource: reader.is_agent_resource,
        inherits_model: dialect.is_some_and(|dialect| dialect.data.inherit_model),
        from_vendor_sdk: dialect.is_some_and(|dialect| dialect.data.from_vendor_sdk),
        ..ItemFacts::default()
    };
    read_identity(reader, sources, &mut facts);
    if let Some(choice) = choice.filter(|_| reader.kind != NodeKind::DataPoint) {
        let dialect = choice.dialect;
        read_call(reader, choice, &mut facts);
        let rules =
            reader.vocabulary.extract.iter().filter(|rule| rule.dialect.is_none_or(|name| name == dialect.name));
        facts.extracted = rules.filter_map(|rule| Some((rule.to, reader.extract_value(rule)?))).collect();
        facts.extracted.extend(reader.output_comparison());
        facts.converted = reader.converted_attributes();
        read_outcome(reader, dialect, &mut facts);
        facts.sold_by_other_unit &= !facts.failed;
        facts.no_usage &= !facts.failed && (facts.usage.is_reported() || reader.payload.end_time(facts.node) != 0);
        if facts.call == ItemRole::Model && facts.failed && !facts.usage.has_billed_tokens() {
            // Some emitters report zero tokens for a request that was refused.
            (facts.call, facts.billable) = (ItemRole::ModelCopy, false);
        }
    }
    facts
}

fn read_identity(reader: &ItemReader<'_, '_>, sources: &Sources, facts: &mut ItemFacts) {
    // an upstream tollgate's stand-ins (`trace-…`, the dialect's name) are no session and no feature
    let trace = reader.payload.trace_id(facts.node);
    let is_trace = |text: &String| text.strip_prefix("trace-").is_some_and(|rest| rest == hex::encode(trace));
    facts.session = reader.item_or_resource_text(&sources.session).filter(|session| !is_trace(session));
    facts.run = reader.text(&sources.run);
    facts.sub_agent = reader.text(&sources.sub_agent);
    facts.turn = reader.text(&sources.turn);
    let read = |list: &SourceList| {
        let found = list.iter().find_map(|source| Some((reader.text_at(source)?, !source.on_resource)));
        found.map_or_else(|| (reader.resource_text(list), false), |(text, is_own)| (Some(text), is_own))
    };
    let mut owner = [&sources.tenant, &sources.feature, &sources.user].map(read);
    let [_, feature, _] = &mut owner;
    let is_dialect = |name: &String| reader.vocabulary.dialects().any(|dialect| dialect == name);
    if feature.0.as_ref().is_some_and(is_dialect) && reader.payload.get(facts.node, "tollgate.run.id").is_some() {
        *feature = (None, false);
    }
    facts.owner_decided = owner.each_ref().map(|(_, is_own)| *is_own);
    [facts.tenant, facts.feature, facts.user] = owner.map(|(text, _)| text);
    facts.claimed_user = reader.item_or_resource_text(&sources.claimed_user);
    read_verified_ids(reader, facts);
    facts.actor = reader.item_or_resource_text(&sources.actor);
    facts.trace = reader.text(&sources.trace);
    facts.span = reader.text(&sources.span);
    facts.iteration = reader.count(&sources.iteration).flatten().and_then(|number| i64::try_from(number).ok());
}

/// Verified ids come before all others: a log record's body may name another user, too.
fn read_verified_ids(reader: &ItemReader<'_, '_>, facts: &mut ItemFacts) {
    if reader.value(reader.vocabulary.verified_ids).is_none() {
        return;
    }
    let attribute = |key| reader.payload.get_str(facts.node, key);
    let kinds = attribute(VERIFIED_IDS).unwrap_or_default();
    let [user, tenant] =
        OwnerKey::ALL.map(|key| attribute(key.verified_key()).map(str::to_owned).filter(|_| key.is_verified_in(kinds)));
    let [is_tenant_decided, _, is_user_decided] = &mut facts.owner_decided;
    *is_tenant_decided |= tenant.is_some();
    *is_user_decided |= user.is_some();
    facts.tenant = tenant.or(facts.tenant.take());
    if let Some(user) = user {
        let other = facts.user.take().filter(|other| *other != user);
        facts.claimed_user = facts.claimed_user.take().or(other);
        facts.user = Some(user);
    }
}

/// Returns true if the item belongs to a tool, so that its error text is the tool's output.
pub(super) fn is_tool(reader: &ItemReader<'_, '_>, facts: &ItemFacts, dialect: &Dialect) -> bool {
    let name = if reader.kind == NodeKind::Span { Some(reader.name) } else { facts.event.as_deref() };
    facts.call == ItemRole::Tool
        || (facts.call == ItemRole::Other && facts.operation.as_deref() == Some(EXECUTE_TOOL))
        || name.is_some_and(|name| dialect.data.tool_items.matches(name))
}

/// Reads everything about model and tool calls.
fn read_call(reader: &ItemReader<'_, '_>, choice: DialectChoice<'_>, facts: &mut ItemFacts) {
    let DialectChoice { dialect, rule, operation, usage, .. } = choice;
    let sources = &dialect.sources;
    let event = event_name(reader, dialect);
    facts.event = (reader.kind == NodeKind::LogRecord && label_shape::is_label(event) && !event.is_empty())
        .then(|| event.to_owned());
    (facts.operation, facts.usage) = (operation, usage);
    facts.request_model = reader.label(&sources.request_model);
    facts.response_model = reader.label(&sources.response_model);
    // only an item that the dialect knows has the dialect's provider
    facts.provider = read_provider(reader, sources, dialect.data.default_provider.as_ref().filter(|_| rule.is_some()));
    facts.tool = reader.label(sources.tool.iter().filter(|source| source.slot != reader.vocabulary.span_name));
    facts.tool_call = reader.text(&sources.tool_call);
    match rule {
        Some(rule) => apply_rule(reader, rule, facts),
        // its calls have names, so this may be a sum: it is counted as unpriced, unless calls near it have tokens
        None if usage.is_reported() && dialect.data.names_its_calls => {
            (facts.call, facts.no_usage) = (ItemRole::ModelCopy, true);
        }
        // an item with tokens is a call, unless a call below it has them too
        None if usage.is_reported() => (facts.call, facts.billable, facts.guessed) = (ItemRole::Model, true, true),
        None => {}
    }
    match facts.call {
        // On these items the dialect's tool key names the agent or workflow instead.
        ItemRole::Model | ItemRole::ModelCopy | ItemRole::Agent => facts.tool = None,
        ItemRole::Tool => facts.tool = facts.tool.take().or_else(|| reader.label(&sources.tool)),
        _ => {}
    }
    let is_call = matches!(facts.call, ItemRole::Model | ItemRole::ModelCopy) || facts.billable;
    if is_call {
        facts.response_id = reader.text(&sources.response_id);
        read_counts_in_content(reader, &dialect.usage, facts);
    }
    // An agent's tokens are those of its calls, and are billed if no call reports them.
    if is_call || (facts.call == ItemRole::Agent && facts.usage.is_reported()) {
        facts.context = read_price_context(reader, sources);
        facts.reported_cost = reader.label(&sources.cost).filter(|text| is_decimal(text));
        let usage = &dialect.usage;
        let seller = facts.provider.as_deref().map(|provider| reader.vocabulary.seller(provider));
        let emitter = Emitter {
            scope: reader.scope_name,
            version: reader.scope_version,
            provider: seller,
            model: facts.request_model.as_deref(),
            marks: reader.marker_bits,
        };
        facts.input_includes_cached = usage.includes_cached(emitter);
        facts.output_excludes_reasoning = !usage.includes_reasoning(emitter);
        facts.total_by_provider = usage.data.total_by_provider;
        facts.accumulates = dialect.data.agents_accumulate;
        if let Some(reasoning) = usage.hidden_reasoning(&facts.usage, seller) {
            facts.usage.reasoning = Some(reasoning);
            facts.output_excludes_reasoning = true;
        }
    }
    if is_call {
        facts.call_key = build_call_key(reader, facts);
    }
    if reader.kind == NodeKind::Span && rule.is_some_and(|rule| rule.data.role == ItemRole::ModelCopy) {
        // Tokens that are repeated from elsewhere say nothing about the spans around this one.
        facts.usage = TokenUsage::default();
    }
    if facts.operation.is_none() {
        facts.operation = default_operation(facts.call).map(str::to_owned);
    }
}

/// Name of the current log event without the dialect's prefix.
fn event_name<'p>(reader: &ItemReader<'_, 'p>, dialect: &Dialect) -> &'p str {
    reader.event_name.strip_prefix(dialect.data.event_prefix.as_str()).unwrap_or(reader.event_name)
}

/// Returns true if the rule's conditions hold for the current item. `by_name`: also that for the log event's name.
fn matches_rule(rule: &CallRule, reader: &ItemReader<'_, '_>, choice: &DialectChoice<'_>, by_name: bool) -> bool {
    let operation = choice.operation.as_deref().unwrap_or("");
    let has_event_name = || !by_name || rule.log.matches(event_name(reader, choice.dialect));
    (rule.data.span.is_empty() || (reader.kind == NodeKind::Span && rule.data.span.matches(reader.name)))
        && (rule.log.is_empty() || (reader.kind == NodeKind::LogRecord && has_event_name()))
        && (rule.data.operation.is_empty() || rule.data.operation.matches(operation))
        && has_equal_values(&rule.equals, reader)
        && (!rule.data.root
            || (reader.kind == NodeKind::Span
                && reader.node.is_some_and(|node| reader.payload.parent_span_id(node).is_empty())))
        && (!rule.data.usage || choice.usage.is_reported())
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

fn read_provider(reader: &ItemReader<'_, '_>, sources: &Sources, default: Option<&String>) -> Option<String> {
    let mut is_reported = false;
    for name in sources.provider.iter().filter_map(|source| reader.text_at(source)) {
        is_reported = true;
        let name = Some(name).filter(|name| name.len() <= label_shape::LABEL_BYTES);
        if let Some(provider) = name.and_then(|name| reader.vocabulary.current_provider_name(&name)) {
            return Some(provider);
        }
    }
    default.filter(|_| !is_reported).cloned()
}

/// Reads the buckets that the dialect lists and that were not read before.
fn read_listed_counts(reader: &ItemReader<'_, '_>, sources: &UsageSources, in_content: bool, usage: &mut TokenUsage) {
    for bucket in TokenBucket::ALL {
        let list = sources.list(*bucket, in_content);
        if list.is_empty() || usage.count(*bucket).is_some() {
            continue;
        }
        match reader.count(list) {
            Some(Some(number)) => {
                usage.conflicting_counts |= list.len() > 1 && reader.contradicts(list, number);
                *usage.count_mut(*bucket) = Some(number);
            }
            Some(None) => usage.invalid_count = true,
            None => {}
        }
    }
}

/// Reads counts inside content, such as cache lifetimes: first by the dialect's lists, then by the words of the keys in
/// the JSON that vendors' SDKs pass on. Only for calls, because parsing is expensive. Input, output and total are not
/// read from that JSON: a vendor may count cached tokens differently there.
fn read_counts_in_content(reader: &ItemReader<'_, '_>, sources: &UsageSources, facts: &mut ItemFacts) {
    let usage = &mut facts.usage;
    read_listed_counts(reader, sources, true, usage);
    let mut unrecognized: Vec<Box<str>> = Vec::new();
    let mut add = |key: String| unrecognized.extend((unrecognized.len() < MAX_UNRECOGNIZED_KEYS).then(|| key.into()));
    let words = &reader.vocabulary.keys.usage_words;
    for attr in &reader.attrs {
        let class = reader.memo.class(attr.code);
        let (Some(key), Some(attribute)) = (class.usage, reader.payload.attribute(attr.id)) else { continue };
        if !is_structure(attr.value) {
            let count = attr.value.as_count();
            let is_unrecognized = match key {
                UsageKey::Unrecognized => count.is_some_and(|count| count != 0),
                UsageKey::Tokens { bare, .. } => sources.reads(bare) && count.is_none_or(|count| count < 0),
                UsageKey::Structure => false,
            };
            if is_unrecognized && class.slot.is_none() && !label_shape::is_empty_value(attr.value) {
                add(attribute.key.to_owned());
            }
            continue;
        }
        let Some(json) = value_paths::parse(attr.value) else { continue };
        let own = *usage;
        words.read_structure(attribute.key, &json, &mut |bucket, number| {
            let count = value_paths::whole_number(number);
            match (bucket, count.map(u64::try_from)) {
                (_, None) | (Err(_), Some(Ok(0))) => {}
                (Ok(TokenBucket::Input | TokenBucket::Output | TokenBucket::Total), _) => {}
                (Ok(bucket), _) if own.count(bucket).is_some() => {}
                (Ok(bucket), Some(Ok(count))) => usage.add_spelled(bucket, count),
                (Ok(bucket), Some(Err(_))) => add(format!("{}/{}", attribute.key, bucket.as_str())),
                (Err(path), _) => add(format!("{}/{}", attribute.key, path.trim_matches('.').replace("..", "."))),
            }
        });
    }
    if usage.undecided_parts {
        usage.include_parts();
    }
    usage.unrecognized_counts = !unrecognized.is_empty();
    facts.unrecognized_usage = unrecognized;
}

/// The counts of the dialect's own lists, then those that keys spell by their words.
fn read_usage(reader: &ItemReader<'_, '_>, sources: &UsageSources) -> TokenUsage {
    let mut usage = TokenUsage::default();
    read_listed_counts(reader, sources, false, &mut usage);
    let listed = usage;
    for (bucket, bare, value) in &reader.spelled_counts {
        if !sources.reads(*bare) || listed.count(*bucket).is_some() {
            continue;
        }
        // `read_counts_in_content` reports values that are not counts
        let Some(count) = value.as_count().and_then(|count| u64::try_from(count).ok()) else { continue };
        usage.add_spelled(*bucket, count);
    }
    usage
}

fn read_price_context(reader: &ItemReader<'_, '_>, sources: &Sources) -> Option<Box<PriceContext>> {
    let lower_label = |list: &SourceList| reader.label(list).map(|text| text.to_lowercase());
    let count = |list: &SourceList| reader.count(list).flatten().unwrap_or(0);
    let context = PriceContext {
        service_tier: lower_label(&sources.service_tier),
        speed: lower_label(&sources.speed),
        inference_geo: lower_label(&sources.inference_geo),
        server_address: lower_label(&sources.server_address),
        web_searches: count(&sources.web_searches),
        file_searches: count(&sources.file_searches),
        billing: lower_label(&sources.credential).and_then(|word| reader.vocabulary.billing.get(&word).copied()),
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
    let failed_exit = !matches!(reader.count(&sources.exit_code), None | Some(Some(0)));
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
        Value::Str("True") => Some(true),
        Value::Str("False") => Some(false),
        _ => value.as_bool(),
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
