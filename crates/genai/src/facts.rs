//! **What**: what the vocabulary read in one payload. Made once per batch (`facts` of `pipeline::Batch`).
//! **Invariants**: one [`ItemFacts`] per item of the payload, in `Payload::items` order; no `Debug` (holds text).
//! **Not here**: how it is read (`dialects`).

use std::collections::{BTreeMap, BTreeSet};

use otlp::{AttrId, Node, OwnedValue};

/// What an item is, in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A model call whose tokens are billable here (`count_on`).
    Model,
    /// A model call that is a copy, roll-up or failure without usage: not billable, still an LLM record.
    ModelCopy,
    /// A tool call.
    Tool,
    /// An agent invocation (run root or sub-agent).
    Agent,
    /// The end of a turn (`claude_code.turn.stop`, …).
    TurnEnd,
    /// The end of a session.
    SessionEnd,
    /// A permission decision.
    Permission,
    /// Something else of an agent.
    Other,
}

/// Which part of a conversation a content place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Prompt, input messages.
    Input,
    /// Completion, output messages.
    Output,
    /// System instructions.
    System,
    /// Tool definitions.
    Tools,
    /// Arguments of a tool call.
    ToolArgs,
    /// Result of a tool call.
    ToolResult,
    /// Anything else that is content (unlisted text of agent items too).
    Other,
}

impl Part {
    /// The word in index lines and fragments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::System => "system",
            Self::Tools => "tools",
            Self::ToolArgs => "tool_args",
            Self::ToolResult => "tool_result",
            Self::Other => "other",
        }
    }
}

/// Where content stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentAt {
    /// An attribute (of the item, its events, its scope or resource).
    Attribute(AttrId),
    /// The body of the log record.
    Body,
    /// The message of the span's status.
    Status,
    /// The name of the span: another takes its place.
    Name,
    /// A listed part of a value that stays: the index in [`Inside::parts`].
    Inside(u32),
}

/// Content of an item inside values that stay, and what takes it out.
#[derive(Clone, Default)]
pub struct Inside {
    /// The parts.
    pub parts: Vec<InsidePart>,
    /// The changes.
    pub edits: Vec<InsideEdit>,
    /// What the span's name becomes, where it is content.
    pub name: Option<String>,
}

/// A part of a value.
#[derive(Clone)]
pub struct InsidePart {
    /// `attribute#key`, or `#key` in a body.
    pub key: String,
    /// JSON.
    pub value: String,
}

/// What takes parts out of one value.
#[derive(Clone)]
pub struct InsideEdit {
    /// The node that carries it.
    pub node: Node,
    /// The attribute; none: the body.
    pub attribute: Option<AttrId>,
    /// Entries of maps that go.
    pub keys: BTreeSet<String>,
    /// Texts and what they become.
    pub texts: BTreeMap<String, String>,
}

/// One content place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentPlace {
    /// The node that carries it (item, event, resource …).
    pub node: Node,
    /// Where on it.
    pub at: ContentAt,
    /// What it holds.
    pub part: Part,
    /// Why it is content.
    pub basis: Basis,
}

/// Why a place holds content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A list, an event or the shape of a chat says so.
    Listed,
    /// The attribute's key is text itself.
    Key,
    /// A guess by the key's last word or by structure: only the vault may hold it.
    Guessed,
    /// Of an agent's item, under a key that is known to hold labels; its value is longer than a label.
    LongLabel,
    /// Of an agent's item, under a key that no list names.
    Unlisted,
}

impl Basis {
    /// Longest text that may leave once enough sessions have sent the same one, bytes.
    pub fn provable_bytes(self) -> usize {
        match self {
            Self::Listed | Self::Key | Self::Guessed => 0,
            Self::LongLabel => 256,
            Self::Unlisted => 64,
        }
    }
}

/// Tokens as reported, before buckets are made disjoint. None = not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Reported input.
    pub input: Option<u64>,
    /// Reported output.
    pub output: Option<u64>,
    /// Cache read.
    pub cache_read: Option<u64>,
    /// Cache write, unspecified.
    pub cache_write: Option<u64>,
    /// Cache write, 5 minutes.
    pub cache_write_5m: Option<u64>,
    /// Cache write, 1 hour.
    pub cache_write_1h: Option<u64>,
    /// Reasoning.
    pub reasoning: Option<u64>,
    /// Reported total.
    pub total: Option<u64>,
    /// Audio tokens, a subset of input.
    pub input_audio: Option<u64>,
    /// Audio tokens, a subset of output.
    pub output_audio: Option<u64>,
    /// Cached audio tokens, a subset of cache read.
    pub cache_read_audio: Option<u64>,
    /// Image tokens, a subset of input.
    pub input_image: Option<u64>,
    /// Image tokens, a subset of output.
    pub output_image: Option<u64>,
    /// Video tokens, a subset of input.
    pub input_video: Option<u64>,
    /// A count was negative, fractional or not a number.
    pub bad: bool,
    /// Two spellings of one count say different numbers; the first of the dialect's list was taken.
    pub conflict: bool,
}

impl Usage {
    /// Whether any count that is billed is more than zero, or can't be read.
    pub fn spent(&self) -> bool {
        let counts =
            [self.input, self.output, self.cache_read, self.cache_write, self.cache_write_5m, self.cache_write_1h];
        self.bad || counts.into_iter().flatten().chain(self.reasoning).any(|count| count > 0)
    }

    /// Whether the emitter reported any count that is billed.
    pub fn reported(&self) -> bool {
        self.bad
            || self.input.is_some()
            || self.output.is_some()
            || self.cache_read.is_some()
            || self.cache_write.is_some()
            || self.cache_write_5m.is_some()
            || self.cache_write_1h.is_some()
            || self.reasoning.is_some()
    }
}

/// What a call's price depends on besides tokens. Raw values as sent, trimmed and in lower case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PriceContext {
    /// Tier of the response, else of the request (`flex`, `priority`, `batch`, …).
    pub service_tier: Option<String>,
    /// `fast` and the like.
    pub speed: Option<String>,
    /// Where the model ran, as Anthropic reports it (`us`).
    pub inference_geo: Option<String>,
    /// Host that was called.
    pub server_address: Option<String>,
    /// Web searches that the provider charges for.
    pub web_searches: u64,
    /// File searches that the provider charges for.
    pub file_searches: u64,
}

/// What became of a call's price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Billing {
    /// Priced here.
    Priced,
    /// It should have a price and has none.
    Unpriced,
    /// The same call is billed on its other signal, or when its model or provider comes.
    Deferred,
    /// A repeat or copy of a call that was priced.
    NotCounted,
}

impl Billing {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Priced, Self::Unpriced, Self::Deferred, Self::NotCounted];

    /// The value of `tollgate.cost.status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Unpriced => "unpriced",
            Self::Deferred => "deferred",
            Self::NotCounted => "not_counted",
        }
    }
}

/// Disjoint token buckets; the sum of the input side is the prompt's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Input that was neither read from nor written to a cache.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written for 5 minutes (or for a time that was not told).
    pub cache_write_5m: u64,
    /// Written for 1 hour.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// The part of output that was reasoning, where it was told.
    pub reasoning: u64,
}

/// What the cost processor found. `None` in [`ItemFacts::cost`] until it ran, and for what is no call.
#[derive(Clone)]
pub struct Cost {
    /// What became of it.
    pub status: Billing,
    /// Exact decimal text in USD, only when priced.
    pub usd: Option<String>,
    /// The same in 1e-18 USD, for exact sums.
    pub atto_usd: Option<i128>,
    /// What the same answer cost with the output that it had before, likewise: `atto_usd` comes on top.
    pub before_atto_usd: i128,
    /// The tokens that it was billed for before.
    pub before: Option<Box<crate::usage::Split>>,
    /// Version and digest of the rate table.
    pub rates: std::sync::Arc<str>,
    /// The row used, only when priced.
    pub rate: Option<String>,
    /// The overlays of its tenant alone, where it has any: a digest.
    pub contract: Option<Box<str>>,
    /// Why unpriced.
    pub reason: Option<&'static str>,
    /// What was billed; also when unpriced for the lack of a rate.
    pub buckets: Buckets,
}

/// What one item says.
#[derive(Clone)]
pub struct ItemFacts {
    /// The span, log record or data point.
    pub node: Node,
    /// Dialect id of `config/dialects.yaml`, e.g. `claude-code-native`.
    pub dialect: Option<&'static str>,
    /// Agent item, as `docs/decisions/0001-agent-items-and-content.md` defines.
    pub agent: bool,
    /// Of a service that is an agent's, though nothing says so of the item itself: its texts are judged as an agent's.
    pub of_agent_service: bool,
    /// What it is.
    pub call: Call,
    /// Its tokens are to be priced here (calls with usage, and turn ends that are the only carrier of usage).
    pub billable: bool,
    /// The same call also comes on another signal of this dialect (Claude Code: log and span): join by `call_key`.
    pub twin: bool,
    /// Of a twin: clients may be told to send this signal without the other.
    pub may_be_alone: bool,
    /// An agent invocation that is a turn of a conversation: no agent is above it, whatever its parent is.
    pub is_turn: bool,
    /// Made by a vendor's SDK itself, below or beside an instrumentation's span of the same call.
    pub inner: bool,
    /// Repeats a call that is billed elsewhere in this request, or on another record.
    pub copy: bool,
    /// Its operation has a name that nobody knows: tokens and place alone say that it is a call.
    pub guessed: bool,
    /// A copy that is the call itself where its span never comes.
    pub if_no_span: bool,
    /// Sold by image, second or page, and no tokens are told.
    pub unbilled: bool,
    /// A model call that ended well and tells no tokens, where nothing about it in the same request does: its price
    /// can't be known, but it was made.
    pub no_usage: bool,
    /// What identifies the call: the provider's response id, else trace and span id. Only on model calls.
    pub call_key: Option<String>,
    /// Bare name of a log event (`api_request`, `gen_ai.choice`), without the dialect's prefix.
    pub event: Option<String>,
    /// `gen_ai.operation.name` in today's words, e.g. `chat`, `execute_tool`.
    pub operation: Option<String>,
    /// Session id (raw).
    pub session: Option<String>,
    /// Id of the agent invocation (raw), where the dialect tells one; elsewhere the trace and its spans tell.
    pub run: Option<String>,
    /// Id of the sub-agent that acted (raw), where the dialect tells it apart from the main one.
    pub sub_agent: Option<String>,
    /// Turn id or number (raw).
    pub turn: Option<String>,
    /// Iteration number.
    pub iteration: Option<i64>,
    /// User id (raw).
    pub user: Option<String>,
    /// Tenant: span, then resource; None = `unattributed`.
    pub tenant: Option<String>,
    /// Feature (`feature`, `agent.feature`, `gen_ai.agent.name`).
    pub feature: Option<String>,
    /// Agent id or service name: who acted.
    pub actor: Option<String>,
    /// Canonical provider name.
    pub provider: Option<String>,
    /// Model asked for (own, or inherited from an ancestor in the batch).
    pub request_model: Option<String>,
    /// Model that answered.
    pub response_model: Option<String>,
    /// Provider's response id.
    pub response_id: Option<String>,
    /// Takes model and provider from an ancestor, where it tells none.
    pub inherits: bool,
    /// Tokens.
    pub usage: Usage,
    /// Tier, speed, region, where the call tells any.
    pub context: Option<Box<PriceContext>>,
    /// Whether `usage.input` includes the cached tokens, by the dialect's rules; None = not known.
    pub input_includes_cached: Option<bool>,
    /// Whether `usage.output` includes reasoning.
    pub output_includes_reasoning: bool,
    /// The total is the provider's own number (not added up by the instrumentation).
    pub total_by_provider: bool,
    /// What the cost processor found.
    pub cost: Option<Box<Cost>>,
    /// Cost as the emitter reported it, decimal text in USD.
    pub reported_cost: Option<String>,
    /// Tool name.
    pub tool: Option<String>,
    /// Tool call id.
    pub tool_call: Option<String>,
    /// Finish / stop reason.
    pub finish: Option<String>,
    /// Failed: status ERROR, `error=true`, success=false, stop_failure, stop reason error.
    pub failed: bool,
    /// Error type, if any: label-shaped.
    pub error: Option<String>,
    /// HTTP status of a failed call, e.g. 429, 529.
    pub status: Option<u16>,
    /// A permission's outcome as sent (`accept`, `reject`, `denied` …).
    pub decision: Option<String>,
    /// Trace id as an attribute or a body's entry tells it, as sent.
    pub trace: Option<String>,
    /// Span id, likewise.
    pub span: Option<String>,
    /// Numbers and ids taken out of content, with the attributes they are written to.
    pub extracted: Vec<(&'static str, OwnedValue)>,
    /// Attributes of another type than the conventions give them, with their values in that type.
    pub mended: Vec<(AttrId, OwnedValue)>,
    /// Content to be stripped, in order of nodes and attributes. Places on a shared node (resource, scope) stand in the
    /// first item below it that is an agent's, else in the first item.
    pub content: Vec<ContentPlace>,
    /// Error texts of the item and its events, which stay and are redacted.
    pub errors: Vec<ContentPlace>,
    /// Its error texts are a tool's output: they are among `content`.
    pub tool_failed: bool,
    /// Content inside values that stay; its parts are among `content`.
    pub inside: Option<Box<Inside>>,
}

impl ItemFacts {
    /// Whether its texts are judged as an agent's.
    pub fn is_agents(&self) -> bool {
        self.agent || self.of_agent_service
    }

    /// The vendor's id of the response, if it is one.
    pub fn vendor_id(&self) -> Option<&str> {
        let known = self.call_key.as_deref().is_some_and(|key| key.starts_with("r/"));
        self.response_id.as_deref().filter(|_| known)
    }
}

/// All items of one payload.
#[derive(Clone, Default)]
pub struct Facts {
    /// In `Payload::items` order.
    pub items: Vec<ItemFacts>,
    /// Whether any item is an agent's.
    pub agent: bool,
    /// Calls of earlier batches that got their price from this one.
    pub late: Vec<LatePrice>,
}

/// A call whose model or provider came later than itself, with its price.
#[derive(Clone)]
pub struct LatePrice {
    /// What identifies the call, as in [`ItemFacts::call_key`].
    pub call_key: String,
    /// Its trace.
    pub trace: [u8; 16],
    /// Its span.
    pub span: [u8; 8],
    /// The parent of its span.
    pub parent: [u8; 8],
    /// Session id (raw).
    pub session: Option<String>,
    /// Tenant.
    pub tenant: Option<String>,
    /// All that its price was made from.
    pub basis: super::usage::Basis,
    /// Its price.
    pub cost: Cost,
}
