//! Builds digests: takes lines whose objects are stored, adds them to the tree, signs and seals.
//!
//! A digest, its signature and its index object are one seal, committed before the first attempt to write any of them.
//! A lost line is replaced by a line of kind `gap`, so that a leaf's number is its place in the tree. Neighbours:
//! `chains` (which digest counts), `flight` (writing).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::flight::{self, Failure};
use super::journal::Journal;
use super::shelf::{Leaves, Line, Log, Next};
use super::{Due, INDEX_BYTES, INDEX_LEVEL, Uploader};
use crate::chain::digest::{Continues, Counters, Digest, Index, Link, Object, Sessions, VERSION, origin};
use crate::chain::note::Checkpoint;
use crate::chain::position::Position;
use crate::chain::tree::leaf_hash;
use crate::names::{self, Names, UNATTRIBUTED, rfc3339};
use crate::record::{self, DigestSeal, LeafHeader, SealHeader, Sealed};
use crate::row::{Kind, Row, Tail};
use crate::store::StoreError;
use kernel::clock::UnixNanos;
use pipeline::spool::Seq;

/// Most lines of kind `gap` in one index object.
const GAPS: u64 = 2000;

/// Contents of a digest to be built.
#[derive(Default)]
struct What {
    leaves: Vec<Leaves>,
    /// Lines before this number are lost.
    hole: Option<u64>,
    last: bool,
    recovered: bool,
}

/// The lines of a digest as bytes.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    count: u64,
    gaps: u64,
    day: String,
}

/// Why no digest was sealed.
enum Unsealed {
    /// A record of lines could not be read.
    Record(Seq, Failure),
    /// The spool has no room.
    Full,
}

impl Uploader {
    /// Seals the digests that are due, one for each chain.
    pub(super) async fn seal_digests(&mut self, now: UnixNanos, monotonic: Duration, due: Due) {
        for (line, body) in self.chains.again(monotonic) {
            if self.parts.journal.seal(&line.account, body, Sealed::Digest).is_err() {
                return self.chains.give_up_waiting(monotonic, Duration::ZERO);
            }
        }
        if !self.shelf.caught_up() {
            return; // digests sealed by former processes come first
        }
        if !due.beat && !due.more && !self.chains.recovering(&self.shelf) {
            return;
        }
        for line in self.chains.lines(&self.shelf) {
            match self.seal_digest(&line, now, monotonic, due).await {
                Ok(()) => {}
                Err(Unsealed::Full) => {
                    self.index_more = true;
                    return;
                }
                // an operator dropped the record from the spool
                Err(Unsealed::Record(seq, Failure::Gone)) => self.without(&line, seq),
                Err(Unsealed::Record(seq, Failure::Damaged)) => {
                    self.damaged(seq);
                    self.without(&line, seq);
                }
                Err(Unsealed::Record(_, Failure::Store(error))) => {
                    tracing::error!(vault = &*self.parts.id, %error, "index lines can't be read from the spool");
                }
            }
        }
    }

    /// Drops a record of lost lines; the next digest records the gap.
    fn without(&mut self, line: &Line, seq: Seq) {
        if let Some(position) = self.position(line, self.parts.clock.now()) {
            self.shelf.forget_leaves(&log(line, &position), seq);
        }
        self.index_more = true;
    }

    fn position(&self, line: &Line, now: UnixNanos) -> Option<Position> {
        self.chains.at(line, &self.shelf, now, &|| names::epoch(now, &*self.parts.rng))
    }

    async fn seal_digest(
        &mut self,
        line: &Line,
        now: UnixNanos,
        monotonic: Duration,
        due: Due,
    ) -> Result<(), Unsealed> {
        let Some(position) = self.position(line, now) else { return Ok(()) };
        let (log, live) = (log(line, &position), self.chains.is_live(line, &position));
        if live && !due.beat && !due.more {
            return Ok(());
        }
        let journal = Arc::clone(&self.parts.journal);
        let Some(mut what) = self.what(line, &log, &position, live, due) else { return Ok(()) };
        loop {
            let lines = Self::lines(&*journal, line, &position, &what, now).await?;
            let (body, after) = self.digest(line, &log, &position, &what, &lines, now)?;
            match self.parts.journal.seal(&line.account, body.clone(), Sealed::Digest) {
                Ok(()) => {
                    self.metrics.gaps.increment(lines.gaps);
                    self.chains.sealed(line, body, after, monotonic);
                    return Ok(());
                }
                // a full spool keeps room for small seals, and each one that completes frees more
                Err(_) if what.leaves.len() > 1 => {
                    what.leaves.truncate(what.leaves.len() / 4 + 1);
                    what.last = false;
                }
                Err(_) => return Err(Unsealed::Full),
            }
        }
    }

    fn what(&mut self, line: &Line, log: &Log, position: &Position, live: bool, due: Due) -> Option<What> {
        let recovered = !live;
        loop {
            match self.shelf.next_leaves(log, position.leaf(), INDEX_BYTES) {
                Next::Stale(seq) => {
                    tracing::error!(vault = &*self.parts.id, record = seq.0, "index lines that the chain has already");
                    self.shelf.forget_leaves(log, seq);
                    self.done(&[seq]);
                }
                // the missing lines may be read once more
                Next::Hole(_) if !self.again.is_empty() => return None,
                Next::Hole(to) => {
                    self.index_more = true;
                    return Some(What { hole: Some(to), recovered, ..What::default() });
                }
                Next::Lines(leaves, more) => {
                    self.index_more |= more;
                    let end = leaves.last().map_or(0, |last| last.first + last.count);
                    let last = !more && due.end && self.shelf.awaited_from(log, end).is_none();
                    return Some(What { leaves, last, recovered, hole: None });
                }
                Next::Nothing => {
                    let waiting = self.shelf.first_leaf(log).is_some() || !self.again.is_empty();
                    let begun = position.next > 0 || position.of != position.epoch;
                    let last = !waiting && (due.end || !live);
                    let beat = live && due.beat && self.chains.behind(line) == 0;
                    let wanted = if last { begun } else { beat && !due.end };
                    return wanted.then(|| What { last, recovered, ..What::default() });
                }
            }
        }
    }

    /// The lines' bytes, read from the spool.
    async fn lines(
        journal: &dyn Journal,
        line: &Line,
        position: &Position,
        what: &What,
        now: UnixNanos,
    ) -> Result<Lines, Unsealed> {
        let mut out = Lines { day: names::date(now), ..Lines::default() };
        if let Some(to) = what.hole {
            for leaf in (position.leaf()..to).take(GAPS as usize) {
                out.bytes.extend_from_slice(gap(line, position, leaf, now).as_bytes());
                out.count += 1;
            }
            out.gaps = out.count;
            return Ok(out);
        }
        if let Some(first) = what.leaves.first() {
            out.day = first.day.to_string();
        }
        for leaves in &what.leaves {
            let body = flight::body(journal, leaves.seq).await;
            let body = body.map_err(|failure| Unsealed::Record(leaves.seq, failure))?;
            let unpacked = record::unpack::<LeafHeader>(&body);
            let (_, rest) = unpacked.ok_or(Unsealed::Record(leaves.seq, Failure::Damaged))?;
            out.bytes.extend_from_slice(&rest);
            out.count += leaves.count;
        }
        Ok(out)
    }

    /// The seal of a digest, and the chain's position after it.
    fn digest(
        &mut self,
        line: &Line,
        log: &Log,
        position: &Position,
        what: &What,
        lines: &Lines,
        now: UnixNanos,
    ) -> Result<(Bytes, Position), Unsealed> {
        let names = Names::new(self.parts.writer.names().prefix(), &line.writer, &position.epoch);
        let mut after = position.clone();
        for text in lines.bytes.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            after.tree.push(leaf_hash(text));
        }
        let first = what.leaves.first().map_or(Seq(0), |first| first.seq);
        if after.tree.size() - position.tree.size() != lines.count {
            return Err(Unsealed::Record(first, Failure::Damaged));
        }
        let packed = match lines.count {
            0 => Vec::new(),
            _ => zstd::bulk::compress(&lines.bytes, INDEX_LEVEL).map_err(|_| {
                let why = StoreError::Corrupt("index lines can't be compressed".to_owned());
                Unsealed::Record(first, Failure::Store(why))
            })?,
        };
        let index = (lines.count > 0).then(|| Index {
            key: names.index(&line.account, &lines.day, position.leaf()),
            version_id: None,
            sha256: kernel::hex::encode(&Sha256::digest(&packed)),
            first_leaf: position.leaf(),
            leaves: lines.count,
        });
        after.gaps += lines.gaps;
        let objects = self.objects(log, what, after.leaf());
        let (sessions, over) = self.over(line, &names, position, now);
        let mut digest = self.document(line, position, &mut after, what, (index, objects), now);
        digest.sessions = sessions;
        let json = serde_json::to_vec(&digest).unwrap_or_default(); // strings and numbers: serialising can't fail
        let signature = self.parts.key.sign(&json);
        let link =
            Link { epoch: after.epoch.clone(), n: position.next, sha256: kernel::hex::encode(&Sha256::digest(&json)) };
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
            kind: Sealed::Digest,
            claims: what.leaves.iter().map(|leaves| leaves.seq.0).collect(),
            digest: Some(seal),
        };
        let mut parts = BytesMut::with_capacity(packed.len() + json.len() + signature.len());
        parts.extend_from_slice(&packed);
        parts.extend_from_slice(&json);
        parts.extend_from_slice(&signature);
        parts.extend_from_slice(&over);
        Ok((record::pack(&header, &parts), after))
    }

    fn document(
        &self,
        line: &Line,
        position: &Position,
        after: &mut Position,
        what: &What,
        (index, objects): (Option<Index>, Vec<Object>),
        now: UnixNanos,
    ) -> Digest {
        let end = now.max(UnixNanos(position.end));
        after.end = end.0;
        let live = self.chains.is_live(line, position);
        let acked = if live { self.parts.writer.numbered(&line.account) } else { after.leaf() };
        let key = &self.parts.key;
        let (size, root) = (after.tree.size(), after.tree.root());
        let checkpoint =
            Checkpoint { origin: origin(key.public().name(), &line.account, &line.writer, &after.epoch), size, root };
        Digest {
            v: VERSION,
            account: line.account.to_string(),
            writer: line.writer.to_string(),
            epoch: after.epoch.clone(),
            n: position.next,
            start: rfc3339(UnixNanos(position.end)),
            end: rfc3339(end),
            prev: position.prev.clone(),
            reason: position.reason.clone().filter(|_| position.next == 0),
            continues: (after.of != after.epoch).then(|| Continues { epoch: after.of.clone(), leaf: after.base }),
            tree_size: size,
            root: STANDARD.encode(root),
            index,
            sessions: None,
            objects,
            counters: Counters {
                acked: acked.max(after.leaf()),
                uploaded: after.leaf(),
                pending: acked.saturating_sub(after.leaf()),
                gaps: after.gaps,
                damaged: self.shelf.damaged_records(),
                erasures: self.chains.erasures.of(&line.account),
            },
            last: what.last,
            recovered: what.recovered,
            made_by: self.parts.made_by.clone(),
            note: key.note(&checkpoint.text()),
        }
    }

    /// The object with lines of finished sessions, and its bytes. Nothing if another digest of the chain is still in
    /// flight.
    fn over(&self, line: &Line, names: &Names, position: &Position, now: UnixNanos) -> (Option<Sessions>, Vec<u8>) {
        let open = self.open.get(line).filter(|_| self.chains.behind(line) == 0);
        let (lines, count) = open.map(|open| open.due(now)).unwrap_or_default();
        // lines that can't be compressed now stay due
        let packed =
            if count == 0 { Vec::new() } else { zstd::bulk::compress(&lines, INDEX_LEVEL).unwrap_or_default() };
        if packed.is_empty() {
            return (None, packed);
        }
        let key = names.sessions(&line.account, &names::date(now), position.next);
        (Some(Sessions { key, sha256: kernel::hex::encode(&Sha256::digest(&packed)), lines: count }), packed)
    }

    /// The objects that the lines point to.
    fn objects(&mut self, log: &Log, what: &What, next: u64) -> Vec<Object> {
        let awaited = self.shelf.awaited_from(log, next).unwrap_or_default();
        let mut seen = std::collections::HashSet::new();
        let mut out = Vec::new();
        for name in what.leaves.iter().filter_map(|leaves| leaves.object.as_ref()) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let known = self.landed.get(name).copied();
            let stored_as = self.chains.aside(name).map(str::to_owned);
            if !awaited.contains(name) {
                self.landed.remove(name);
                self.chains.forget_aside(name);
            }
            let (size, sha256) = known.map(|(size, hash)| (size, kernel::hex::encode(&hash))).unzip();
            out.push(Object { key: name.to_string(), version_id: None, size, sha256, stored_as });
        }
        out
    }
}

/// The log that a position belongs to.
fn log(line: &Line, position: &Position) -> Log {
    Log { account: line.account.clone(), writer: line.writer.clone(), epoch: position.of.as_str().into() }
}

/// A line that replaces a lost one.
fn gap(line: &Line, position: &Position, leaf: u64, now: UnixNanos) -> String {
    let tail = Tail {
        kind: Some(Kind::Gap),
        ts: rfc3339(now),
        ingest_ts: rfc3339(now),
        account: line.account.to_string(),
        tenant: UNATTRIBUTED.to_owned(),
        call: "other".to_owned(),
        status: "lost".to_owned(),
        writer: line.writer.to_string(),
        epoch: position.of.clone(),
        ..Tail::default()
    };
    let row = Row { v: 1, leaf, object_key: None, off: None, of: None, tail };
    let mut text = serde_json::to_string(&row).unwrap_or_default(); // strings and numbers: serialising can't fail
    text.push('\n');
    text
}
