//! The [`Uploader`]'s handling of chains: restores and saves their positions; handles digests that were read from the
//! spool, finished attempts to write digests, and broken chains; and sweeps the store. A position is saved before the
//! records up to it are marked done. Neighbours: `chains` (bookkeeping), `digests` (building digests).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::chain::position::{ChainId, ChainPosition, SavedChains};
use crate::object_names::{self, rfc3339};
use crate::store::{PutOutcome, StoreError, SweepResult};
use kernel::clock::UnixNanos;

use super::chains::{ChainBreak, DigestVerdict};
use super::erasures::ErasureInbox;
use super::object_write::WriteFailure;
use super::open_sessions::OpenSessions;
use super::record_tracker::{ReadDigest, UploadItem};
use super::{SWEEP_INTERVAL, Uploader};

impl Uploader {
    /// Reads the positions of the chains. False if they can't be read now.
    pub(super) async fn restore_positions(&mut self) -> bool {
        let vault = &*self.deps.id;
        let bytes = match self.deps.journal.read_chains().await {
            Ok(bytes) => bytes,
            Err(why) => {
                self.backoff.record_failure(self.deps.clock.monotonic(), &*self.deps.rng);
                tracing::error!(vault, why = why.to_string(), "the positions of the vault's chains can't be read");
                return false;
            }
        };
        if let Some(bytes) = bytes {
            match serde_json::from_slice::<SavedChains>(&bytes) {
                Ok(mut saved) if saved.v == 1 => {
                    for chain in &mut saved.chains {
                        let sessions = OpenSessions::restore(std::mem::take(&mut chain.sessions));
                        self.open_sessions.insert(chain.id.clone(), sessions);
                    }
                    self.chains.restore(saved);
                    self.expired_before = self.chains.expired_before();
                }
                // a new chain begins, and its first digest says why
                _ => tracing::error!(
                    vault,
                    "the saved positions of the vault's chains are damaged: new chains are started"
                ),
            }
        }
        self.is_restored = true;
        true
    }

    /// The inbox for reports of newest erasures.
    pub fn erasure_inbox(&self) -> Arc<ErasureInbox> {
        Arc::clone(&self.inbox)
    }

    /// Takes the waiting reports; the next save confirms them.
    pub(super) fn take_erasures(&mut self) {
        for (head, confirm) in self.inbox.take() {
            // even a known head may not be on disk yet, so it is saved too
            self.chains.erasures.add(&head);
            self.chains.unsaved.dirty = true;
            self.confirmations.push(confirm);
        }
    }

    /// Saves the positions of the chains, then marks the records up to them as done. True if positions were saved.
    pub(super) async fn save_positions(&mut self) -> bool {
        if !self.chains.unsaved.dirty {
            return false;
        }
        let mut saved = self.chains.to_saved();
        for chain in &mut saved.chains {
            chain.sessions = self.open_sessions.get(&chain.id).map(OpenSessions::to_saved).unwrap_or_default();
        }
        let bytes = serde_json::to_vec(&saved).unwrap_or_default(); // strings and numbers: serialising can't fail
        if let Err(why) = self.deps.journal.write_chains(bytes).await {
            self.backoff.record_failure(self.deps.clock.monotonic(), &*self.deps.rng);
            tracing::error!(
                vault = &*self.deps.id,
                why = why.to_string(),
                "the positions of the vault's chains can't be written"
            );
            return false;
        }
        self.chains.unsaved.dirty = false;
        for confirm in self.confirmations.drain(..) {
            let _ = confirm.send(()); // the requester may have stopped waiting
        }
        for done in std::mem::take(&mut self.chains.unsaved.done) {
            self.mark_done(&done);
        }
        true
    }

    pub(super) fn handle_digest(&mut self, digest: &ReadDigest) {
        let (rng, now) = (Arc::clone(&self.deps.rng), self.deps.clock.now());
        let (verdict, chain_break) = self.chains.handle_digest(digest, &|| object_names::new_epoch(now, &*rng));
        match verdict {
            DigestVerdict::Valid => {
                self.record_tracker.claim_leaves(&digest.claims);
                self.record_tracker.tracked += 1;
            }
            DigestVerdict::Stored => {
                self.record_tracker.claim_leaves(&digest.claims);
                self.record_tracker.untrack(digest.claims.len());
                self.mark_done(&[digest.claims.as_slice(), &[digest.seq]].concat());
            }
            DigestVerdict::Void => self.mark_done(&[digest.seq]),
        }
        if let Some(why) = chain_break {
            self.report_break(&digest.chain_id, why);
        }
    }

    /// Handles a finished attempt to write a digest.
    pub(super) fn finish_digest_write(
        &mut self,
        item: UploadItem,
        result: Result<PutOutcome, WriteFailure>,
        position: Option<Box<ChainPosition>>,
        [index, sessions]: &[Bytes; 2],
    ) {
        let Some(chain_id) = self.chains.chain_of_seal(item.seq) else { return };
        match (result, position) {
            (Ok(PutOutcome::Exists), _) if item.is_first_attempt => {
                self.abandon_epoch(&chain_id, &item, ChainBreak::Fork)
            }
            (Ok(_), Some(position)) => {
                let done = self.record_tracker.untrack_item(&item);
                self.open_sessions.entry(chain_id.clone()).or_default().apply_stored_digest(index, sessions);
                self.chains.mark_stored(&chain_id, *position, done);
                self.backoff.record_success(&self.deps.id);
            }
            (Err(WriteFailure::Store(StoreError::Differs)), _) => {
                self.abandon_epoch(&chain_id, &item, ChainBreak::Fork)
            }
            (Err(WriteFailure::Dropped), _) => self.abandon_epoch(&chain_id, &item, ChainBreak::Dropped),
            (Err(WriteFailure::Damaged), _) | (Ok(_), None) => {
                self.report_damaged(item.seq);
                self.abandon_epoch(&chain_id, &item, ChainBreak::Damaged);
            }
            (Err(WriteFailure::Store(error)), _) => self.handle_write_failure(item, &error),
        }
    }

    /// Gives a payload or key object an alternative name, because its own name was taken before the first attempt or
    /// has other bytes, and nothing may be overwritten. A digest signs the alternative name of a payload object; keys
    /// are named like key copies.
    pub(super) fn use_alternative_name(&mut self, mut item: UploadItem) {
        let alternative_name = object_names::alternative_name(&item.name, &*self.deps.rng);
        self.metrics.corrupt.increment(1);
        tracing::error!(
            vault = &*self.deps.id,
            object = &*item.name,
            stored_as = alternative_name,
            "another process already wrote an object with this name: check who else has the store's credentials. The content is stored under another name"
        );
        self.chains.set_alternative_name(&item.name, alternative_name);
        item.is_first_attempt = false;
        self.record_tracker.put_back(item, false);
    }

    fn abandon_epoch(&mut self, chain_id: &ChainId, item: &UploadItem, why: ChainBreak) {
        let now = self.deps.clock.now();
        let epoch = object_names::new_epoch(now, &*self.deps.rng);
        for mut claims in self.chains.abandon_epoch(chain_id, why, epoch, now) {
            self.record_tracker.untrack(claims.len() + 1);
            self.records_to_reread.append(&mut claims);
        }
        tracing::error!(vault = &*self.deps.id, digest = &*item.name, "a digest of the vault's chain can't be stored");
        self.report_break(chain_id, why);
    }

    fn report_break(&self, chain_id: &ChainId, why: ChainBreak) {
        self.metrics.breaks.get(&why).into_iter().for_each(|counter| counter.increment(1));
        tracing::error!(
            vault = &*self.deps.id,
            writer = &*chain_id.writer,
            reason = why.label(),
            "the vault's chain continues in a new epoch, which records the reason; `fork` means that another process uses a copy of this spool"
        );
    }

    /// Removes expired objects, if the store has no expiry of its own.
    pub(super) async fn sweep(&mut self, now: UnixNanos, monotonic: Duration) {
        if self.last_sweep_at.is_some_and(|swept| monotonic.saturating_sub(swept) < SWEEP_INTERVAL) {
            return;
        }
        self.last_sweep_at = Some(monotonic);
        let vault = &*self.deps.id;
        match self.deps.store.sweep(now).await {
            Ok(None) => {}
            Ok(Some(swept)) if swept == SweepResult::default() => {}
            Ok(Some(SweepResult { objects, bytes, held })) => {
                tracing::info!(vault, objects, bytes, held, "expired objects were removed from the vault's folder");
            }
            Err(error) => tracing::error!(vault, %error, "expired objects can't be removed from the vault's folder"),
        }
    }

    /// Keeps a store that may expire content below its maximum size. Content is removed after a stored digest declared
    /// it, and the position after that digest was saved.
    pub(super) async fn make_room(&mut self) {
        if self.chains.unsaved.dirty {
            return;
        }
        let vault = &*self.deps.id;
        match self.deps.store.make_room(self.chains.expired_before()).await {
            Ok(before) if before > self.expired_before => {
                let before_text = before.map(rfc3339);
                tracing::info!(vault, before = before_text, "the vault's folder is full: its oldest content expires");
                self.expired_before = before;
            }
            Ok(_) => {}
            Err(error) => tracing::error!(vault, %error, "the oldest content can't be removed from the vault's folder"),
        }
    }

    /// Stops waiting for records that may never arrive because records were damaged.
    pub(super) fn stop_waiting_for_lost(&mut self, now: Duration, patience: Duration) {
        self.record_tracker.stop_waiting_for_lost(now, patience);
        if !self.record_tracker.damaged.is_empty() {
            self.chains.resend_overdue_seals(now, patience);
        }
    }
}
