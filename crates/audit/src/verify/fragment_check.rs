//! Opens fragments and compares their content with their lines: place, ids, hashes, commitments. A fragment could be
//! replaced by another intact one; only its content shows where it belongs. Content is hashed, never shown. Neighbour:
//! `content` checks the sealed bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::error::ReadError;
use crate::read::{
    BadKey, ContentLimit, FragmentOpener, FragmentScopes, OpenFailure, OpenedFragment, UntrustedDocument,
};
use vault::index_row::IndexRow;
use vault::object_names::FragmentScope;

use super::content::ReferencedPayload;
use super::run_state::{EpochVerification, VerificationRun};

impl VerificationRun<'_> {
    /// Opens an object's fragments, if an auditor's key is given, except the missing ones in `lost`. `over` says that
    /// the retention of the object is over, so its keys may be gone too.
    pub(super) async fn check_fragments(
        &mut self,
        epoch: &mut EpochVerification,
        held: &ReferencedPayload,
        bytes: &Bytes,
        lost: &BTreeSet<u64>,
        over: bool,
    ) {
        let Some(opener) = &mut self.opener else { return };
        let mut rows: BTreeMap<u64, Vec<&IndexRow>> = BTreeMap::new();
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
            Some(((*off, tail.len?), FragmentScope::from_tail(tail)))
        });
        let known: FragmentScopes = known.collect();
        let opened = open_existing_fragments(opener, held, bytes, &known, lost).await;
        for BadKey { name, why, archived } in opener.take_bad_keys() {
            // an object whose hash is in a line is reported as changed or archived elsewhere
            let judged = self.keys.named.values().any(|told| told.object == name && told.sha256.is_some());
            match archived {
                _ if judged => {}
                true => self.report.counts.archived += 1,
                false => self.report.fail(
                    "key_unreadable",
                    name,
                    format!("in the folder of the session's keys, but not a usable key: {why}"),
                ),
            }
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(shut) => {
                let mut shuts = UnopenedCounts::default();
                rows.keys().for_each(|_| shuts.add(&shut));
                self.count_unopened(epoch, held, rows.into_keys().collect(), &shuts, over);
                return self.report_unopened(&held.name, shut, over);
            }
        };
        let mut shuts = UnopenedCounts::default();
        for opened in opened {
            match opened {
                Err(shut) => {
                    shuts.add(&shut);
                    self.report_unopened(&held.name, shut, over);
                }
                Ok(opened) => {
                    let Some(rows) = rows.remove(&opened.offset) else { continue };
                    let agrees = || UntrustedDocument::read(&opened.plain)?.check_rows(rows.iter().copied());
                    match agrees() {
                        Ok(()) => self.report.counts.opened += 1,
                        Err(why) => {
                            self.report.fail("content_mismatch", format!("{} at {}", held.name, opened.offset), why)
                        }
                    }
                }
            }
        }
        self.count_unopened(epoch, held, rows.into_keys().collect(), &shuts, over);
    }
}

/// Fragments of an object that can't be opened for lack of a key.
#[derive(Default)]
struct UnopenedCounts {
    no_key: u64,
    no_identity: u64,
}

impl UnopenedCounts {
    fn add(&mut self, shut: &OpenFailure) {
        self.no_key += u64::from(matches!(shut, OpenFailure::NoKey(_)));
        self.no_identity += u64::from(matches!(shut, OpenFailure::NoIdentity(_)));
    }
}

impl VerificationRun<'_> {
    /// Counts the fragments at `starts` that were not opened because their keys expired or belong to others. Damaged
    /// ones are reported elsewhere.
    fn count_unopened(
        &self,
        epoch: &mut EpochVerification,
        held: &ReferencedPayload,
        starts: BTreeSet<u64>,
        shuts: &UnopenedCounts,
        over: bool,
    ) {
        epoch.expired += if over { shuts.no_key } else { 0 };
        if shuts.no_identity > 0 {
            epoch.unopened += shuts.no_identity.saturating_sub(self.count_changed_keys(held, &starts));
        }
    }

    /// Reports a fragment that can't be opened, unless the identities given here are simply not its recipients.
    fn report_unopened(&mut self, name: &str, shut: OpenFailure, over: bool) {
        match shut {
            OpenFailure::NoKey(why) if !over => self.report.fail("key_missing", name, why),
            OpenFailure::NoKey(_) | OpenFailure::NoIdentity(_) => {}
            OpenFailure::TooLarge | OpenFailure::UnknownScope(..) | OpenFailure::Other(_) => {
                self.report.fail("content_mismatch", name, ReadError::from(shut).to_string())
            }
        }
    }
}

/// Opens the fragments of an object that can exist.
async fn open_existing_fragments(
    opener: &mut FragmentOpener<'_>,
    held: &ReferencedPayload,
    bytes: &Bytes,
    known: &FragmentScopes,
    lost: &BTreeSet<u64>,
) -> Result<Vec<Result<OpenedFragment, OpenFailure>>, OpenFailure> {
    let mut room = ContentLimit::default().0;
    if lost.is_empty() {
        return opener.open_documents(&held.name, bytes, known, &mut room).await;
    }
    // bytes that can't be opened lie between the fragments, so each is opened on its own
    let mut out = Vec::new();
    for ((off, len), scope) in known {
        let range = off.checked_add(*len).and_then(|end| Some(usize::try_from(*off).ok()?..usize::try_from(end).ok()?));
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            out.push(Err(OpenFailure::Other(ReadError::damaged(format!(
                "{} at {off}: the index points beyond the end of the object",
                held.name
            )))));
            continue;
        };
        let alone = FragmentScopes::from([((0, *len), scope.clone())]);
        let opened = opener.open_documents(&held.name, &bytes.slice(range), &alone, &mut room).await?;
        out.extend(opened.into_iter().map(|one| one.map(|one| OpenedFragment { offset: *off, ..one })));
    }
    Ok(out)
}
