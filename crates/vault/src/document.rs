//! **What**: the plaintext of a fragment: one JSON document per session and batch, written and read.
//! **Why**: an auditor must be able to replay from it, and to see that it stands where it was put: age has no
//! associated data, so the document repeats account, tenant, session, writer, epoch and fragment id.
//! **Invariants**: compact JSON in a fixed order of keys; `content` stands as it was hashed; nothing here is ever
//! logged. **Not here**: what is content (`genai`), sealing (`seal`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use genai::Part;
use otlp::write_json_text;

use super::delta::{Plan, Print, Source, Step};
use super::piece::{append, open};

pub use super::piece::Piece;

/// The head of a document.
#[derive(Clone, Serialize, Deserialize)]
pub struct Head<'a> {
    /// Version of the document.
    pub v: u8,
    /// Fragment id, hex.
    pub fragment: Cow<'a, str>,
    /// Account.
    pub account: Cow<'a, str>,
    /// Tenant, raw.
    pub tenant: Cow<'a, str>,
    /// Session id, raw.
    pub session: Option<Cow<'a, str>>,
    /// Writer.
    pub writer: Cow<'a, str>,
    /// Epoch.
    pub epoch: Cow<'a, str>,
    /// Gateway clock at arrival, RFC 3339.
    pub received: Cow<'a, str>,
    /// `traces`, `logs` or `metrics`.
    pub signal: Cow<'a, str>,
    /// Equal bytes were accepted before.
    pub repeat: bool,
}

/// What one item was, beside its content. Texts are raw; times RFC 3339.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemHead<'a> {
    /// `span` or `log`.
    pub kind: Cow<'a, str>,
    /// Span name or event name.
    pub name: Cow<'a, str>,
    /// Trace.
    pub trace_id: Option<String>,
    /// Span.
    pub span_id: Option<String>,
    /// Parent span.
    pub parent_span_id: Option<String>,
    /// Start of a span, time of a record.
    pub start: String,
    /// End of a span.
    pub end: Option<String>,
    /// Dialect.
    pub dialect: Option<Cow<'a, str>>,
    /// What it is in a run.
    pub call: Cow<'a, str>,
    /// Operation.
    pub operation: Option<Cow<'a, str>>,
    /// Run.
    pub run: Option<Cow<'a, str>>,
    /// Turn.
    pub turn: Option<Cow<'a, str>>,
    /// Iteration.
    pub iteration: Option<i64>,
    /// User.
    pub user: Option<Cow<'a, str>>,
    /// Agent or service.
    pub actor: Option<Cow<'a, str>>,
    /// Id of the sub-agent, where its client tells it apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Cow<'a, str>>,
    /// Provider.
    pub provider: Option<Cow<'a, str>>,
    /// Model asked for.
    pub request_model: Option<Cow<'a, str>>,
    /// Model that answered.
    pub response_model: Option<Cow<'a, str>>,
    /// The provider's id of the response.
    pub response_id: Option<Cow<'a, str>>,
    /// Tool.
    pub tool: Option<Cow<'a, str>>,
    /// Tool call.
    pub tool_call: Option<Cow<'a, str>>,
    /// Why the model stopped.
    pub finish: Option<Cow<'a, str>>,
    /// Failed.
    pub failed: bool,
    /// Type of the error.
    pub error: Option<Cow<'a, str>>,
    /// A permission's outcome.
    pub decision: Option<Cow<'a, str>>,
    /// Reported input tokens.
    pub tokens_in: Option<u64>,
    /// Reported output tokens.
    pub tokens_out: Option<u64>,
    /// `priced`, `unpriced`, …
    pub cost_status: Option<Cow<'a, str>>,
    /// Exact decimal, USD.
    pub cost_usd: Option<Cow<'a, str>>,
    /// Rate table.
    pub rates: Option<Cow<'a, str>>,
}

/// Where a piece stands in [`Content`].
struct Span<'p> {
    start: usize,
    /// End of its head, where its value begins.
    head: usize,
    end: usize,
    /// Its value, if that is a text.
    text: Option<&'p str>,
}

/// Content of one item as it goes into the document, and its hashes.
#[derive(Default)]
pub struct Content<'p> {
    json: String,
    spans: Vec<Span<'p>>,
    prints: Vec<Print>,
    context: Option<Sha256>,
    /// System instructions and tool definitions alone.
    fixed: [Option<Sha256>; 2],
    /// Bytes of a tool's arguments and of its result.
    tool: [u64; 2],
}

/// What stands between a piece's head and its value.
const VALUE: &str = ",\"value\":";

impl<'p> Content<'p> {
    /// Adds a piece; its value, a text as it was sent or structure, is given as JSON, a text also as such.
    pub fn push(&mut self, part: Part, piece: &Piece<'_>, value: &str, text: Option<&'p str>) {
        self.json.push(if self.json.is_empty() { '[' } else { ',' });
        let start = self.json.len();
        open(&mut self.json, piece);
        let head = self.json.len();
        self.json.push_str(VALUE);
        self.json.push_str(value);
        self.json.push('}');
        self.spans.push(Span { start, head, end: self.json.len(), text });
        let context = matches!(part, Part::System | Part::Tools | Part::Input);
        self.prints.push(if context {
            let element = self.json.get(start..).unwrap_or_default();
            Print::of(piece, part != Part::Input, element, text.unwrap_or(value))
        } else {
            Print::none()
        });
        let [system, tools] = &mut self.fixed;
        if let Some(hash) = match part {
            Part::System => Some(system),
            Part::Tools => Some(tools),
            _ => None,
        } {
            let hash = hash.get_or_insert_default();
            hash.update(value.as_bytes());
            hash.update([0]);
        }
        let [arguments, result] = &mut self.tool;
        match part {
            Part::ToolArgs => *arguments += value.len() as u64,
            Part::ToolResult => *result += value.len() as u64,
            _ => {}
        }
        if context {
            let context = self.context.get_or_insert_default();
            context.update(part.as_str().as_bytes());
            context.update([0]);
            context.update(value.as_bytes());
            context.update([0]);
        }
    }

    /// What is remembered of it, a print for each piece.
    pub fn prints(&self) -> &[Print] {
        &self.prints
    }

    /// The same, taken.
    pub fn take_prints(&mut self) -> Vec<Print> {
        std::mem::take(&mut self.prints)
    }

    /// The elements as `plan` says them.
    fn said(&self, plan: &Plan, out: &mut String) {
        out.push('[');
        let mut spans = self.spans.iter();
        for (at, step) in plan.steps.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            let Some(span) = spans.next() else { break };
            match step {
                Step::Whole => out.push_str(self.json.get(span.start..span.end).unwrap_or_default()),
                Step::Run(source, count) => {
                    spans.by_ref().take(*count as usize - 1).for_each(drop);
                    out.push('{');
                    base(out, source);
                    out.push_str(&format!(",\"pieces\":{count}}}"));
                }
                Step::Like { source, prefix_len, chars: [prefix, suffix], bytes: [before, behind] } => {
                    out.push_str(self.json.get(span.start..span.head).unwrap_or_default());
                    out.push(',');
                    base(out, source);
                    let value = self.json.get(span.head + VALUE.len()..span.end - 1).unwrap_or_default();
                    let text = span.text.unwrap_or(value);
                    let new = text.get(*before..text.len().saturating_sub(*behind)).unwrap_or_default();
                    let json = span.text.is_none();
                    out.push_str(&format!(
                        ",\"json\":{json},\"prefix_len\":{prefix_len},\"prefix_chars\":{prefix},\"suffix_chars\":{suffix},\"new\":"
                    ));
                    write_json_text(new, out);
                    out.push('}');
                }
            }
        }
        out.push(']');
    }

    /// Bytes of a tool's arguments and of its result as JSON; None where there are none.
    pub fn tool_bytes(&self) -> [Option<u64>; 2] {
        self.tool.map(|bytes| (bytes > 0).then_some(bytes))
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// Size as canonical JSON, bytes.
    pub fn len(&self) -> usize {
        self.json.len() + 1
    }
}

/// Hashes of one item's content. All stay inside but the commitment: an unkeyed hash of a prompt can be guessed at.
pub struct Hashes {
    /// SHA-256 of the item's `content` array, made whole where it refers to earlier content, hex.
    pub content: String,
    /// SHA-256 of what the model was given (system, tools, input), hex; comparable between turns.
    pub context: Option<String>,
    /// The same of system instructions and of tool definitions alone. Not written.
    pub fixed: [Option<String>; 2],
    /// SHA-256 of `"ctx1"`, a zero byte, the salt and the 32 bytes of `content`, hex.
    pub commitment: String,
}

/// Writes a document.
pub struct Writer {
    out: String,
    items: u32,
}

impl Writer {
    /// Begins one.
    pub fn begin(head: &Head<'_>) -> Self {
        let mut out = String::with_capacity(4096);
        open(&mut out, head);
        out.push_str(",\"items\":[");
        Self { out, items: 0 }
    }

    /// The position of the next item.
    pub fn next(&self) -> u32 {
        self.items
    }

    /// Adds an item, its content said as `plan` says (hashes are those of whole content); gives its position and
    /// hashes. `parameters` are pairs of key and JSON.
    pub fn item(
        &mut self,
        head: &ItemHead<'_>,
        parameters: &[(&str, String)],
        mut content: Content<'_>,
        plan: &Plan,
        salt: &[u8; 32],
    ) -> (u32, Hashes) {
        let position = self.items;
        self.items += 1;
        content.json.push_str(if content.json.is_empty() { "[]" } else { "]" });
        let (context, fixed) = (content.context.take(), std::mem::take(&mut content.fixed));
        let digest: [u8; 32] = Sha256::digest(content.json.as_bytes()).into();
        let hashes = Hashes {
            content: kernel::hex::encode(&digest),
            context: context.map(|hash| kernel::hex::encode(&hash.finalize())),
            fixed: fixed.map(|hash| hash.map(|hash| kernel::hex::encode(&hash.finalize()))),
            commitment: commitment(salt, &digest),
        };
        if position > 0 {
            self.out.push(',');
        }
        open(&mut self.out, head);
        self.out.push_str(",\"parameters\":{");
        for (index, (key, value)) in parameters.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            append(&mut self.out, key);
            self.out.push(':');
            self.out.push_str(value);
        }
        self.out.push_str("},\"content\":");
        match plan.saved {
            0 => self.out.push_str(&content.json),
            _ => content.said(plan, &mut self.out),
        }
        self.out.push_str(",\"content_sha256\":");
        append(&mut self.out, &hashes.content);
        self.out.push_str(",\"context_sha256\":");
        append(&mut self.out, &hashes.context);
        self.out.push_str(",\"salt\":");
        append(&mut self.out, &kernel::hex::encode(salt));
        self.out.push('}');
        (position, hashes)
    }

    /// The document.
    pub fn finish(mut self) -> String {
        self.out.push_str("]}");
        self.out
    }

    /// A document without items that holds a request as it came, in base64 of its protobuf.
    pub fn quarantine(head: &Head<'_>, request: &[u8]) -> String {
        use base64::Engine as _;
        let mut out = String::with_capacity(1024 + request.len() * 4 / 3);
        open(&mut out, head);
        out.push_str(",\"items\":[],\"request\":\"");
        base64::engine::general_purpose::STANDARD.encode_string(request, &mut out);
        out.push_str("\"}");
        out
    }
}

/// The salted commitment to a hash, hex.
pub fn commitment(salt: &[u8; 32], content: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"ctx1\0");
    hash.update(salt);
    hash.update(content);
    kernel::hex::encode(&hash.finalize())
}

/// Appends a reference to a piece.
fn base(out: &mut String, source: &Source) {
    let Source { fragment, item, piece } = source;
    out.push_str(&format!("\"base\":{{\"fragment\":\"{fragment}\",\"item\":{item},\"piece\":{piece}}}"));
}

/// A document as read.
#[derive(Deserialize)]
pub struct Document {
    /// Its head.
    #[serde(flatten)]
    pub head: Head<'static>,
    /// Its items.
    pub items: Vec<Item>,
    /// Base64 of a request that could not be processed.
    pub request: Option<String>,
}

/// An item as read.
#[derive(Serialize, Deserialize)]
pub struct Item {
    /// What it was.
    #[serde(flatten)]
    pub head: ItemHead<'static>,
    /// Request and response parameters.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Its content.
    pub content: Vec<ReadPiece>,
    /// Hash of the content.
    pub content_sha256: String,
    /// Hash of the context.
    pub context_sha256: Option<String>,
    /// Salt of the commitment.
    pub salt: String,
}

/// A piece as read.
#[derive(Serialize, Deserialize)]
pub struct ReadPiece {
    /// Part.
    pub part: String,
    /// Where it stood.
    pub on: String,
    /// Attribute key.
    pub key: Option<String>,
    /// Event.
    pub event: Option<String>,
    /// The value.
    pub value: serde_json::Value,
}
