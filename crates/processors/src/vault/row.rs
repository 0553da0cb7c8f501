//! Builds an item's index line, except the columns added by the fragment and the ticket. Index lines make it possible
//! to find who did what, when and at what cost without decrypting anything.
//!
//! Every text passes the redaction rules and is cut to 256 bytes; ids have the form that spans show; a user is always a
//! pseudonym. The columns are documented in `vault/index_row`.

use budgets::{BudgetRecord, RecordKind};
use genai::usage::PriceBasis;
use genai::{BillingBasis, BillingStatus, CallCost, ItemFacts, LatePrice};
use kernel::clock::UnixNanos;
use kernel::pseudonym::{IdPolicy, is_pseudonym};
use otlp::{NodeId, Payload};
use pipeline::{BatchOrigin, Trust};
use rates::Usd;
use vault::index_row::{BudgetDecision, RowKind, RowTail};
use vault::object_names::{SessionName, UNATTRIBUTED, rfc3339};

use super::session_items::{hex_id, session_id};

/// The attribute stamped by the runs step.
pub(super) const RUN_ID: &str = "tollgate.run.id";
const AGENT_VERSION_KEYS: [&str; 4] = ["gen_ai.agent.version", "agent.version", "agent_version", "service.version"];
const ISSUE_KEY: &str = "work_tracker.issue_id";
const COMMIT_KEYS: [&str; 2] = ["build.commit_sha", "vcs.ref.head.revision"];
const ENVIRONMENT_KEYS: [&str; 3] = ["deploy.environment", "deployment.environment.name", "deployment.environment"];
const ARGUMENTS_BYTES_KEY: &str = "tool_input_size_bytes";
const RESULT_BYTES_KEY: &str = "tool_result_size_bytes";
const DECIDED_BY_KEYS: [&str; 3] = ["permission.source", "decision.source", "source"];
const DURATION_MS_KEY: &str = "duration_ms";
/// Maximum size of a text column, bytes.
const MAX_COLUMN_BYTES: usize = 256;

/// Writes the columns of one account's lines.
struct Columns<'a> {
    ids: &'a dyn IdPolicy,
    account: &'a str,
}

impl Columns<'_> {
    /// A text, as the rules leave it.
    fn text(&self, text: &str) -> String {
        cut_column(&self.ids.redact_column(self.account, text))
    }

    /// An id, in the form that spans show.
    fn id(&self, id: Option<&str>) -> Option<String> {
        id.filter(|id| !id.is_empty()).map(|id| cut_column(&self.ids.shown_id(self.account, id)))
    }
}

/// Builds the line of one item.
pub(super) fn index_row(
    ids: &dyn IdPolicy,
    origin: &BatchOrigin,
    payload: &Payload,
    item: &ItemFacts,
    session: SessionName<'_>,
) -> RowTail {
    let account = &*origin.account;
    let columns = Columns { ids, account };
    let column = |text: &Option<String>| text.as_deref().map(|text| columns.text(text));
    let (node, end) = (item.node, payload.end_time(item.node));
    let cost = item.cost.as_ref();
    let label = |keys: &[&str]| first_text(payload, node, keys).map(|text| columns.text(text));
    // clients can't send these attributes where a `normalize` step precedes, but no pipeline has to have one
    let record = Some(node).filter(|_| origin.trust == Trust::Internal && item.is_budget_record());
    let record = record.and_then(|node| BudgetRecord::read(payload, node));
    let user = item.user.as_deref().filter(|user| !user.is_empty()).map(|user| ids.pseudonym(account, user));
    RowTail {
        kind: Some(if record.is_some() { RowKind::Decision } else { RowKind::Action }),
        ts: rfc3339(UnixNanos(payload.time(node))),
        end_ts: (end > 0).then(|| rfc3339(UnixNanos(end))),
        ingest_ts: rfc3339(origin.received),
        signal: payload.signal().as_str().to_owned(),
        account: account.to_owned(),
        tenant: columns.id(item.tenant.as_deref()).unwrap_or_else(|| UNATTRIBUTED.to_owned()),
        session_id: columns.id(session_id(session)),
        run_id: columns.id(payload.get_str(node, RUN_ID)),
        turn: columns.id(item.turn.as_deref()),
        iteration: item.iteration,
        trace_id: hex_id(payload.trace_id(node)),
        span_id: hex_id(payload.span_id(node)),
        parent_span_id: hex_id(payload.parent_span_id(node)),
        user_key: user.or_else(|| granted_user(record.as_ref()?)),
        user_adopted: item.is_user_adopted,
        claimed_user_key: item.claimed_user.as_deref().map(|user| ids.pseudonym(account, user)),
        actor: column(&item.actor),
        agent_id: columns.id(item.sub_agent.as_deref()),
        agent_version: label(&AGENT_VERSION_KEYS),
        feature: column(&item.feature),
        issue_id: label(&[ISSUE_KEY]),
        commit_sha: label(&COMMIT_KEYS),
        environment: label(&ENVIRONMENT_KEYS),
        call: item.call.as_str().to_owned(),
        action_type: column(&item.operation),
        tool_name: column(&item.tool),
        tool_call_id: column(&item.tool_call),
        arguments_bytes: read_count(payload, node, ARGUMENTS_BYTES_KEY),
        result_bytes: read_count(payload, node, RESULT_BYTES_KEY),
        model: column(&item.response_model).or_else(|| column(&item.request_model)),
        provider: column(&item.provider),
        response_id: column(&item.response_id),
        status: status(&columns, item),
        duration_ns: duration(payload, node),
        finish: column(&item.finish),
        decision: match &record {
            Some(record) => (!record.shadow).then(|| record.kind.as_str().to_owned()),
            None => column(&item.decision),
        },
        decided_by: match &record {
            Some(record) if record.kind == RecordKind::Grant => Some(columns.text(&record.granted_by)),
            Some(record) => Some(cut_column(&format!("budget {}", record.budget))),
            None => decided_by(payload, item).map(|text| columns.text(text)),
        },
        repeat: origin.repeat,
        source_record: origin.source_record.as_deref().map(str::to_owned),
        tokens_in: item.usage.input,
        tokens_out: item.usage.output,
        buckets: cost.map(|cost| cost.buckets),
        tier: item.context.as_deref().and_then(|context| column(&context.service_tier)),
        cost_status: cost.map(|cost| cost.status.as_str().to_owned()),
        cost_usd: cost.and_then(|cost| cost.usd.clone()),
        billing: cost.map(|cost| cost.billing).filter(|by| *by != BillingBasis::Api).map(|by| by.as_str().to_owned()),
        covered_usd: cost.and_then(|cost| amount(cost.covered_atto_usd)),
        cache_savings_usd: cost.and_then(|cost| amount(cost.saved_atto_usd)),
        uncounted_cost_usd: cost.and_then(|cost| cost.uncounted_usd.as_deref().map(str::to_owned)),
        rates: cost.map(|cost| cost.rate_table.to_string()),
        rate: cost.and_then(|cost| cost.rate_row.clone()),
        basis: cost.and_then(|cost| price_basis(&columns, payload, item, cost)),
        budget: record.map(|record| Box::new(budget_decision(&columns, record))),
        ..RowTail::default()
    }
}

/// An amount as a column; `None` if it is nothing.
fn amount(atto: i128) -> Option<String> {
    (atto != 0).then(|| Usd(atto).to_string())
}

/// The user of a decision that names its user only as the budget's key.
fn granted_user(record: &BudgetRecord) -> Option<String> {
    (record.scope == budgets::Scope::User && is_pseudonym(&record.key)).then(|| record.key.clone())
}

fn budget_decision(columns: &Columns<'_>, record: BudgetRecord) -> BudgetDecision {
    let [spent, limit] = record.amount_texts();
    let text = |text: &String| Some(columns.text(text)).filter(|text| !text.is_empty());
    BudgetDecision {
        answer: record.kind.as_str().to_owned(),
        name: cut_column(&record.budget),
        scope: record.scope.as_str().to_owned(),
        key: if is_pseudonym(&record.key) { record.key } else { columns.text(&record.key) },
        shadow: record.shadow,
        measure: record.measure.as_str().to_owned(),
        spent,
        limit,
        repeats: Some(record.repeats).filter(|repeats| *repeats > 0),
        until: (record.until > 0).then(|| rfc3339(UnixNanos(record.until))),
        granted_by: text(&record.granted_by),
        reason: text(&record.reason),
    }
}

/// The first non-empty text among `keys` on the item, else on its resource.
fn first_text<'p>(payload: &'p Payload, node: NodeId, keys: &[&str]) -> Option<&'p str> {
    let find = |node: NodeId| keys.iter().find_map(|key| payload.get_str(node, key).filter(|text| !text.is_empty()));
    find(node).or_else(|| find(payload.resource(node)))
}

/// The source of a decision. `source` has that meaning only beside a decision.
fn decided_by<'p>(payload: &'p Payload, item: &ItemFacts) -> Option<&'p str> {
    item.decision.as_ref()?;
    DECIDED_BY_KEYS.iter().find_map(|key| payload.get_str(item.node, key).filter(|text| !text.is_empty()))
}

fn read_count(payload: &Payload, node: NodeId, key: &str) -> Option<u64> {
    u64::try_from(payload.get(node, key)?.as_count()?).ok()
}

/// A span's own duration in ns, else the one that a record reports.
fn duration(payload: &Payload, node: NodeId) -> Option<u64> {
    let (start, end) = (payload.time(node), payload.end_time(node));
    let reported = || read_count(payload, node, DURATION_MS_KEY)?.checked_mul(1_000_000);
    let own = end.checked_sub(start).filter(|_| start > 0);
    own.filter(|own| *own > 0).or_else(reported).or(own)
}

/// Builds the line for a price that became known later than its call.
pub(super) fn late_price_row(ids: &dyn IdPolicy, origin: &BatchOrigin, late: &LatePrice) -> RowTail {
    let account = &*origin.account;
    let columns = Columns { ids, account };
    let column = |text: &String| columns.text(text);
    let (basis, cost) = (&late.basis, &late.cost);
    let mut redacted_basis = basis.clone();
    redact_names(&columns, &mut redacted_basis, cost);
    RowTail {
        kind: Some(RowKind::Price),
        ts: rfc3339(UnixNanos(basis.time)),
        ingest_ts: rfc3339(origin.received),
        signal: "traces".to_owned(),
        account: account.to_owned(),
        tenant: columns.id(late.tenant.as_deref()).unwrap_or_else(|| UNATTRIBUTED.to_owned()),
        session_id: columns.id(late.session.as_deref()),
        trace_id: hex_id(&late.trace),
        span_id: hex_id(&late.span),
        parent_span_id: hex_id(&late.parent).filter(|_| late.parent != [0; 8]),
        call: "model".to_owned(),
        model: basis.models.first().map(column),
        provider: basis.provider.as_ref().map(column),
        status: "ok".to_owned(),
        buckets: Some(cost.buckets),
        cost_status: Some(cost.status.as_str().to_owned()),
        cost_usd: cost.usd.clone(),
        billing: Some(cost.billing).filter(|by| *by != BillingBasis::Api).map(|by| by.as_str().to_owned()),
        covered_usd: amount(cost.covered_atto_usd),
        cache_savings_usd: amount(cost.saved_atto_usd),
        rates: Some(cost.rate_table.to_string()),
        rate: cost.rate_row.clone(),
        basis: Some(redacted_basis),
        ..RowTail::default()
    }
}

fn status(columns: &Columns<'_>, item: &ItemFacts) -> String {
    match (&item.error, item.failed) {
        (Some(error), _) => columns.text(error),
        (None, true) => "error".to_owned(),
        (None, false) => "ok".to_owned(),
    }
}

/// The inputs to the item's price. Names pass the rules like every other column.
fn price_basis(columns: &Columns<'_>, payload: &Payload, item: &ItemFacts, cost: &CallCost) -> Option<PriceBasis> {
    if cost.status == BillingStatus::NotCounted {
        return None;
    }
    let mut basis = PriceBasis::from_facts(item, payload.time(item.node))?;
    redact_names(columns, &mut basis, cost);
    Some(basis)
}

/// Passes the names through the rules. A model name that is changed or cut would not match a rate row any more, so the
/// table's own id is stored beside it.
fn redact_names(columns: &Columns<'_>, basis: &mut PriceBasis, cost: &CallCost) {
    let mut is_changed = false;
    for model in &mut basis.models {
        let shown = columns.text(model);
        is_changed |= shown != *model;
        *model = shown;
    }
    basis.listed = cost.rate_row.as_deref().filter(|_| is_changed).and_then(listed_model).map(str::to_owned);
    basis.contract = cost.contract.as_deref().map(str::to_owned);
    let names = [&mut basis.provider, &mut basis.service_tier, &mut basis.speed, &mut basis.inference_geo];
    names.into_iter().flatten().for_each(|name| *name = columns.text(name));
}

/// The model id within a row's name: `provider/id@from;adjusts`.
fn listed_model(row_name: &str) -> Option<&str> {
    let (_, id) = row_name.split(';').next()?.split_once('/')?;
    let is_time = |tail: &str| tail.len() == "2026-01-01T00:00:00Z".len() && tail.ends_with('Z') && tail.contains('T');
    Some(id.rsplit_once('@').filter(|(_, tail)| is_time(tail)).map_or(id, |(id, _)| id))
}

fn cut_column(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_COLUMN_BYTES)).unwrap_or_default().to_owned()
}
