//! Checks every version in the store: one for each name, none behind a delete marker, each locked for long enough. An
//! object that can be deleted tomorrow is evidence only until tomorrow.
//!
//! One page of versions is in memory at a time. Locks are queried by version, so that versions below a delete marker
//! are checked too. Neighbour: `content` checks what objects contain.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::error::{ReadError, Result};
use kernel::clock::UnixNanos;
use vault::hold_note::HOLDS_FOLDER;
use vault::object_names::{arrival_day, rfc3339};
use vault::store::probe::is_probe;
use vault::store::settings::LockMode;
use vault::store::{ObjectKind, ObjectVersion, VersionLock};

use super::RequiredLock;
use super::run_state::VerificationRun;

/// Locks queried concurrently.
const CONCURRENT_QUERIES: usize = 32;
/// Allowed difference between the writer's clock, which dates the lock, and the store's, which dates the object.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

/// Results for the locks of one kind of object.
#[derive(Default)]
struct LockTally {
    locked: u64,
    /// Number of objects without a lock, and the names of the first ones.
    unlocked: u64,
    first_unlocked: Vec<String>,
    /// Number of objects whose lock the store did not report, and the last error.
    unknown: u64,
    error: String,
}

/// The name whose versions are being listed.
#[derive(Default)]
struct VersionedName {
    name: String,
    /// Its version ids, and whether each is a marker: a store may repeat the last one of a page on the next page.
    ids: BTreeSet<(String, bool)>,
    /// Number of its versions, without markers.
    objects: u64,
}

impl VersionedName {
    /// Adds a version or marker; false if it was added before.
    fn add(&mut self, version: &ObjectVersion) -> bool {
        if self.name != version.name {
            *self = Self { name: version.name.clone(), ..Self::default() };
        }
        self.ids.insert((version.id.clone(), version.marker))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum LockProblem {
    /// There is no lock.
    Unlocked,
    /// The mode is governance instead of compliance.
    WrongMode,
    /// A key is under compliance, so it can't be erased.
    KeyUnderCompliance,
    /// The lock ends too early, at this time.
    TooShort(UnixNanos),
}

pub(super) fn judge_lock(wanted: Option<RequiredLock>, is_key: bool, found: &VersionLock) -> Result<(), LockProblem> {
    let Some((mode, until)) = found.lock else { return Err(LockProblem::Unlocked) };
    if is_key && mode == LockMode::Compliance {
        return Err(LockProblem::KeyUnderCompliance);
    }
    let Some(wanted) = wanted else { return Ok(()) };
    if !is_key && wanted.mode == LockMode::Compliance && mode != LockMode::Compliance {
        return Err(LockProblem::WrongMode);
    }
    if until.plus(CLOCK_TOLERANCE) < found.written.plus(wanted.least) {
        Err(LockProblem::TooShort(until))
    } else {
        Ok(())
    }
}

impl VerificationRun<'_> {
    /// Reports objects behind delete markers, with more than one version, or with a wrong lock.
    pub(super) async fn check_versions(&mut self) {
        for (kind, folder, subject) in [
            (ObjectKind::Payload, "", "versions"),
            (ObjectKind::Key, "keys/", "the keys' versions"),
            (ObjectKind::Key, HOLDS_FOLDER, "versions of hold notes"),
        ] {
            // with one bucket, the first pass includes them
            if folder == HOLDS_FOLDER && !self.vault.has_separate_key_bucket {
                continue;
            }
            let mut tally = LockTally::default();
            match self.check_folder_versions(kind, folder, &mut tally).await {
                Err(why) => self.report.not_verified.push(format!("{subject}: {why}")),
                Ok(true) => self.report_locks(kind, tally),
                Ok(false) => {
                    let limit = "object lock, versions and delete markers, because the store is a folder";
                    return self.report.not_verified.push(limit.to_owned());
                }
            }
        }
    }

    /// Checks every version; false if the store has none.
    async fn check_folder_versions(&mut self, kind: ObjectKind, folder: &str, tally: &mut LockTally) -> Result<bool> {
        let (mut after, mut current) = (None, VersionedName::default());
        loop {
            let Some(page) = self.vault.list_versions(kind, folder, after.clone()).await? else { return Ok(false) };
            let mut objects = Vec::new();
            for version in page.versions {
                let name = self.vault.relative_name(&version.name).unwrap_or(&version.name);
                let is_other_kind = kind == ObjectKind::Payload && name.starts_with("keys/");
                if is_other_kind || is_probe(name) || !current.add(&version) {
                    continue;
                }
                if version.marker {
                    if self.is_over(name) {
                        self.hidden_objects += 1;
                        continue;
                    }
                    let message =
                        "hidden behind a delete marker; the version below may be intact: read it with --first-version";
                    self.report.fail("delete_marker", &version.name, message);
                    continue;
                }
                current.objects += 1;
                if current.objects == 2 {
                    // on a store that ignores If-None-Match, a retry writes the same bytes again
                    self.report.warn("multiple_versions", &version.name, "has more than one version");
                }
                objects.push(version);
            }
            if !self.options.no_locks {
                self.check_locks(kind, objects, tally).await;
            }
            match page.next {
                None => return Ok(true),
                repeated if repeated == after => {
                    return Err(ReadError::new("the store repeats a page of its version listing"));
                }
                next => after = next,
            }
        }
    }

    /// Whether the retention of this object is over, by the day of arrival in its name: lifecycle rules then create
    /// markers.
    pub(super) fn is_over(&self, name: &str) -> bool {
        let before = self.options.expired.as_ref().and_then(|expired| expired.get(..10));
        before.zip(arrival_day(name)).is_some_and(|(before, day)| day < before)
    }

    async fn check_locks(&mut self, kind: ObjectKind, objects: Vec<ObjectVersion>, tally: &mut LockTally) {
        let vault = self.vault;
        let fetch = |version: ObjectVersion| async move { (vault.fetch_lock(kind, &version).await, version.name) };
        let mut answers = stream::iter(objects).map(fetch).buffered(CONCURRENT_QUERIES);
        while let Some((lock, name)) = answers.next().await {
            match lock {
                Ok(Some(lock)) => self.check_lock(kind, name, &lock, tally),
                Ok(None) => tally.unknown += 1,
                Err(error) => {
                    tally.unknown += 1;
                    tally.error = error.to_string();
                }
            }
        }
    }

    fn check_lock(&mut self, kind: ObjectKind, name: String, lock: &VersionLock, tally: &mut LockTally) {
        let wanted = self.options.retention;
        // hold notes have the key bucket's default lock, governance; compliance would do no harm there
        let is_key = self.vault.relative_name(&name).is_some_and(|relative| relative.starts_with("keys/"));
        let verdict = match judge_lock(wanted, kind == ObjectKind::Key, lock) {
            Err(LockProblem::KeyUnderCompliance) if !is_key => Ok(()),
            other => other,
        };
        match verdict {
            Ok(()) => {
                tally.locked += 1;
                self.report.counts.locked += 1;
            }
            Err(LockProblem::Unlocked) if wanted.is_some() => {
                self.report.fail("insufficient_lock", name, "it is not locked")
            }
            Err(LockProblem::Unlocked) => {
                tally.unlocked += 1;
                if tally.first_unlocked.len() < 100 {
                    tally.first_unlocked.push(name);
                }
            }
            Err(LockProblem::WrongMode) => {
                let message = "it is locked in governance mode, so anyone with the bypass permission can delete it";
                self.report.fail("insufficient_lock", name, message);
            }
            Err(LockProblem::KeyUnderCompliance) => {
                tally.locked += 1;
                let message = "a key locked in compliance mode: its content can't be erased before the retention ends";
                self.report.warn("key_in_compliance_mode", name, message);
            }
            Err(LockProblem::TooShort(until)) => {
                let message = format!("its lock ends too early, at {}", rfc3339(until));
                self.report.fail("insufficient_lock", name, message);
            }
        }
    }

    fn report_locks(&mut self, kind: ObjectKind, tally: LockTally) {
        let (kind_name, not_verified) =
            (if kind == ObjectKind::Key { "keys" } else { "objects" }, &mut self.report.not_verified);
        if self.options.no_locks {
            return not_verified.push(format!("locks of {kind_name} (--no-locks)"));
        }
        if tally.unknown > 0 {
            not_verified.push(format!("locks of {} {kind_name}: {}", tally.unknown, tally.error));
        }
        match (tally.locked, tally.unlocked) {
            (0, 0) => {}
            (0, unlocked) => not_verified.push(format!("object lock: none of {unlocked} {kind_name} is locked")),
            (_, 0) if self.options.retention.is_none() => {
                not_verified.push(format!("how long {kind_name} are locked, because --retention was not given"))
            }
            (_, unlocked) => {
                for name in tally.first_unlocked {
                    let message = format!("not locked, unlike other objects; {unlocked} {kind_name} are not locked");
                    self.report.warn("unlocked", name, message);
                }
            }
        }
    }
}
