//! [`IndexRow`]: one index line, which is also a leaf of the writer's Merkle tree, so one artefact serves queries and
//! proofs.
//!
//! Keys have a fixed order. Columns known only at the ticket come first, so that a line is spliced, not built, under
//! the sequencer's lock. A line has no text that the redaction rules have not checked, and no unsalted hash of
//! plaintext. Neighbours: `vault_writer` (leaf numbers), `uploader` (index objects).

use std::borrow::Cow;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use genai::usage::PriceBasis;
use kernel::sha256::Sha256;

kernel::word_enum! {
    /// Kind of an index line.
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub RowKind {
        /// An item whose content is in a fragment.
        Payload = "payload",
        /// An action without content.
        Action = "action",
        /// Items that could not be processed, sealed as received.
        Quarantine = "quarantine",
        /// The price of a call whose leaf was written before its model or provider was known.
        Price = "price",
        /// The line of this number was lost; the digest's counters give the cause.
        Gap = "gap",
        /// Session keys are about to be destroyed, or were destroyed, by request.
        Erasure = "erasure",
        /// Copies of session keys were made for other auditors.
        KeyCopies = "key_copies",
        /// Shares of a session's keys are about to be opened, by request.
        Opening = "opening",
        /// A budget stopped an agent or made it ask, or was raised by a grant.
        Decision = "decision",
    }
}

impl RowKind {
    /// Whether a line of this kind lists any number of keys, so that it may be longer than [`MAX_LINE`].
    pub fn may_be_long(self) -> bool {
        matches!(self, Self::Erasure | Self::KeyCopies | Self::Opening)
    }
}

/// State of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasureState {
    /// Recorded before the keys are destroyed.
    Begun,
    /// The keys are destroyed.
    Done,
}

/// A session key to be destroyed, with all its copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShreddedKey {
    /// Folder of its key objects: `…keys/account/tenant/session/day/`.
    pub folder: String,
    pub id: String,
}

/// Content of a line of kind `erasure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureRecord {
    /// State of the erasure.
    pub state: ErasureState,
    /// Nonce of the request.
    pub nonce: String,
    /// Who requested the erasure.
    pub who: String,
    /// The reason given.
    pub why: String,
    /// Names of the erasers who signed the request.
    pub signers: Vec<String>,
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Ids of the keys.
    pub key_ids: Vec<String>,
    /// Number of objects (all versions) that were destroyed; null until the erasure is done.
    pub destroyed: Option<u64>,
    /// The signed request, verbatim, in the line where the erasure begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// Content of a line of kind `opening`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpeningRecord {
    /// Nonce of the request.
    pub nonce: String,
    /// The reason given.
    pub why: String,
    /// The session, as the index shows its id.
    pub session: String,
    /// Names of the people who signed the request.
    pub signers: Vec<String>,
    /// Public keys (`age1…`) of the auditors who open their shares.
    pub auditors: Vec<String>,
    /// The signed request, verbatim.
    pub request: String,
}

impl OpeningRecord {
    /// Names for the use of the request by each of these auditors; each uses it once.
    pub fn uses(&self) -> impl Iterator<Item = String> {
        self.auditors.iter().map(|auditor| format!("{} {auditor}", self.nonce))
    }
}

/// Content of a line of kind `decision`: an answer of a budget other than yes, or a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetDecision {
    /// `ask`: the agent had to ask its user; `deny`: it was stopped; `grant`: its budget was raised for a time.
    pub answer: String,
    /// Name of the budget; empty in a grant for all budgets of the scope.
    pub name: String,
    /// Whose spending the budget adds up: `run`, `session`, `user`, `tenant`, `feature`, `issue` or `account`.
    pub scope: String,
    /// The run, session, user (as a pseudonym), …, in display form.
    pub key: String,
    /// The budget only records: the agent went on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// The unit of `spent` and `limit`: `amount` (USD), `model_calls`, `iterations`, `tool_calls` or `minutes`.
    pub measure: String,
    /// What was used, exact decimal; 0 in a grant.
    pub spent: String,
    /// The limit, or what a grant adds to it, exact decimal.
    pub limit: String,
    /// Number of equal answers since the last line that have none of their own; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
    /// The end of a grant; absent in other lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who gave the grant; absent in other lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_by: Option<String>,
    /// The reason given for the grant; absent in other lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl BudgetDecision {
    /// The decision beside its answer, as one plain line for people.
    pub fn describe(&self) -> String {
        let unit = if self.measure == "amount" { "USD".to_owned() } else { self.measure.replace('_', " ") };
        let Self { name, scope, key, spent, limit, .. } = self;
        let Some(until) = &self.until else {
            let shadow = if self.shadow { ", shadow: not stopped" } else { "" };
            let repeats = self.repeats.map_or_else(String::new, |repeats| format!("; {repeats} more such answers"));
            return format!("{scope} {key} has used {spent} of {limit} {unit} (budget {name}{shadow}{repeats})");
        };
        let budget = if name.is_empty() { format!("all budgets of scope {scope}") } else { format!("budget {name}") };
        let (granted_by, reason) = (self.granted_by.as_deref().unwrap_or("-"), self.reason.as_deref().unwrap_or("-"));
        format!("{scope} {key} may use {limit} {unit} more of {budget} until {until}, by {granted_by}: {reason}")
    }
}

/// A copy of a session key for other auditors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyCopy {
    /// Name of its object.
    pub name: String,
    /// SHA-256 of the object, hex.
    pub sha256: String,
}

/// One index line, as read.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IndexRow {
    /// Version of the line format.
    pub v: u8,
    /// Leaf number in the log of account, writer and epoch.
    pub leaf: u64,
    /// Name of the payload object; null for an action without content.
    pub object_key: Option<String>,
    /// Offset of the fragment in the object, bytes.
    pub off: Option<u64>,
    /// In a price line: the leaf of its call as `writer/epoch/leaf`. Null if the writer has restarted since; trace and
    /// span are the call's in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The columns known before the ticket.
    #[serde(flatten)]
    pub tail: RowTail,
}

/// The columns of a line that are known before the ticket. Times are RFC 3339 in UTC; ids hex; an unknown number is
/// null.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RowTail {
    /// Length of the fragment, bytes.
    pub len: Option<u64>,
    /// Position of the item in the fragment's `items`.
    pub item: Option<u32>,
    /// Kind of the line.
    pub kind: Option<RowKind>,
    /// Start of the span, or time of the log record.
    pub ts: String,
    /// End of the span, if any.
    pub end_ts: Option<String>,
    /// Gateway clock at arrival.
    pub ingest_ts: String,
    /// `traces` or `logs`.
    pub signal: String,
    /// Account whose credential sent the item.
    pub account: String,
    /// Tenant in display form.
    pub tenant: String,
    /// Session id in display form; null without one.
    pub session_id: Option<String>,
    /// Run id.
    pub run_id: Option<String>,
    /// Turn id.
    pub turn: Option<String>,
    /// Iteration number within the run.
    pub iteration: Option<i64>,
    /// Trace id.
    pub trace_id: Option<String>,
    /// Span id.
    pub span_id: Option<String>,
    /// Span id of the parent.
    pub parent_span_id: Option<String>,
    /// The user, always as a pseudonym.
    pub user_key: Option<String>,
    /// The user that the client named, as a pseudonym, if its credential proves another one. It selects nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_user_key: Option<String>,
    /// The user is that of another item of the run or session, in an earlier request that anyone may have sent; absent
    /// if the item's own request names the user. It proves nothing about whose the item is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user_adopted: bool,
    /// Name of the agent, or else of the service.
    pub actor: Option<String>,
    /// Id of the sub-agent that acted, in display form; absent if the client does not distinguish sub-agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Version of the agent, or else of its service.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// Product feature that the work belongs to.
    pub feature: Option<String>,
    /// `work_tracker.issue_id`.
    #[serde(default)]
    pub issue_id: Option<String>,
    /// `build.commit_sha`.
    #[serde(default)]
    pub commit_sha: Option<String>,
    /// `deploy.environment`, or the conventions' names for it.
    #[serde(default)]
    pub environment: Option<String>,
    /// Role of the item in a run: `model`, `tool`, `turn_end`, …
    pub call: String,
    /// Operation, in current OpenTelemetry terms.
    pub action_type: Option<String>,
    /// Tool name.
    pub tool_name: Option<String>,
    /// Tool call id.
    pub tool_call_id: Option<String>,
    /// Size of a tool's arguments, bytes: as stored in the vault, or else as the client reports it.
    #[serde(default)]
    pub arguments_bytes: Option<u64>,
    /// Size of a tool's result, bytes.
    #[serde(default)]
    pub result_bytes: Option<u64>,
    /// Model that answered, or else the requested one.
    pub model: Option<String>,
    /// Model provider.
    pub provider: Option<String>,
    /// Response id given by the provider.
    pub response_id: Option<String>,
    /// `ok`, or the type of the error.
    pub status: String,
    /// Duration from start to end, ns; for log records the client's own figure.
    #[serde(default)]
    pub duration_ns: Option<u64>,
    /// Finish reason reported by the model.
    pub finish: Option<String>,
    /// Outcome of a permission request.
    pub decision: Option<String>,
    /// Who decided, as the client reports it: `config`, `hook`, `user_reject`, …
    #[serde(default)]
    pub decided_by: Option<String>,
    /// Parts of the conversation that are in the fragment.
    pub part: Vec<String>,
    /// Writer's name.
    pub writer: String,
    /// Epoch of the writer.
    pub epoch: String,
    /// Fragment id.
    pub fragment: Option<String>,
    /// Earlier fragments of the same object that are needed to restore the full content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<String>,
    /// SHA-256 of the fragment as stored, that is, of its ciphertext, hex.
    pub ct_sha256: Option<String>,
    /// Id of the session key.
    pub key_id: Option<String>,
    /// SHA-256 of the key object as the gateway made it, hex; absent in lines of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
    /// Salted commitment to the item's content, hex.
    pub commitment: Option<String>,
    /// Size of the item's content in plain text, as canonical JSON, bytes.
    pub pt_bytes: Option<u64>,
    /// A request with equal bytes was accepted before: this line is a second copy.
    pub repeat: bool,
    /// The Kafka record that brought the item's request, as `topic/partition/offset`; absent without Kafka. If lines of
    /// two epochs name the same record and the same span or log record, two workers stored the item. A topic that was
    /// made anew begins at 0 again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_record: Option<String>,
    /// Reported input tokens.
    pub tokens_in: Option<u64>,
    /// Reported output tokens.
    pub tokens_out: Option<u64>,
    /// Disjoint token buckets that were priced.
    pub buckets: Option<TokenBuckets>,
    /// Service tier, in lower case.
    pub tier: Option<String>,
    /// `priced`, `unpriced`, `deferred`, `not_counted` or `correction` (a change of what earlier lines say); null if
    /// there was nothing to price.
    pub cost_status: Option<String>,
    /// Cost in USD, exact decimal; negative in a correction that takes back.
    pub cost_usd: Option<String>,
    /// How the call is billed, if a plan covers it: `subscription` or `provisioned`; absent: by the rate table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing: Option<String>,
    /// The part of `cost_usd` that plans cover, exact decimal; the rest is to pay. Absent: all is to pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_usd: Option<String>,
    /// What caching saved, USD, exact decimal: so much more the cached tokens would have cost as uncached input.
    /// Negative: cache writes cost more than reads saved. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_savings_usd: Option<String>,
    /// Price in USD, exact decimal, of a call with status `not_counted`: another worker counted the call from the same
    /// Kafka record or a copy of the record. Add this price to a sum only if no index line of the same call has a
    /// `cost_usd`: then the other worker's line was lost with its volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted_cost_usd: Option<String>,
    /// Version and digest of the rate table.
    pub rates: Option<String>,
    /// Row of the rate table.
    pub rate: Option<String>,
    /// All inputs of the price except the rate table, so that the price can be recomputed; null if there was nothing to
    /// price. docs/vault.md lists its fields.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub basis: Option<PriceBasis>,
    /// The erasure of an erasure line; absent in other lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<Box<ErasureRecord>>,
    /// Copies of session keys of a key copies line; absent in other lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_copies: Vec<KeyCopy>,
    /// The opening of an opening line; absent in other lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Box<OpeningRecord>>,
    /// The budget and the numbers of a decision line; absent in other lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Box<BudgetDecision>>,
}

impl RowTail {
    /// The session as commands name it: its id, or `trace-…` without one; `None` if the line belongs to no session.
    pub fn session_name(&self) -> Option<Cow<'_, str>> {
        let trace_name = || Some(Cow::Owned(format!("trace-{}", self.trace_id.as_ref()?)));
        self.session_id.as_deref().map(Cow::Borrowed).or_else(trace_name)
    }
}

/// Longest line in bytes, except for erasures and key copies. A gateway cuts client-supplied texts to 256 bytes a
/// column.
pub const MAX_LINE: usize = 1 << 20;
/// Longest text of a column, bytes.
pub const MAX_TEXT: usize = 1 << 10;
/// Longest name of an object, bytes.
const MAX_NAME: usize = 4 << 10;

/// References to these fields.
macro_rules! fields {
    ($of:ident: $($field:ident)*) => { [$(&$of.$field),*] };
}

impl IndexRow {
    /// Whether a gateway can have written this line, judging by the sizes of the line and its texts. Readers keep the
    /// ids of all lines, and a writer must not control how much memory they need.
    pub fn is_sane(&self, line_bytes: usize) -> bool {
        let tail = &self.tail;
        let optional_texts = fields!(tail: end_ts session_id run_id turn trace_id span_id parent_span_id user_key
            claimed_user_key actor
            agent_id agent_version feature issue_id commit_sha environment action_type tool_name tool_call_id model
            provider response_id finish decision decided_by fragment ct_sha256 key_id key_sha256 commitment tier
            source_record);
        let required_texts = fields!(tail: ts ingest_ts signal account tenant call status writer epoch);
        (line_bytes <= MAX_LINE || tail.kind.is_some_and(RowKind::may_be_long))
            && self.object_key.as_ref().is_none_or(|name| name.len() <= MAX_NAME)
            && optional_texts
                .into_iter()
                .chain([&self.of])
                .flatten()
                .chain(required_texts)
                .all(|text| text.len() <= MAX_TEXT)
    }
}

pub use genai::CallTokenBuckets as TokenBuckets;

/// A line before its ticket, which gives the line its number.
pub struct UnnumberedRow {
    /// The columns known before the ticket, as a JSON object.
    json: String,
    /// Whether the line points into the draft's fragment.
    pub in_object: bool,
    /// Set for a call that is priced later, and for its price: both have the same call number.
    pub link: Option<PriceLink>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceLink {
    /// The line is a call, with this call number.
    Call(u64),
    /// The line is the price of the call with this number.
    Price(u64),
}

impl PriceLink {
    /// The link of a line; most lines have none.
    fn from_tail(tail: &RowTail) -> Option<Self> {
        let is_deferred = tail.cost_status.as_deref() == Some("deferred");
        if tail.kind != Some(RowKind::Price) && !is_deferred {
            return None;
        }
        let number = Self::call_number(&tail.account, tail.trace_id.as_deref()?, tail.span_id.as_deref()?);
        Some(if is_deferred { Self::Call(number) } else { Self::Price(number) })
    }

    /// Call number: a hash of account, trace and span.
    fn call_number(account: &str, trace: &str, span: &str) -> u64 {
        let hash = Sha256::digest_list([account, trace, span]);
        hash.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Upper bound for a price line's reference to its call.
const MAX_CALL_REFERENCE_BYTES: usize = 192;

/// Upper bound for the bytes that the ticket adds to a line, without the object's name.
pub const TICKET_BYTES: usize = 96;

/// Size of most tails, bytes.
const USUAL_TAIL_BYTES: usize = 1536;

impl UnnumberedRow {
    pub fn new(tail: &RowTail, in_object: bool) -> Self {
        let mut json = Vec::with_capacity(USUAL_TAIL_BYTES);
        // strings and numbers with string keys: serialising can't fail, and JSON is UTF-8
        let _ = serde_json::to_writer(&mut json, tail);
        json.shrink_to_fit(); // a request may have very many lines
        Self { json: String::from_utf8(json).unwrap_or_default(), in_object, link: PriceLink::from_tail(tail) }
    }

    /// Upper bound of the line's size in bytes, without [`TICKET_BYTES`] and the object's name.
    pub fn max_size(&self) -> usize {
        self.json.len() + if self.link.is_some() { MAX_CALL_REFERENCE_BYTES } else { 0 }
    }

    /// Appends the final line with its line feed; `object` is the payload object's name and the fragment's offset.
    /// Names need no escaping (`object_names`).
    pub fn write_line(&self, out: &mut String, leaf: u64, object: Option<(&str, u64)>, call_leaf: Option<&str>) {
        // writing to a String can't fail
        let _ = match object.filter(|_| self.in_object) {
            Some((name, off)) => write!(out, "{{\"v\":1,\"leaf\":{leaf},\"object_key\":\"{name}\",\"off\":{off},"),
            None => write!(out, "{{\"v\":1,\"leaf\":{leaf},\"object_key\":null,\"off\":null,"),
        };
        if let Some(call_leaf) = call_leaf {
            let _ = write!(out, "\"of\":\"{call_leaf}\",");
        }
        out.push_str(self.json.get(1..).unwrap_or_default());
        out.push('\n');
    }
}
