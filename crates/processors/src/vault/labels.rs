//! [`ProvenLabels`] knows the short texts under unlisted keys that have proved to be labels: the same text under the
//! same key was sent by `min_sessions` different sessions of a tenant. `team = payments core` belongs on a dashboard, a
//! patient's name does not, and only repetition tells them apart.
//!
//! Changed only by effects; holds keyed hashes, not texts; bounded per account and in total. A text not seen for
//! [`EXPIRY_HOURS`] hours has to prove itself again. `genai` decides which texts are checked.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use genai::{ContentBasis, ContentLocation, ContentPlace, Facts, ItemFacts};
use kernel::CONTENT;
use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, Payload, Value};
use pipeline::claims::ClaimKey;

use super::content::guessed_place;
use super::session_items::{item_nodes, sessions_of_traces};

#[cfg(test)]
mod tests;

/// Maximum number of texts remembered: of one account, in total.
pub(super) const LIMITS: (usize, usize) = (8_192, 131_072);
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
    /// Adds the problems of the policy.
    pub(super) fn check(&self, problems: &mut Vec<FieldProblem>) {
        let Self { min_sessions, keep, never } = self;
        if !(2..=100).contains(min_sessions) {
            let problem = format!(
                "is {min_sessions}; it must be between 2 and 100 (`keep: [KEY]` forwards a key's texts at once)"
            );
            problems.push(FieldProblem::new("labels.min_sessions", problem));
        }
        if let Some(both) = keep.iter().find(|key| never.contains(key)) {
            problems.push(FieldProblem::new(
                "labels.keep",
                format!("lists `{both}`, which `labels.never` also lists; remove it from one of them"),
            ));
        }
    }

    /// Returns true if texts under `key` are never forwarded.
    pub(super) fn is_never(&self, key: &str) -> bool {
        self.never.iter().any(|listed| listed == key)
    }

    /// Texts of agents' items that are not content by any list but whose keys are in `never`, each with the index of
    /// the item that keeps it.
    fn withheld(&self, payload: &Payload, facts: &Facts) -> Vec<(usize, ContentPlace)> {
        let mut out = Vec::new();
        let mut known: HashSet<(NodeId, ContentLocation)> =
            facts.items.iter().flat_map(|item| &item.content).map(|place| (place.node, place.at)).collect();
        let mut seen: HashSet<NodeId> = HashSet::new();
        for (at, item) in facts.items.iter().enumerate().filter(|(_, item)| item.is_judged_as_agent()) {
            for node in item_nodes(payload, item.node, &mut seen) {
                for attribute in payload.attributes(node).filter(|attribute| self.is_never(attribute.key)) {
                    let place = ContentLocation::Attribute(attribute.id);
                    let is_text = !matches!(attribute.value, Value::Bool(_) | Value::Int(_) | Value::Double(_));
                    if is_text && attribute.value.as_str() != Some(CONTENT) && known.insert((node, place)) {
                        out.push((at, guessed_place(node, place)));
                    }
                }
            }
        }
        out
    }
}

/// One observation: an account, a text under its key, a session, the hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct LabelObservation {
    account: u64,
    text: u128,
    session: u64,
    hour: u32,
}

/// For a proven text a checkpoint holds its number of sessions, up to this value, in place of a session: `min_sessions`
/// may be raised later.
const MAX_SAVED_SESSIONS: u64 = 100;
/// Number of session kinds: identified by session id, by user and day, or by day only. One person may appear in each
/// kind, so the kinds are counted separately. The kind is in the lowest two bits of a session's hash.
const KINDS: u64 = 3;
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
    /// Sessions that sent the text, at most `min_sessions` of each kind.
    sessions: Vec<u64>,
    /// Number of sessions when the text was proven, before a restart.
    proven: u64,
    /// The last hour in which the text was seen.
    hour: u32,
}

impl ObservedLabel {
    /// Number of sessions that sent the text: of the most frequent kind, or before a restart.
    fn count(&self) -> u64 {
        (0..KINDS).map(|kind| self.count_of_kind(kind)).max().unwrap_or(0).max(self.proven)
    }

    fn count_of_kind(&self, session: u64) -> u64 {
        self.sessions.iter().filter(|one| **one & 3 == session & 3).count() as u64
    }
}

#[derive(Default)]
struct LabelMemory {
    accounts: HashMap<u64, HashMap<u128, ObservedLabel>>,
    count: usize,
}

/// See the module documentation.
pub(super) struct ProvenLabels {
    policy: LabelPolicy,
    limits: (usize, usize),
    memory: Mutex<LabelMemory>,
}

impl ProvenLabels {
    pub(super) fn new(policy: LabelPolicy, limits: (usize, usize)) -> Self {
        Self { policy, limits, memory: Mutex::default() }
    }

    /// Which keys leave, and which never.
    pub(super) fn policy(&self) -> &LabelPolicy {
        &self.policy
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

    /// Returns true if a text is proven. An observation that adds information is appended to `news`.
    fn observe(&self, sighting: LabelObservation, news: &mut Vec<u8>) -> bool {
        let known = self.memory.lock();
        let label = known.accounts.get(&sighting.account).and_then(|texts| texts.get(&sighting.text));
        let label = label.filter(|label| sighting.hour.saturating_sub(label.hour) < EXPIRY_HOURS);
        let proven = label.is_some_and(|label| self.is_proven(label));
        let is_new = match label {
            None => true,
            Some(label) if proven => sighting.hour.saturating_sub(label.hour) >= UPDATE_INTERVAL_HOURS,
            Some(label) => !label.sessions.contains(&sighting.session),
        };
        if is_new && news.len() < MAX_BATCH_OBSERVATIONS * OBSERVATION_BYTES {
            sighting.encode(news);
        }
        proven
    }

    fn is_proven(&self, label: &ObservedLabel) -> bool {
        label.count() >= u64::from(self.policy.min_sessions)
    }

    /// Applies an effect, or the result of [`Labels::save`].
    pub(super) fn apply(&self, body: &[u8]) {
        let Some((&VERSION, entries)) = body.split_first() else { return };
        let mut known = self.memory.lock();
        for sighting in entries.as_chunks::<OBSERVATION_BYTES>().0.iter().filter_map(LabelObservation::decode) {
            self.add_observation(&mut known, sighting);
        }
    }

    fn add_observation(&self, known: &mut LabelMemory, sighting: LabelObservation) {
        let texts = known.accounts.entry(sighting.account).or_default();
        let before = texts.len();
        let label = texts.entry(sighting.text).or_default();
        if sighting.hour.saturating_sub(label.hour) >= EXPIRY_HOURS {
            *label = ObservedLabel::default();
        }
        label.hour = label.hour.max(sighting.hour);
        let min = u64::from(self.policy.min_sessions);
        match sighting.session {
            proven @ ..=MAX_SAVED_SESSIONS => label.proven = label.proven.max(proven),
            session if label.count_of_kind(session) < min && !label.sessions.contains(&session) => {
                label.sessions.push(session);
            }
            _ => {}
        }
        if texts.len() > self.limits.0 {
            evict_texts(texts);
        }
        let is_empty = texts.is_empty();
        known.count = (known.count + texts.len()).saturating_sub(before);
        if is_empty {
            known.accounts.remove(&sighting.account);
        }
        if known.count > self.limits.1
            && let Some(largest) = known.accounts.values_mut().max_by_key(|texts| texts.len())
        {
            let before = largest.len();
            evict_texts(largest);
            known.count = (known.count + largest.len()).saturating_sub(before);
        }
    }

    /// All entries, for the checkpoint.
    pub(super) fn save(&self) -> Vec<u8> {
        let known = self.memory.lock();
        let mut out = vec![VERSION];
        for (account, texts) in &known.accounts {
            for (text, label) in texts {
                let count = [label.count()];
                let sessions: &[u64] = if self.is_proven(label) { &count } else { &label.sessions };
                for session in sessions {
                    LabelObservation { account: *account, text: *text, session: *session, hour: label.hour }
                        .encode(&mut out);
                }
            }
        }
        out
    }

    /// Number of texts remembered.
    pub(super) fn len(&self) -> usize {
        self.memory.lock().count
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
    /// The session that the items of each trace name.
    sessions: OnceCell<HashMap<&'a [u8], Option<&'a str>>>,
    /// Cached results, by tenant, key and text, and session.
    results: HashMap<(Box<str>, (u64, u64)), bool>,
    new_observations: Vec<u8>,
}

impl LabelCheck<'_> {
    /// Returns true if enough sessions of the item's tenant have sent `text` under `key`, and records that the item's
    /// session did.
    pub(super) fn is_proven(&mut self, key: &str, text: &str, item: &ItemFacts) -> bool {
        let session = self.session(item);
        let tenant = item.tenant.as_deref().unwrap_or_default();
        let known = (format!("label {}:{tenant}{key}\0{text}", tenant.len()).into_boxed_str(), session);
        if let Some(answer) = self.results.get(&known) {
            return *answer;
        }
        let hash = self.ids.pseudonym(self.account, &known.0);
        let text = u128::from_le_bytes(ClaimKey::from_parts(&[hash.as_bytes()]).to_bytes());
        let session = bind_to_text(session, text);
        let sighting = LabelObservation { account: self.account_hash, text, session, hour: self.hour };
        let answer = self.labels.observe(sighting, &mut self.new_observations);
        self.results.insert(known, answer);
        answer
    }

    /// The item's session for counting: its own, else its trace's. Without a session, everything a user sends within a
    /// day counts as one session, because each turn of a conversation may have its own trace.
    fn session(&self, item: &ItemFacts) -> (u64, u64) {
        let trace = self.payload.trace_id(item.node);
        let sessions = || self.sessions.get_or_init(|| sessions_of_traces(self.payload, self.facts));
        // Two spellings of one id are one session.
        let named = |id: &Option<String>| id.as_deref().map(|id| id.trim().to_lowercase()).filter(|id| !id.is_empty());
        let of_trace = || sessions().get(trace).copied().flatten().map(|id| id.trim().to_lowercase());
        let day = (self.hour / 24).to_le_bytes();
        match (named(&item.session).or_else(of_trace), named(&item.user)) {
            (Some(session), _) => (0, hash64(&[b"session", session.as_bytes()])),
            (None, Some(user)) => (1, hash64(&[b"day", &day, user.as_bytes()])),
            (None, None) => (2, hash64(&[b"day", &day])),
        }
    }

    /// Removes texts that may be forwarded from the content in the facts, and adds texts that never may. `None` if
    /// nothing changes.
    pub(super) fn judge_attributes(&mut self) -> Option<Facts> {
        let (payload, facts, policy) = (self.payload, self.facts, &self.labels.policy);
        let mut leaving: HashSet<(usize, NodeId, ContentLocation)> = HashSet::new();
        for (at, item) in facts.items.iter().enumerate() {
            // Keys listed by the user in `keep` also apply to guessed content, but never to listed content.
            let may = |place: &ContentPlace| {
                place.basis.provable_bytes() > 0 || (place.basis == ContentBasis::Guessed && !policy.keep.is_empty())
            };
            for place in item.content.iter().filter(|place| may(place)) {
                let Some((key, text)) = short_text(payload, place) else { continue };
                if policy.is_never(key) {
                    continue;
                }
                let kept = text.len() <= MAX_KEPT_BYTES && policy.keep.iter().any(|listed| listed == key);
                let short = text.len() <= place.basis.provable_bytes();
                if kept || (short && self.is_proven(key, text, item)) {
                    leaving.insert((at, place.node, place.at));
                }
            }
        }
        let never = if policy.never.is_empty() { Vec::new() } else { policy.withheld(payload, facts) };
        (!leaving.is_empty() || !never.is_empty()).then(|| {
            let mut facts = facts.clone();
            if !leaving.is_empty() {
                for (at, item) in facts.items.iter_mut().enumerate() {
                    item.content.retain(|place| !leaving.contains(&(at, place.node, place.at)));
                }
            }
            for (at, place) in never {
                facts.items.get_mut(at).into_iter().for_each(|item| item.content.push(place));
            }
            facts
        })
    }

    /// The effect's body. `None` if nothing new was seen.
    pub(super) fn into_effect(self) -> Option<Vec<u8>> {
        (self.new_observations.len() > 1).then_some(self.new_observations)
    }
}

/// Evicts a quarter of an account's texts: those with the fewest sessions first, then the oldest.
fn evict_texts(texts: &mut HashMap<u128, ObservedLabel>) {
    let mut order: Vec<(u64, u32, u128)> =
        texts.iter().map(|(text, label)| (label.count(), label.hour, *text)).collect();
    let many = order.len() / 4 + 1;
    if many < order.len() {
        order.select_nth_unstable(many);
    }
    for (.., text) in order.into_iter().take(many) {
        texts.remove(&text);
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

/// Makes a session's hash specific to the text, so that the memory does not reveal which texts one session sent.
fn bind_to_text((kind, session): (u64, u64), text: u128) -> u64 {
    let hash = hash64(&[&session.to_le_bytes(), &text.to_le_bytes()]);
    ((hash | (1 << 63)) & !3) | kind
}

fn hash64(parts: &[&[u8]]) -> u64 {
    let bytes = ClaimKey::from_parts(parts).to_bytes();
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
