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
use vault::hold_note::FOLDER;
use vault::names::{day_of, rfc3339};
use vault::store::probe::is_probe;
use vault::store::settings::LockMode;
use vault::store::{Held, ObjectKind, Version};

use super::options::Retention;
use super::walk::Walk;

/// Locks queried concurrently.
const AT_ONCE: usize = 32;
/// Allowed difference between the writer's clock, which dates the lock, and the store's, which dates the object.
const SLACK: Duration = Duration::from_secs(3600);

/// Results for the locks of one kind of object.
#[derive(Default)]
struct Seen {
    locked: u64,
    /// Number of objects without a lock, and the names of the first ones.
    open: u64,
    first: Vec<String>,
    /// Number of objects whose lock the store did not report.
    untold: u64,
    why: String,
}

/// The name whose versions are being listed.
#[derive(Default)]
struct Name {
    name: String,
    /// Its versions and markers: a store may repeat the last one of a page at the start of the next.
    ids: BTreeSet<(String, bool)>,
    objects: u64,
}

impl Name {
    fn is_new(&mut self, version: &Version) -> bool {
        if self.name != version.name {
            *self = Self { name: version.name.clone(), ..Self::default() };
        }
        self.ids.insert((version.id.clone(), version.marker))
    }
}

/// Problem of a lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// There is no lock.
    None,
    /// The mode is governance instead of compliance.
    Mode,
    /// A key is under compliance, so it can't be erased.
    Key,
    /// The lock ends too early, at this time.
    Short(UnixNanos),
}

pub(super) fn judge(wanted: Option<Retention>, key: bool, held: &Held) -> Result<(), Wrong> {
    let Some((mode, until)) = held.lock else { return Err(Wrong::None) };
    if key && mode == LockMode::Compliance {
        return Err(Wrong::Key);
    }
    let Some(wanted) = wanted else { return Ok(()) };
    if !key && wanted.mode == LockMode::Compliance && mode != LockMode::Compliance {
        return Err(Wrong::Mode);
    }
    if until.plus(SLACK) < held.written.plus(wanted.least) { Err(Wrong::Short(until)) } else { Ok(()) }
}

impl Walk<'_> {
    /// Reports objects behind delete markers, with more than one version, or with a wrong lock.
    pub(super) async fn versions(&mut self) {
        for (kind, folder, what) in [
            (ObjectKind::Payload, "", "versions"),
            (ObjectKind::Key, "keys/", "the keys' versions"),
            (ObjectKind::Key, FOLDER, "versions of notes of holds"),
        ] {
            // with one bucket, the first pass includes them
            if folder == FOLDER && !self.vault.has_keys_apart() {
                continue;
            }
            let mut seen = Seen::default();
            match self.bucket(kind, folder, &mut seen).await {
                Err(why) => self.report.not_verified.push(format!("{what}: {why}")),
                Ok(true) => self.locks_of(kind, seen),
                Ok(false) => {
                    let why = "object lock, versions and delete markers: the store is a folder";
                    return self.report.not_verified.push(why.to_owned());
                }
            }
        }
    }

    /// Checks every version; false if the store has none.
    async fn bucket(&mut self, kind: ObjectKind, folder: &str, seen: &mut Seen) -> Result<bool, ReadError> {
        let (mut after, mut last) = (None, Name::default());
        loop {
            let Some(page) = self.vault.versions(kind, folder, after.clone()).await? else { return Ok(false) };
            let mut objects = Vec::new();
            for version in page.versions {
                let name = self.vault.relative(&version.name).unwrap_or(&version.name);
                let elsewhere = kind == ObjectKind::Payload && name.starts_with("keys/");
                if elsewhere || is_probe(name) || !last.is_new(&version) {
                    continue;
                }
                if version.marker {
                    if self.is_over(name) {
                        self.hidden += 1;
                        continue;
                    }
                    let what = "hidden behind a delete marker; the version below it may be whole: --oldest reads it";
                    self.report.fail("hidden", &version.name, what);
                    continue;
                }
                last.objects += 1;
                if last.objects == 2 {
                    // on a store that ignores If-None-Match, a retry writes the same bytes again
                    self.report.warn("versions", &version.name, "has more than one version");
                }
                objects.push(version);
            }
            if !self.options.no_locks {
                self.page(kind, objects, seen).await;
            }
            match page.next {
                None => return Ok(true),
                same if same == after => return Err(ReadError::damaged("the store lists its versions in a circle")),
                next => after = next,
            }
        }
    }

    /// Whether the retention of this object is over, by the day of arrival in its name: lifecycle rules then create
    /// markers.
    pub(super) fn is_over(&self, name: &str) -> bool {
        let before = self.options.expired.as_ref().and_then(|expired| expired.get(..10));
        before.zip(day_of(name)).is_some_and(|(before, day)| day < before)
    }

    async fn page(&mut self, kind: ObjectKind, objects: Vec<Version>, seen: &mut Seen) {
        let vault = self.vault;
        let ask = |version: Version| async move { (vault.held(kind, &version).await, version.name) };
        let mut answers = stream::iter(objects).map(ask).buffered(AT_ONCE);
        while let Some((held, name)) = answers.next().await {
            match held {
                Ok(Some(held)) => self.lock(kind, name, &held, seen),
                Ok(None) => seen.untold += 1,
                Err(why) => {
                    seen.untold += 1;
                    seen.why = why.to_string();
                }
            }
        }
    }

    fn lock(&mut self, kind: ObjectKind, name: String, held: &Held, seen: &mut Seen) {
        let wanted = self.options.retention;
        // hold notes have the key bucket's default lock, governance; compliance would do no harm there
        let is_key = self.vault.relative(&name).is_some_and(|own| own.starts_with("keys/"));
        let verdict = match judge(wanted, kind == ObjectKind::Key, held) {
            Err(Wrong::Key) if !is_key => Ok(()),
            other => other,
        };
        match verdict {
            Ok(()) => {
                seen.locked += 1;
                self.report.counts.locked += 1;
            }
            Err(Wrong::None) if wanted.is_some() => self.report.fail("lock", name, "it is not locked"),
            Err(Wrong::None) => {
                seen.open += 1;
                if seen.first.len() < 100 {
                    seen.first.push(name);
                }
            }
            Err(Wrong::Mode) => {
                let what = "it is under governance: whoever may bypass that can delete it";
                self.report.fail("lock", name, what);
            }
            Err(Wrong::Key) => {
                seen.locked += 1;
                let what = "a key under compliance: nobody can erase what it opens before its retention ends";
                self.report.warn("key_locked", name, what);
            }
            Err(Wrong::Short(until)) => {
                let what = format!("it is locked until {} only", rfc3339(until));
                self.report.fail("lock", name, what);
            }
        }
    }

    /// Reports on all locks of a kind.
    fn locks_of(&mut self, kind: ObjectKind, seen: Seen) {
        let (of, not) = (if kind == ObjectKind::Key { "keys" } else { "objects" }, &mut self.report.not_verified);
        if self.options.no_locks {
            return not.push(format!("locks of {of} (--no-locks)"));
        }
        if seen.untold > 0 {
            not.push(format!("locks of {} {of}: {}", seen.untold, seen.why));
        }
        match (seen.locked, seen.open) {
            (0, 0) => {}
            (0, open) => not.push(format!("object lock: none of {open} {of} is locked")),
            (_, 0) if self.options.retention.is_none() => {
                not.push(format!("how long {of} are locked: give --retention"))
            }
            (_, open) => {
                for name in seen.first {
                    self.report.warn("unlocked", name, format!("not locked, as {open} {of} are not; others are"));
                }
            }
        }
    }
}
