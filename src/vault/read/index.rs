//! **What**: every line of a vault's index, one after the other. **Why**: questions and proofs begin there.
//! **Invariants**: needs no auditor's key; a line that was stored twice comes once; one object is in memory at a time;
//! anybody who may write may plant, so an object that is none of a gateway's, or can't be read, ends nothing: it is told.
//! **Not here**: whether a line is what was signed (`vault/verify`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;

use sha2::{Digest, Sha256};

use crate::vault::names::IndexName;
use crate::vault::row::Row;
use crate::vault::store::ObjectKind;

use super::{ReadError, Vault};

/// Largest index object, bytes after decompression.
const MAX_INDEX: u64 = 256 << 20;
/// Objects that could not be read and are named.
const MAX_CLOSED: usize = 100;

/// Calls `visit` with each line, of one account or of all, of the days of arrival (`2026-11-20`) that `day` says yes to.
/// Gives what could not be read, a line each.
///
/// # Errors
/// One line: the index can't be listed.
pub async fn each_row(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    visit: &mut (dyn FnMut(Row) + Send),
) -> Result<Vec<String>, ReadError> {
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
) -> Result<Vec<String>, ReadError> {
    let folder = match account {
        Some(account) => format!("index/v1/account={}/", crate::vault::names::account_segment(account)),
        None => "index/v1/".to_owned(),
    };
    let mut closed = Closed::default();
    // what stands for a line: its bytes' hash, so that another line in its place is seen
    let mut seen: HashMap<(String, String, u64), [u8; 8]> = HashMap::new();
    let day_of = |name: &str| name.split('/').find_map(|part| part.strip_prefix("dt=")).is_none_or(day);
    for name in vault.list(ObjectKind::Index, &folder).await?.into_iter().filter(|name| day_of(name) && object(name)) {
        let Some(own) = vault.relative(&name).and_then(IndexName::parse) else {
            closed.add(format!("{name}: no gateway gives an index object such a name; it was planted"));
            continue;
        };
        let bytes = vault.fetch(ObjectKind::Index, &name, None).await;
        let lines = match bytes.and_then(|bytes| unpack(&name, &bytes)) {
            Ok(lines) => lines,
            Err(why) => {
                closed.add(why);
                continue;
            }
        };
        let (mut strange, mut twice) = (0_u64, 0_u64);
        for line in lines.lines() {
            let row = serde_json::from_str::<Row>(line).ok().filter(|row| own.holds(row));
            let Some(row) = row else {
                strange += 1;
                continue;
            };
            let hash = Sha256::digest(line).first_chunk::<8>().copied().unwrap_or_default();
            let key = (row.tail.writer.clone(), row.tail.epoch.clone() + "/" + &row.tail.account, row.leaf);
            match seen.entry(key) {
                Entry::Occupied(before) => twice += u64::from(*before.get() != hash),
                Entry::Vacant(place) => {
                    place.insert(hash);
                    visit(row);
                }
            }
        }
        if strange > 0 {
            closed.add(format!("{name}: {strange} lines are not index lines of its name"));
        }
        if twice > 0 {
            closed.add(format!(
                "{name}: {twice} lines claim numbers of others: `tollgate vault verify` tells which were signed"
            ));
        }
    }
    Ok(closed.list())
}

impl IndexName {
    /// Whether a line can stand in an object of this name.
    pub(super) fn holds(&self, row: &Row) -> bool {
        let tail = &row.tail;
        let account = crate::vault::names::account_segment(&tail.account) == self.account;
        account && tail.writer == self.writer && row.leaf >= self.first
    }
}

/// What could not be read, bounded.
#[derive(Default)]
struct Closed {
    told: Vec<String>,
    more: u64,
}

impl Closed {
    fn add(&mut self, why: String) {
        if self.told.len() < MAX_CLOSED { self.told.push(why) } else { self.more += 1 }
    }

    fn list(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more objects", self.more));
        }
        self.told
    }
}

/// An index object's lines.
pub(crate) fn unpack(name: &str, bytes: &[u8]) -> Result<String, ReadError> {
    let lines = inflate(bytes).map_err(|why| format!("{name}: {why}"))?;
    String::from_utf8(lines).map_err(|_| format!("{name}: damaged"))
}

/// An index object's bytes, decompressed; else what is wrong with it, in words.
pub(crate) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut lines = Vec::new();
    let decoder = zstd::Decoder::new(bytes).map_err(|_| "damaged")?;
    decoder.take(MAX_INDEX + 1).read_to_end(&mut lines).map_err(|_| "damaged")?;
    if lines.len() as u64 > MAX_INDEX { Err("too large") } else { Ok(lines) }
}
