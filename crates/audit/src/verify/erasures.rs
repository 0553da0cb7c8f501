//! Erasures recorded in the chain. An erasure counts only if its line is in a valid tree and agrees with its request,
//! and, if the erasers' public keys are given, two of them signed the request. Neighbours: `keys` (key objects),
//! `erase` (executing erasures).

use crate::chains::Line;
use crate::erase::request;
use crate::error::ReadError;
use vault::chain::digest::Digest;
use vault::chain::erasures::is_newer;
use vault::names::account_segment;
use vault::row::{Erasure, ErasureState, Row};

use super::report::Erased;
use super::walk::{Epoch, ToldErasure, Walk};

impl Walk<'_> {
    /// Records the newest erasures that a valid digest names.
    pub(super) fn name_erasures(&mut self, digest: &Digest, at: &str) {
        for (writer, link) in &digest.counters.erasures {
            let chain = (account_segment(&digest.account), writer.clone());
            if self.newest_erasures.get(&chain).is_none_or(|(known, _)| is_newer(link, known)) {
                self.newest_erasures.insert(chain, (link.clone(), at.to_owned()));
            }
        }
    }

    /// Checks that the newest erasures named by digests are in the store; earlier ones follow from their links.
    pub(super) fn named_erasures(&mut self, lines: &[(Line, Vec<Epoch>)]) {
        for ((account, writer), (link, at)) in std::mem::take(&mut self.newest_erasures) {
            if self.options.writer.as_ref().is_some_and(|wanted| *wanted != writer) {
                let what =
                    format!("the chain of erasures {account}/{writer}, whose newest digest {at} names (--writer)");
                self.report.not_verified.push(what);
                continue;
            }
            let chain = lines.iter().find(|(line, _)| line.account == account && line.writer == writer);
            let epoch = chain.and_then(|(_, epochs)| epochs.iter().find(|epoch| epoch.name == link.epoch));
            let found = epoch.and_then(|epoch| epoch.digests.get(&link.n));
            if found.map(|sha256| kernel::hex::encode(sha256)).as_ref() != Some(&link.sha256) {
                let what = format!(
                    "it names digest {} of {account}/{writer}/{} as the newest erasure, which is missing or another one: \
                     erasures were rolled back, and their keys may be restored",
                    link.n, link.epoch
                );
                self.report.fail("erasure_missing", at, what);
            }
        }
    }

    /// Records the key copies listed in an epoch's lines, which are in its tree; returns these lines.
    pub(super) fn key_copies(&mut self, rows: &[Row]) -> Vec<Row> {
        let told: Vec<Row> = rows.iter().filter(|row| !row.tail.key_copies.is_empty()).cloned().collect();
        let copies = told.iter().flat_map(|row| &row.tail.key_copies);
        self.keys.copies.extend(copies.map(|copy| (copy.name.clone(), copy.sha256.clone())));
        told
    }

    /// Repeats what earlier runs verified.
    pub(super) fn erasures_before(&mut self) {
        for row in self.resume.erasures().to_vec() {
            self.key_copies(std::slice::from_ref(&row));
            self.erasures(&row.tail.account.clone(), &[row]);
        }
    }

    /// Records the erasures in an epoch's lines, which are in its tree; returns these lines.
    pub(super) fn erasures(&mut self, account: &str, rows: &[Row]) -> Vec<Row> {
        let mut told = Vec::new();
        for row in rows {
            let Some(erasure) = row.tail.erasure.as_deref() else { continue };
            told.push(row.clone());
            let at = format!("{}/{}/{}", row.tail.writer, row.tail.epoch, row.leaf);
            if let Err(why) = self.erasure(account, &row.tail.ts, erasure) {
                self.report.fail("erasure", at, why.to_string());
            }
        }
        told
    }

    fn erasure(&mut self, account: &str, ts: &str, erasure: &Erasure) -> Result<(), ReadError> {
        if erasure.state == ErasureState::Done {
            let told = self.keys.erasures.get_mut(&erasure.nonce);
            let told = told
                .ok_or_else(|| ReadError::damaged("it says that an erasure is done that no line before it begins"))?;
            let same = (&told.erased.key_ids, &told.erased.sessions) == (&erasure.key_ids, &erasure.sessions);
            if !same || told.erased.done.is_some() {
                return Err(ReadError::damaged("it says that another erasure is done than the one that was begun"));
            }
            told.erased.done = Some(ts.to_owned());
            return Ok(());
        }
        let file = erasure.request.as_deref().ok_or_else(|| ReadError::damaged("it holds no request"))?;
        // both refuse a request whose keys don't belong to the sessions it names
        let opened = match self.options.erasers.as_slice() {
            [] => {
                request::read(file).map(|(request, _)| (request, erasure.signers.clone())).map_err(ReadError::damaged)
            }
            erasers => request::open(file, erasers),
        };
        let (request, signers) = opened.map_err(|error| error.reworded(|why| format!("its request {why}")))?;
        let ids: Vec<&str> = request.keys.iter().map(|key| key.id.as_str()).collect();
        let start = self.vault.full(&format!("keys/{}/", account_segment(account)));
        let own = request.keys.iter().all(|key| key.folder.starts_with(&start));
        let said = (&request.nonce, &request.who, &request.why, &request.sessions);
        let same = said == (&erasure.nonce, &erasure.who, &erasure.why, &erasure.sessions);
        if request.account != account || !own || !same || ids != erasure.key_ids {
            return Err(ReadError::damaged("it says something else than its request"));
        }
        if ts < request.time.as_str() || ts >= request.expires.as_str() {
            return Err(ReadError::damaged("it was begun before its request was made, or after that had expired"));
        }
        let erased = Erased {
            account: account.to_owned(),
            nonce: erasure.nonce.clone(),
            who: request.who,
            why: request.why,
            signers,
            checked: !self.options.erasers.is_empty(),
            sessions: request.sessions,
            key_ids: erasure.key_ids.clone(),
            begun: ts.to_owned(),
            done: None,
            fragments: 0,
        };
        if self.keys.erasures.insert(erasure.nonce.clone(), ToldErasure { erased, keys: request.keys }).is_some() {
            return Err(ReadError::damaged("the same request was begun twice"));
        }
        Ok(())
    }
}
