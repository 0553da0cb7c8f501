//! Removes keys of Collector components that change no data here, with a note on what applies instead, and reports keys
//! that belong elsewhere as errors that say where. A file that works with a Collector must load, and its owner must
//! learn what each key became. Values are never quoted. Whole components are handled in `collector`; keys that tollgate
//! has too are in each component's `config`.

use config::tree::{Key, Node, Val};
use config::{Gravity, Problem};

/// The report for a key.
enum Said {
    /// A warning with this text, unless the value is one of these.
    Note(&'static [&'static str], &'static str),
    /// An error with this text, unless the value is one of these.
    Error(&'static [&'static str], &'static str),
}
use Said::{Error, Note};

/// Rows for the components of a section: component types, path below the component, report.
type Table = &'static [(&'static [&'static str], &'static str, Said)];

const OTLP: &[&str] = &["otlp"];
const REMOTE: &[&str] = &["otlp", "otlp_grpc", "otlp_http", "otlphttp"];
const GRPC: &[&str] = &["otlp", "otlp_grpc"];
const HTTP: &[&str] = &["otlp_http", "otlphttp"];
const DEBUG: &[&str] = &["debug"];
const HEALTH: &[&str] = &["health_check"];

const OLDEST: Said = Error(
    &["", "1.0", "1.1", "1.2"],
    "can't be asked for: TLS 1.2 (with forward secrecy) is spoken beside 1.3; leave it out, or end TLS in front",
);
const NEWEST: Said = Note(&["", "1.3"], "is not used: TLS 1.2 (with forward secrecy) and 1.3 are spoken");
const SUITES: Said = Note(&[], "is not used: the suites of TLS 1.3, and those of 1.2 with forward secrecy, are spoken");
const CURVES: Said = Note(&[], "is not used: X25519, P-256 and P-384 are spoken");
const CLIENTS: Said = Error(
    &[],
    "stands beside `protocols` here, for both: `auth: { tokens: { ACCOUNT: [\"${env:TOKEN}\"] } }`, or `basic: { ACCOUNT: [\"user:password\"] }`",
);
const POOL: Said = Note(&[], "is not used: connections are made and kept as they are needed");
const BUFFER: Said = Note(&[], "is not used: buffers grow as they are needed");
const PINGS: Said = Note(&[], "is not used: silent connections are pinged by themselves");

const RECEIVERS: Table = &[
    (OTLP, "protocols.grpc.tls.min_version", OLDEST),
    (OTLP, "protocols.http.tls.min_version", OLDEST),
    (OTLP, "protocols.grpc.tls.max_version", NEWEST),
    (OTLP, "protocols.http.tls.max_version", NEWEST),
    (OTLP, "protocols.grpc.tls.cipher_suites", SUITES),
    (OTLP, "protocols.http.tls.cipher_suites", SUITES),
    (OTLP, "protocols.grpc.tls.curve_preferences", CURVES),
    (OTLP, "protocols.http.tls.curve_preferences", CURVES),
    (OTLP, "protocols.grpc.tls.client_ca_file_reload", RELOADED),
    (OTLP, "protocols.http.tls.client_ca_file_reload", RELOADED),
    (OTLP, "protocols.grpc.auth", CLIENTS),
    (OTLP, "protocols.http.auth", CLIENTS),
];
const RELOADED: Said = Note(&["true"], "is not used: files are read again when they change");

const EXPORTERS: Table = &[
    (REMOTE, "tls.min_version", OLDEST),
    (REMOTE, "tls.max_version", NEWEST),
    (REMOTE, "tls.cipher_suites", SUITES),
    (REMOTE, "tls.curve_preferences", CURVES),
    (REMOTE, "compression_params", Note(&[], "is not used: gzip and zstd compress at their level 1")),
    (REMOTE, "sending_queue.blocking", Note(&["false"], "is not used: a full spool refuses at once")),
    (REMOTE, "read_buffer_size", BUFFER),
    (REMOTE, "write_buffer_size", BUFFER),
    (
        REMOTE,
        "auth",
        Error(
            &[],
            "is no key here: a back end's credential stands in `headers: { authorization: \"Bearer ${env:TOKEN}\" }`",
        ),
    ),
    (GRPC, "keepalive", PINGS),
    (GRPC, "balancer_name", Note(&[], "is not used: one connection at a time, to an address that answers")),
    (GRPC, "wait_for_ready", Note(&[], "is not used: what can't be sent waits in the spool")),
    (GRPC, "authority", Note(&[], "is not used: requests name the host of `endpoint`")),
    (HTTP, "max_idle_conns", POOL),
    (HTTP, "max_idle_conns_per_host", POOL),
    (HTTP, "max_conns_per_host", POOL),
    (HTTP, "idle_conn_timeout", POOL),
    (HTTP, "disable_keep_alives", POOL),
    (HTTP, "force_attempt_http2", POOL),
    (HTTP, "http2_read_idle_timeout", PINGS),
    (HTTP, "http2_ping_timeout", PINGS),
    (HTTP, "encoding", Error(&["proto"], "is no key here: requests are protobuf, which every OTLP back end takes")),
    (
        HTTP,
        "proxy_url",
        Error(
            &[""],
            "is no key here: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY of the environment hold for all exporters",
        ),
    ),
    (DEBUG, "sampling_initial", ALL_PRINTED),
    (DEBUG, "sampling_thereafter", ALL_PRINTED),
    (
        DEBUG,
        "use_internal_logger",
        Note(&["false"], "is not used: it prints to the standard output, the log goes beside it"),
    ),
    (
        DEBUG,
        "output_paths",
        Note(&["stdout"], "is not used: it prints to the standard output; see the exporter `file`"),
    ),
];
const ALL_PRINTED: Said = Note(&[], "is not used: every request is printed");

const PROCESSORS: Table = &[
    (&["filter"], "error_mode", Note(&[], "is not used: conditions can't fail here")),
    (&["filter"], "traces", CONDITIONS),
    (&["filter"], "logs", CONDITIONS),
    (&["filter"], "metrics", CONDITIONS),
    (&["filter"], "spans", CONDITIONS),
];
const CONDITIONS: Said = Error(
    &[],
    "has conditions of the Collector's, which are not read here: write `drop: [{ name: health, signals: [traces], names: [\"GET /health*\"] }]`, \
     or `attributes: { http.route: \"/health*\" }`, `severity_below: warn`",
);

const EXTENSIONS: Table = &[
    (HEALTH, "check_collector_pipeline", Note(&[], "is not used: `/readyz` says whether more is taken")),
    (HEALTH, "response_body", Note(&[], "is not used: the answer is `ok`, or what is wrong")),
];

/// Keys of `service.telemetry.logs`; the rows name no component type.
const LOGS: Table = &[
    (&[], "logs.encoding", Note(&["json"], "is not used: the log is text on a terminal, JSON otherwise")),
    (&[], "logs.sampling", Note(&[], "is not used: the same line is written ten times in ten seconds, then counted")),
    (&[], "logs.output_paths", Note(&["stderr"], "is not used: the log goes to the standard error")),
    (&[], "logs.error_output_paths", Note(&["stderr"], "is not used: the log goes to the standard error")),
    (&[], "logs.initial_fields", Note(&[], "is not used")),
    (&[], "logs.development", Note(&["false"], "is not used")),
    (&[], "logs.disable_caller", Note(&["true"], "is not used: lines name no place in the source")),
    (&[], "logs.disable_stacktrace", Note(&["true"], "is not used: lines have no stack")),
    (&[], "logs.processors", Note(&[], "is not used: the log goes to the standard error alone")),
];

/// Removes the Collector's keys from `body`, a component of type `kind` at `path`.
pub(super) fn taken(section: &str, kind: &str, path: &str, body: &mut Node, notes: &mut Vec<Problem>) {
    let table = match section {
        "receivers" => RECEIVERS,
        "processors" => PROCESSORS,
        "exporters" => EXPORTERS,
        _ => EXTENSIONS,
    };
    take(table.iter().filter(|(kinds, ..)| kinds.contains(&kind)), path, body, notes);
    if section == "processors" && ["attributes", "resource"].contains(&kind) {
        actions(if kind == "resource" { "attributes" } else { "actions" }, path, body, notes);
    }
}

/// Actions of the Collector's attributes processor that tollgate does not have.
const VERBS: [(&str, &str); 3] = [
    (
        "hash",
        "`hash` is no action here, as a bare hash is found again by trying values: write `redact: { custom: [{ name: ACCOUNT_ID, keys: [account.id] }], \
         options: { account_id: { as: pseudonym } } }`, which is keyed",
    ),
    (
        "extract",
        "`extract` is no action here: leave it with a Collector in front, which parts the value before it is redacted",
    ),
    (
        "convert",
        "`convert` is no action here: write the value as its type, `{ action: upsert, value: 1 }`, or leave it with a Collector",
    ),
];

/// Reports attribute actions that tollgate does not have, and replaces each by a plain `delete` so that the rest of the
/// list can be checked.
fn actions(field: &str, path: &str, body: &mut Node, notes: &mut Vec<Problem>) {
    let Val::Map(entries) = &mut body.value else { return };
    let list = entries.iter_mut().find(|(key, _)| key.name == field);
    let Some((_, Node { value: Val::Seq(items), .. })) = list else { return };
    for (at, item) in items.iter_mut().enumerate() {
        let verb = item.get("action").map(|(_, verb)| (verb.at, verb.value.clone()));
        let Some((place, Val::Str(verb))) = verb else { continue };
        let Some((_, what)) = VERBS.iter().find(|(known, _)| *known == verb) else { continue };
        notes.push(Problem::error(Some(place), format!("{path}.{field}[{at}].action"), *what));
        let Val::Map(entries) = &mut item.value else { continue };
        entries.retain(|(key, _)| ["key", "action"].contains(&key.name.as_str()));
        for (_, verb) in entries.iter_mut().filter(|(key, _)| key.name == "action") {
            verb.value = Val::Str("delete".to_owned());
        }
    }
}

/// Removes the Collector's keys from `service.telemetry`.
pub(super) fn taken_of_telemetry(body: &mut Node, notes: &mut Vec<Problem>) {
    take(LOGS.iter(), "service.telemetry", body, notes);
}

fn take<'t>(
    keys: impl Iterator<Item = &'t (&'static [&'static str], &'static str, Said)>,
    path: &str,
    body: &mut Node,
    notes: &mut Vec<Problem>,
) {
    for (_, field, said) in keys {
        let Some((key, value)) = cut(body, field) else { continue };
        let (gravity, plain, what) = match said {
            Note(plain, what) => (Gravity::Warning, plain, what),
            Error(plain, what) => (Gravity::Error, plain, what),
        };
        if !is_one_of(&value, plain) {
            notes.push(Problem { gravity, ..Problem::error(Some(key.at), format!("{path}.{field}"), *what) });
        }
    }
}

/// Removes and returns the entry at `path`.
fn cut(node: &mut Node, path: &str) -> Option<(Key, Node)> {
    let Val::Map(entries) = &mut node.value else { return None };
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let at = entries.iter().position(|(key, _)| key.name == name)?;
    if rest.is_empty() { Some(entries.remove(at)) } else { cut(&mut entries.get_mut(at)?.1, rest) }
}

/// Whether the value is empty or one of `plain`; a list if all of its items are.
fn is_one_of(value: &Node, plain: &[&str]) -> bool {
    match (&value.value, &value.raw) {
        (Val::Null, _) => true,
        (Val::Str(text), _) | (_, Some(text)) => plain.contains(&text.as_str()),
        (Val::Seq(items), _) => items.iter().all(|item| is_one_of(item, plain)),
        _ => false,
    }
}
