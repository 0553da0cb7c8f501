//! **What**: [`Row`]: an index line, which is a leaf of the writer's log. **Why**: one artefact serves queries and,
//! later, proofs.
//! **Invariants**: fixed order of keys; what only the ticket knows stands first, so that a line is spliced, not built,
//! under the sequencer's lock; no text that the redaction rules have not passed, no hash of plaintext without salt.
//! **Not here**: numbers (`books`), index objects (`uploader`).

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use genai::usage::Basis;

/// What a leaf is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Content in a fragment.
    Payload,
    /// An action without content.
    Action,
    /// Items that could not be processed, sealed as they came.
    Quarantine,
    /// The price of a call whose leaf was written before its model or provider was known.
    Price,
    /// The line of this number was lost; the digest's counters tell why.
    Gap,
    /// Keys are about to be destroyed by request, or were.
    Erasure,
    /// Copies of session keys were made for other auditors.
    KeyCopies,
}

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasureState {
    /// The next thing that happens is that keys go.
    Begun,
    /// They are gone.
    Done,
}

/// A session key that is to be destroyed, with all its copies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shredded {
    /// Where its key objects are: `…keys/account/tenant/session/day/`.
    pub folder: String,
    /// Its id.
    pub id: String,
}

/// What a line of kind `erasure` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Erasure {
    /// How far it is.
    pub state: ErasureState,
    /// Of the request.
    pub nonce: String,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Names of the erasers who signed.
    pub signers: Vec<String>,
    /// Sessions, as `tenant/session` in names.
    pub sessions: Vec<String>,
    /// Ids of the keys.
    pub key_ids: Vec<String>,
    /// Objects (all versions) that were destroyed; null until it is done.
    pub destroyed: Option<u64>,
    /// The signed request, word for word, where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// A copy of a session key for other auditors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyCopy {
    /// Its object.
    pub name: String,
    /// SHA-256 of the object, hex.
    pub sha256: String,
}

/// One line, as read.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Version of the line.
    pub v: u8,
    /// Number in the log of account, writer and epoch.
    pub leaf: u64,
    /// Payload object; `None` for an action without content.
    pub object_key: Option<String>,
    /// Where the fragment starts in it, bytes.
    pub off: Option<u64>,
    /// Of a price: the leaf of its call, `writer/epoch/leaf`; null where the writer has started again since (trace and
    /// span are the call's in any case).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub tail: Tail,
}

/// What of a line is known before the ticket. Times are RFC 3339 in UTC; ids hex; a number that is not known is null.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tail {
    /// Length of the fragment, bytes.
    pub len: Option<u64>,
    /// Position of the item in the fragment's `items`.
    pub item: Option<u32>,
    /// What the leaf is about.
    pub kind: Option<Kind>,
    /// Start of the span, time of the record.
    pub ts: String,
    /// End of the span, if any.
    pub end_ts: Option<String>,
    /// Gateway clock at arrival.
    pub ingest_ts: String,
    /// `traces` or `logs`.
    pub signal: String,
    /// Account.
    pub account: String,
    /// Tenant as shown.
    pub tenant: String,
    /// Session id as shown; null without one.
    pub session_id: Option<String>,
    /// Run.
    pub run_id: Option<String>,
    /// Turn.
    pub turn: Option<String>,
    /// Iteration.
    pub iteration: Option<i64>,
    /// Trace.
    pub trace_id: Option<String>,
    /// Span.
    pub span_id: Option<String>,
    /// Its parent.
    pub parent_span_id: Option<String>,
    /// Always the pseudonym.
    pub user_key: Option<String>,
    /// Agent or service.
    pub actor: Option<String>,
    /// The sub-agent that did it, as shown; absent where its client tells none apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// Version of the agent, else of its service.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// Feature.
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
    /// What it is in a run: `model`, `tool`, `turn_end`, …
    pub call: String,
    /// Operation, in today's words.
    pub action_type: Option<String>,
    /// Tool.
    pub tool_name: Option<String>,
    /// Tool call.
    pub tool_call_id: Option<String>,
    /// Size of a tool's arguments, bytes: as it went to the vault, else as the client tells.
    #[serde(default)]
    pub arguments_bytes: Option<u64>,
    /// Size of a tool's result, bytes.
    #[serde(default)]
    pub result_bytes: Option<u64>,
    /// Model that answered, else the one asked for.
    pub model: Option<String>,
    /// Provider.
    pub provider: Option<String>,
    /// The provider's id of the response.
    pub response_id: Option<String>,
    /// `ok`, or the type of the error.
    pub status: String,
    /// From start to end, ns; for records the client's own figure.
    #[serde(default)]
    pub duration_ns: Option<u64>,
    /// Why the model stopped.
    pub finish: Option<String>,
    /// A permission's outcome.
    pub decision: Option<String>,
    /// Who decided, as the client tells: `config`, `hook`, `user_reject`, …
    #[serde(default)]
    pub decided_by: Option<String>,
    /// Parts of the conversation that are in the fragment.
    pub part: Vec<String>,
    /// Writer.
    pub writer: String,
    /// Epoch.
    pub epoch: String,
    /// Fragment id.
    pub fragment: Option<String>,
    /// Earlier fragments of the same object that are needed to make its content whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bases: Vec<String>,
    /// SHA-256 of the fragment as stored, hex.
    pub ct_sha256: Option<String>,
    /// Session key.
    pub key_id: Option<String>,
    /// SHA-256 of its key object as the gateway made it, hex; absent in lines of versions that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
    /// Salted commitment to the item's content, hex.
    pub commitment: Option<String>,
    /// Size of the item's content as canonical JSON, bytes.
    pub pt_bytes: Option<u64>,
    /// Equal bytes were accepted before: this is a second copy.
    pub repeat: bool,
    /// Reported input tokens.
    pub tokens_in: Option<u64>,
    /// Reported output tokens.
    pub tokens_out: Option<u64>,
    /// Disjoint buckets that were priced.
    pub buckets: Option<Buckets>,
    /// Tier, in lower case.
    pub tier: Option<String>,
    /// `priced`, `unpriced`, `deferred`, `not_counted`; null where nothing was to be priced.
    pub cost_status: Option<String>,
    /// Exact decimal, USD.
    pub cost_usd: Option<String>,
    /// Version and digest of the rate table.
    pub rates: Option<String>,
    /// Row of the rate table.
    pub rate: Option<String>,
    /// All that the price is made from but for the table, so that it can be worked out again; null where nothing was to
    /// be priced.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub basis: Option<Basis>,
    /// Of an erasure; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<Box<Erasure>>,
    /// Of copies of session keys; absent elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_copies: Vec<KeyCopy>,
}

/// Longest line but an erasure's, bytes. A gateway cuts what a client tells to 256 bytes a column.
pub const MAX_LINE: usize = 1 << 20;
/// Longest text of a column, bytes.
pub const MAX_TEXT: usize = 1 << 10;
/// Longest name of an object, bytes.
const MAX_NAME: usize = 4 << 10;

impl Row {
    /// Whether a gateway can have written it, by its size, `line` bytes, and that of its texts: whoever may only write
    /// must not decide how much memory a reader needs, who keeps ids of all lines.
    pub fn is_sane(&self, line: usize) -> bool {
        let tail = &self.tail;
        let told = [
            &tail.end_ts,
            &tail.session_id,
            &tail.run_id,
            &tail.turn,
            &tail.trace_id,
            &tail.span_id,
            &tail.parent_span_id,
            &tail.user_key,
            &tail.actor,
            &tail.agent_id,
            &tail.agent_version,
            &tail.feature,
            &tail.issue_id,
            &tail.commit_sha,
            &tail.environment,
            &tail.action_type,
            &tail.tool_name,
            &tail.tool_call_id,
            &tail.model,
            &tail.provider,
            &tail.response_id,
            &tail.finish,
            &tail.decision,
            &tail.decided_by,
            &tail.fragment,
            &tail.ct_sha256,
            &tail.key_id,
            &tail.key_sha256,
            &tail.commitment,
            &tail.tier,
            &self.of,
        ];
        let always = [
            &tail.ts,
            &tail.ingest_ts,
            &tail.signal,
            &tail.account,
            &tail.tenant,
            &tail.call,
            &tail.status,
            &tail.writer,
            &tail.epoch,
        ];
        (line <= MAX_LINE || matches!(tail.kind, Some(Kind::Erasure | Kind::KeyCopies)))
            && self.object_key.as_ref().is_none_or(|name| name.len() <= MAX_NAME)
            && told.into_iter().flatten().chain(always).all(|text| text.len() <= MAX_TEXT)
    }
}

/// Token buckets that do not overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Buckets {
    /// Input outside of caches.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written to a cache for 5 minutes.
    pub cache_write_5m: u64,
    /// Written to a cache for 1 hour.
    pub cache_write_1h: u64,
    /// Output, reasoning included.
    pub output: u64,
    /// Reasoning.
    pub reasoning: u64,
}

/// A line without its ticket.
pub struct Unnumbered {
    tail: String,
    /// Whether it points into the draft's fragment.
    pub in_object: bool,
    /// A call whose price comes later, or that price: both have the same number.
    pub link: Option<Link>,
}

/// What ties a price to its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The call.
    Call(u64),
    /// Its price.
    Price(u64),
}

impl Link {
    /// Of a line; most have none.
    fn of(tail: &Tail) -> Option<Self> {
        let deferred = tail.cost_status.as_deref() == Some("deferred");
        if tail.kind != Some(Kind::Price) && !deferred {
            return None;
        }
        let number = Self::number(&tail.account, tail.trace_id.as_deref()?, tail.span_id.as_deref()?);
        Some(if deferred { Self::Call(number) } else { Self::Price(number) })
    }

    /// The number of a call.
    fn number(account: &str, trace: &str, span: &str) -> u64 {
        let mut hash = Sha256::new();
        for part in [account, trace, span] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.finalize().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Bytes that the leaf of a price's call takes at most.
const MAX_OF: usize = 192;

/// Bytes that the ticket adds to a line, without the object's name.
pub const TICKET_BYTES: usize = 96;

impl Unnumbered {
    /// Serialises the tail.
    pub fn new(tail: &Tail, in_object: bool) -> Self {
        let json = serde_json::to_string(tail).unwrap_or_default(); // strings and numbers: can't fail
        Self { tail: json.strip_prefix('{').unwrap_or_default().to_owned(), in_object, link: Link::of(tail) }
    }

    /// Size of the tail, bytes.
    pub fn len(&self) -> usize {
        self.tail.len() + if self.link.is_some() { MAX_OF } else { 0 }
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty()
    }

    /// Appends the final line and its line feed. Object names need no escaping (`names`).
    pub fn write(&self, out: &mut String, leaf: u64, object: Option<(&str, u64)>, of: Option<&str>) {
        // writing to a String can't fail
        let _ = match object.filter(|_| self.in_object) {
            Some((name, off)) => write!(out, "{{\"v\":1,\"leaf\":{leaf},\"object_key\":\"{name}\",\"off\":{off},"),
            None => write!(out, "{{\"v\":1,\"leaf\":{leaf},\"object_key\":null,\"off\":null,"),
        };
        if let Some(of) = of {
            let _ = write!(out, "\"of\":\"{of}\",");
        }
        out.push_str(&self.tail);
        out.push('\n');
    }
}
