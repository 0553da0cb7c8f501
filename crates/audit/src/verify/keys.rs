//! Checks key objects: whether each is the one in its lines, or damaged, replaced, erased by request, or missing
//! without a record. A fragment without its key is no evidence any more, so whoever can delete or replace keys can
//! destroy evidence.
//!
//! Lines have the hash of each key's object, and `rewrap` records those of its copies. For lines of older versions
//! without hashes, this limit is reported once. A key that exists after its erasure is reported. Neighbours:
//! `erasures`, `inside` (opening), `stray_keys` (objects that no line names).

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::folders::is_copy_of;
use crate::location::Vault;
use vault::names::{ObjectName, Scope};
use vault::row::{Row, Shredded};
use vault::store::{ObjectKind, StoreError};

use super::content::Held;
use super::told_key::{State, ToldKey};
use super::walk::{Keys, ToldErasure, Walk};

/// Key objects fetched concurrently.
const AT_ONCE: usize = 32;

/// Looks for the object of a key.
async fn look(vault: &Vault, there: &BTreeSet<String>, key: &Shredded, sha256: Option<&str>) -> (State, String) {
    let stem = format!("{}{}", key.folder, key.id);
    // `-` sorts before `.`, so copies precede the key itself: the ending tells them apart
    let own = format!("{stem}.age");
    let copies = there.range(stem.clone()..).take_while(|name| name.starts_with(&stem));
    let copies: Vec<&String> = copies.filter(|name| **name != own && is_copy_of(name, &stem)).collect();
    let names = there.get(&own).into_iter().chain(copies);
    let Some(wanted) = sha256 else {
        let state = if names.count() > 0 { State::There } else { State::Missing };
        return (state, own);
    };
    let mut state = State::Missing;
    for name in names {
        match vault.key_object(name).await {
            Ok(bytes) if kernel::hex::encode(&Sha256::digest(&bytes)) == wanted => return (State::There, name.clone()),
            Err(StoreError::Archived) => state = State::Archived,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_) | StoreError::Denied(_))) => {
                state = State::Unread(error.to_string());
            }
            Err(StoreError::Missing) => {}
            Ok(_) | Err(_) if state == State::Missing => state = State::Changed,
            Ok(_) | Err(_) => {}
        }
    }
    (state, own)
}

/// The keys that an object's lines name, with their lines.
fn keys_of<'r>(name: &str, rows: &'r [Row]) -> Vec<(Shredded, &'r Row)> {
    let Some(object) = ObjectName::parse(name) else { return Vec::new() };
    let mut known: BTreeMap<(&str, Option<&str>, Option<&str>), String> = BTreeMap::new();
    let mut out = Vec::new();
    for row in rows {
        let (Some(_), Some(id)) = (row.off, &row.tail.key_id) else { continue };
        // lines of one session name the same folder
        let tail = &row.tail;
        let place = (tail.tenant.as_str(), tail.session_id.as_deref(), tail.trace_id.as_deref());
        let folder = || object.keys(&object.scope.clone().unwrap_or_else(|| Scope::of(tail)));
        let folder = known.entry(place).or_insert_with(folder).clone();
        out.push((Shredded { folder, id: id.clone() }, row));
    }
    out
}

impl Walk<'_> {
    /// Lists the existing key objects.
    pub(super) async fn list_keys(&mut self) {
        if self.options.no_payload || self.options.chain_only {
            return;
        }
        match self.vault.list(ObjectKind::Key, "keys/").await {
            Err(why) => self.report.not_verified.push(format!("whether session keys are there: {why}")),
            Ok(names) => self.keys.there = Some(names.into_iter().collect()),
        }
    }

    /// Checks the key objects that these objects' lines name, each once.
    pub(super) async fn look_at_keys(&mut self, held: &[Held]) {
        let Some(there) = &self.keys.there else { return };
        let mut new: BTreeMap<Shredded, (Option<String>, String)> = BTreeMap::new();
        for held in held {
            for (key, row) in keys_of(&held.name, &held.rows) {
                let told = self.keys.told.get(&key).map(|told| &told.sha256);
                let known = told.or_else(|| new.get(&key).map(|(sha256, _)| sha256));
                match known {
                    Some(known) if *known != row.tail.key_sha256 => {
                        let at = format!("{} leaf {}", held.name, row.leaf);
                        self.report.fail("line", at, "two lines disagree about the object of a key");
                    }
                    Some(_) => {}
                    None => drop(new.insert(key, (row.tail.key_sha256.clone(), held.name.clone()))),
                }
            }
        }
        let vault = self.vault;
        let looks = stream::iter(new).map(async |(key, (sha256, at))| {
            let (state, object) = look(vault, there, &key, sha256.as_deref()).await;
            (key, ToldKey { sha256, state, object, fragments: 0, at })
        });
        let told: Vec<(Shredded, ToldKey)> = looks.buffer_unordered(AT_ONCE).collect().await;
        self.keys.told.extend(told);
    }

    /// Counts the fragments of an object whose keys are missing or changed; returns the offsets of those without any
    /// key.
    pub(super) fn without_key(&mut self, name: &str, rows: &[Row]) -> BTreeSet<u64> {
        let (mut out, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (key, row) in keys_of(name, rows) {
            let Some(off) = row.off.filter(|off| seen.insert(*off)) else { continue };
            let Some(told) = self.keys.told.get_mut(&key) else { continue };
            let missing = told.state == State::Missing;
            if missing || told.state == State::Changed {
                told.fragments += 1;
                self.keys.fragments += 1;
            }
            if missing {
                out.insert(off);
            }
        }
        out
    }

    /// Number of an object's fragments, among those at `starts`, whose keys were changed.
    pub(super) fn with_changed_keys(&self, held: &Held, starts: &BTreeSet<u64>) -> u64 {
        let is_changed = |key: &Shredded| self.keys.told.get(key).is_some_and(|told| told.state == State::Changed);
        let changed = keys_of(&held.name, &held.rows).into_iter().filter(|(key, _)| is_changed(key));
        let starts = changed.filter_map(|(_, row)| row.off.filter(|off| starts.contains(off)));
        starts.collect::<BTreeSet<u64>>().len() as u64
    }

    /// Compares missing keys with erasures.
    pub(super) async fn settle_keys(&mut self) {
        let Keys { there, told, erasures, copies, fragments, .. } = std::mem::take(&mut self.keys);
        let mut gone: BTreeSet<Shredded> = BTreeSet::new();
        let is_there = |key: &Shredded| {
            let stem = format!("{}{}", key.folder, key.id);
            let names = there.iter().flat_map(|there| there.range(stem.clone()..));
            let mut names = names.take_while(|name| name.starts_with(&stem));
            names.any(|name| is_copy_of(name, &stem))
        };
        for ToldErasure { mut erased, keys } in erasures.into_values() {
            let back = keys.iter().filter(|key| is_there(key)).count();
            if erased.done.is_some() && back > 0 {
                let what =
                    format!("{back} of the keys that were destroyed at the request of {} are there again", erased.who);
                self.report.fail("key_back", &erased.nonce, what);
            }
            if erased.done.is_none() {
                let what = format!("the erasure of {} was begun and is not finished: run it again", erased.begun);
                self.report.warn("erasure_open", &erased.nonce, what);
            }
            let lost = keys.iter().filter(|key| !gone.contains(*key)).filter_map(|key| told.get(key));
            erased.fragments = lost.filter(|told| told.state != State::There).map(|told| told.fragments).sum();
            gone.extend(keys);
            self.report.erased.push(erased);
        }
        if !self.report.erased.is_empty() && self.options.erasers.is_empty() {
            let what = "that erasures were signed by two erasers: their public keys were not given (--erasers)";
            self.report.not_verified.push(what.to_owned());
        }
        self.keys = Keys { there, told, gone, copies, fragments, ..Keys::default() };
        self.told_keys();
        self.told_copies().await;
    }

    /// Reports keys that differ from their lines, except erased ones.
    fn told_keys(&mut self) {
        let (mut elsewhere, mut untold) = (0_u64, 0_u64);
        let none = self.keys.there.as_ref().is_some_and(BTreeSet::is_empty) && self.vault.keys_may_be_elsewhere();
        let elsewhere_too = if none { "; no key is: if they lie in another bucket, give --keys" } else { "" };
        for (key, ToldKey { sha256, state, object, fragments, at }) in &self.keys.told {
            untold += u64::from(sha256.is_none());
            match state {
                State::There => {}
                _ if self.keys.gone.contains(key) => {}
                State::Archived => self.report.counts.archived += 1,
                // its retention is over
                State::Missing if *fragments == 0 => {}
                // the chain that would record an erasure was not checked
                State::Missing if self.options.writer.is_some() => elsewhere += 1,
                State::Missing => {
                    let what = format!(
                        "the key {}{} of {fragments} fragments is not there, and no request to destroy it stands in the chain{elsewhere_too}",
                        key.folder, key.id
                    );
                    self.report.fail("key_missing", at, what);
                }
                State::Changed => {
                    let what = format!(
                        "it is not the key object that was written: damaged, or replaced; it would open {fragments} fragments"
                    );
                    self.report.fail("key_changed", object, what);
                }
                State::Unread(why) => self.report.fail("key_unreadable", object, why),
            }
        }
        if elsewhere > 0 {
            let what = format!("{elsewhere} session keys that are not there: erasures are in another writer's chain");
            self.report.not_verified.push(what);
        }
        if untold > 0 {
            let what = format!(
                "that {untold} key objects are the ones that were written: lines of older versions do not tell their hashes"
            );
            self.report.not_verified.push(what);
        }
    }

    /// Checks the copies that `rewrap` made.
    async fn told_copies(&mut self) {
        let Some(there) = &self.keys.there else { return };
        let (vault, gone) = (self.vault, &self.keys.gone);
        let erased = |name: &str| crate::folders::shredded(name).is_some_and(|key| gone.contains(&key));
        let copies = self.keys.copies.iter().filter(|(name, _)| !erased(name) && !self.is_over(name));
        let looks =
            stream::iter(copies.map(|(name, sha256)| (name.clone(), sha256.clone()))).map(async |(name, sha256)| {
                let state = match vault.key_object(&name).await {
                    _ if !there.contains(&name) => State::Missing,
                    Ok(bytes) if kernel::hex::encode(&Sha256::digest(&bytes)) == sha256 => State::There,
                    Err(StoreError::Archived) => State::Archived,
                    Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_) | StoreError::Denied(_))) => {
                        State::Unread(error.to_string())
                    }
                    Ok(_) | Err(_) => State::Changed,
                };
                (name, state)
            });
        let looked: Vec<(String, State)> = looks.buffered(AT_ONCE).collect().await;
        for (name, state) in looked {
            match state {
                State::There => {}
                State::Archived => self.report.counts.archived += 1,
                State::Missing => {
                    let what =
                        "this copy of a session key is not there, and no request to destroy it stands in the chain";
                    self.report.fail("key_missing", name, what);
                }
                State::Changed => {
                    self.report.fail(
                        "key_changed",
                        name,
                        "it is not the copy of a key that was written: damaged, or replaced",
                    );
                }
                State::Unread(why) => self.report.fail("key_unreadable", name, why),
            }
        }
    }
}
