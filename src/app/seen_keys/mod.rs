//! [`SeenKeys`]: which keys a gateway has used and since when, in a file beside the spool. It holds public ids only.
//! `check` tells a key's age from it, and a start tells that the key of pseudonyms changed. It is a note: a lost or
//! damaged file costs the dates, and no start fails for it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use kernel::calendar::rfc3339;
use kernel::clock::UnixNanos;
use kernel::files::{self, parent_folder};
use kernel::pseudonym::Pseudonymizer;
use pipeline::spool::SpoolKey;

#[cfg(test)]
mod tests;

/// File beside the spool.
const FILE: &str = "keys-seen.json";
/// Most keys that are remembered; the one that was used longest ago makes room.
const MAX_KEYS: usize = 64;
/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyUse {
    Spool,
    Pseudonyms,
    Signing,
}

/// A key that was used here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SeenKey {
    key: KeyUse,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<u8>,
    /// When it was first used here, RFC 3339.
    since: String,
}

/// The keys that were used here; the last one of a use is the present one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenKeys {
    keys: Vec<SeenKey>,
}

impl SeenKeys {
    /// Reads the file beside the spool. A missing or damaged one counts as empty.
    pub fn read(spool: &Path) -> Self {
        let path = path(spool);
        let is_small = std::fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= MAX_FILE_BYTES);
        let text = is_small.then(|| std::fs::read(&path).ok()).flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// The day on which a key with this public id was first used here.
    pub fn first_day(&self, id: &str) -> Option<&str> {
        self.keys.iter().find(|seen| seen.id == id)?.since.get(..10)
    }

    /// Makes this the present key of its use; returns the one before, if it is another.
    fn note(&mut self, key: KeyUse, id: &str, epoch: Option<u8>, now: &str) -> Option<SeenKey> {
        let before = self.keys.iter().rev().find(|seen| seen.key == key).cloned();
        if before.as_ref().is_some_and(|before| before.id == id && before.epoch == epoch) {
            return None;
        }
        let known = self.keys.iter().position(|seen| seen.key == key && seen.id == id && seen.epoch == epoch);
        let since = known.map_or_else(|| now.to_owned(), |at| self.keys.remove(at).since);
        self.keys.push(SeenKey { key, id: id.to_owned(), epoch, since });
        let surplus = self.keys.len().saturating_sub(MAX_KEYS);
        self.keys.drain(..surplus);
        before
    }
}

fn path(spool: &Path) -> PathBuf {
    parent_folder(spool).join(FILE)
}

pub(super) struct PresentKeys<'k> {
    pub(super) spool: &'k [SpoolKey],
    pub(super) pseudonyms: &'k Pseudonymizer,
    /// The public keys that verify digests.
    pub(super) signers: Vec<String>,
}

/// Notes the keys of a start with this folder of the spool, and tells in the log if pseudonyms can't be joined with
/// earlier ones.
pub(super) fn note_keys(spool: &Path, keys: PresentKeys<'_>, now: UnixNanos) {
    let (read, now) = (SeenKeys::read(spool), rfc3339(now));
    let mut seen = read.clone();
    // The first key seals, so it is the present one.
    for key in keys.spool.iter().rev() {
        seen.note(KeyUse::Spool, &key.id(), None, &now);
    }
    let mut signers = keys.signers;
    signers.sort_unstable();
    for signer in &signers {
        seen.note(KeyUse::Signing, signer, None, &now);
    }
    let epoch = keys.pseudonyms.epoch();
    if let Some(before) = seen.note(KeyUse::Pseudonyms, &keys.pseudonyms.key_id(), Some(epoch), &now) {
        tell_new_pseudonyms(&before, epoch);
    }
    if seen == read {
        return;
    }
    let written = serde_json::to_vec_pretty(&seen).map_err(std::io::Error::from).and_then(|text| {
        files::make_folders(parent_folder(spool)).and_then(|()| files::replace_file(&path(spool), &text))
    });
    if let Err(error) = written {
        let path = path(spool);
        tracing::warn!(path = %path.display(), %error, "can't note which keys are used, so `check` won't know their age");
    }
}

fn tell_new_pseudonyms(before: &SeenKey, epoch: u8) {
    let (previous, since) = (before.epoch.unwrap_or_default(), &before.since);
    let what = if epoch > previous {
        "pseudonyms have a new epoch: those made before don't match those made from now on"
    } else {
        "the pseudonym key changed, but pseudonyms.epoch is not higher than before: pseudonyms of both keys look alike \
         and don't match; set pseudonyms.epoch to the next number"
    };
    tracing::warn!(epoch, previous, since, "{what}");
}
