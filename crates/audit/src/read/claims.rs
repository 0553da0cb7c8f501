//! **What**: [`KeyClaims`]: what the lines of a session, of copies and of erasures say about its key objects. **Why**:
//! whoever may write can put a key back that was destroyed by request, under a name that looks right. **Invariants**:
//! an erasure withholds a key only where its line counts as signed, so that a planted line hides nothing; where no line
//! names a key, names decide as before. **Not here**: opening (`keys`), judging the vault (`verify`).

use std::collections::{BTreeSet, HashMap, HashSet};

use vault::row::{ErasureState, KeyCopy, Row};

/// What lines say about the object of one key.
#[derive(Default)]
struct ObjectClaim {
    hashes: BTreeSet<String>,
    /// A line of an older version names the key and tells no hash.
    unhashed: bool,
}

/// What is known about the key objects of a session.
#[derive(Default)]
pub(super) struct KeyClaims {
    /// By the key's id.
    lines: HashMap<String, ObjectClaim>,
    /// Copies that `rewrap` made: names and hashes.
    copies: HashSet<(String, String)>,
    /// Ids of keys that were destroyed by request, with the request in words.
    erased: HashMap<String, String>,
    /// The same, as lines say that none of the given keys signed.
    unsigned: HashMap<String, String>,
}

/// What becomes of a key object that opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyVerdict {
    Usable,
    /// It is usable, and this is wrong with it.
    Doubtful(String),
    /// It was destroyed by request and is back.
    Erased(String),
    /// Its bytes are not those that lines tell.
    Unlisted,
}

impl KeyClaims {
    /// `rows`: the session's lines; those that count as signed come first and alone tell the hash of a key that they
    /// name.
    pub(super) fn of<'r>(
        signed: impl Iterator<Item = &'r Row>,
        unsigned: impl Iterator<Item = &'r Row>,
        copies: Vec<KeyCopy>,
    ) -> Self {
        let mut claims = Self::default();
        for row in signed {
            claims.add(row);
        }
        let known: HashSet<String> = claims.lines.keys().cloned().collect();
        for row in unsigned.filter(|row| row.tail.key_id.as_ref().is_none_or(|id| !known.contains(id))) {
            claims.add(row);
        }
        claims.copies = copies.into_iter().map(|copy| (copy.name, copy.sha256)).collect();
        claims
    }

    fn add(&mut self, row: &Row) {
        let Some(id) = &row.tail.key_id else { return };
        let claim = self.lines.entry(id.clone()).or_default();
        match &row.tail.key_sha256 {
            Some(sha256) => drop(claim.hashes.insert(sha256.clone())),
            None => claim.unhashed = true,
        }
    }

    /// Takes the erasures that name this session; `signed`: their lines count.
    pub(super) fn erase<'r>(&mut self, session: &str, erasures: impl Iterator<Item = &'r Row>, signed: bool) {
        let segment = crate::folders::segment(session);
        for row in erasures {
            let Some(erasure) = row.tail.erasure.as_deref() else { continue };
            if !erasure.sessions.iter().any(|one| one.split_once('/').is_some_and(|(_, one)| one == segment)) {
                continue;
            }
            let state = if erasure.state == ErasureState::Done { "erased" } else { "being erased" };
            let text = format!("{state} by request of {} ({})", erasure.who, erasure.why);
            let into = if signed { &mut self.erased } else { &mut self.unsigned };
            into.extend(erasure.key_ids.iter().map(|id| (id.clone(), text.clone())));
        }
    }

    /// Judges the object `name` that holds the key `id`.
    pub(super) fn judge(&self, name: &str, id: &str, sha256: &str) -> KeyVerdict {
        if let Some(text) = self.erased.get(id) {
            return KeyVerdict::Erased(format!(
                "{text}; its key is back: see `tollgate vault verify`; content is not shown"
            ));
        }
        let own = format!("{id}.age");
        let is_listed = |claim: &ObjectClaim| {
            claim.hashes.contains(sha256)
                || self.copies.contains(&(name.to_owned(), sha256.to_owned()))
                // older versions listed neither keys nor copies
                || (claim.unhashed && (claim.hashes.is_empty() || name.rsplit('/').next() == Some(&*own)))
        };
        if !self.lines.get(id).is_none_or(is_listed) {
            return KeyVerdict::Unlisted;
        }
        match self.unsigned.get(id) {
            None => KeyVerdict::Usable,
            Some(text) => KeyVerdict::Doubtful(format!(
                "{text}, says a line that none of the given keys signed, and its key is there: give the public key that signs erasures \
                 as another --key, and see `tollgate vault verify`"
            )),
        }
    }
}
