//! `vault share` and `vault combine`: one auditor opens their shares of a session's keys and gives them to another.
//!
//! A share names the folder of its session's key in sealed text. So nobody who may write to the store can place a
//! session's key object under another session's name and have its shares given out. Neighbours: `read` uses given
//! shares, `vault::key_shares` has the format.

use std::collections::BTreeMap;
use std::io::Read as _;

use age::x25519::Identity;
use zeroize::Zeroizing;

use crate::error::{ReadError, Result};
use crate::folders::{KeySelection, is_share_of_folder, parse_key_name};
use crate::location::Vault;
use vault::key_shares::{CombineFailure, KeyShare, ShareEnvelope, combine_shares};
use vault::seal::key_id;
use vault::store::ObjectKind;

/// Largest file of shares, bytes: those of some thousand keys.
pub const MAX_SHARE_FILE: u64 = 8 << 20;

/// The shares of the selected keys that an auditor opens.
#[derive(Default)]
pub struct CollectedShares {
    pub shares: Vec<KeyShare>,
    /// Key objects that each of their recipients opens alone, so that they have no shares.
    pub without_shares: u64,
    /// Key objects whose shares were not taken, with the reason.
    pub refused: Vec<String>,
}

/// Opens the shares of the selected keys.
pub async fn collect_shares(vault: &Vault, auditors: &[Identity], selection: &KeySelection) -> Result<CollectedShares> {
    let mut collected = CollectedShares::default();
    for name in vault.list(ObjectKind::Key, "keys/").await? {
        let Some(relative) = vault.relative_name(&name).filter(|name| selection.matches(name)) else { continue };
        let Some(object) = vault.fetch_key_or_refuse(&name, &mut collected.refused).await? else { continue };
        if !ShareEnvelope::is_envelope(&object) {
            collected.without_shares += 1;
            continue;
        }
        match open_placed_shares(relative, &object, auditors) {
            Ok(shares) if shares.is_empty() => {
                collected.refused.push(format!("{name}: none of the given identities opens a share of it"));
            }
            Ok(shares) => collected.shares.extend(shares),
            Err(why) => collected.refused.push(format!("{name}: {why}")),
        }
    }
    Ok(collected)
}

/// The shares in the object `relative` (a name without the vault's prefix), if they belong to this place.
fn open_placed_shares(relative: &str, object: &[u8], auditors: &[Identity]) -> Result<Vec<KeyShare>, &'static str> {
    let shares = ShareEnvelope::parse(object)?.open(auditors)?;
    let named = parse_key_name(relative).ok_or("its name is not that of a key")?;
    match shares.iter().all(|share| is_share_of_folder(share, relative) && key_id(&share.public) == named.id) {
        true => Ok(shares),
        false => Err("it holds the key of another session or day: it was moved here, and is not shared"),
    }
}

/// The shares in a file: lines as [`KeyShare::to_line`] writes them, in plain text or as an age file for one of
/// `auditors`.
///
/// # Errors
/// The file opens with none of them, or a line is not a share. The error contains nothing of it.
pub fn parse_shares(file: &[u8], auditors: &[Identity]) -> Result<Vec<KeyShare>> {
    let mut text = Zeroizing::new(String::new());
    let read = if file.starts_with(b"age-encryption.org/v1\n") {
        let decryptor = age::Decryptor::new_buffered(file).map_err(|_| ReadError::new("it is a damaged age file"))?;
        let plain = decryptor
            .decrypt(auditors.iter().map(|key| key as &dyn age::Identity))
            .map_err(|_| ReadError::new("none of the given identities opens it"))?;
        plain.take(MAX_SHARE_FILE).read_to_string(&mut text)
    } else {
        file.take(MAX_SHARE_FILE).read_to_string(&mut text)
    };
    read.map_err(|_| ReadError::new("it is damaged"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let shares: Vec<KeyShare> =
        lines.map(|line| KeyShare::parse(line).map_err(ReadError::new)).collect::<Result<_, _>>()?;
    if shares.is_empty() { Err(ReadError::new("it contains no share")) } else { Ok(shares) }
}

/// The session keys that these shares give, each with the path of its folder below `keys/`.
pub fn combine_all(shares: Vec<KeyShare>) -> Vec<(String, Result<Identity, CombineFailure>)> {
    let mut splits: BTreeMap<(String, String), Vec<KeyShare>> = BTreeMap::new();
    for share in shares {
        splits.entry((share.place.clone(), share.set.clone())).or_default().push(share);
    }
    splits.into_iter().map(|((place, _), shares)| (place, combine_shares(&shares))).collect()
}

#[cfg(test)]
mod tests;
