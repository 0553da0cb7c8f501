//! Reports index and payload objects that no digest and no line names, because a planted object must not pass for
//! evidence. Objects that an open epoch may still name are treated separately. Neighbour: `content` judges named
//! objects.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::chains::ChainId;
use crate::error::ReadError;
use kernel::clock::UnixNanos;
use vault::object_names::{IndexName, ObjectName, epoch_start_millis, is_payload, parse_file_stem, rfc3339};
use vault::store::ObjectKind;

use super::run_state::{EpochVerification, VerificationRun};

/// State of an epoch for one account.
struct EpochCoverage {
    /// No more lines will follow.
    is_complete: bool,
    /// Number of the next line.
    next: u64,
    /// Number of the next digest.
    digest: u64,
    has_losses: bool,
}

/// Account (as in object names), writer and epoch: lines and digests are numbered by account.
type EpochKey = (String, String, String);

/// Kind of an object, by its location.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnreferencedKind {
    Index,
    Sessions,
    Payload,
}

impl VerificationRun<'_> {
    /// Lists all objects and reports those that nothing names.
    pub(super) async fn report_unreferenced_objects(
        &mut self,
        lines: &[(ChainId, Vec<EpochVerification>)],
    ) -> Result<(), ReadError> {
        let partly = self.options.account.is_some() || self.options.writer.is_some() || self.resume.is_resumed();
        if partly {
            self.report
                .not_verified
                .push("unreferenced objects, because this run checked only a part of the chains".to_owned());
            return Ok(());
        }
        let mut covered: BTreeMap<EpochKey, EpochCoverage> = BTreeMap::new();
        for (line, epochs) in lines {
            for epoch in epochs {
                let size = epoch.last.as_ref().map_or(0, |last| last.tree_size);
                let over = epoch.last.as_ref().is_some_and(|last| last.last)
                    || epochs.iter().any(|other| other.prev.as_ref().is_some_and(|prev| prev.epoch == epoch.name));
                let lost = epoch.gaps > 0 || epoch.damaged;
                for name in [&epoch.name, &epoch.line_epoch] {
                    let digest = epoch.last.as_ref().map_or(0, |last| last.n + 1);
                    let one = EpochCoverage { is_complete: over, next: epoch.base + size, digest, has_losses: lost };
                    let place = (line.account.clone(), line.writer.clone(), name.clone());
                    let known = covered.entry(place).or_insert(one);
                    known.is_complete &= over;
                    known.next = known.next.max(epoch.base + size);
                    known.digest = known.digest.max(digest);
                    known.has_losses |= lost;
                }
            }
        }
        let lossy = |(line, epochs): &(ChainId, Vec<EpochVerification>)| {
            epochs.iter().any(|epoch| epoch.damaged || epoch.gaps > 0).then(|| line.writer.clone())
        };
        // a writer that lost records may have lost every digest of an epoch
        let lossy: HashSet<String> = lines.iter().filter_map(lossy).collect();
        let now = self.options.now.0 / 1_000_000;
        let (mut coming, mut names) = (Vec::new(), Vec::new());
        for (what, kind, prefix) in [
            (UnreferencedKind::Index, ObjectKind::Index, "index/"),
            (UnreferencedKind::Sessions, ObjectKind::Index, "sessions/"),
            (UnreferencedKind::Payload, ObjectKind::Payload, ""),
        ] {
            names = self.vault.list(kind, prefix).await?;
            for name in &names {
                let own = self.vault.relative_name(name).unwrap_or(name);
                let ours = what != UnreferencedKind::Payload || is_payload(name);
                if !ours || self.referenced.has(name) {
                    continue;
                }
                let at = name.clone();
                match explain_unreferenced(own, what, &covered, &lossy, now) {
                    UnreferencedExplanation::Pending => coming.push((kind, at)),
                    UnreferencedExplanation::NoDigestYet => {
                        let what =
                            "its epoch has no digest (yet): its gateway has just started, or the object was planted";
                        self.report.warn("not_yet_referenced", at, what);
                    }
                    UnreferencedExplanation::Lost => {
                        let what = "no line names it: its writer reports lost spool records, or the object was planted";
                        self.report.warn("not_yet_referenced", at, what);
                    }
                    UnreferencedExplanation::Unexplained => {
                        let what = "neither a digest nor a line names it: it was planted, or is left over";
                        self.report.fail("unreferenced", at, what);
                    }
                }
            }
        }
        self.report_pending_objects(coming).await;
        // the last listing included all objects
        self.report_unknown_objects(names.into_iter().collect()).await
    }

    /// Handles objects that a digest of an open epoch may still name: those that have existed for long are reported by
    /// name.
    async fn report_pending_objects(&mut self, names: Vec<(ObjectKind, String)>) {
        let mut waiting = names.len();
        let vault = self.vault;
        let dated = stream::iter(names.into_iter().take(MAX_DATED)).map(|(kind, name)| async move {
            let written = vault.fetch_write_time(kind, &name).await;
            (name, written)
        });
        let dated: Vec<(String, Option<UnixNanos>)> = dated.buffered(CONCURRENT_QUERIES).collect().await;
        for (name, written) in dated {
            let Some(written) = written.filter(|written| written.plus(MAX_DIGEST_DELAY) < self.options.now) else {
                continue;
            };
            waiting -= 1;
            let what = format!(
                "no digest names it, although it was written at {}: its gateway is behind or stopped, or the object was planted",
                rfc3339(written)
            );
            self.report.warn("not_yet_referenced", name, what);
        }
        if waiting > 0 {
            let what = format!("{waiting} objects that no digest covers yet (or whose lines were lost)");
            self.report.not_verified.push(what);
        }
    }
}

/// Time after which an object should be in a digest; digests are made every minute.
pub(super) const MAX_DIGEST_DELAY: Duration = Duration::from_secs(30 * 60);
/// Most objects without a digest whose dates are queried.
const MAX_DATED: usize = 10_000;
const CONCURRENT_QUERIES: usize = 16;

/// Why an object without a name in any digest may exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UnreferencedExplanation {
    /// A digest of a known epoch may still name it.
    Pending,
    /// Its epoch may not have a digest yet.
    NoDigestYet,
    /// Its epoch lost records.
    Lost,
    /// There is no explanation.
    Unexplained,
}

/// Largest difference between the clocks of a gateway and of this machine, milliseconds.
const MAX_CLOCK_SKEW_MILLIS: u64 = 15 * 60 * 1000;

/// Finds an explanation for an object by its name.
fn explain_unreferenced(
    name: &str,
    what: UnreferencedKind,
    covered: &BTreeMap<EpochKey, EpochCoverage>,
    lossy: &HashSet<String>,
    now: u64,
) -> UnreferencedExplanation {
    let index = |one: IndexName| (one.account, one.writer, one.epoch, one.first);
    let parts = match what {
        UnreferencedKind::Index => IndexName::parse(name).map(index),
        UnreferencedKind::Sessions => IndexName::parse_sessions(name).map(index),
        UnreferencedKind::Payload => ObjectName::parse(name).and_then(|object| {
            let (writer, epoch, number) = parse_file_stem(&object.file)?;
            Some((object.account, writer.to_owned(), epoch.to_owned(), number))
        }),
    };
    let Some((account, writer, epoch, number)) = parts else { return UnreferencedExplanation::Unexplained };
    let Some(known) = covered.get(&(account, writer.clone(), epoch.clone())) else {
        let of_writer = || covered.iter().filter(|((_, other, _), _)| *other == writer);
        // an account's first objects in an open epoch
        let mut elsewhere = of_writer().filter(|((_, _, other), _)| *other == epoch).peekable();
        let is_first = what == UnreferencedKind::Payload || number == 0;
        if is_first && elsewhere.peek().is_some() && elsewhere.all(|(_, known)| !known.is_complete) {
            return UnreferencedExplanation::Pending;
        }
        // an epoch older than one with digests, of the same writer, would have digests too
        let newest = of_writer().map(|((_, _, epoch), _)| epoch.as_str()).max();
        let later = newest.is_none_or(|newest| *epoch > *newest);
        let began = epoch_start_millis(&epoch).is_some_and(|began| began <= now.saturating_add(MAX_CLOCK_SKEW_MILLIS));
        return match (later && began, lossy.contains(&writer)) {
            (true, _) => UnreferencedExplanation::NoDigestYet,
            (false, true) => UnreferencedExplanation::Lost,
            (false, false) => UnreferencedExplanation::Unexplained,
        };
    };
    let open = match what {
        UnreferencedKind::Index => !known.is_complete && number >= known.next,
        UnreferencedKind::Sessions => !known.is_complete && number >= known.digest,
        UnreferencedKind::Payload => !known.is_complete,
    };
    match (open, known.has_losses) {
        (true, _) => UnreferencedExplanation::Pending,
        (false, true) => UnreferencedExplanation::Lost,
        (false, false) => UnreferencedExplanation::Unexplained,
    }
}
