//! [`NewestErasures`]: the newest digest of each chain of erasures, as erasers reported it ([`ErasureHead`]). The
//! gateway's digests include it, so that a chain of erasures can't be removed without a trace (docs/vault.md).
//!
//! Only a digest signed by a configured key counts, and an older digest never replaces a newer one. Neighbours:
//! `uploader/erasures` receives the reports, the crate `audit` checks that the reported digests are still stored.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

use super::digest::{ChainDigest, DigestLink};
use super::note::{SigningKey, VerifyKey};

/// Limit for an account's chains of erasures, one per writer; more indicate a mistake.
const MAX_WRITERS: usize = 16;

/// A digest of a chain of erasures whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureHead {
    account: String,
    writer: String,
    link: DigestLink,
}

impl ErasureHead {
    /// Checks the signature of a digest's bytes and parses it.
    ///
    /// # Errors
    /// The reason why the digest does not count.
    pub fn verify(digest: &[u8], signature: &[u8], keys: &[VerifyKey]) -> Result<Self, &'static str> {
        if !keys.iter().any(|key| key.is_signed(digest, signature)) {
            return Err("no key in `erasure_keys` signed this digest");
        }
        let parsed: ChainDigest = serde_json::from_slice(digest).map_err(|_| "the request body is not a digest")?;
        let link =
            DigestLink { epoch: parsed.epoch, n: parsed.n, sha256: kernel::hex::encode(&Sha256::digest(digest)) };
        Ok(Self { account: parsed.account, writer: parsed.writer, link })
    }
}

/// Runs that a gateway deletes from its own history, because their content was erased.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ErasedRuns {
    pub account: String,
    /// Pseudonyms of users, as shown in spans.
    pub users: Vec<String>,
    /// The id of one session.
    pub session: Option<String>,
}

/// The body of a report to a gateway: the newest digest and its signature in base64, and whose runs were erased.
#[derive(Serialize, Deserialize)]
pub struct ErasureReport {
    digest: String,
    signature: String,
    /// [`ErasedRuns`] as JSON, and the signature of [`ErasureReport::RUNS_CONTEXT`] with it.
    #[serde(default)]
    runs: String,
    #[serde(default)]
    runs_signature: String,
}

impl ErasureReport {
    /// What the signature of `runs` begins with: it stands for nothing else that the key signs.
    const RUNS_CONTEXT: &str = "tollgate erased runs v1\n";

    /// The path of reports on the admin port.
    pub const PATH: &str = "/-/erasures";

    /// Encodes a digest with its signature, and signs whose runs were erased.
    pub fn new(digest: &[u8], signature: &[u8], runs: &ErasedRuns, key: &SigningKey) -> Self {
        let runs = serde_json::to_string(runs).unwrap_or_default();
        let runs_signature = STANDARD.encode(key.sign(&[Self::RUNS_CONTEXT.as_bytes(), runs.as_bytes()].concat()));
        Self { digest: STANDARD.encode(digest), signature: STANDARD.encode(signature), runs, runs_signature }
    }

    /// Whose runs were erased, if one of the keys signed that; nobody's if the report names none.
    ///
    /// # Errors
    /// The reason why the report does not count.
    pub fn erased_runs(&self, keys: &[VerifyKey]) -> Result<ErasedRuns, &'static str> {
        if self.runs.is_empty() {
            return Ok(ErasedRuns::default());
        }
        let signed = [Self::RUNS_CONTEXT.as_bytes(), self.runs.as_bytes()].concat();
        let signature = STANDARD.decode(&self.runs_signature).unwrap_or_default();
        if !keys.iter().any(|key| key.is_signed(&signed, &signature)) {
            return Err("no key in `erasure_keys` signed whose runs were erased");
        }
        serde_json::from_str(&self.runs).map_err(|_| "`runs` does not say whose runs were erased")
    }

    /// The digest and its signature, if both are base64.
    pub fn decode(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        STANDARD.decode(&self.digest).ok().zip(STANDARD.decode(&self.signature).ok())
    }
}

/// Newest digests by account and writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NewestErasures(BTreeMap<String, BTreeMap<String, DigestLink>>);

impl NewestErasures {
    /// Whether no erasures were reported.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Stores a head if it is newer than the known one of its writer, or the first of its writer and there are fewer
    /// than `MAX_WRITERS`. Returns whether the head was stored. Epochs of a chain of erasures sort in their order.
    pub fn add(&mut self, head: &ErasureHead) -> bool {
        let writers = self.0.entry(head.account.clone()).or_default();
        if writers.get(&head.writer).map_or(writers.len() >= MAX_WRITERS, |known| !is_newer(&head.link, known)) {
            return false;
        }
        writers.insert(head.writer.clone(), head.link.clone());
        true
    }

    pub fn of_account(&self, account: &str) -> BTreeMap<String, DigestLink> {
        self.0.get(account).cloned().unwrap_or_default()
    }
}

/// Whether `digest` comes after `known` in a chain of erasures.
pub fn is_newer(digest: &DigestLink, known: &DigestLink) -> bool {
    (&digest.epoch, digest.n) > (&known.epoch, known.n)
}
