//! **What**: [`NewestErasures`]: the newest digest of each chain of erasures, as erasers reported them
//! ([`ErasureHead`]). **Why**: the gateway's digests name it, so that a chain of erasures can't be removed without a
//! trace (docs/vault.md). **Invariants**: only a digest signed by a configured key counts; a newer one is never
//! replaced by an older one. **Not here**: how an eraser reports one (`uploader/erasures`), checking that it is still
//! stored (`audit`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::digest::{Digest, Link};
use super::note::VerifyKey;

/// Chains of erasures of one account: more writers than that are a mistake.
const MAX_WRITERS: usize = 16;

/// A signed digest of a chain of erasures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureHead {
    account: String,
    writer: String,
    link: Link,
}

impl ErasureHead {
    /// Checks the signature of a digest's bytes.
    ///
    /// # Errors
    /// Why the digest does not count.
    pub fn open(digest: &[u8], signature: &[u8], keys: &[VerifyKey]) -> Result<Self, &'static str> {
        if !keys.iter().any(|key| key.signed(digest, signature)) {
            return Err("the digest is signed by no key of `erasure_keys`");
        }
        let parsed: Digest = serde_json::from_slice(digest).map_err(|_| "the body holds no digest")?;
        let link = Link { epoch: parsed.epoch, n: parsed.n, sha256: kernel::hex::encode(&Sha256::digest(digest)) };
        Ok(Self { account: parsed.account, writer: parsed.writer, link })
    }
}

/// By account and writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NewestErasures(BTreeMap<String, BTreeMap<String, Link>>);

impl NewestErasures {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a head if it is newer than the known one; epochs of a chain of erasures are named in their order. True: it
    /// was newer.
    pub fn add(&mut self, head: &ErasureHead) -> bool {
        let writers = self.0.entry(head.account.clone()).or_default();
        if writers.get(&head.writer).map_or(writers.len() >= MAX_WRITERS, |known| !is_newer(&head.link, known)) {
            return false;
        }
        writers.insert(head.writer.clone(), head.link.clone());
        true
    }

    /// Those of one account.
    pub fn of(&self, account: &str) -> BTreeMap<String, Link> {
        self.0.get(account).cloned().unwrap_or_default()
    }
}

/// Whether `one` comes after `other` in a chain of erasures.
pub fn is_newer(one: &Link, other: &Link) -> bool {
    (&one.epoch, one.n) > (&other.epoch, other.n)
}
