//! Lists a vault's chains: accounts, writers, epochs and digest numbers. Only names are examined; `verify` judges the
//! chains.

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
    /// The writer's name.
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
    /// Names that no object of a chain can have.
    pub(crate) unrecognised: Vec<String>,
    /// Signatures beyond the newest digests of their epochs.
    pub(crate) early_signatures: Vec<EarlySignature>,
}

/// The folder of an epoch.
pub(crate) fn epoch_folder(line: &ChainId, epoch: &str) -> String {
    format!("chain/{}/{}/{epoch}/", line.account, line.writer)
}

/// The chains of a vault: accounts and writers, their epochs, the numbers of their digests. Nothing is verified.
///
/// # Errors
/// The store can't be listed.
pub(crate) async fn list_chains(vault: &Vault, scope: ChainScope<'_>) -> Result<EpochsByChain, ReadError> {
    Ok(list_chain_objects(vault, scope).await?.chains)
}

/// As [`chains`], with the objects whose names no chain uses.
///
/// # Errors
/// As [`chains`].
pub(crate) async fn list_chain_objects(vault: &Vault, scope: ChainScope<'_>) -> Result<ChainListing, ReadError> {
    let prefix = match (scope.account, scope.writer) {
        (Some(account), Some(writer)) => format!("chain/{}/{writer}/", account_segment(account)),
        (Some(account), None) => format!("chain/{}/", account_segment(account)),
        (None, _) => "chain/".to_owned(),
    };
    let (mut found, mut signatures) = (ChainListing::default(), Vec::new());
    for name in vault.list(ObjectKind::Chain, &prefix).await? {
        match vault.relative_name(&name).and_then(parse) {
            None => found.unrecognised.push(name),
            Some((line, ..)) if scope.writer.is_some_and(|writer| *writer != line.writer) => {}
            Some((line, epoch, n, false)) => signatures.push((line, epoch, n, name)),
            Some((line, epoch, n, true)) => {
                found.chains.entry(line).or_default().entry(epoch).or_default().insert(n);
            }
        }
    }
    // a missing digest between others is noticed as a gap in the numbers
    let newest = |line: &ChainId, epoch: &str| found.chains.get(line)?.get(epoch)?.last().copied();
    signatures.retain(|(line, epoch, n, _)| newest(line, epoch).is_none_or(|newest| newest < *n));
    let early = signatures.into_iter();
    found.early_signatures =
        early.map(|(line, epoch, n, name)| EarlySignature { chain: line, epoch, n, name }).collect();
    Ok(found)
}

/// The chain, epoch and number in a name, and whether the name is a digest's rather than a signature's.
fn parse(name: &str) -> Option<(ChainId, String, u64, bool)> {
    let mut parts = name.strip_prefix("chain/")?.split('/');
    let (account, writer, epoch, file) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (file, digest) = match file.strip_suffix(SIGNATURE_SUFFIX) {
        Some(file) => (file, false),
        None => (file, true),
    };
    let number = file.strip_suffix(".json")?;
    let n: u64 = number.parse().ok().filter(|n| format!("{n:010}") == number)?;
    let line = ChainId { account: account.to_owned(), writer: writer.to_owned() };
    Some((line, epoch.to_owned(), n, digest))
}
