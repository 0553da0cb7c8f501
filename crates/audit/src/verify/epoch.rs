//! Judges one epoch: each digest's signature, place, root and content, because each depends on the previous one. A bad
//! digest does not end the epoch. After a missing line, roots can't be compared any more, which is reported once.
//! Neighbours: `content` (payload), `links` (between epochs).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sha2::Digest as _;

use crate::chains::{Line, folder};
use crate::error::ReadError;
use crate::location::Vault;
use kernel::clock::UnixNanos;
use vault::chain::digest::{Digest, Link, VERSION, origin};
use vault::chain::note::{self, Checkpoint};
use vault::chain::tree::Hash;
use vault::names::{SIGNATURE, account_segment};
use vault::store::{ObjectKind, StoreError};

use super::options::Progress;
use super::resume::Stand;
use super::times::{Times, moment};
use super::walk::{Epoch, Last, Walk};

/// Digests fetched concurrently.
const AT_ONCE: usize = 8;

/// A digest with its signature and index object.
struct One {
    n: u64,
    name: String,
    json: Result<Bytes, ReadError>,
    signature: Result<Bytes, ReadError>,
    digest: Option<Box<Digest>>,
    index: Option<Result<Bytes, StoreError>>,
}

async fn fetch(vault: &Vault, folder: &str, n: u64, index: bool) -> One {
    let name = vault.full(&format!("{folder}{n:010}.json"));
    let signature_name = format!("{name}{SIGNATURE}");
    let (json, signature) = futures_util::join!(vault.fetch_chain(&name), vault.fetch_chain(&signature_name));
    let digest: Option<Box<Digest>> = json.as_ref().ok().and_then(|json| serde_json::from_slice(json).ok());
    let key = digest.as_ref().and_then(|digest| digest.index.as_ref()).filter(|_| index);
    let index = match key {
        Some(index) => Some(vault.try_fetch(ObjectKind::Index, &index.key).await),
        None => None,
    };
    One { n, name, json, signature, digest, index }
}

impl Walk<'_> {
    /// Judges an epoch.
    pub(super) async fn epoch(
        &mut self,
        line: &Line,
        name: &str,
        numbers: &BTreeSet<u64>,
        show: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Epoch, ReadError> {
        let (vault, folder) = (self.vault, folder(line, name));
        // a saved position is useless without the digest at which it ends
        let stand = self.resume.stand(&folder).filter(|stand| numbers.contains(&stand.n)).cloned();
        let known = |n: u64| stand.as_ref().is_some_and(|stand| n <= stand.n);
        let (chain_only, mut epoch) = (self.options.chain_only, Epoch::new(name));
        self.report.counts.epochs += u64::from(stand.is_none());
        let folder_of = folder.as_str();
        let mut ones = stream::iter(numbers.iter().copied())
            .map(|n| fetch(vault, folder_of, n, !known(n) && !chain_only))
            .buffered(AT_ONCE);
        while let Some(one) = ones.next().await {
            let n = one.n;
            let sound = self.digest(line, &mut epoch, &one, known(n));
            if let (Some(digest), false) = (sound, known(n) || chain_only) {
                let before = self.told();
                self.content(line, &mut epoch, digest, &one.name, one.index).await;
                epoch.told_of |= self.told() != before;
                self.remember(&folder, &mut epoch, n, numbers.last() == Some(&n))?;
            }
            if let Some(stand) = stand.as_ref().filter(|stand| stand.n == n) {
                take_up(&mut epoch, stand);
            }
            self.progress.done += 1;
            self.progress.bytes = self.report.counts.bytes;
            show(self.progress);
        }
        self.tiles(&mut epoch);
        self.times(line, name, std::mem::take(&mut epoch.times));
        self.seen_before(&folder, &epoch);
        Ok(epoch)
    }

    /// Reports gaps between the digests of an epoch, and clocks that were set back.
    fn times(&mut self, line: &Line, epoch: &str, mut times: Times) {
        let most = times.most();
        let at = folder(line, epoch);
        let long = times.long.into_iter().filter(|(span, ..)| most.is_some_and(|most| *span > most));
        for (_, from, to) in long {
            let what = format!(
                "no digest between {from} and {to}: nothing proves when in it was written what the next one names; \
                 the writer could not reach its store, did not run, or made none"
            );
            self.report.warn("no_digest", &at, what);
        }
        for (moment, digests) in times.still {
            let what = format!(
                "{digests} digests one after the other are dated {moment}, as the one they follow: the writer's clock was set back, \
                 and nothing proves when they were made until it had caught up"
            );
            self.report.warn("clock", &at, what);
        }
    }

    /// Number of things reported so far that are not in the counts: a position is saved only if nothing would be lost
    /// by skipping these digests.
    fn told(&self) -> u64 {
        self.report.found.values().sum::<u64>() + self.report.counts.archived + self.keys.fragments()
    }

    /// Checks that digests found valid in an earlier run are unchanged.
    fn seen_before(&mut self, folder: &str, epoch: &Epoch) {
        let Some(seen) = self.seen.remove(folder) else { return };
        let now = epoch.digests.get(&seen.n).map(|sha256| kernel::hex::encode(sha256));
        if now.as_ref() != Some(&seen.sha256) {
            let what = "this digest, which an earlier verification saw, is missing or another one";
            self.report.fail("changed", format!("{folder}{:010}.json", seen.n), what);
        }
    }

    /// Reports epochs that an earlier run saw and of which nothing is left.
    pub(super) fn gone_since(&mut self) {
        let account = self.options.account.as_deref().map(account_segment);
        for (folder, seen) in std::mem::take(&mut self.seen) {
            let mut parts = folder.split('/').skip(1);
            let (of, writer) = (parts.next(), parts.next());
            let elsewhere = account.as_deref().is_some_and(|account| of != Some(account))
                || self.options.writer.as_deref().is_some_and(|wanted| writer != Some(wanted));
            if !elsewhere {
                let what = "an earlier verification saw digests of this epoch, and none is there";
                self.report.fail("changed", format!("{folder}{:010}.json", seen.n), what);
            }
        }
    }

    fn remember(&mut self, folder: &str, epoch: &mut Epoch, n: u64, now: bool) -> Result<(), ReadError> {
        let done = epoch.whole && epoch.rooted && !epoch.told_of && epoch.tiles.is_empty();
        let Some(sha256) = epoch.digests.get(&n).filter(|_| done) else { return Ok(()) };
        let (sha256, tree) = (kernel::hex::encode(sha256), epoch.tree.clone());
        let arrived = epoch.arrived.map(|first| first.0);
        let stand = Stand { n, sha256, tree, gaps: epoch.gaps, arrived, unread: epoch.unread, expired: epoch.expired };
        self.resume.keep(folder, stand, std::mem::take(&mut epoch.told), &self.report.counts, now)
    }

    /// Judges a digest on its own and against the previous one; returns it if its content can be judged.
    fn digest(&mut self, line: &Line, epoch: &mut Epoch, one: &One, known: bool) -> Option<Box<Digest>> {
        let name = one.name.as_str();
        // reset when a later digest is valid
        let hole = std::mem::replace(&mut epoch.planted, true) || one.n != epoch.expected;
        if one.n != epoch.expected {
            let missing = format!("{} digests before this one are missing", one.n.saturating_sub(epoch.expected));
            self.report.fail("digest_missing", name, missing);
            epoch.whole = false;
        }
        epoch.expected = one.n.saturating_add(1);
        let json = match &one.json {
            Ok(json) => json,
            Err(why) => {
                self.report.fail("digest_missing", name, why.to_string());
                epoch.whole = false;
                return None;
            }
        };
        epoch.digests.insert(one.n, sha2::Sha256::digest(json).into());
        let Some(digest) = one.digest.clone() else {
            self.report.fail("digest_format", name, "not a digest of a version that this program knows");
            epoch.whole = false;
            return None;
        };
        let before = self.report.found.values().sum::<u64>();
        self.signatures(epoch, &digest, one, json);
        self.place(line, epoch, &digest, one);
        epoch.begin(&digest);
        epoch.damaged |= digest.counters.damaged > 0;
        epoch.last = Some(Last {
            n: digest.n,
            end: digest.end.clone(),
            last: digest.last,
            tree_size: digest.tree_size,
            root: digest.root.clone(),
            pending: digest.counters.pending,
        });
        let sound = self.report.found.values().sum::<u64>() == before;
        epoch.whole &= sound;
        if sound {
            epoch.times.take(&digest);
            self.name_erasures(&digest, name);
            epoch.newest.clone_from(&epoch.last);
            epoch.planted = false;
            epoch.broken |= hole;
        }
        self.report.counts.digests += u64::from(sound && !known);
        Some(digest)
    }

    /// Checks the signature of the bytes, and that the signed checkpoint says the same as the digest.
    fn signatures(&mut self, epoch: &Epoch, digest: &Digest, one: &One, json: &Bytes) {
        let name = one.name.as_str();
        let keys = &self.options.keys;
        match &one.signature {
            Err(why) => self.report.fail("signature", name, format!("no signature: {why}")),
            Ok(bytes) if !keys.iter().any(|key| key.signed(json, bytes)) => {
                self.report.fail("signature", name, "none of the keys given here signed these bytes");
            }
            Ok(_) => {}
        }
        let Some((text, key)) = note::open(&digest.note, keys) else {
            return self.report.fail("note", name, "none of the keys given here signed the checkpoint");
        };
        let root = STANDARD.decode(&digest.root).ok().and_then(|root| Hash::try_from(root).ok());
        let origin = origin(key.name(), &digest.account, &digest.writer, &epoch.name);
        let said = root.map(|root| Checkpoint { origin, size: digest.tree_size, root });
        if said.is_none() || Checkpoint::parse(text) != said {
            self.report.fail("note", name, "the checkpoint is not that of this digest, account, writer and epoch");
        }
    }

    /// Checks that a digest is in its place and follows the previous one.
    fn place(&mut self, line: &Line, epoch: &Epoch, digest: &Digest, one: &One) {
        let name = one.name.as_str();
        let here = digest.n == one.n
            && digest.epoch == epoch.name
            && digest.writer == line.writer
            && account_segment(&digest.account) == line.account;
        if !here || digest.v != VERSION {
            self.report.fail("moved", name, "this digest belongs somewhere else");
        }
        if moment(&digest.start).is_none() || moment(&digest.end).is_none() {
            self.report.fail("time", name, "it says no time that can be read");
        } else if digest.start > digest.end {
            self.report.fail("time", name, "its time ends before it starts");
        }
        let Some(last) = &epoch.last else {
            return;
        };
        let before = epoch.digests.get(&last.n).map(|sha256| Link {
            epoch: epoch.name.clone(),
            n: last.n,
            sha256: kernel::hex::encode(sha256),
        });
        if last.n.checked_add(1) == Some(digest.n) && digest.prev != before {
            self.report.fail("link", name, "the digest before is not the one that this one names");
        }
        if last.n.checked_add(1) == Some(digest.n) && digest.start != last.end {
            self.report.fail("time", name, "its time does not start where that of the one before ends");
        }
        if digest.tree_size < last.tree_size {
            self.report.fail("size", name, "its tree is smaller than the one before");
        }
        if epoch.begun && (digest.continues != epoch.continues || digest.reason.is_some()) {
            self.report.fail("link", name, "it tells another beginning than the epoch's first digest");
        }
    }
}

/// Resumes at an earlier run's position, if its digest is unchanged.
fn take_up(epoch: &mut Epoch, stand: &Stand) {
    let same = epoch.digests.get(&stand.n).is_some_and(|sha256| kernel::hex::encode(sha256) == stand.sha256);
    if same {
        (epoch.tree, epoch.gaps) = (stand.tree.clone(), stand.gaps);
        (epoch.unread, epoch.expired) = (stand.unread, stand.expired);
        epoch.arrived = stand.arrived.map(UnixNanos);
    }
    epoch.whole &= same; // a changed digest is reported at the end
}
