//! Selects what goes into a document: the items of a batch by tenant and session, with their heads and parameters.
//! Reads only. Content is read in `content` and sealed in `sealing`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use genai::{BillingStatus, ContentLocation, ContentPart, Facts, ItemFacts, ItemRole};
use kernel::pseudonym::IdPolicy;
use otlp::{AttrId, NodeId, NodeKind, Payload, Signal};
use vault::call_dedup::is_agent_tool;
use vault::document::ItemHead;
use vault::object_names::{self, SessionName};

/// Item indexes of one tenant and session.
pub(super) struct SessionItems<'a> {
    pub(super) tenant: Option<&'a str>,
    pub(super) name: SessionName<'a>,
    /// Set only if each turn has objects of its own.
    pub(super) turn: Option<TurnName<'a>>,
    pub(super) items: Vec<usize>,
    pub(super) has_content: bool,
    pub(super) has_ended: bool,
}

/// The identity of a turn in object names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum TurnName<'a> {
    /// The turn id as sent by the client.
    Id(&'a str),
    /// The trace, if the client sent no turn id: with the semantic conventions each turn has its own trace.
    Trace(&'a [u8]),
}

impl<'a> TurnName<'a> {
    fn from_item(payload: &'a Payload, item: &'a ItemFacts) -> Option<Self> {
        let id = item.turn.as_deref().filter(|turn| !turn.is_empty()).map(Self::Id);
        id.or_else(|| Some(payload.trace_id(item.node)).filter(|trace| !trace.is_empty()).map(Self::Trace))
    }

    /// The form used in object names.
    pub(super) fn segment(self, ids: &dyn IdPolicy, account: &str) -> String {
        match self {
            Self::Id(turn) => object_names::turn_segment(ids, account, turn),
            Self::Trace(trace) => format!("trace-{}", kernel::hex::encode(trace)),
        }
    }
}

/// Groups the items that get a leaf (those with content, and actions) by tenant and session, and with `by_turn` also by
/// turn.
pub(super) fn group_by_session<'a>(payload: &'a Payload, facts: &'a Facts, by_turn: bool) -> Vec<SessionItems<'a>> {
    let mut positions: HashMap<(Option<&str>, SessionName<'_>, Option<TurnName<'_>>), usize> = HashMap::new();
    let mut sessions: Vec<SessionItems<'a>> = Vec::new();
    let (starters, trace_sessions) = (agent_starting_calls(payload, facts), sessions_of_traces(payload, facts));
    for (index, item) in facts.items.iter().enumerate() {
        let has_content = !item.content.is_empty();
        let is_action = is_action(item) || is_sub_agent_link(payload, item, &starters);
        if !has_content && (payload.signal() == Signal::Metrics || !is_action) {
            continue;
        }
        let tenant = item.tenant.as_deref().filter(|tenant| !tenant.is_empty());
        let name = match item.session.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => SessionName::Id(id),
            None => {
                let trace = payload.trace_id(item.node);
                trace_sessions.get(trace).copied().flatten().map_or(SessionName::Trace(trace), SessionName::Id)
            }
        };
        let turn = if by_turn { TurnName::from_item(payload, item) } else { None };
        let position = *positions.entry((tenant, name, turn)).or_insert_with(|| {
            sessions.push(SessionItems { tenant, name, turn, items: Vec::new(), has_content: false, has_ended: false });
            sessions.len() - 1
        });
        if let Some(session) = sessions.get_mut(position) {
            session.items.push(index);
            session.has_content |= has_content;
            session.has_ended |= item.call == ItemRole::SessionEnd;
        }
    }
    sessions
}

/// The session that the items of each trace name; `None` if they name several. Items of the trace that name none are
/// stored in that session, where auditors look for them.
pub(super) fn sessions_of_traces<'a>(payload: &'a Payload, facts: &'a Facts) -> HashMap<&'a [u8], Option<&'a str>> {
    let mut sessions: HashMap<&[u8], Option<&str>> = HashMap::new();
    for item in &facts.items {
        let (trace, id) = (payload.trace_id(item.node), item.session.as_deref().filter(|id| !id.is_empty()));
        let Some(id) = id.filter(|_| !trace.is_empty()) else { continue };
        let known = sessions.entry(trace).or_insert(Some(id));
        *known = known.filter(|session| *session == id);
    }
    sessions
}

/// The nodes whose attributes belong to an item: the item, its events and links, and its resource and scope unless they
/// are already in `visited`.
pub(super) fn item_nodes(payload: &Payload, item: NodeId, visited: &mut HashSet<NodeId>) -> Vec<NodeId> {
    let shared = [payload.resource(item), payload.scope(item)].into_iter().filter(|node| visited.insert(*node));
    std::iter::once(item).chain(payload.children(item)).chain(shared).collect()
}

/// Returns true if an item gets a leaf even without content.
fn is_action(item: &ItemFacts) -> bool {
    let is_correction = item.cost.as_deref().is_some_and(|cost| cost.status == BillingStatus::Correction);
    (item.agent && item.call != ItemRole::Other) || is_correction
}

/// Spans of tool calls that start agents, by trace and span id.
fn agent_starting_calls<'a>(payload: &'a Payload, facts: &'a Facts) -> HashSet<(&'a [u8], &'a [u8])> {
    let is_starter = |item: &&ItemFacts| item.call == ItemRole::Tool && item.tool.as_deref().is_some_and(is_agent_tool);
    let calls = facts.items.iter().filter(is_starter);
    let spans = calls.filter(|item| payload.kind(item.node) == NodeKind::Span);
    spans.map(|item| (payload.trace_id(item.node), payload.span_id(item.node))).collect()
}

/// Returns true for the span that links a sub-agent's calls to the tool call that started it, if the sub-agent has no
/// span of its own. It gets a leaf, so that the link is recorded.
fn is_sub_agent_link(payload: &Payload, item: &ItemFacts, starters: &HashSet<(&[u8], &[u8])>) -> bool {
    let is_below_starter = || starters.contains(&(payload.trace_id(item.node), payload.parent_span_id(item.node)));
    item.agent && !starters.is_empty() && item.tool_call.is_some() && is_below_starter()
}

/// The parts present, without duplicates, in a fixed order.
pub(super) fn present_parts(item: &ItemFacts) -> impl Iterator<Item = ContentPart> + '_ {
    ContentPart::ALL.iter().copied().filter(|part| item.content.iter().any(|place| place.part == *part))
}

pub(super) fn item_head<'a>(payload: &'a Payload, item: &'a ItemFacts) -> ItemHead<'a> {
    let node = item.node;
    let is_log = payload.kind(node) == NodeKind::LogRecord;
    let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
    let end = payload.end_time(node);
    ItemHead {
        kind: Cow::Borrowed(if is_log { "log" } else { "span" }),
        name: Cow::Borrowed(match payload.text(node, payload.name_field(node)) {
            "" => item.event.as_deref().unwrap_or_default(),
            name => name,
        }),
        trace_id: hex_id(payload.trace_id(node)),
        span_id: hex_id(payload.span_id(node)),
        parent_span_id: hex_id(payload.parent_span_id(node)),
        start: object_names::rfc3339(kernel::clock::UnixNanos(payload.time(node))),
        end: (end > 0).then(|| object_names::rfc3339(kernel::clock::UnixNanos(end))),
        dialect: item.dialect.map(Cow::Borrowed),
        call: Cow::Borrowed(item.call.as_str()),
        operation: text(&item.operation),
        run: payload.get_str(node, super::row::RUN_ID).map(Cow::Borrowed),
        turn: text(&item.turn),
        iteration: item.iteration,
        user: text(&item.user),
        actor: text(&item.actor),
        agent: text(&item.sub_agent),
        provider: text(&item.provider),
        request_model: text(&item.request_model),
        response_model: text(&item.response_model),
        response_id: text(&item.response_id),
        tool: text(&item.tool),
        tool_call: text(&item.tool_call),
        finish: text(&item.finish),
        failed: item.failed,
        error: text(&item.error),
        decision: text(&item.decision),
        tokens_in: item.usage.input,
        tokens_out: item.usage.output,
        cost_status: item.cost.as_ref().map(|cost| Cow::Borrowed(cost.status.as_str())),
        cost_usd: item.cost.as_ref().and_then(|cost| cost.usd.as_deref().map(Cow::Borrowed)),
        rates: item.cost.as_ref().map(|cost| Cow::Borrowed(&*cost.rate_table)),
    }
}

/// The session's id as sent, if it has one.
pub(super) fn session_id(name: SessionName<'_>) -> Option<&str> {
    match name {
        SessionName::Id(id) => Some(id),
        SessionName::Trace(_) => None,
    }
}

/// Hex form of an id, if it is set.
pub(super) fn hex_id(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| kernel::hex::encode(bytes))
}

/// Prefixes of the attributes that a replay needs beside the content: parameters of request and response, and timing
/// other than start and end.
static PARAMETER_PREFIXES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let prefixes = "gen_ai.request. gen_ai.response. gen_ai.server. gen_ai.client. llm.request. llm.response. \
                    ai.settings. ai.response.ms";
    prefixes.split(' ').collect()
});
/// Whole keys of such attributes.
static PARAMETER_KEYS: LazyLock<HashSet<&[u8]>> = LazyLock::new(|| {
    let keys = "llm.invocation_parameters gen_ai.output.type gen_ai.openai.request.service_tier \
                gen_ai.openai.response.service_tier gen_ai.openai.response.system_fingerprint llm.is_streaming \
                ai.response.avgOutputTokensPerSecond duration_ms ttft_ms time_to_first_token_ms \
                api_request_duration_ms attempt";
    keys.split(' ').map(str::as_bytes).collect()
});

/// The item's parameters of request and response, and timing, as JSON.
pub(super) fn replay_parameters<'a>(payload: &'a Payload, item: &ItemFacts) -> Vec<(&'a str, String)> {
    let is_parameter = |key: &[u8]| {
        PARAMETER_PREFIXES.iter().any(|prefix| key.starts_with(prefix.as_bytes())) || PARAMETER_KEYS.contains(key)
    };
    let content: HashSet<ContentLocation> = item.content.iter().map(|place| place.at).collect();
    let is_content = |id: AttrId| content.contains(&ContentLocation::Attribute(id));
    payload
        .encoded_attributes(item.node)
        .filter(|attribute| is_parameter(attribute.key_bytes()) && !is_content(attribute.id))
        .map(|attribute| {
            let attribute = attribute.decode();
            (attribute.key, attribute.value.to_json())
        })
        .collect()
}
