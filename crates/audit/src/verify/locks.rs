//! Checks every version in the store: one for each name, none behind a delete marker, each locked for long enough. An
//! object that can be deleted tomorrow is evidence only until tomorrow.
//!
//! One page of versions is in memory at a time. Locks are queried by version, so that versions below a delete marker
//! are checked too. Neighbour: `content` checks what objects contain.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::error::ReadError;
use kernel::clock::UnixNanos;
use vault::hold_note::HOLDS_FOLDER;
use vault::object_names::{arrival_day, rfc3339};
use vault::store::probe::is_probe;
use vault::store::settings::LockMode;
use vault::store::{ObjectKind, ObjectVersion, VersionLock};

use super::options::RequiredLock;
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
    /// Number of objects whose lock the store did not report.
    unknown: u64,
    why: String,
}

/// The name whose versions are being listed.
#[derive(Default)]
struct VersionedName {
    name: String,
    /// Its versions and markers: a store may repeat the last one of a page at the start of the next.
    ids: BTreeSet<(String, bool)>,
    objects: u64,
}

impl VersionedName {
    fn is_new(&mut self, version: &ObjectVersion) -> bool {
        if self.name != version.name {
            *self = Self { name: version.name.clone(), ..Self::default() };
        }
        self.ids.insert((version.id.clone(), version.marker))
    }
}

/// Problem of a lock.
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

pub(super) fn judge_lock(wanted: Option<RequiredLock>, key: bool, held: &VersionLock) -> Result<(), LockProblem> {
    let Some((mode, until)) = held.lock else { return Err(LockProblem::Unlocked) };
    if key && mode == LockMode::Compliance {
        return Err(LockProblem::KeyUnderCompliance);
    }
    let Some(wanted) = wanted else { return Ok(()) };
    if !key && wanted.mode == LockMode::Compliance && mode != LockMode::Compliance {
        return Err(LockProblem::WrongMode);
    }
    if until.plus(CLOCK_TOLERANCE) < held.written.plus(wanted.least) {
        Err(LockProblem::TooShort(until))
    } else {
        Ok(())
    }
}

impl VerificationRun<'_> {
    /// Reports objects behind delete markers, with more than one version, or with a wrong lock.
    pub(super) async fn check_versions(&mut self) {
        for (kind, folder, what) in [
            (ObjectKind::Payload, "", "versions"),
            (ObjectKind::Key, "keys/", "the keys' versions"),
            (ObjectKind::Key, HOLDS_FOLDER, "versions of hold notes"),
        ] {
            // with one bucket, the first pass includes them
            if folder == HOLDS_FOLDER && !self.vault.has_separate_key_bucket() {
                continue;
            }
            let mut seen = LockTally::default();
            match self.check_folder_versions(kind, folder, &mut seen).await {
                Err(why) => self.report.not_verified.push(format!("{what}: {why}")),
                Ok(true) => self.report_locks(kind, seen),
                Ok(false) => {
                    let why = "object lock, versions and delete markers, because the store is a folder";
                    return self.report.not_verified.push(why.to_owned());
                }
            }
        }
    }

    /// Checks every version; false if the store has none.
    async fn check_folder_versions(
        &mut self,
        kind: ObjectKind,
        folder: &str,
        seen: &mut LockTally,
    ) -> Result<bool, ReadError> {
        let (mut after, mut last) = (None, VersionedName::default());
        loop {
            let Some(page) = self.vault.list_versions(kind, folder, after.clone()).await? else { return Ok(false) };
            let mut objects = Vec::new();
            for version in page.versions {
                let name = self.vault.relative_name(&version.name).unwrap_or(&version.name);
                let elsewhere = kind == ObjectKind::Payload && name.starts_with("keys/");
                if elsewhere || is_probe(name) || !last.is_new(&version) {
                    continue;
                }
                if version.marker {
                    if self.is_over(name) {
                        self.hidden_objects += 1;
                        continue;
                    }
                    let what =
                        "hidden behind a delete marker; the version below may be intact: read it with --first-version";
                    self.report.fail("delete_marker", &version.name, what);
                    continue;
                }
                last.objects += 1;
                if last.objects == 2 {
                    // on a store that ignores If-None-Match, a retry writes the same bytes again
                    self.report.warn("multiple_versions", &version.name, "has more than one version");
                }
                objects.push(version);
            }
            if !self.options.no_locks {
                self.check_locks(kind, objects, seen).await;
            }
            match page.next {
                None => return Ok(true),
                same if same == after => {
                    return Err(ReadError::damaged("the store repeats a page of its version listing"));
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

    async fn check_locks(&mut self, kind: ObjectKind, objects: Vec<ObjectVersion>, seen: &mut LockTally) {
        let vault = self.vault;
        let ask = |version: ObjectVersion| async move { (vault.fetch_lock(kind, &version).await, version.name) };
        let mut answers = stream::iter(objects).map(ask).buffered(CONCURRENT_QUERIES);
        while let Some((held, name)) = answers.next().await {
            match held {
                Ok(Some(held)) => self.check_lock(kind, name, &held, seen),
                Ok(None) => seen.unknown += 1,
                Err(why) => {
                    seen.unknown += 1;
                    seen.why = why.to_string();
                }
            }
        }
    }

    fn check_lock(&mut self, kind: ObjectKind, name: String, held: &VersionLock, seen: &mut LockTally) {
        let wanted = self.options.retention;
        // hold notes have the key bucket's default lock, governance; compliance would do no harm there
        let is_key = self.vault.relative_name(&name).is_some_and(|own| own.starts_with("keys/"));
        let verdict = match judge_lock(wanted, kind == ObjectKind::Key, held) {
            Err(LockProblem::KeyUnderCompliance) if !is_key => Ok(()),
            other => other,
        };
        match verdict {
            Ok(()) => {
                seen.locked += 1;
                self.report.counts.locked += 1;
            }
            Err(LockProblem::Unlocked) if wanted.is_some() => {
                self.report.fail("insufficient_lock", name, "it is not locked")
            }
            Err(LockProblem::Unlocked) => {
                seen.unlocked += 1;
                if seen.first_unlocked.len() < 100 {
                    seen.first_unlocked.push(name);
                }
            }
            Err(LockProblem::WrongMode) => {
                let what = "it is locked in governance mode, so anyone with the bypass permission can delete it";
                self.report.fail("insufficient_lock", name, what);
            }
            Err(LockProblem::KeyUnderCompliance) => {
                seen.locked += 1;
                let what = "a key locked in compliance mode: its content can't be erased before the retention ends";
                self.report.warn("key_in_compliance_mode", name, what);
            }
            Err(LockProblem::TooShort(until)) => {
                let what = format!("its lock ends too early, at {}", rfc3339(until));
                self.report.fail("insufficient_lock", name, what);
            }
        }
    }

    /// Reports on all locks of a kind.
    fn report_locks(&mut self, kind: ObjectKind, seen: LockTally) {
        let (of, not) = (if kind == ObjectKind::Key { "keys" } else { "objects" }, &mut self.report.not_verified);
        if self.options.no_locks {
            return not.push(format!("locks of {of} (--no-locks)"));
        }
        if seen.unknown > 0 {
            not.push(format!("locks of {} {of}: {}", seen.unknown, seen.why));
        }
        match (seen.locked, seen.unlocked) {
            (0, 0) => {}
            (0, open) => not.push(format!("object lock: none of {open} {of} is locked")),
            (_, 0) if self.options.retention.is_none() => {
                not.push(format!("how long {of} are locked, because --retention was not given"))
            }
            (_, open) => {
                for name in seen.first_unlocked {
                    self.report.warn(
                        "unlocked",
                        name,
                        format!("not locked, unlike other objects; {open} {of} are not locked"),
                    );
                }
            }
        }
    }
}
