//! Lists a vault's chains by the names of their objects: accounts, writers, epochs and digest numbers. No object is
//! read. Neighbour: `verify` checks the chains.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ReadError;
use super::location::Vault;
use vault::object_names::{SIGNATURE_SUFFIX, account_segment};
use vault::store::ObjectKind;

/// Identifies the chain of one account and one writer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    /// The account, spelled as in object names.
    pub account: String,
    pub writer: String,
}

/// Epochs with the numbers of their digests, by account and writer.
pub(crate) type EpochsByChain = BTreeMap<ChainId, BTreeMap<String, BTreeSet<u64>>>;

/// Selects chains: of all accounts and writers, of one account, or of one writer.
#[derive(Clone, Copy, Default)]
pub(crate) struct ChainScope<'a> {
    pub(crate) account: Option<&'a str>,
    pub(crate) writer: Option<&'a str>,
}

/// A signature whose number is beyond its epoch's newest digest.
pub(crate) struct EarlySignature {
    pub(crate) chain: ChainId,
    pub(crate) epoch: String,
    pub(crate) n: u64,
    pub(crate) name: String,
}

/// Names of a vault's chains.
#[derive(Default)]
pub(crate) struct ChainListing {
    /// Epochs with the numbers of their digests.
    pub(crate) chains: EpochsByChain,
    /// Names in the chains' folder that no object of a chain can have.
    pub(crate) unrecognised: Vec<String>,
    /// Signatures beyond the newest digests of their epochs.
    pub(crate) early_signatures: Vec<EarlySignature>,
}

/// The folder of an epoch, without the vault's prefix.
pub(crate) fn epoch_folder(chain: &ChainId, epoch: &str) -> String {
    format!("chain/{}/{}/{epoch}/", chain.account, chain.writer)
}

/// The vault's chains that `scope` selects. Nothing is verified.
pub(crate) async fn list_chains(vault: &Vault, scope: ChainScope<'_>) -> Result<EpochsByChain, ReadError> {
    Ok(list_chain_objects(vault, scope).await?.chains)
}

/// As [`list_chains`], with unrecognised names and early signatures.
pub(crate) async fn list_chain_objects(vault: &Vault, scope: ChainScope<'_>) -> Result<ChainListing, ReadError> {
    let prefix = match (scope.account, scope.writer) {
        (Some(account), Some(writer)) => format!("chain/{}/{writer}/", account_segment(account)),
        (Some(account), None) => format!("chain/{}/", account_segment(account)),
        (None, _) => "chain/".to_owned(),
    };
    let (mut listing, mut signatures) = (ChainListing::default(), Vec::new());
    for name in vault.list(ObjectKind::Chain, &prefix).await? {
        match vault.relative_name(&name).and_then(parse_object_name) {
            None => listing.unrecognised.push(name),
            Some((chain, ..)) if scope.writer.is_some_and(|writer| *writer != chain.writer) => {}
            Some((chain, epoch, n, ChainObject::Digest)) => {
                listing.chains.entry(chain).or_default().entry(epoch).or_default().insert(n);
            }
            Some((chain, epoch, n, ChainObject::Signature)) => {
                signatures.push(EarlySignature { chain, epoch, n, name });
            }
        }
    }
    // signatures up to the newest digest are left out: their missing digests show as gaps in the numbers
    let newest_digest = |chain: &ChainId, epoch: &str| listing.chains.get(chain)?.get(epoch)?.last().copied();
    signatures.retain(|one| newest_digest(&one.chain, &one.epoch).is_none_or(|newest| newest < one.n));
    listing.early_signatures = signatures;
    Ok(listing)
}

enum ChainObject {
    Digest,
    Signature,
}

/// The chain, the epoch, and the number of a digest or signature.
fn parse_object_name(name: &str) -> Option<(ChainId, String, u64, ChainObject)> {
    let parts: Vec<&str> = name.split('/').collect();
    let ["chain", account, writer, epoch, file] = parts[..] else { return None };
    let (file, kind) = match file.strip_suffix(SIGNATURE_SUFFIX) {
        Some(file) => (file, ChainObject::Signature),
        None => (file, ChainObject::Digest),
    };
    let number = file.strip_suffix(".json")?;
    let n: u64 = number.parse().ok().filter(|n| format!("{n:010}") == number)?;
    Some((ChainId { account: account.to_owned(), writer: writer.to_owned() }, epoch.to_owned(), n, kind))
}
