//! **What**: which index objects signed digests name, with their hashes. **Why**: a table of lines that somebody planted would
//! lie with a straight face. **Invariants**: only digests that a given key signed count. **Not here**: whether the chain is
//! whole (`vault verify`).

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};

use crate::vault::chain::digest::Digest;
use crate::vault::chain::note::VerifyKey;
use crate::vault::names::SIGNATURE;
use crate::vault::read::{ReadError, Vault};
use crate::vault::store::ObjectKind;
use crate::vault::verify;

/// Digests that are fetched at a time.
const AT_ONCE: usize = 16;

/// SHA-256 in hex of each index object that a digest signed by one of `keys` names, by the object's full name.
pub(super) async fn signed(
    vault: &Vault,
    keys: &[VerifyKey],
    account: Option<&String>,
) -> Result<BTreeMap<String, String>, ReadError> {
    let options = verify::Options { account: account.cloned(), ..verify::Options::default() };
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
