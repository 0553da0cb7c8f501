//! Opens fragments and compares their content with their lines: place, ids, hashes, commitments. A fragment could be
//! replaced by another intact one; only its content shows where it belongs. Content is hashed, never shown. Neighbour:
//! `content` checks the sealed bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::error::ReadError;
use crate::read::{BadKey, Content, Inside, Opened, Opener, Places, Shut};
use vault::names::Scope;
use vault::row::Row;

use super::content::Held;
use super::walk::{Epoch, Walk};

impl Walk<'_> {
    /// Opens an object's fragments, if an auditor's key is given, except the missing ones in `lost`. `over` says that
    /// the retention of the object is over, so its keys may be gone too.
    pub(super) async fn inside(
        &mut self,
        epoch: &mut Epoch,
        held: &Held,
        bytes: &Bytes,
        lost: &BTreeSet<u64>,
        over: bool,
    ) {
        let Some(opener) = &mut self.opener else { return };
        let mut rows: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
        for row in &held.rows {
            if let Some(off) = row.off.filter(|off| !lost.contains(off)) {
                rows.entry(off).or_default().push(row);
            }
        }
        if rows.is_empty() {
            return;
        }
        let known = rows.iter().filter_map(|(off, rows)| {
            let tail = &rows.first()?.tail;
            Some(((*off, tail.len?), Scope::of(tail)))
        });
        let known: Places = known.collect();
        let opened = documents(opener, held, bytes, &known, lost).await;
        for BadKey { name, why, archived } in opener.bad_keys() {
            // an object whose hash is in a line is reported as changed or archived elsewhere
            let judged = self.keys.told.values().any(|told| told.object == name && told.sha256.is_some());
            match archived {
                _ if judged => {}
                true => self.report.counts.archived += 1,
                false => self.report.fail("key_unreadable", name, format!("among the session's keys, and none: {why}")),
            }
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(shut) => {
                let mut shuts = Shuts::default();
                rows.keys().for_each(|_| shuts.add(&shut));
                self.count_shut(epoch, held, rows.into_keys().collect(), &shuts, over);
                return self.shut(&held.name, shut, over);
            }
        };
        let mut shuts = Shuts::default();
        for opened in opened {
            match opened {
                Err(shut) => {
                    shuts.add(&shut);
                    self.shut(&held.name, shut, over);
                }
                Ok(opened) => {
                    let Some(rows) = rows.remove(&opened.offset) else { continue };
                    let agrees = || Inside::read(&opened.plain)?.agree(rows.iter().copied());
                    match agrees() {
                        Ok(()) => self.report.counts.opened += 1,
                        Err(why) => self.report.fail("inside", format!("{} at {}", held.name, opened.offset), why),
                    }
                }
            }
        }
        self.count_shut(epoch, held, rows.into_keys().collect(), &shuts, over);
    }
}

/// Fragments of an object that can't be opened for lack of a key.
#[derive(Default)]
struct Shuts {
    no_key: u64,
    no_identity: u64,
}

impl Shuts {
    fn add(&mut self, shut: &Shut) {
        self.no_key += u64::from(matches!(shut, Shut::NoKey(_)));
        self.no_identity += u64::from(matches!(shut, Shut::NoIdentity(_)));
    }
}

impl Walk<'_> {
    /// Counts the fragments at `starts` that were not opened because their keys expired or belong to others. Damaged
    /// ones are reported elsewhere.
    fn count_shut(&self, epoch: &mut Epoch, held: &Held, starts: BTreeSet<u64>, shuts: &Shuts, over: bool) {
        epoch.expired += if over { shuts.no_key } else { 0 };
        if shuts.no_identity > 0 {
            epoch.unread += shuts.no_identity.saturating_sub(self.with_changed_keys(held, &starts));
        }
    }

    /// Reports a fragment that can't be opened, unless the identities given here are simply not its recipients.
    fn shut(&mut self, name: &str, shut: Shut, over: bool) {
        match shut {
            Shut::NoKey(why) if !over => self.report.fail("key_missing", name, why),
            Shut::NoKey(_) | Shut::NoIdentity(_) => {}
            Shut::NoRoom | Shut::Untold(..) | Shut::Other(_) => {
                self.report.fail("inside", name, ReadError::from(shut).to_string())
            }
        }
    }
}

/// Opens the fragments of an object that can exist.
async fn documents(
    opener: &mut Opener<'_>,
    held: &Held,
    bytes: &Bytes,
    known: &Places,
    lost: &BTreeSet<u64>,
) -> Result<Vec<Result<Opened, Shut>>, Shut> {
    let mut room = Content::default().0;
    if lost.is_empty() {
        return opener.documents(&held.name, bytes, known, &mut room).await;
    }
    // bytes that can't be opened lie between the fragments, so each is opened on its own
    let mut out = Vec::new();
    for ((off, len), scope) in known {
        let range = off.checked_add(*len).and_then(|end| Some(usize::try_from(*off).ok()?..usize::try_from(end).ok()?));
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            out.push(Err(Shut::Other(ReadError::damaged(format!(
                "{} at {off}: the index points outside of the object",
                held.name
            )))));
            continue;
        };
        let alone = Places::from([((0, *len), scope.clone())]);
        let opened = opener.documents(&held.name, &bytes.slice(range), &alone, &mut room).await?;
        out.extend(opened.into_iter().map(|one| one.map(|one| Opened { offset: *off, ..one })));
    }
    Ok(out)
}
