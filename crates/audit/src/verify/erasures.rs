//! Erasures recorded in the chain. An erasure counts only if its line is in a valid tree and agrees with its request,
//! and, if the erasers' public keys are given, two of them signed the request. Neighbours: `key_check` (key objects),
//! `erase` (executing erasures).

use crate::chains::ChainId;
use crate::erase::ErasureRequest;
use crate::error::ReadError;
use crate::openings::line_name;
use crate::signed_request::{is_valid_at, open, read};
use vault::chain::digest::ChainDigest;
use vault::chain::erasures::is_newer;
use vault::index_row::{ErasureRecord, ErasureState, IndexRow};
use vault::object_names::account_segment;

use super::report::ErasedContent;
use super::run_state::{ChainVerification, NewestErasure, RecordedErasure, VerificationRun};

impl VerificationRun<'_> {
    /// Records the newest erasures that a valid digest names.
    pub(super) fn record_newest_erasures(&mut self, digest: &ChainDigest, digest_name: &str) {
        for (writer, link) in &digest.counters.erasures {
            let chain = ChainId { account: account_segment(&digest.account), writer: writer.clone() };
            if self.newest_erasures.get(&chain).is_none_or(|newest| is_newer(link, &newest.digest)) {
                let newest = NewestErasure { digest: link.clone(), named_by: digest_name.to_owned() };
                self.newest_erasures.insert(chain, newest);
            }
        }
    }

    /// Checks that the newest erasures named by digests are in the store; earlier ones follow from their links.
    pub(super) fn check_newest_erasures(&mut self, chains: &[ChainVerification]) {
        for (id, NewestErasure { digest: link, named_by }) in std::mem::take(&mut self.newest_erasures) {
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
            let epoch = chain.and_then(|chain| chain.epochs.iter().find(|epoch| epoch.name == link.epoch));
            let digest_sha256 = epoch.and_then(|epoch| epoch.digests.get(&link.n));
            if digest_sha256.map(|sha256| kernel::hex::encode(sha256)).as_ref() != Some(&link.sha256) {
                let message = format!(
                    "the newest erasure that it names, digest {} of {account}/{writer}/{}, is missing or was replaced: \
                     erasures were rolled back, and the destroyed keys may have been restored",
                    link.n, link.epoch
                );
                self.report.fail("erasure_missing", named_by, message);
            }
        }
    }

    /// Records the key copies listed in an epoch's lines, which are in its tree; returns these lines.
    pub(super) fn record_key_copies(&mut self, rows: &[IndexRow]) -> Vec<IndexRow> {
        let copy_lines: Vec<IndexRow> = rows.iter().filter(|row| !row.tail.key_copies.is_empty()).cloned().collect();
        let copies = copy_lines.iter().flat_map(|row| &row.tail.key_copies);
        self.keys.copies.extend(copies.map(|copy| (copy.name.clone(), copy.sha256.clone())));
        copy_lines
    }

    /// Records the erasures and key copies that earlier runs verified.
    pub(super) fn record_earlier_erasures(&mut self) {
        for row in self.resume.erasures().to_vec() {
            self.record_key_copies(std::slice::from_ref(&row));
            let account = row.tail.account.clone();
            self.record_openings(&account, std::slice::from_ref(&row));
            self.record_erasures(&account, &[row]);
        }
    }

    /// Records the erasures in an epoch's lines, which are in its tree; returns these lines.
    pub(super) fn record_erasures(&mut self, account: &str, rows: &[IndexRow]) -> Vec<IndexRow> {
        let mut erasure_lines = Vec::new();
        for row in rows {
            let Some(erasure) = row.tail.erasure.as_deref() else { continue };
            erasure_lines.push(row.clone());
            let location = line_name(row);
            if let Err(why) = self.record_erasure(account, &row.tail.ts, &location, erasure) {
                self.report.fail("erasure_invalid", location, why.to_string());
            }
        }
        erasure_lines
    }

    fn record_erasure(
        &mut self,
        account: &str,
        ts: &str,
        location: &str,
        erasure: &ErasureRecord,
    ) -> Result<(), ReadError> {
        if erasure.state == ErasureState::Done {
            let RecordedErasure { erased, .. } =
                self.keys.erasures.get_mut(&erasure.nonce).ok_or_else(|| {
                    ReadError::damaged("it records the end of an erasure that no earlier line begins")
                })?;
            let is_same = (&erased.key_ids, &erased.sessions) == (&erasure.key_ids, &erasure.sessions);
            if !is_same || erased.finished_at.is_some() {
                return Err(ReadError::damaged(
                    "it does not match the erasure that was begun, or records its end twice",
                ));
            }
            erased.finished_at = Some(ts.to_owned());
            return Ok(());
        }
        let file = erasure.request.as_deref().ok_or_else(|| ReadError::damaged("it contains no request"))?;
        // `read` and `open` refuse a request whose keys don't belong to the sessions that it names
        let opened = match self.options.erasers.as_slice() {
            [] => read(file)
                .map(|(request, _): (ErasureRequest, _)| (request, erasure.signers.clone()))
                .map_err(ReadError::damaged),
            erasers => open(file, erasers),
        };
        let (request, signers) = opened.map_err(|error| error.map_message(|why| format!("its request {why}")))?;
        let ids: Vec<&str> = request.keys.iter().map(|key| key.id.as_str()).collect();
        let start = self.vault.full_name(&format!("keys/{}/", account_segment(account)));
        let are_accounts_keys = request.keys.iter().all(|key| key.folder.starts_with(&start));
        let is_same = (&request.nonce, &request.who, &request.why, &request.sessions)
            == (&erasure.nonce, &erasure.who, &erasure.why, &erasure.sessions);
        if request.account != account || !are_accounts_keys || !is_same || ids != erasure.key_ids {
            return Err(ReadError::damaged("it contradicts its request"));
        }
        if !is_valid_at(&request, ts) {
            return Err(ReadError::damaged(
                "the erasure began before its request was made, or after the request expired",
            ));
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
            return Err(ReadError::damaged("the same request was begun twice"));
        }
        Ok(())
    }
}
