//! Reports objects that nothing names, because no planted object may pass for a part of the vault: index and payload
//! objects without a digest or line, objects that belong to no kind, and objects in the keys' folders. Objects that an
//! open epoch may still name are treated separately. A key copy hidden before an erasure would still open the erased
//! content, so an object that opens an erased session is reported as such, whatever its name. For lines of older
//! versions, copies made by `rewrap` can't be distinguished from planted objects, which is reported once. Neighbours:
//! `content` and `key_check` judge named objects.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::run_state::{ChainVerification, VerificationRun};
use crate::chains::ChainId;
use crate::error::Result;
use crate::folders::{is_key_name, parse_key_name};
use crate::read::open_key;
use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;
use vault::hold_note::{HOLDS_FOLDER, note_number};
use vault::object_names::{
    IndexName, ObjectName, account_segment, epoch_start_millis, is_payload, parse_file_stem, rfc3339,
};
use vault::seal::key_id;
use vault::store::ObjectKind;
use vault::store::probe::{PROBE_BODY, is_probe};

/// State of an epoch for one account.
#[derive(Default)]
struct EpochCoverage {
    /// More lines may follow.
    is_open: bool,
    next_line: u64,
    next_digest: u64,
    has_losses: bool,
}

/// Lines and digests are numbered by account, so the chain is part of an epoch's key.
type CoveredEpochs = BTreeMap<(ChainId, String), EpochCoverage>;

/// Kind of an object, by its location.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnreferencedKind {
    Index,
    Sessions,
    Payload,
}

/// Folders that other modules judge.
const JUDGED: [&str; 3] = ["index/", "sessions/", "chain/"];

/// Whether a name is that of a hold note: account, tenant, session, number.
fn is_hold_note_name(name: &str) -> bool {
    let parts: Vec<&str> = name.strip_prefix(HOLDS_FOLDER).unwrap_or_default().split('/').collect();
    let [account, tenant, session, file] = parts[..] else { return false };
    [account, tenant, session].into_iter().all(crate::folders::is_segment) && note_number(file).is_some()
}

impl VerificationRun<'_> {
    /// Lists all objects and reports those that nothing names.
    pub(super) async fn report_unreferenced_objects(&mut self, chains: &[ChainVerification]) -> Result<()> {
        let is_partial = self.options.account.is_some() || self.options.writer.is_some() || self.resume.is_resumed;
        if is_partial {
            let limit = "unreferenced objects, because this run checked only a part of the chains";
            self.report.leave_out(true, limit);
            return Ok(());
        }
        let mut covered = CoveredEpochs::new();
        for ChainVerification { id, epochs } in chains {
            for epoch in epochs {
                let size = epoch.last.as_ref().map_or(0, |last| last.tree_size);
                let is_complete = epoch.last.as_ref().is_some_and(|last| last.is_final)
                    || epochs.iter().any(|other| other.prev.as_ref().is_some_and(|prev| prev.epoch == epoch.name));
                let has_losses = epoch.gaps > 0 || epoch.damaged;
                let (next_line, next_digest) =
                    (epoch.base + size, epoch.last.as_ref().map_or(0, |last| last.digest.n + 1));
                for name in [&epoch.name, &epoch.line_epoch] {
                    let coverage = covered.entry((id.clone(), name.clone())).or_default();
                    coverage.is_open |= !is_complete;
                    coverage.next_line = coverage.next_line.max(next_line);
                    coverage.next_digest = coverage.next_digest.max(next_digest);
                    coverage.has_losses |= has_losses;
                }
            }
        }
        let has_losses = |chain: &&ChainVerification| chain.epochs.iter().any(|epoch| epoch.damaged || epoch.gaps > 0);
        // a writer that lost records may have lost every digest of an epoch
        let lossy_writers: HashSet<String> =
            chains.iter().filter(has_losses).map(|chain| chain.id.writer.clone()).collect();
        let now_millis = self.options.now.0 / 1_000_000;
        let (mut pending, mut names) = (Vec::new(), Vec::new());
        for (kind, object_kind, prefix) in [
            (UnreferencedKind::Index, ObjectKind::Index, "index/"),
            (UnreferencedKind::Sessions, ObjectKind::Index, "sessions/"),
            (UnreferencedKind::Payload, ObjectKind::Payload, ""),
        ] {
            names = self.vault.list(object_kind, prefix).await?;
            for name in &names {
                let relative = self.vault.relative_name(name).unwrap_or(name);
                let is_of_kind = kind != UnreferencedKind::Payload || is_payload(name);
                if !is_of_kind || self.referenced.contains(name) {
                    continue;
                }
                match explain_unreferenced(relative, kind, &covered, &lossy_writers, now_millis) {
                    UnreferencedExplanation::Pending => pending.push((object_kind, name.clone())),
                    UnreferencedExplanation::Possible(why) => self.report.warn("not_yet_referenced", name, why),
                    UnreferencedExplanation::Unexplained => {
                        let message = "neither a digest nor a line names it: it was planted, or is left over";
                        self.report.fail("unreferenced", name, message);
                    }
                }
            }
        }
        self.report_pending_objects(pending).await;
        // the last listing included all objects
        self.report_unknown_objects(names.into_iter().collect()).await
    }

    /// Handles objects that a digest of an open epoch may still name: those that have existed for long are reported by
    /// name.
    async fn report_pending_objects(&mut self, names: Vec<(ObjectKind, String)>) {
        let mut pending = names.len() as u64;
        let vault = self.vault;
        let write_times = stream::iter(names.into_iter().take(MAX_QUERIED)).map(|(kind, name)| async move {
            let written = vault.fetch_write_time(kind, &name).await;
            (name, written)
        });
        let write_times: Vec<(String, Option<UnixNanos>)> = write_times.buffered(CONCURRENT_QUERIES).collect().await;
        for (name, written) in write_times {
            let Some(written) = written.filter(|written| written.plus(MAX_DIGEST_DELAY) < self.options.now) else {
                continue;
            };
            pending -= 1;
            let message = format!(
                "no digest names it, although it was written at {}: its gateway is behind or stopped, or the \
                 object was planted",
                rfc3339(written)
            );
            self.report.warn("not_yet_referenced", name, message);
        }
        self.report.leave_out_some(pending, "objects that no digest covers yet (or whose lines were lost)");
    }

    /// Reports unknown objects in the payload's bucket, whose names are `names`, and in the keys' bucket.
    async fn report_unknown_objects(&mut self, names: BTreeSet<String>) -> Result<()> {
        let keys = self.keys.present.clone().filter(|_| self.vault.has_separate_key_bucket);
        for name in &names {
            let relative = self.vault.relative_name(name).unwrap_or(name);
            // with one bucket, [`Self::report_unreferenced_keys`] judges all objects below `keys/`; the list of keys
            // may lack those that a running gateway has written since
            let is_key = relative.starts_with("keys/") && keys.as_ref().is_none_or(|keys| keys.contains(name));
            let is_judged = (is_payload(name) && !relative.starts_with("keys/"))
                || JUDGED.iter().any(|folder| relative.starts_with(folder))
                || is_hold_note_name(relative);
            if !is_key && !is_judged {
                self.report_unknown_object(ObjectKind::Payload, name).await;
            }
        }
        if keys.is_none() {
            return Ok(());
        }
        for name in self.vault.list(ObjectKind::Key, "").await? {
            let relative = self.vault.relative_name(&name).unwrap_or(&name);
            if !relative.starts_with("keys/") && !is_hold_note_name(relative) && !names.contains(&name) {
                self.report_unknown_object(ObjectKind::Key, &name).await;
            }
        }
        Ok(())
    }

    async fn report_unknown_object(&mut self, kind: ObjectKind, name: &str) {
        let relative = self.vault.relative_name(name).unwrap_or(name);
        // one byte more than a probe's body is enough to compare
        let range = Some((0, PROBE_BODY.len() as u64 + 1));
        if is_probe(relative) && self.vault.fetch(kind, name, range).await.is_ok_and(|bytes| bytes == PROBE_BODY) {
            return;
        }
        self.report.fail("unreferenced", name, "no object of a vault has such a name: it was planted, or is left over");
    }
}

/// Time after which an object should be in a digest; digests are made every minute.
pub(super) const MAX_DIGEST_DELAY: Duration = Duration::from_secs(30 * 60);
/// Most objects of a kind that are read, or whose dates are queried.
const MAX_QUERIED: usize = 10_000;
const CONCURRENT_QUERIES: usize = 16;

/// Why an object without a name in any digest may exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnreferencedExplanation {
    /// A digest of a known epoch may still name it.
    Pending,
    /// Its epoch may not have a digest yet, or lost records: this message says so.
    Possible(&'static str),
    /// There is no explanation.
    Unexplained,
}

const NO_DIGEST_YET: UnreferencedExplanation = UnreferencedExplanation::Possible(
    "its epoch has no digest (yet): its gateway has just started, or the object was planted",
);
const LOST: UnreferencedExplanation = UnreferencedExplanation::Possible(
    "no line names it: its writer reports lost spool records, or the object was planted",
);

/// Largest difference between the clocks of a gateway and of this machine, milliseconds.
const MAX_CLOCK_SKEW_MILLIS: u64 = 15 * 60 * 1000;

/// Finds an explanation for an object by its name.
fn explain_unreferenced(
    name: &str,
    kind: UnreferencedKind,
    covered: &CoveredEpochs,
    lossy_writers: &HashSet<String>,
    now_millis: u64,
) -> UnreferencedExplanation {
    let index_parts = |name: IndexName| (name.account, name.writer, name.epoch, name.first);
    let parts = match kind {
        UnreferencedKind::Index => IndexName::parse(name).map(index_parts),
        UnreferencedKind::Sessions => IndexName::parse_sessions(name).map(index_parts),
        UnreferencedKind::Payload => ObjectName::parse(name).and_then(|object| {
            let (writer, epoch, number) = parse_file_stem(&object.file)?;
            Some((object.account, writer.to_owned(), epoch.to_owned(), number))
        }),
    };
    let Some((account, writer, epoch, number)) = parts else { return UnreferencedExplanation::Unexplained };
    let key = (ChainId { account, writer }, epoch);
    let (ChainId { writer, .. }, epoch) = &key;
    let Some(coverage) = covered.get(&key) else {
        let of_writer = || covered.iter().filter(|((chain, _), _)| chain.writer == *writer);
        // the epoch may be open, and these may be its first objects of this account
        let mut of_epoch = of_writer().filter(|((_, other), _)| other == epoch).peekable();
        let is_first = kind == UnreferencedKind::Payload || number == 0;
        if is_first && of_epoch.peek().is_some() && of_epoch.all(|(_, coverage)| coverage.is_open) {
            return UnreferencedExplanation::Pending;
        }
        // an epoch older than one with digests, of the same writer, would have digests too
        let is_newest = of_writer().map(|((_, other), _)| other).max().is_none_or(|newest| epoch > newest);
        let latest_start = now_millis.saturating_add(MAX_CLOCK_SKEW_MILLIS);
        let has_begun = epoch_start_millis(epoch).is_some_and(|start| start <= latest_start);
        return match (is_newest && has_begun, lossy_writers.contains(writer)) {
            (true, _) => NO_DIGEST_YET,
            (false, true) => LOST,
            (false, false) => UnreferencedExplanation::Unexplained,
        };
    };
    let may_follow = match kind {
        UnreferencedKind::Index => coverage.is_open && number >= coverage.next_line,
        UnreferencedKind::Sessions => coverage.is_open && number >= coverage.next_digest,
        UnreferencedKind::Payload => coverage.is_open,
    };
    match (may_follow, coverage.has_losses) {
        (true, _) => UnreferencedExplanation::Pending,
        (false, true) => LOST,
        (false, false) => UnreferencedExplanation::Unexplained,
    }
}

/// Possible kinds of an unnamed object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnreferencedKeyKind {
    /// A key that a future line may name.
    Key,
    /// A copy of a key whose line has no hash.
    OldCopy,
    /// A probe object of `vault doctor`, if its body matches.
    Probe,
    /// Anything else.
    Planted,
}

impl VerificationRun<'_> {
    /// Reports objects in the keys' folders that no line names.
    pub(super) async fn report_unreferenced_keys(&mut self, chains: &[ChainVerification]) {
        let options = self.options;
        let is_partial = options.writer.is_some() || self.resume.is_resumed;
        let Some(present) = self.keys.present.take().filter(|_| !is_partial) else { return };
        let folder = options
            .account
            .as_deref()
            .map_or("keys/".to_owned(), |account| format!("keys/{}/", account_segment(account)));
        let named: BTreeSet<&String> =
            self.keys.named.values().map(|key| &key.object).chain(self.keys.copies.keys()).collect();
        let mut epochs = chains.iter().flat_map(|chain| &chain.epochs);
        // future lines, lost lines, and lines that this run could not read may name a key
        let will_continue =
            chains.iter().filter_map(|chain| chain.epochs.last()?.last.as_ref()).any(|last| !last.is_final);
        let has_all_lines =
            !will_continue && epochs.all(|epoch| epoch.has_all_lines && !epoch.damaged && epoch.gaps == 0);
        let unreferenced = present.iter().filter(|name| !named.contains(*name)).filter_map(|name| {
            let relative = self.vault.relative_name(name)?;
            (relative.starts_with(&folder) && !self.is_over(relative))
                .then(|| (name.clone(), self.classify_unreferenced_key(name, relative, has_all_lines)))
        });
        let unreferenced: Vec<(String, UnreferencedKeyKind)> = unreferenced.collect();
        let (mut old_copies, mut pending_keys) = (0_u64, 0_u64);
        let vault = self.vault;
        let reads = stream::iter(unreferenced.iter().take(MAX_QUERIED)).map(async |(name, kind)| {
            let bytes = vault.fetch_key_object(name).await.unwrap_or_default();
            let written = if *kind == UnreferencedKeyKind::Key {
                vault.fetch_write_time(ObjectKind::Key, name).await
            } else {
                None
            };
            (name, *kind, bytes, written)
        });
        let mut reads = reads.buffered(CONCURRENT_QUERIES);
        while let Some((name, kind, bytes, written)) = reads.next().await {
            if self.opens_erased_session(&bytes) {
                self.report.fail("key_restored", name, "it opens an erased session: a copy of its key was kept");
                continue;
            }
            match kind {
                UnreferencedKeyKind::OldCopy => old_copies += 1,
                UnreferencedKeyKind::Probe if bytes == PROBE_BODY => {}
                UnreferencedKeyKind::Planted | UnreferencedKeyKind::Probe => {
                    let message = "no line names this object: it was planted, or is left over";
                    self.report.fail("unreferenced", name, message);
                }
                // the lines that name it expired
                UnreferencedKeyKind::Key
                    if written.map(rfc3339).is_some_and(|written| options.expired.as_ref() > Some(&written)) => {}
                UnreferencedKeyKind::Key
                    if written.is_some_and(|written| written.plus(MAX_DIGEST_DELAY) >= self.options.now) =>
                {
                    pending_keys += 1
                }
                UnreferencedKeyKind::Key => {
                    let message = "no line names this key (yet): its gateway is behind or stopped, or lost records, or \
                                   the key was planted";
                    self.report.warn("not_yet_referenced", name, message);
                }
            }
        }
        if unreferenced.len() > MAX_QUERIED {
            let message =
                format!("{} more objects in the keys' folders that no line names", unreferenced.len() - MAX_QUERIED);
            self.report.fail("unreferenced", "keys/", message);
        }
        self.report.leave_out_some(pending_keys, "session keys that no line names yet");
        let copies = "copies of session keys that may be planted, because lines of older versions contain no hashes";
        self.report.leave_out_some(old_copies, copies);
    }

    fn classify_unreferenced_key(&self, name: &str, relative: &str, has_all_lines: bool) -> UnreferencedKeyKind {
        if is_probe(relative) {
            return UnreferencedKeyKind::Probe;
        }
        let Some(key) = parse_key_name(name).filter(|_| is_key_name(relative)) else {
            return UnreferencedKeyKind::Planted;
        };
        match self.keys.named.get(&key) {
            Some(named) if named.sha256.is_none() => UnreferencedKeyKind::OldCopy,
            // a copy of a key whose hash is known, but not one that its lines or `rewrap` name
            Some(_) => UnreferencedKeyKind::Planted,
            None if has_all_lines => UnreferencedKeyKind::Planted,
            None => UnreferencedKeyKind::Key,
        }
    }

    /// Whether an object is the key of an erased session, either as the gateway wrote it, or sealed to one of the given
    /// identities.
    fn opens_erased_session(&self, object: &Bytes) -> bool {
        if self.keys.erased.is_empty() || object.is_empty() {
            return false;
        }
        let sha256 = kernel::hex::encode(&Sha256::digest(object));
        let has_same_hash = |key| self.keys.named.get(key).is_some_and(|named| named.sha256.as_ref() == Some(&sha256));
        let secret = || open_key(None, object, &self.options.auditors, &[]).ok()?.key();
        self.keys.erased.iter().any(has_same_hash)
            || secret().is_some_and(|secret| {
                let id = key_id(&secret.to_public().to_string());
                self.keys.erased.iter().any(|key| key.id == id)
            })
    }
}
