//! Encodes news as OTLP log events: `tollgate.run.summary` for a finished run, `tollgate.alert` for an alert. Events
//! contain only numbers, shown ids and names; every text is short and on one line. `points` encodes metrics.

use prost::Message;

use kernel::pseudonym::PREFIX;
use otlp::r#gen::opentelemetry::proto;
use proto::collector::logs::v1::ExportLogsServiceRequest;
use proto::common::v1::any_value::Value;
use proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use proto::resource::v1::Resource;
use rates::Usd;
use runs::{Alert, AlertSeverity, RunState, RunView};

use super::outbox::OutboxEvent;
use super::run_calls::trace_id;

const RUN_EVENT: &str = "tollgate.run.summary";
const ALERT_EVENT: &str = "tollgate.alert";

pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), key_strindex: 0 }
}

pub(super) fn text_attribute(key: &str, text: &str) -> KeyValue {
    attribute(key, Value::StringValue(text.to_owned()))
}

/// An id under its key, or under another key if it is a pseudonym: redaction would pseudonymise it again.
fn id_attribute(key: &str, pseudonym_key: &str, id: &str) -> KeyValue {
    text_attribute(if id.starts_with(PREFIX) { pseudonym_key } else { key }, id)
}

fn int_attribute(key: &str, count: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn double_attribute(key: &str, number: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(number))
}

/// The resource of the connectors' records.
pub(super) fn resource() -> Resource {
    let attributes =
        vec![text_attribute("service.name", "tollgate"), text_attribute("service.version", env!("CARGO_PKG_VERSION"))];
    Resource { attributes, ..Resource::default() }
}

/// The scope of the connectors' records.
pub(super) fn scope() -> InstrumentationScope {
    let (name, version) = ("tollgate.runs".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    InstrumentationScope { name, version, ..InstrumentationScope::default() }
}

/// Encodes a request with a record for each event that is emitted as a log.
pub(super) fn encode_logs_request(events: &[&OutboxEvent], now: u64) -> Vec<u8> {
    let log_records = events.iter().filter_map(|event| match event {
        OutboxEvent::Run(view, revision) => Some(run_record(view, *revision, now)),
        OutboxEvent::Alert(alert) => Some(alert_record(alert, now)),
        _ => None,
    });
    let scope_logs = ScopeLogs { scope: Some(scope()), log_records: log_records.collect(), ..ScopeLogs::default() };
    let resource_logs =
        ResourceLogs { resource: Some(resource()), scope_logs: vec![scope_logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }.encode_to_vec()
}

fn log_record(
    name: &str,
    (trace, time, now): (&str, u64, u64),
    severity: SeverityNumber,
    attributes: Vec<KeyValue>,
) -> LogRecord {
    LogRecord {
        trace_id: trace_id(trace).map(Vec::from).unwrap_or_default(),
        time_unix_nano: if time == 0 { now } else { time },
        observed_time_unix_nano: now,
        severity_number: severity as i32,
        severity_text: if severity == SeverityNumber::Info { "INFO" } else { "WARN" }.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(name.to_owned())) }),
        attributes,
        event_name: name.to_owned(),
        ..LogRecord::default()
    }
}

fn run_record(view: &RunView, revision: u32, now: u64) -> LogRecord {
    let mut attributes = identity_attributes(view);
    if revision > 0 {
        attributes.push(int_attribute("tollgate.run.revision", u64::from(revision)));
    }
    attributes.extend(figure_attributes(view));
    let is_failure = view.failed || !matches!(view.state, RunState::Ended | RunState::Idle);
    let severity = if is_failure { SeverityNumber::Warn } else { SeverityNumber::Info };
    let span_id = if view.root == [0; 8] { Vec::new() } else { view.root.to_vec() };
    LogRecord { span_id, ..log_record(RUN_EVENT, (&view.trace, view.last, now), severity, attributes) }
}

fn identity_attributes(view: &RunView) -> Vec<KeyValue> {
    let mut attributes = vec![
        id_attribute("tollgate.run.id", "tollgate.run.key", &view.run),
        id_attribute("session.id", "tollgate.run.session_key", &view.session),
        text_attribute("tollgate.run.state", view.state.as_str()),
        attribute("error", Value::BoolValue(view.failed)),
    ];
    let labels = [
        ("agent.feature", &view.feature),
        ("tollgate.run.user_key", &view.user),
        ("prompt.template", &view.template),
        ("incident.id", &view.incident),
        ("build.commit_sha", &view.commit),
        ("work_tracker.issue_id", &view.issue),
        ("tollgate.run.service", &view.service),
    ];
    attributes.extend(labels.into_iter().filter_map(|(key, value)| Some(text_attribute(key, value.as_deref()?))));
    let ids = [
        ("tenant.id", "tollgate.run.tenant_key", &view.tenant),
        ("tollgate.session.continues", "tollgate.session.continues_key", &view.continues),
    ];
    let ids =
        ids.into_iter().filter_map(|(key, pseudonym_key, id)| Some(id_attribute(key, pseudonym_key, id.as_deref()?)));
    attributes.extend(ids);
    attributes
}

fn figure_attributes(view: &RunView) -> Vec<KeyValue> {
    let (totals, peaks) = (&view.totals, &view.peaks);
    let tokens = totals.tokens();
    let sum = |counts: &mut dyn Iterator<Item = &u64>| counts.sum::<u64>();
    let mut attributes = vec![
        double_attribute("tollgate.run.duration_seconds", view.duration as f64 / 1e9),
        int_attribute("tollgate.run.iterations", totals.iterations),
        int_attribute("tollgate.run.model_calls", totals.calls()),
        int_attribute("tollgate.run.failed_model_calls", totals.failed_calls),
        int_attribute("tollgate.run.model_retries", totals.retries),
        int_attribute("agent.total_input_tokens", totals.input_tokens()),
        int_attribute("agent.total_output_tokens", tokens.output),
        int_attribute("tollgate.run.cache_read_tokens", tokens.cache_read),
        int_attribute("tollgate.run.cache_write_tokens", tokens.cache_write_5m.saturating_add(tokens.cache_write_1h)),
        int_attribute("agent.tool_calls_made", totals.tool_calls()),
        int_attribute("tollgate.run.failed_tool_calls", totals.tool_failures()),
        int_attribute("tollgate.run.tool_retries", totals.tool_retries()),
        int_attribute("tollgate.run.permission_denials", sum(&mut totals.denials.values())),
        int_attribute("tollgate.run.fallbacks", sum(&mut totals.fallbacks.values())),
        int_attribute("tollgate.run.sub_agents", totals.sub_agents),
        int_attribute("tollgate.run.reads", totals.reads),
        int_attribute("tollgate.run.writes", totals.writes),
        int_attribute("tollgate.run.model_changes", totals.model_changes),
        int_attribute("tollgate.run.cut_off", totals.finish_reasons.get("length").copied().unwrap_or(0)),
        int_attribute("tollgate.run.unpriced_calls", totals.unpriced()),
        text_attribute("tollgate.run.cost_usd", &Usd(totals.atto_usd()).to_string()),
        text_attribute("tollgate.run.payable_usd", &Usd(totals.payable()).to_string()),
        double_attribute("tollgate.run.context_growth", peaks.context_growth()),
    ];
    if totals.saved() != 0 {
        attributes.push(text_attribute("tollgate.run.cache_savings_usd", &Usd(totals.saved()).to_string()));
    }
    if totals.unpriced() == 0 {
        attributes.push(double_attribute("agent.estimated_cost_usd", super::metrics::usd(totals.atto_usd())));
    }
    let streaks = [
        ("tollgate.run.identical_calls", &peaks.identical_row),
        ("tollgate.run.calls_in_window", &peaks.busiest_window),
    ];
    attributes.extend(streaks.into_iter().filter_map(|(key, streak)| Some(int_attribute(key, streak.as_ref()?.count))));
    if let Some(step) = &peaks.slowest {
        attributes.push(text_attribute("tollgate.run.slowest_step", &step.name));
        attributes.push(double_attribute("tollgate.run.slowest_step_seconds", step.duration as f64 / 1e9));
    }
    if let Some(step) = &peaks.most_expensive {
        attributes.push(text_attribute("tollgate.run.most_expensive_step", &step.name));
        attributes
            .push(text_attribute("tollgate.run.most_expensive_step_usd", &Usd(step.atto_usd.unwrap_or(0)).to_string()));
    }
    attributes.extend(totals.main_model().map(|model| text_attribute("gen_ai.request.model", model)));
    attributes.extend(view.judgement.outcome.map(|outcome| text_attribute("agent.outcome", outcome.verdict.as_str())));
    attributes
}

fn alert_record(alert: &Alert, now: u64) -> LogRecord {
    let mut attributes = vec![
        text_attribute("tollgate.alert.rule", alert.rule.as_str()),
        text_attribute("tollgate.alert.severity", alert.severity().as_str()),
        double_attribute("tollgate.alert.value", alert.value),
        double_attribute("tollgate.alert.threshold", alert.threshold),
        text_attribute("tollgate.alert.unit", alert.unit().as_str()),
        text_attribute("tollgate.alert.measured", &alert.measurement_text()),
    ];
    attributes.extend(alert.multiple().map(|multiple| double_attribute("tollgate.alert.multiple", multiple)));
    let subject = if alert.rule.is_of_budget() { "tollgate.alert.budget" } else { "gen_ai.tool.name" };
    let ids = [("tollgate.run.id", &alert.run), ("session.id", &alert.session), (subject, &alert.tool)];
    attributes
        .extend(ids.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| text_attribute(key, value)));
    let labels = [("tenant.id", &alert.tenant), ("agent.feature", &alert.feature)];
    attributes.extend(labels.into_iter().filter_map(|(key, value)| Some(text_attribute(key, value.as_deref()?))));
    let severity =
        if alert.severity() == AlertSeverity::Critical { SeverityNumber::Error } else { SeverityNumber::Warn };
    log_record(ALERT_EVENT, (&alert.trace, alert.since, now), severity, attributes)
}
