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
use sha2::{Digest as _, Sha256};

use super::journal::UploadJournal;
use super::object_write::{self, WriteFailure};
use super::record_tracker::{ChainId, EpochLog, LeafBatch, NextLeaves};
use super::{DueDigests, INDEX_BYTES, INDEX_LEVEL, Uploader};
use crate::chain::digest::{
    ChainContinuation, ChainDigest, DigestCounters, DigestLink, IndexReference, PayloadReference, SessionsReference,
    VERSION, checkpoint_origin,
};
use crate::chain::note::Checkpoint;
use crate::chain::position::ChainPosition;
use crate::chain::tree::leaf_hash;
use crate::index_row::{IndexRow, RowKind, RowTail};
use crate::object_names::{self, ObjectNames, UNATTRIBUTED, rfc3339};
use crate::spool_record::{self, DigestSeal, LeafHeader, SealHeader, SealKind};
use crate::store::StoreError;
use kernel::clock::UnixNanos;
use pipeline::spool::RecordSeq;

/// Most lines of kind `gap` in one index object.
const MAX_GAP_LINES: u64 = 2000;

/// Contents of a digest to be built.
#[derive(Default)]
struct DigestContents {
    leaves: Vec<LeafBatch>,
    /// Lines before this number are lost.
    gap_end: Option<u64>,
    last: bool,
    recovered: bool,
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
    /// Seals the digests that are due, one for each chain.
    pub(super) async fn seal_digests(&mut self, now: UnixNanos, monotonic: Duration, due: DueDigests) {
        for (line, body) in self.chains.take_seals_to_resend(monotonic) {
            if self.parts.journal.append_seal(&line.account, body, SealKind::Digest).is_err() {
                return self.chains.resend_overdue_seals(monotonic, Duration::ZERO);
            }
        }
        if !self.record_tracker.is_caught_up() {
            return; // digests sealed by former processes come first
        }
        if !due.interval_over && !due.lines_left && !self.chains.is_recovering(&self.record_tracker) {
            return;
        }
        for line in self.chains.chain_ids(&self.record_tracker) {
            match self.seal_digest(&line, now, monotonic, due).await {
                Ok(()) => {}
                Err(DigestSealError::SpoolFull) => {
                    self.has_more_lines = true;
                    return;
                }
                // an operator dropped the record from the spool
                Err(DigestSealError::UnreadableRecord(seq, WriteFailure::Dropped)) => self.drop_lost_lines(&line, seq),
                Err(DigestSealError::UnreadableRecord(seq, WriteFailure::Damaged)) => {
                    self.report_damaged(seq);
                    self.drop_lost_lines(&line, seq);
                }
                Err(DigestSealError::UnreadableRecord(_, WriteFailure::Store(error))) => {
                    tracing::error!(vault = &*self.parts.id, %error, "index lines can't be read from the spool");
                }
            }
        }
    }

    /// Drops a record of lost lines; the next digest records the gap.
    fn drop_lost_lines(&mut self, line: &ChainId, seq: RecordSeq) {
        if let Some(position) = self.next_position(line, self.parts.clock.now()) {
            self.record_tracker.forget_leaves(&epoch_log(line, &position), seq);
        }
        self.has_more_lines = true;
    }

    fn next_position(&self, line: &ChainId, now: UnixNanos) -> Option<ChainPosition> {
        self.chains.next_position(line, &self.record_tracker, now, &|| object_names::new_epoch(now, &*self.parts.rng))
    }

    async fn seal_digest(
        &mut self,
        line: &ChainId,
        now: UnixNanos,
        monotonic: Duration,
        due: DueDigests,
    ) -> Result<(), DigestSealError> {
        let Some(position) = self.next_position(line, now) else { return Ok(()) };
        let (log, live) = (epoch_log(line, &position), self.chains.is_live(line, &position));
        if live && !due.interval_over && !due.lines_left {
            return Ok(());
        }
        let journal = Arc::clone(&self.parts.journal);
        let Some(mut what) = self.choose_contents(line, &log, &position, live, due) else { return Ok(()) };
        loop {
            let lines = Self::read_lines(&*journal, line, &position, &what, now).await?;
            let (body, after) = self.build_seal(line, &log, &position, &what, &lines, now)?;
            match self.parts.journal.append_seal(&line.account, body.clone(), SealKind::Digest) {
                Ok(()) => {
                    self.metrics.gaps.increment(lines.gaps);
                    self.chains.record_seal(line, body, after, monotonic);
                    return Ok(());
                }
                // a full spool keeps room for small seals, and each one that completes frees more
                Err(_) if what.leaves.len() > 1 => {
                    what.leaves.truncate(what.leaves.len() / 4 + 1);
                    what.last = false;
                }
                Err(_) => return Err(DigestSealError::SpoolFull),
            }
        }
    }

    fn choose_contents(
        &mut self,
        line: &ChainId,
        log: &EpochLog,
        position: &ChainPosition,
        live: bool,
        due: DueDigests,
    ) -> Option<DigestContents> {
        let recovered = !live;
        loop {
            match self.record_tracker.next_leaves(log, position.next_leaf(), INDEX_BYTES) {
                NextLeaves::Stale(seq) => {
                    tracing::error!(
                        vault = &*self.parts.id,
                        record = seq.0,
                        "dropped index lines that are already in the chain"
                    );
                    self.record_tracker.forget_leaves(log, seq);
                    self.mark_done(&[seq]);
                }
                // the missing lines may be read once more
                NextLeaves::Gap(_) if !self.records_to_reread.is_empty() => return None,
                NextLeaves::Gap(to) => {
                    self.has_more_lines = true;
                    return Some(DigestContents { gap_end: Some(to), recovered, ..DigestContents::default() });
                }
                NextLeaves::Lines(leaves, more) => {
                    self.has_more_lines |= more;
                    let end = leaves.last().map_or(0, |last| last.first + last.count);
                    let last = !more && due.final_round && self.record_tracker.awaited_objects(log, end).is_none();
                    return Some(DigestContents { leaves, last, recovered, gap_end: None });
                }
                NextLeaves::Nothing => {
                    let waiting = self.record_tracker.first_leaf(log).is_some() || !self.records_to_reread.is_empty();
                    let begun = position.next > 0 || position.of != position.epoch;
                    let last = !waiting && (due.final_round || !live);
                    let beat = live && due.interval_over && self.chains.unstored_digests(line) == 0;
                    let wanted = if last { begun } else { beat && !due.final_round };
                    return wanted.then(|| DigestContents { last, recovered, ..DigestContents::default() });
                }
            }
        }
    }

    /// The lines' bytes, read from the spool.
    async fn read_lines(
        journal: &dyn UploadJournal,
        line: &ChainId,
        position: &ChainPosition,
        what: &DigestContents,
        now: UnixNanos,
    ) -> Result<DigestLines, DigestSealError> {
        let mut out = DigestLines { day: object_names::date(now), ..DigestLines::default() };
        if let Some(to) = what.gap_end {
            for leaf in (position.next_leaf()..to).take(MAX_GAP_LINES as usize) {
                out.bytes.extend_from_slice(gap_line(line, position, leaf, now).as_bytes());
                out.count += 1;
            }
            out.gaps = out.count;
            return Ok(out);
        }
        if let Some(first) = what.leaves.first() {
            out.day = first.day.to_string();
        }
        for leaves in &what.leaves {
            let body = object_write::read_body(journal, leaves.seq).await;
            let body = body.map_err(|failure| DigestSealError::UnreadableRecord(leaves.seq, failure))?;
            let unpacked = spool_record::unpack::<LeafHeader>(&body);
            let (_, rest) = unpacked.ok_or(DigestSealError::UnreadableRecord(leaves.seq, WriteFailure::Damaged))?;
            out.bytes.extend_from_slice(&rest);
            out.count += leaves.count;
        }
        Ok(out)
    }

    /// The seal of a digest, and the chain's position after it.
    fn build_seal(
        &mut self,
        line: &ChainId,
        log: &EpochLog,
        position: &ChainPosition,
        what: &DigestContents,
        lines: &DigestLines,
        now: UnixNanos,
    ) -> Result<(Bytes, ChainPosition), DigestSealError> {
        let names = ObjectNames::new(self.parts.writer.names().prefix(), &line.writer, &position.epoch);
        let mut after = position.clone();
        for text in lines.bytes.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            after.tree.push(leaf_hash(text));
        }
        let first = what.leaves.first().map_or(RecordSeq(0), |first| first.seq);
        if after.tree.size() - position.tree.size() != lines.count {
            return Err(DigestSealError::UnreadableRecord(first, WriteFailure::Damaged));
        }
        let packed = match lines.count {
            0 => Vec::new(),
            _ => zstd::bulk::compress(&lines.bytes, INDEX_LEVEL).map_err(|_| {
                let why = StoreError::Corrupt("index lines can't be compressed".to_owned());
                DigestSealError::UnreadableRecord(first, WriteFailure::Store(why))
            })?,
        };
        let index = (lines.count > 0).then(|| IndexReference {
            key: names.index(&line.account, &lines.day, position.next_leaf()),
            version_id: None,
            sha256: kernel::hex::encode(&Sha256::digest(&packed)),
            first_leaf: position.next_leaf(),
            leaves: lines.count,
        });
        after.gaps += lines.gaps;
        let objects = self.payload_references(log, what, after.next_leaf());
        let (sessions, over) = self.finished_sessions(line, &names, position, now);
        let mut digest = self.build_digest(line, position, &mut after, what, (index, objects), now);
        digest.sessions = sessions;
        let json = serde_json::to_vec(&digest).unwrap_or_default(); // strings and numbers: serialising can't fail
        let signature = self.parts.key.sign(&json);
        let link = DigestLink {
            epoch: after.epoch.clone(),
            n: position.next,
            sha256: kernel::hex::encode(&Sha256::digest(&json)),
        };
        (after.prev, after.next, after.closed) = (Some(link), position.next + 1, what.last);
        after.serial += 1;
        let seal = DigestSeal {
            writer: line.writer.to_string(),
            index: digest.index.map(|index| index.key),
            index_len: packed.len() as u64,
            json_len: json.len() as u64,
            sessions: digest.sessions.map(|sessions| sessions.key),
            position: after.clone(),
        };
        let header = SealHeader {
            name: names.digest(&line.account, position.next),
            kind: SealKind::Digest,
            claims: what.leaves.iter().map(|leaves| leaves.seq.0).collect(),
            digest: Some(seal),
        };
        let mut parts = BytesMut::with_capacity(packed.len() + json.len() + signature.len());
        parts.extend_from_slice(&packed);
        parts.extend_from_slice(&json);
        parts.extend_from_slice(&signature);
        parts.extend_from_slice(&over);
        Ok((spool_record::pack(&header, &parts), after))
    }

    fn build_digest(
        &self,
        line: &ChainId,
        position: &ChainPosition,
        after: &mut ChainPosition,
        what: &DigestContents,
        (index, objects): (Option<IndexReference>, Vec<PayloadReference>),
        now: UnixNanos,
    ) -> ChainDigest {
        let end = now.max(UnixNanos(position.end));
        after.end = end.0;
        let live = self.chains.is_live(line, position);
        let acked = if live { self.parts.writer.assigned_leaves(&line.account) } else { after.next_leaf() };
        let key = &self.parts.key;
        let (size, root) = (after.tree.size(), after.tree.root());
        let checkpoint = Checkpoint {
            origin: checkpoint_origin(key.public().name(), &line.account, &line.writer, &after.epoch),
            size,
            root,
        };
        ChainDigest {
            v: VERSION,
            account: line.account.to_string(),
            writer: line.writer.to_string(),
            epoch: after.epoch.clone(),
            n: position.next,
            start: rfc3339(UnixNanos(position.end)),
            end: rfc3339(end),
            prev: position.prev.clone(),
            reason: position.reason.clone().filter(|_| position.next == 0),
            continues: (after.of != after.epoch)
                .then(|| ChainContinuation { epoch: after.of.clone(), leaf: after.base }),
            tree_size: size,
            root: STANDARD.encode(root),
            index,
            sessions: None,
            objects,
            counters: DigestCounters {
                acked: acked.max(after.next_leaf()),
                uploaded: after.next_leaf(),
                pending: acked.saturating_sub(after.next_leaf()),
                gaps: after.gaps,
                damaged: self.record_tracker.damaged_records(),
                erasures: self.chains.erasures.of_account(&line.account),
            },
            last: what.last,
            recovered: what.recovered,
            made_by: self.parts.made_by.clone(),
            note: key.sign_note(&checkpoint.text()),
        }
    }

    /// The object with lines of finished sessions, and its bytes. Nothing if another digest of the chain is still in
    /// flight.
    fn finished_sessions(
        &self,
        line: &ChainId,
        names: &ObjectNames,
        position: &ChainPosition,
        now: UnixNanos,
    ) -> (Option<SessionsReference>, Vec<u8>) {
        let open = self.open_sessions.get(line).filter(|_| self.chains.unstored_digests(line) == 0);
        let (lines, count) = open.map(|open| open.due_lines(now)).unwrap_or_default();
        // lines that can't be compressed now stay due
        let packed =
            if count == 0 { Vec::new() } else { zstd::bulk::compress(&lines, INDEX_LEVEL).unwrap_or_default() };
        if packed.is_empty() {
            return (None, packed);
        }
        let key = names.sessions(&line.account, &object_names::date(now), position.next);
        (Some(SessionsReference { key, sha256: kernel::hex::encode(&Sha256::digest(&packed)), lines: count }), packed)
    }

    /// The objects that the lines point to.
    fn payload_references(&mut self, log: &EpochLog, what: &DigestContents, next: u64) -> Vec<PayloadReference> {
        let awaited = self.record_tracker.awaited_objects(log, next).unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        let mut out = Vec::new();
        for name in what.leaves.iter().filter_map(|leaves| leaves.object.as_ref()) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let known = self.stored_objects.get(name).copied();
            let stored_as = self.chains.alternative_name(name).map(str::to_owned);
            if !awaited.contains(name) {
                self.stored_objects.remove(name);
                self.chains.forget_alternative_name(name);
            }
            let (size, sha256) = known.map(|(size, hash)| (size, kernel::hex::encode(&hash))).unzip();
            out.push(PayloadReference { key: name.to_string(), version_id: None, size, sha256, stored_as });
        }
        out
    }
}

/// The log that a position belongs to.
fn epoch_log(line: &ChainId, position: &ChainPosition) -> EpochLog {
    EpochLog { account: line.account.clone(), writer: line.writer.clone(), epoch: position.of.as_str().into() }
}

/// A line that replaces a lost one.
fn gap_line(line: &ChainId, position: &ChainPosition, leaf: u64, now: UnixNanos) -> String {
    let tail = RowTail {
        kind: Some(RowKind::Gap),
        ts: rfc3339(now),
        ingest_ts: rfc3339(now),
        account: line.account.to_string(),
        tenant: UNATTRIBUTED.to_owned(),
        call: "other".to_owned(),
        status: "lost".to_owned(),
        writer: line.writer.to_string(),
        epoch: position.of.clone(),
        ..RowTail::default()
    };
    let row = IndexRow { v: 1, leaf, object_key: None, off: None, of: None, tail };
    let mut text = serde_json::to_string(&row).unwrap_or_default(); // strings and numbers: serialising can't fail
    text.push('\n');
    text
}
