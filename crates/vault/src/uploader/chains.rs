//! [`ChainStates`]: the state of each chain: sealed digests, stored digests, and digests that wait for their turn. It
//! is pure bookkeeping, so that every order of crashes can be tested.
//!
//! Each chain has at most one seal in flight, and its digests are stored in order. A position is saved before the
//! records behind it are marked done. If a digest can't be written as sealed (its name is taken, its seal is damaged or
//! dropped), the chain abandons its epoch for another one, which records the reason, and the lines continue there.
//! Neighbours: `digests` (their bytes), `object_write` (writing them).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::chain::erasures::NewestErasures;
use crate::chain::position::{ChainPosition, SavedChain, SavedChains};
use crate::store::ObjectKind;
use kernel::clock::UnixNanos;
use pipeline::spool::RecordSeq;

use super::record_tracker::{ChainId, EpochLog, ReadDigest, RecordTracker, UploadItem};

/// Why a chain abandoned its epoch. The digest contains the reason's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChainBreak {
    /// Another process wrote this name: a cloned volume or machine.
    Fork,
    /// A digest could not be read back from the spool.
    Damaged,
    /// An operator dropped a digest from the spool.
    Dropped,
}

impl ChainBreak {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Damaged => "damaged",
            Self::Dropped => "dropped",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Fork => "fork: another process wrote the next digest of the epoch, its lines or its signature",
            Self::Damaged => "damaged: a digest of the epoch could not be read in the spool",
            Self::Dropped => "dropped: a digest of the epoch was dropped from the spool",
        }
    }
}

/// A seal on its way into the spool.
struct SealInFlight {
    body: Bytes,
    position: ChainPosition,
    since: Duration,
    resend: bool,
}

/// A digest that was read back from the spool and is not stored yet.
struct QueuedDigest {
    item: UploadItem,
    line_epoch: String,
    epoch: String,
    base: u64,
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
    /// It is valid: its lines are claimed.
    Valid,
    /// It is stored already: it and its claims are done.
    Stored,
    /// It is void: it is done, and its claims are free again.
    Void,
}

/// Records to mark as done once the positions are saved.
#[derive(Default)]
pub(super) struct UnsavedPositions {
    pub(super) done: Vec<Vec<RecordSeq>>,
    pub(super) dirty: bool,
}

/// State of all chains (see the module).
pub(super) struct ChainStates {
    own_log: EpochLog,
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
        let live = EpochLog { account: Arc::from(""), writer, epoch };
        let (aside, erasures, unsaved) = (BTreeMap::new(), NewestErasures::default(), UnsavedPositions::default());
        Self { own_log: live, chains: BTreeMap::new(), alternative_names: aside, erasures, unsaved }
    }

    /// Restores the saved state.
    pub(super) fn restore(&mut self, saved: SavedChains) {
        (self.alternative_names, self.erasures) = (saved.aside, saved.erasures);
        for SavedChain { account, writer, position, .. } in saved.chains {
            let line = ChainId { account: account.into(), writer: writer.into() };
            let chain =
                ChainState { read_back: Some(position.clone()), stored: Some(position), ..ChainState::default() };
            self.chains.insert(line, chain);
        }
    }

    /// The state to save.
    pub(super) fn to_saved(&self) -> SavedChains {
        let one = |(line, chain): (&ChainId, &ChainState)| {
            let position = chain.stored.clone()?;
            let (account, writer) = (line.account.to_string(), line.writer.to_string());
            Some(SavedChain { account, writer, position, sessions: Vec::new() })
        };
        let (aside, erasures) = (self.alternative_names.clone(), self.erasures.clone());
        SavedChains { v: 1, chains: self.chains.iter().filter_map(one).collect(), aside, erasures }
    }

    /// Records an alternative name for an object whose own name was taken.
    pub(super) fn set_alternative_name(&mut self, name: &str, other: String) {
        self.alternative_names.insert(name.to_owned(), other);
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
    pub(super) fn is_recovering(&self, shelf: &RecordTracker) -> bool {
        let former = |(line, chain): (&ChainId, &ChainState)| {
            chain.read_back.as_ref().is_some_and(|sent| !sent.closed && !self.is_live(line, sent))
        };
        self.chains.iter().any(former) || shelf.has_former_epochs()
    }

    /// Chains that may need a digest.
    pub(super) fn chain_ids(&self, shelf: &RecordTracker) -> BTreeSet<ChainId> {
        self.chains.keys().cloned().chain(shelf.chains_with_lines()).collect()
    }

    /// Handles a digest that was read from the spool. `epoch` generates a new epoch if one is needed.
    pub(super) fn handle_digest(
        &mut self,
        read: &ReadDigest,
        epoch: &dyn Fn() -> String,
    ) -> (DigestVerdict, Option<ChainBreak>) {
        let chain = self.chains.entry(read.line.clone()).or_default();
        let found = &read.seal.position;
        let void = |position: &Option<ChainPosition>| {
            position.as_ref().is_some_and(|position| position.left.contains(&found.epoch))
        };
        if void(&chain.stored) || void(&chain.read_back) {
            return (DigestVerdict::Void, None);
        }
        let behind = |position: &Option<ChainPosition>| {
            position.as_ref().is_some_and(|position| found.serial <= position.serial)
        };
        if behind(&chain.stored) {
            return (DigestVerdict::Stored, None);
        }
        if behind(&chain.read_back) {
            return (DigestVerdict::Void, None);
        }
        let own = chain.seal_in_flight.take_if(|outstanding| outstanding.position == *found);
        let follows = chain.read_back.as_ref().is_none_or(|sent| {
            let in_epoch = sent.epoch == found.epoch && found.next == sent.next + 1;
            found.serial == sent.serial + 1 && (in_epoch || found.next == 1)
        });
        if own.is_none() && !follows {
            if let Some(sent) = &chain.read_back {
                chain.read_back = Some(sent.abandon_epoch(epoch(), ChainBreak::Damaged.reason()));
            }
            return (DigestVerdict::Void, Some(ChainBreak::Damaged));
        }
        let item = UploadItem {
            kind: ObjectKind::Chain,
            name: read.name.clone(),
            seq: read.seq,
            parts: Vec::new(),
            claims: read.claims.clone(),
            keys: Vec::new(),
            attempts: 0,
            not_before: Duration::ZERO,
            is_first_attempt: own.is_some(),
            alternative_name: None,
        };
        let ChainPosition { of, epoch, base, .. } = found.clone();
        chain.queue.push_back(QueuedDigest { item, line_epoch: of, epoch, base });
        chain.read_back = Some(found.clone());
        (DigestVerdict::Valid, None)
    }

    /// Digests whose turn to be written has come.
    pub(super) fn take_ready(&mut self) -> Vec<UploadItem> {
        let waiting = self.chains.values_mut().filter(|chain| !chain.is_writing);
        waiting
            .filter_map(|chain| {
                let item = chain.queue.front()?.item.clone();
                chain.is_writing = true;
                Some(item)
            })
            .collect()
    }

    /// Records that a digest is stored; `done` are its records.
    pub(super) fn mark_stored(&mut self, line: &ChainId, position: ChainPosition, done: Vec<RecordSeq>) {
        if let Some(chain) = self.chains.get_mut(line) {
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
        self.chains.iter().find(|(_, chain)| first(chain) == Some(seq)).map(|(line, _)| line.clone())
    }

    /// Handles a first digest that can't be stored: the chain abandons its epoch, and all later sealed digests are
    /// void. Returns the freed claims of each void digest.
    pub(super) fn abandon_epoch(
        &mut self,
        line: &ChainId,
        why: ChainBreak,
        epoch: String,
        now: UnixNanos,
    ) -> Vec<Vec<RecordSeq>> {
        let Some(chain) = self.chains.get_mut(line) else { return Vec::new() };
        let Some(first) = chain.queue.front() else { return Vec::new() };
        let at = match &chain.stored {
            Some(stored) if stored.epoch == first.epoch => stored.clone(),
            before => ChainPosition {
                epoch: first.epoch.clone(),
                ..ChainPosition::start(&first.line_epoch, first.base, before.as_ref(), now)
            },
        };
        let position = at.abandon_epoch(epoch, why.reason());
        (chain.read_back, chain.stored) = (Some(position.clone()), Some(position));
        (chain.is_writing, chain.seal_in_flight) = (false, None);
        let void: Vec<QueuedDigest> = chain.queue.drain(..).collect();
        self.unsaved.dirty = true;
        let damaged = usize::from(why == ChainBreak::Damaged);
        self.unsaved.done.extend(void.iter().skip(damaged).map(|queued| vec![queued.item.seq]));
        void.into_iter().map(|queued| queued.item.claims).collect()
    }

    /// The position of a chain's next digest; `None` if there are no lines to begin or continue with, or a seal is in
    /// flight.
    pub(super) fn next_position(
        &self,
        line: &ChainId,
        shelf: &RecordTracker,
        now: UnixNanos,
        epoch: &dyn Fn() -> String,
    ) -> Option<ChainPosition> {
        let chain = self.chains.get(line);
        if chain.is_some_and(|chain| chain.seal_in_flight.is_some()) {
            return None;
        }
        let sent = chain.and_then(|chain| chain.read_back.as_ref());
        let log =
            |epoch: &str| EpochLog { account: line.account.clone(), writer: line.writer.clone(), epoch: epoch.into() };
        if let Some(sent) = sent
            && (!sent.closed || shelf.first_leaf(&log(&sent.of)).is_some())
        {
            return Some(ChainPosition { closed: false, ..sent.clone() });
        }
        let next = shelf.oldest_log(line);
        let another = |sent: &ChainPosition| *sent.of != *self.own_log.epoch && line.writer == self.own_log.writer;
        let goes_on = || sent.is_some_and(another).then(|| log(&self.own_log.epoch));
        let next = next.or_else(goes_on)?;
        let first = shelf.first_leaf(&next).unwrap_or_default();
        let mut position = ChainPosition::start(&next.epoch, if sent.is_some() { 0 } else { first }, sent, now);
        if sent.is_none() {
            position.reason = Some("no state: this writer has no record of an earlier digest".to_owned());
            if first > 0 {
                // digests of this epoch may already have been written
                position.epoch = epoch();
            }
        }
        Some(position)
    }

    /// Whether a position belongs to this process's epoch.
    pub(super) fn is_live(&self, line: &ChainId, position: &ChainPosition) -> bool {
        line.writer == self.own_log.writer && *position.of == *self.own_log.epoch
    }

    /// Records that a seal is in flight.
    pub(super) fn record_seal(&mut self, line: &ChainId, body: Bytes, position: ChainPosition, since: Duration) {
        let outstanding = SealInFlight { body, position, since, resend: false };
        self.chains.entry(line.clone()).or_default().seal_in_flight = Some(outstanding);
    }

    /// Marks seals that did not come back within `patience` to be sent again. Called when records were damaged.
    pub(super) fn resend_overdue_seals(&mut self, now: Duration, patience: Duration) {
        for outstanding in self.chains.values_mut().filter_map(|chain| chain.seal_in_flight.as_mut()) {
            outstanding.resend |= now.saturating_sub(outstanding.since) >= patience;
        }
    }

    /// The seals to send again.
    pub(super) fn take_seals_to_resend(&mut self, now: Duration) -> Vec<(ChainId, Bytes)> {
        let mut out = Vec::new();
        for (line, chain) in &mut self.chains {
            if let Some(outstanding) = chain.seal_in_flight.as_mut().filter(|outstanding| outstanding.resend) {
                (outstanding.resend, outstanding.since) = (false, now);
                out.push((line.clone(), outstanding.body.clone()));
            }
        }
        out
    }

    /// Number of the chain's digests that are sealed and not stored.
    pub(super) fn unstored_digests(&self, line: &ChainId) -> usize {
        self.chains.get(line).map_or(0, |chain| chain.queue.len())
    }

    /// Whether no seal is in flight and everything is saved.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |chain: &ChainState| chain.queue.is_empty() && chain.seal_in_flight.is_none();
        !self.unsaved.dirty && self.chains.values().all(idle)
    }
}
