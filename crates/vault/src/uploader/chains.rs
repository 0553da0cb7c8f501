//! [`ChainStates`]: the state of each chain: sealed digests, stored digests, and digests that wait for their turn. It
//! is pure bookkeeping, so that every order of crashes can be tested.
//!
//! Each chain has at most one seal in flight, and its digests are stored in order. A position is saved before the
//! records up to it are marked done. If a digest can't be written as sealed (its name is taken, its seal is damaged or
//! dropped), the chain abandons its epoch for another one, which records the reason, and the lines continue there.
//! Neighbours: `digests` (their bytes), `object_write` (writing digests).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::chain::erasures::NewestErasures;
use crate::chain::position::{ChainId, ChainPosition, SavedChain, SavedChains};
use crate::object_names::parse_time;
use crate::store::ObjectKind;
use kernel::clock::UnixNanos;
use pipeline::spool::RecordSeq;

use super::record_tracker::{EpochLog, ReadDigest, RecordTracker, UploadItem};

kernel::word_enum! {
    /// Why a chain abandoned its epoch. The digest contains the whole text, metrics and logs its first word.
    pub(super) ChainBreak {
        /// Another process wrote this name: a cloned volume or machine.
        Fork = "fork: another process wrote the next digest of the epoch, its lines or its signature",
        /// A digest could not be read back from the spool.
        Damaged = "damaged: a digest of the epoch could not be read in the spool",
        /// An operator dropped a digest from the spool.
        Dropped = "dropped: a digest of the epoch was dropped from the spool",
    }
}

impl ChainBreak {
    pub(super) fn label(self) -> &'static str {
        self.as_str().split(':').next().unwrap_or_default()
    }
}

/// A seal on its way into the spool.
struct SealInFlight {
    body: Bytes,
    /// The chain's position after this digest.
    position: ChainPosition,
    sent_at: Duration,
    /// Whether to send the seal again, because it may have been damaged in the spool.
    resend: bool,
}

/// A digest that was read back from the spool and is not stored yet.
struct QueuedDigest {
    item: UploadItem,
    /// The chain's position after it.
    position: ChainPosition,
}

#[derive(Default)]
struct ChainState {
    /// Position after the last digest that was read back.
    read_back: Option<ChainPosition>,
    /// Position after the last stored digest, or as read from the file.
    stored: Option<ChainPosition>,
    seal_in_flight: Option<SealInFlight>,
    queue: VecDeque<QueuedDigest>,
    /// Whether the first digest of the queue is being written.
    is_writing: bool,
}

/// How to treat a digest that was read from the spool.
pub(super) enum DigestVerdict {
    /// Its lines are claimed.
    Valid,
    /// The digest and its claims are done.
    Stored,
    /// The digest's record is done, and its claims are free for another digest.
    Void,
}

/// Records to mark as done once the positions are saved.
#[derive(Default)]
pub(super) struct UnsavedPositions {
    pub(super) done: Vec<Vec<RecordSeq>>,
    /// Whether there is anything to save.
    pub(super) dirty: bool,
}

/// State of all chains (see the module).
#[derive(Default)]
pub(super) struct ChainStates {
    own_writer: Arc<str>,
    own_epoch: Arc<str>,
    chains: BTreeMap<ChainId, ChainState>,
    /// Payload and key objects whose names were taken, with their alternative names.
    alternative_names: BTreeMap<String, String>,
    /// The newest erasures that were reported.
    pub(super) erasures: NewestErasures,
    pub(super) unsaved: UnsavedPositions,
}

impl ChainStates {
    /// No chains yet; `writer` and `epoch` are those of this process.
    pub(super) fn new(writer: Arc<str>, epoch: Arc<str>) -> Self {
        Self { own_writer: writer, own_epoch: epoch, ..Self::default() }
    }

    pub(super) fn restore(&mut self, saved: SavedChains) {
        (self.alternative_names, self.erasures) = (saved.alternative_names, saved.erasures);
        for SavedChain { id, position, .. } in saved.chains {
            let chain =
                ChainState { read_back: Some(position.clone()), stored: Some(position), ..ChainState::default() };
            self.chains.insert(id, chain);
        }
    }

    pub(super) fn to_saved(&self) -> SavedChains {
        let to_saved_chain = |(id, chain): (&ChainId, &ChainState)| {
            Some(SavedChain { id: id.clone(), position: chain.stored.clone()?, sessions: Vec::new() })
        };
        let chains = self.chains.iter().filter_map(to_saved_chain).collect();
        let (alternative_names, erasures) = (self.alternative_names.clone(), self.erasures.clone());
        SavedChains { v: 1, chains, alternative_names, erasures }
    }

    /// The time before which stored digests declare content as expired.
    pub(super) fn expired_before(&self) -> Option<UnixNanos> {
        let stored = self.chains.values().filter_map(|chain| chain.stored.as_ref());
        stored.filter_map(|position| parse_time(position.counters.expired_before.as_deref()?)).max()
    }

    /// Records an alternative name for an object whose own name was taken.
    pub(super) fn set_alternative_name(&mut self, name: &str, alternative: String) {
        self.alternative_names.insert(name.to_owned(), alternative);
        self.unsaved.dirty = true;
    }

    /// The alternative name of an object, if it has one.
    pub(super) fn alternative_name(&self, name: &str) -> Option<&str> {
        self.alternative_names.get(name).map(String::as_str)
    }

    /// Forgets an alternative name, once a digest contains it or the object no longer needs it.
    pub(super) fn forget_alternative_name(&mut self, name: &str) {
        self.unsaved.dirty |= self.alternative_names.remove(name).is_some();
    }

    /// Whether records of former processes remain to be finished.
    pub(super) fn is_recovering(&self, tracker: &RecordTracker) -> bool {
        let is_former = |(chain_id, chain): (&ChainId, &ChainState)| {
            chain.read_back.as_ref().is_some_and(|position| !position.closed && !self.is_live(chain_id, position))
        };
        self.chains.iter().any(is_former) || tracker.has_former_epochs()
    }

    /// Chains that may need a digest.
    pub(super) fn chain_ids(&self, tracker: &RecordTracker) -> BTreeSet<ChainId> {
        self.chains.keys().cloned().chain(tracker.chains_with_lines()).collect()
    }

    /// Handles a digest that was read from the spool. `new_epoch` generates an epoch if one is needed.
    pub(super) fn handle_digest(
        &mut self,
        digest: &ReadDigest,
        new_epoch: &dyn Fn() -> String,
    ) -> (DigestVerdict, Option<ChainBreak>) {
        let chain = self.chains.entry(digest.chain_id.clone()).or_default();
        let position = &digest.seal.position;
        let has_abandoned_epoch = |known: &Option<ChainPosition>| {
            known.as_ref().is_some_and(|known| known.abandoned_epochs.contains(&position.epoch))
        };
        if has_abandoned_epoch(&chain.stored) || has_abandoned_epoch(&chain.read_back) {
            return (DigestVerdict::Void, None);
        }
        let has_passed =
            |known: &Option<ChainPosition>| known.as_ref().is_some_and(|known| position.serial <= known.serial);
        if has_passed(&chain.stored) {
            return (DigestVerdict::Stored, None);
        }
        if has_passed(&chain.read_back) {
            return (DigestVerdict::Void, None);
        }
        let in_flight = chain.seal_in_flight.take_if(|in_flight| in_flight.position == *position);
        let follows = chain.read_back.as_ref().is_none_or(|previous| {
            let is_next_in_epoch = previous.epoch == position.epoch && position.next == previous.next + 1;
            position.serial == previous.serial + 1 && (is_next_in_epoch || position.next == 1)
        });
        if in_flight.is_none() && !follows {
            if let Some(previous) = &chain.read_back {
                chain.read_back = Some(previous.abandon_epoch(new_epoch(), ChainBreak::Damaged.as_str()));
            }
            return (DigestVerdict::Void, Some(ChainBreak::Damaged));
        }
        let item = UploadItem::new(ObjectKind::Chain, digest.name.clone(), digest.seq, in_flight.is_some());
        let item = UploadItem { claims: digest.claims.clone(), ..item };
        chain.queue.push_back(QueuedDigest { item, position: position.clone() });
        chain.read_back = Some(position.clone());
        (DigestVerdict::Valid, None)
    }

    /// Digests whose turn to be written has come.
    pub(super) fn take_ready(&mut self) -> Vec<UploadItem> {
        let not_writing = self.chains.values_mut().filter(|chain| !chain.is_writing);
        not_writing
            .filter_map(|chain| {
                let item = chain.queue.front()?.item.clone();
                chain.is_writing = true;
                Some(item)
            })
            .collect()
    }

    /// Records that a digest is stored; `done` are its records.
    pub(super) fn mark_stored(&mut self, chain_id: &ChainId, position: ChainPosition, done: Vec<RecordSeq>) {
        if let Some(chain) = self.chains.get_mut(chain_id) {
            chain.queue.pop_front();
            chain.is_writing = false;
            chain.stored = Some(position);
            self.unsaved.dirty = true;
            self.unsaved.done.push(done);
        }
    }

    /// The chain whose first waiting digest is the record `seq`.
    pub(super) fn chain_of_seal(&self, seq: RecordSeq) -> Option<ChainId> {
        let first = |chain: &ChainState| chain.queue.front().map(|queued| queued.item.seq);
        self.chains.iter().find(|(_, chain)| first(chain) == Some(seq)).map(|(chain_id, _)| chain_id.clone())
    }

    /// Handles a first digest that can't be stored: the chain abandons its epoch, and all later sealed digests are
    /// void. Returns the freed claims of each void digest.
    pub(super) fn abandon_epoch(
        &mut self,
        chain_id: &ChainId,
        why: ChainBreak,
        new_epoch: String,
        now: UnixNanos,
    ) -> Vec<Vec<RecordSeq>> {
        let Some(chain) = self.chains.get_mut(chain_id) else { return Vec::new() };
        let Some(first) = chain.queue.front() else { return Vec::new() };
        let ChainPosition { epoch, line_epoch, base, .. } = &first.position;
        let broken_at = match &chain.stored {
            Some(stored) if stored.epoch == *epoch => stored.clone(),
            previous => {
                let start = ChainPosition::start(line_epoch, *base, previous.as_ref(), now);
                ChainPosition { epoch: epoch.clone(), ..start }
            }
        };
        let position = broken_at.abandon_epoch(new_epoch, why.as_str());
        (chain.read_back, chain.stored) = (Some(position.clone()), Some(position));
        (chain.is_writing, chain.seal_in_flight) = (false, None);
        let void_digests: Vec<QueuedDigest> = chain.queue.drain(..).collect();
        self.unsaved.dirty = true;
        // a damaged seal is never marked done
        let damaged_seals = usize::from(why == ChainBreak::Damaged);
        self.unsaved.done.extend(void_digests.iter().skip(damaged_seals).map(|queued| vec![queued.item.seq]));
        void_digests.into_iter().map(|queued| queued.item.claims).collect()
    }

    /// The position of a chain's next digest; `None` if there are no lines to begin or continue with, or a seal is in
    /// flight.
    pub(super) fn next_position(
        &self,
        chain_id: &ChainId,
        tracker: &RecordTracker,
        now: UnixNanos,
        new_epoch: &dyn Fn() -> String,
    ) -> Option<ChainPosition> {
        let chain = self.chains.get(chain_id);
        if chain.is_some_and(|chain| chain.seal_in_flight.is_some()) {
            return None;
        }
        let previous = chain.and_then(|chain| chain.read_back.as_ref());
        let log = |epoch: &str| EpochLog { chain_id: chain_id.clone(), epoch: epoch.into() };
        if let Some(previous) = previous
            && (!previous.closed || tracker.first_leaf(&log(&previous.line_epoch)).is_some())
        {
            return Some(ChainPosition { closed: false, ..previous.clone() });
        }
        let is_former =
            |position: &ChainPosition| *position.line_epoch != *self.own_epoch && chain_id.writer == self.own_writer;
        let own_log = || previous.is_some_and(is_former).then(|| log(&self.own_epoch));
        let next = tracker.oldest_log(chain_id).or_else(own_log)?;
        let first = tracker.first_leaf(&next).unwrap_or_default();
        let mut position = ChainPosition::start(&next.epoch, if previous.is_some() { 0 } else { first }, previous, now);
        if previous.is_none() {
            position.reason = Some("no state: this writer has no record of an earlier digest".to_owned());
            if first > 0 {
                // digests of this epoch may already have been written
                position.epoch = new_epoch();
            }
        }
        Some(position)
    }

    /// Whether a position belongs to this process's epoch.
    pub(super) fn is_live(&self, chain_id: &ChainId, position: &ChainPosition) -> bool {
        chain_id.writer == self.own_writer && *position.line_epoch == *self.own_epoch
    }

    pub(super) fn record_seal(&mut self, chain_id: &ChainId, body: Bytes, position: ChainPosition, sent_at: Duration) {
        let seal = SealInFlight { body, position, sent_at, resend: false };
        self.chains.entry(chain_id.clone()).or_default().seal_in_flight = Some(seal);
    }

    /// Marks seals that did not come back within `patience` to be sent again. Called when records were damaged.
    pub(super) fn resend_overdue_seals(&mut self, now: Duration, patience: Duration) {
        for seal in self.chains.values_mut().filter_map(|chain| chain.seal_in_flight.as_mut()) {
            seal.resend |= now.saturating_sub(seal.sent_at) >= patience;
        }
    }

    /// The seals to send again.
    pub(super) fn take_seals_to_resend(&mut self, now: Duration) -> Vec<(ChainId, Bytes)> {
        let mut seals = Vec::new();
        for (chain_id, chain) in &mut self.chains {
            if let Some(seal) = chain.seal_in_flight.as_mut().filter(|seal| seal.resend) {
                (seal.resend, seal.sent_at) = (false, now);
                seals.push((chain_id.clone(), seal.body.clone()));
            }
        }
        seals
    }

    /// Number of the chain's digests that are sealed and not stored.
    pub(super) fn unstored_digests(&self, chain_id: &ChainId) -> usize {
        self.chains.get(chain_id).map_or(0, |chain| chain.queue.len())
    }

    /// Whether no seal is in flight and everything is saved.
    pub(super) fn is_idle(&self) -> bool {
        let is_chain_idle = |chain: &ChainState| chain.queue.is_empty() && chain.seal_in_flight.is_none();
        !self.unsaved.dirty && self.chains.values().all(is_chain_idle)
    }
}
