//! The table of all tollgate metrics: name, kind, help. The doc comment of a metric is its help text. A test checks
//! that names are unique and well formed. [`super::Meter`] records values.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// A total that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// A total that only grows, also by fractions. It is stored as a gauge and exported as a counter.
    Sum,
    /// A distribution, with its bucket bounds.
    Histogram(&'static [f64]),
}

/// The definition of a metric.
#[derive(Debug)]
pub struct MetricDefinition {
    /// Prometheus name.
    pub name: &'static str,
    /// How the value behaves and is exported.
    pub kind: MetricKind,
    /// Help text of one sentence.
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($(#[doc = $help:literal])+ $ident:ident = $name:literal, $kind:expr;)*) => {
        $($(#[doc = $help])+ pub static $ident: MetricDefinition = MetricDefinition { name: $name, kind: $kind, help: concat!($($help),+) };)*
        /// Every metric.
        pub static ALL: &[&MetricDefinition] = &[$(&$ident,)*];
    };
}

/// Bounds in seconds, from a millisecond to ten minutes.
pub const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Bounds for items in a request.
pub const ITEMS: &[f64] = &[1.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 5_000.0, 10_000.0, 50_000.0];

/// Bounds in bytes, from 128 B to 64 MiB.
pub const BYTES: &[f64] =
    &[128.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];

/// Bounds in seconds, from a second to a day.
pub const LONG_SECONDS: &[f64] =
    &[1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0];

/// Bounds for scores: most are from 0 to 1, others from 1 to 5, 10 or 100.
pub const SCORES: &[f64] =
    &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0];

/// Bounds for small counts, up to a thousand.
pub const COUNTS: &[f64] = &[0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 25.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// Bounds for tokens, from a hundred to ten million.
pub const TOKENS: &[f64] = &[100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 2e5, 3e5, 5e5, 1e6, 3e6, 1e7];

/// Bounds in US dollars, from a tenth of a cent to a thousand.
pub const USD: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 1_000.0];

/// Bounds for any measure, from a millionth to 1e15.
pub const MEASURES: &[f64] = &[
    1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3,
    1e4, 1e5, 1e6, 1e7, 1e8, 2e8, 5e8, 1e9, 2e9, 5e9, 1e10, 2e10, 5e10, 1e11, 1e12, 1e13, 1e15,
];

metrics_table! {
    // --- receivers (labels: receiver, transport) ---
    /// Spans accepted and stored safely.
    RECEIVER_ACCEPTED_SPANS = "otelcol_receiver_accepted_spans_total", MetricKind::Counter;
    /// Spans refused; the client must retry or drop them.
    RECEIVER_REFUSED_SPANS = "otelcol_receiver_refused_spans_total", MetricKind::Counter;
    /// Spans not accepted because of a failure in tollgate.
    RECEIVER_FAILED_SPANS = "otelcol_receiver_failed_spans_total", MetricKind::Counter;
    /// Metric points accepted and stored safely.
    RECEIVER_ACCEPTED_POINTS = "otelcol_receiver_accepted_metric_points_total", MetricKind::Counter;
    /// Metric points refused; the client must retry or drop them.
    RECEIVER_REFUSED_POINTS = "otelcol_receiver_refused_metric_points_total", MetricKind::Counter;
    /// Metric points not accepted because of a failure in tollgate.
    RECEIVER_FAILED_POINTS = "otelcol_receiver_failed_metric_points_total", MetricKind::Counter;
    /// Log records accepted and stored safely.
    RECEIVER_ACCEPTED_LOGS = "otelcol_receiver_accepted_log_records_total", MetricKind::Counter;
    /// Log records refused; the client must retry or drop them.
    RECEIVER_REFUSED_LOGS = "otelcol_receiver_refused_log_records_total", MetricKind::Counter;
    /// Log records not accepted because of a failure in tollgate.
    RECEIVER_FAILED_LOGS = "otelcol_receiver_failed_log_records_total", MetricKind::Counter;
    /// Requests, by outcome: success, refused, failure.
    RECEIVER_REQUESTS = "otelcol_receiver_requests_total", MetricKind::Counter;
    /// Requests that were not accepted (labels: receiver, transport, reason; account: its configured name,
    /// `unattributed` without an accepted credential, `other` beyond the first 280; from, if unattributed: `loopback`,
    /// `proxy` (one on this machine that forwards), `private` or `public`, by the address that connects).
    RECEIVER_REJECTIONS = "tollgate_receiver_rejections_total", MetricKind::Counter;
    /// Time from the head of a request to its answer, in seconds, with the client's upload (labels: receiver,
    /// transport, outcome = success, refused, abandoned (the client left before the answer)).
    RECEIVER_ANSWER_SECONDS = "tollgate_receiver_answer_duration_seconds", MetricKind::Histogram(SECONDS);
    /// Requests that the admin port refused (labels: reason = no_credential, wrong_credential, forbidden (the
    /// client lacks the role or is on another machine, or a browser's change did not come from the port's own page);
    /// from: as in tollgate_receiver_rejections_total).
    ADMIN_REJECTIONS = "tollgate_admin_rejections_total", MetricKind::Counter;
    /// Open connections of a receiver's port.
    RECEIVER_CONNECTIONS = "tollgate_receiver_connections", MetricKind::Gauge;
    /// Connections closed by the receiver, by reason: limit, evicted (it was idle, and a new connection needed its
    /// place), no_request, idle, age, handshake, bad_request_head.
    RECEIVER_CONNECTIONS_CLOSED = "tollgate_receiver_connections_closed_total", MetricKind::Counter;
    /// Failed reloads of a changed certificate, key or tokens file; the last valid one stays in use.
    RECEIVER_RELOAD_FAILURES = "tollgate_receiver_reload_failures_total", MetricKind::Counter;
    /// Failed reloads of the configuration; the previous one stays in use.
    CONFIG_RELOAD_FAILURES = "tollgate_config_reload_failures_total", MetricKind::Counter;
    /// 1 if the last change or reload of the configuration was taken, 0 while an older one runs because the file's
    /// can't be used.
    CONFIG_LAST_RELOAD_SUCCESS = "tollgate_config_last_reload_success", MetricKind::Gauge;
    /// The configuration that runs and the one in the file, as short hashes of their text; always 1 (labels: role =
    /// gateway, edge or worker; loaded; file, which is `unreadable` if the file can't be read). Files that it names by
    /// `${file:…}` are not in the hash.
    CONFIG_HASH_INFO = "tollgate_config_hash_info", MetricKind::Gauge;

    // --- receiver kafka (label: receiver) ---
    /// Records of Kafka, by outcome: accepted, stored_before (the spool had it already), written_again (the edge wrote
    /// it twice), dead (copied to the dead topic), dead_topic_failed.
    KAFKA_RECORDS = "tollgate_kafka_records_total", MetricKind::Counter;
    /// Records in the dead topic, which no gateway reads; asked once a minute (label: receiver).
    KAFKA_DEAD_TOPIC = "tollgate_kafka_dead_topic_records", MetricKind::Gauge;
    /// Time from a request's first record until the brokers have acknowledged all of them, in seconds (label:
    /// exporter).
    KAFKA_PRODUCE_SECONDS = "tollgate_kafka_produce_seconds", MetricKind::Histogram(SECONDS);
    /// 1 while the brokers answer, 0 while they do not: asked every ten seconds (label: receiver or exporter).
    KAFKA_REACHABLE = "tollgate_kafka_brokers_reachable", MetricKind::Gauge;
    /// Seconds since Kafka had the offsets of everything that was stored: since the last commit, or since the brokers
    /// answered while there was nothing to commit (label: receiver).
    KAFKA_COMMIT_AGE = "tollgate_kafka_commit_age_seconds", MetricKind::Gauge;
    /// Records of a partition that were not read yet; absent while the brokers can't be asked (labels: receiver, topic,
    /// partition).
    KAFKA_LAG = "tollgate_kafka_lag_records", MetricKind::Gauge;
    /// Age of the first record of a partition that is not stored yet, in seconds; absent while the brokers can't be
    /// asked (labels: receiver, topic, partition).
    KAFKA_LAG_AGE = "tollgate_kafka_lag_seconds", MetricKind::Gauge;
    /// Records that the topic's retention removed before they were read.
    KAFKA_MISSING = "tollgate_kafka_missing_records_total", MetricKind::Counter;
    /// Partitions that the group has given to this gateway.
    KAFKA_PARTITIONS = "tollgate_kafka_partitions", MetricKind::Gauge;
    /// Partitions that wait for an operator: a key is missing, or no pipeline takes a record's signal.
    KAFKA_HELD_PARTITIONS = "tollgate_kafka_held_partitions", MetricKind::Gauge;
    /// Partitions that changed their owner (label: change = assigned, revoked, lost).
    KAFKA_PARTITION_CHANGES = "tollgate_kafka_partition_changes_total", MetricKind::Counter;
    /// Records by which workers tell each other of runs (labels: receiver, outcome = sent, received, dropped,
    /// unusable).
    KAFKA_EFFECTS = "tollgate_kafka_effects_total", MetricKind::Counter;
    /// Commits of offsets, by outcome: committed, failed, fenced (the partition was another gateway's already).
    KAFKA_COMMITS = "tollgate_kafka_commits_total", MetricKind::Counter;

    // --- engine: inlet, workers, sequencer, outlet ---
    /// Bytes of requests in flight, as charged to the byte budget.
    IN_FLIGHT_BYTES = "tollgate_in_flight_bytes", MetricKind::Gauge;
    /// Size of the byte budget, in bytes.
    IN_FLIGHT_LIMIT = "tollgate_in_flight_limit_bytes", MetricKind::Gauge;
    /// Requests waiting for a worker.
    WORKERS_WAITING = "tollgate_workers_waiting", MetricKind::Gauge;
    /// Requests answered by the engine (labels: outcome, reason).
    REQUESTS = "tollgate_requests_total", MetricKind::Counter;
    /// Requests refused because their account is over its rate (label: account).
    ACCOUNT_LIMITED = "tollgate_account_limited_requests_total", MetricKind::Counter;
    /// Requests whose bytes were received before (label: kind = joined or repeat).
    REPEATS = "tollgate_repeated_requests_total", MetricKind::Counter;
    /// Time that a worker spent on a request, in seconds.
    WORK_SECONDS = "tollgate_work_seconds", MetricKind::Histogram(SECONDS);
    /// Requests waiting for an external recogniser's answer.
    WORK_PARKED = "tollgate_work_parked_requests", MetricKind::Gauge;
    /// Time from a batch's ticket to its commit, in seconds.
    COMMIT_SECONDS = "tollgate_commit_seconds", MetricKind::Histogram(SECONDS);
    /// Panics that were caught (label: place).
    PANICS = "tollgate_panics_total", MetricKind::Counter;
    /// Items that could not be processed and were sealed for the auditors (label: signal).
    QUARANTINED_ITEMS = "tollgate_quarantined_items_total", MetricKind::Counter;
    /// Items dropped because they could not be processed or were refused one by one (labels: signal; reason:
    /// `no_vault`, `not_sealed`, `bad_ids`, `item_too_large`).
    DROPPED_ITEMS = "tollgate_dropped_items_total", MetricKind::Counter;
    /// Items that reached a processor, including those of requests that had to be retried (labels: processor,
    /// otel_signal).
    PROCESSOR_INCOMING = "otelcol_processor_incoming_items_total", MetricKind::Counter;
    /// Items that left a processor (labels: processor, otel_signal).
    PROCESSOR_OUTGOING = "otelcol_processor_outgoing_items_total", MetricKind::Counter;
    /// Items dropped by a `filter` step (labels: processor, rule, signal).
    FILTERED_ITEMS = "tollgate_filtered_items_total", MetricKind::Counter;
    /// Fields unknown to the OTLP schema that were removed from copies for third parties (label: signal).
    UNKNOWN_DROPPED = "tollgate_unknown_fields_dropped_total", MetricKind::Counter;
    /// Connected clients of `tollgate tap`.
    TAP_CLIENTS = "tollgate_tap_clients", MetricKind::Gauge;
    /// Requests not shown to a client of `tollgate tap`, because its queue was full.
    TAP_LEFT_OUT = "tollgate_tap_dropped_requests_total", MetricKind::Counter;
    /// Vault references that no ticket filled in. Always 0; any other value is a bug.
    SLOTS_UNFILLED = "tollgate_references_unfilled_total", MetricKind::Counter;
    /// Time to write a checkpoint of the processors' state, in seconds.
    CHECKPOINT_SECONDS = "tollgate_checkpoint_seconds", MetricKind::Histogram(SECONDS);
    /// Size of the last checkpoint, in bytes.
    CHECKPOINT_BYTES = "tollgate_checkpoint_bytes", MetricKind::Gauge;
    /// Checkpoints that could not be written or read (label: step).
    CHECKPOINT_FAILURES = "tollgate_checkpoint_failures_total", MetricKind::Counter;
    /// Spans delivered (label: exporter).
    SENT_SPANS = "otelcol_exporter_sent_spans_total", MetricKind::Counter;
    /// Log records delivered (label: exporter).
    SENT_LOGS = "otelcol_exporter_sent_log_records_total", MetricKind::Counter;
    /// Metric points delivered (label: exporter).
    SENT_POINTS = "otelcol_exporter_sent_metric_points_total", MetricKind::Counter;
    /// Spans that a back end refused for good (label: exporter).
    FAILED_SPANS = "otelcol_exporter_send_failed_spans_total", MetricKind::Counter;
    /// Log records that a back end refused for good (label: exporter).
    FAILED_LOGS = "otelcol_exporter_send_failed_log_records_total", MetricKind::Counter;
    /// Metric points that a back end refused for good (label: exporter).
    FAILED_POINTS = "otelcol_exporter_send_failed_metric_points_total", MetricKind::Counter;
    /// Spans that the spool did not accept for an exporter; clients were asked to retry (label: exporter).
    NOT_QUEUED_SPANS = "otelcol_exporter_enqueue_failed_spans_total", MetricKind::Counter;
    /// Log records that the spool did not accept for an exporter; clients were asked to retry (label: exporter).
    NOT_QUEUED_LOGS = "otelcol_exporter_enqueue_failed_log_records_total", MetricKind::Counter;
    /// Metric points that the spool did not accept for an exporter; clients were asked to retry (label: exporter).
    NOT_QUEUED_POINTS = "otelcol_exporter_enqueue_failed_metric_points_total", MetricKind::Counter;
    /// Batches waiting in the spool, plus those in memory that Kafka has not acknowledged (label: exporter).
    QUEUE_SIZE = "otelcol_exporter_queue_size", MetricKind::Gauge;
    /// Batches that the spool could hold: those waiting, and as many of their mean size as there is still room for
    /// (label: exporter).
    QUEUE_CAPACITY = "otelcol_exporter_queue_capacity", MetricKind::Gauge;
    /// Requests being sent (label: exporter).
    IN_FLIGHT_REQUESTS = "otelcol_exporter_in_flight_requests", MetricKind::Gauge;
    /// Items in one outgoing request (label: exporter).
    SEND_SIZE = "otelcol_exporter_queue_batch_send_size", MetricKind::Histogram(ITEMS);
    /// Bytes of one outgoing request before compression (label: exporter).
    SEND_BYTES = "otelcol_exporter_queue_batch_send_size_bytes", MetricKind::Histogram(BYTES);
    /// Time of one attempt to send a request to a back end, in seconds (labels: exporter; outcome: accepted, partial,
    /// retry, refused).
    SEND_SECONDS = "tollgate_exporter_send_duration_seconds", MetricKind::Histogram(SECONDS);
    /// Batches dropped, oldest first, because more than `max_pending` was waiting (label: exporter).
    EXPIRED = "tollgate_exporter_expired_batches_total", MetricKind::Counter;
    /// 1 while `max_pending` is reached and clients are asked to retry (`on_full: refuse`), else 0 (label: exporter).
    PENDING_FULL = "tollgate_exporter_pending_full", MetricKind::Gauge;
    /// Batches dropped by an exporter with `ack: offered` (label: exporter).
    OFFERED_DROPPED = "tollgate_exporter_offered_dropped_batches_total", MetricKind::Counter;
    /// Requests whose answer waits for a back end's verdict (`ack: delivered`).
    ANSWERS_WAITING = "tollgate_answers_waiting", MetricKind::Gauge;
    /// Age of the oldest waiting batch, in seconds; with `sample` also how late a decision is (label: exporter).
    QUEUE_AGE = "tollgate_exporter_queue_oldest_seconds", MetricKind::Gauge;
    /// Attempts that failed and will be retried (labels: exporter, reason).
    RETRIES = "tollgate_exporter_retries_total", MetricKind::Counter;
    /// Spans and log records about which `sample` decided (labels: exporter; decision: `kept` = sent because of `keep`
    /// or `others: 1`, `share` = sent with `SampleRate`, `left_out`).
    SAMPLED_ITEMS = "tollgate_exporter_sampled_items_total", MetricKind::Counter;
    /// Batches that wait until `sample` decides about their runs (label: exporter).
    SAMPLE_WAITING = "tollgate_exporter_sample_waiting_batches", MetricKind::Gauge;
    /// 1 while the back end refuses the credential or the address, else 0 (label: exporter).
    DENIED = "tollgate_exporter_denied", MetricKind::Gauge;
    /// Batches that the current configuration does not allow to send to this exporter; they stay in the spool (label:
    /// exporter).
    HELD = "tollgate_exporter_blocked_batches", MetricKind::Gauge;
    /// Items that a back end refused and that are kept in the spool's quarantine (label: exporter).
    SET_ASIDE = "tollgate_exporter_quarantined_items_total", MetricKind::Counter;
    /// Quarantined records dropped, oldest first, because the quarantine was larger than `spool.quarantine.max_size`.
    QUARANTINE_EXPIRED = "tollgate_spool_quarantine_expired_records_total", MetricKind::Counter;
    /// Series whose totals an exporter with `deltatocumulative` keeps (label: exporter).
    CUMULATIVE_STREAMS = "tollgate_exporter_cumulative_streams", MetricKind::Gauge;
    /// Series dropped because there were more than `max_streams` (label: exporter).
    CUMULATIVE_EVICTED = "tollgate_exporter_cumulative_evicted_total", MetricKind::Counter;
    /// Delta points left out of the totals (labels: exporter; reason: `older` = a repeat or too late, `invalid`).
    CUMULATIVE_DROPPED = "tollgate_exporter_cumulative_dropped_points_total", MetricKind::Counter;
    /// Failures to read the spool for an exporter (label: exporter).
    READ_FAILURES = "tollgate_exporter_spool_read_failures_total", MetricKind::Counter;

    // --- spool ---
    /// Bytes of all spool files, including preallocated space.
    SPOOL_BYTES = "tollgate_spool_bytes", MetricKind::Gauge;
    /// Maximum bytes of all spool files.
    SPOOL_LIMIT_BYTES = "tollgate_spool_limit_bytes", MetricKind::Gauge;
    /// Seconds until the spool is full at the rate of the last minutes; 36000000 (10,000 hours) if it is not growing.
    SPOOL_TIME_LEFT = "tollgate_spool_time_left_seconds", MetricKind::Gauge;
    /// Age of the oldest record still waiting for a consumer, in seconds; without those of
    /// tollgate_spool_unread_seconds.
    SPOOL_OLDEST_SECONDS = "tollgate_spool_oldest_seconds", MetricKind::Gauge;
    /// Age of the oldest record that waits for a consumer that nothing reads, in seconds: the quarantine, an exporter
    /// that is not configured any more, or held data (label: consumer; tollgate_spool_pending_bytes has the bytes).
    SPOOL_UNREAD_SECONDS = "tollgate_spool_unread_seconds", MetricKind::Gauge;
    /// Records in the spool that wait for the consumer.
    SPOOL_PENDING_RECORDS = "tollgate_spool_pending_records", MetricKind::Gauge;
    /// Bytes in the spool that wait for the consumer.
    SPOOL_PENDING_BYTES = "tollgate_spool_pending_bytes", MetricKind::Gauge;
    /// Group commits; each is one write and one sync.
    SPOOL_COMMITS = "tollgate_spool_commits_total", MetricKind::Counter;
    /// Time to sync a group commit, in seconds.
    SPOOL_FSYNC_SECONDS = "tollgate_spool_fsync_seconds", MetricKind::Histogram(SECONDS);
    /// Refused reservations of spool space, by reason.
    SPOOL_REFUSED = "tollgate_spool_refused_total", MetricKind::Counter;
    /// Bytes free for tollgate on the volume of the spool or of a vault that is a folder (label: volume = spool, or the
    /// vault's processor).
    VOLUME_FREE_BYTES = "tollgate_volume_free_bytes", MetricKind::Gauge;
    /// Size of the same volume, in bytes (label: volume).
    VOLUME_SIZE_BYTES = "tollgate_volume_size_bytes", MetricKind::Gauge;
    /// 1 after a write to the spool failed and the process must be restarted.
    SPOOL_POISONED = "tollgate_spool_poisoned", MetricKind::Gauge;

    // --- vault ---
    /// Sealed fragments handed to the spool (label: processor).
    VAULT_FRAGMENTS = "tollgate_vault_fragments_total", MetricKind::Counter;
    /// Content that was sealed, in bytes of canonical JSON (label: processor).
    VAULT_CONTENT_BYTES = "tollgate_vault_content_bytes_total", MetricKind::Counter;
    /// Values of agents' items that moved to the vault because no list names their keys, leaving `[CONTENT]`; the
    /// Gateway page shows the configuration line that keeps them (labels: processor; key: the name, `other` beyond the
    /// first few hundred; rule: `labels`, `guess` for content by the key's name or the value's shape, or `privacy` for
    /// values that the profile moved).
    VAULT_MOVED_VALUES = "tollgate_vault_unlisted_values_total", MetricKind::Counter;
    /// 1 for a service that sends agents' operations and is not declared in `vault.agents`; the Gateway page shows the
    /// configuration line that declares it (labels: processor; service: the name, `other` beyond the first few hundred;
    /// closed: `true` if all its items are closed because an earlier version took it for an agent's, else `false`).
    UNDECLARED_AGENT_SERVICES = "tollgate_undeclared_agent_services", MetricKind::Gauge;
    /// 1 for the privacy profile in force, else 0 (labels: processor; profile: `standard`, `strict`).
    VAULT_PRIVACY = "tollgate_vault_privacy", MetricKind::Gauge;
    /// Memory for content that later turns of a session may refer to, in bytes (label: processor).
    VAULT_CONTEXT_BYTES = "tollgate_vault_context_bytes", MetricKind::Gauge;
    /// Items whose content was dropped because there is no store (label: processor).
    VAULT_DROPPED_ITEMS = "tollgate_vault_dropped_items_total", MetricKind::Counter;
    /// Reference attributes sent by clients that were removed or renamed (label: processor).
    VAULT_FORGED_REFERENCES = "tollgate_vault_forged_references_total", MetricKind::Counter;
    /// Attempts to write an object to the store (labels: processor, kind, outcome).
    VAULT_UPLOADS = "tollgate_vault_uploads_total", MetricKind::Counter;
    /// Time of one write of an object to the store, in seconds (labels: processor; outcome: as in
    /// tollgate_vault_uploads_total).
    VAULT_PUT_SECONDS = "tollgate_vault_put_duration_seconds", MetricKind::Histogram(SECONDS);
    /// Committed bytes that are not in the store yet (label: processor).
    VAULT_PENDING_BYTES = "tollgate_vault_pending_bytes", MetricKind::Gauge;
    /// Age of the oldest committed record that is not in the store yet, in seconds (label: processor).
    VAULT_UPLOAD_LAG = "tollgate_vault_upload_lag_seconds", MetricKind::Gauge;
    /// Objects whose copy in the store differs or was damaged: check memory, disk and store (label: processor).
    VAULT_CORRUPT_UPLOADS = "tollgate_vault_corrupt_uploads_total", MetricKind::Counter;
    /// Vault records damaged in the spool; their content is not stored (label: processor).
    VAULT_DAMAGED_RECORDS = "tollgate_vault_damaged_records_total", MetricKind::Counter;
    /// Times that a chain had to leave its epoch: investigate; `fork` means that two processes believe to be the same
    /// writer (labels: processor, reason).
    VAULT_CHAIN_BREAKS = "tollgate_vault_chain_breaks_total", MetricKind::Counter;
    /// Lines in the chain that only record that a line was lost (label: processor).
    VAULT_GAP_LEAVES = "tollgate_vault_gap_leaves_total", MetricKind::Counter;

    // --- cost and rates ---
    /// Cost of priced calls by the rate table, in USD; only grows (labels: tenant, model, provider; billing = api (to
    /// pay), subscription or provisioned (a plan covers it)).
    COST_USD = "tollgate_cost_usd_total", MetricKind::Sum;
    /// Cost that corrections took back, in USD: subtract it from tollgate_cost_usd_total; only grows (labels: as
    /// there).
    COST_CORRECTED_USD = "tollgate_cost_corrected_usd_total", MetricKind::Sum;
    /// What caching saved by the rate table, in USD: cached tokens would have cost so much more as uncached input. Less
    /// tollgate_cost_cache_lost_usd_total it is the net saving; only grows (labels: as tollgate_cost_usd_total).
    COST_CACHE_SAVED_USD = "tollgate_cost_cache_saved_usd_total", MetricKind::Sum;
    /// What caching cost more, in USD, in calls whose cache writes cost more than their reads saved, and corrections of
    /// savings; only grows (labels: as there).
    COST_CACHE_LOST_USD = "tollgate_cost_cache_lost_usd_total", MetricKind::Sum;
    /// Cost in the other currency that is configured; only grows (labels: currency, tenant, model, provider).
    COST_AMOUNT = "tollgate_cost_amount_total", MetricKind::Sum;
    /// Cost in the other currency that corrections took back: subtract it from tollgate_cost_amount_total; only grows
    /// (labels: as there).
    COST_CORRECTED_AMOUNT = "tollgate_cost_corrected_amount_total", MetricKind::Sum;
    /// Amounts that got none in the other currency, because cost.exchange has no rate for the time of the call.
    COST_UNCONVERTED = "tollgate_cost_unconverted_total", MetricKind::Counter;
    /// Records of model calls, by cost status (label: status).
    COST_CALLS = "tollgate_cost_calls_total", MetricKind::Counter;
    /// Calls that should have a price but have none (labels: provider, model, reason, nearest = the most similar
    /// listed id); reason no_usage: the client reports no tokens, for OpenAI streams until
    /// stream_options.include_usage is on.
    COST_UNPRICED = "tollgate_cost_unpriced_total", MetricKind::Counter;
    /// Tokens of calls without a price (labels: provider, model).
    COST_UNPRICED_TOKENS = "tollgate_cost_unpriced_tokens_total", MetricKind::Counter;
    /// Calls that were not billed, by reason: billed_signal_missing (the record that is billed never arrived),
    /// no_tokens (images, speech and the like, sold by another unit) (labels: dialect, reason).
    COST_UNBILLED = "tollgate_cost_unbilled_calls_total", MetricKind::Counter;
    /// Calls with a token count under an unrecognized usage key; the count is not in the price (label: key).
    COST_UNRECOGNIZED_USAGE = "tollgate_cost_unrecognized_usage_total", MetricKind::Counter;
    /// Calls whose client reported a different cost.
    COST_MISMATCH = "tollgate_cost_reported_mismatch_total", MetricKind::Counter;
    /// Records of calls that were forgotten, because of their age or for lack of room; a later copy would count again.
    COST_FORGOTTEN = "tollgate_cost_claims_evicted", MetricKind::Gauge;
    /// Calls without a model of their own that could not wait for a parent that has one, because too many were
    /// waiting; they have no price.
    COST_WAITING_FULL = "tollgate_cost_wait_rejected_total", MetricKind::Counter;
    /// Parents with a model that were dropped early for lack of room.
    COST_PARENTS_FORGOTTEN = "tollgate_cost_parents_evicted_total", MetricKind::Counter;
    /// The rate table in use; always 1 (labels: version (including overlays), sha256).
    RATES_INFO = "tollgate_rates_info", MetricKind::Gauge;
    /// Seconds since the rate table in use was last known to be the newest (without `refresh`: since the start).
    RATES_AGE = "tollgate_rates_age_seconds", MetricKind::Gauge;
    /// 1 if the last check for a newer rate table failed, else 0; the last valid table stays in use.
    RATES_REFRESH_FAILED = "tollgate_rates_refresh_failed", MetricKind::Gauge;
    /// Checks for a newer rate table (label: outcome = same, taken or refused).
    RATES_REFRESHES = "tollgate_rates_refreshes_total", MetricKind::Counter;

    // --- normalize, vocabulary ---
    /// Items, by the dialect they were recognised as (labels: dialect, signal).
    DIALECT_ITEMS = "tollgate_dialect_items_total", MetricKind::Counter;
    /// Attributes that the conventions require and that no key of the item provides (labels: dialect, attribute).
    MISSING_ATTRIBUTES = "tollgate_missing_attributes_total", MetricKind::Counter;
    /// Users and tenants that clients named and their credential does not prove; they moved to `tollgate.claimed.*`
    /// (labels: processor, kind).
    CLAIMED_IDENTITIES = "tollgate_claimed_identities_total", MetricKind::Counter;
    /// Attributes reserved for tollgate that clients sent; they were removed (label: processor).
    CLIENT_STAMPS = "tollgate_client_stamps_removed_total", MetricKind::Counter;

    // --- runs (values of labels that come from telemetry are limited, see `labels`; others are `other`) ---
    /// Duration of a session from its first to its last event, in seconds, by its main model.
    SESSION_DURATION = "agent_session_duration_seconds", MetricKind::Histogram(LONG_SECONDS);
    /// Answered model calls in a session.
    SESSION_LLM_CALLS = "agent_session_llm_calls", MetricKind::Histogram(COUNTS);
    /// Calls of one tool in a session.
    SESSION_TOOL_CALLS = "agent_session_tool_calls", MetricKind::Histogram(COUNTS);
    /// Cost of a session by its user's pseudonym, in USD (labels: feature, user_key). No alert uses it: a user's first
    /// session begins a series, so it is no increase.
    USER_SESSION_COST = "agent_user_session_cost_usd", MetricKind::Histogram(USD);
    /// Cost of a session, in USD.
    SESSION_COST = "agent_session_cost_usd", MetricKind::Histogram(USD);
    /// Sessions that ended.
    SESSIONS = "agent_sessions_total", MetricKind::Counter;
    /// Ended sessions in which a run failed.
    SESSION_ERRORS = "agent_session_errors_total", MetricKind::Counter;
    /// Seconds from a streamed model call's request to the first piece of its answer, of the record that is charged
    /// (labels: model, provider).
    FIRST_CHUNK = "agent_time_to_first_chunk_seconds", MetricKind::Histogram(SECONDS);
    /// Input tokens of one model in a run, including cached ones.
    TURN_INPUT_TOKENS = "agent_turn_input_tokens", MetricKind::Histogram(TOKENS);
    /// Output tokens of one model in a run.
    TURN_OUTPUT_TOKENS = "agent_turn_output_tokens", MetricKind::Histogram(TOKENS);
    /// Iterations of a run's loop: as reported, else the number of its own model calls.
    RUN_ITERATIONS = "agent_run_iterations", MetricKind::Histogram(COUNTS);
    /// Duration of a run, in seconds.
    RUN_DURATION = "agent_run_duration_seconds", MetricKind::Histogram(LONG_SECONDS);
    /// Cost of a run, in USD.
    RUN_COST = "agent_run_cost_usd", MetricKind::Histogram(USD);
    /// Runs that are over, by state: ended, failed, killed, idle, evicted (labels: state, tenant, feature).
    RUNS = "agent_runs_total", MetricKind::Counter;
    /// Cost of runs, in USD; only grows (label: agent_type).
    ESTIMATED_COST = "agent_estimated_cost_usd", MetricKind::Gauge;
    /// Tool calls of a run that were retried after the same tool failed (label: feature).
    RUN_TOOL_RETRIES = "agent_run_tool_retries", MetricKind::Histogram(COUNTS);
    /// Tool calls, counted on arrival (label: tool_name).
    TOOL_CALLS = "agent_tool_calls_total", MetricKind::Counter;
    /// Failed tool calls, counted on arrival (label: tool_name).
    TOOL_FAILURES = "agent_tool_failures_total", MetricKind::Counter;
    /// Model calls and turns of finished runs, by how they ended (label: reason, in one spelling each).
    FINISHES = "agent_turn_finish_total", MetricKind::Counter;
    /// Failures of model calls, tools and turns of finished runs (label: error_type).
    RUN_ERRORS = "agent_errors_total", MetricKind::Counter;
    /// Model calls that were refused, rate-limited, overloaded or failed (labels: reason, provider, tenant, template).
    MODEL_TROUBLES = "agent_model_call_failures_total", MetricKind::Counter;
    /// Changes to another model (labels: reason = refusal, rate_limited_429, overloaded_529 or other; provider,
    /// tenant, template).
    FALLBACKS = "agent_fallback_total", MetricKind::Counter;
    /// Denied permissions (labels: tool, source).
    PERMISSION_DENIALS = "agent_permission_denials_total", MetricKind::Counter;
    /// Investigations: incidents with a finished run (label: agent_type).
    INVESTIGATIONS = "agent_investigations_total", MetricKind::Counter;
    /// Investigations in which a human overrode the decision (label: agent_type).
    OVERRIDES = "agent_human_override_count", MetricKind::Counter;
    /// 95th percentile of tool calls per investigation (label: agent_type).
    TOOL_CALLS_P95 = "agent_tool_calls_per_investigation_p95", MetricKind::Gauge;
    /// New or changed evaluations of runs; a repeat does not count (labels: name, label, tenant, feature).
    EVALUATIONS = "agent_evaluations_total", MetricKind::Counter;
    /// Scores of these evaluations (labels: name, tenant, feature).
    EVALUATION_SCORE = "agent_evaluation_score", MetricKind::Histogram(SCORES);
    /// Numeric span attributes (labels: measure, service, tenant, commit).
    MEASURE = "agent_measure", MetricKind::Histogram(MEASURES);
    /// Alerts computed by tollgate that began to fire (labels: rule, tenant).
    ALERTS = "agent_alert_total", MetricKind::Counter;
    /// Decisions of budgets other than `allow`, and grants (labels: budget; action = ask, deny, shadow, grant).
    BUDGET_DECISIONS = "agent_budget_decisions_total", MetricKind::Counter;
    /// What each key of a budget has used in the current period; only the most used keys (labels: account, budget, key,
    /// measure).
    BUDGET_SPENT = "agent_budget_spent", MetricKind::Gauge;
    /// The limits of these keys, with grants (labels: account, budget, key, measure).
    BUDGET_LIMIT = "agent_budget_limit", MetricKind::Gauge;
    /// Cost in USD of ended runs in whose session no hook or proxy asked, while a budget can stop agents.
    BUDGET_UNASKED_USD = "agent_budget_unasked_cost_usd_total", MetricKind::Sum;
    /// Alert messages for the webhook (label: outcome = sent, failed, or dropped from the full queue).
    ALERT_MESSAGES = "tollgate_alert_messages_total", MetricKind::Counter;
    /// Measures that were left out because they were negative, not finite or above 1e15.
    MEASURES_REFUSED = "tollgate_measures_refused_total", MetricKind::Counter;
    /// Run events that a connector could not emit in time; the oldest are dropped.
    RUN_EVENTS_DROPPED = "tollgate_run_events_dropped_total", MetricKind::Counter;
    /// Requests made by a connector and accepted by the engine (label: connector).
    CONNECTOR_TOLD = "tollgate_connector_requests_total", MetricKind::Counter;
    /// Requests made by a connector and refused for good by its pipelines (label: connector).
    CONNECTOR_REFUSED = "tollgate_connector_refused_total", MetricKind::Counter;
    /// Runs whose end was not reported yet.
    RUNS_LIVE = "tollgate_runs_live", MetricKind::Gauge;
    /// Runs dropped before they ended, for lack of room.
    RUNS_EVICTED = "tollgate_runs_evicted_total", MetricKind::Counter;
    /// Ended runs, and deletions of runs that became part of others, that were dropped because `history.sqlite` could
    /// not be written for too long: pages miss those runs, or show them twice.
    ENDED_RUNS_DROPPED = "tollgate_ended_runs_dropped_total", MetricKind::Counter;
    /// Calls that were added to the sums of their run without being kept one by one: their session, or its traces, has
    /// 20,000 items.
    RUN_ITEMS_SUMMED = "tollgate_run_items_summed_total", MetricKind::Counter;

    // --- redact ---
    /// Private texts replaced, by rule and signal.
    REDACTIONS = "tollgate_redactions_total", MetricKind::Counter;
    /// Private texts replaced, by place (labels: signal, place: key, value, body, name, status, other).
    REDACTIONS_BY_PLACE = "tollgate_redactions_by_place_total", MetricKind::Counter;
    /// Attributes dropped because their key names a credential (or content, on metrics), by signal.
    REDACT_DROPPED_ATTRIBUTES = "tollgate_redact_dropped_attributes_total", MetricKind::Counter;
    /// Texts (errors, status messages, span names, log bodies) from which repeated content was removed, by signal.
    REDACT_ECHOES = "tollgate_redact_echoes_total", MetricKind::Counter;
    /// Memory for fingerprints of content from earlier requests, in bytes.
    ECHO_MEMORY_BYTES = "tollgate_echo_memory_bytes", MetricKind::Gauge;
    /// Values cut to their maximum length, by signal.
    REDACT_CUT_VALUES = "tollgate_redact_cut_values_total", MetricKind::Counter;
    /// Values that could not be searched completely: bytes that are not text, and texts that are too long or nested
    /// too deep (label: signal).
    REDACT_UNSCANNED_VALUES = "tollgate_redact_unscanned_values_total", MetricKind::Counter;
    /// Calls of the external recogniser (labels: processor, outcome).
    RECOGNISER_CALLS = "tollgate_recogniser_calls_total", MetricKind::Counter;
    /// Time of one recogniser call, in seconds (label: processor).
    RECOGNISER_SECONDS = "tollgate_recogniser_seconds", MetricKind::Histogram(SECONDS);
    /// Texts sent to the recogniser (label: processor).
    RECOGNISER_TEXTS = "tollgate_recogniser_texts_total", MetricKind::Counter;
    /// Bytes of text sent to the recogniser (label: processor).
    RECOGNISER_BYTES = "tollgate_recogniser_text_bytes_total", MetricKind::Counter;
    /// Requests that clients must retry because the recogniser gave no answer (label: processor).
    RECOGNISER_HELD = "tollgate_recogniser_unanswered_requests_total", MetricKind::Counter;
    /// Texts replaced by `[UNSCANNED]` because the recogniser gave no answer (label: processor).
    RECOGNISER_UNSCANNED = "tollgate_recogniser_unscanned_texts_total", MetricKind::Counter;

    // --- process ---
    /// Information about the running build; always 1.
    INFO = "tollgate_info", MetricKind::Gauge;
    /// Resident memory of this process, in bytes.
    RSS = "otelcol_process_memory_rss", MetricKind::Gauge;
    /// Memory that this process may use, in bytes: `limits.memory`, else the cgroup's limit, else the machine's
    /// memory.
    MEMORY_LIMIT = "tollgate_memory_limit_bytes", MetricKind::Gauge;
    /// Memory used of that limit, in bytes, without cache that the system can reclaim.
    MEMORY_USED = "tollgate_memory_used_bytes", MetricKind::Gauge;
    /// Memory pressure: 0 none, 1 new requests must be retried, 2 one request at a time.
    MEMORY_PRESSURE = "tollgate_memory_pressure", MetricKind::Gauge;
    /// Exports of tollgate's own metrics (label: outcome = sent or failed).
    OWN_EXPORTS = "tollgate_own_metrics_exports_total", MetricKind::Counter;
    /// Processor time of this process, user and system, in seconds.
    CPU = "otelcol_process_cpu_seconds_total", MetricKind::Sum;
    /// Seconds since this process started.
    UPTIME = "otelcol_process_uptime", MetricKind::Gauge;
}

#[cfg(test)]
mod tests;
