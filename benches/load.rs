//! Seeded trace requests in the shapes that `whole` and `pipeline` measure. A request is encoded once and renewed by
//! overwriting its ids in place, so that a sender spends little processor time and each request is new to the gateway.

use std::fmt::Write as _;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

/// The time of all telemetry in process, in Unix nanoseconds.
pub const NOW: u64 = 1_795_000_000_000_000_000;

/// Placeholder for bytes that differ in every request: the start of trace ids and, in hex, of response and call ids.
pub const REQUEST_MARK: [u8; 8] = [0xb7, 0x19, 0xe3, 0x5c, 0xd2, 0x88, 0x46, 0xfa];

/// Placeholder, in hex, for bytes that stay the same in [`REQUESTS_PER_SESSION`] requests: the session ids.
const SESSION_MARK: [u8; 8] = [0xc4, 0x2d, 0x71, 0x9b, 0xee, 0x05, 0x53, 0xa8];

/// The number of requests in which a session sends spans.
pub const REQUESTS_PER_SESSION: u64 = 8;

const WORDS: &str = "the ledger of a quarter shows that fn let match entry Some(value) is not balanced because return \
    Err(error) src/books/mod.rs and tests fail with status please read file before changing it => &mut self in line \
    which was added yesterday to";

/// Deterministic numbers and texts.
pub struct Source(pub u64);

impl Source {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// Prose and code of about `len` bytes, as inside a JSON string.
    pub fn prose(&mut self, len: usize) -> String {
        let words: Vec<&str> = WORDS.split(' ').collect();
        let mut out = String::with_capacity(len + 32);
        while out.len() < len {
            let word = self.pick(&words);
            match self.below(200) {
                0 => write!(out, "user{}@example.com ", self.below(10_000)).unwrap(),
                1..=4 => write!(out, "{} ", self.below(1_000_000)).unwrap(),
                5..=16 => out.push_str("\\n    "),
                17..=20 => out.push_str("\\\"quoted\\\" "),
                _ => write!(out, "{word} ").unwrap(),
            }
        }
        out
    }

    /// Messages in the form of the semantic conventions, `len` bytes in total.
    pub fn messages(&mut self, roles: &[&str], len: usize) -> String {
        let mut out = String::from("[");
        let mut turn = 0;
        while out.len() < len {
            let most = 200 + self.below(4_000);
            let text = self.prose(most.min(len - out.len()));
            let comma = if turn == 0 { "" } else { "," };
            let role = roles[turn % roles.len()];
            write!(out, r#"{comma}{{"role":"{role}","parts":[{{"type":"text","content":"{text}"}}]}}"#).unwrap();
            turn += 1;
        }
        out.push(']');
        out
    }
}

/// An attribute.
pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A text attribute.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// A number attribute.
pub fn number(key: &str, value: usize) -> KeyValue {
    attribute(key, Value::IntValue(value as i64))
}

/// An id that each request has anew.
pub fn marked(prefix: &str, index: usize) -> String {
    format!("{prefix}_{}{index:06}", kernel::hex::encode(&REQUEST_MARK))
}

/// An encoded request with the positions of its marks.
#[derive(Clone)]
pub struct Template {
    /// The encoded request.
    pub bytes: Vec<u8>,
    request_binary: Vec<usize>,
    request_hex: Vec<usize>,
    session_hex: Vec<usize>,
}

impl Template {
    /// A request of these resources.
    pub fn of(resource_spans: Vec<ResourceSpans>) -> Self {
        let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let positions = |mark: &[u8]| memchr::memmem::find_iter(&bytes, mark).collect();
        Self {
            request_binary: positions(&REQUEST_MARK),
            request_hex: positions(kernel::hex::encode(&REQUEST_MARK).as_bytes()),
            session_hex: positions(kernel::hex::encode(&SESSION_MARK).as_bytes()),
            bytes,
        }
    }

    /// Gives the request ids that no earlier request had, and its sessions ids that few requests share.
    pub fn renew(&mut self, request: u64, session: u64) {
        let mut put = |positions: &[usize], id: &[u8]| {
            positions.iter().for_each(|at| self.bytes[*at..at + id.len()].copy_from_slice(id));
        };
        let [request, session] =
            [request, session].map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        put(&self.request_binary, &request);
        put(&self.request_hex, kernel::hex::encode(&request).as_bytes());
        put(&self.session_hex, kernel::hex::encode(&session).as_bytes());
    }
}

/// A load: its name, and what its requests hold.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The name in tables and on the command line.
    pub name: &'static str,
    /// Spans of a request.
    pub spans: usize,
    make: fn(&mut Source) -> Vec<ResourceSpans>,
}

/// All loads; the first is the one that limits are stated for.
pub const LOADS: [Load; 3] = [
    // 225 KB: agents among the services that they call; 70 % of the bytes are content of 1 to 8 KB
    Load { name: "mixed", spans: 100, make: mixed },
    // one model call of 4 KiB, as an SDK without batching sends it
    Load { name: "single", spans: 1, make: single },
    // a busy service with few model calls, whose content is short
    Load { name: "services", spans: 1_000, make: services },
];

impl Load {
    /// The load of this name.
    ///
    /// # Panics
    /// There is none.
    pub fn named(name: &str) -> Self {
        let names: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
        *LOADS.iter().find(|load| load.name == name).unwrap_or_else(|| panic!("loads are {names:?}, not {name:?}"))
    }

    /// A number of different requests of this load.
    pub fn templates(&self, count: usize) -> Vec<Template> {
        (0..count).map(|seed| Template::of((self.make)(&mut Source(seed as u64 + 1)))).collect()
    }
}

fn resource(service: &str, host: usize, spans: Vec<Span>) -> ResourceSpans {
    let resource = Resource {
        attributes: vec![
            text("service.name", service),
            text("service.version", "2.14.3"),
            text("deployment.environment.name", "production"),
            text("host.name", format!("ip-10-2-{host}-17.eu-central-1.compute.internal")),
            number("process.pid", 4_000 + host),
            text("telemetry.sdk.language", "python"),
            text("telemetry.sdk.name", "opentelemetry"),
            text("telemetry.sdk.version", "1.38.0"),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "opentelemetry.instrumentation.agents".to_owned(),
        version: "0.59b0".to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }
}

/// A span's place: session, position in it, and the span above.
struct Place {
    session: usize,
    index: usize,
    parent: Option<usize>,
}

fn span(at: &Place, name: &str, kind: i32, attributes: Vec<KeyValue>) -> Span {
    let id = |index: usize| ((at.session * 1_000_000 + index) as u64 + 1).to_be_bytes().to_vec();
    let start = NOW + at.index as u64 * 40_000_000;
    Span {
        trace_id: [REQUEST_MARK, (at.session as u64 + 1).to_be_bytes()].concat(),
        span_id: id(at.index),
        parent_span_id: at.parent.map(id).unwrap_or_default(),
        name: name.to_owned(),
        kind,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 900_000_000,
        attributes,
        ..Span::default()
    }
}

fn of_session(session: usize) -> [KeyValue; 3] {
    [
        text("gen_ai.conversation.id", format!("{}-{session:04}", kernel::hex::encode(&SESSION_MARK))),
        text("gen_ai.agent.name", "ledger-agent"),
        text("user.id", format!("u-{}", session % 7)),
    ]
}

fn content_length(source: &mut Source) -> usize {
    // mostly short, up to 8 KB
    (1 << 10) + source.below(7 << 10) * source.below(1 << 10) * 12 / 11 / (1 << 10)
}

fn agent_span(at: &Place, source: &mut Source) -> Span {
    let instructions = content_length(source);
    let mut attributes = vec![
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.provider.name", "anthropic"),
        text("gen_ai.agent.id", "agent_7d1f"),
        text("gen_ai.agent.description", "closes the books of a quarter"),
        text(
            "gen_ai.system_instructions",
            format!(r#"[{{"type":"text","content":"{}"}}]"#, source.prose(instructions)),
        ),
    ];
    attributes.extend(of_session(at.session));
    span(at, "invoke_agent ledger-agent", 3, attributes)
}

fn model_span(at: &Place, source: &mut Source, input: usize, output: usize) -> Span {
    let mut attributes = vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "anthropic"),
        text("gen_ai.request.model", "claude-sonnet-4-5"),
        text("gen_ai.response.model", "claude-sonnet-4-5"),
        text("gen_ai.response.id", marked("msg", at.session * 1_000 + at.index)),
        number("gen_ai.request.max_tokens", 4096),
        number("gen_ai.usage.input_tokens", 1_000 + source.below(50_000)),
        number("gen_ai.usage.output_tokens", 1 + source.below(4_000)),
        text("server.address", "api.example.com"),
        number("server.port", 443),
        text("gen_ai.input.messages", source.messages(&["user", "assistant"], input)),
        text("gen_ai.output.messages", source.messages(&["assistant"], output)),
    ];
    attributes.extend(of_session(at.session));
    span(at, "chat claude-sonnet-4-5", 3, attributes)
}

fn tool_span(at: &Place, source: &mut Source) -> Span {
    let (arguments, result) = (content_length(source), content_length(source));
    let mut attributes = vec![
        text("gen_ai.operation.name", "execute_tool"),
        text("gen_ai.tool.name", "read_file"),
        text("gen_ai.tool.type", "function"),
        text("gen_ai.tool.call.id", marked("toolu", at.session * 1_000 + at.index)),
        text("gen_ai.tool.call.arguments", format!(r#"{{"path":"{}"}}"#, source.prose(arguments))),
        text("gen_ai.tool.call.result", format!(r#"{{"text":"{}"}}"#, source.prose(result))),
    ];
    attributes.extend(of_session(at.session));
    span(at, "execute_tool read_file", 1, attributes)
}

const ROUTES: [&str; 6] = [
    "/v1/ledgers",
    "/v1/ledgers/{id}",
    "/v1/quarters/{quarter}/entries",
    "/v1/exports",
    "/healthz",
    "/v1/accounts/{id}",
];

fn http_span(at: &Place, source: &mut Source) -> Span {
    let (route, status) = (source.pick(&ROUTES), if source.below(30) == 0 { 503 } else { 200 });
    let attributes = vec![
        text("http.request.method", source.pick(&["GET", "GET", "POST", "PUT"])),
        text("http.route", route),
        text("url.scheme", "https"),
        text("url.path", route.replace("{id}", &source.below(100_000).to_string()).replace("{quarter}", "2026-q3")),
        text("url.query", format!("page={}&limit=50&sort=created_at", source.below(40))),
        number("http.response.status_code", status),
        number("http.response.body.size", source.below(60_000)),
        text("server.address", "ledgers.internal.example.com"),
        number("server.port", 8443),
        text("client.address", format!("10.2.{}.{}", source.below(250), source.below(250))),
        text("network.protocol.name", "http"),
        text("network.protocol.version", "1.1"),
        text("network.peer.address", format!("10.2.{}.{}", source.below(250), source.below(250))),
        number("network.peer.port", 30_000 + source.below(20_000)),
        text(
            "user_agent.original",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        ),
        text("http.request.header.x-request-id", marked("req", at.session * 1_000 + at.index)),
    ];
    span(at, &format!("GET {route}"), 2, attributes)
}

const STATEMENTS: [&str; 4] = [
    "SELECT e.id, e.ledger_id, e.booked_at, e.amount, e.currency, e.text, a.number, a.name FROM entries e JOIN accounts a \
     ON a.id = e.account_id WHERE e.ledger_id = $1 AND e.booked_at >= $2 AND e.booked_at < $3 ORDER BY e.booked_at, e.id \
     LIMIT $4 OFFSET $5",
    "INSERT INTO entries (ledger_id, account_id, booked_at, amount, currency, text, created_by) VALUES ($1, $2, $3, $4, \
     $5, $6, $7) ON CONFLICT (ledger_id, external_id) DO UPDATE SET amount = EXCLUDED.amount RETURNING id, version",
    "UPDATE ledgers SET state = $1, closed_at = $2, version = version + 1 WHERE id = $3 AND version = $4",
    "SELECT count(*), sum(amount), min(booked_at), max(booked_at) FROM entries WHERE ledger_id = $1 GROUP BY account_id \
     HAVING sum(amount) <> 0",
];

fn database_span(at: &Place, source: &mut Source) -> Span {
    let statement = source.pick(&STATEMENTS);
    let operation = statement.split(' ').next().unwrap();
    let attributes = vec![
        text("db.system.name", "postgresql"),
        text("db.namespace", "ledgers"),
        text("db.operation.name", operation),
        text("db.collection.name", "entries"),
        text("db.query.text", statement),
        text("db.query.summary", format!("{operation} entries")),
        number("db.response.returned_rows", source.below(500)),
        text("server.address", "pg-main-0.pg.ledgers.svc.cluster.local"),
        number("server.port", 5432),
        text("network.transport", "tcp"),
        text("thread.name", format!("worker-{}", source.below(16))),
        number("thread.id", source.below(64)),
    ];
    span(at, &format!("{operation} ledgers.entries"), 3, attributes)
}

fn service_span(at: &Place, source: &mut Source) -> Span {
    if at.index.is_multiple_of(2) { http_span(at, source) } else { database_span(at, source) }
}

/// One session's part of a mixed request: an agent with 4 model calls and 2 tools, among 18 spans of services.
fn session_spans(session: usize, source: &mut Source) -> Vec<Span> {
    let place = |index: usize| Place { session, index, parent: (index > 0).then_some(index / 4) };
    let make = |index: usize| {
        let at = place(index);
        match index {
            0 => agent_span(&at, source),
            4 | 10 | 16 | 22 => {
                let (input, output) = (content_length(source), content_length(source));
                model_span(&at, source, input, output)
            }
            7 | 19 => tool_span(&at, source),
            _ => service_span(&at, source),
        }
    };
    (0..25).map(make).collect()
}

fn mixed(source: &mut Source) -> Vec<ResourceSpans> {
    (0..4).map(|session| resource("ledger-agent", session + 10, session_spans(session, source))).collect()
}

fn single(source: &mut Source) -> Vec<ResourceSpans> {
    let at = Place { session: 0, index: 0, parent: None };
    vec![resource("ledger-agent", 10, vec![model_span(&at, source, 2_400, 800)])]
}

fn services(source: &mut Source) -> Vec<ResourceSpans> {
    let make = |index: usize| {
        let at =
            Place { session: index / 100, index, parent: (!index.is_multiple_of(100)).then_some(index / 100 * 100) };
        if index.is_multiple_of(50) { model_span(&at, source, 300, 100) } else { service_span(&at, source) }
    };
    vec![resource("ledgers", 10, (0..1_000).map(make).collect())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published limits hold for this shape: a change of the generator must not change it unseen.
    #[test]
    fn a_mixed_request_has_the_stated_shape() {
        let mut source = Source(1);
        let (mut bytes, mut content, mut values, mut attributes) = (0, 0, 0, 0);
        for _ in 0..16 {
            let made = mixed(&mut source);
            for span in made.iter().flat_map(|resource| &resource.scope_spans[0].spans) {
                attributes += span.attributes.len();
                for one in &span.attributes {
                    let Some(AnyValue { value: Some(Value::StringValue(text)) }) = &one.value else { continue };
                    if text.len() >= 1_000 {
                        values += 1;
                        content += text.len();
                    }
                }
            }
            bytes += Template::of(made).bytes.len();
        }
        assert_eq!(values, 16 * 52);
        assert!((220_000..230_000).contains(&(bytes / 16)), "{}", bytes / 16);
        assert!((69..=71).contains(&(content * 100 / bytes)), "{}", content * 100 / bytes);
        assert!((12_500..13_500).contains(&(attributes * 1_000 / 1_600)), "{}", attributes);
    }
}
