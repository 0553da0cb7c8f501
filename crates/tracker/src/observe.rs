//! Reads the agent items of one batch into a [`BatchObservation`]: one [`ObservedItem`] per observed item, in order,
//! then changes of charges, ends of traces and late prices. Pure. Nothing that depends on other batches is decided
//! here: `resolve` assigns items to runs.

use foldhash::{HashMap, HashMapExt as _, HashSet};

use genai::usage::split_tokens;
use genai::{
    BillingBasis, BillingStatus, CallCost, CallTokenBuckets, Facts, ItemFacts, ItemRole, LatePrice, VaultedTexts,
    Vocabulary, response_id_kind,
};
use kernel::CONTENT;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, NodeKind, Payload, Signal, VerdictBit};
use pipeline::BatchOrigin;
use runs::{RunJudgement, digest, run_key};

use super::attributes::{ItemAttributes, ResourceAttributes};
use super::config::Settings;
use super::ends::{EarlyEnd, EndSpan};
use super::finish_reason::has_word;
use super::observation::{
    Attribution, BatchObservation, ItemWork, ObservedItem, ObservedKey, ObservedMeasure, ObservedModelCall,
    ObservedOutcome, ObservedToolCall, flag, is_observed, key_kind, mark, price_quality, span_place, trouble,
};
use super::{args, finish_reason};

/// Longest name that is kept, bytes.
const MAX_NAME_BYTES: usize = 128;
/// OTLP status code of a span that completed without error.
const STATUS_OK: i32 = 1;
const DAY: u64 = 86_400_000_000_000;
/// Timestamps further from the time of arrival come from unset clocks and are ignored.
const MAX_TIMESTAMP_AGE: u64 = 400 * DAY;
const MAX_TIMESTAMP_LEAD: u64 = DAY;
/// Outcomes of a permission request that mean "denied".
const DENIAL_WORDS: [&str; 7] = ["reject", "rejected", "deny", "denied", "block", "blocked", "abort"];

/// Finish reasons of runs that were stopped by a limit.
const LIMIT_REASONS: &str = "max_turns error_max_turns max_iterations iteration_limit max_steps recursion_limit \
    tool_limit usage_limit_exceeded max_tool_calls";
/// Error types with the same meaning, without the path of modules before them.
const LIMIT_ERRORS: &str = "GraphRecursionError MaxTurnsExceeded MaxIterationsExceeded UsageLimitExceeded \
    RecursionLimitExceeded AgentMaxIterationsError MaxStepsExceeded";

#[derive(Clone, Copy)]
pub(super) struct ObservationContext<'a> {
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) settings: &'a Settings,
    pub(super) ids: &'a dyn IdPolicy,
    /// Texts that only the vault may store.
    pub(super) vaulted: &'a VaultedTexts,
    /// Spans that end traces or parts of them.
    pub(super) ends: &'a [EndSpan],
    /// Those that arrived before the items of their traces.
    pub(super) early_ends: &'a [EarlyEnd],
    /// Traces that the tracker knows.
    pub(super) known_traces: &'a HashSet<[u8; 16]>,
    /// The verdict that the tracker does not read an attribute.
    pub(super) unread: Option<VerdictBit>,
}

pub(super) fn has_measures(payload: &Payload, settings: &Settings) -> bool {
    payload.signal() == Signal::Traces && !settings.measures.is_empty()
}

pub(super) fn is_any_observed(facts: &Facts) -> bool {
    facts.has_agent_items || !facts.late_prices.is_empty() || facts.items.iter().any(is_observed)
}

/// Reads the agent items of a batch and the measures of all its spans; also returns the number of rejected measures.
pub(super) fn observe_batch(
    origin: &BatchOrigin,
    payload: &Payload,
    facts: &Facts,
    context: ObservationContext<'_>,
) -> (BatchObservation, u64) {
    let mut reader = BatchReader {
        received: origin.received.0,
        account: &origin.account,
        batch: hex::encode(&origin.id),
        payload,
        context,
        keys: HashMap::new(),
        names: HashMap::new(),
        traces: HashMap::new(),
        last_resource: None,
        rejected_measures: 0,
        observation: BatchObservation {
            account: (&*origin.account).into(),
            received: origin.received.0,
            ..BatchObservation::default()
        },
    };
    let has_measures = has_measures(payload, context.settings);
    let mut all_changes = Vec::new();
    for item in facts.items.iter().filter(|item| has_measures || is_observed(item)) {
        let resource = reader.resource_attributes(item.node);
        let attributes = ItemAttributes::read(payload, item.node, &resource, context.settings, context.unread);
        reader.add_measures(item, &attributes);
        if is_observed(item) {
            let observed = reader.observe_item(item, &attributes);
            reader.add_outcome(item, &attributes, observed.attribution);
            let changes = item.cost.as_deref().map(|cost| reader.observe_changes(cost, &observed));
            reader.observation.items.push(observed);
            all_changes.extend(changes.into_iter().flatten());
        }
    }
    // stamps need the items themselves first
    reader.observation.items.extend(all_changes);
    reader.observe_ends(facts);
    for late_price in &facts.late_prices {
        let observed = reader.observe_late_price(late_price);
        let changes = reader.observe_changes(&late_price.cost, &observed);
        reader.observation.items.push(observed);
        reader.observation.items.extend(changes);
    }
    (reader.observation, reader.rejected_measures)
}

struct BatchReader<'a> {
    received: u64,
    account: &'a str,
    batch: String,
    payload: &'a Payload,
    context: ObservationContext<'a>,
    keys: HashMap<(u8, &'a str, u32), u32>,
    names: HashMap<&'a str, u32>,
    traces: HashMap<[u8; 16], u32>,
    /// The resource read last, which the next item usually shares.
    last_resource: Option<(NodeId, ResourceAttributes<'a>)>,
    rejected_measures: u64,
    observation: BatchObservation,
}

impl<'a> BatchReader<'a> {
    fn resource_attributes(&mut self, node: NodeId) -> ResourceAttributes<'a> {
        let resource = self.payload.resource(node);
        match &self.last_resource {
            Some((known, attributes)) if *known == resource => *attributes,
            _ => {
                let attributes = ResourceAttributes::read(self.payload, resource, self.context.settings);
                self.last_resource = Some((resource, attributes));
                attributes
            }
        }
    }

    fn add_measures(&mut self, item: &'a ItemFacts, attributes: &ItemAttributes<'a>) {
        self.rejected_measures += attributes.rejected_measures;
        if attributes.measures.is_empty() {
            return;
        }
        let service = self.resource_attributes(item.node).service;
        let [service, tenant, commit] =
            [service, item.tenant.as_deref(), attributes.commit].map(|text| self.intern_name(text));
        let (place, _) = self.places(item.node);
        for (index, value) in &attributes.measures {
            let (measure, value) = (to_u32(*index), *value);
            self.observation.measures.push(ObservedMeasure { place, measure, service, tenant, commit, value });
        }
    }

    fn trace_of(&self, node: NodeId) -> Option<[u8; 16]> {
        <[u8; 16]>::try_from(self.payload.trace_id(node)).ok().filter(|id| *id != [0; 16])
    }

    fn add_outcome(&mut self, item: &'a ItemFacts, attributes: &ItemAttributes<'a>, whose: Attribution<u32>) {
        let Some(mut judgement) = attributes.judgement() else { return };
        let vaulted = self.context.vaulted;
        judgement.scores.retain(|score| !vaulted.contains(&score.name) && !vaulted.contains(&score.label));
        redact_scores(&mut judgement, self.account, self.context.ids);
        let trace = hex::encode(self.payload.trace_id(item.node));
        let trace = Some(trace).filter(|id| id.bytes().any(|digit| digit != b'0'));
        let Some(id) = item.run.clone().or(trace).or_else(|| item.session.clone()) else { return };
        let run = run_key(self.account, &self.context.ids.shown_id(self.account, &id));
        let incident = attributes.incident.unwrap_or("");
        let incident = self.context.ids.redact_column(self.account, incident).as_ref().into();
        let whose = if judgement.scores.is_empty() { [0; 2] } else { [whose.tenant, whose.feature] };
        self.observation.outcomes.push(ObservedOutcome { run, incident, judgement, whose });
    }

    /// Places of an item and of its parent; 0 = none.
    fn places(&self, node: NodeId) -> (u64, u64) {
        let payload = self.payload;
        let trace_id = self.trace_of(node);
        let place = |span_id: &[u8]| {
            let span_id = <[u8; 8]>::try_from(span_id).ok().filter(|id| *id != [0; 8])?;
            Some(span_place(trace_id?, span_id))
        };
        let is_span = payload.kind(node) == NodeKind::Span;
        let parent = if is_span { place(payload.parent_span_id(node)) } else { None };
        (place(payload.span_id(node)).unwrap_or(0), parent.unwrap_or(0))
    }

    fn attribution(&mut self, item: &'a ItemFacts, attributes: &ItemAttributes<'a>) -> Attribution<u32> {
        let feature = match &self.context.settings.feature_from {
            None => item.feature.as_deref(),
            Some(_) => attributes.feature,
        };
        let service = self.resource_attributes(item.node).service;
        Attribution {
            tenant: self.intern_name(item.tenant.as_deref()),
            feature: if item.sub_agent.is_some() { 0 } else { self.intern_name(feature) },
            user: self.intern_name(item.user.as_deref()),
            template: self.intern_name(attributes.template),
            incident: self.intern_name(attributes.incident),
            commit: self.intern_name(attributes.commit),
            issue: self.intern_name(attributes.issue),
            service: self.intern_name(service),
        }
    }

    fn observe_item(&mut self, item: &'a ItemFacts, attributes: &ItemAttributes<'a>) -> ObservedItem {
        let payload = self.payload;
        let is_span = payload.kind(item.node) == NodeKind::Span;
        let (node, parent) = self.places(item.node);
        let start = self.plausible_time(payload.time(item.node));
        let end = self.plausible_time(payload.end_time(item.node)).max(start);
        let session = self.intern_key(key_kind::SESSION, item.session.as_deref(), 0);
        let error = self.error_type(item);
        let hit_limit = is_limit(item, error);
        let mut mark = match item.call {
            ItemRole::Agent => mark::AGENT,
            ItemRole::TurnEnd => mark::TURN_END,
            ItemRole::SessionEnd => mark::SESSION_END,
            _ => mark::NONE,
        };
        let call = self.observe_call(item, attributes, node);
        let denied = is_denied(item, attributes);
        let tool = self.observe_tool(item, attributes, node, denied);
        let has_ended = mark != mark::NONE && (!is_span || mark != mark::AGENT || payload.end_time(item.node) != 0);
        let has_succeeded = mark != mark::NONE && is_span && payload.status_code(item.node) == STATUS_OK;
        if hit_limit && mark == mark::NONE && call.is_none() && tool.is_none() {
            mark = mark::FAILURE;
        }
        let reports_event = call.is_some() || tool.is_some() || mark != mark::NONE;
        let has_work = tool.is_some() || mark == mark::TURN_END;
        let iteration = item.iteration.and_then(|number| u32::try_from(number).ok());
        let call_flags = if call.is_some() { self.call_flags(item) } else { 0 };
        let more_flags =
            collect_flags([(flag::SUCCEEDED, has_succeeded), (flag::DENIED, denied), (flag::LIMIT, hit_limit)]);
        ObservedItem {
            trace: self.trace_of(item.node).map_or(0, |id| self.intern_trace(id)),
            session,
            run: self.intern_key(key_kind::RUN, item.run.as_deref(), session),
            node,
            parent,
            flags: item_flags(item, is_span, has_ended, reports_event) | more_flags | call_flags,
            iteration: iteration.map_or(0, |number| number.saturating_add(1)),
            start,
            end,
            attribution: self.attribution(item, attributes),
            finish: self.intern_name(item.finish.as_deref().map(finish_reason::normalize_finish_reason)),
            error: if item.failed && reports_event { self.intern_name(error) } else { 0 },
            model: if mark == mark::AGENT { self.intern_name(item.request_model.as_deref()) } else { 0 },
            mark,
            sub_agent: item.sub_agent.as_deref().map_or(0, |id| digest(&["a", id])),
            call,
            tool,
            work: if has_work { attributes.work } else { ItemWork::default() },
        }
    }

    /// What decides whether the item and others are one call.
    fn call_flags(&self, item: &ItemFacts) -> u32 {
        let is_generic = item.dialect.is_some_and(|dialect| self.context.vocabulary.is_generic_dialect(dialect));
        let kind = item.provider_response_id().map_or(0, |id| calls::text_number(response_id_kind(id)) & 0xff | 1);
        kind << flag::ANSWER_KIND_SHIFT
            | collect_flags([
                (flag::VENDOR_SDK, item.from_vendor_sdk),
                (flag::GUESSED, item.guessed),
                (flag::LEAF_ONLY, is_generic && !item.guessed),
                (flag::OF_SPAN, item.counts_if_no_span),
                (flag::COVERED, item.cost.as_deref().is_some_and(is_covered)),
            ])
    }

    /// The error type of a failed item, from the item or its exception event.
    fn error_type(&self, item: &'a ItemFacts) -> Option<&'a str> {
        if !item.failed {
            return None;
        }
        let payload = self.payload;
        let is_label =
            |text: &&str| !text.is_empty() && text.len() <= MAX_NAME_BYTES && !text.contains(char::is_whitespace);
        let own_type = item.error.as_deref().filter(is_label);
        let exception_type = || {
            let places = item.errors.iter().map(|place| place.node).filter(|node| *node != item.node);
            places.filter_map(|node| payload.get_str(node, "exception.type")).find(is_label)
        };
        own_type.or_else(exception_type)
    }

    /// Changes of what earlier items were charged, which an item carries.
    fn observe_changes(&mut self, cost: &CallCost, observed: &ObservedItem) -> Vec<ObservedItem> {
        let ObservedItem { trace, session, run, node, parent, flags, start, end, attribution, .. } = *observed;
        let number = self.observation.items.len().to_string();
        let model = observed.call.as_ref().map_or(0, |call| call.model);
        let mut changes = Vec::new();
        for (at, corrected) in cost.corrected.iter().enumerate() {
            let has_span = corrected.span != [0; 8];
            let place = match corrected.trace == [0; 16] {
                true => {
                    let flags = flags & flag::SPAN;
                    ObservedItem { trace, session, run, node, parent, flags, ..ObservedItem::default() }
                }
                false => ObservedItem {
                    trace: self.intern_trace(corrected.trace),
                    node: if has_span { span_place(corrected.trace, corrected.span) } else { 0 },
                    flags: if corrected.is_span { flag::SPAN } else { 0 },
                    ..ObservedItem::default()
                },
            };
            // two workers may get one batch, and both carry a correction with it, but not at one time
            let covered = if corrected.is_covered { flag::COVERED } else { 0 };
            let place = ObservedItem { flags: place.flags | covered, ..place };
            let key = digest(&["change", &self.batch, &self.received.to_string(), &number, &at.to_string()]);
            let (price_quality, atto, saved) = (price_quality::CHANGE, corrected.atto_usd, corrected.saved_atto_usd);
            let call = ObservedModelCall { key, price_quality, atto, saved, model, ..ObservedModelCall::default() };
            let call = Some(call);
            changes.push(ObservedItem { start, end, attribution, call, ..place });
        }
        changes
    }

    /// The ends of traces that the batch or the tracker knows.
    fn observe_ends(&mut self, facts: &Facts) {
        let roles: HashMap<NodeId, ItemRole> =
            facts.items.iter().filter(|item| item.agent).map(|item| (item.node, item.call)).collect();
        for end in self.context.ends {
            let is_known = self.traces.contains_key(&end.trace) || self.context.known_traces.contains(&end.trace);
            if !is_known || !roles.get(&end.node).is_none_or(|role| end.needs_mark(*role)) {
                continue;
            }
            let (node, _) = self.places(end.node);
            let times = [self.payload.time(end.node), self.payload.end_time(end.node)];
            self.observe_end(end.trace, node, (end.mark, end.flags(self.payload)), times, end.operation(self.payload));
        }
        for end in self.context.early_ends {
            let node = span_place(end.trace, end.span);
            self.observe_end(end.trace, node, (end.mark, end.flags), [end.start, end.end], &end.operation);
        }
    }

    fn observe_end(
        &mut self,
        trace: [u8; 16],
        node: u64,
        (mark, flags): (u8, u32),
        [start, end]: [u64; 2],
        operation: &'a str,
    ) {
        let (trace, model) = (self.intern_trace(trace), self.intern_name(Some(operation)));
        let [start, end] = [start, end].map(|time| self.plausible_time(time));
        let end_item = ObservedItem { trace, node, flags, start, end, model, mark, ..ObservedItem::default() };
        self.observation.items.push(end_item);
    }

    /// A price that arrived late, for a call of an earlier batch.
    fn observe_late_price(&mut self, late_price: &'a LatePrice) -> ObservedItem {
        let place = |span_id: [u8; 8]| if span_id == [0; 8] { 0 } else { span_place(late_price.trace, span_id) };
        let tenant = self.intern_name(late_price.tenant.as_deref());
        let start = self.plausible_time(late_price.basis.time);
        let covered = if late_price.cost.billing == BillingBasis::Api { 0 } else { flag::COVERED };
        let call = ObservedModelCall {
            key: digest(&["c", &late_price.call_key]),
            model: self.intern_name(late_price.basis.models.first().map(String::as_str)),
            price_quality: price_quality::PRICED,
            buckets: late_price.cost.buckets,
            atto: late_price.cost.call_atto_usd.unwrap_or(0),
            saved: late_price.cost.call_saved_atto_usd,
            ..ObservedModelCall::default()
        };
        ObservedItem {
            trace: self.intern_trace(late_price.trace),
            session: self.intern_key(key_kind::SESSION, late_price.session.as_deref(), 0),
            node: place(late_price.span),
            parent: place(late_price.parent),
            flags: flag::SPAN | flag::USED_TOKENS | covered,
            start,
            end: start,
            attribution: Attribution { tenant, ..Attribution::default() },
            call: Some(call),
            ..ObservedItem::default()
        }
    }

    fn observe_call(
        &mut self,
        item: &'a ItemFacts,
        attributes: &ItemAttributes<'a>,
        node: u64,
    ) -> Option<ObservedModelCall> {
        let is_total = is_charged_total(item);
        if !item.billable && !is_total && !matches!(item.call, ItemRole::Model | ItemRole::ModelCopy) {
            return None;
        }
        let key = match &item.call_key {
            Some(key) => digest(&["c", key]),
            None if node != 0 => node,
            None => return None,
        };
        let model = item.response_model.as_deref().or(item.request_model.as_deref());
        let price_quality = item.cost.as_ref().map_or(price_quality::UNKNOWN, |cost| match cost.status {
            _ if cost.call_atto_usd.is_some() => price_quality::PRICED,
            BillingStatus::Unpriced => price_quality::UNPRICED,
            BillingStatus::Deferred => price_quality::DEFERRED,
            BillingStatus::Priced | BillingStatus::NotCounted | BillingStatus::Correction => price_quality::NOT_COUNTED,
        });
        Some(ObservedModelCall {
            key,
            model: self.intern_name(model),
            price_quality,
            buckets: token_buckets(item),
            atto: item.cost.as_deref().and_then(|cost| cost.call_atto_usd).unwrap_or(0),
            saved: item.cost.as_deref().map_or(0, |cost| cost.call_saved_atto_usd),
            requested_model: self.intern_name(item.request_model.as_deref().filter(|_| item.response_model.is_some())),
            provider: self.intern_name(item.provider.as_deref()),
            trouble: finish_reason::classify_trouble(item, self.error_type(item)),
            fallback: attributes.fallback_reason.map_or(trouble::NONE, finish_reason::classify_reason),
            attempts: attributes.attempts,
        })
    }

    fn observe_tool(
        &mut self,
        item: &'a ItemFacts,
        attributes: &ItemAttributes<'a>,
        node: u64,
        denied: bool,
    ) -> Option<ObservedToolCall> {
        let call_id = item.tool_call.as_deref().filter(|_| !matches!(item.call, ItemRole::Model | ItemRole::ModelCopy));
        let is_tool = item.call == ItemRole::Tool;
        let key = match call_id {
            Some(id) => digest(&["t", id]),
            // several log records of this kind may have been written in one span
            None if is_tool && item.on_two_signals && self.payload.kind(item.node) == NodeKind::LogRecord => {
                let time = self.payload.time(item.node).to_string();
                digest(&["l", item.session.as_deref().unwrap_or(""), &node.to_string(), &time, item.tool.as_deref()?])
            }
            None if is_tool && node != 0 => node,
            // a denied permission without a call counts as a denial, not as a call
            None if denied && item.call == ItemRole::Permission && node != 0 && item.tool.is_some() => node,
            None => return None,
        };
        let args = args::arguments_digest(self.context.ids, self.account, self.payload, item);
        let is_tool_span = is_tool && self.payload.kind(item.node) == NodeKind::Span;
        let args = if args == 0 { 0 } else { (args >> 1) | (u64::from(is_tool_span) << 63) };
        let denial_source = if denied { self.intern_name(attributes.denial_source) } else { 0 };
        Some(ObservedToolCall { key, name: self.intern_name(item.tool.as_deref()), args, denial_source })
    }

    fn intern_trace(&mut self, id: [u8; 16]) -> u32 {
        let keys = &mut self.observation.keys;
        *self.traces.entry(id).or_insert_with(|| {
            keys.push(ObservedKey { kind: key_kind::TRACE, text: hex::encode(&id).into(), session: 0 });
            to_u32(keys.len())
        })
    }

    fn intern_key(&mut self, kind: u8, text: Option<&'a str>, session: u32) -> u32 {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return 0 };
        let keys = &mut self.observation.keys;
        *self.keys.entry((kind, text, session)).or_insert_with(|| {
            keys.push(ObservedKey { kind, text: text.into(), session });
            to_u32(keys.len())
        })
    }

    /// The number of a name; 0 = none. Vaulted content is replaced by a placeholder, a long name by its pseudonym.
    fn intern_name(&mut self, text: Option<&'a str>) -> u32 {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return 0 };
        let names = &mut self.observation.names;
        *self.names.entry(text).or_insert_with(|| {
            names.push(match text {
                _ if self.context.vaulted.contains(text) => CONTENT.into(),
                _ if text.len() > MAX_NAME_BYTES => self.context.ids.pseudonym(self.account, text).into(),
                _ => text.into(),
            });
            to_u32(names.len())
        })
    }

    /// Returns 0 for a time that is implausibly far from the time of arrival.
    fn plausible_time(&self, time: u64) -> u64 {
        let low = self.received.saturating_sub(MAX_TIMESTAMP_AGE);
        let high = self.received.saturating_add(MAX_TIMESTAMP_LEAD);
        if (low..=high).contains(&time) { time } else { 0 }
    }
}

/// Applies the redaction rules to the names and labels of evaluations.
pub(super) fn redact_scores(judgement: &mut RunJudgement, account: &str, ids: &dyn IdPolicy) {
    for text in judgement.scores.iter_mut().flat_map(|score| [&mut score.name, &mut score.label]) {
        *text = ids.redact_column(account, text).into_owned();
    }
}

/// Whether the item says that the tool may not run.
fn is_denied(item: &ItemFacts, attributes: &ItemAttributes<'_>) -> bool {
    let has_denial_word =
        item.decision.as_deref().is_some_and(|word| DENIAL_WORDS.contains(&word.to_lowercase().as_str()));
    has_denial_word || (item.call == ItemRole::Permission && (item.failed || attributes.denied))
}

/// Whether a limit stopped the run or call that the item describes.
fn is_limit(item: &ItemFacts, error: Option<&str>) -> bool {
    let has_limit_reason = item.finish.as_deref().is_some_and(|word| has_word(LIMIT_REASONS, &word.to_lowercase()));
    let is_limit_error = |name: &str| {
        let last_part = name.rsplit(['.', ':', '/']).next().unwrap_or("");
        has_word(LIMIT_ERRORS, last_part) || has_word(LIMIT_REASONS, name)
    };
    has_limit_reason || error.is_some_and(is_limit_error)
}

/// Whether the item is an agent's span that was charged for its tokens.
fn is_charged_total(item: &ItemFacts) -> bool {
    let is_charged = |cost: &CallCost| cost.call_atto_usd.is_some() || cost.status == BillingStatus::Unpriced;
    item.call == ItemRole::Agent && item.cost.as_deref().is_some_and(is_charged)
}

fn item_flags(item: &ItemFacts, is_span: bool, has_ended: bool, reports_event: bool) -> u32 {
    let is_permission = item.call == ItemRole::Permission;
    let is_turn = (item.billable && item.call != ItemRole::Model) || is_charged_total(item);
    collect_flags([
        (flag::FAILED, reports_event && item.failed && !is_permission),
        (flag::ENDED, has_ended),
        (flag::SPAN, is_span),
        (flag::SUB_AGENT, reports_event && item.sub_agent.is_some()),
        (flag::ANSWERED, (item.call == ItemRole::Model && !item.failed) || is_turn),
        (flag::USED_TOKENS, item.call == ItemRole::Model || is_turn),
        (flag::TURN_TOKENS, is_turn),
        (flag::TOOL_RAN, item.call == ItemRole::Tool || (item.tool_call.is_some() && !is_permission)),
        (flag::IS_TOOL_CALL, item.call == ItemRole::Tool),
        (
            flag::ON_BOTH_SIGNALS,
            item.on_two_signals && item.provider_response_id().is_none() && (is_span || item.tool_call.is_none()),
        ),
        (flag::NO_USAGE, item.no_usage),
        (flag::IS_TURN, item.is_turn && item.call == ItemRole::Agent),
        (
            flag::OUTSIDE_LOOP,
            item.sold_by_other_unit || matches!(item.operation.as_deref(), Some("embeddings" | "rerank")),
        ),
    ])
}

/// The flags that hold, as bits.
fn collect_flags(flags: impl IntoIterator<Item = (u32, bool)>) -> u32 {
    flags.into_iter().fold(0, |bits, (flag, holds)| if holds { bits | flag } else { bits })
}

/// Billed tokens, otherwise reported ones.
fn token_buckets(item: &ItemFacts) -> CallTokenBuckets {
    let billed = item.cost.as_ref().map(|cost| cost.buckets).filter(|buckets| *buckets != CallTokenBuckets::default());
    billed.or_else(|| split_tokens(item).ok().map(|split| split.buckets())).unwrap_or_default()
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Whether a plan covers the item's price. An item without a price says nothing about its call.
fn is_covered(cost: &CallCost) -> bool {
    cost.call_atto_usd.is_some() && cost.billing != BillingBasis::Api
}
