//! Lines about keys in the chain: erasures, openings and key copies. A line counts only if it is in a valid tree. An
//! erasure or opening must also agree with its request, and, if the public keys of the people who sign such requests
//! are given, two of them signed the request.
//!
//! People sign for one vault, so a request for another one is worth a warning. It is no failure: copies and moved
//! vaults keep the requests with the earlier name. Neighbours: `key_check` (key objects), the crate's `erase` and
//! `openings` (writing the lines).

use crate::chains::ChainId;
use crate::erase::ErasureRequest;
use crate::error::{ReadError, Result};
use crate::openings::{OpeningRequest, describe_repeated_use, line_name};
use crate::signed_request::{SignedRequest, is_valid_at, open, read};
use kernel::terminal::format_count;
use vault::chain::digest::ChainDigest;
use vault::chain::erasures::is_newer;
use vault::chain::note::VerifyKey;
use vault::index_row::{ErasureRecord, ErasureState, IndexRow, OpeningRecord, RowKind};
use vault::object_names::account_segment;

use super::report::{ErasedContent, RecordedOpening};
use super::run_state::{ChainVerification, RecordedErasure, VerificationRun, find_epoch};

/// The request in a line, and the names of its signers: of those among `people` whose signatures are valid, or without
/// `people` those that the line names.
fn open_recorded<R: SignedRequest>(
    request: &str,
    signers: &[String],
    people: &[VerifyKey],
) -> Result<(R, Vec<String>)> {
    let opened = match people {
        [] => read(request).map(|(request, _)| (request, signers.to_vec())).map_err(ReadError::new),
        people => open(request, people),
    };
    opened.map_err(|error| error.map_message(|why| format!("its request {why}")))
}

impl VerificationRun<'_> {
    /// Records the newest erasures that a valid digest names.
    pub(super) fn record_newest_erasures(&mut self, digest: &ChainDigest, digest_name: &str) {
        for (writer, link) in &digest.counters.erasures {
            let chain = ChainId { account: account_segment(&digest.account), writer: writer.clone() };
            if self.newest_erasures.get(&chain).is_none_or(|(newest, _)| is_newer(link, newest)) {
                self.newest_erasures.insert(chain, (link.clone(), digest_name.to_owned()));
            }
        }
    }

    /// Checks that the newest erasures named by digests are in the store; earlier ones follow from their links.
    pub(super) fn check_newest_erasures(&mut self, chains: &[ChainVerification]) {
        for (id, (link, named_by)) in std::mem::take(&mut self.newest_erasures) {
            let ChainId { account, writer } = &id;
            if self.options.writer.as_ref().is_some_and(|wanted| wanted != writer) {
                let message = format!(
                    "the erasure chain {account}/{writer}, whose newest digest {named_by} names, because \
                     --writer excludes it"
                );
                self.report.not_verified.push(message);
                continue;
            }
            let chain = chains.iter().find(|chain| chain.id == id);
            let epoch = chain.and_then(|chain| find_epoch(&chain.epochs, &link.epoch));
            if !epoch.is_some_and(|epoch| epoch.has_digest_with(link.n, &link.sha256)) {
                let message = format!(
                    "the newest erasure that it names, digest {} of {account}/{writer}/{}, is missing or was replaced: \
                     erasures were rolled back, and the destroyed keys may have been restored",
                    link.n, link.epoch
                );
                self.report.fail("erasure_missing", named_by, message);
            }
        }
    }

    /// Records the erasures, openings and key copies that earlier runs verified.
    pub(super) fn record_earlier_lines(&mut self) {
        for row in self.resume.saved.key_lines.clone() {
            self.record_key_lines(&row.tail.account.clone(), &[row]);
        }
    }

    /// Records the erasures, openings and key copies in an epoch's lines, which are in its tree; returns these lines.
    pub(super) fn record_key_lines(&mut self, account: &str, rows: &[IndexRow]) -> Vec<IndexRow> {
        let mut recorded = Vec::new();
        for row in rows {
            let tail = &row.tail;
            let opening = (tail.kind == Some(RowKind::Opening) || tail.opening.is_some()).then_some(&tail.opening);
            if tail.erasure.is_none() && opening.is_none() && tail.key_copies.is_empty() {
                continue;
            }
            let location = line_name(row);
            recorded.push(row.clone());
            self.keys.copies.extend(tail.key_copies.iter().map(|copy| (copy.name.clone(), copy.sha256.clone())));
            if let Some(erasure) = tail.erasure.as_deref()
                && let Err(why) = self.record_erasure(account, &tail.ts, &location, erasure)
            {
                self.report.fail("erasure_invalid", &location, why.to_string());
            }
            if let Some(opening) = opening
                && let Err(why) = self.record_opening(account, &tail.ts, &location, opening.as_deref())
            {
                self.report.fail("opening_invalid", &location, why.to_string());
            }
        }
        recorded
    }

    fn record_erasure(&mut self, account: &str, ts: &str, location: &str, erasure: &ErasureRecord) -> Result<()> {
        if erasure.state == ErasureState::Done {
            let RecordedErasure { erased, .. } = self
                .keys
                .erasures
                .get_mut(&erasure.nonce)
                .ok_or_else(|| ReadError::new("it records the end of an erasure that no earlier line begins"))?;
            let is_same = (&erased.key_ids, &erased.sessions) == (&erasure.key_ids, &erasure.sessions);
            if !is_same || erased.finished_at.is_some() {
                return Err(ReadError::new("it does not match the erasure that was begun, or records its end twice"));
            }
            erased.finished_at = Some(ts.to_owned());
            return Ok(());
        }
        let file = erasure.request.as_deref().ok_or_else(|| ReadError::new("it contains no request"))?;
        // a request whose keys don't belong to the sessions that it names is refused
        let (request, signers): (ErasureRequest, _) = open_recorded(file, &erasure.signers, &self.options.erasers)?;
        let ids: Vec<&str> = request.keys.iter().map(|key| key.id.as_str()).collect();
        let start = self.vault.full_name(&format!("keys/{}/", account_segment(account)));
        let are_accounts_keys = request.keys.iter().all(|key| key.folder.starts_with(&start));
        let is_same = (&request.nonce, &request.who, &request.why, &request.sessions)
            == (&erasure.nonce, &erasure.who, &erasure.why, &erasure.sessions);
        if request.account != account || !are_accounts_keys || !is_same || ids != erasure.key_ids {
            return Err(ReadError::new("it contradicts its request"));
        }
        if !is_valid_at(&request, ts) {
            return Err(ReadError::new("the erasure began before its request was made, or after the request expired"));
        }
        self.add_named_store(&request.store, ts, location);
        let erased = ErasedContent {
            account: account.to_owned(),
            nonce: erasure.nonce.clone(),
            requested_by: request.who,
            reason: request.why,
            signers,
            signatures_checked: !self.options.erasers.is_empty(),
            sessions: request.sessions,
            key_ids: erasure.key_ids.clone(),
            started_at: ts.to_owned(),
            finished_at: None,
            fragments: 0,
        };
        if self.keys.erasures.insert(erasure.nonce.clone(), RecordedErasure { erased, keys: request.keys }).is_some() {
            return Err(ReadError::new("the same request was begun twice"));
        }
        Ok(())
    }

    fn record_opening(
        &mut self,
        account: &str,
        ts: &str,
        location: &str,
        opening: Option<&OpeningRecord>,
    ) -> Result<()> {
        let opening = opening.ok_or_else(|| ReadError::new("it says nothing of an opening"))?;
        let (request, signers): (OpeningRequest, _) =
            open_recorded(&opening.request, &opening.signers, &self.options.openers)?;
        let is_same =
            (&request.nonce, &request.why, &request.open_session) == (&opening.nonce, &opening.why, &opening.session);
        if request.account != account || !is_same {
            return Err(ReadError::new("it contradicts its request"));
        }
        if !is_valid_at(&request, ts) {
            return Err(ReadError::new("a share was given before its request was made, or after it expired"));
        }
        if opening.auditors.is_empty() {
            return Err(ReadError::new("it names no auditor"));
        }
        for use_name in opening.uses() {
            if let Some(first) = self.used_requests.insert(use_name, location.to_owned()) {
                return Err(ReadError::new(describe_repeated_use(&first)));
            }
        }
        self.add_named_store(&request.store, ts, location);
        self.report.openings.push(RecordedOpening {
            account: account.to_owned(),
            session: request.open_session,
            store: request.store,
            reason: request.why,
            signers,
            signatures_checked: !self.options.openers.is_empty(),
            auditors: opening.auditors.clone(),
            opened_at: ts.to_owned(),
        });
        Ok(())
    }

    /// Reports that the openers' signatures were not checked.
    pub(super) fn report_unchecked_openings(&mut self) {
        let unchecked = !self.report.openings.is_empty() && self.options.openers.is_empty();
        let signed = "that two openers signed each opening, because their public keys were not given (--openers)";
        self.report.leave_out(unchecked, signed);
    }

    /// Adds the vault that a valid line's request names.
    pub(super) fn add_named_store(&mut self, store: &str, ts: &str, location: &str) {
        let line = (ts.to_owned(), location.to_owned());
        let (requests, first) = self.named_stores.entry(store.to_owned()).or_insert_with(|| (0, line.clone()));
        *requests += 1;
        *first = line.min(std::mem::take(first));
    }

    /// Warns of requests for another vault than this one. The path of a folder does not identify a vault, so there the
    /// vault of the earliest request is the expected one.
    pub(super) fn report_other_stores(&mut self) {
        let stores = std::mem::take(&mut self.named_stores);
        let earliest = || stores.iter().min_by_key(|(_, named)| &named.1).map(|(store, _)| store.clone());
        let Some(expected) = self.vault.s3_location().or_else(earliest) else { return };
        for (store, (requests, (_, location))) in stores.iter().filter(|one| *one.0 != expected) {
            let requests = format_count(*requests, "signed request");
            let message = format!(
                "{requests} for the vault {store}, not for {expected}, the first in this line: expected in a copy or a \
                 moved vault; otherwise check who signed a request for another vault"
            );
            self.report.warn("other_store", location, message);
        }
    }
}
