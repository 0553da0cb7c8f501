//! Judges the content that a digest names: its index object, each line, and the objects and fragments behind the lines.
//! One index object and a few payload objects are in memory at a time. Every byte of a payload object is covered,
//! either by the object's hash in the digest, or by its fragments, which must tile it. Neighbour: `fragment_check`
//! opens fragments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::read::index::inflate;
use kernel::sha256::Sha256;
use vault::chain::digest::{ChainDigest, IndexReference, PayloadReference};
use vault::chain::tree::leaf_hash;
use vault::index_row::{IndexRow, RowKind};
use vault::object_names::{ObjectName, ObjectNames, is_alternative_name, parse_time};
use vault::store::{ObjectKind, StoreError};

use super::epoch::FetchedDigest;
use super::run_state::{EpochVerification, VerificationRun};

/// Objects fetched concurrently.
const CONCURRENT_FETCHES: usize = 8;
/// A possible explanation of a loss.
const LOSSY: &str = " (its writer reports unreadable records in its spool)";

/// An object with the lines that point to it.
pub(super) struct ReferencedPayload {
    pub(super) name: String,
    pub(super) rows: Vec<IndexRow>,
    /// Its entry in the digest's list of objects.
    listed: Option<PayloadReference>,
}

impl ReferencedPayload {
    /// The name under which it is stored: its own, or an alternative in the same folder if its own was taken.
    fn stored_name(&self) -> &str {
        let alternative = self.listed.as_ref().and_then(|listed| listed.stored_as.as_deref());
        alternative.filter(|alternative| is_alternative_name(&self.name, alternative)).unwrap_or(&self.name)
    }
}

impl VerificationRun<'_> {
    /// Judges the content that a digest names.
    pub(super) async fn check_content(&mut self, epoch: &mut EpochVerification, fetched: &FetchedDigest) {
        let (Some(digest), name) = (fetched.digest.as_deref(), fetched.name.as_str()) else { return };
        self.check_sessions_object(digest).await;
        let rows = self.check_index(epoch, digest, fetched);
        if digest.counters.gaps != epoch.gaps && epoch.has_known_tree() {
            self.report.fail("counters", name, "its count of lost lines differs from the count in its index lines");
        }
        let Some(rows) = rows else { return };
        rows.iter().for_each(|row| self.turns.add_row(row));
        if epoch.is_valid {
            epoch.key_lines.extend(self.record_key_lines(&epoch.account, &rows));
        }
        let payloads = self.group_by_object(digest, rows, name);
        for payload in &payloads {
            self.referenced.add(payload.stored_name());
            // an operator may have removed the foreign object since
            if payload.stored_name() != payload.name && self.object_exists(&payload.name).await {
                let message =
                    format!("planted before the gateway wrote its own object, which is at {}", payload.stored_name());
                self.report.fail("unreferenced", &payload.name, message);
            }
        }
        let is_too_early = self.options.from.as_ref().is_some_and(|from| digest.end < *from);
        let is_too_late = self.options.to.as_ref().is_some_and(|to| digest.start > *to);
        if self.options.no_payload {
            return;
        }
        // keys are checked regardless of the time range: a missing, restored or planted key always matters
        self.check_key_objects(&payloads).await;
        if is_too_early || is_too_late {
            if !self.may_be_gone(digest) {
                payloads.iter().for_each(|payload| drop(self.count_missing_keys(&payload.name, &payload.rows)));
            }
            return;
        }
        let vault = self.vault;
        let mut objects = stream::iter(payloads)
            .map(async |payload| (vault.try_fetch(ObjectKind::Payload, payload.stored_name()).await, payload))
            .buffered(CONCURRENT_FETCHES);
        while let Some((bytes, payload)) = objects.next().await {
            match bytes {
                Err(error) => {
                    let explanation = if digest.counters.damaged > 0 { LOSSY } else { "" };
                    epoch.is_valid &= self.report_unreadable(
                        digest,
                        ["object_missing", "object_unreadable"],
                        &payload.name,
                        &error,
                        explanation,
                    );
                }
                Ok(bytes) => {
                    let mut lost = self.check_object(epoch, digest, &payload, &bytes);
                    let may_be_gone = self.may_be_gone(digest);
                    if !may_be_gone {
                        lost.extend(self.count_missing_keys(&payload.name, &payload.rows));
                    }
                    self.check_fragments(epoch, &payload, &bytes, &lost, may_be_gone).await;
                }
            }
        }
    }

    /// Whether an object of this name exists, readable or not.
    async fn object_exists(&self, name: &str) -> bool {
        self.vault.reader.get(ObjectKind::Payload, name, Some((0, 1))).await != Err(StoreError::Missing)
    }

    /// Checks the object with session lines, which outlives index and payload.
    async fn check_sessions_object(&mut self, digest: &ChainDigest) {
        let Some(sessions) = &digest.sessions else { return };
        self.referenced.add(&sessions.key);
        match self.vault.try_fetch(ObjectKind::Index, &sessions.key).await {
            Err(StoreError::Archived) => self.report.counts.archived += 1,
            Err(why) => self.report.fail("sessions_missing", &sessions.key, why.to_string()),
            Ok(bytes) if kernel::hex::encode(&Sha256::digest(&bytes)) != sessions.sha256 => {
                self.report.fail("sessions_changed", &sessions.key, "its hash differs from the signed one");
            }
            Ok(_) => {}
        }
        if !self.is_sessions_name(&sessions.key, digest) {
            let message = "its name does not match the day, number, account, writer and epoch of its digest";
            self.report.fail("misplaced", &sessions.key, message);
        }
    }

    /// Whether an object with session lines has the name that its writer gives it. If the clock was set back, the
    /// object's day may differ from the digest's, so the day is not checked.
    fn is_sessions_name(&self, name: &str, digest: &ChainDigest) -> bool {
        let names = ObjectNames::new(self.vault.prefix(), &digest.writer, &digest.epoch);
        let own_name = |day: &str| names.sessions(&digest.account, day, digest.n);
        let day = name.split_once("/dt=").and_then(|(_, rest)| rest.get(..10)).unwrap_or_default();
        let was_set_back = digest.start == digest.end;
        name == own_name(digest.end.get(..10).unwrap_or_default()) || (was_set_back && name == own_name(day))
    }

    /// Reads the lines of a digest and checks them against the tree; `None` if the index object can't be read.
    fn check_index(
        &mut self,
        epoch: &mut EpochVerification,
        digest: &ChainDigest,
        fetched: &FetchedDigest,
    ) -> Option<Vec<IndexRow>> {
        let (mut rows, name) = (Vec::new(), fetched.name.as_str());
        if let Some(index) = &digest.index {
            let lines = match &fetched.index {
                Some(Ok(bytes)) => self.unpack_index(epoch, index, bytes),
                Some(Err(error)) => {
                    epoch.is_valid &=
                        self.report_unreadable(digest, ["index_missing", "index_unreadable"], &index.key, error, "");
                    None
                }
                None => None,
            };
            self.referenced.add(&index.key);
            if index.first_leaf != epoch.base + epoch.tree.size() && epoch.has_known_tree() {
                let message = "its first line number does not follow the last line of the digest before";
                self.report.fail("tree_size", name, message);
            }
            let Some(lines) = lines else {
                epoch.has_all_lines = false;
                // payload may outlive its lines; the signed digest still names the objects
                let names = digest.objects.iter().flat_map(|object| [Some(&object.key), object.stored_as.as_ref()]);
                names.flatten().for_each(|name| self.referenced.add(name));
                return None;
            };
            let location = |number: u64| format!("{} line {}", index.key, number - index.first_leaf + 1);
            let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            for (number, text) in (index.first_leaf..).zip(lines) {
                epoch.tree.push(leaf_hash(text));
                match serde_json::from_slice::<IndexRow>(text) {
                    Ok(row) if is_in_place(&row, number, epoch) => {
                        let arrived = parse_time(&row.tail.ingest_ts);
                        if arrived.is_none() {
                            self.report.fail("index_line", location(number), "its time of arrival is unreadable");
                        }
                        epoch.first_arrival = epoch.first_arrival.into_iter().chain(arrived).min();
                        if number == index.first_leaf && !self.is_index_name(&index.key, &row, epoch) {
                            let message =
                                "its name does not match the day, account, writer and epoch of its first line";
                            self.report.fail("misplaced", &index.key, message);
                        }
                        rows.push(row);
                    }
                    _ => {
                        let message = "not the index line that is expected here";
                        self.report.fail("index_line", location(number), message);
                    }
                }
            }
            if epoch.tree.size() + epoch.base != index.first_leaf + index.leaves && epoch.has_known_tree() {
                self.report.fail("tree_size", &index.key, "its number of lines differs from the number in its digest");
            }
        }
        let gaps = rows.iter().filter(|row| row.tail.kind == Some(RowKind::Gap)).count() as u64;
        epoch.gaps += gaps;
        self.check_root(epoch, digest, name);
        if epoch.is_valid {
            self.report.counts.leaves += rows.len() as u64;
            self.report.counts.gaps += gaps;
        }
        Some(rows)
    }

    /// Whether an index object with this first line has the name that its writer gives it.
    fn is_index_name(&self, name: &str, first: &IndexRow, epoch: &EpochVerification) -> bool {
        let names = ObjectNames::new(self.vault.prefix(), &first.tail.writer, &epoch.name);
        let day = first.tail.ingest_ts.get(..10).unwrap_or_default();
        name == names.index(&first.tail.account, day, first.leaf)
    }

    /// Judges an unreadable object. Objects that are gone after their retention, or archived, are counted; anything
    /// else is a failure. Returns true if nothing is wrong.
    fn report_unreadable(
        &mut self,
        digest: &ChainDigest,
        [missing_code, unreadable_code]: [&'static str; 2],
        name: &str,
        error: &StoreError,
        explanation: &str,
    ) -> bool {
        match error {
            StoreError::Missing if self.may_be_gone(digest) => self.report.counts.expired += 1,
            StoreError::Archived => self.report.counts.archived += 1,
            StoreError::Missing => {
                self.report.fail(missing_code, name, format!("no such object{explanation}"));
                return false;
            }
            error => {
                self.report.fail(unreadable_code, name, error.to_string());
                return false;
            }
        }
        true
    }

    /// Whether the retention of a digest's content is over, according to the caller.
    fn may_be_gone(&self, digest: &ChainDigest) -> bool {
        self.options.expired.as_ref().is_some_and(|expired| digest.end < *expired)
    }

    fn check_root(&mut self, epoch: &mut EpochVerification, digest: &ChainDigest, name: &str) {
        // the tree is unknown after a missing or wrong line, which was reported or counted before
        let differs = || digest.tree_size != epoch.tree.size() || digest.root != STANDARD.encode(epoch.tree.root());
        if epoch.has_known_tree() && differs() {
            epoch.is_valid = false;
            self.report.fail("root", name, "the stored lines do not give the signed root");
        }
    }

    fn unpack_index(
        &mut self,
        epoch: &mut EpochVerification,
        index: &IndexReference,
        bytes: &Bytes,
    ) -> Option<Vec<u8>> {
        if kernel::hex::encode(&Sha256::digest(bytes)) != index.sha256 {
            // if no root can be computed, only this hash protects the lines
            epoch.is_valid &= epoch.has_all_lines;
            self.report.fail("index_changed", &index.key, "its hash differs from the one in its digest");
        }
        let lines = inflate(bytes, true);
        if lines.is_err() {
            epoch.is_valid = false;
            self.report.fail("index_changed", &index.key, "it can't be decompressed");
        }
        lines.ok()
    }

    /// Groups the lines by the objects that they point to.
    fn group_by_object(&mut self, digest: &ChainDigest, rows: Vec<IndexRow>, name: &str) -> Vec<ReferencedPayload> {
        let mut objects: BTreeMap<String, Vec<IndexRow>> = BTreeMap::new();
        for row in rows {
            if let Some(key) = row.object_key.clone() {
                objects.entry(key).or_default().push(row);
            }
        }
        let listed: HashMap<&str, &PayloadReference> =
            digest.objects.iter().map(|object| (object.key.as_str(), object)).collect();
        if listed.len() != objects.len() || !objects.keys().all(|key| listed.contains_key(key.as_str())) {
            self.report.fail("object_list", name, "its list of objects differs from the objects that its lines name");
        }
        let to_payload = |(name, rows): (String, Vec<IndexRow>)| {
            let listed = listed.get(name.as_str()).map(|listed| (*listed).clone());
            ReferencedPayload { name, rows, listed }
        };
        objects.into_iter().map(to_payload).collect()
    }

    /// Judges an object's bytes; returns the offsets of missing fragments.
    fn check_object(
        &mut self,
        epoch: &mut EpochVerification,
        digest: &ChainDigest,
        payload: &ReferencedPayload,
        bytes: &Bytes,
    ) -> BTreeSet<u64> {
        let name = payload.name.as_str();
        self.report.counts.objects += 1;
        self.report.counts.bytes += bytes.len() as u64;
        let mut fragments: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
        for row in &payload.rows {
            let (Some(off), Some(len), Some(hash)) = (row.off, row.tail.len, row.tail.ct_sha256.as_deref()) else {
                let message = "the line has no offset, length or hash for its fragment";
                self.report.fail("index_line", format!("{name} leaf {}", row.leaf), message);
                continue;
            };
            if fragments.insert(off, (len, hash)).is_some_and(|other| other != (len, hash)) {
                let message = "two lines disagree about a fragment";
                self.report.fail("index_line", format!("{name} leaf {}", row.leaf), message);
            }
        }
        let signed_size_and_hash =
            payload.listed.as_ref().and_then(|listed| Some((listed.size?, listed.sha256.as_deref()?)));
        // an object of a single fragment has the fragment's hash
        let is_single = fragments.len() == 1 && fragments.get(&0).is_some_and(|(len, _)| *len == bytes.len() as u64);
        let hash = (signed_size_and_hash.is_some() || is_single).then(|| kernel::hex::encode(&Sha256::digest(bytes)));
        let is_authentic = signed_size_and_hash
            .is_some_and(|(size, sha256)| size == bytes.len() as u64 && hash.as_deref() == Some(sha256));
        if signed_size_and_hash.is_some() && !is_authentic {
            epoch.is_valid = false;
            self.report.fail("object_changed", name, "its size or hash differs from the one in its digest");
        }
        // The lines of an object may be in several digests, of which some don't have its hash: a process that started
        // after the object was stored doesn't know it.
        let own_fragments = fragments.iter().map(|(off, (len, _))| (*off, *len));
        let has_others = is_authentic && !is_tiled(own_fragments.clone(), bytes.len() as u64);
        if signed_size_and_hash.is_none() || has_others {
            let object = epoch.tiled_objects.entry(name.to_owned()).or_default();
            object.size = bytes.len() as u64;
            object.is_authentic |= is_authentic;
            object.fragments.extend(own_fragments);
        }
        let mut lost = BTreeSet::new();
        for (off, (len, sha256)) in &fragments {
            let range =
                off.checked_add(*len).and_then(|end| Some(usize::try_from(*off).ok()?..usize::try_from(end).ok()?));
            let fragment = range.and_then(|range| bytes.get(range));
            let fragment_hash = match (&hash, is_single) {
                (Some(hash), true) => Some(hash.clone()),
                _ => fragment.map(|fragment| kernel::hex::encode(&Sha256::digest(fragment))),
            };
            if fragment_hash.as_deref() == Some(*sha256) {
                self.report.counts.fragments += 1;
                continue;
            }
            lost.insert(*off);
            let is_zeroed = fragment.is_some_and(|fragment| fragment.iter().all(|byte| *byte == 0));
            let location = format!("{name} at {off}");
            if is_authentic && is_zeroed {
                let message = "the writer lost it in its spool and wrote zeros in its place";
                self.report.warn("fragment_lost", location, message);
            } else if is_authentic && fragment.is_none() && digest.counters.damaged > 0 {
                let message = "the writer lost it in its spool: the object ends before it";
                self.report.warn("fragment_lost", location, message);
            } else {
                epoch.is_valid = false;
                let explanation = if digest.counters.damaged > 0 { LOSSY } else { "" };
                let message = format!("it is missing, or its bytes do not match the hash in its line{explanation}");
                self.report.fail("fragment_changed", location, message);
            }
        }
        lost
    }

    /// Checks objects without a hash of their own: there must be no bytes between or after their fragments.
    pub(super) fn check_tiles(&mut self, epoch: &mut EpochVerification) {
        for (name, object) in std::mem::take(&mut epoch.tiled_objects) {
            if !object.is_authentic && !is_tiled(object.fragments.into_iter(), object.size) {
                epoch.is_valid = false;
                self.report.fail("object_changed", name, "its fragments do not cover its bytes without gaps");
            }
        }
    }
}

/// Whether these fragments, in the order of their offsets, cover `size` bytes without gaps.
fn is_tiled(mut fragments: impl Iterator<Item = (u64, u64)>, size: u64) -> bool {
    let mut end = 0;
    let has_no_gap = fragments.all(|(off, len)| {
        let fits = off == end;
        end = off.saturating_add(len);
        fits
    });
    has_no_gap && end == size
}

/// Whether a line belongs to this epoch, and has this number.
fn is_in_place(row: &IndexRow, number: u64, epoch: &EpochVerification) -> bool {
    let (tail, chain) = (&row.tail, &epoch.chain);
    let is_own_object = row.object_key.as_deref().is_none_or(|name| {
        ObjectName::parse(name).is_some_and(|object| {
            object.account == chain.account
                && object.file.starts_with(&format!("{}-{}-", chain.writer, epoch.line_epoch))
        })
    });
    row.v == 1
        && row.leaf == number
        && is_own_object
        && tail.writer == chain.writer
        && tail.epoch == epoch.line_epoch
        && tail.account == epoch.account
}
