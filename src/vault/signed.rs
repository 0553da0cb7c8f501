//! **What**: [`Signed`]: which index objects signed digests name, with their hashes. **Why**: tables, evidence and answers made of
//! lines that somebody planted would lie with a straight face. **Invariants**: only digests that a given key signed count. **Not here**: whether the chain is
//! whole (`vault verify`).

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use sha2::{Digest as _, Sha256};

use crate::vault::chain::digest::Digest;
use crate::vault::chain::note::VerifyKey;
use crate::vault::names::SIGNATURE;
use crate::vault::read::{ReadError, Vault};
use crate::vault::store::ObjectKind;
use crate::vault::verify;

/// Digests that are fetched at a time.
const AT_ONCE: usize = 16;

/// Index objects that signed digests name: SHA-256 in hex, by full name.
#[derive(Debug, Default)]
pub struct Signed(BTreeMap<String, String>);

impl Signed {
    /// What digests name that one of `keys` signed, of one account or of all.
    ///
    /// # Errors
    /// The chains can't be listed.
    pub async fn read(vault: &Vault, keys: &[VerifyKey], account: Option<&str>) -> Result<Self, ReadError> {
        Ok(Self(signed(vault, keys, account).await?))
    }

    /// Whether a digest names the object.
    pub fn names(&self, object: &str) -> bool {
        self.0.contains_key(object)
    }

    /// Whether these are the bytes that the digest means.
    pub fn is(&self, object: &str, bytes: &[u8]) -> bool {
        self.0.get(object).is_some_and(|sha256| *sha256 == crate::hex::encode(&Sha256::digest(bytes)))
    }
}

async fn signed(
    vault: &Vault,
    keys: &[VerifyKey],
    account: Option<&str>,
) -> Result<BTreeMap<String, String>, ReadError> {
    let options = verify::Options { account: account.map(str::to_owned), ..verify::Options::default() };
    let chains = verify::chains(vault, &options).await?;
    let digests = chains.iter().flat_map(|(line, epochs)| {
        epochs.iter().flat_map(move |(epoch, numbers)| {
            let folder = format!("chain/{}/{}/{epoch}", line.account, line.writer);
            numbers.iter().map(move |n| format!("{folder}/{n:010}.json"))
        })
    });
    let fetched = stream::iter(digests).map(|name| async move {
        let (name, signature) = (vault.full(&name), vault.full(&format!("{name}{SIGNATURE}")));
        let json = vault.fetch(ObjectKind::Chain, &name, None).await;
        (json, vault.fetch(ObjectKind::Chain, &signature, None).await)
    });
    let mut fetched = fetched.buffer_unordered(AT_ONCE);
    let mut found = BTreeMap::new();
    while let Some((json, signature)) = fetched.next().await {
        // one that is missing or unsigned names nothing: `vault verify` says so
        let (Ok(json), Ok(signature)) = (json, signature) else { continue };
        if keys.iter().any(|key| key.signed(&json, &signature))
            && let Ok(digest) = serde_json::from_slice::<Digest>(&json)
        {
            found.extend(digest.index.map(|index| (index.key, index.sha256)));
        }
    }
    Ok(found)
}
