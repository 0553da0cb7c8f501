//! **What**: session keys that are not there: destroyed by request, or without a word. **Why**: a fragment without its key is no
//! evidence any more, and whoever can delete keys can destroy evidence; only a signed request that stands in the chain tells
//! erasure from it. **Invariants**: an erasure counts only where its line is in a tree that holds, says what its request says,
//! and, where the erasers' public keys are given, two of them signed it; a key that is there again is told.
//! **Not here**: destroying (`erase`).

use std::collections::BTreeSet;

use crate::erase::request;
use crate::error::ReadError;
use crate::folders::shredded;
use vault::names::{ObjectName, Scope, account_segment};
use vault::row::{Erasure, ErasureState, Row, Shredded};
use vault::store::ObjectKind;

use super::report::Erased;
use super::walk::{Keys, MissingKey, ToldErasure, Walk};

impl Walk<'_> {
    /// Lists the keys that are there.
    pub(super) async fn list_keys(&mut self) {
        if self.options.no_payload || self.options.chain_only {
            return;
        }
        match self.vault.list(ObjectKind::Key, "keys/").await {
            Err(why) => self.report.not_verified.push(format!("whether session keys are there: {why}")),
            Ok(names) if names.is_empty() => {
                let what = "whether session keys are there: no key object is; they may lie in another bucket (--keys)";
                self.report.not_verified.push(what.to_owned());
            }
            Ok(names) => self.keys.there = Some(names.iter().filter_map(|name| shredded(name)).collect()),
        }
    }

    /// Notes the keys of an object's fragments that are not there; gives the starts of these fragments.
    pub(super) fn without_key(&mut self, name: &str, rows: &[Row]) -> BTreeSet<u64> {
        let mut out = BTreeSet::new();
        let (Some(there), Some(object)) = (&self.keys.there, ObjectName::parse(name)) else { return out };
        for row in rows {
            let (Some(off), Some(id)) = (row.off, &row.tail.key_id) else { continue };
            let told = || Scope::of(&row.tail);
            let scope = object.scope.clone().unwrap_or_else(told);
            let key = Shredded { folder: object.keys(&scope), id: id.clone() };
            if !there.contains(&key) && out.insert(off) {
                let missing = self.keys.missing.entry(key);
                missing.or_insert_with(|| MissingKey { fragments: 0, at: name.to_owned() }).fragments += 1;
                self.keys.fragments += 1;
            }
        }
        out
    }

    /// What earlier runs verified is told again.
    pub(super) fn erasures_before(&mut self) {
        for row in self.resume.erasures().to_vec() {
            self.erasures(&row.tail.account.clone(), &[row]);
        }
    }

    /// Takes the erasures of an epoch's lines, which are in its tree; gives their lines.
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
        // either refuses a request whose keys are not those of the sessions that it names
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

    /// Settles what is missing against what was erased.
    pub(super) fn settle_keys(&mut self) {
        let Keys { there, mut missing, erasures, .. } = std::mem::take(&mut self.keys);
        for ToldErasure { mut erased, keys } in erasures.into_values() {
            let back = keys.iter().filter(|key| there.as_ref().is_some_and(|there| there.contains(key))).count();
            if erased.done.is_some() && back > 0 {
                let what =
                    format!("{back} of the keys that were destroyed at the request of {} are there again", erased.who);
                self.report.fail("key_back", &erased.nonce, what);
            }
            if erased.done.is_none() {
                let what = format!("the erasure of {} was begun and is not finished: run it again", erased.begun);
                self.report.warn("erasure_open", &erased.nonce, what);
            }
            erased.fragments = keys.iter().filter_map(|key| missing.remove(key)).map(|missing| missing.fragments).sum();
            self.report.erased.push(erased);
        }
        if !self.report.erased.is_empty() && self.options.erasers.is_empty() {
            let what = "that erasures were signed by two erasers: their public keys were not given (--erasers)";
            self.report.not_verified.push(what.to_owned());
        }
        if self.options.writer.is_some() && !missing.is_empty() {
            // the chain that would tell was not looked at
            let what =
                format!("{} session keys that are not there: erasures are in another writer's chain", missing.len());
            return self.report.not_verified.push(what);
        }
        for (key, MissingKey { fragments, at }) in missing {
            let what = format!(
                "the key {}{} of {fragments} fragments is not there, and no request to destroy it stands in the chain",
                key.folder, key.id
            );
            self.report.fail("key_missing", at, what);
        }
    }
}
