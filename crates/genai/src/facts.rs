//! The facts that the vocabulary reads from one payload, computed once per batch (`facts` of `pipeline::Batch`).
//!
//! [`Facts`] holds one [`ItemFacts`] per item, in the order of `Payload::items`. These types have no `Debug`, because
//! they hold telemetry text. The dialects are read in `item_facts` and `content`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use otlp::{AttrId, NodeId, OwnedValue, Payload, TextField, Value};

/// Maximum number of unrecognized usage keys that an item's facts hold.
pub(crate) const MAX_UNRECOGNIZED_KEYS: usize = 8;

kernel::word_enum! {
    /// The role of an item in a run. The words are those of index lines and fragments.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub ItemRole {
        /// A model call whose tokens are billed on this item.
        Model = "model",
        /// A model call that is a copy, a roll-up, or a failure without usage: not billable, but still recorded as a
        /// model call. A rule that names this role is for a copy.
        #[serde(rename = "copy")]
        ModelCopy = "model_copy",
        /// A tool call.
        Tool = "tool",
        /// An agent invocation (run root or sub-agent).
        Agent = "agent",
        /// The end of a turn (`claude_code.turn.stop`, …).
        TurnEnd = "turn_end",
        /// The end of a session.
        SessionEnd = "session_end",
        /// A permission decision.
        Permission = "permission",
        /// Any other item.
        #[default]
        Other = "other",
    }
}

kernel::word_enum! {
    /// The part of a conversation that a content place holds. The words are those of index lines and fragments.
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub ContentPart {
        /// Prompt, input messages.
        Input = "input",
        /// Completion, output messages.
        Output = "output",
        /// System instructions.
        System = "system",
        /// Tool definitions.
        Tools = "tools",
        /// Arguments of a tool call.
        ToolArgs = "tool_args",
        /// Result of a tool call.
        ToolResult = "tool_result",
        /// Any other content, including unlisted text of agent items.
        #[default]
        Other = "other",
    }
}

impl ContentPart {
    /// The conventional attribute for a reference to this part of the conversation.
    pub fn reference_key(self) -> Option<&'static str> {
        Some(match self {
            Self::Input => "gen_ai.input.messages_ref",
            Self::Output => "gen_ai.output.messages_ref",
            Self::System => "gen_ai.system_instructions_ref",
            Self::Tools => "gen_ai.tool.definitions_ref",
            Self::ToolArgs => "gen_ai.tool.call.arguments_ref",
            Self::ToolResult => "gen_ai.tool.call.result_ref",
            Self::Other => return None,
        })
    }

    /// Returns true for a conventional attribute for references.
    pub fn is_reference_key(key: &str) -> bool {
        Self::ALL.iter().any(|part| part.reference_key() == Some(key))
    }
}

/// The location of content within its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentLocation {
    /// An attribute (of the item, its events, its scope or resource).
    Attribute(AttrId),
    /// The body of the log record.
    Body,
    /// The message of the span's status.
    Status,
    /// The name of the span, which is replaced by [`EmbeddedContent::name`].
    Name,
    /// A listed part of a value that otherwise stays: the index in [`EmbeddedContent::parts`].
    Embedded(u32),
}

impl ContentLocation {
    /// The field of `node` with the text, if it is neither an attribute nor a body.
    pub fn field(self, payload: &Payload, node: NodeId) -> Option<TextField> {
        match self {
            Self::Status => Some(TextField::StatusMessage),
            Self::Name => Some(payload.name_field(node)),
            Self::Attribute(_) | Self::Body | Self::Embedded(_) => None,
        }
    }

    /// The value there on `node`, if it has one.
    pub fn value(self, payload: &Payload, node: NodeId) -> Option<Value<'_>> {
        match self {
            Self::Attribute(id) => payload.attribute(id).map(|attribute| attribute.value),
            Self::Body => payload.body(node),
            _ => {
                let text = payload.text(node, self.field(payload, node)?);
                Some(Value::Str(text)).filter(|_| !text.is_empty() || self == Self::Name)
            }
        }
    }

    /// The attribute's key, or the name of the field.
    pub fn key(self, payload: &Payload) -> Option<&str> {
        match self {
            Self::Attribute(id) => payload.attribute(id).map(|attribute| attribute.key),
            Self::Body => Some("body"),
            Self::Status => Some("status.message"),
            Self::Name => Some("name"),
            Self::Embedded(_) => None,
        }
    }
}

/// Content inside values that otherwise stay, and the edits that remove it.
#[derive(Clone, Default)]
pub struct EmbeddedContent {
    /// The content parts that were found.
    pub parts: Vec<EmbeddedContentPart>,
    /// The edits that remove the parts from their values.
    pub edits: Vec<EmbeddedContentEdit>,
    /// The replacement for the span's name, if the name is content.
    pub name: Option<String>,
}

/// One content part taken out of a value.
#[derive(Clone)]
pub struct EmbeddedContentPart {
    /// The location: `attribute#key`, `status.message#key`, or `#key` in a log body.
    pub key: String,
    /// The content, as JSON.
    pub value: String,
}

/// The removal of content parts from one value.
#[derive(Clone)]
pub struct EmbeddedContentEdit {
    /// The node that carries the value.
    pub node: NodeId,
    /// The place of the value on that node: an attribute, the log body or the status message.
    pub at: ContentLocation,
    /// Keys of map entries that are removed.
    pub keys: BTreeSet<String>,
    /// Texts that are replaced, with their replacements.
    pub texts: BTreeMap<String, String>,
}

/// One place that holds content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentPlace {
    /// The node that carries the content: the item, an event, a resource and so on.
    pub node: NodeId,
    /// The location on that node.
    pub at: ContentLocation,
    /// The part of the conversation.
    pub part: ContentPart,
    /// The reason why the place counts as content.
    pub basis: ContentBasis,
}

impl ContentPlace {
    /// The content, if the place has any.
    pub fn value<'p>(&self, payload: &'p Payload) -> Option<Value<'p>> {
        self.at.value(payload, self.node)
    }
}

/// The reason why a place counts as content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentBasis {
    /// A content list or event rule of the dialects file names it, or its map has the shape of a chat.
    Listed,
    /// The attribute's key is prose itself, not a name.
    Key,
    /// Guessed from the key's last word or from structure. Guessed content never leaves the vault.
    Guessed,
    /// On a closed item, under a key known to hold labels, but the value has not the shape of one.
    LongLabel,
    /// On a closed item, under a key that no list names.
    Unlisted,
}

/// Declares each count of tokens once: its field in [`TokenUsage`], and its bucket with the same name.
macro_rules! token_counts {
    ($($(#[$doc:meta])* $field:ident: $bucket:ident = $word:literal,)*) => {
        kernel::word_enum! {
            /// What a count of tokens counts. The words are the names of the lists in `usage`.
            pub(crate) TokenBucket { $($bucket = $word,)* }
        }

        /// Token counts as reported, before the buckets are made disjoint. `None` = not reported.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TokenUsage {
            $($(#[$doc])* pub $field: Option<u64>,)*
            /// A count was negative, fractional or not a number.
            pub invalid_count: bool,
            /// Two attributes that spell the same count disagree; the first in the dialect's list was used.
            pub conflicting_counts: bool,
            /// A number is under an unrecognized usage key.
            pub unrecognized_counts: bool,
            /// Neither a list nor the numbers say whether input and output include the audio, image and video tokens.
            pub undecided_parts: bool,
        }

        impl TokenUsage {
            pub(crate) fn count_mut(&mut self, bucket: TokenBucket) -> &mut Option<u64> {
                match bucket { $(TokenBucket::$bucket => &mut self.$field,)* }
            }
        }
    };
}

token_counts! {
    /// Input tokens as reported.
    input: Input = "input",
    /// Output tokens as reported.
    output: Output = "output",
    /// Input tokens read from a cache.
    cache_read: CacheRead = "cache_read",
    /// Input tokens written to a cache, with no lifetime reported.
    cache_write: CacheWrite = "cache_write",
    /// Input tokens written to a cache for 5 minutes.
    cache_write_5m: CacheWrite5m = "cache_write_5m",
    /// Input tokens written to a cache for 1 hour.
    cache_write_1h: CacheWrite1h = "cache_write_1h",
    /// Reasoning tokens.
    reasoning: Reasoning = "reasoning",
    /// Total tokens as reported.
    total: Total = "total",
    /// Text tokens, a part of input.
    input_text: InputText = "input_text",
    /// Text tokens, a part of output.
    output_text: OutputText = "output_text",
    /// Audio tokens, a subset of input.
    input_audio: InputAudio = "input_audio",
    /// Audio tokens, a subset of output.
    output_audio: OutputAudio = "output_audio",
    /// Cached audio tokens, a subset of cache read.
    cache_read_audio: CacheReadAudio = "cache_read_audio",
    /// Image tokens, a subset of input.
    input_image: InputImage = "input_image",
    /// Image tokens, a subset of output.
    output_image: OutputImage = "output_image",
    /// Video tokens, a subset of input.
    input_video: InputVideo = "input_video",
}

impl TokenBucket {
    /// Returns true for tokens of a medium other than text, which are a part of input or output.
    pub(crate) fn is_medium(self) -> bool {
        self >= Self::InputAudio && self != Self::CacheReadAudio
    }
}

impl TokenUsage {
    /// The reported counts with their names.
    pub fn counts(self) -> impl Iterator<Item = (&'static str, u64)> {
        TokenBucket::ALL.iter().filter_map(move |bucket| Some((bucket.as_str(), self.count(*bucket)?)))
    }

    pub(crate) fn count(mut self, bucket: TokenBucket) -> Option<u64> {
        *self.count_mut(bucket)
    }

    /// Adds a count that the words of a key name.
    pub(crate) fn add_spelled(&mut self, bucket: TokenBucket, count: u64) {
        let known = *self.count_mut(bucket).get_or_insert(count);
        self.conflicting_counts |= known != count;
        self.undecided_parts |= bucket.is_medium() && count > 0;
    }

    /// Adds audio, image and video tokens to input and output if the text count, the total or a smaller whole shows
    /// that they are not included. Sets `undecided_parts` if nothing shows whether they are.
    pub(crate) fn include_parts(&mut self) {
        let sum =
            |counts: &[Option<u64>]| counts.iter().flatten().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let (in_parts, out_parts) = (
            sum(&[self.input_audio, self.input_image, self.input_video]),
            sum(&[self.output_audio, self.output_image]),
        );
        let wholes = sum(&[self.input, self.output]);
        let total_excludes = self.total == Some(sum(&[Some(wholes), Some(in_parts), Some(out_parts)]));
        let total_decides = total_excludes || self.total == Some(wholes);
        let sides = [(&mut self.input, self.input_text, in_parts), (&mut self.output, self.output_text, out_parts)];
        self.undecided_parts = false;
        for (whole, text, parts) in sides.into_iter().filter(|(_, _, parts)| *parts > 0) {
            let reported = whole.unwrap_or(0);
            let is_included = text.is_some_and(|text| text.saturating_add(parts) == reported);
            if !is_included && (parts > reported || text == Some(reported) || total_excludes) {
                *whole = Some(sum(&[*whole, Some(parts)]));
            } else {
                self.undecided_parts |= !is_included && !total_decides;
            }
        }
    }

    /// Returns true if any billed count is above zero, or a count could not be read.
    pub fn has_billed_tokens(&self) -> bool {
        self.invalid_count || self.billed_counts().any(|count| count > 0)
    }

    /// The billed counts that the emitter reported.
    fn billed_counts(&self) -> impl Iterator<Item = u64> {
        let inputs = [self.input, self.cache_read, self.cache_write, self.cache_write_5m, self.cache_write_1h];
        inputs.into_iter().chain([self.output, self.reasoning]).flatten()
    }

    /// Returns true if the emitter reported any billed count, even zero.
    pub fn is_reported(&self) -> bool {
        self.invalid_count || self.billed_counts().next().is_some()
    }
}

/// Inputs to a call's price other than tokens. Values are as sent, trimmed and in lower case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PriceContext {
    /// Service tier of the response, else of the request (`flex`, `priority`, `batch`, …).
    pub service_tier: Option<String>,
    /// Speed mode, such as `fast`.
    pub speed: Option<String>,
    /// The region where the model ran, as Anthropic reports it (`us`).
    pub inference_geo: Option<String>,
    /// Host that was called.
    pub server_address: Option<String>,
    /// Web searches that the provider charges for.
    pub web_searches: u64,
    /// File searches that the provider charges for.
    pub file_searches: u64,
    /// How the call is billed, as far as the client says with which kind of credential it called.
    pub billing: Option<BillingBasis>,
}

kernel::word_enum! {
    /// How a call is billed. The words are the values of `tollgate.billing`.
    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub BillingBasis {
        /// By the rate table: the price is to pay.
        #[default]
        Api = "api",
        /// Included in a seat's price.
        Subscription = "subscription",
        /// Included in the price of reserved capacity.
        Provisioned = "provisioned",
    }
}

kernel::word_enum! {
    /// The billing status of a call. The words are the values of `tollgate.cost.status`.
    #[derive(Default)]
    pub BillingStatus {
        /// Priced here.
        Priced = "priced",
        /// The call should have a price, but none could be determined.
        #[default]
        Unpriced = "unpriced",
        /// The price comes later: the same call is billed on its other signal, or its model or provider is not known
        /// yet.
        Deferred = "deferred",
        /// A repeat or copy of a call that was priced.
        NotCounted = "not_counted",
        /// A change of what earlier items were charged; negative if they were charged too much.
        Correction = "correction",
    }
}

/// Token buckets that do not overlap.
// The input-side buckets add up to the size of the prompt. A cache lifetime that was not reported counts as 5 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TokenBuckets")]
pub struct CallTokenBuckets {
    /// Input tokens outside of caches.
    pub input: u64,
    /// Tokens read from a cache.
    pub cache_read: u64,
    /// Tokens written to a cache for 5 minutes.
    pub cache_write_5m: u64,
    /// Tokens written to a cache for 1 hour.
    pub cache_write_1h: u64,
    /// Output tokens, reasoning included.
    pub output: u64,
    /// Reasoning tokens.
    pub reasoning: u64,
}

impl CallTokenBuckets {
    /// Each bucket combined with the same one of `other`.
    #[must_use]
    pub fn combine(self, other: Self, op: fn(u64, u64) -> u64) -> Self {
        Self {
            input: op(self.input, other.input),
            cache_read: op(self.cache_read, other.cache_read),
            cache_write_5m: op(self.cache_write_5m, other.cache_write_5m),
            cache_write_1h: op(self.cache_write_1h, other.cache_write_1h),
            output: op(self.output, other.output),
            reasoning: op(self.reasoning, other.reasoning),
        }
    }
}

/// The result of the cost processor. [`ItemFacts::cost`] is `None` until the processor has run, and for items that are
/// not calls.
#[derive(Clone, Default)]
pub struct CallCost {
    /// The billing status.
    pub status: BillingStatus,
    /// The price in USD as exact decimal text; only when priced.
    pub usd: Option<String>,
    /// The same price in 1e-18 USD, for exact sums.
    pub atto_usd: Option<i128>,
    /// The price of a call that is not counted, because another worker of the fleet counts it for the same source
    /// record.
    pub uncounted_usd: Option<Box<str>>,
    /// What the call costs by now, in 1e-18 USD: with what earlier records of it were charged, without what the amount
    /// changes for other calls. `None`: this item was not charged for it.
    pub call_atto_usd: Option<i128>,
    /// What caching saved of the price and of what the call costs by now, in 1e-18 USD; negative if cache writes cost
    /// more than reads saved.
    pub saved_atto_usd: i128,
    pub call_saved_atto_usd: i128,
    /// The earlier items whose charges the amount corrects, as far as runs don't see it by themselves.
    pub corrected: Vec<CostCorrection>,
    /// The tokens that were billed for an earlier record of the call; the amount is what is due on top of them.
    pub billed_before: Option<Box<crate::usage::TokenSplit>>,
    /// Version and digest of the rate table.
    pub rate_table: std::sync::Arc<str>,
    /// The rate row used; only when priced.
    pub rate_row: Option<String>,
    /// How the call is billed.
    pub billing: BillingBasis,
    /// The part of the price that plans cover, in 1e-18 USD.
    pub covered_atto_usd: i128,
    /// Digest of the overlays that apply to this tenant only, if it has any.
    pub contract: Option<Box<str>>,
    /// The reason why the call is unpriced.
    pub reason: Option<&'static str>,
    /// The tokens that were billed, or would have been billed if a rate had been found.
    pub buckets: CallTokenBuckets,
}

/// A change of what an earlier item was charged.
#[derive(Clone)]
pub struct CostCorrection {
    /// Trace id of that item; zeros: none.
    pub trace: [u8; 16],
    /// Its span, or the span in which the log record was written; zeros: none.
    pub span: [u8; 8],
    /// The item is a span.
    pub is_span: bool,
    /// 1e-18 USD; negative if it was charged too much.
    pub atto_usd: i128,
    /// What caching saved of it.
    pub saved_atto_usd: i128,
    /// A plan covers the item's call, so nothing is to pay.
    pub is_covered: bool,
}

/// The facts of one item.
#[derive(Clone, Default)]
pub struct ItemFacts {
    /// The span, log record or data point.
    pub node: NodeId,
    /// Dialect id from `config/dialects.yaml`, e.g. `claude-code-native`.
    pub dialect: Option<&'static str>,
    /// Whether the item belongs to an agent's run: it has a dialect, or shares its trace or session with such an item
    /// in the request. For runs and cost only.
    pub agent: bool,
    /// Whether text stays on the item only in the shape that its key allows, because the item itself shows a dialect or
    /// its resource is an agent's (`docs/decisions/0001-agent-items-and-content.md`).
    pub closed: bool,
    /// Whether the item's resource is an agent's.
    pub of_agent_resource: bool,
    /// The item's role in a run.
    pub call: ItemRole,
    /// The item's tokens are priced here: calls with usage, and turn ends that are the only carrier of usage.
    pub billable: bool,
    /// The dialect reports the same call on a second signal (Claude Code: log and span). The two are joined by
    /// `call_key`.
    pub on_two_signals: bool,
    /// For a call on two signals: clients can be configured to send this signal without the other.
    pub may_lack_other_signal: bool,
    /// An agent invocation that is one turn of a conversation. It has no enclosing agent, whatever its parent span is.
    pub is_turn: bool,
    /// Emitted by a vendor's own SDK, below or beside an instrumentation's span of the same call.
    pub from_vendor_sdk: bool,
    /// Repeats a call that is billed elsewhere in this request or on another record.
    pub copy: bool,
    /// The operation's name is unknown; only its tokens and its place in the trace suggest that it is a call.
    pub guessed: bool,
    /// A copy that counts as the call itself if the span of the call never arrives.
    pub counts_if_no_span: bool,
    /// The model is sold by image, second or page, and no tokens are reported.
    pub sold_by_other_unit: bool,
    /// A model call that succeeded without reporting tokens, with no related span in the same request reporting them
    /// either. The call counts, but its price cannot be determined.
    pub no_usage: bool,
    /// Identity of a model call: the provider's response id; for a span without one, trace and span id; for a log
    /// without one, session, trace, span, time and tokens. Only on billable items and model calls.
    pub call_key: Option<String>,
    /// Name of a log event without the dialect's prefix (`api_request`, `gen_ai.choice`).
    pub event: Option<String>,
    /// Operation in the current vocabulary of `gen_ai.operation.name`, e.g. `chat`, `execute_tool`.
    pub operation: Option<String>,
    /// Session id as sent.
    pub session: Option<String>,
    /// Id of the agent invocation as sent, if the dialect reports one. Otherwise the run is derived from the trace and
    /// its spans.
    pub run: Option<String>,
    /// Id of the sub-agent that acted, as sent, if the dialect distinguishes it from the main agent.
    pub sub_agent: Option<String>,
    /// Turn id or number as sent.
    pub turn: Option<String>,
    /// Iteration number.
    pub iteration: Option<i64>,
    /// User id as sent. Like tenant and feature: the item's own, else as described in `owners`.
    pub user: Option<String>,
    /// The user is another item's of the same run or session in an earlier request, whoever sent that.
    pub is_user_adopted: bool,
    /// The id that the client named as the user's, if its credential proves another one.
    pub claimed_user: Option<String>,
    /// Tenant. `None` = `unattributed`.
    pub tenant: Option<String>,
    /// Feature (`feature`, `agent.feature`, `gen_ai.agent.name`).
    pub feature: Option<String>,
    /// Whether tenant, feature and user are decided, in this order; the others may still follow from the run.
    pub owner_decided: [bool; 3],
    /// Agent id, or service name.
    pub actor: Option<String>,
    /// Canonical provider name.
    pub provider: Option<String>,
    /// Requested model: the call's own, or inherited from an ancestor in the batch.
    pub request_model: Option<String>,
    /// Model that answered.
    pub response_model: Option<String>,
    /// The provider's id of the response.
    pub response_id: Option<String>,
    /// The call takes model and provider from an ancestor if it does not report them itself.
    pub inherits_model: bool,
    /// Reported tokens.
    pub usage: TokenUsage,
    /// Unrecognized usage keys with a number, at most eight.
    pub unrecognized_usage: Vec<Box<str>>,
    /// Service tier, speed, region and the like, if the call reports any.
    pub context: Option<Box<PriceContext>>,
    /// Whether `usage.input` includes the cached tokens, according to the dialect. `None` = not known.
    pub input_includes_cached: Option<bool>,
    /// Whether `usage.output` leaves reasoning out.
    pub output_excludes_reasoning: bool,
    /// An agent's tokens may also be those of its earlier invocations.
    pub accumulates: bool,
    /// The total comes from the provider; the instrumentation did not add it up.
    pub total_by_provider: bool,
    /// The result of the cost processor.
    pub cost: Option<Box<CallCost>>,
    /// Cost as the emitter reported it, as decimal text in USD.
    pub reported_cost: Option<String>,
    /// Tool name.
    pub tool: Option<String>,
    /// Tool call id.
    pub tool_call: Option<String>,
    /// Finish / stop reason.
    pub finish: Option<String>,
    /// Whether the item failed: status ERROR, `error=true`, `success=false`, a non-zero exit code, or a stop reason
    /// that means failure.
    pub failed: bool,
    /// Error type, if it has the shape of a label.
    pub error: Option<String>,
    /// HTTP status of the call, e.g. 429 or 529.
    pub status: Option<u16>,
    /// Outcome of a permission decision as sent (`accept`, `reject`, `denied` …).
    pub decision: Option<String>,
    /// Trace id from an attribute or body entry, as sent.
    pub trace: Option<String>,
    /// Span id from an attribute or body entry, as sent.
    pub span: Option<String>,
    /// Numbers and ids extracted from content, with the attributes they are to be written to.
    pub extracted: Vec<(&'static str, OwnedValue)>,
    /// Attributes whose type differs from the semantic conventions, with their values converted to the right type.
    pub converted: Vec<(AttrId, OwnedValue)>,
    /// Content to be stripped, in order of nodes and attributes. The places of a shared node (resource, scope) are
    /// listed on the first agent item below it, or on the first item if there is no agent item.
    pub content: Vec<ContentPlace>,
    /// Error texts of the item and its events. They stay without their quotations, and are redacted.
    pub errors: Vec<ContentPlace>,
    /// The item's error texts are a tool's output, so they are listed in `content`.
    pub tool_failed: bool,
    /// Content inside values that stay. Its parts are listed in `content` too.
    pub embedded: Option<Box<EmbeddedContent>>,
}

impl ItemFacts {
    /// Whether it is tollgate's own record of a budget's answer or of a grant (`budgets/record`): no agent's work.
    pub fn is_budget_record(&self) -> bool {
        self.dialect == Some("tollgate-budgets")
    }

    /// The attributes that are content or hold some.
    pub fn content_attributes(&self) -> impl Iterator<Item = AttrId> + '_ {
        let parts = self.embedded.iter().flat_map(|embedded| &embedded.edits).map(|edit| edit.at);
        self.content.iter().map(|place| place.at).chain(parts).filter_map(|at| match at {
            ContentLocation::Attribute(id) => Some(id),
            _ => None,
        })
    }

    /// Returns the provider's response id if the call is identified by it.
    pub fn provider_response_id(&self) -> Option<&str> {
        let known = self.call_key.as_deref().is_some_and(|key| key.starts_with("r/"));
        self.response_id.as_deref().filter(|_| known)
    }
}

/// The facts of all items of one payload.
#[derive(Clone, Default)]
pub struct Facts {
    /// One entry per item, in `Payload::items` order.
    pub items: Vec<ItemFacts>,
    /// Whether any item is an agent item.
    pub has_agent_items: bool,
    /// Calls of earlier batches that were priced from information in this batch.
    pub late_prices: Vec<LatePrice>,
}

/// The price of an earlier call whose model or provider was reported later than the call itself.
#[derive(Clone)]
pub struct LatePrice {
    /// Identity of the call, as in [`ItemFacts::call_key`].
    pub call_key: String,
    /// Trace id of the call.
    pub trace: [u8; 16],
    /// Span id of the call.
    pub span: [u8; 8],
    /// Span id of the call's parent.
    pub parent: [u8; 8],
    /// Session id as sent.
    pub session: Option<String>,
    /// Tenant of the call.
    pub tenant: Option<String>,
    /// Everything the price was computed from.
    pub basis: super::usage::PriceBasis,
    /// The resulting price.
    pub cost: CallCost,
}
