//! **What**: every line of a vault's index, one after the other. **Invariants**: needs no auditor's key; a line that was
//! stored twice comes once; one object is in memory at a time.

use std::collections::HashSet;
use std::io::Read;

use crate::vault::row::Row;
use crate::vault::store::ObjectKind;

use super::{ReadError, Vault};

/// Largest index object, bytes after decompression.
const MAX_INDEX: u64 = 256 << 20;

/// Calls `visit` with each line, of one account or of all, of the days of arrival (`2026-11-20`) that `day` says yes to.
///
/// # Errors
/// One line: the store fails, or an object is damaged.
pub async fn each_row(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    visit: &mut (dyn FnMut(Row) + Send),
) -> Result<(), ReadError> {
    each_row_of(vault, account, day, &|_| true, visit).await
}

/// As [`each_row`], of the index objects whose names `object` says yes to.
///
/// # Errors
/// As [`each_row`].
pub async fn each_row_of(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    object: &(dyn Fn(&str) -> bool + Sync),
    visit: &mut (dyn FnMut(Row) + Send),
) -> Result<(), ReadError> {
    let folder = match account {
        Some(account) => format!("index/v1/account={}/", crate::vault::names::account_segment(account)),
        None => "index/v1/".to_owned(),
    };
    let mut seen: HashSet<(String, String, u64)> = HashSet::new();
    let day_of = |name: &str| name.split('/').find_map(|part| part.strip_prefix("dt=")).is_none_or(day);
    for name in vault.list(ObjectKind::Index, &folder).await?.into_iter().filter(|name| day_of(name) && object(name)) {
        let bytes = vault.fetch(ObjectKind::Index, &name, None).await?;
        let lines = unpack(&bytes).ok_or_else(|| format!("{name}: damaged, or too large"))?;
        for line in lines.lines() {
            let row: Row = serde_json::from_str(line).map_err(|_| format!("{name}: a line is not an index line"))?;
            if seen.insert((row.tail.writer.clone(), row.tail.epoch.clone() + "/" + &row.tail.account, row.leaf)) {
                visit(row);
            }
        }
    }
    Ok(())
}

/// An index object's lines.
pub(crate) fn unpack(bytes: &[u8]) -> Option<String> {
    let mut lines = String::new();
    zstd::Decoder::new(bytes).ok()?.take(MAX_INDEX + 1).read_to_string(&mut lines).ok()?;
    (lines.len() as u64 <= MAX_INDEX).then_some(lines)
}
