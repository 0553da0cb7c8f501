//! Checks key objects: whether each is the one in its lines, or damaged, replaced, erased by request, or missing
//! without a record. A fragment without its key is no evidence any more, so deleting or replacing a key destroys
//! evidence.
//!
//! Lines have the hash of each key's object, and `rewrap` records those of its copies. For lines of older versions
//! without hashes, this limit is reported once. A key that exists after its erasure is reported. Neighbours:
//! `erasures`, `fragment_check` (opening), `unreferenced` (objects that no line names).

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};

use crate::folders::is_copy_of;
use crate::location::Vault;
use kernel::sha256::Sha256;
use vault::index_row::{IndexRow, ShreddedKey};
use vault::object_names::{FragmentScope, ObjectName};
use vault::store::{ObjectKind, StoreError};

use super::content::ReferencedPayload;
use super::run_state::{KeyState, NamedKey, RecordedErasure, VerificationRun};

/// Key objects fetched concurrently.
const CONCURRENT_FETCHES: usize = 32;

/// The state of a key object that must have this hash.
async fn judge_key_object(vault: &Vault, name: &str, sha256: &str) -> KeyState {
    match vault.fetch_key_object(name).await {
        Ok(bytes) if kernel::hex::encode(&Sha256::digest(&bytes)) == sha256 => KeyState::Present,
        Err(StoreError::Missing) => KeyState::Missing,
        Err(StoreError::Archived) => KeyState::Archived,
        Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_) | StoreError::Denied(_))) => {
            KeyState::Unknown(error.to_string())
        }
        Ok(_) | Err(_) => KeyState::Changed,
    }
}

async fn find_key_object(
    vault: &Vault,
    present: &BTreeSet<String>,
    key: &ShreddedKey,
    sha256: Option<&str>,
) -> (KeyState, String) {
    let stem = format!("{}{}", key.folder, key.id);
    // `-` sorts before `.`, so copies precede the key itself: the ending tells them apart
    let own = format!("{stem}.age");
    let copies = present.range(stem.clone()..).take_while(|name| name.starts_with(&stem));
    let copies: Vec<&String> = copies.filter(|name| **name != own && is_copy_of(name, &stem)).collect();
    let names = present.get(&own).into_iter().chain(copies);
    let Some(wanted) = sha256 else {
        let state = if names.count() > 0 { KeyState::Present } else { KeyState::Missing };
        return (state, own);
    };
    let mut state = KeyState::Missing;
    for name in names {
        match judge_key_object(vault, name, wanted).await {
            KeyState::Present => return (KeyState::Present, name.clone()),
            KeyState::Missing => {}
            KeyState::Changed if state != KeyState::Missing => {}
            found => state = found,
        }
    }
    (state, own)
}

/// The keys that an object's lines name, with their lines.
fn named_keys<'r>(name: &str, rows: &'r [IndexRow]) -> Vec<(ShreddedKey, &'r IndexRow)> {
    let Some(object) = ObjectName::parse(name) else { return Vec::new() };
    let mut known: BTreeMap<(&str, Option<&str>, Option<&str>), String> = BTreeMap::new();
    let mut found = Vec::new();
    for row in rows {
        let (Some(_), Some(id)) = (row.off, &row.tail.key_id) else { continue };
        // lines of one session name the same folder
        let tail = &row.tail;
        let place = (tail.tenant.as_str(), tail.session_id.as_deref(), tail.trace_id.as_deref());
        let folder = || object.keys(&object.scope.clone().unwrap_or_else(|| FragmentScope::from_tail(tail)));
        let folder = known.entry(place).or_insert_with(folder).clone();
        found.push((ShreddedKey { folder, id: id.clone() }, row));
    }
    found
}

impl VerificationRun<'_> {
    /// Lists the existing key objects.
    pub(super) async fn list_keys(&mut self) {
        if self.options.no_payload || self.options.chain_only {
            return;
        }
        match self.vault.list(ObjectKind::Key, "keys/").await {
            Err(why) => self.report.not_verified.push(format!("session keys, because they can't be listed: {why}")),
            Ok(names) => self.keys.present = Some(names.into_iter().collect()),
        }
    }

    /// Checks the key objects that these objects' lines name, each once.
    pub(super) async fn check_key_objects(&mut self, payloads: &[ReferencedPayload]) {
        let Some(present) = &self.keys.present else { return };
        let mut new: BTreeMap<ShreddedKey, (Option<String>, String)> = BTreeMap::new();
        for payload in payloads {
            for (key, row) in named_keys(&payload.name, &payload.rows) {
                let named = self.keys.named.get(&key).map(|named| &named.sha256);
                let known = named.or_else(|| new.get(&key).map(|(sha256, _)| sha256));
                match known {
                    Some(known) if *known != row.tail.key_sha256 => {
                        let location = format!("{} leaf {}", payload.name, row.leaf);
                        self.report.fail("index_line", location, "two lines give different hashes for one key object");
                    }
                    Some(_) => {}
                    None => drop(new.insert(key, (row.tail.key_sha256.clone(), payload.name.clone()))),
                }
            }
        }
        let vault = self.vault;
        let checks = stream::iter(new).map(async |(key, (sha256, payload))| {
            let (state, object) = find_key_object(vault, present, &key, sha256.as_deref()).await;
            (key, NamedKey { sha256, state, object, fragments: 0, payload })
        });
        let named: Vec<(ShreddedKey, NamedKey)> = checks.buffer_unordered(CONCURRENT_FETCHES).collect().await;
        self.keys.named.extend(named);
    }

    /// Counts the fragments of an object whose keys are missing or changed; returns the offsets of those without any
    /// key.
    pub(super) fn count_missing_keys(&mut self, name: &str, rows: &[IndexRow]) -> BTreeSet<u64> {
        let (mut offsets_without_key, mut counted) = (BTreeSet::new(), BTreeSet::new());
        for (key, row) in named_keys(name, rows) {
            let Some(off) = row.off.filter(|off| counted.insert(*off)) else { continue };
            let Some(named) = self.keys.named.get_mut(&key) else { continue };
            let missing = named.state == KeyState::Missing;
            if missing || named.state == KeyState::Changed {
                named.fragments += 1;
                self.keys.unopenable_fragments += 1;
            }
            if missing {
                offsets_without_key.insert(off);
            }
        }
        offsets_without_key
    }

    /// Number of an object's fragments, among those at `starts`, whose keys were changed.
    pub(super) fn count_changed_keys(&self, payload: &ReferencedPayload, starts: &BTreeSet<u64>) -> u64 {
        let is_changed =
            |key: &ShreddedKey| self.keys.named.get(key).is_some_and(|named| named.state == KeyState::Changed);
        let changed = named_keys(&payload.name, &payload.rows).into_iter().filter(|(key, _)| is_changed(key));
        let starts = changed.filter_map(|(_, row)| row.off.filter(|off| starts.contains(off)));
        starts.collect::<BTreeSet<u64>>().len() as u64
    }

    /// Compares missing keys with erasures.
    pub(super) async fn reconcile_erasures(&mut self) {
        let erasures = std::mem::take(&mut self.keys.erasures);
        let (present, named) = (&self.keys.present, &self.keys.named);
        let mut all_erased: BTreeSet<ShreddedKey> = BTreeSet::new();
        let is_there = |key: &ShreddedKey| {
            let stem = format!("{}{}", key.folder, key.id);
            let names = present.iter().flat_map(|present| present.range(stem.clone()..));
            let mut names = names.take_while(|name| name.starts_with(&stem));
            names.any(|name| is_copy_of(name, &stem))
        };
        for RecordedErasure { mut erased, keys } in erasures.into_values() {
            let restored = keys.iter().filter(|key| is_there(key)).count();
            if erased.finished_at.is_some() && restored > 0 {
                let message = format!(
                    "{restored} keys exist again although they were destroyed at the request of {}",
                    erased.requested_by
                );
                self.report.fail("key_restored", &erased.nonce, message);
            }
            if erased.finished_at.is_none() {
                let message =
                    format!("the erasure begun at {} is not finished: run `vault erase --resume`", erased.started_at);
                self.report.warn("erasure_unfinished", &erased.nonce, message);
            }
            let lost = keys.iter().filter(|key| !all_erased.contains(*key)).filter_map(|key| named.get(key));
            erased.fragments = lost.filter(|named| named.state != KeyState::Present).map(|named| named.fragments).sum();
            all_erased.extend(keys);
            self.report.erasures.push(erased);
        }
        let unchecked = !self.report.erasures.is_empty() && self.options.erasers.is_empty();
        let signed = "that two erasers signed each erasure, because their public keys were not given (--erasers)";
        self.report.leave_out(unchecked, signed);
        self.keys.erased = all_erased;
        self.report_keys();
        self.check_key_copies().await;
    }

    /// Reports keys that differ from their lines, except erased ones.
    fn report_keys(&mut self) {
        let (mut unexplained, mut without_hash) = (0_u64, 0_u64);
        let no_key_found =
            self.keys.present.as_ref().is_some_and(BTreeSet::is_empty) && self.vault.keys_may_be_elsewhere();
        let hint = if no_key_found {
            "; no key object was found at all: if keys are in another bucket, give --keys"
        } else {
            ""
        };
        for (key, NamedKey { sha256, state, object, fragments, payload }) in &self.keys.named {
            without_hash += u64::from(sha256.is_none());
            match state {
                KeyState::Present => {}
                _ if self.keys.erased.contains(key) => {}
                KeyState::Archived => self.report.counts.archived += 1,
                // its retention is over
                KeyState::Missing if *fragments == 0 => {}
                // the chain that would record an erasure was not checked
                KeyState::Missing if self.options.writer.is_some() => unexplained += 1,
                KeyState::Missing => {
                    let message = format!(
                        "the key {}{} of {fragments} fragments is missing, and the chain records no request to destroy \
                         it{hint}",
                        key.folder, key.id
                    );
                    self.report.fail("key_missing", payload, message);
                }
                KeyState::Changed => {
                    let message = format!(
                        "it differs from the key object that was written, because it was damaged or replaced; \
                         {fragments} fragments need it"
                    );
                    self.report.fail("key_changed", object, message);
                }
                KeyState::Unknown(why) => self.report.fail("key_unreadable", object, why),
            }
        }
        let missing = "missing session keys: erasures are recorded in another writer's chain, which --writer excludes";
        self.report.leave_out_some(unexplained, missing);
        let unchanged = "key objects are unchanged, because lines of older versions do not contain their hashes";
        self.report.leave_out(without_hash > 0, &format!("that {without_hash} {unchanged}"));
    }

    /// Checks the copies that `rewrap` made.
    async fn check_key_copies(&mut self) {
        let Some(present) = &self.keys.present else { return };
        let (vault, all_erased) = (self.vault, &self.keys.erased);
        let is_erased = |name: &str| crate::folders::parse_key_name(name).is_some_and(|key| all_erased.contains(&key));
        let copies = self.keys.copies.iter().filter(|(name, _)| !is_erased(name) && !self.is_over(name));
        let checks =
            stream::iter(copies.map(|(name, sha256)| (name.clone(), sha256.clone()))).map(async |(name, sha256)| {
                if !present.contains(&name) {
                    return (name, KeyState::Missing);
                }
                let state = judge_key_object(vault, &name, &sha256).await;
                (name, state)
            });
        let states: Vec<(String, KeyState)> = checks.buffered(CONCURRENT_FETCHES).collect().await;
        for (name, state) in states {
            match state {
                KeyState::Present => {}
                KeyState::Archived => self.report.counts.archived += 1,
                KeyState::Missing => {
                    let message =
                        "this copy of a session key is missing, and the chain records no request to destroy it";
                    self.report.fail("key_missing", name, message);
                }
                KeyState::Changed => {
                    let message = "it differs from the key copy that was written: damaged or replaced";
                    self.report.fail("key_changed", name, message);
                }
                KeyState::Unknown(why) => self.report.fail("key_unreadable", name, why),
            }
        }
    }
}
