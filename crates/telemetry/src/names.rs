//! **What**: every metric of tollgate, once: name, kind, unit, help. **Invariants**: a test checks that names are
//! unique and well formed. **Not here**: recording ([`super::Meter`]).

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Only grows, by fractions too: kept as a gauge, told as a counter.
    Sum,
    /// Distribution, with its bucket bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug)]
pub struct Def {
    /// Prometheus name.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($(#[doc = $help:literal])+ $ident:ident = $name:literal, $kind:expr;)*) => {
        $($(#[doc = $help])+ pub static $ident: Def = Def { name: $name, kind: $kind, help: concat!($($help),+) };)*
        /// Every metric.
        pub static ALL: &[&Def] = &[$(&$ident,)*];
    };
}

/// Seconds, from a millisecond to ten minutes.
pub const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Items in a request.
pub const ITEMS: &[f64] = &[1.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0, 10_000.0, 50_000.0];

/// Bytes, 128 B to 64 MiB.
pub const BYTES: &[f64] =
    &[128.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

/// Seconds, from a second to a day.
pub const LONG_SECONDS: &[f64] =
    &[1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0];

/// Things that happen one by one.
pub const COUNTS: &[f64] = &[0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 25.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// Tokens, a hundred to ten million.
pub const TOKENS: &[f64] = &[100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 2e5, 3e5, 5e5, 1e6, 3e6, 1e7];

/// US dollars, a tenth of a cent to a thousand.
pub const USD: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 1_000.0];

/// Anything, from a millionth to 1e15.
pub const MEASURES: &[f64] = &[
    1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3,
    1e4, 1e5, 1e6, 1e7, 1e8, 2e8, 5e8, 1e9, 2e9, 5e9, 1e10, 2e10, 5e10, 1e11, 1e12, 1e13, 1e15,
];

metrics_table! {
    // --- receivers (labels: receiver, transport) ---
    /// Spans taken in and safe.
    RECEIVER_ACCEPTED_SPANS = "otelcol_receiver_accepted_spans_total", Kind::Counter;
    /// Spans pushed back to the client.
    RECEIVER_REFUSED_SPANS = "otelcol_receiver_refused_spans_total", Kind::Counter;
    /// Spans not taken in for a failure of ours.
    RECEIVER_FAILED_SPANS = "otelcol_receiver_failed_spans_total", Kind::Counter;
    /// Metric points taken in and safe.
    RECEIVER_ACCEPTED_POINTS = "otelcol_receiver_accepted_metric_points_total", Kind::Counter;
    /// Metric points pushed back to the client.
    RECEIVER_REFUSED_POINTS = "otelcol_receiver_refused_metric_points_total", Kind::Counter;
    /// Metric points not taken in for a failure of ours.
    RECEIVER_FAILED_POINTS = "otelcol_receiver_failed_metric_points_total", Kind::Counter;
    /// Log records taken in and safe.
    RECEIVER_ACCEPTED_LOGS = "otelcol_receiver_accepted_log_records_total", Kind::Counter;
    /// Log records pushed back to the client.
    RECEIVER_REFUSED_LOGS = "otelcol_receiver_refused_log_records_total", Kind::Counter;
    /// Log records not taken in for a failure of ours.
    RECEIVER_FAILED_LOGS = "otelcol_receiver_failed_log_records_total", Kind::Counter;
    /// Requests, by outcome: success, refused, failure.
    RECEIVER_REQUESTS = "otelcol_receiver_requests_total", Kind::Counter;
    /// Requests that were not accepted, by reason.
    RECEIVER_REJECTIONS = "tollgate_receiver_rejections_total", Kind::Counter;
    /// Open connections of a receiver's port.
    RECEIVER_CONNECTIONS = "tollgate_receiver_connections", Kind::Gauge;
    /// Connections closed unasked, by reason: limit, crowded (it rested, and another came), silent, idle,
    /// age, handshake.
    RECEIVER_CONNECTIONS_CLOSED = "tollgate_receiver_connections_closed_total", Kind::Counter;
    /// Times that a changed certificate, key or tokens file could not be taken: the last good one is in use.
    RECEIVER_RELOAD_FAILURES = "tollgate_receiver_reload_failures_total", Kind::Counter;
    /// Times that the configuration was read again and could not be taken: the one before is in use.
    CONFIG_RELOAD_FAILURES = "tollgate_config_reload_failures_total", Kind::Counter;

    // --- engine: inlet, workers, sequencer, outlet ---
    /// Bytes of requests in flight that are charged to the byte budget.
    IN_FLIGHT_BYTES = "tollgate_in_flight_bytes", Kind::Gauge;
    /// Size of the byte budget.
    IN_FLIGHT_LIMIT = "tollgate_in_flight_limit_bytes", Kind::Gauge;
    /// Requests that wait for a worker.
    WORKERS_WAITING = "tollgate_workers_waiting", Kind::Gauge;
    /// Requests answered by the engine (labels: outcome, reason).
    REQUESTS = "tollgate_requests_total", Kind::Counter;
    /// Requests refused because their account sends more than it may (label: account).
    ACCOUNT_LIMITED = "tollgate_account_limited_requests_total", Kind::Counter;
    /// Requests whose bytes were seen before (labels: kind = joined or repeat).
    REPEATS = "tollgate_repeated_requests_total", Kind::Counter;
    /// Time a worker spent on a request.
    WORK_SECONDS = "tollgate_work_seconds", Kind::Histogram(SECONDS);
    /// Requests that wait for an external recogniser's answer.
    WORK_PARKED = "tollgate_work_parked_requests", Kind::Gauge;
    /// Time from the ticket of a batch to its commit.
    COMMIT_SECONDS = "tollgate_commit_seconds", Kind::Histogram(SECONDS);
    /// Panics that were caught (label: place).
    PANICS = "tollgate_panics_total", Kind::Counter;
    /// Items that could not be processed and were sealed to the auditors (label: signal).
    QUARANTINED_ITEMS = "tollgate_quarantined_items_total", Kind::Counter;
    /// Items that could not be processed, or were refused one by one, and were dropped (labels: signal; reason:
    /// `no_vault`, `not_sealed`, `bad_ids`, `item_too_large`).
    DROPPED_ITEMS = "tollgate_dropped_items_total", Kind::Counter;
    /// Items that came to a processor, those of requests that had to come again too (labels: processor, otel_signal).
    PROCESSOR_INCOMING = "otelcol_processor_incoming_items_total", Kind::Counter;
    /// Items that went on from it (labels: processor, otel_signal).
    PROCESSOR_OUTGOING = "otelcol_processor_outgoing_items_total", Kind::Counter;
    /// Items that a `filter` step dropped (labels: processor, rule, signal).
    FILTERED_ITEMS = "tollgate_filtered_items_total", Kind::Counter;
    /// Fields that the OTLP schema does not know and that copies for third parties do without (label: signal).
    UNKNOWN_DROPPED = "tollgate_unknown_fields_dropped_total", Kind::Counter;
    /// Clients of `tollgate tap` that are connected.
    TAP_CLIENTS = "tollgate_tap_clients", Kind::Gauge;
    /// Requests that were not shown to one who looks on, because they did not fit in its queue.
    TAP_LEFT_OUT = "tollgate_tap_left_out_requests_total", Kind::Counter;
    /// References that no ticket filled in. Always 0, or there is a bug.
    SLOTS_UNFILLED = "tollgate_references_unfilled_total", Kind::Counter;
    /// Time it takes to write a checkpoint of the processors' state.
    CHECKPOINT_SECONDS = "tollgate_checkpoint_seconds", Kind::Histogram(SECONDS);
    /// Size of the last checkpoint.
    CHECKPOINT_BYTES = "tollgate_checkpoint_bytes", Kind::Gauge;
    /// Checkpoints that could not be written or read (label: step).
    CHECKPOINT_FAILURES = "tollgate_checkpoint_failures_total", Kind::Counter;
    /// Spans delivered (label: exporter).
    SENT_SPANS = "otelcol_exporter_sent_spans_total", Kind::Counter;
    /// Log records delivered (label: exporter).
    SENT_LOGS = "otelcol_exporter_sent_log_records_total", Kind::Counter;
    /// Metric points delivered (label: exporter).
    SENT_POINTS = "otelcol_exporter_sent_metric_points_total", Kind::Counter;
    /// Spans that a back end refused for good (label: exporter).
    FAILED_SPANS = "otelcol_exporter_send_failed_spans_total", Kind::Counter;
    /// Log records that a back end refused for good (label: exporter).
    FAILED_LOGS = "otelcol_exporter_send_failed_log_records_total", Kind::Counter;
    /// Metric points that a back end refused for good (label: exporter).
    FAILED_POINTS = "otelcol_exporter_send_failed_metric_points_total", Kind::Counter;
    /// Spans that the spool did not take for an exporter: clients were told to come again (label: exporter).
    NOT_QUEUED_SPANS = "otelcol_exporter_enqueue_failed_spans_total", Kind::Counter;
    /// Log records that the spool did not take for an exporter: clients were told to come again (label: exporter).
    NOT_QUEUED_LOGS = "otelcol_exporter_enqueue_failed_log_records_total", Kind::Counter;
    /// Metric points that the spool did not take for an exporter: clients were told to come again (label: exporter).
    NOT_QUEUED_POINTS = "otelcol_exporter_enqueue_failed_metric_points_total", Kind::Counter;
    /// Batches that wait in the spool (label: exporter).
    QUEUE_SIZE = "otelcol_exporter_queue_size", Kind::Gauge;
    /// Batches that could wait in the spool: those that do, and as many of their mean size as the spool still has room
    /// for (label: exporter).
    QUEUE_CAPACITY = "otelcol_exporter_queue_capacity", Kind::Gauge;
    /// Requests on their way (label: exporter).
    IN_FLIGHT_REQUESTS = "otelcol_exporter_in_flight_requests", Kind::Gauge;
    /// Items in one outgoing request (label: exporter).
    SEND_SIZE = "otelcol_exporter_queue_batch_send_size", Kind::Histogram(ITEMS);
    /// Bytes of one outgoing request before compression (label: exporter).
    SEND_BYTES = "otelcol_exporter_queue_batch_send_size_bytes", Kind::Histogram(BYTES);
    /// Batches that were given up, oldest first, because more waited than `max_pending` (label: exporter).
    EXPIRED = "tollgate_exporter_expired_batches_total", Kind::Counter;
    /// 1 while as much waits as `max_pending` allows and clients are told to come again, for `on_full: refuse` (label:
    /// exporter).
    PENDING_FULL = "tollgate_exporter_pending_full", Kind::Gauge;
    /// Batches of an exporter with `ack: offered` that were given up (label: exporter).
    OFFERED_DROPPED = "tollgate_exporter_offered_dropped_batches_total", Kind::Counter;
    /// Answers that wait for the verdicts of back ends (`ack: delivered`).
    ANSWERS_WAITING = "tollgate_answers_waiting", Kind::Gauge;
    /// Age of the oldest batch that waits, seconds (label: exporter).
    QUEUE_AGE = "tollgate_exporter_queue_oldest_seconds", Kind::Gauge;
    /// Attempts that failed and will be repeated (labels: exporter, reason).
    RETRIES = "tollgate_exporter_retries_total", Kind::Counter;
    /// 1 while the back end refuses the credential or the address (label: exporter).
    DENIED = "tollgate_exporter_denied", Kind::Gauge;
    /// Batches that may not go to this exporter as it is configured now; they stay in the spool (label: exporter).
    HELD = "tollgate_exporter_held_batches", Kind::Gauge;
    /// Items that a back end refused and that are kept in the spool's quarantine (label: exporter).
    SET_ASIDE = "tollgate_exporter_quarantined_items_total", Kind::Counter;
    /// Records of items that back ends refused for good that were given up, oldest first, because more was kept than
    /// `spool.quarantine.max_size`.
    QUARANTINE_EXPIRED = "tollgate_spool_quarantine_expired_records_total", Kind::Counter;
    /// Series whose totals an exporter with `deltatocumulative` remembers (label: exporter).
    CUMULATIVE_STREAMS = "tollgate_exporter_cumulative_streams", Kind::Gauge;
    /// Series that were forgotten because there were more than `max_streams` (label: exporter).
    CUMULATIVE_EVICTED = "tollgate_exporter_cumulative_evicted_total", Kind::Counter;
    /// Points of deltas that are in no total (labels: exporter; reason: `older` = a repeat or too late, `invalid`).
    CUMULATIVE_DROPPED = "tollgate_exporter_cumulative_dropped_points_total", Kind::Counter;
    /// Times the spool could not be read for an exporter (label: exporter).
    READ_FAILURES = "tollgate_exporter_spool_read_failures_total", Kind::Counter;

    // --- spool ---
    /// Bytes that all files of the spool take, room taken ahead included.
    SPOOL_BYTES = "tollgate_spool_bytes", Kind::Gauge;
    /// Bytes that all files of the spool may take.
    SPOOL_LIMIT_BYTES = "tollgate_spool_limit_bytes", Kind::Gauge;
    /// Seconds until the spool is full at the rate of the last minutes; 36000000 (10,000 hours) where it does not grow.
    SPOOL_TIME_LEFT = "tollgate_spool_time_left_seconds", Kind::Gauge;
    /// Age of the oldest record that still waits for a consumer.
    SPOOL_OLDEST_SECONDS = "tollgate_spool_oldest_seconds", Kind::Gauge;
    /// Records in the spool that wait for the consumer.
    SPOOL_PENDING_RECORDS = "tollgate_spool_pending_records", Kind::Gauge;
    /// Bytes in the spool that wait for the consumer.
    SPOOL_PENDING_BYTES = "tollgate_spool_pending_bytes", Kind::Gauge;
    /// Group commits: one write and one sync each.
    SPOOL_COMMITS = "tollgate_spool_commits_total", Kind::Counter;
    /// Time that the sync of a group commit took.
    SPOOL_FSYNC_SECONDS = "tollgate_spool_fsync_seconds", Kind::Histogram(SECONDS);
    /// Reservations refused, by reason.
    SPOOL_REFUSED = "tollgate_spool_refused_total", Kind::Counter;
    /// 1 after the spool could not be written and the process has to be restarted.
    SPOOL_POISONED = "tollgate_spool_poisoned", Kind::Gauge;

    // --- vault ---
    /// Sealed fragments handed to the spool (label: processor).
    VAULT_FRAGMENTS = "tollgate_vault_fragments_total", Kind::Counter;
    /// Content that was sealed, bytes of canonical JSON (label: processor).
    VAULT_CONTENT_BYTES = "tollgate_vault_content_bytes_total", Kind::Counter;
    /// Traces that are known as an agent's (label: processor).
    VAULT_AGENT_TRACES = "tollgate_vault_agent_traces", Kind::Gauge;
    /// Services remembered as sources of agents' items; expired ones go when room is needed (label: processor).
    VAULT_AGENT_SERVICES = "tollgate_vault_agent_services", Kind::Gauge;
    /// Texts under unlisted keys that are remembered until enough sessions have sent them (label: processor).
    VAULT_LABELS = "tollgate_vault_labels", Kind::Gauge;
    /// Values of agents' items that went to the vault because no list names their keys, which stay with `[CONTENT]`;
    /// the Gateway page has the line that keeps each (labels: processor; key: names alone, `other` beyond the first few
    /// hundred; rule: `labels`, or `privacy` for what the profile moved).
    VAULT_MOVED_VALUES = "tollgate_vault_moved_values_total", Kind::Counter;
    /// 1 for the privacy profile in force, else 0 (labels: processor; profile: `standard`, `strict`).
    VAULT_PRIVACY = "tollgate_vault_privacy", Kind::Gauge;
    /// Memory for what later turns of a session may refer to, bytes (label: processor).
    VAULT_CONTEXT_BYTES = "tollgate_vault_context_bytes", Kind::Gauge;
    /// Items whose content was dropped because there is no store (label: processor).
    VAULT_DROPPED_ITEMS = "tollgate_vault_dropped_items_total", Kind::Counter;
    /// Reference attributes that clients sent and that were removed or moved aside (label: processor).
    VAULT_FORGED_REFERENCES = "tollgate_vault_forged_references_total", Kind::Counter;
    /// Attempts to write an object to the store (labels: processor, kind, outcome).
    VAULT_UPLOADS = "tollgate_vault_uploads_total", Kind::Counter;
    /// Committed bytes that are not in the store yet (label: processor).
    VAULT_PENDING_BYTES = "tollgate_vault_pending_bytes", Kind::Gauge;
    /// Age of the oldest committed record that is not in the store yet, seconds (label: processor).
    VAULT_UPLOAD_LAG = "tollgate_vault_upload_lag_seconds", Kind::Gauge;
    /// Objects whose store copy differs or was damaged: look at memory, disk and store (label: processor).
    VAULT_CORRUPT_UPLOADS = "tollgate_vault_corrupt_uploads_total", Kind::Counter;
    /// Records of the vault that are damaged in the spool: what they held is not stored (label: processor).
    VAULT_DAMAGED_RECORDS = "tollgate_vault_damaged_records_total", Kind::Counter;
    /// Times a chain had to leave its epoch: look at it, `fork` means that two processes take themselves for one
    /// (labels: processor, reason).
    VAULT_CHAIN_BREAKS = "tollgate_vault_chain_breaks_total", Kind::Counter;
    /// Lines in the chain that only say that one was lost (label: processor).
    VAULT_GAP_LEAVES = "tollgate_vault_gap_leaves_total", Kind::Counter;

    // --- cost and rates ---
    /// Cost of priced calls, USD; only grows (labels: tenant, model, provider).
    COST_USD = "tollgate_cost_usd_total", Kind::Sum;
    /// Records of model calls by what became of them (label: status).
    COST_CALLS = "tollgate_cost_calls_total", Kind::Counter;
    /// Calls that should have a price and have none (labels: provider, model, reason, nearest = the listed id most like
    /// it); reason no_usage: the client tells no tokens, for OpenAI's streams until stream_options.include_usage is on.
    COST_UNPRICED = "tollgate_cost_unpriced_total", Kind::Counter;
    /// Tokens of calls without a price (labels: provider, model).
    COST_UNPRICED_TOKENS = "tollgate_cost_unpriced_tokens_total", Kind::Counter;
    /// Calls whose billed signal never came, and images, speech and the like without tokens (label: dialect).
    COST_UNBILLED = "tollgate_cost_unbilled_calls_total", Kind::Counter;
    /// Calls whose client reported another cost.
    COST_MISMATCH = "tollgate_cost_reported_mismatch_total", Kind::Counter;
    /// Claims of calls that were forgotten, by age or for room: a later copy would count again.
    COST_FORGOTTEN = "tollgate_cost_claims_forgotten", Kind::Gauge;
    /// Calls without a model of their own that could not wait for a parent that tells one: too many wait; they have no
    /// price.
    COST_WAITING_FULL = "tollgate_cost_waiting_full_total", Kind::Counter;
    /// Parents with a model that were forgotten for want of room, before their time.
    COST_PARENTS_FORGOTTEN = "tollgate_cost_parents_forgotten_total", Kind::Counter;
    /// The rate table in use; always 1 (labels: version (with those of its overlays), sha256).
    RATES_INFO = "tollgate_rates_info", Kind::Gauge;
    /// Seconds since the rate table in use was last known to be the newest (without `refresh`: since the start).
    RATES_AGE = "tollgate_rates_age_seconds", Kind::Gauge;
    /// 1 while the last look for a newer rate table failed: the last good one stays in use.
    RATES_REFRESH_FAILED = "tollgate_rates_refresh_failed", Kind::Gauge;
    /// Looks for a newer rate table (label: outcome = same, taken or refused).
    RATES_REFRESHES = "tollgate_rates_refreshes_total", Kind::Counter;

    // --- normalize, vocabulary ---
    /// Items by the dialect they were recognised as (labels: dialect, signal).
    DIALECT_ITEMS = "tollgate_dialect_items_total", Kind::Counter;
    /// Attributes that the conventions require and no key of the item tells (labels: dialect, attribute).
    MISSING_ATTRIBUTES = "tollgate_missing_attributes_total", Kind::Counter;
    /// Attributes that only tollgate may set and that clients sent; they were removed (label: processor).
    CLIENT_STAMPS = "tollgate_client_stamps_removed_total", Kind::Counter;

    // --- runs (features, models, tenants and tools are capped at 200 values, then `other`) ---
    /// How long a session lasted, from its first to its last event, by its main model.
    SESSION_DURATION = "agent_session_duration_seconds", Kind::Histogram(LONG_SECONDS);
    /// Model calls that were answered in a session.
    SESSION_LLM_CALLS = "agent_session_llm_calls", Kind::Histogram(COUNTS);
    /// Calls of one tool in a session.
    SESSION_TOOL_CALLS = "agent_session_tool_calls", Kind::Histogram(COUNTS);
    /// What a session cost.
    SESSION_COST = "agent_session_cost_usd", Kind::Histogram(USD);
    /// Sessions that ended.
    SESSIONS = "agent_sessions_total", Kind::Counter;
    /// Sessions that ended, of which a run failed.
    SESSION_ERRORS = "agent_session_errors_total", Kind::Counter;
    /// Input tokens of one model in a run, cached ones included.
    TURN_INPUT_TOKENS = "agent_turn_input_tokens", Kind::Histogram(TOKENS);
    /// Output tokens of one model in a run.
    TURN_OUTPUT_TOKENS = "agent_turn_output_tokens", Kind::Histogram(TOKENS);
    /// Iterations of a run's loop: as told, else its own model calls.
    RUN_ITERATIONS = "agent_run_iterations", Kind::Histogram(COUNTS);
    /// How long a run lasted.
    RUN_DURATION = "agent_run_duration_seconds", Kind::Histogram(LONG_SECONDS);
    /// What a run cost.
    RUN_COST = "agent_run_cost_usd", Kind::Histogram(USD);
    /// Runs that are over, by where they stand: ended, failed, killed, idle, evicted (labels: state, tenant, feature).
    RUNS = "agent_runs_total", Kind::Counter;
    /// What runs cost, USD; only grows (label: agent_type).
    ESTIMATED_COST = "agent_estimated_cost_usd", Kind::Gauge;
    /// Tool calls of a run that were made again after a failure of the same tool (label: feature).
    RUN_TOOL_RETRIES = "agent_run_tool_retries", Kind::Histogram(COUNTS);
    /// Tool calls, as they come (label: tool_name).
    TOOL_CALLS = "agent_tool_calls_total", Kind::Counter;
    /// Tool calls that failed, as they come (label: tool_name).
    TOOL_FAILURES = "agent_tool_failures_total", Kind::Counter;
    /// Model calls and turns of runs that are over, by how they ended (label: reason, in one spelling each).
    FINISHES = "agent_turn_finish_total", Kind::Counter;
    /// Failures of model calls, tools and turns of runs that are over (label: error_type).
    RUN_ERRORS = "agent_errors_total", Kind::Counter;
    /// Model calls that were refused, rate limited, overloaded or failed (labels: reason, provider, tenant, template).
    MODEL_TROUBLES = "agent_model_troubles_total", Kind::Counter;
    /// Changes to another model (labels: reason = refusal, rate_limited_429, overloaded_529 or other; provider, tenant,
    /// template).
    FALLBACKS = "agent_fallback_total", Kind::Counter;
    /// Permissions that were denied (labels: tool, source).
    PERMISSION_DENIALS = "agent_permission_denials_total", Kind::Counter;
    /// Investigations: incidents with a run that is over (label: agent_type).
    INVESTIGATIONS = "agent_investigations_total", Kind::Counter;
    /// Investigations in which a human decided otherwise (label: agent_type).
    OVERRIDES = "agent_human_override_count", Kind::Counter;
    /// The 95th percentile of tool calls per investigation (label: agent_type).
    TOOL_CALLS_P95 = "agent_tool_calls_per_investigation_p95", Kind::Gauge;
    /// Numeric span attributes (labels: measure, service, tenant, commit).
    MEASURE = "agent_measure", Kind::Histogram(MEASURES);
    /// Alerts that tollgate computes itself and that began to fire (labels: rule, tenant).
    ALERTS = "agent_alert_total", Kind::Counter;
    /// Messages about alerts to the webhook (label: outcome = sent, failed, muted or repeated; of the last two nothing
    /// was sent).
    ALERT_MESSAGES = "tollgate_alert_messages_total", Kind::Counter;
    /// Measures that were negative, not finite or above 1e15, and were left out.
    MEASURES_REFUSED = "tollgate_measures_refused_total", Kind::Counter;
    /// Events of runs that a connector could not emit in time: the oldest are dropped.
    RUN_EVENTS_DROPPED = "tollgate_run_events_dropped_total", Kind::Counter;
    /// Requests that a connector made and the engine took (label: connector).
    CONNECTOR_TOLD = "tollgate_connector_requests_total", Kind::Counter;
    /// Requests that a connector made and its pipelines refused for good (label: connector).
    CONNECTOR_REFUSED = "tollgate_connector_refused_total", Kind::Counter;
    /// Runs whose end was not told yet.
    RUNS_LIVE = "tollgate_runs_live", Kind::Gauge;
    /// Runs that were forgotten before they ended, for lack of room.
    RUNS_EVICTED = "tollgate_runs_evicted_total", Kind::Counter;

    // --- redact ---
    /// Private stretches replaced, by rule and signal.
    REDACTIONS = "tollgate_redactions_total", Kind::Counter;
    /// The same by place (labels: signal, place: key, value, body, name, status, other).
    REDACTIONS_BY_PLACE = "tollgate_redactions_by_place_total", Kind::Counter;
    /// Attributes dropped because their key says that they hold a credential (or content, on metrics), by signal.
    REDACT_DROPPED_ATTRIBUTES = "tollgate_redact_dropped_attributes_total", Kind::Counter;
    /// Texts (errors, status messages, span names, log bodies) that repeated content and lost it, by signal.
    REDACT_ECHOES = "tollgate_redact_echoes_total", Kind::Counter;
    /// Memory of fingerprints of content of earlier requests, bytes.
    ECHO_MEMORY_BYTES = "tollgate_echo_memory_bytes", Kind::Gauge;
    /// Values cut to their cap, by signal.
    REDACT_CUT_VALUES = "tollgate_redact_cut_values_total", Kind::Counter;
    /// Values that could not be searched, all or part of them: bytes that are no text, texts that are too long or
    /// nested too deep (label: signal).
    REDACT_UNSCANNED_VALUES = "tollgate_redact_unscanned_values_total", Kind::Counter;
    /// Calls of the external recogniser (labels: processor, outcome).
    RECOGNISER_CALLS = "tollgate_recogniser_calls_total", Kind::Counter;
    /// Time of one call (label: processor).
    RECOGNISER_SECONDS = "tollgate_recogniser_seconds", Kind::Histogram(SECONDS);
    /// Texts that were sent to it (label: processor).
    RECOGNISER_TEXTS = "tollgate_recogniser_texts_total", Kind::Counter;
    /// Bytes of them (label: processor).
    RECOGNISER_BYTES = "tollgate_recogniser_text_bytes_total", Kind::Counter;
    /// Requests that were told to come again because it gave no answer (label: processor).
    RECOGNISER_HELD = "tollgate_recogniser_held_requests_total", Kind::Counter;
    /// Texts that became `[UNSCANNED]` for want of its answer (label: processor).
    RECOGNISER_UNSCANNED = "tollgate_recogniser_unscanned_texts_total", Kind::Counter;

    // --- process ---
    /// Information about the running build; always 1.
    INFO = "tollgate_info", Kind::Gauge;
    /// Resident memory of this process.
    RSS = "otelcol_process_memory_rss", Kind::Gauge;
    /// Memory that this process may take, bytes: `limits.memory`, else the cgroup's limit, else the machine's.
    MEMORY_LIMIT = "tollgate_memory_limit_bytes", Kind::Gauge;
    /// What is taken of it, without cache that the system takes back, bytes.
    MEMORY_USED = "tollgate_memory_used_bytes", Kind::Gauge;
    /// How short memory is: 0 not, 1 new requests come again, 2 one request at a time.
    MEMORY_PRESSURE = "tollgate_memory_pressure", Kind::Gauge;
    /// Exports of tollgate's own metrics (label: outcome = sent or failed).
    OWN_EXPORTS = "tollgate_own_metrics_exports_total", Kind::Counter;
    /// Processor time of this process, user and system.
    CPU = "otelcol_process_cpu_seconds_total", Kind::Sum;
    /// Seconds since this process started.
    UPTIME = "otelcol_process_uptime", Kind::Gauge;
}

#[cfg(test)]
mod tests;
