//! The input: recorded sessions, split by partition as edges do.

use std::sync::OnceLock;

use bytes::Bytes;

use genai::testing::{builtin::vocabulary, request::at};
use kafka::SessionPartitioner;
use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use otlp::Signal;

pub(super) const PARTITIONS: i32 = 4;

/// Small sessions of several clients: calls as spans, as logs, and as both; tools, failures, repeated calls.
const SESSIONS: [&str; 12] = [
    "claude-code/plain",
    "claude-code/failing",
    "claude-code/fallback",
    "claude-code/json",
    "claude-code/refused",
    "claude-otel-hooks/articles",
    "claude-otel-hooks/failures",
    "openinference/openai",
    "openinference/openai-responses",
    "semconv/openai",
    "semconv/openai-v2-events",
    "semconv/anthropic-native",
];

/// A request of one partition.
pub(super) struct EdgeRequest {
    pub(super) signal: Signal,
    pub(super) partition: i32,
    pub(super) body: Bytes,
}

/// A recorded session as the requests of an edge.
pub(super) struct Recording {
    /// Calls are reported by a span and a log record.
    pub(super) is_on_two_signals: bool,
    pub(super) requests: Vec<EdgeRequest>,
}

fn signal_of(name: &str) -> Option<Signal> {
    match name.rsplit_once('-')?.1.split('.').next()? {
        "traces" => Some(Signal::Traces),
        "logs" => Some(Signal::Logs),
        // Metrics of agents pass no step that is simulated here.
        _ => None,
    }
}

fn read(name: &str, partitioner: &SessionPartitioner) -> Recording {
    let files = std::fs::read_dir(at("tests/recordings").join(name)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut requests = Vec::new();
    for file in files {
        let Some(signal) = signal_of(&file.file_name().unwrap().to_string_lossy()) else { continue };
        let mut body = Bytes::from(std::fs::read(&file).unwrap());
        if file.extension().is_some_and(|ending| ending == "json") {
            body = otlp::json::decode(signal, &body).unwrap().into();
        }
        let parts = partitioner.split("acme", signal, &body, PARTITIONS).unwrap();
        requests.extend(parts.into_iter().map(|(partition, body)| EdgeRequest { signal, partition, body }));
    }
    let has = |signal| requests.iter().any(|request: &EdgeRequest| request.signal == signal);
    Recording { is_on_two_signals: has(Signal::Traces) && has(Signal::Logs), requests }
}

/// All of them, read once.
pub(super) fn recordings() -> &'static [Recording] {
    static READ: OnceLock<Vec<Recording>> = OnceLock::new();
    READ.get_or_init(|| {
        let hasher = Pseudonymizer::new(&Secret::new("the fleet's".to_owned()));
        let partitioner = SessionPartitioner::new(vocabulary().session_keys(), hasher);
        SESSIONS.iter().map(|name| read(name, &partitioner)).collect()
    })
}
