//! Reports index and payload objects that no digest and no line names, because a planted object must not pass for
//! evidence. Objects that an open epoch may still name are treated separately. Neighbour: `content` judges named
//! objects.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::chains::Line;
use crate::error::ReadError;
use kernel::clock::UnixNanos;
use vault::names::{IndexName, ObjectName, epoch_began, file_parts, is_payload, rfc3339};
use vault::store::ObjectKind;

use super::walk::{Epoch, Walk};

/// State of an epoch for one account.
struct Covered {
    /// No more lines will follow.
    over: bool,
    /// Number of the next line.
    next: u64,
    /// Number of the next digest.
    digest: u64,
    lost: bool,
}

/// Account (as in object names), writer and epoch: lines and digests are numbered by account.
type Place = (String, String, String);

/// Kind of an object, by its location.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Index,
    Sessions,
    Payload,
}

impl Walk<'_> {
    /// Lists all objects and reports those that nothing names.
    pub(super) async fn strays(&mut self, lines: &[(Line, Vec<Epoch>)]) -> Result<(), ReadError> {
        let partly = self.options.account.is_some() || self.options.writer.is_some() || self.resume.goes_on();
        if partly {
            self.report
                .not_verified
                .push("objects that nobody names: this run looked at a part of the chain".to_owned());
            return Ok(());
        }
        let mut covered: BTreeMap<Place, Covered> = BTreeMap::new();
        for (line, epochs) in lines {
            for epoch in epochs {
                let size = epoch.last.as_ref().map_or(0, |last| last.tree_size);
                let over = epoch.last.as_ref().is_some_and(|last| last.last)
                    || epochs.iter().any(|other| other.prev.as_ref().is_some_and(|prev| prev.epoch == epoch.name));
                let lost = epoch.gaps > 0 || epoch.damaged;
                for name in [&epoch.name, &epoch.of] {
                    let digest = epoch.last.as_ref().map_or(0, |last| last.n + 1);
                    let one = Covered { over, next: epoch.base + size, digest, lost };
                    let place = (line.account.clone(), line.writer.clone(), name.clone());
                    let known = covered.entry(place).or_insert(one);
                    known.over &= over;
                    known.next = known.next.max(epoch.base + size);
                    known.digest = known.digest.max(digest);
                    known.lost |= lost;
                }
            }
        }
        let lossy = |(line, epochs): &(Line, Vec<Epoch>)| {
            epochs.iter().any(|epoch| epoch.damaged || epoch.gaps > 0).then(|| line.writer.clone())
        };
        // a writer that lost records may have lost every digest of an epoch
        let lossy: HashSet<String> = lines.iter().filter_map(lossy).collect();
        let now = self.options.now.0 / 1_000_000;
        let (mut coming, mut names) = (Vec::new(), Vec::new());
        for (what, kind, prefix) in [
            (What::Index, ObjectKind::Index, "index/"),
            (What::Sessions, ObjectKind::Index, "sessions/"),
            (What::Payload, ObjectKind::Payload, ""),
        ] {
            names = self.vault.list(kind, prefix).await?;
            for name in &names {
                let own = self.vault.relative(name).unwrap_or(name);
                let ours = what != What::Payload || is_payload(name);
                if !ours || self.referenced.has(name) {
                    continue;
                }
                let at = name.clone();
                match explained(own, what, &covered, &lossy, now) {
                    Explained::Coming => coming.push((kind, at)),
                    Explained::Unknown => {
                        let what =
                            "no digest of its epoch is there (yet): its gateway has just begun, or it was planted";
                        self.report.warn("unclaimed", at, what);
                    }
                    Explained::Lost => {
                        let what =
                            "no line names it: its writer says that it lost records in its spool, or it was planted";
                        self.report.warn("unclaimed", at, what);
                    }
                    Explained::Not => {
                        let what = "no digest and no line names it: it was planted, or is left over";
                        self.report.fail("stray", at, what);
                    }
                }
            }
        }
        self.coming(coming).await;
        // the last listing included all objects
        self.unnamed(names.into_iter().collect()).await
    }

    /// Handles objects that a digest of an open epoch may still name: those that have existed for long are reported by
    /// name.
    async fn coming(&mut self, names: Vec<(ObjectKind, String)>) {
        let mut waiting = names.len();
        let vault = self.vault;
        let dated = stream::iter(names.into_iter().take(MAX_DATED)).map(|(kind, name)| async move {
            let written = vault.written(kind, &name).await;
            (name, written)
        });
        let dated: Vec<(String, Option<UnixNanos>)> = dated.buffered(AT_ONCE).collect().await;
        for (name, written) in dated {
            let Some(written) = written.filter(|written| written.plus(LONG) < self.options.now) else { continue };
            waiting -= 1;
            let what = format!(
                "no digest names it, though it has been there since {}: its gateway is behind, or away, or it was planted",
                rfc3339(written)
            );
            self.report.warn("unclaimed", name, what);
        }
        if waiting > 0 {
            let what = format!("{waiting} objects that no digest covers yet (or whose lines were lost)");
            self.report.not_verified.push(what);
        }
    }
}

/// Time after which an object should be in a digest; digests are made every minute.
pub(super) const LONG: Duration = Duration::from_secs(30 * 60);
/// Most objects without a digest whose dates are queried.
const MAX_DATED: usize = 10_000;
const AT_ONCE: usize = 16;

/// Why an object without a name in any digest may exist.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Explained {
    /// A digest of a known epoch may still name it.
    Coming,
    /// Its epoch may not have a digest yet.
    Unknown,
    /// Its epoch lost records.
    Lost,
    /// There is no explanation.
    Not,
}

/// Largest difference between the clocks of a gateway and of this machine, milliseconds.
const SKEW: u64 = 15 * 60 * 1000;

/// Finds an explanation for an object by its name.
fn explained(
    name: &str,
    what: What,
    covered: &BTreeMap<Place, Covered>,
    lossy: &HashSet<String>,
    now: u64,
) -> Explained {
    let index = |one: IndexName| (one.account, one.writer, one.epoch, one.first);
    let parts = match what {
        What::Index => IndexName::parse(name).map(index),
        What::Sessions => IndexName::parse_sessions(name).map(index),
        What::Payload => ObjectName::parse(name).and_then(|object| {
            let (writer, epoch, number) = file_parts(&object.file)?;
            Some((object.account, writer.to_owned(), epoch.to_owned(), number))
        }),
    };
    let Some((account, writer, epoch, number)) = parts else { return Explained::Not };
    let Some(known) = covered.get(&(account, writer.clone(), epoch.clone())) else {
        let of_writer = || covered.iter().filter(|((_, other, _), _)| *other == writer);
        // an account's first objects in an open epoch
        let mut elsewhere = of_writer().filter(|((_, _, other), _)| *other == epoch).peekable();
        let is_first = what == What::Payload || number == 0;
        if is_first && elsewhere.peek().is_some() && elsewhere.all(|(_, known)| !known.over) {
            return Explained::Coming;
        }
        // an epoch older than one with digests, of the same writer, would have digests too
        let newest = of_writer().map(|((_, _, epoch), _)| epoch.as_str()).max();
        let later = newest.is_none_or(|newest| *epoch > *newest);
        let began = epoch_began(&epoch).is_some_and(|began| began <= now.saturating_add(SKEW));
        return match (later && began, lossy.contains(&writer)) {
            (true, _) => Explained::Unknown,
            (false, true) => Explained::Lost,
            (false, false) => Explained::Not,
        };
    };
    let open = match what {
        What::Index => !known.over && number >= known.next,
        What::Sessions => !known.over && number >= known.digest,
        What::Payload => !known.over,
    };
    match (open, known.lost) {
        (true, _) => Explained::Coming,
        (false, true) => Explained::Lost,
        (false, false) => Explained::Not,
    }
}
