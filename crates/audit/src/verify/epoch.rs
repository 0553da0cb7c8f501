//! Judges one epoch: each digest's signature, place, root and content, because each depends on the previous one. A bad
//! digest does not end the epoch. After a missing line, roots can't be compared any more, which is reported once.
//! Neighbours: `content` (payload), `epoch_links` (between epochs).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::chains::{ChainId, epoch_folder};
use crate::error::Result;
use crate::location::Vault;
use kernel::clock::UnixNanos;
use vault::chain::digest::{ChainDigest, DigestLink, VERSION, checkpoint_origin};
use vault::chain::note::{self, Checkpoint, VerifyKey};
use vault::chain::tree::NodeHash;
use vault::object_names::{SIGNATURE_SUFFIX, account_segment, parse_time};
use vault::store::{ObjectKind, StoreError};

use super::options::VerifyProgress;
use super::report::ChainHead;
use super::resume::EpochProgress;
use super::run_state::{EpochVerification, VerificationRun};
use super::times::DigestTimes;

/// Digests fetched concurrently.
const CONCURRENT_FETCHES: usize = 8;

/// A digest with its signature and index object.
pub(super) struct FetchedDigest {
    n: u64,
    pub(super) name: String,
    json: Result<Bytes>,
    signature: Result<Bytes>,
    pub(super) digest: Option<Box<ChainDigest>>,
    pub(super) index: Option<Result<Bytes, StoreError>>,
}

impl FetchedDigest {
    /// Whether one of these keys signed it.
    pub(super) fn is_signed(&self, keys: &[VerifyKey]) -> bool {
        matches!((&self.json, &self.signature), (Ok(json), Ok(bytes)) if keys.iter().any(|key| key.is_signed(json, bytes)))
    }
}

pub(super) async fn fetch_digest(vault: &Vault, folder: &str, n: u64, index: bool) -> FetchedDigest {
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
    pub(super) async fn check_epoch(
        &mut self,
        chain: &ChainId,
        name: &str,
        numbers: &BTreeSet<u64>,
        show: &mut (dyn FnMut(VerifyProgress) + Send),
    ) -> Result<EpochVerification> {
        let (vault, folder) = (self.vault, epoch_folder(chain, name));
        // a saved position is useless without the digest at which it ends
        let position = self.resume.saved.epochs.get(&folder).filter(|position| numbers.contains(&position.n)).cloned();
        let is_known = |n: u64| position.as_ref().is_some_and(|position| n <= position.n);
        let (chain_only, mut epoch) = (self.options.chain_only, EpochVerification::new(chain, name));
        self.report.counts.epochs += u64::from(position.is_none());
        let folder_of = folder.as_str();
        let mut fetches = stream::iter(numbers.iter().copied())
            .map(|n| fetch_digest(vault, folder_of, n, !is_known(n) && !chain_only))
            .buffered(CONCURRENT_FETCHES);
        while let Some(fetched) = fetches.next().await {
            let n = fetched.n;
            self.check_digest(&mut epoch, &fetched, is_known(n));
            if fetched.digest.is_some() && !is_known(n) && !chain_only {
                let before = self.remark_count();
                self.check_content(&mut epoch, &fetched).await;
                epoch.has_remarks |= self.remark_count() != before;
                self.save_progress(&mut epoch, n, numbers.last() == Some(&n))?;
            }
            if let Some(position) = position.as_ref().filter(|position| position.n == n) {
                resume_epoch(&mut epoch, position);
            }
            self.progress.done += 1;
            self.progress.bytes = self.report.counts.bytes;
            show(self.progress);
        }
        self.check_tiles(&mut epoch);
        self.report_times(&folder, std::mem::take(&mut epoch.times));
        self.check_earlier_digest(&folder, &epoch);
        Ok(epoch)
    }

    /// Reports gaps between the digests of an epoch, and clocks that were set back.
    fn report_times(&mut self, location: &str, mut times: DigestTimes) {
        let usual = times.longest_usual_interval();
        let is_long = |(seconds, ..): &(u64, String, String)| usual.is_some_and(|usual| *seconds > usual);
        let unusual =
            times.long_intervals.into_iter().filter(is_long).map(|(_, start, end)| (start, end, String::new()));
        let gaps =
            times.gaps.into_iter().map(|[start, end, due]| (start, end, format!(", although one was due by {due}")));
        for (start, end, due) in unusual.chain(gaps) {
            let message = format!(
                "no digest between {start} and {end}{due}, so nothing proves when the content of the next one was written \
                 in that time; the writer could not reach its store, was not running, or made no digest"
            );
            self.report.warn("late_digest", location, message);
        }
        for (time, digests) in times.clock_stops {
            let message = format!(
                "{digests} consecutive digests have the same time as the one before them, {time}: the writer's clock \
                 was set back, so nothing proves when they were made"
            );
            self.report.warn("clock_set_back", location, message);
        }
    }

    /// Number of remarks so far that a saved position does not contain. After a digest with remarks no position is
    /// saved, because a resumed run would not repeat them.
    fn remark_count(&self) -> u64 {
        self.report.finding_counts.values().sum::<u64>() + self.report.counts.archived + self.keys.unopenable_fragments
    }

    /// Checks that digests found valid in an earlier run are unchanged.
    fn check_earlier_digest(&mut self, folder: &str, epoch: &EpochVerification) {
        let Some(seen) = self.earlier_digests.remove(folder) else { return };
        if !epoch.has_digest_with(seen.n, &seen.sha256) {
            let message = "an earlier verification saw this digest, but now it is missing or differs";
            self.report.fail("history_changed", format!("{folder}{:010}.json", seen.n), message);
        }
    }

    /// Reports epochs that an earlier run saw and whose digests are all missing now.
    pub(super) fn report_vanished_epochs(&mut self) {
        let account = self.options.account.as_deref().map(account_segment);
        for (folder, seen) in std::mem::take(&mut self.earlier_digests) {
            let mut parts = folder.split('/').skip(1);
            let (folder_account, writer) = (parts.next(), parts.next());
            let is_out_of_scope = account.as_deref().is_some_and(|account| folder_account != Some(account))
                || self.options.writer.as_deref().is_some_and(|wanted| writer != Some(wanted));
            if !is_out_of_scope {
                let message = "an earlier verification saw digests of this epoch, but now all are missing";
                self.report.fail("history_changed", format!("{folder}{:010}.json", seen.n), message);
            }
        }
    }

    fn save_progress(&mut self, epoch: &mut EpochVerification, n: u64, save_now: bool) -> Result<()> {
        let done = epoch.is_valid && epoch.has_all_lines && !epoch.has_remarks && epoch.tiled_objects.is_empty();
        let Some(sha256) = epoch.digests.get(&n).filter(|_| done) else { return Ok(()) };
        let position = EpochProgress {
            n,
            sha256: kernel::hex::encode(sha256),
            tree: epoch.tree.clone(),
            gaps: epoch.gaps,
            first_arrival: epoch.first_arrival.map(|first| first.0),
            unopened: epoch.unopened,
            expired: epoch.expired,
        };
        let key_lines = std::mem::take(&mut epoch.key_lines);
        self.resume.save_position(&epoch.folder(), position, key_lines, &self.report.counts, save_now)
    }

    /// Judges a digest on its own and against the previous one.
    fn check_digest(&mut self, epoch: &mut EpochVerification, fetched: &FetchedDigest, is_known: bool) {
        let name = fetched.name.as_str();
        // reset when a later digest is valid
        let follows_gap = std::mem::replace(&mut epoch.has_foreign_end, true) || fetched.n != epoch.next_digest;
        if fetched.n != epoch.next_digest {
            let missing =
                format!("{} digests before this one are missing", fetched.n.saturating_sub(epoch.next_digest));
            self.report.fail("digest_missing", name, missing);
            epoch.is_valid = false;
        }
        epoch.next_digest = fetched.n.saturating_add(1);
        let json = match &fetched.json {
            Ok(json) => json,
            Err(why) => {
                epoch.is_valid = false;
                return self.report.fail("digest_missing", name, why.to_string());
            }
        };
        let sha256 = kernel::sha256::Sha256::digest(json);
        epoch.digests.insert(fetched.n, sha256);
        let Some(digest) = fetched.digest.as_deref() else {
            epoch.is_valid = false;
            let message = "not a digest, or of a version that this program does not support";
            return self.report.fail("digest_format", name, message);
        };
        let before = self.report.finding_counts.values().sum::<u64>();
        self.check_signatures(epoch, digest, fetched);
        self.check_place(epoch, digest, fetched);
        epoch.begin(digest);
        epoch.damaged |= digest.counters.damaged > 0;
        epoch.last = Some(ChainHead {
            account: epoch.account.clone(),
            writer: epoch.chain.writer.clone(),
            digest: DigestLink { epoch: epoch.name.clone(), n: digest.n, sha256: kernel::hex::encode(&sha256) },
            tree_size: digest.tree_size,
            root: digest.root.clone(),
            end: digest.end.clone(),
            next_by: digest.counters.next_by.clone(),
            is_final: digest.last,
            pending: digest.counters.pending,
        });
        let is_valid_digest = self.report.finding_counts.values().sum::<u64>() == before;
        epoch.is_valid &= is_valid_digest;
        if is_valid_digest {
            epoch.times.add_digest(digest);
            self.record_newest_erasures(digest, name);
            epoch.newest_valid.clone_from(&epoch.last);
            epoch.has_foreign_end = false;
            epoch.broken |= follows_gap;
        }
        self.report.counts.digests += u64::from(is_valid_digest && !is_known);
    }

    /// Checks the signature of the bytes, and that the signed checkpoint says the same as the digest.
    fn check_signatures(&mut self, epoch: &EpochVerification, digest: &ChainDigest, fetched: &FetchedDigest) {
        let name = fetched.name.as_str();
        let keys = &self.options.keys;
        if let Err(why) = &fetched.signature {
            self.report.fail("signature", name, format!("no signature: {why}"));
        } else if !fetched.is_signed(keys) {
            self.report.fail("signature", name, "none of the given keys signed this digest");
        }
        let Some((text, key)) = note::open_note(&digest.note, keys) else {
            return self.report.fail("checkpoint", name, "none of the given keys signed the checkpoint");
        };
        let root = STANDARD.decode(&digest.root).ok().and_then(|root| NodeHash::try_from(root).ok());
        let origin = checkpoint_origin(key.name(), &digest.account, &digest.writer, &epoch.name);
        let expected_checkpoint = root.map(|root| Checkpoint { origin, size: digest.tree_size, root });
        if expected_checkpoint.is_none() || Checkpoint::parse(text) != expected_checkpoint {
            let message = "the checkpoint does not match this digest, account, writer and epoch";
            self.report.fail("checkpoint", name, message);
        }
    }

    /// Checks that a digest is in its place and follows the previous one.
    fn check_place(&mut self, epoch: &EpochVerification, digest: &ChainDigest, fetched: &FetchedDigest) {
        let name = fetched.name.as_str();
        let is_in_place = digest.n == fetched.n
            && digest.epoch == epoch.name
            && digest.writer == epoch.chain.writer
            && account_segment(&digest.account) == epoch.chain.account;
        if !is_in_place || digest.v != VERSION {
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
        let follows = last.digest.n.checked_add(1) == Some(digest.n);
        if follows && digest.prev.as_ref() != Some(&last.digest) {
            self.report.fail("link", name, "the previous digest differs from the one that this digest names");
        }
        if follows && digest.start != last.end {
            self.report.fail("digest_time", name, "its start time differs from the end time of the previous digest");
        }
        if digest.tree_size < last.tree_size {
            self.report.fail("tree_size", name, "its tree is smaller than the previous one");
        }
        if epoch.has_digest && (digest.continues != epoch.continues || digest.reason.is_some()) {
            let message = "its statements about the epoch's start differ from those of the first digest";
            self.report.fail("link", name, message);
        }
    }
}

/// Resumes at an earlier run's position, if its digest is unchanged.
fn resume_epoch(epoch: &mut EpochVerification, position: &EpochProgress) {
    let is_unchanged = epoch.has_digest_with(position.n, &position.sha256);
    if is_unchanged {
        (epoch.tree, epoch.gaps) = (position.tree.clone(), position.gaps);
        (epoch.unopened, epoch.expired) = (position.unopened, position.expired);
        epoch.first_arrival = position.first_arrival.map(UnixNanos);
    }
    epoch.is_valid &= is_unchanged; // a changed digest is reported at the end
}
