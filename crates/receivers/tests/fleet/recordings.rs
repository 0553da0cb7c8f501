//! The input: recorded sessions, split by partition as edges do.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use bytes::Bytes;

use genai::testing::{
    builtin::vocabulary,
    request::{at, payload},
};
use kafka::SessionPartitioner;
use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use otlp::{Payload, Signal, UnknownFields};
use serde_json::{Value as Json, json};

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
    Recording { requests }
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

/// A request with a span of each tenant of the recordings, which is no call and of no run.
pub(super) fn carriers(partition: i32) -> &'static EdgeRequest {
    static READ: OnceLock<Vec<EdgeRequest>> = OnceLock::new();
    let all = READ.get_or_init(|| {
        let tenants_of = |request: &EdgeRequest| {
            let payload = Payload::parse(request.signal, request.body.clone()).unwrap();
            let items = genai::read_facts(&vocabulary(), &payload).items;
            items.into_iter().filter_map(|item| item.tenant).collect::<BTreeSet<String>>()
        };
        let tenants: BTreeSet<String> =
            recordings().iter().flat_map(|recording| recording.requests.iter().flat_map(tenants_of)).collect();
        let span = |number: i32, attributes: &Json| {
            json!({"name": "GET", "trace": number, "span": number, "attributes": attributes})
        };
        let request = |number: i32| {
            // a trace of its own, so that it gets no tenant from the others
            let unattributed = span(70 + number, &json!({}));
            let named = tenants.iter().map(|tenant| span(80 + number, &json!({"tenant.id": tenant})));
            let spans: Vec<Json> = named.chain([unattributed]).collect();
            let body = payload(&json!({"items": spans})).encode(UnknownFields::Keep).unwrap().bytes.into();
            EdgeRequest { signal: Signal::Traces, partition: number, body }
        };
        (0..PARTITIONS).map(request).collect()
    });
    all.iter().find(|request| request.partition == partition).unwrap()
}
