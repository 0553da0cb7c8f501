//! Removes keys of Collector components that change no data here, with a note on what applies instead, and reports keys
//! that belong elsewhere as errors that say where. A file that works with a Collector must load, and its owner must
//! learn what each key became. Values are never quoted. Whole components are handled in `collector_compat`; keys that
//! tollgate has too are in each component's `config`.

use config::tree::{MapKey, NodeValue, TreeNode};
use config::{Problem, ProblemSeverity};

/// The report for a key.
enum KeyReport {
    /// A warning with the text, unless the value is one of the listed ones.
    Note(&'static [&'static str], &'static str),
    /// An error with the text, unless the value is one of the listed ones.
    Error(&'static [&'static str], &'static str),
}
use KeyReport::{Error, Note};

/// Rows for the components of a section: component types, path below the component, report.
type KeyReportTable = &'static [(&'static [&'static str], &'static str, KeyReport)];

const OTLP: &[&str] = &["otlp"];
const REMOTE: &[&str] = &["otlp", "otlp_grpc", "otlp_http", "otlphttp"];
const GRPC: &[&str] = &["otlp", "otlp_grpc"];
const HTTP: &[&str] = &["otlp_http", "otlphttp"];
const DEBUG: &[&str] = &["debug"];
const KAFKA: &[&str] = &["kafka"];
const HEALTH: &[&str] = &["health_check"];

const MIN_TLS_VERSION: KeyReport = Error(
    &["", "1.0", "1.1", "1.2"],
    "is not supported: tollgate speaks TLS 1.2 (with forward secrecy) and 1.3; remove the key, or terminate TLS in a proxy",
);
const MAX_TLS_VERSION: KeyReport =
    Note(&["", "1.3"], "is not used: tollgate speaks TLS 1.2 (with forward secrecy) and 1.3");
const CIPHER_SUITES: KeyReport =
    Note(&[], "is not used: tollgate offers the suites of TLS 1.3 and those of TLS 1.2 with forward secrecy");
const CURVES: KeyReport = Note(&[], "is not used: tollgate offers X25519, P-256 and P-384");
const SERVER_AUTH: KeyReport = Error(
    &[],
    "must be next to `protocols`, where it applies to both: `auth: { tokens: { ACCOUNT: [\"${env:TOKEN}\"] } }`, or `basic: { ACCOUNT: [\"user:password\"] }`",
);
const CONNECTION_POOL: KeyReport = Note(&[], "is not used: connections are opened and kept as needed");
const BUFFER_SIZE: KeyReport = Note(&[], "is not used: buffers grow as needed");
const KEEPALIVE: KeyReport = Note(&[], "is not used: idle connections are pinged automatically");

const KAFKA_OFFSETS: KeyReport = Note(&[], "is not used: a record's offset is committed once the spool has it on disk");
const KAFKA_CLIENT: KeyReport = Note(&[], "is not used: the client chooses it");
const KAFKA_PARTITIONS: KeyReport = Error(&["false"], "is not supported: the brokers' client chooses the partition");

const RECEIVERS: KeyReportTable = &[
    (KAFKA, "protocol_version", KAFKA_CLIENT),
    (KAFKA, "metadata", KAFKA_CLIENT),
    (KAFKA, "resolve_canonical_bootstrap_servers_only", KAFKA_CLIENT),
    (KAFKA, "heartbeat_interval", KAFKA_CLIENT),
    (KAFKA, "group_rebalance_strategy", KAFKA_CLIENT),
    (KAFKA, "min_fetch_size", KAFKA_CLIENT),
    (KAFKA, "default_fetch_size", KAFKA_CLIENT),
    (KAFKA, "max_fetch_size", KAFKA_CLIENT),
    (KAFKA, "max_fetch_wait", KAFKA_CLIENT),
    (KAFKA, "error_backoff", KAFKA_CLIENT),
    (KAFKA, "autocommit", KAFKA_OFFSETS),
    (KAFKA, "message_marking", KAFKA_OFFSETS),
    (KAFKA, "initial_offset", Error(&["earliest"], "is not supported: a new group reads from the earliest record")),
    (KAFKA, "header_extraction", Error(&[], "is not supported: headers of records are not read")),
    (OTLP, "protocols.grpc.tls.min_version", MIN_TLS_VERSION),
    (OTLP, "protocols.http.tls.min_version", MIN_TLS_VERSION),
    (OTLP, "protocols.grpc.tls.max_version", MAX_TLS_VERSION),
    (OTLP, "protocols.http.tls.max_version", MAX_TLS_VERSION),
    (OTLP, "protocols.grpc.tls.cipher_suites", CIPHER_SUITES),
    (OTLP, "protocols.http.tls.cipher_suites", CIPHER_SUITES),
    (OTLP, "protocols.grpc.tls.curve_preferences", CURVES),
    (OTLP, "protocols.http.tls.curve_preferences", CURVES),
    (OTLP, "protocols.grpc.tls.client_ca_file_reload", CLIENT_CA_RELOAD),
    (OTLP, "protocols.http.tls.client_ca_file_reload", CLIENT_CA_RELOAD),
    (OTLP, "protocols.grpc.auth", SERVER_AUTH),
    (OTLP, "protocols.http.auth", SERVER_AUTH),
];
const CLIENT_CA_RELOAD: KeyReport = Note(&["true"], "is not used: files are read again when they change");

const EXPORTERS: KeyReportTable = &[
    (KAFKA, "protocol_version", KAFKA_CLIENT),
    (KAFKA, "metadata", KAFKA_CLIENT),
    (KAFKA, "resolve_canonical_bootstrap_servers_only", KAFKA_CLIENT),
    (KAFKA, "producer.compression", KAFKA_CLIENT),
    (KAFKA, "producer.compression_params", KAFKA_CLIENT),
    (KAFKA, "producer.flush_max_messages", KAFKA_CLIENT),
    (
        KAFKA,
        "producer.required_acks",
        Note(&["-1", "all"], "is not used: a record counts as sent once all replicas in sync have it"),
    ),
    (KAFKA, "producer.allow_auto_topic_creation", Note(&["false"], "is not used: topics must exist")),
    (KAFKA, "producer.linger", KAFKA_CLIENT),
    (KAFKA, "producer", Error(&[], "has keys that tollgate does not have")),
    (KAFKA, "partition_traces_by_id", KAFKA_PARTITIONS),
    (KAFKA, "partition_metrics_by_resource_attributes", KAFKA_PARTITIONS),
    (KAFKA, "partition_logs_by_resource_attributes", KAFKA_PARTITIONS),
    (KAFKA, "topic_from_attribute", Error(&[""], "is not supported: each signal has one topic")),
    (REMOTE, "tls.min_version", MIN_TLS_VERSION),
    (REMOTE, "tls.max_version", MAX_TLS_VERSION),
    (REMOTE, "tls.cipher_suites", CIPHER_SUITES),
    (REMOTE, "tls.curve_preferences", CURVES),
    (REMOTE, "compression_params", Note(&[], "is not used: gzip and zstd use compression level 1")),
    (REMOTE, "sending_queue.blocking", Note(&["false"], "is not used: a full spool refuses requests at once")),
    (REMOTE, "read_buffer_size", BUFFER_SIZE),
    (REMOTE, "write_buffer_size", BUFFER_SIZE),
    (
        REMOTE,
        "auth",
        Error(
            &[],
            "is not supported: put the back end's credential into `headers: { authorization: \"Bearer ${env:TOKEN}\" }`",
        ),
    ),
    (GRPC, "keepalive", KEEPALIVE),
    (
        GRPC,
        "balancer_name",
        Note(&[], "is not used: tollgate uses one connection at a time, to an address that answers"),
    ),
    (GRPC, "wait_for_ready", Note(&[], "is not used: data that can't be sent waits in the spool")),
    (GRPC, "authority", Note(&[], "is not used: requests carry the host of `endpoint`")),
    (HTTP, "max_idle_conns", CONNECTION_POOL),
    (HTTP, "max_idle_conns_per_host", CONNECTION_POOL),
    (HTTP, "max_conns_per_host", CONNECTION_POOL),
    (HTTP, "idle_conn_timeout", CONNECTION_POOL),
    (HTTP, "disable_keep_alives", CONNECTION_POOL),
    (HTTP, "force_attempt_http2", CONNECTION_POOL),
    (HTTP, "http2_read_idle_timeout", KEEPALIVE),
    (HTTP, "http2_ping_timeout", KEEPALIVE),
    (HTTP, "encoding", Error(&["proto"], "is not supported: requests are protobuf, which every OTLP back end accepts")),
    (
        HTTP,
        "proxy_url",
        Error(
            &[""],
            "is not supported: set HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in the environment, for all exporters",
        ),
    ),
    (DEBUG, "sampling_initial", DEBUG_SAMPLING),
    (DEBUG, "sampling_thereafter", DEBUG_SAMPLING),
    (
        DEBUG,
        "use_internal_logger",
        Note(&["false"], "is not used: the exporter prints to standard output, apart from the log"),
    ),
    (
        DEBUG,
        "output_paths",
        Note(
            &["stdout"],
            "is not used: the exporter prints to standard output; to write to a file, use the exporter `file`",
        ),
    ),
];
const DEBUG_SAMPLING: KeyReport = Note(&[], "is not used: every request is printed");

const PROCESSORS: KeyReportTable = &[
    (&["filter"], "error_mode", Note(&[], "is not used: conditions can't fail here")),
    (&["filter"], "traces", FILTER_CONDITIONS),
    (&["filter"], "logs", FILTER_CONDITIONS),
    (&["filter"], "metrics", FILTER_CONDITIONS),
    (&["filter"], "spans", FILTER_CONDITIONS),
];
const FILTER_CONDITIONS: KeyReport = Error(
    &[],
    "contains conditions that are not supported (OTTL, `include`, `regexp`): write `drop: [{ name: health, signals: [traces], names: [\"GET /health*\"] }]`, \
     or `attributes: { http.route: \"/health*\" }`, `severity_below: warn`",
);

const EXTENSIONS: KeyReportTable = &[
    (HEALTH, "check_collector_pipeline", Note(&[], "is not used: `/readyz` reports whether requests are accepted")),
    (HEALTH, "response_body", Note(&[], "is not used: the answer is `ok` or the reason for not being ready")),
];

/// Keys of `service.telemetry.logs`; the rows name no component type.
const LOGS: KeyReportTable = &[
    (&[], "logs.encoding", Note(&["json"], "is not used: the log is text on a terminal, JSON otherwise")),
    (&[], "logs.sampling", Note(&[], "is not used: the same line is written ten times in ten seconds, then counted")),
    (&[], "logs.output_paths", Note(&["stderr"], "is not used: the log goes to the standard error")),
    (&[], "logs.error_output_paths", Note(&["stderr"], "is not used: the log goes to the standard error")),
    (&[], "logs.initial_fields", Note(&[], "is not used")),
    (&[], "logs.development", Note(&["false"], "is not used")),
    (&[], "logs.disable_caller", Note(&["true"], "is not used: log lines contain no source location")),
    (&[], "logs.disable_stacktrace", Note(&["true"], "is not used: log lines contain no stack trace")),
    (&[], "logs.processors", Note(&[], "is not used: the log goes only to standard error")),
];

/// Removes the Collector's keys from `body`, a component of type `kind` at `path`.
pub(crate) fn remove_component_keys(
    section: &str,
    kind: &str,
    path: &str,
    body: &mut TreeNode,
    notes: &mut Vec<Problem>,
) {
    let table = match section {
        "receivers" => RECEIVERS,
        "processors" => PROCESSORS,
        "exporters" => EXPORTERS,
        _ => EXTENSIONS,
    };
    remove_keys(table.iter().filter(|(kinds, ..)| kinds.contains(&kind)), path, body, notes);
    if section == "processors" && ["attributes", "resource"].contains(&kind) {
        check_actions(if kind == "resource" { "attributes" } else { "actions" }, path, body, notes);
    }
}

/// Actions of the Collector's attributes processor that tollgate does not have.
const UNSUPPORTED_ACTIONS: [(&str, &str); 3] = [
    (
        "hash",
        "`hash` is not supported, because a plain hash can be reversed by trying values: write the keyed `redact: { custom: [{ name: ACCOUNT_ID, keys: [account.id] }], \
         options: { account_id: { as: pseudonym } } }`",
    ),
    (
        "extract",
        "`extract` is not supported: run it in a Collector in front of tollgate, so that the value is split before redaction",
    ),
    (
        "convert",
        "`convert` is not supported: write the value with its type, `{ action: upsert, value: 1 }`, or convert it in a Collector",
    ),
];

/// Reports attribute actions that tollgate does not have, and replaces each by a plain `delete` so that the rest of the
/// list can be checked.
fn check_actions(field: &str, path: &str, body: &mut TreeNode, notes: &mut Vec<Problem>) {
    let NodeValue::Map(entries) = &mut body.value else { return };
    let list = entries.iter_mut().find(|(key, _)| key.name == field);
    let Some((_, TreeNode { value: NodeValue::Seq(items), .. })) = list else { return };
    for (index, item) in items.iter_mut().enumerate() {
        let action = item.get("action").map(|(_, action)| (action.at, action.value.clone()));
        let Some((position, NodeValue::Str(action))) = action else { continue };
        let Some((_, message)) = UNSUPPORTED_ACTIONS.iter().find(|(name, _)| *name == action) else { continue };
        notes.push(Problem::error(Some(position), format!("{path}.{field}[{index}].action"), *message));
        let NodeValue::Map(entries) = &mut item.value else { continue };
        entries.retain(|(key, _)| ["key", "action"].contains(&key.name.as_str()));
        for (_, action) in entries.iter_mut().filter(|(key, _)| key.name == "action") {
            action.value = NodeValue::Str("delete".to_owned());
        }
    }
}

/// Removes the Collector's keys from `service.telemetry`.
pub(super) fn remove_telemetry_keys(body: &mut TreeNode, notes: &mut Vec<Problem>) {
    remove_keys(LOGS.iter(), "service.telemetry", body, notes);
}

fn remove_keys<'t>(
    keys: impl Iterator<Item = &'t (&'static [&'static str], &'static str, KeyReport)>,
    path: &str,
    body: &mut TreeNode,
    notes: &mut Vec<Problem>,
) {
    for (_, field, report) in keys {
        let Some((key, value)) = remove_entry(body, field) else { continue };
        let (severity, accepted, message) = match report {
            Note(accepted, message) => (ProblemSeverity::Warning, accepted, message),
            Error(accepted, message) => (ProblemSeverity::Error, accepted, message),
        };
        if !is_one_of(&value, accepted) {
            notes.push(Problem { severity, ..Problem::error(Some(key.at), format!("{path}.{field}"), *message) });
        }
    }
}

/// Removes and returns the entry at `path` (`auth.tls`).
pub(crate) fn remove_entry(node: &mut TreeNode, path: &str) -> Option<(MapKey, TreeNode)> {
    let NodeValue::Map(entries) = &mut node.value else { return None };
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let index = entries.iter().position(|(key, _)| key.name == name)?;
    if rest.is_empty() { Some(entries.remove(index)) } else { remove_entry(&mut entries.get_mut(index)?.1, rest) }
}

/// Whether the value is empty (as a map without entries is) or one of `accepted`, or a list whose items all are.
fn is_one_of(value: &TreeNode, accepted: &[&str]) -> bool {
    match (&value.value, &value.raw) {
        (NodeValue::Null, _) => true,
        (NodeValue::Str(text), _) | (_, Some(text)) => accepted.contains(&text.as_str()),
        (NodeValue::Seq(items), _) => items.iter().all(|item| is_one_of(item, accepted)),
        (NodeValue::Map(entries), _) => entries.is_empty(),
        _ => false,
    }
}
