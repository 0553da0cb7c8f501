//! Judges one epoch: each digest's signature, place, root and content, because each depends on the previous one. A bad
//! digest does not end the epoch. After a missing line, roots can't be compared any more, which is reported once.
//! Neighbours: `content` (payload), `epoch_links` (between epochs).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::Digest as _;

use crate::chains::{ChainId, epoch_folder};
use crate::error::ReadError;
use crate::location::Vault;
use kernel::clock::UnixNanos;
use vault::chain::digest::{ChainDigest, DigestLink, VERSION, checkpoint_origin};
use vault::chain::note::{self, Checkpoint};
use vault::chain::tree::NodeHash;
use vault::object_names::{SIGNATURE_SUFFIX, account_segment};
use vault::store::{ObjectKind, StoreError};

use super::options::VerifyProgress;
use super::resume::EpochProgress;
use super::run_state::{EpochVerification, NewestDigest, VerificationRun};
use super::times::{DigestTimes, parse_time};

/// Digests fetched concurrently.
const CONCURRENT_FETCHES: usize = 8;

/// A digest with its signature and index object.
struct FetchedDigest {
    n: u64,
    name: String,
    json: Result<Bytes, ReadError>,
    signature: Result<Bytes, ReadError>,
    digest: Option<Box<ChainDigest>>,
    index: Option<Result<Bytes, StoreError>>,
}

async fn fetch_digest(vault: &Vault, folder: &str, n: u64, index: bool) -> FetchedDigest {
    let name = vault.full_name(&format!("{folder}{n:010}.json"));
    let signature_name = format!("{name}{SIGNATURE_SUFFIX}");
    let (json, signature) =
        futures_util::join!(vault.fetch_chain_object(&name), vault.fetch_chain_object(&signature_name));
    let digest: Option<Box<ChainDigest>> = json.as_ref().ok().and_then(|json| serde_json::from_slice(json).ok());
    let key = digest.as_ref().and_then(|digest| digest.index.as_ref()).filter(|_| index);
    let index = match key {
        Some(index) => Some(vault.try_fetch(ObjectKind::Index, &index.key).await),
        None => None,
    };
    FetchedDigest { n, name, json, signature, digest, index }
}

impl VerificationRun<'_> {
    /// Judges an epoch.
    pub(super) async fn check_epoch(
        &mut self,
        line: &ChainId,
        name: &str,
        numbers: &BTreeSet<u64>,
        show: &mut (dyn FnMut(VerifyProgress) + Send),
    ) -> Result<EpochVerification, ReadError> {
        let (vault, folder) = (self.vault, epoch_folder(line, name));
        // a saved position is useless without the digest at which it ends
        let stand = self.resume.epoch_progress(&folder).filter(|stand| numbers.contains(&stand.n)).cloned();
        let known = |n: u64| stand.as_ref().is_some_and(|stand| n <= stand.n);
        let (chain_only, mut epoch) = (self.options.chain_only, EpochVerification::new(name));
        self.report.counts.epochs += u64::from(stand.is_none());
        let folder_of = folder.as_str();
        let mut ones = stream::iter(numbers.iter().copied())
            .map(|n| fetch_digest(vault, folder_of, n, !known(n) && !chain_only))
            .buffered(CONCURRENT_FETCHES);
        while let Some(one) = ones.next().await {
            let n = one.n;
            let sound = self.check_digest(line, &mut epoch, &one, known(n));
            if let (Some(digest), false) = (sound, known(n) || chain_only) {
                let before = self.remark_count();
                self.check_content(line, &mut epoch, digest, &one.name, one.index).await;
                epoch.has_remarks |= self.remark_count() != before;
                self.save_progress(&folder, &mut epoch, n, numbers.last() == Some(&n))?;
            }
            if let Some(stand) = stand.as_ref().filter(|stand| stand.n == n) {
                resume_epoch(&mut epoch, stand);
            }
            self.progress.done += 1;
            self.progress.bytes = self.report.counts.bytes;
            show(self.progress);
        }
        self.check_tiles(&mut epoch);
        self.report_times(line, name, std::mem::take(&mut epoch.times));
        self.check_earlier_digest(&folder, &epoch);
        Ok(epoch)
    }

    /// Reports gaps between the digests of an epoch, and clocks that were set back.
    fn report_times(&mut self, line: &ChainId, epoch: &str, mut times: DigestTimes) {
        let most = times.longest_usual_interval();
        let at = epoch_folder(line, epoch);
        let long = times.long_intervals.into_iter().filter(|(span, ..)| most.is_some_and(|most| *span > most));
        for (_, from, to) in long {
            let what = format!(
                "no digest between {from} and {to}, so nothing proves when the content of the next one was written in that time; \
                 the writer could not reach its store, was not running, or made no digest"
            );
            self.report.warn("late_digest", &at, what);
        }
        for (moment, digests) in times.clock_stops {
            let what = format!(
                "{digests} consecutive digests have the same time as the one before them, {moment}: the writer's clock was set back, \
                 so nothing proves when they were made"
            );
            self.report.warn("clock_set_back", &at, what);
        }
    }

    /// Number of things reported so far that are not in the counts: a position is saved only if nothing would be lost
    /// by skipping these digests.
    fn remark_count(&self) -> u64 {
        self.report.finding_counts.values().sum::<u64>() + self.report.counts.archived + self.keys.fragments()
    }

    /// Checks that digests found valid in an earlier run are unchanged.
    fn check_earlier_digest(&mut self, folder: &str, epoch: &EpochVerification) {
        let Some(seen) = self.earlier_digests.remove(folder) else { return };
        let now = epoch.digests.get(&seen.n).map(|sha256| kernel::hex::encode(sha256));
        if now.as_ref() != Some(&seen.sha256) {
            let what = "an earlier verification saw this digest, but now it is missing or differs";
            self.report.fail("history_changed", format!("{folder}{:010}.json", seen.n), what);
        }
    }

    /// Reports epochs that an earlier run saw and of which nothing is left.
    pub(super) fn report_vanished_epochs(&mut self) {
        let account = self.options.account.as_deref().map(account_segment);
        for (folder, seen) in std::mem::take(&mut self.earlier_digests) {
            let mut parts = folder.split('/').skip(1);
            let (of, writer) = (parts.next(), parts.next());
            let elsewhere = account.as_deref().is_some_and(|account| of != Some(account))
                || self.options.writer.as_deref().is_some_and(|wanted| writer != Some(wanted));
            if !elsewhere {
                let what = "an earlier verification saw digests of this epoch, but now all are missing";
                self.report.fail("history_changed", format!("{folder}{:010}.json", seen.n), what);
            }
        }
    }

    fn save_progress(
        &mut self,
        folder: &str,
        epoch: &mut EpochVerification,
        n: u64,
        now: bool,
    ) -> Result<(), ReadError> {
        let done = epoch.is_valid && epoch.has_all_lines && !epoch.has_remarks && epoch.tiles.is_empty();
        let Some(sha256) = epoch.digests.get(&n).filter(|_| done) else { return Ok(()) };
        let (sha256, tree) = (kernel::hex::encode(sha256), epoch.tree.clone());
        let arrived = epoch.first_arrival.map(|first| first.0);
        let stand = EpochProgress {
            n,
            sha256,
            tree,
            gaps: epoch.gaps,
            arrived,
            unread: epoch.unopened,
            expired: epoch.expired,
        };
        self.resume.save_position(folder, stand, std::mem::take(&mut epoch.erasure_lines), &self.report.counts, now)
    }

    /// Judges a digest on its own and against the previous one; returns it if its content can be judged.
    fn check_digest(
        &mut self,
        line: &ChainId,
        epoch: &mut EpochVerification,
        one: &FetchedDigest,
        known: bool,
    ) -> Option<Box<ChainDigest>> {
        let name = one.name.as_str();
        // reset when a later digest is valid
        let hole = std::mem::replace(&mut epoch.has_foreign_end, true) || one.n != epoch.expected;
        if one.n != epoch.expected {
            let missing = format!("{} digests before this one are missing", one.n.saturating_sub(epoch.expected));
            self.report.fail("digest_missing", name, missing);
            epoch.is_valid = false;
        }
        epoch.expected = one.n.saturating_add(1);
        let json = match &one.json {
            Ok(json) => json,
            Err(why) => {
                self.report.fail("digest_missing", name, why.to_string());
                epoch.is_valid = false;
                return None;
            }
        };
        epoch.digests.insert(one.n, sha2::Sha256::digest(json).into());
        let Some(digest) = one.digest.clone() else {
            self.report.fail("digest_format", name, "not a digest, or of a version that this program does not support");
            epoch.is_valid = false;
            return None;
        };
        let before = self.report.finding_counts.values().sum::<u64>();
        self.check_signatures(epoch, &digest, one, json);
        self.check_place(line, epoch, &digest, one);
        epoch.begin(&digest);
        epoch.damaged |= digest.counters.damaged > 0;
        epoch.last = Some(NewestDigest {
            n: digest.n,
            end: digest.end.clone(),
            last: digest.last,
            tree_size: digest.tree_size,
            root: digest.root.clone(),
            pending: digest.counters.pending,
        });
        let sound = self.report.finding_counts.values().sum::<u64>() == before;
        epoch.is_valid &= sound;
        if sound {
            epoch.times.add_digest(&digest);
            self.record_newest_erasures(&digest, name);
            epoch.newest.clone_from(&epoch.last);
            epoch.has_foreign_end = false;
            epoch.broken |= hole;
        }
        self.report.counts.digests += u64::from(sound && !known);
        Some(digest)
    }

    /// Checks the signature of the bytes, and that the signed checkpoint says the same as the digest.
    fn check_signatures(&mut self, epoch: &EpochVerification, digest: &ChainDigest, one: &FetchedDigest, json: &Bytes) {
        let name = one.name.as_str();
        let keys = &self.options.keys;
        match &one.signature {
            Err(why) => self.report.fail("signature", name, format!("no signature: {why}")),
            Ok(bytes) if !keys.iter().any(|key| key.is_signed(json, bytes)) => {
                self.report.fail("signature", name, "none of the given keys signed this digest");
            }
            Ok(_) => {}
        }
        let Some((text, key)) = note::open_note(&digest.note, keys) else {
            return self.report.fail("checkpoint", name, "none of the given keys signed the checkpoint");
        };
        let root = STANDARD.decode(&digest.root).ok().and_then(|root| NodeHash::try_from(root).ok());
        let origin = checkpoint_origin(key.name(), &digest.account, &digest.writer, &epoch.name);
        let said = root.map(|root| Checkpoint { origin, size: digest.tree_size, root });
        if said.is_none() || Checkpoint::parse(text) != said {
            self.report.fail(
                "checkpoint",
                name,
                "the checkpoint does not match this digest, account, writer and epoch",
            );
        }
    }

    /// Checks that a digest is in its place and follows the previous one.
    fn check_place(&mut self, line: &ChainId, epoch: &EpochVerification, digest: &ChainDigest, one: &FetchedDigest) {
        let name = one.name.as_str();
        let here = digest.n == one.n
            && digest.epoch == epoch.name
            && digest.writer == line.writer
            && account_segment(&digest.account) == line.account;
        if !here || digest.v != VERSION {
            self.report.fail("misplaced", name, "this digest was moved, or has an unsupported version");
        }
        if parse_time(&digest.start).is_none() || parse_time(&digest.end).is_none() {
            self.report.fail("digest_time", name, "its start or end time is unreadable");
        } else if digest.start > digest.end {
            self.report.fail("digest_time", name, "its end time is before its start time");
        }
        let Some(last) = &epoch.last else {
            return;
        };
        let before = epoch.digests.get(&last.n).map(|sha256| DigestLink {
            epoch: epoch.name.clone(),
            n: last.n,
            sha256: kernel::hex::encode(sha256),
        });
        if last.n.checked_add(1) == Some(digest.n) && digest.prev != before {
            self.report.fail("link", name, "the previous digest differs from the one that this digest names");
        }
        if last.n.checked_add(1) == Some(digest.n) && digest.start != last.end {
            self.report.fail("digest_time", name, "its start time differs from the end time of the previous digest");
        }
        if digest.tree_size < last.tree_size {
            self.report.fail("tree_size", name, "its tree is smaller than the previous one");
        }
        if epoch.has_digest && (digest.continues != epoch.continues || digest.reason.is_some()) {
            self.report.fail(
                "link",
                name,
                "its statements about the epoch's start differ from those of the first digest",
            );
        }
    }
}

/// Resumes at an earlier run's position, if its digest is unchanged.
fn resume_epoch(epoch: &mut EpochVerification, stand: &EpochProgress) {
    let same = epoch.digests.get(&stand.n).is_some_and(|sha256| kernel::hex::encode(sha256) == stand.sha256);
    if same {
        (epoch.tree, epoch.gaps) = (stand.tree.clone(), stand.gaps);
        (epoch.unopened, epoch.expired) = (stand.unread, stand.expired);
        epoch.first_arrival = stand.arrived.map(UnixNanos);
    }
    epoch.is_valid &= same; // a changed digest is reported at the end
}
