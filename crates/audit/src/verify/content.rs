//! Judges the content that a digest names: its index object, each line, and the objects and fragments behind the lines.
//! One index object and a few payload objects are in memory at a time. Every byte of a payload object is covered,
//! either by the object's hash in the digest, or by its fragments, which must tile it. Neighbour: `inside` opens
//! fragments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::{Digest as _, Sha256};

use crate::chains::Line;
use crate::read::index::inflate;
use vault::chain::digest::{Digest, Object};
use vault::chain::tree::leaf_hash;
use vault::names::{Names, ObjectName, is_aside};
use vault::row::{Kind, Row};
use vault::store::{ObjectKind, StoreError};

use super::times::moment;
use super::walk::{Epoch, Walk};

/// Objects fetched concurrently.
const AT_ONCE: usize = 8;
/// A possible explanation of a loss.
const LOSSY: &str = " (its writer says that it could not read records in its spool)";
/// An object with the lines that point to it.
pub(super) struct Held {
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
    known: Option<Object>,
}

impl Held {
    /// The name under which it is stored: its own, or an alternative in the same folder if its own was taken.
    fn place(&self) -> &str {
        let other = self.known.as_ref().and_then(|known| known.stored_as.as_deref());
        other.filter(|other| is_aside(&self.name, other)).unwrap_or(&self.name)
    }
}

impl Walk<'_> {
    /// Judges the content that a digest names.
    pub(super) async fn content(
        &mut self,
        line: &Line,
        epoch: &mut Epoch,
        digest: Box<Digest>,
        name: &str,
        index: Option<Result<Bytes, StoreError>>,
    ) {
        self.sessions(&digest).await;
        let rows = self.index(line, epoch, &digest, name, index);
        if digest.counters.gaps != epoch.gaps && epoch.whole && epoch.rooted {
            self.report.fail("counters", name, "its count of lost lines is not that of its lines");
        }
        let Some(rows) = rows else { return };
        rows.iter().for_each(|row| self.turns.saw(row));
        if epoch.whole {
            epoch.told.extend(self.erasures(&epoch.account, &rows));
            epoch.told.extend(self.key_copies(&rows));
        }
        let held = self.held(&digest, rows, name);
        for held in &held {
            self.referenced.add(held.place());
            // once the foreign object is removed, there is nothing to report
            if held.place() != held.name && self.is_there(&held.name).await {
                let what = format!("it was planted before the gateway wrote its own, which is at {}", held.place());
                self.report.fail("stray", &held.name, what);
            }
        }
        let early = self.options.from.as_ref().is_some_and(|from| digest.end < *from);
        let late = self.options.to.as_ref().is_some_and(|to| digest.start > *to);
        if self.options.no_payload {
            return;
        }
        // keys are checked regardless of the time range: a missing, restored or planted key always matters
        self.look_at_keys(&held).await;
        if early || late {
            if !self.may_be_gone(&digest) {
                held.iter().for_each(|held| drop(self.without_key(&held.name, &held.rows)));
            }
            return;
        }
        let vault = self.vault;
        let mut objects = stream::iter(held)
            .map(async |held| (vault.try_fetch(ObjectKind::Payload, held.place()).await, held))
            .buffered(AT_ONCE);
        while let Some((bytes, held)) = objects.next().await {
            match bytes {
                Err(error) => {
                    let lost = if digest.counters.damaged > 0 { LOSSY } else { "" };
                    epoch.whole &= self.unread(&digest, ["object_missing", "object_unread"], &held.name, &error, lost);
                }
                Ok(bytes) => {
                    let (mut lost, over) = (self.object(epoch, &digest, &held, &bytes), self.may_be_gone(&digest));
                    if !over {
                        lost.extend(self.without_key(&held.name, &held.rows));
                    }
                    self.inside(epoch, &held, &bytes, &lost, over).await;
                }
            }
        }
    }

    /// Whether an object of this name exists, readable or not.
    async fn is_there(&self, name: &str) -> bool {
        self.vault.reader.get(ObjectKind::Payload, name, Some((0, 1))).await != Err(StoreError::Missing)
    }

    /// Checks the object with session lines, which outlives index and payload.
    async fn sessions(&mut self, digest: &Digest) {
        let Some(sessions) = &digest.sessions else { return };
        self.referenced.add(&sessions.key);
        match self.vault.try_fetch(ObjectKind::Index, &sessions.key).await {
            Err(StoreError::Archived) => self.report.counts.archived += 1,
            Err(why) => self.report.fail("sessions_missing", &sessions.key, why.to_string()),
            Ok(bytes) if kernel::hex::encode(&Sha256::digest(&bytes)) != sessions.sha256 => {
                self.report.fail("sessions_changed", &sessions.key, "it is not what was signed");
            }
            Ok(_) => {}
        }
        if !self.is_sessions_name(&sessions.key, digest) {
            let what = "its name is not that of its digest's day, number, account, writer and epoch";
            self.report.fail("moved", &sessions.key, what);
        }
    }

    /// Whether an object with session lines has the name that its writer gives it. If the clock was set back, the
    /// object's day may differ from the digest's, so the day is not checked.
    fn is_sessions_name(&self, name: &str, digest: &Digest) -> bool {
        let names = Names::new(self.vault.prefix(), &digest.writer, &digest.epoch);
        let own = |day: &str| names.sessions(&digest.account, day, digest.n);
        let day = name.split_once("/dt=").and_then(|(_, rest)| rest.get(..10)).unwrap_or_default();
        let was_set_back = digest.start == digest.end;
        name == own(digest.end.get(..10).unwrap_or_default()) || (was_set_back && name == own(day))
    }

    /// The lines of a digest, if they match the tree.
    fn index(
        &mut self,
        line: &Line,
        epoch: &mut Epoch,
        digest: &Digest,
        name: &str,
        bytes: Option<Result<Bytes, StoreError>>,
    ) -> Option<Vec<Row>> {
        let mut rows = Vec::new();
        if let Some(index) = &digest.index {
            let lines = match bytes {
                Some(Ok(bytes)) => self.unpack(epoch, &index.key, &index.sha256, &bytes),
                Some(Err(error)) => {
                    epoch.whole &= self.unread(digest, ["index_missing", "index_unread"], &index.key, &error, "");
                    None
                }
                None => None,
            };
            self.referenced.add(&index.key);
            if index.first_leaf != epoch.base + epoch.tree.size() && epoch.whole && epoch.rooted {
                self.report.fail("size", name, "its lines do not start where those before end");
            }
            let Some(lines) = lines else {
                epoch.rooted = false;
                // payload may outlive its lines: a signed digest still names it
                let named = digest.objects.iter().flat_map(|object| [Some(&object.key), object.stored_as.as_ref()]);
                named.flatten().for_each(|name| self.referenced.add(name));
                return None;
            };
            for (number, text) in (index.first_leaf..).zip(lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()))
            {
                epoch.tree.push(leaf_hash(text));
                match serde_json::from_slice::<Row>(text) {
                    Ok(row) if belongs(&row, number, line, epoch) => {
                        let arrived = moment(&row.tail.ingest_ts);
                        if arrived.is_none() {
                            let at = format!("{} line {}", index.key, number - index.first_leaf + 1);
                            self.report.fail("line", at, "it says no time of arrival that can be read");
                        }
                        epoch.arrived = epoch.arrived.into_iter().chain(arrived).min();
                        if number == index.first_leaf && !self.is_index_name(&index.key, &row, epoch) {
                            let what = "its name is not that of its first line's day, account, writer and epoch";
                            self.report.fail("moved", &index.key, what);
                        }
                        rows.push(row);
                    }
                    _ => {
                        let at = format!("{} line {}", index.key, number - index.first_leaf + 1);
                        self.report.fail("line", at, "not the index line that should stand here");
                    }
                }
            }
            if epoch.tree.size() + epoch.base != index.first_leaf + index.leaves && epoch.whole && epoch.rooted {
                self.report.fail("size", &index.key, "it has not as many lines as its digest says");
            }
        }
        let gaps = rows.iter().filter(|row| row.tail.kind == Some(Kind::Gap)).count() as u64;
        epoch.gaps += gaps;
        self.root(epoch, digest, name);
        if epoch.whole {
            self.report.counts.leaves += rows.len() as u64;
            self.report.counts.gaps += gaps;
        }
        Some(rows)
    }

    /// Whether an index object with this first line has the name that its writer gives it.
    fn is_index_name(&self, name: &str, first: &Row, epoch: &Epoch) -> bool {
        let names = Names::new(self.vault.prefix(), &first.tail.writer, &epoch.name);
        let day = first.tail.ingest_ts.get(..10).unwrap_or_default();
        name == names.index(&first.tail.account, day, first.leaf)
    }

    /// Judges an unreadable object. Objects that are gone after their retention, or archived, are counted; anything
    /// else is a failure. Returns true if nothing is wrong.
    fn unread(
        &mut self,
        digest: &Digest,
        [missing, unread]: [&'static str; 2],
        name: &str,
        error: &StoreError,
        lost: &str,
    ) -> bool {
        match error {
            StoreError::Missing if self.may_be_gone(digest) => self.report.counts.expired += 1,
            StoreError::Archived => self.report.counts.archived += 1,
            StoreError::Missing => {
                self.report.fail(missing, name, format!("no such object{lost}"));
                return false;
            }
            error => {
                self.report.fail(unread, name, error.to_string());
                return false;
            }
        }
        true
    }

    /// Whether the retention of a digest's content is over, according to the caller.
    fn may_be_gone(&self, digest: &Digest) -> bool {
        self.options.expired.as_ref().is_some_and(|expired| digest.end < *expired)
    }

    fn root(&mut self, epoch: &mut Epoch, digest: &Digest, name: &str) {
        if !epoch.whole || !epoch.rooted {
            // the cause was reported or counted before: from there on the tree is unknown
            return;
        }
        let root = STANDARD.encode(epoch.tree.root());
        if digest.tree_size != epoch.tree.size() || digest.root != root {
            epoch.whole = false;
            self.report.fail("root", name, "the lines in the store are not those that its root was made of");
        }
    }

    fn unpack(&mut self, epoch: &mut Epoch, name: &str, sha256: &str, bytes: &Bytes) -> Option<Vec<u8>> {
        if kernel::hex::encode(&Sha256::digest(bytes)) != sha256 {
            // if no root can be computed, only this hash protects the lines
            epoch.whole &= epoch.rooted;
            self.report.fail("index_changed", name, "its hash is not the one in its digest");
        }
        let lines = inflate(bytes);
        if lines.is_err() {
            epoch.whole = false;
            self.report.fail("index_changed", name, "it can't be decompressed");
        }
        lines.ok()
    }

    /// The objects that the lines point to.
    fn held(&mut self, digest: &Digest, rows: Vec<Row>, name: &str) -> Vec<Held> {
        let mut objects: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            if let Some(key) = row.object_key.clone() {
                objects.entry(key).or_default().push(row);
            }
        }
        let known: HashMap<&str, &Object> = digest.objects.iter().map(|object| (object.key.as_str(), object)).collect();
        if known.len() != objects.len() || !objects.keys().all(|key| known.contains_key(key.as_str())) {
            self.report.fail("objects", name, "its objects are not those of its lines");
        }
        let held = |(name, rows): (String, Vec<Row>)| {
            let known = known.get(name.as_str()).map(|known| (*known).clone());
            Held { name, rows, known }
        };
        objects.into_iter().map(held).collect()
    }

    /// Judges an object's bytes; returns the offsets of missing fragments.
    fn object(&mut self, epoch: &mut Epoch, digest: &Digest, held: &Held, bytes: &Bytes) -> BTreeSet<u64> {
        let name = held.name.as_str();
        self.report.counts.objects += 1;
        self.report.counts.bytes += bytes.len() as u64;
        let mut fragments: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
        for row in &held.rows {
            let place = (row.off, row.tail.len, row.tail.ct_sha256.as_deref());
            let (Some(off), Some(len), Some(hash)) = place else {
                self.report.fail("line", format!("{name} leaf {}", row.leaf), "the line points nowhere in its object");
                continue;
            };
            if fragments.insert(off, (len, hash)).is_some_and(|other| other != (len, hash)) {
                self.report.fail("line", format!("{name} leaf {}", row.leaf), "two lines disagree about a fragment");
            }
        }
        let own = held.known.as_ref().and_then(|known| Some((known.size?, known.sha256.as_deref()?)));
        // an object of a single fragment has the fragment's hash
        let single = fragments.len() == 1 && fragments.get(&0).is_some_and(|(len, _)| *len == bytes.len() as u64);
        let hash = (own.is_some() || single).then(|| kernel::hex::encode(&Sha256::digest(bytes)));
        let authentic = own.is_some_and(|(size, sha256)| size == bytes.len() as u64 && hash.as_deref() == Some(sha256));
        if own.is_some() && !authentic {
            epoch.whole = false;
            self.report.fail("object_changed", name, "its size or hash is not the one in its digest");
        }
        if own.is_none() {
            let tiles = epoch.tiles.0.entry(name.to_owned()).or_default();
            tiles.0 = bytes.len() as u64;
            tiles.1.extend(fragments.iter().map(|(off, (len, _))| (*off, *len)));
        }
        let mut lost = BTreeSet::new();
        for (off, (len, sha256)) in &fragments {
            let range =
                off.checked_add(*len).and_then(|end| Some(usize::try_from(*off).ok()?..usize::try_from(end).ok()?));
            let fragment = range.and_then(|range| bytes.get(range));
            let found = match (&hash, single) {
                (Some(hash), true) => Some(hash.clone()),
                _ => fragment.map(|fragment| kernel::hex::encode(&Sha256::digest(fragment))),
            };
            if found.as_deref() == Some(*sha256) {
                self.report.counts.fragments += 1;
                continue;
            }
            lost.insert(*off);
            let zeros = fragment.is_some_and(|fragment| fragment.iter().all(|byte| *byte == 0));
            let at = format!("{name} at {off}");
            if authentic && zeros {
                self.report.warn("fragment_lost", at, "the writer lost it in its spool and wrote zeros in its place");
            } else if authentic && fragment.is_none() && digest.counters.damaged > 0 {
                self.report.warn("fragment_lost", at, "the writer lost it in its spool: the object ends before it");
            } else {
                epoch.whole = false;
                let lost = if digest.counters.damaged > 0 { LOSSY } else { "" };
                let what = format!("its bytes have not the hash in its line, or it is not there{lost}");
                self.report.fail("fragment", at, what);
            }
        }
        lost
    }

    /// Checks objects without a hash of their own: there must be no bytes between or after their fragments.
    pub(super) fn tiles(&mut self, epoch: &mut Epoch) {
        for (name, (size, fragments)) in std::mem::take(&mut epoch.tiles.0) {
            let mut end = 0;
            let tiled = fragments.iter().all(|(off, len)| {
                let fits = *off == end;
                end = off.saturating_add(*len);
                fits
            });
            if !tiled || end != size {
                epoch.whole = false;
                self.report.fail("object_changed", name, "its bytes are not those of its fragments, end to end");
            }
        }
    }
}

/// Whether a line is the one with this number.
fn belongs(row: &Row, number: u64, line: &Line, epoch: &Epoch) -> bool {
    let tail = &row.tail;
    let object = row.object_key.as_deref().is_none_or(|name| {
        ObjectName::parse(name).is_some_and(|object| {
            object.account == line.account && object.file.starts_with(&format!("{}-{}-", line.writer, epoch.of))
        })
    });
    row.v == 1
        && row.leaf == number
        && object
        && tail.writer == line.writer
        && tail.epoch == epoch.of
        && tail.account == epoch.account
}
