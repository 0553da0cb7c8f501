//! [`KeyClaims`]: checks a session's key objects against index lines of the session, of key copies and of erasures. An
//! attacker could put back a key that was destroyed by request, under a plausible name.
//!
//! An erasure withholds a key only if its line counts as signed, so that a planted line hides nothing. A key that no
//! line names is usable under its own name. Neighbours: `session_keys` (opening), `verify` (the whole vault).

use std::collections::{BTreeSet, HashMap, HashSet};

use vault::index_row::{ErasureState, IndexRow, KeyCopy};

/// SHA-256 (hex) of one key's object, on which lines may disagree; `None` in a line of an older version.
type ObjectClaim = BTreeSet<Option<String>>;

/// Claims about a session's key objects.
#[derive(Default)]
pub(crate) struct KeyClaims {
    objects: HashMap<String, ObjectClaim>,
    /// Name and hash of the copies that `rewrap` made.
    copies: HashSet<(String, String)>,
    /// Ids of keys that were destroyed by request, with a description of the request.
    erased: HashMap<String, String>,
    /// The same, from lines that none of the given keys signed.
    erased_unsigned: HashMap<String, String>,
}

/// The verdict on a key object that opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyVerdict {
    /// The key is usable, maybe with a warning.
    Usable(Option<String>),
    /// The key was destroyed by request and is back.
    Erased(String),
    /// The object's hash is not in any line.
    Unlisted,
}

impl KeyClaims {
    /// Collects claims from the session's lines. Lines that count as signed take precedence: for a key that they name,
    /// they alone determine the hash.
    pub(super) fn collect<'r>(
        signed: impl Iterator<Item = &'r IndexRow>,
        unsigned: impl Iterator<Item = &'r IndexRow>,
        copies: Vec<KeyCopy>,
    ) -> Self {
        let mut claims = Self::default();
        for row in signed {
            claims.add(row);
        }
        let signed_ids: HashSet<String> = claims.objects.keys().cloned().collect();
        for row in unsigned.filter(|row| row.tail.key_id.as_ref().is_none_or(|id| !signed_ids.contains(id))) {
            claims.add(row);
        }
        claims.copies = copies.into_iter().map(|copy| (copy.name, copy.sha256)).collect();
        claims
    }

    fn add(&mut self, row: &IndexRow) {
        let Some(id) = &row.tail.key_id else { return };
        self.objects.entry(id.clone()).or_default().insert(row.tail.key_sha256.clone());
    }

    /// Adds the erasures that name this session; `signed` says whether their lines count.
    pub(super) fn add_erasures<'r>(
        &mut self,
        session: &str,
        erasures: impl Iterator<Item = &'r IndexRow>,
        signed: bool,
    ) {
        let segment = crate::folders::encode_segment(session);
        for row in erasures {
            let Some(erasure) = row.tail.erasure.as_deref() else { continue };
            if !erasure.sessions.iter().any(|name| name.split_once('/').is_some_and(|(_, name)| name == segment)) {
                continue;
            }
            let state = if erasure.state == ErasureState::Done { "erased" } else { "being erased" };
            let description = format!("{state} by request of {} ({})", erasure.who, erasure.why);
            let erased = if signed { &mut self.erased } else { &mut self.erased_unsigned };
            erased.extend(erasure.key_ids.iter().map(|id| (id.clone(), description.clone())));
        }
    }

    /// Judges the object `name`, which holds the key `id` and has the hash `sha256`.
    pub(super) fn judge_key(&self, name: &str, id: &str, sha256: &str) -> KeyVerdict {
        if let Some(erasure) = self.erased.get(id) {
            return KeyVerdict::Erased(format!(
                "{erasure}, but its key exists again, so its content is not shown: run `tollgate vault verify`"
            ));
        }
        let original_file = format!("{id}.age");
        let is_listed = |claim: &ObjectClaim| {
            claim.contains(&Some(sha256.to_owned()))
                || self.copies.contains(&(name.to_owned(), sha256.to_owned()))
                // older versions listed neither hashes nor copies
                || (claim.contains(&None) && (claim.len() == 1 || name.rsplit('/').next() == Some(&*original_file)))
        };
        if !self.objects.get(id).is_none_or(is_listed) {
            return KeyVerdict::Unlisted;
        }
        KeyVerdict::Usable(self.erased_unsigned.get(id).map(|erasure| {
            format!(
                "{erasure} according to an unsigned line, but its key still exists: give the public key that signs \
                 erasures as another --key, and run `tollgate vault verify`"
            )
        }))
    }
}
