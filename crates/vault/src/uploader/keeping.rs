//! The [`Uploader`]'s handling of chains: restores and saves positions, takes digests that were read, finished
//! attempts, and breaks. Positions are saved before the records behind them are marked done. Neighbours: `chains`
//! (bookkeeping), `digests` (building digests).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::chain::position::{Position, Saved};
use crate::names;
use crate::store::{Put, StoreError, Swept};
use kernel::clock::UnixNanos;

use super::chains::{Broken, Verdict};
use super::erasures::ErasureInbox;
use super::flight::Failure;
use super::shelf::{Item, Line, ReadDigest};
use super::totals::Open;
use super::{SWEEP, Uploader};

impl Uploader {
    /// Reads the positions of the chains. False if they can't be read now.
    pub(super) async fn restore(&mut self) -> bool {
        let vault = &*self.parts.id;
        let bytes = match self.parts.journal.chains().await {
            Ok(bytes) => bytes,
            Err(why) => {
                self.pause.failed(self.parts.clock.monotonic(), &*self.parts.rng);
                tracing::error!(vault, why = why.to_string(), "the positions of the vault's chains can't be read");
                return false;
            }
        };
        if let Some(bytes) = bytes {
            match serde_json::from_slice::<Saved>(&bytes) {
                Ok(mut saved) if saved.v == 1 => {
                    for chain in &mut saved.chains {
                        let line =
                            Line { account: chain.account.as_str().into(), writer: chain.writer.as_str().into() };
                        self.open.insert(line, Open::restore(std::mem::take(&mut chain.sessions)));
                    }
                    self.chains.restore(saved);
                }
                // a new chain begins, and its first digest says why
                _ => tracing::error!(vault, "the positions of the vault's chains are damaged: the chains begin anew"),
            }
        }
        self.restored = true;
        true
    }

    /// The inbox for reports of newest erasures.
    pub fn erasure_inbox(&self) -> Arc<ErasureInbox> {
        Arc::clone(&self.inbox)
    }

    /// Takes the waiting reports; the next save confirms them.
    pub(super) fn take_erasures(&mut self) {
        for (head, kept) in self.inbox.take() {
            // even a known head may not be on disk yet, so it is saved too
            self.chains.erasures.add(&head);
            self.chains.unsaved.dirty = true;
            self.unconfirmed.push(kept);
        }
    }

    /// Confirms the reports that are now on disk.
    fn confirm_erasures(&mut self) {
        for kept in self.unconfirmed.drain(..) {
            let _gone = kept.send(()); // the requester may have stopped waiting
        }
    }

    /// Saves the positions of the chains, then marks the records behind them as done. True if positions were saved.
    pub(super) async fn save(&mut self) -> bool {
        if !self.chains.unsaved.dirty {
            return false;
        }
        let mut saved = self.chains.saved();
        for chain in &mut saved.chains {
            let line = Line { account: chain.account.as_str().into(), writer: chain.writer.as_str().into() };
            chain.sessions = self.open.get(&line).map(Open::saved).unwrap_or_default();
        }
        let bytes = serde_json::to_vec(&saved).unwrap_or_default(); // strings and numbers: serialising can't fail
        if let Err(why) = self.parts.journal.keep_chains(bytes).await {
            self.pause.failed(self.parts.clock.monotonic(), &*self.parts.rng);
            tracing::error!(
                vault = &*self.parts.id,
                why = why.to_string(),
                "the positions of the vault's chains can't be written"
            );
            return false;
        }
        self.chains.unsaved.dirty = false;
        self.confirm_erasures();
        for done in std::mem::take(&mut self.chains.unsaved.done) {
            self.done(&done);
        }
        true
    }

    /// Handles a digest that was read from the spool.
    pub(super) fn take_digest(&mut self, digest: &ReadDigest) {
        let (rng, now) = (Arc::clone(&self.parts.rng), self.parts.clock.now());
        let (verdict, broken) = self.chains.read(digest, &|| names::epoch(now, &*rng));
        match verdict {
            Verdict::Counts => {
                self.shelf.claim_leaves(&digest.claims);
                self.shelf.track();
            }
            Verdict::Stored => {
                self.shelf.claim_leaves(&digest.claims);
                self.shelf.untrack(digest.claims.len());
                self.done(&[digest.claims.as_slice(), &[digest.seq]].concat());
            }
            Verdict::Void => self.done(&[digest.seq]),
        }
        if let Some(why) = broken {
            self.broke(&digest.line, why);
        }
    }

    /// Handles a finished attempt to write a digest.
    pub(super) fn land_digest(
        &mut self,
        item: Item,
        result: Result<Put, Failure>,
        position: Option<Box<Position>>,
        [index, sessions]: &[Bytes; 2],
    ) {
        let Some(line) = self.chains.line_of(item.seq) else { return };
        match (result, position) {
            (Ok(Put::Exists), _) if item.fresh => self.leave(&line, &item, Broken::Fork),
            (Ok(_), Some(position)) => {
                let done = self.shelf.stored(&item);
                self.open.entry(line.clone()).or_default().stored(index, sessions);
                self.chains.stored(&line, *position, done);
                if self.pause.succeeded() {
                    tracing::info!(vault = &*self.parts.id, "the vault's store works again");
                }
            }
            (Err(Failure::Store(StoreError::Differs)), _) => self.leave(&line, &item, Broken::Fork),
            (Err(Failure::Gone), _) => self.leave(&line, &item, Broken::Dropped),
            (Err(Failure::Damaged), _) | (Ok(_), None) => {
                self.damaged(item.seq);
                self.leave(&line, &item, Broken::Damaged);
            }
            (Err(Failure::Store(error)), _) => self.failed(item, &error),
        }
    }

    /// Gives a payload or key object an alternative name, because its own was taken before the first attempt or holds
    /// other bytes, and nothing may be overwritten. A digest signs the alternative name of a payload object; keys are
    /// named like key copies.
    pub(super) fn set_aside(&mut self, mut item: Item) {
        let other = names::aside(&item.name, &*self.parts.rng);
        self.metrics.corrupt.increment(1);
        tracing::error!(
            vault = &*self.parts.id,
            object = &*item.name,
            stored_as = other,
            "somebody else wrote an object of this name before: who else has the store's credential? The content is stored under another name"
        );
        self.chains.set_aside(&item.name, other);
        item.fresh = false;
        self.shelf.put_back(item, false);
    }

    fn leave(&mut self, line: &Line, item: &Item, why: Broken) {
        let now = self.parts.clock.now();
        let epoch = names::epoch(now, &*self.parts.rng);
        for mut claims in self.chains.leave(line, why, epoch, now) {
            self.shelf.untrack(claims.len() + 1);
            self.again.append(&mut claims);
        }
        tracing::error!(vault = &*self.parts.id, digest = &*item.name, "a digest of the vault's chain can't be stored");
        self.broke(line, why);
    }

    fn broke(&self, line: &Line, why: Broken) {
        if let Some((_, counter)) = self.metrics.breaks.iter().find(|(broken, _)| *broken == why) {
            counter.increment(1);
        }
        tracing::error!(
            vault = &*self.parts.id,
            writer = &*line.writer,
            reason = why.label(),
            "the vault's chain goes on in another epoch, which says so; `fork`: another process uses a copy of this spool"
        );
    }

    /// Removes expired objects, if the store has no expiry of its own.
    pub(super) async fn sweep(&mut self, now: UnixNanos, monotonic: Duration) {
        if self.swept.is_some_and(|swept| monotonic.saturating_sub(swept) < SWEEP) {
            return;
        }
        self.swept = Some(monotonic);
        let vault = &*self.parts.id;
        match self.parts.store.sweep(now).await {
            Ok(None) => {}
            Ok(Some(swept)) if swept == Swept::default() => {}
            Ok(Some(Swept { objects, bytes, held })) => {
                tracing::info!(vault, objects, bytes, held, "what was expired is removed from the vault's folder");
            }
            Err(error) => tracing::error!(vault, %error, "what is expired can't be removed from the vault's folder"),
        }
    }

    /// Stops waiting for records that may never arrive because records were damaged.
    pub(super) fn give_up_waiting(&mut self, now: Duration, patience: Duration) {
        self.shelf.give_up_waiting(now, patience);
        if self.shelf.has_damage() {
            self.chains.give_up_waiting(now, patience);
        }
    }
}
