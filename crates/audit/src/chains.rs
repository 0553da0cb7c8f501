//! Lists a vault's chains by the names of their objects: accounts, writers, epochs and digest numbers. No object is
//! read. Neighbour: `verify` checks the chains.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Result;
use super::location::Vault;
use vault::object_names::{SIGNATURE_SUFFIX, account_segment};
use vault::store::ObjectKind;

/// Identifies the chain of one account and one writer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    /// The account, spelled as in object names.
    pub account: String,
    pub writer: String,
}

/// Epochs with the numbers of their digests, by account and writer.
pub(crate) type EpochsByChain = BTreeMap<ChainId, BTreeMap<String, BTreeSet<u64>>>;

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

/// Lists the vault's chains, if given only those of an account or of a writer. Verifies nothing.
pub(crate) async fn list_chains(vault: &Vault, account: Option<&str>, writer: Option<&str>) -> Result<ChainListing> {
    let prefix = match (account.map(account_segment), writer) {
        (Some(account), Some(writer)) => format!("chain/{account}/{writer}/"),
        (Some(account), None) => format!("chain/{account}/"),
        (None, _) => "chain/".to_owned(),
    };
    let (mut listing, mut signatures) = (ChainListing::default(), Vec::new());
    for name in vault.list(ObjectKind::Chain, &prefix).await? {
        match vault.relative_name(&name).and_then(parse_object_name) {
            None => listing.unrecognised.push(name),
            Some((chain, ..)) if writer.is_some_and(|writer| *writer != chain.writer) => {}
            Some((chain, epoch, n, true)) => signatures.push(EarlySignature { chain, epoch, n, name }),
            Some((chain, epoch, n, false)) => {
                listing.chains.entry(chain).or_default().entry(epoch).or_default().insert(n);
            }
        }
    }
    // signatures up to the newest digest are left out: their missing digests show as gaps in the numbers
    let newest_digest = |chain: &ChainId, epoch: &str| listing.chains.get(chain)?.get(epoch)?.last().copied();
    signatures.retain(|one| newest_digest(&one.chain, &one.epoch).is_none_or(|newest| newest < one.n));
    listing.early_signatures = signatures;
    Ok(listing)
}

/// The chain, the epoch, and the number of a digest, or of a signature (`true`).
fn parse_object_name(name: &str) -> Option<(ChainId, String, u64, bool)> {
    let parts: Vec<&str> = name.split('/').collect();
    let ["chain", account, writer, epoch, file] = parts[..] else { return None };
    let signed_file = file.strip_suffix(SIGNATURE_SUFFIX);
    let number = signed_file.unwrap_or(file).strip_suffix(".json")?;
    let n: u64 = number.parse().ok().filter(|n| format!("{n:010}") == number)?;
    let chain = ChainId { account: account.to_owned(), writer: writer.to_owned() };
    Some((chain, epoch.to_owned(), n, signed_file.is_some()))
}
