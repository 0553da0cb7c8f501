//! [`Chains`]: the state of each chain: sealed digests, stored digests, and digests that wait for their turn. It is
//! pure bookkeeping, so that every order of crashes can be tested.
//!
//! Each chain has at most one seal in flight, and its digests are stored in order. A position is saved before the
//! records behind it are marked done. If a digest can't be written as sealed (its name is taken, its seal is damaged or
//! dropped), the chain abandons its epoch for another one, which records the reason, and the lines continue there.
//! Neighbours: `digests` (their bytes), `flight` (writing them).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::chain::erasures::NewestErasures;
use crate::chain::position::{Position, Saved, SavedChain};
use crate::store::ObjectKind;
use kernel::clock::UnixNanos;
use pipeline::spool::Seq;

use super::shelf::{Item, Line, Log, ReadDigest, Shelf};

/// Why a chain abandoned its epoch. The digest contains the reason's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Another process wrote this name: a cloned volume or machine.
    Fork,
    /// A digest could not be read back from the spool.
    Damaged,
    /// An operator dropped a digest from the spool.
    Dropped,
}

impl Broken {
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
struct Outstanding {
    body: Bytes,
    position: Position,
    since: Duration,
    again: bool,
}

/// A digest that was read back from the spool and is not stored yet.
struct Queued {
    item: Item,
    of: String,
    epoch: String,
    base: u64,
}

#[derive(Default)]
struct Chain {
    /// Position after the last digest that was read back.
    sent: Option<Position>,
    /// Position after the last stored digest, or as read from the file.
    stored: Option<Position>,
    outstanding: Option<Outstanding>,
    queue: VecDeque<Queued>,
    /// Whether the first digest of the queue is being written.
    flying: bool,
}

/// How to treat a digest that was read from the spool.
pub(super) enum Verdict {
    /// It is valid: its lines are claimed.
    Counts,
    /// It is stored already: it and its claims are done.
    Stored,
    /// It is void: it is done, and its claims are free again.
    Void,
}

/// Records to mark as done once the positions are saved.
#[derive(Default)]
pub(super) struct Unsaved {
    pub(super) done: Vec<Vec<Seq>>,
    pub(super) dirty: bool,
}

/// State of all chains (see the module).
pub(super) struct Chains {
    live: Log,
    lines: BTreeMap<Line, Chain>,
    /// Payload and key objects whose names were taken, with their alternative names.
    aside: BTreeMap<String, String>,
    /// The newest erasures that were reported.
    pub(super) erasures: NewestErasures,
    pub(super) unsaved: Unsaved,
}

impl Chains {
    /// No chains yet; `writer` and `epoch` are those of this process.
    pub(super) fn new(writer: Arc<str>, epoch: Arc<str>) -> Self {
        let live = Log { account: Arc::from(""), writer, epoch };
        let (aside, erasures, unsaved) = (BTreeMap::new(), NewestErasures::default(), Unsaved::default());
        Self { live, lines: BTreeMap::new(), aside, erasures, unsaved }
    }

    /// Restores the saved state.
    pub(super) fn restore(&mut self, saved: Saved) {
        (self.aside, self.erasures) = (saved.aside, saved.erasures);
        for SavedChain { account, writer, position, .. } in saved.chains {
            let line = Line { account: account.into(), writer: writer.into() };
            let chain = Chain { sent: Some(position.clone()), stored: Some(position), ..Chain::default() };
            self.lines.insert(line, chain);
        }
    }

    /// The state to save.
    pub(super) fn saved(&self) -> Saved {
        let one = |(line, chain): (&Line, &Chain)| {
            let position = chain.stored.clone()?;
            let (account, writer) = (line.account.to_string(), line.writer.to_string());
            Some(SavedChain { account, writer, position, sessions: Vec::new() })
        };
        let (aside, erasures) = (self.aside.clone(), self.erasures.clone());
        Saved { v: 1, chains: self.lines.iter().filter_map(one).collect(), aside, erasures }
    }

    /// Records an alternative name for an object whose own name was taken.
    pub(super) fn set_aside(&mut self, name: &str, other: String) {
        self.aside.insert(name.to_owned(), other);
        self.unsaved.dirty = true;
    }

    /// The alternative name of an object, if it has one.
    pub(super) fn aside(&self, name: &str) -> Option<&str> {
        self.aside.get(name).map(String::as_str)
    }

    /// Forgets an alternative name, once a digest contains it or the object no longer needs it.
    pub(super) fn forget_aside(&mut self, name: &str) {
        self.unsaved.dirty |= self.aside.remove(name).is_some();
    }

    /// Whether records of former processes remain to be finished.
    pub(super) fn recovering(&self, shelf: &Shelf) -> bool {
        let former = |(line, chain): (&Line, &Chain)| {
            chain.sent.as_ref().is_some_and(|sent| !sent.closed && !self.is_live(line, sent))
        };
        self.lines.iter().any(former) || shelf.has_former()
    }

    /// Chains that may need a digest.
    pub(super) fn lines(&self, shelf: &Shelf) -> BTreeSet<Line> {
        self.lines.keys().cloned().chain(shelf.lines()).collect()
    }

    /// Handles a digest that was read from the spool. `epoch` generates a new epoch if one is needed.
    pub(super) fn read(&mut self, read: &ReadDigest, epoch: &dyn Fn() -> String) -> (Verdict, Option<Broken>) {
        let chain = self.lines.entry(read.line.clone()).or_default();
        let found = &read.seal.position;
        let void = |position: &Option<Position>| {
            position.as_ref().is_some_and(|position| position.left.contains(&found.epoch))
        };
        if void(&chain.stored) || void(&chain.sent) {
            return (Verdict::Void, None);
        }
        let behind =
            |position: &Option<Position>| position.as_ref().is_some_and(|position| found.serial <= position.serial);
        if behind(&chain.stored) {
            return (Verdict::Stored, None);
        }
        if behind(&chain.sent) {
            return (Verdict::Void, None);
        }
        let own = chain.outstanding.take_if(|outstanding| outstanding.position == *found);
        let follows = chain.sent.as_ref().is_none_or(|sent| {
            let in_epoch = sent.epoch == found.epoch && found.next == sent.next + 1;
            found.serial == sent.serial + 1 && (in_epoch || found.next == 1)
        });
        if own.is_none() && !follows {
            if let Some(sent) = &chain.sent {
                chain.sent = Some(sent.leave(epoch(), Broken::Damaged.reason()));
            }
            return (Verdict::Void, Some(Broken::Damaged));
        }
        let item = Item {
            kind: ObjectKind::Chain,
            name: read.name.clone(),
            seq: read.seq,
            parts: Vec::new(),
            claims: read.claims.clone(),
            keys: Vec::new(),
            attempts: 0,
            not_before: Duration::ZERO,
            fresh: own.is_some(),
            aside: None,
        };
        let Position { of, epoch, base, .. } = found.clone();
        chain.queue.push_back(Queued { item, of, epoch, base });
        chain.sent = Some(found.clone());
        (Verdict::Counts, None)
    }

    /// Digests whose turn to be written has come.
    pub(super) fn ready(&mut self) -> Vec<Item> {
        let waiting = self.lines.values_mut().filter(|chain| !chain.flying);
        waiting
            .filter_map(|chain| {
                let item = chain.queue.front()?.item.clone();
                chain.flying = true;
                Some(item)
            })
            .collect()
    }

    /// Records that a digest is stored; `done` are its records.
    pub(super) fn stored(&mut self, line: &Line, position: Position, done: Vec<Seq>) {
        if let Some(chain) = self.lines.get_mut(line) {
            chain.queue.pop_front();
            chain.flying = false;
            chain.stored = Some(position);
            self.unsaved.dirty = true;
            self.unsaved.done.push(done);
        }
    }

    /// The chain whose first waiting digest is the record `seq`.
    pub(super) fn line_of(&self, seq: Seq) -> Option<Line> {
        let first = |chain: &Chain| chain.queue.front().map(|queued| queued.item.seq);
        self.lines.iter().find(|(_, chain)| first(chain) == Some(seq)).map(|(line, _)| line.clone())
    }

    /// Handles a first digest that can't be stored: the chain abandons its epoch, and all later sealed digests are
    /// void. Returns the freed claims of each void digest.
    pub(super) fn leave(&mut self, line: &Line, why: Broken, epoch: String, now: UnixNanos) -> Vec<Vec<Seq>> {
        let Some(chain) = self.lines.get_mut(line) else { return Vec::new() };
        let Some(first) = chain.queue.front() else { return Vec::new() };
        let at = match &chain.stored {
            Some(stored) if stored.epoch == first.epoch => stored.clone(),
            before => {
                Position { epoch: first.epoch.clone(), ..Position::start(&first.of, first.base, before.as_ref(), now) }
            }
        };
        let position = at.leave(epoch, why.reason());
        (chain.sent, chain.stored) = (Some(position.clone()), Some(position));
        (chain.flying, chain.outstanding) = (false, None);
        let void: Vec<Queued> = chain.queue.drain(..).collect();
        self.unsaved.dirty = true;
        let damaged = usize::from(why == Broken::Damaged);
        self.unsaved.done.extend(void.iter().skip(damaged).map(|queued| vec![queued.item.seq]));
        void.into_iter().map(|queued| queued.item.claims).collect()
    }

    /// The position of a chain's next digest; `None` if there are no lines to begin or continue with, or a seal is in
    /// flight.
    pub(super) fn at(
        &self,
        line: &Line,
        shelf: &Shelf,
        now: UnixNanos,
        epoch: &dyn Fn() -> String,
    ) -> Option<Position> {
        let chain = self.lines.get(line);
        if chain.is_some_and(|chain| chain.outstanding.is_some()) {
            return None;
        }
        let sent = chain.and_then(|chain| chain.sent.as_ref());
        let log = |epoch: &str| Log { account: line.account.clone(), writer: line.writer.clone(), epoch: epoch.into() };
        if let Some(sent) = sent
            && (!sent.closed || shelf.first_leaf(&log(&sent.of)).is_some())
        {
            return Some(Position { closed: false, ..sent.clone() });
        }
        let next = shelf.oldest(line);
        let another = |sent: &Position| *sent.of != *self.live.epoch && line.writer == self.live.writer;
        let goes_on = || sent.is_some_and(another).then(|| log(&self.live.epoch));
        let next = next.or_else(goes_on)?;
        let first = shelf.first_leaf(&next).unwrap_or_default();
        let mut position = Position::start(&next.epoch, if sent.is_some() { 0 } else { first }, sent, now);
        if sent.is_none() {
            position.reason = Some("no state: this writer has no record of a digest before".to_owned());
            if first > 0 {
                // digests of this epoch may already have been written
                position.epoch = epoch();
            }
        }
        Some(position)
    }

    /// Whether a position belongs to this process's epoch.
    pub(super) fn is_live(&self, line: &Line, position: &Position) -> bool {
        line.writer == self.live.writer && *position.of == *self.live.epoch
    }

    /// Records that a seal is in flight.
    pub(super) fn sealed(&mut self, line: &Line, body: Bytes, position: Position, since: Duration) {
        let outstanding = Outstanding { body, position, since, again: false };
        self.lines.entry(line.clone()).or_default().outstanding = Some(outstanding);
    }

    /// Marks seals that did not come back within `patience` to be sent again. Called when records were damaged.
    pub(super) fn give_up_waiting(&mut self, now: Duration, patience: Duration) {
        for outstanding in self.lines.values_mut().filter_map(|chain| chain.outstanding.as_mut()) {
            outstanding.again |= now.saturating_sub(outstanding.since) >= patience;
        }
    }

    /// The seals to send again.
    pub(super) fn again(&mut self, now: Duration) -> Vec<(Line, Bytes)> {
        let mut out = Vec::new();
        for (line, chain) in &mut self.lines {
            if let Some(outstanding) = chain.outstanding.as_mut().filter(|outstanding| outstanding.again) {
                (outstanding.again, outstanding.since) = (false, now);
                out.push((line.clone(), outstanding.body.clone()));
            }
        }
        out
    }

    /// Number of the chain's digests that are sealed and not stored.
    pub(super) fn behind(&self, line: &Line) -> usize {
        self.lines.get(line).map_or(0, |chain| chain.queue.len())
    }

    /// Whether no seal is in flight and everything is saved.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |chain: &Chain| chain.queue.is_empty() && chain.outstanding.is_none();
        !self.unsaved.dirty && self.lines.values().all(idle)
    }
}
