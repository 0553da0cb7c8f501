//! [`ProvenLabels`] knows the short texts under unlisted keys that have proved to be labels: the same text under the
//! same key was sent by `min_sessions` different sessions of a tenant. `team = payments core` belongs on a dashboard, a
//! patient's name does not, and only repetition tells them apart.
//!
//! Changed only by effects; holds keyed hashes, not texts; bounded. Proven texts and others are bounded separately, so
//! that made-up texts evict no label. A text not seen for [`EXPIRY_HOURS`] hours has to prove itself again. `genai`
//! decides which texts are checked.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use genai::{ContentBasis, ContentLocation, ContentPlace, Facts, ItemFacts};
use kernel::CONTENT;
use kernel::bounded_map::BoundedMap;
use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, Payload, Value};
use pipeline::claims::ClaimKey;

use super::content::guessed_place;
use super::session_items::{item_nodes, sessions_of_traces};

#[cfg(test)]
mod tests;

/// Maximum number of texts remembered, half of them proven.
pub(super) const LIMIT: usize = 131_072;
/// The key under which a log body has to repeat.
pub(super) const BODY_KEY: &str = "body";
/// Maximum size of a text under a key in `vault.labels.keep`, bytes.
const MAX_KEPT_BYTES: usize = 256;
/// First byte of an effect's body. Effects of traces and services begin with other values.
const VERSION: u8 = 4;
const HOUR: u64 = 3_600_000_000_000;
/// A text not seen for this time must prove itself again, hours.
const EXPIRY_HOURS: u32 = 30 * 24;
/// Minimum time between two updates of a proven text, hours.
const UPDATE_INTERVAL_HOURS: u32 = 24;

/// Which short texts of agents' items may be forwarded although no list names their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Labels")]
pub struct LabelPolicy {
    /// A text of at most 64 bytes is forwarded once this many different sessions have sent it under the same key: 2 to
    /// 100. Default: 5.
    pub min_sessions: u8,
    /// Keys whose texts of at most 256 bytes are forwarded at once, redacted, e.g. `[team, jira]`.
    pub keep: Vec<String>,
    /// Keys whose texts are never forwarded, however often they are sent.
    pub never: Vec<String>,
}

impl Default for LabelPolicy {
    fn default() -> Self {
        Self { min_sessions: 5, keep: Vec::new(), never: Vec::new() }
    }
}

impl LabelPolicy {
    pub(super) fn check(&self, problems: &mut Vec<FieldProblem>) {
        let Self { min_sessions, keep, never } = self;
        if !(2..=100).contains(min_sessions) {
            let problem = format!(
                "is {min_sessions}; it must be between 2 and 100 (`keep: [KEY]` forwards a key's texts at once)"
            );
            problems.push(FieldProblem::new("labels.min_sessions", problem));
        }
        if let Some(key) = keep.iter().find(|key| never.contains(key)) {
            problems.push(FieldProblem::new(
                "labels.keep",
                format!("lists `{key}`, which `labels.never` also lists; remove it from one of them"),
            ));
        }
    }

    /// Returns true if texts under `key` are never forwarded.
    pub(super) fn is_never(&self, key: &str) -> bool {
        self.never.iter().any(|listed| listed == key)
    }

    /// Texts of agents' items that are not yet content but whose keys are in `never`, each with the index of the item
    /// whose content it becomes.
    fn find_withheld(&self, payload: &Payload, facts: &Facts) -> Vec<(usize, ContentPlace)> {
        let mut withheld = Vec::new();
        let mut known: HashSet<(NodeId, ContentLocation)> =
            facts.items.iter().flat_map(|item| &item.content).map(|place| (place.node, place.at)).collect();
        let mut visited: HashSet<NodeId> = HashSet::new();
        for (index, item) in facts.items.iter().enumerate().filter(|(_, item)| item.is_judged_as_agent()) {
            for node in item_nodes(payload, item.node, &mut visited) {
                for attribute in payload.attributes(node).filter(|attribute| self.is_never(attribute.key)) {
                    let place = ContentLocation::Attribute(attribute.id);
                    let is_text = !matches!(attribute.value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
                    if is_text && attribute.value.as_str() != Some(CONTENT) && known.insert((node, place)) {
                        withheld.push((index, guessed_place(node, place)));
                    }
                }
            }
        }
        withheld
    }
}

/// One observation: hashes of the account, of the text under its key and of the session, and the hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct LabelObservation {
    account: u64,
    text: u128,
    session: u64,
    hour: u32,
}

/// For a proven text a checkpoint holds the number of its sessions, at most this value, in place of a session's hash:
/// `min_sessions` may be raised later.
const MAX_SAVED_SESSIONS: u64 = 100;
/// Number of session kinds: identified by session id, by user and day, or by day only. One person may appear in each
/// kind, so the kinds are counted separately.
const SESSION_KINDS: u64 = 3;
/// The bits of a session's hash that hold its kind.
const KIND_MASK: u64 = 3;
/// Size of an observation in an effect, bytes.
const OBSERVATION_BYTES: usize = 8 + 16 + 8 + 4;
/// Maximum number of observations added by one batch, so that made-up texts cannot fill the spool. Further texts count
/// as not proven.
const MAX_BATCH_OBSERVATIONS: usize = 4096;

impl LabelObservation {
    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.account.to_le_bytes());
        out.extend_from_slice(&self.text.to_le_bytes());
        out.extend_from_slice(&self.session.to_le_bytes());
        out.extend_from_slice(&self.hour.to_le_bytes());
    }

    fn decode(entry: &[u8; OBSERVATION_BYTES]) -> Option<Self> {
        let (account, rest) = entry.split_first_chunk()?;
        let (text, rest) = rest.split_first_chunk()?;
        let (session, hour) = rest.split_first_chunk()?;
        Some(Self {
            account: u64::from_le_bytes(*account),
            text: u128::from_le_bytes(*text),
            session: u64::from_le_bytes(*session),
            hour: u32::from_le_bytes(hour.try_into().ok()?),
        })
    }
}

/// A text under its key.
#[derive(Default)]
struct ObservedLabel {
    /// Hashes of the sessions that sent the text, at most `min_sessions` of each kind.
    sessions: Vec<u64>,
    /// Number of sessions that the last checkpoint held, if the text was proven then.
    saved_count: u64,
    /// The last hour in which the text was seen.
    hour: u32,
}

impl ObservedLabel {
    /// Number of sessions that sent the text: of the most frequent kind, or before a restart.
    fn count(&self) -> u64 {
        (0..SESSION_KINDS).map(|kind| self.count_of_kind(kind)).max().unwrap_or(0).max(self.saved_count)
    }

    /// Number of sessions of the same kind as `session` (a hash, or a kind).
    fn count_of_kind(&self, session: u64) -> u64 {
        self.sessions.iter().filter(|known| **known & KIND_MASK == session & KIND_MASK).count() as u64
    }
}

/// Texts by the hashes of account and text.
type LabelMap = BoundedMap<(u64, u128), ObservedLabel>;

struct LabelMemory {
    proven: LabelMap,
    unproven: LabelMap,
}

impl LabelMemory {
    fn get(&self, key: &(u64, u128)) -> Option<&ObservedLabel> {
        self.proven.get(key).or_else(|| self.unproven.get(key))
    }
}

/// See the module documentation.
pub(super) struct ProvenLabels {
    pub(super) policy: LabelPolicy,
    memory: Mutex<LabelMemory>,
}

impl ProvenLabels {
    /// Remembers at most `limit` texts.
    pub(super) fn new(policy: LabelPolicy, limit: usize) -> Self {
        let memory = LabelMemory { proven: LabelMap::new(limit / 2), unproven: LabelMap::new(limit / 2) };
        Self { policy, memory: Mutex::new(memory) }
    }

    /// Starts checking the texts of one batch.
    pub(super) fn check_batch<'a>(
        &'a self,
        ids: &'a dyn IdPolicy,
        (account, now): (&'a str, UnixNanos),
        (payload, facts): (&'a Payload, &'a Facts),
    ) -> LabelCheck<'a> {
        LabelCheck {
            labels: self,
            ids,
            payload,
            facts,
            account,
            account_hash: hash64(&[account.as_bytes()]),
            hour: u32::try_from(now.0 / HOUR).unwrap_or(u32::MAX),
            sessions: OnceCell::new(),
            results: HashMap::new(),
            new_observations: vec![VERSION],
        }
    }

    /// Returns true if a text is proven. An observation that adds information is appended to `body`.
    fn observe(&self, observation: LabelObservation, body: &mut Vec<u8>) -> bool {
        let memory = self.memory.lock();
        let label = memory.get(&(observation.account, observation.text));
        let label = label.filter(|label| observation.hour.saturating_sub(label.hour) < EXPIRY_HOURS);
        let is_proven = label.is_some_and(|label| self.is_proven(label));
        let is_new = match label {
            None => true,
            Some(label) if is_proven => observation.hour.saturating_sub(label.hour) >= UPDATE_INTERVAL_HOURS,
            Some(label) => !label.sessions.contains(&observation.session),
        };
        if is_new && body.len() < MAX_BATCH_OBSERVATIONS * OBSERVATION_BYTES {
            observation.encode(body);
        }
        is_proven
    }

    fn is_proven(&self, label: &ObservedLabel) -> bool {
        label.count() >= u64::from(self.policy.min_sessions)
    }

    /// Applies an effect, or the result of [`ProvenLabels::save`].
    pub(super) fn apply(&self, body: &[u8]) -> bool {
        let Some((&VERSION, entries)) = body.split_first() else { return false };
        let mut memory = self.memory.lock();
        for observation in entries.as_chunks::<OBSERVATION_BYTES>().0.iter().filter_map(LabelObservation::decode) {
            self.add_observation(&mut memory, observation);
        }
        true
    }

    fn add_observation(&self, memory: &mut LabelMemory, observation: LabelObservation) {
        let key = (observation.account, observation.text);
        let known = memory.proven.remove(&key).or_else(|| memory.unproven.remove(&key));
        let known = known.filter(|label| observation.hour.saturating_sub(label.hour) < EXPIRY_HOURS);
        let mut label = known.unwrap_or_default();
        label.hour = label.hour.max(observation.hour);
        let min_sessions = u64::from(self.policy.min_sessions);
        match observation.session {
            count @ ..=MAX_SAVED_SESSIONS => label.saved_count = label.saved_count.max(count),
            session if label.count_of_kind(session) < min_sessions && !label.sessions.contains(&session) => {
                label.sessions.push(session);
            }
            _ => {}
        }
        let texts = if self.is_proven(&label) { &mut memory.proven } else { &mut memory.unproven };
        texts.insert_for(observation.account, key, label, 1);
    }

    /// All entries, for the checkpoint.
    pub(super) fn save(&self) -> Vec<u8> {
        let memory = self.memory.lock();
        let mut body = vec![VERSION];
        for ((account, text), label) in memory.unproven.iter().chain(memory.proven.iter()) {
            let count = [label.count()];
            let sessions: &[u64] = if self.is_proven(label) { &count } else { &label.sessions };
            for session in sessions {
                LabelObservation { account: *account, text: *text, session: *session, hour: label.hour }
                    .encode(&mut body);
            }
        }
        body
    }

    /// Number of texts remembered.
    pub(super) fn len(&self) -> usize {
        let memory = self.memory.lock();
        memory.proven.len() + memory.unproven.len()
    }
}

/// Checks the texts of one batch.
pub(super) struct LabelCheck<'a> {
    labels: &'a ProvenLabels,
    ids: &'a dyn IdPolicy,
    payload: &'a Payload,
    facts: &'a Facts,
    account: &'a str,
    account_hash: u64,
    hour: u32,
    /// The session that the items of each trace name. Computed on first use.
    sessions: OnceCell<HashMap<&'a [u8], Option<&'a str>>>,
    /// Cached results, by tenant, key and text (as one string), and session.
    results: HashMap<(Box<str>, (u64, u64)), bool>,
    new_observations: Vec<u8>,
}

impl LabelCheck<'_> {
    /// Returns true if enough sessions of the item's tenant have sent `text` under `key`, and records that the item's
    /// session did.
    pub(super) fn is_proven(&mut self, key: &str, text: &str, item: &ItemFacts) -> bool {
        let session = self.session(item);
        let tenant = item.tenant.as_deref().unwrap_or_default();
        let cache_key = (format!("label {}:{tenant}{key}\0{text}", tenant.len()).into_boxed_str(), session);
        if let Some(result) = self.results.get(&cache_key) {
            return *result;
        }
        let hash = self.ids.pseudonym(self.account, &cache_key.0);
        let text = u128::from_le_bytes(ClaimKey::from_parts(&[hash.as_bytes()]).to_bytes());
        let session = bind_to_text(session, text);
        let observation = LabelObservation { account: self.account_hash, text, session, hour: self.hour };
        let is_proven = self.labels.observe(observation, &mut self.new_observations);
        self.results.insert(cache_key, is_proven);
        is_proven
    }

    /// The item's session for counting, as kind and hash: its own, else its trace's. Without a session, everything a
    /// user sends within a day counts as one session, because each turn of a conversation may have its own trace.
    fn session(&self, item: &ItemFacts) -> (u64, u64) {
        let trace = self.payload.trace_id(item.node);
        let sessions = || self.sessions.get_or_init(|| sessions_of_traces(self.payload, self.facts));
        // Two spellings of one id are one session.
        let normalize =
            |id: &Option<String>| id.as_deref().map(|id| id.trim().to_lowercase()).filter(|id| !id.is_empty());
        let of_trace = || sessions().get(trace).copied().flatten().map(|id| id.trim().to_lowercase());
        let day = (self.hour / 24).to_le_bytes();
        match (normalize(&item.session).or_else(of_trace), normalize(&item.user)) {
            (Some(session), _) => (0, hash64(&[b"session", session.as_bytes()])),
            (None, Some(user)) => (1, hash64(&[b"day", &day, user.as_bytes()])),
            (None, None) => (2, hash64(&[b"day", &day])),
        }
    }

    /// Removes texts that may be forwarded from the content in the facts, and adds texts that never may. `None` if
    /// nothing changes.
    pub(super) fn judge_attributes(&mut self) -> Option<Facts> {
        let (payload, facts, policy) = (self.payload, self.facts, &self.labels.policy);
        let mut forwarded: HashSet<(usize, NodeId, ContentLocation)> = HashSet::new();
        for (index, item) in facts.items.iter().enumerate() {
            // Keys listed by the user in `keep` also apply to guessed content, but never to listed content.
            let is_candidate = |place: &ContentPlace| {
                place.basis.provable_bytes() > 0 || (place.basis == ContentBasis::Guessed && !policy.keep.is_empty())
            };
            for place in item.content.iter().filter(|place| is_candidate(place)) {
                let Some((key, text)) = short_text(payload, place) else { continue };
                if policy.is_never(key) {
                    continue;
                }
                let is_kept = text.len() <= MAX_KEPT_BYTES && policy.keep.iter().any(|listed| listed == key);
                let is_short = text.len() <= place.basis.provable_bytes();
                if is_kept || (is_short && self.is_proven(key, text, item)) {
                    forwarded.insert((index, place.node, place.at));
                }
            }
        }
        let withheld = if policy.never.is_empty() { Vec::new() } else { policy.find_withheld(payload, facts) };
        (!forwarded.is_empty() || !withheld.is_empty()).then(|| {
            let mut facts = facts.clone();
            if !forwarded.is_empty() {
                for (index, item) in facts.items.iter_mut().enumerate() {
                    item.content.retain(|place| !forwarded.contains(&(index, place.node, place.at)));
                }
            }
            for (index, place) in withheld {
                facts.items.get_mut(index).into_iter().for_each(|item| item.content.push(place));
            }
            facts
        })
    }

    /// The effect's body. `None` if nothing new was seen.
    pub(super) fn into_effect(self) -> Option<Vec<u8>> {
        (self.new_observations.len() > 1).then_some(self.new_observations)
    }
}

/// Key and text of a place that holds a single-line text in an attribute or log body.
fn short_text<'p>(payload: &'p Payload, place: &ContentPlace) -> Option<(&'p str, &'p str)> {
    let (key, value) = match place.at {
        ContentLocation::Attribute(id) => payload.attribute(id).map(|attribute| (attribute.key, attribute.value))?,
        ContentLocation::Body => (BODY_KEY, payload.body(place.node)?),
        _ => return None,
    };
    value.as_str().filter(|text| !text.contains(['\n', '\r'])).map(|text| (key, text))
}

/// Makes a session's hash specific to the text, so that the memory does not reveal which texts one session sent. The
/// highest bit is set, so that no hash looks like a saved number of sessions.
fn bind_to_text((kind, session): (u64, u64), text: u128) -> u64 {
    let hash = hash64(&[&session.to_le_bytes(), &text.to_le_bytes()]);
    ((hash | (1 << 63)) & !KIND_MASK) | kind
}

fn hash64(parts: &[&[u8]]) -> u64 {
    let bytes = ClaimKey::from_parts(parts).to_bytes();
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
