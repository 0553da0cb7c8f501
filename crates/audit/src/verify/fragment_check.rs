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
    /// Opens an object's fragments, if an auditor's key is given, except the missing ones in `lost`. With `may_be_gone`
    /// the retention of the object is over, so its keys may be gone too.
    pub(super) async fn check_fragments(
        &mut self,
        epoch: &mut EpochVerification,
        payload: &ReferencedPayload,
        bytes: &Bytes,
        lost: &BTreeSet<u64>,
        may_be_gone: bool,
    ) {
        let Some(opener) = &mut self.opener else { return };
        let mut rows: BTreeMap<u64, Vec<&IndexRow>> = BTreeMap::new();
        for row in &payload.rows {
            if let Some(off) = row.off.filter(|off| !lost.contains(off)) {
                rows.entry(off).or_default().push(row);
            }
        }
        if rows.is_empty() {
            return;
        }
        let scopes = rows.iter().filter_map(|(off, rows)| {
            let tail = &rows.first()?.tail;
            Some(((*off, tail.len?), FragmentScope::from_tail(tail)))
        });
        let scopes: FragmentScopes = scopes.collect();
        let opened = open_existing_fragments(opener, payload, bytes, &scopes, lost).await;
        for BadKey { name, why, archived } in opener.take_bad_keys() {
            // `key_check` reports objects whose hash is in a line
            let is_judged = self.keys.named.values().any(|key| key.object == name && key.sha256.is_some());
            match archived {
                _ if is_judged => {}
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
            Err(failure) => {
                let mut counts = UnopenedCounts::default();
                rows.keys().for_each(|_| counts.add(&failure));
                self.count_unopened(epoch, payload, rows.into_keys().collect(), &counts, may_be_gone);
                return self.report_unopened(&payload.name, failure, may_be_gone);
            }
        };
        let mut counts = UnopenedCounts::default();
        for opened in opened {
            match opened {
                Err(failure) => {
                    counts.add(&failure);
                    self.report_unopened(&payload.name, failure, may_be_gone);
                }
                Ok(opened) => {
                    let Some(rows) = rows.remove(&opened.offset) else { continue };
                    let agrees = || UntrustedDocument::read(&opened.plain)?.check_rows(rows.iter().copied());
                    match agrees() {
                        Ok(()) => self.report.counts.opened += 1,
                        Err(why) => {
                            self.report.fail("content_mismatch", format!("{} at {}", payload.name, opened.offset), why)
                        }
                    }
                }
            }
        }
        self.count_unopened(epoch, payload, rows.into_keys().collect(), &counts, may_be_gone);
    }
}

/// Fragments of an object that can't be opened for lack of a key.
#[derive(Default)]
struct UnopenedCounts {
    no_key: u64,
    no_identity: u64,
}

impl UnopenedCounts {
    fn add(&mut self, failure: &OpenFailure) {
        self.no_key += u64::from(matches!(failure, OpenFailure::NoKey(_)));
        self.no_identity += u64::from(matches!(failure, OpenFailure::NoIdentity(_)));
    }
}

impl VerificationRun<'_> {
    /// Counts the fragments at `starts` that were not opened because their keys expired or belong to others. Fragments
    /// with changed keys are not counted, because `key_check` reports these keys.
    fn count_unopened(
        &self,
        epoch: &mut EpochVerification,
        payload: &ReferencedPayload,
        starts: BTreeSet<u64>,
        counts: &UnopenedCounts,
        may_be_gone: bool,
    ) {
        epoch.expired += if may_be_gone { counts.no_key } else { 0 };
        if counts.no_identity > 0 {
            epoch.unopened += counts.no_identity.saturating_sub(self.count_changed_keys(payload, &starts));
        }
    }

    /// Reports a fragment that can't be opened, unless the identities given here are simply not its recipients.
    fn report_unopened(&mut self, name: &str, failure: OpenFailure, may_be_gone: bool) {
        match failure {
            OpenFailure::NoKey(why) if !may_be_gone => self.report.fail("key_missing", name, why),
            OpenFailure::NoKey(_) | OpenFailure::NoIdentity(_) => {}
            OpenFailure::TooLarge | OpenFailure::UnknownScope(..) | OpenFailure::Other(_) => {
                self.report.fail("content_mismatch", name, ReadError::from(failure).to_string())
            }
        }
    }
}

/// Opens the fragments of an object, except those in `lost`.
async fn open_existing_fragments(
    opener: &mut FragmentOpener<'_>,
    payload: &ReferencedPayload,
    bytes: &Bytes,
    scopes: &FragmentScopes,
    lost: &BTreeSet<u64>,
) -> Result<Vec<Result<OpenedFragment, OpenFailure>>, OpenFailure> {
    let mut limit = ContentLimit::default().0;
    if lost.is_empty() {
        return opener.open_documents(&payload.name, bytes, scopes, &mut limit).await;
    }
    // bytes that can't be opened lie between the fragments, so each is opened on its own
    let mut fragments = Vec::new();
    for ((off, len), scope) in scopes {
        let range = off.checked_add(*len).and_then(|end| Some(usize::try_from(*off).ok()?..usize::try_from(end).ok()?));
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            fragments.push(Err(OpenFailure::Other(ReadError::damaged(format!(
                "{} at {off}: the index points beyond the end of the object",
                payload.name
            )))));
            continue;
        };
        let alone = FragmentScopes::from([((0, *len), scope.clone())]);
        let opened = opener.open_documents(&payload.name, &bytes.slice(range), &alone, &mut limit).await?;
        fragments.extend(
            opened.into_iter().map(|fragment| fragment.map(|fragment| OpenedFragment { offset: *off, ..fragment })),
        );
    }
    Ok(fragments)
}
