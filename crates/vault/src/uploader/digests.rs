//! Builds digests: takes lines whose objects are stored, adds them to the tree, signs and seals.
//!
//! A digest, its signature and its index object are one seal, committed before the first attempt to write any of them.
//! A lost line is replaced by a line of kind `gap`, so that a leaf's number is its place in the tree. Neighbours:
//! `chains` (which digest counts), `object_write` (writing).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};

use super::journal::UploadJournal;
use super::object_write::{self, WriteFailure};
use super::record_tracker::{EpochLog, LeafBatch, NextLeaves};
use super::{COMPRESSION_LEVEL, DueDigests, MAX_INDEX_BYTES, Uploader};
use crate::chain::digest::{
    ChainContinuation, ChainDigest, DigestCounters, DigestLink, GatewayIdentity, IndexReference, PayloadReference,
    SessionsReference, VERSION, checkpoint_origin,
};
use crate::chain::note::Checkpoint;
use crate::chain::position::{ChainId, ChainPosition};
use crate::chain::tree::leaf_hash;
use crate::index_row::{IndexRow, RowKind, RowTail};
use crate::object_names::{self, ObjectNames, UNATTRIBUTED, rfc3339};
use crate::spool_record::{self, DigestSeal, LeafHeader, SealHeader, SealKind};
use crate::store::StoreError;
use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;
use pipeline::spool::RecordSeq;

/// Limit for the lines of kind `gap` in one index object.
const MAX_GAP_LINES: u64 = 2000;
/// Interval between digests without news.
const IDLE_INTERVAL: Duration = Duration::from_secs(3600);
/// How long after its time a digest may be stored before its absence is a gap.
const NEXT_DIGEST_GRACE: Duration = Duration::from_secs(600);

#[derive(Default)]
struct DigestContents {
    leaves: Vec<LeafBatch>,
    /// Lines before this number are lost.
    gap_end: Option<u64>,
    /// Whether this is the epoch's last digest.
    last: bool,
}

/// The lines of a digest as bytes.
#[derive(Default)]
struct DigestLines {
    bytes: Vec<u8>,
    count: u64,
    gaps: u64,
    day: String,
}

/// Why no digest was sealed.
enum DigestSealError {
    /// A record of lines could not be read.
    UnreadableRecord(RecordSeq, WriteFailure),
    /// The spool has no room.
    SpoolFull,
}

impl Uploader {
    pub(super) async fn seal_digests(&mut self, now: UnixNanos, monotonic: Duration, due: DueDigests) {
        for (chain_id, body) in self.chains.take_seals_to_resend(monotonic) {
            if self.deps.journal.append_seal(&chain_id.account, body, SealKind::Digest).is_err() {
                return self.chains.resend_overdue_seals(monotonic, Duration::ZERO);
            }
        }
        if !self.record_tracker.caught_up {
            return; // digests sealed by former processes come first
        }
        if !due.interval_over && !due.lines_left && !self.chains.is_recovering(&self.record_tracker) {
            return;
        }
        for chain_id in self.chains.chain_ids(&self.record_tracker) {
            match self.seal_digest(&chain_id, now, monotonic, due).await {
                Ok(()) => {}
                Err(DigestSealError::SpoolFull) => {
                    self.has_more_lines = true;
                    return;
                }
                // an operator dropped the record from the spool
                Err(DigestSealError::UnreadableRecord(seq, WriteFailure::Dropped)) => {
                    self.drop_lost_lines(&chain_id, seq)
                }
                Err(DigestSealError::UnreadableRecord(seq, WriteFailure::Damaged)) => {
                    self.report_damaged(seq);
                    self.drop_lost_lines(&chain_id, seq);
                }
                Err(DigestSealError::UnreadableRecord(_, WriteFailure::Store(error))) => {
                    tracing::error!(vault = &*self.deps.id, %error, "index lines can't be read from the spool");
                }
            }
        }
    }

    /// Drops a record of lost lines; the next digest records the gap.
    fn drop_lost_lines(&mut self, chain_id: &ChainId, seq: RecordSeq) {
        if let Some(position) = self.next_position(chain_id, self.deps.clock.now()) {
            self.record_tracker.forget_leaves(&epoch_log(chain_id, &position), seq);
        }
        self.has_more_lines = true;
    }

    fn next_position(&self, chain_id: &ChainId, now: UnixNanos) -> Option<ChainPosition> {
        self.chains
            .next_position(chain_id, &self.record_tracker, now, &|| object_names::new_epoch(now, &*self.deps.rng))
    }

    async fn seal_digest(
        &mut self,
        chain_id: &ChainId,
        now: UnixNanos,
        monotonic: Duration,
        due: DueDigests,
    ) -> Result<(), DigestSealError> {
        let Some(position) = self.next_position(chain_id, now) else { return Ok(()) };
        let (log, is_live) = (epoch_log(chain_id, &position), self.chains.is_live(chain_id, &position));
        if is_live && !due.interval_over && !due.lines_left {
            return Ok(());
        }
        let journal = Arc::clone(&self.deps.journal);
        let Some(mut contents) = self.choose_contents(chain_id, &log, &position, is_live, due, now) else {
            return Ok(());
        };
        loop {
            let lines = Self::read_lines(&*journal, chain_id, &position, &contents, now).await?;
            let (body, position_after) = self.build_seal(chain_id, &log, &position, &contents, &lines, now)?;
            match self.deps.journal.append_seal(&chain_id.account, body.clone(), SealKind::Digest) {
                Ok(()) => {
                    self.metrics.gaps.increment(lines.gaps);
                    self.chains.record_seal(chain_id, body, position_after, monotonic);
                    return Ok(());
                }
                // a full spool keeps room for small seals, and each one that completes frees more
                Err(_) if contents.leaves.len() > 1 => {
                    contents.leaves.truncate(contents.leaves.len() / 4 + 1);
                    contents.last = false;
                }
                Err(_) => return Err(DigestSealError::SpoolFull),
            }
        }
    }

    fn choose_contents(
        &mut self,
        chain_id: &ChainId,
        log: &EpochLog,
        position: &ChainPosition,
        is_live: bool,
        due: DueDigests,
        now: UnixNanos,
    ) -> Option<DigestContents> {
        loop {
            match self.record_tracker.next_leaves(log, position.next_leaf(), MAX_INDEX_BYTES) {
                NextLeaves::Stale(seq) => {
                    tracing::error!(
                        vault = &*self.deps.id,
                        record = seq.0,
                        "dropped index lines that are already in the chain"
                    );
                    self.record_tracker.forget_leaves(log, seq);
                    self.mark_done(&[seq]);
                }
                // the missing lines may be read once more
                NextLeaves::Gap(_) if !self.records_to_reread.is_empty() => return None,
                NextLeaves::Gap(end) => {
                    self.has_more_lines = true;
                    return Some(DigestContents { gap_end: Some(end), ..DigestContents::default() });
                }
                NextLeaves::Lines { batches: leaves, has_more } => {
                    self.has_more_lines |= has_more;
                    let end = leaves.last().map_or(0, |last| last.first + last.count);
                    let last = !has_more && due.final_round && self.record_tracker.awaited_objects(log, end).is_none();
                    return Some(DigestContents { leaves, last, gap_end: None });
                }
                NextLeaves::Nothing => {
                    let has_waiting =
                        self.record_tracker.first_leaf(log).is_some() || !self.records_to_reread.is_empty();
                    let has_begun = position.next > 0 || position.line_epoch != position.epoch;
                    let last = !has_waiting && (due.final_round || !is_live);
                    let is_interval_due = is_live
                        && due.interval_over
                        && self.chains.unstored_digests(chain_id) == 0
                        && self.has_news(chain_id, position, now);
                    let is_wanted = if last { has_begun } else { is_interval_due && !due.final_round };
                    return is_wanted.then(|| DigestContents { last, ..DigestContents::default() });
                }
            }
        }
    }

    /// Whether a digest without lines would differ from the last one in more than its time, or that one is an hour old.
    fn has_news(&self, chain_id: &ChainId, position: &ChainPosition, now: UnixNanos) -> bool {
        position.next == 0
            || now.since(UnixNanos(position.end)) >= IDLE_INTERVAL
            || self.counters(chain_id, position) != position.counters
            || self.open_sessions.get(chain_id).is_some_and(|open| open.due_lines(now).1 > 0)
    }

    /// The counters of a digest at this position, without `next_by`.
    fn counters(&self, chain_id: &ChainId, position: &ChainPosition) -> DigestCounters {
        let (is_live, uploaded) = (self.chains.is_live(chain_id, position), position.next_leaf());
        let acked = if is_live { self.deps.writer.assigned_leaves(&chain_id.account) } else { uploaded };
        DigestCounters {
            acked: acked.max(uploaded),
            uploaded,
            pending: acked.saturating_sub(uploaded),
            gaps: position.gaps,
            damaged: self.record_tracker.damaged.len() as u64,
            erasures: self.chains.erasures.of_account(&chain_id.account),
            next_by: None,
            expired_before: self.expired_before.map(rfc3339),
        }
    }

    /// The lines' bytes, read from the spool.
    async fn read_lines(
        journal: &dyn UploadJournal,
        chain_id: &ChainId,
        position: &ChainPosition,
        contents: &DigestContents,
        now: UnixNanos,
    ) -> Result<DigestLines, DigestSealError> {
        let mut lines = DigestLines { day: object_names::date(now), ..DigestLines::default() };
        if let Some(gap_end) = contents.gap_end {
            for leaf in (position.next_leaf()..gap_end).take(MAX_GAP_LINES as usize) {
                lines.bytes.extend_from_slice(gap_line(chain_id, position, leaf, now).as_bytes());
                lines.count += 1;
            }
            lines.gaps = lines.count;
            return Ok(lines);
        }
        if let Some(first_batch) = contents.leaves.first() {
            lines.day = first_batch.day.to_string();
        }
        for batch in &contents.leaves {
            let body = object_write::read_body(journal, batch.seq).await;
            let body = body.map_err(|failure| DigestSealError::UnreadableRecord(batch.seq, failure))?;
            let unpacked = spool_record::unpack::<LeafHeader>(&body);
            let (_, rest) = unpacked.ok_or(DigestSealError::UnreadableRecord(batch.seq, WriteFailure::Damaged))?;
            lines.bytes.extend_from_slice(&rest);
            lines.count += batch.count;
        }
        Ok(lines)
    }

    /// The seal of a digest, and the chain's position after it.
    fn build_seal(
        &mut self,
        chain_id: &ChainId,
        log: &EpochLog,
        position: &ChainPosition,
        contents: &DigestContents,
        lines: &DigestLines,
        now: UnixNanos,
    ) -> Result<(Bytes, ChainPosition), DigestSealError> {
        let names = ObjectNames::new(self.deps.writer.names().prefix(), &chain_id.writer, &position.epoch);
        let mut position_after = position.clone();
        for text in lines.bytes.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            position_after.tree.push(leaf_hash(text));
        }
        let first = contents.leaves.first().map_or(RecordSeq(0), |first| first.seq);
        if position_after.tree.size() - position.tree.size() != lines.count {
            return Err(DigestSealError::UnreadableRecord(first, WriteFailure::Damaged));
        }
        let index_object = match lines.count {
            0 => Vec::new(),
            _ => zstd::bulk::compress(&lines.bytes, COMPRESSION_LEVEL).map_err(|_| {
                let why = StoreError::Corrupt("index lines can't be compressed".to_owned());
                DigestSealError::UnreadableRecord(first, WriteFailure::Store(why))
            })?,
        };
        let index = (lines.count > 0).then(|| IndexReference {
            key: names.index(&chain_id.account, &lines.day, position.next_leaf()),
            version_id: None,
            sha256: kernel::hex::encode(&Sha256::digest(&index_object)),
            first_leaf: position.next_leaf(),
            leaves: lines.count,
        });
        position_after.gaps += lines.gaps;
        let objects = self.payload_references(log, contents, position_after.next_leaf());
        let (sessions, session_lines) = self.finished_sessions(chain_id, &names, position, now);
        let mut digest = self.build_digest(chain_id, position, &mut position_after, contents, (index, objects), now);
        digest.sessions = sessions;
        let json = serde_json::to_vec(&digest).unwrap_or_default(); // strings and numbers: serialising can't fail
        let signature = self.deps.key.sign(&json);
        let link = DigestLink {
            epoch: position_after.epoch.clone(),
            n: position.next,
            sha256: kernel::hex::encode(&Sha256::digest(&json)),
        };
        (position_after.prev, position_after.next, position_after.closed) =
            (Some(link), position.next + 1, contents.last);
        position_after.serial += 1;
        let seal = DigestSeal {
            writer: chain_id.writer.to_string(),
            index: digest.index.map(|index| index.key),
            index_len: index_object.len() as u64,
            json_len: json.len() as u64,
            sessions: digest.sessions.map(|sessions| sessions.key),
            position: position_after.clone(),
        };
        let header = SealHeader {
            name: names.digest(&chain_id.account, position.next),
            kind: SealKind::Digest,
            claims: contents.leaves.iter().map(|leaves| leaves.seq.0).collect(),
            digest: Some(seal),
        };
        let mut sealed_objects = BytesMut::with_capacity(index_object.len() + json.len() + signature.len());
        sealed_objects.extend_from_slice(&index_object);
        sealed_objects.extend_from_slice(&json);
        sealed_objects.extend_from_slice(&signature);
        sealed_objects.extend_from_slice(&session_lines);
        Ok((spool_record::pack(&header, &sealed_objects), position_after))
    }

    fn build_digest(
        &self,
        chain_id: &ChainId,
        position: &ChainPosition,
        position_after: &mut ChainPosition,
        contents: &DigestContents,
        (index, objects): (Option<IndexReference>, Vec<PayloadReference>),
        now: UnixNanos,
    ) -> ChainDigest {
        let end = now.max(UnixNanos(position.end));
        position_after.end = end.0;
        position_after.counters = self.counters(chain_id, position_after);
        let next_by = end.plus(IDLE_INTERVAL + self.deps.index_interval + NEXT_DIGEST_GRACE);
        let key = &self.deps.key;
        let (size, root) = (position_after.tree.size(), position_after.tree.root());
        let checkpoint = Checkpoint {
            origin: checkpoint_origin(key.public().name(), &chain_id.account, &chain_id.writer, &position_after.epoch),
            size,
            root,
        };
        ChainDigest {
            v: VERSION,
            account: chain_id.account.to_string(),
            writer: chain_id.writer.to_string(),
            epoch: position_after.epoch.clone(),
            n: position.next,
            start: rfc3339(UnixNanos(position.end)),
            end: rfc3339(end),
            prev: position.prev.clone(),
            reason: position.reason.clone().filter(|_| position.next == 0),
            continues: (position_after.line_epoch != position_after.epoch)
                .then(|| ChainContinuation { epoch: position_after.line_epoch.clone(), leaf: position_after.base }),
            tree_size: size,
            root: STANDARD.encode(root),
            index,
            sessions: None,
            objects,
            counters: DigestCounters {
                next_by: (!contents.last).then(|| rfc3339(next_by)),
                ..position_after.counters.clone()
            },
            last: contents.last,
            recovered: !self.chains.is_live(chain_id, position),
            made_by: self.deps.made_by.clone().map(|gateway| GatewayIdentity {
                recipients: Some((self.deps.recipients)(&chain_id.account)),
                ..gateway
            }),
            note: key.sign_note(&checkpoint.text()),
        }
    }

    /// The object with lines of finished sessions, and its bytes. Nothing if another digest of the chain is still in
    /// flight.
    fn finished_sessions(
        &self,
        chain_id: &ChainId,
        names: &ObjectNames,
        position: &ChainPosition,
        now: UnixNanos,
    ) -> (Option<SessionsReference>, Vec<u8>) {
        let open = self.open_sessions.get(chain_id).filter(|_| self.chains.unstored_digests(chain_id) == 0);
        let (lines, count) = open.map(|open| open.due_lines(now)).unwrap_or_default();
        // lines that can't be compressed now stay due
        let compressed =
            if count == 0 { Vec::new() } else { zstd::bulk::compress(&lines, COMPRESSION_LEVEL).unwrap_or_default() };
        if compressed.is_empty() {
            return (None, compressed);
        }
        let key = names.sessions(&chain_id.account, &object_names::date(now), position.next);
        (
            Some(SessionsReference { key, sha256: kernel::hex::encode(&Sha256::digest(&compressed)), lines: count }),
            compressed,
        )
    }

    /// The objects that the lines point to.
    fn payload_references(&mut self, log: &EpochLog, contents: &DigestContents, next: u64) -> Vec<PayloadReference> {
        let awaited = self.record_tracker.awaited_objects(log, next).unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        let mut references = Vec::new();
        for name in contents.leaves.iter().filter_map(|leaves| leaves.object.as_ref()) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let stored = self.stored_objects.get(name).copied();
            let stored_as = self.chains.alternative_name(name).map(str::to_owned);
            if !awaited.contains(name) {
                self.stored_objects.remove(name);
                self.chains.forget_alternative_name(name);
            }
            let (size, sha256) = stored.map(|(size, hash)| (size, kernel::hex::encode(&hash))).unzip();
            references.push(PayloadReference { key: name.to_string(), version_id: None, size, sha256, stored_as });
        }
        references
    }
}

fn epoch_log(chain_id: &ChainId, position: &ChainPosition) -> EpochLog {
    EpochLog { chain_id: chain_id.clone(), epoch: position.line_epoch.as_str().into() }
}

/// A line that replaces a lost one.
fn gap_line(chain_id: &ChainId, position: &ChainPosition, leaf: u64, now: UnixNanos) -> String {
    let tail = RowTail {
        kind: Some(RowKind::Gap),
        ts: rfc3339(now),
        ingest_ts: rfc3339(now),
        account: chain_id.account.to_string(),
        tenant: UNATTRIBUTED.to_owned(),
        call: "other".to_owned(),
        status: "lost".to_owned(),
        writer: chain_id.writer.to_string(),
        epoch: position.line_epoch.clone(),
        ..RowTail::default()
    };
    let row = IndexRow { v: 1, leaf, object_key: None, off: None, of: None, tail };
    let mut text = serde_json::to_string(&row).unwrap_or_default(); // strings and numbers: serialising can't fail
    text.push('\n');
    text
}
