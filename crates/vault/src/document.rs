//! The plaintext of a fragment: one JSON document per session and batch, written and read here. An auditor can replay a
//! session from it and detect a fragment that was moved: age has no associated data, so the document repeats account,
//! tenant, session, writer, epoch and fragment id.
//!
//! The JSON is compact with a fixed order of keys; `content` is stored exactly as it was hashed; nothing in this module
//! is ever logged. Neighbours: `genai` decides what is content, `seal` encrypts it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use genai::ContentPart;
use kernel::sha256::Sha256;
use otlp::write_json_text;

use super::delta::{ContentFingerprint, DeltaPlan, DeltaStep, PieceSource};
use super::piece::{append_json, append_unclosed};

pub use super::piece::ContentPiece;

/// Head of a document: the first keys of its JSON.
#[derive(Clone, Serialize, Deserialize)]
pub struct DocumentHead<'a> {
    /// Version of the document format.
    pub v: u8,
    /// Fragment id, hex.
    pub fragment: Cow<'a, str>,
    pub account: Cow<'a, str>,
    pub tenant: Cow<'a, str>,
    /// Session id, raw.
    pub session: Option<Cow<'a, str>>,
    pub writer: Cow<'a, str>,
    pub epoch: Cow<'a, str>,
    /// Gateway clock at arrival, RFC 3339.
    pub received: Cow<'a, str>,
    /// `traces`, `logs` or `metrics`.
    pub signal: Cow<'a, str>,
    /// Whether a request with equal bytes was accepted before.
    pub repeat: bool,
}

/// An item's metadata, beside its content. Texts are raw; times RFC 3339.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemHead<'a> {
    /// `span` or `log`.
    pub kind: Cow<'a, str>,
    /// Span name or event name.
    pub name: Cow<'a, str>,
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
    pub parent_span_id: Option<String>,
    /// Start of a span, or time of a log record.
    pub start: String,
    /// End of a span; none for a log record.
    pub end: Option<String>,
    /// Dialect of the instrumentation that produced the item.
    pub dialect: Option<Cow<'a, str>>,
    /// Role of the item in a run: `model`, `tool`, …
    pub call: Cow<'a, str>,
    pub operation: Option<Cow<'a, str>>,
    pub run: Option<Cow<'a, str>>,
    pub turn: Option<Cow<'a, str>>,
    /// Iteration number within the run.
    pub iteration: Option<i64>,
    pub user: Option<Cow<'a, str>>,
    /// Name of the agent, or else of the service.
    pub actor: Option<Cow<'a, str>>,
    /// Id of the sub-agent, if the client distinguishes sub-agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Cow<'a, str>>,
    pub provider: Option<Cow<'a, str>>,
    pub request_model: Option<Cow<'a, str>>,
    pub response_model: Option<Cow<'a, str>>,
    /// Response id given by the provider.
    pub response_id: Option<Cow<'a, str>>,
    pub tool: Option<Cow<'a, str>>,
    pub tool_call: Option<Cow<'a, str>>,
    /// Finish reason reported by the model.
    pub finish: Option<Cow<'a, str>>,
    pub failed: bool,
    pub error: Option<Cow<'a, str>>,
    /// Outcome of a permission request.
    pub decision: Option<Cow<'a, str>>,
    /// Reported input tokens.
    pub tokens_in: Option<u64>,
    /// Reported output tokens.
    pub tokens_out: Option<u64>,
    /// Pricing status: `priced`, `unpriced`, …
    pub cost_status: Option<Cow<'a, str>>,
    /// Cost in USD, exact decimal.
    pub cost_usd: Option<Cow<'a, str>>,
    /// Rate table that priced the item.
    pub rates: Option<Cow<'a, str>>,
}

/// Byte range of a piece in [`ItemContent`].
struct PieceRange<'p> {
    start: usize,
    /// End of the piece's head; [`VALUE_KEY`] and the value follow.
    head_end: usize,
    end: usize,
    /// The piece's value, if it is a text.
    text: Option<&'p str>,
}

/// Content of one item as written into the document, and its running hashes.
#[derive(Default)]
pub struct ItemContent<'p> {
    json: String,
    pieces: Vec<PieceRange<'p>>,
    pub fingerprints: Vec<ContentFingerprint>,
    /// Hash of the model's input.
    context: Option<Sha256>,
    /// Hashes of the system instructions and of the tool definitions alone.
    fixed: [Option<Sha256>; 2],
    /// Bytes of a tool's arguments and of its result.
    tool_bytes: [u64; 2],
}

/// Size of most pieces' heads, bytes.
const USUAL_HEAD_BYTES: usize = 128;
/// The JSON between a piece's head and its value.
const VALUE_KEY: &str = ",\"value\":";

impl<'p> ItemContent<'p> {
    /// Adds a piece. `value` is JSON (a text as sent, or structure); a text is also passed unescaped as `text`.
    pub fn push(&mut self, part: ContentPart, piece: &ContentPiece<'_>, value: &str, text: Option<&'p str>) {
        self.json.reserve(value.len() + USUAL_HEAD_BYTES);
        self.json.push(if self.json.is_empty() { '[' } else { ',' });
        let start = self.json.len();
        append_unclosed(&mut self.json, piece);
        let head_end = self.json.len();
        self.json.push_str(VALUE_KEY);
        self.json.push_str(value);
        self.json.push('}');
        self.pieces.push(PieceRange { start, head_end, end: self.json.len(), text });
        let is_context = matches!(part, ContentPart::System | ContentPart::Tools | ContentPart::Input);
        self.fingerprints.push(if is_context {
            let element = self.json.get(start..).unwrap_or_default();
            let head_len = head_end - start;
            ContentFingerprint::from_piece(piece, part != ContentPart::Input, (element, head_len), (value, text))
        } else {
            ContentFingerprint::default()
        });
        let [system, tools] = &mut self.fixed;
        if let Some(hash) = match part {
            ContentPart::System => Some(system),
            ContentPart::Tools => Some(tools),
            _ => None,
        } {
            let hash = hash.get_or_insert_default();
            hash.update(value.as_bytes());
            hash.update([0]);
        }
        let [arguments, result] = &mut self.tool_bytes;
        match part {
            ContentPart::ToolArgs => *arguments += value.len() as u64,
            ContentPart::ToolResult => *result += value.len() as u64,
            _ => {}
        }
        if is_context {
            let context = self.context.get_or_insert_default();
            context.update(part.as_str().as_bytes());
            context.update([0]);
            context.update(value.as_bytes());
            context.update([0]);
        }
    }

    /// Writes the content array with the references that `plan` chose.
    fn write_content(&self, plan: &DeltaPlan, out: &mut String) {
        out.push('[');
        let mut pieces = self.pieces.iter();
        for (index, step) in plan.steps.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            let Some(piece) = pieces.next() else { break };
            match step {
                DeltaStep::Whole => out.push_str(self.json.get(piece.start..piece.end).unwrap_or_default()),
                DeltaStep::Copy(source, count) => {
                    pieces.by_ref().take(*count as usize - 1).for_each(drop);
                    out.push('{');
                    append_base(out, source);
                    out.push_str(&format!(",\"pieces\":{count}}}"));
                }
                DeltaStep::Delta {
                    source,
                    prefix_len,
                    chars: [prefix_chars, suffix_chars],
                    bytes: [prefix_bytes, suffix_bytes],
                } => {
                    out.push_str(self.json.get(piece.start..piece.head_end).unwrap_or_default());
                    out.push(',');
                    append_base(out, source);
                    let value = self.json.get(piece.head_end + VALUE_KEY.len()..piece.end - 1).unwrap_or_default();
                    let text = piece.text.unwrap_or(value);
                    let new = text.get(*prefix_bytes..text.len().saturating_sub(*suffix_bytes)).unwrap_or_default();
                    let json = piece.text.is_none();
                    out.push_str(&format!(
                        ",\"json\":{json},\"prefix_len\":{prefix_len},\"prefix_chars\":{prefix_chars},\"suffix_chars\":{suffix_chars},\"new\":"
                    ));
                    write_json_text(new, out);
                    out.push('}');
                }
            }
        }
        out.push(']');
    }

    /// Bytes of a tool's arguments and of its result as JSON; `None` for each that is absent.
    pub fn tool_bytes(&self) -> [Option<u64>; 2] {
        self.tool_bytes.map(|bytes| (bytes > 0).then_some(bytes))
    }

    /// Whether a part is context that a later item may begin with.
    pub fn is_context(&self) -> bool {
        self.fingerprints.iter().any(|fingerprint| fingerprint.is_context)
    }

    /// Whether no piece was added.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// Size as canonical JSON, bytes.
    pub fn len(&self) -> usize {
        self.json.len() + 1
    }
}

/// Hashes of one item's content. Only the commitment leaves the sealed document: a prompt could be guessed from an
/// unkeyed hash.
pub struct ContentHashes {
    /// SHA-256 of the item's `content` array with references expanded, hex.
    pub content: String,
    /// SHA-256 of the model's input (system, tools, input), hex; comparable between turns.
    pub context: Option<String>,
    /// The same for system instructions alone and for tool definitions alone. Not written.
    pub fixed: [Option<String>; 2],
    /// SHA-256 of `"ctx1"`, a zero byte, the salt and the 32 bytes of `content`, hex.
    pub commitment: String,
}

/// Writes one document, item by item.
pub struct DocumentWriter {
    out: String,
    /// Number of items so far: the position that the next one will have.
    pub item_count: u32,
}

impl DocumentWriter {
    pub fn begin(head: &DocumentHead<'_>) -> Self {
        let mut out = String::with_capacity(4096);
        append_unclosed(&mut out, head);
        out.push_str(",\"items\":[");
        Self { out, item_count: 0 }
    }

    /// Adds an item and returns its position and hashes. Content is written with the references of `plan`; the hashes
    /// are those of the whole content. `parameters` are pairs of key and JSON.
    pub fn write_item(
        &mut self,
        head: &ItemHead<'_>,
        parameters: &[(&str, String)],
        mut content: ItemContent<'_>,
        plan: &DeltaPlan,
        salt: &[u8; 32],
    ) -> (u32, ContentHashes) {
        let position = self.item_count;
        self.item_count += 1;
        content.json.push_str(if content.json.is_empty() { "[]" } else { "]" });
        let (context, fixed) = (content.context.take(), std::mem::take(&mut content.fixed));
        let digest: [u8; 32] = Sha256::digest(content.json.as_bytes());
        let hashes = ContentHashes {
            content: kernel::hex::encode(&digest),
            context: context.map(|hash| kernel::hex::encode(&hash.finalize())),
            fixed: fixed.map(|hash| hash.map(|hash| kernel::hex::encode(&hash.finalize()))),
            commitment: commitment(salt, &digest),
        };
        if position > 0 {
            self.out.push(',');
        }
        append_unclosed(&mut self.out, head);
        self.out.push_str(",\"parameters\":{");
        for (index, (key, value)) in parameters.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            append_json(&mut self.out, key);
            self.out.push(':');
            self.out.push_str(value);
        }
        self.out.push_str("},\"content\":");
        match plan.saved {
            0 => self.out.push_str(&content.json),
            _ => content.write_content(plan, &mut self.out),
        }
        self.out.push_str(",\"content_sha256\":");
        append_json(&mut self.out, &hashes.content);
        self.out.push_str(",\"context_sha256\":");
        append_json(&mut self.out, &hashes.context);
        self.out.push_str(",\"salt\":");
        append_json(&mut self.out, &kernel::hex::encode(salt));
        self.out.push('}');
        (position, hashes)
    }

    /// Closes the document and returns its JSON.
    pub fn finish(mut self) -> String {
        self.out.push_str("]}");
        self.out
    }

    /// A document without items that holds a whole request as received, as base64 of its protobuf.
    pub fn quarantine(head: &DocumentHead<'_>, request: &[u8]) -> String {
        use base64::Engine as _;
        let mut out = String::with_capacity(1024 + request.len() * 4 / 3);
        append_unclosed(&mut out, head);
        out.push_str(",\"items\":[],\"request\":\"");
        base64::engine::general_purpose::STANDARD.encode_string(request, &mut out);
        out.push_str("\"}");
        out
    }
}

/// The salted commitment to a content hash, hex.
pub fn commitment(salt: &[u8; 32], content: &[u8; 32]) -> String {
    kernel::hex::encode(&Sha256::digest_parts([&b"ctx1\0"[..], salt, content]))
}

/// Appends a reference to an earlier piece.
fn append_base(out: &mut String, source: &PieceSource) {
    let PieceSource { fragment, item, piece } = source;
    out.push_str(&format!("\"base\":{{\"fragment\":\"{fragment}\",\"item\":{item},\"piece\":{piece}}}"));
}

/// A document as read back.
#[derive(Deserialize)]
pub struct FragmentDocument {
    #[serde(flatten)]
    pub head: DocumentHead<'static>,
    pub items: Vec<DocumentItem>,
    /// Base64 of a request that could not be processed.
    pub request: Option<String>,
}

/// An item as read back.
#[derive(Serialize, Deserialize)]
pub struct DocumentItem {
    #[serde(flatten)]
    pub head: ItemHead<'static>,
    /// Request and response parameters.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    pub content: Vec<ReadPiece>,
    /// SHA-256 of the content, hex.
    pub content_sha256: String,
    /// SHA-256 of the context, hex.
    pub context_sha256: Option<String>,
    /// Salt of the commitment, hex.
    pub salt: String,
}

/// A piece of content as read back.
#[derive(Serialize, Deserialize)]
pub struct ReadPiece {
    pub part: String,
    /// Place in the item: `span`, `log`, `body`, `event`, …
    pub on: String,
    pub key: Option<String>,
    pub event: Option<String>,
    /// The content itself.
    pub value: serde_json::Value,
}
