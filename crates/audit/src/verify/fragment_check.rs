//! Opens fragments and compares their content with their lines: place, ids, hashes, commitments. A fragment could be
//! replaced by another intact one; only its content shows where it belongs. Content is hashed, never shown. Neighbour:
//! `content` checks the sealed bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::error::ReadError;
use crate::read::{
    BadKey, ContentLimit, FragmentOpener, FragmentScopes, OpenFailure, OpenedDocuments, OpenedFragment,
    UntrustedDocument,
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
        for BadKey { name, why, archived } in std::mem::take(&mut opener.bad_keys) {
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
        // a failure of the whole object is one of each of its fragments
        let failures = if opened.is_err() { rows.len() as u64 } else { 1 };
        let (mut no_key, mut no_identity) = (0, 0);
        for opened in opened.unwrap_or_else(|failure| vec![Err(failure)]) {
            match opened {
                Err(failure) => {
                    no_key += if matches!(failure, OpenFailure::NoKey(_)) { failures } else { 0 };
                    no_identity += if matches!(failure, OpenFailure::NoIdentity(_)) { failures } else { 0 };
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
        epoch.expired += if may_be_gone { no_key } else { 0 };
        if no_identity > 0 {
            // `key_check` reports changed keys, so their fragments are not counted here
            let changed = self.count_changed_keys(payload, &rows.into_keys().collect());
            epoch.unopened += no_identity.saturating_sub(changed);
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
) -> OpenedDocuments {
    opener.room = ContentLimit::default().0;
    if lost.is_empty() {
        return opener.open_documents(&payload.name, bytes, scopes).await;
    }
    // bytes that can't be opened lie between the fragments, so each is opened on its own
    let mut fragments = Vec::new();
    for ((off, len), scope) in scopes {
        let range = off.checked_add(*len).and_then(|end| Some(usize::try_from(*off).ok()?..usize::try_from(end).ok()?));
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            fragments.push(Err(OpenFailure::Other(ReadError::new(format!(
                "{} at {off}: the index points beyond the end of the object",
                payload.name
            )))));
            continue;
        };
        let alone = FragmentScopes::from([((0, *len), scope.clone())]);
        let opened = opener.open_documents(&payload.name, &bytes.slice(range), &alone).await?;
        fragments.extend(
            opened.into_iter().map(|fragment| fragment.map(|fragment| OpenedFragment { offset: *off, ..fragment })),
        );
    }
    Ok(fragments)
}
