//! Iterates over the lines of a vault's index, from which queries start.
//!
//! No auditor's key is needed. A line that was stored twice is visited once. A few objects are fetched at a time, and
//! lines are visited in the order of object names. Anyone with write access may plant objects, so an object that no
//! gateway wrote, or that can't be read, is reported and skipped; an object larger than a gateway writes is not read.
//! Neighbours: [`SignedIndex`] (the index objects that signed digests name), `verify`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use crate::error::{ReadError, Result, ShortList};
use crate::location::Vault;
use crate::signed_index::SignedIndex;
use kernel::sha256::Sha256;
use vault::index_row::IndexRow;
use vault::object_names::{IndexName, arrival_day};
use vault::store::{ObjectKind, StoreError};

/// Most bytes of an index object after decompression.
const MAX_INDEX: u64 = 256 << 20;
/// Most bytes of an index object as stored. A gateway's object has 4 MiB of lines, or one longer line.
const MAX_STORED: u64 = 32 << 20;
/// As [`MAX_INDEX`] for objects not known to be signed, of which an attacker can write any number. A gateway's object
/// has 4 MiB of lines, or more for one request with over 50,000 items of one session, or for a large erasure.
const MAX_UNSIGNED_INDEX: u64 = 64 << 20;
/// As [`MAX_STORED`] for objects not known to be signed.
const MAX_UNSIGNED_STORED: u64 = 16 << 20;
/// Objects fetched concurrently.
const CONCURRENT_FETCHES: usize = 16;

/// The lines to visit.
#[derive(Clone, Copy)]
pub enum IndexLines<'s> {
    /// All lines; signatures are not checked.
    All,
    /// Those of the index objects that signed digests name. An object that differs from its hash in the digest is not
    /// read, and a missing one is reported.
    Signed(&'s SignedIndex),
    /// Those of the other objects: a gateway is about to sign them, or they were planted.
    Unsigned(&'s SignedIndex),
}

impl<'s> From<Option<&'s SignedIndex>> for IndexLines<'s> {
    fn from(signed: Option<&'s SignedIndex>) -> Self {
        signed.map_or(Self::All, Self::Signed)
    }
}

/// Calls `visit` with each of these lines of one account or of all accounts, and with the name of the line's object,
/// for the days of arrival (`2026-11-20`) that `is_day` accepts.
pub async fn each_row(
    vault: &Vault,
    account: Option<&str>,
    is_day: &(dyn Fn(&str) -> bool + Sync),
    lines: IndexLines<'_>,
    visit: &mut (dyn FnMut(&str, IndexRow) + Send),
) -> Result<UnreadIndex> {
    let is_object = |name: &str| match lines {
        IndexLines::All => true,
        IndexLines::Signed(signed) => signed.has_object(name),
        IndexLines::Unsigned(signed) => !signed.has_object(name),
    };
    let signed = if let IndexLines::Signed(signed) = lines { Some(signed) } else { None };
    let folder = match account {
        Some(account) => format!("index/v1/account={}/", vault::object_names::account_segment(account)),
        None => "index/v1/".to_owned(),
    };
    let (mut unreadable, mut seen) = (ShortList::default(), SeenLines::new());
    // a name without a day is not a gateway's, and is reported
    let may_be_of_day = |name: &str| vault.relative_name(name).and_then(arrival_day).is_none_or(is_day);
    let listed = vault.list(ObjectKind::Index, &folder).await?;
    let start = vault.full_name(&folder);
    let is_wanted = |name: &str| name.starts_with(&start) && may_be_of_day(name) && is_object(name);
    let missing = signed.map(|signed| signed.find_missing_objects(vault, &listed, &is_wanted)).unwrap_or_default();
    let names: Vec<String> = listed.into_iter().filter(|name| may_be_of_day(name) && is_object(name)).collect();
    let is_signed = signed.is_some();
    let objects = stream::iter(names).map(async |name| (vault.fetch_index_object(&name, is_signed).await, name));
    let mut objects = objects.buffered(CONCURRENT_FETCHES);
    while let Some((bytes, name)) = objects.next().await {
        let Some(index_name) = vault.relative_name(&name).and_then(IndexName::parse) else {
            unreadable.push(format!("{name}: not an index object name that a gateway writes: the object was planted"));
            continue;
        };
        let bytes = bytes.map_err(|error| ReadError::from_object_error(&name, &error)).and_then(|bytes| match signed {
            Some(signed) if !signed.matches_bytes(&name, &bytes) => Err(ReadError::new(format!(
                "{name}: does not match the hash in its digest; run `tollgate vault verify`"
            ))),
            _ => Ok(bytes),
        });
        let lines = bytes.and_then(|bytes| unpack_lines(&name, &bytes, is_signed));
        match lines {
            Ok(lines) => visit_object_lines(&name, &index_name, &lines, &mut seen, &mut unreadable, visit),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    missing.recent.into_iter().for_each(|message| unreadable.push(message));
    let unreadable = unreadable.finish("more unreadable objects");
    Ok(UnreadIndex { unreadable, older_missing: missing.older })
}

/// Parts of the index that were not read.
#[derive(Debug, Default)]
pub struct UnreadIndex {
    /// Unreadable objects, and signed objects that are missing although older ones exist, a line each.
    pub unreadable: Vec<String>,
    /// Signed objects that are missing and older than any that exists: their retention is over, or they were deleted.
    pub older_missing: Option<String>,
}

/// Visits the lines of one object that were not visited before; reports the others, unless they were stored twice.
fn visit_object_lines(
    name: &str,
    index_name: &IndexName,
    lines: &str,
    seen: &mut SeenLines,
    unreadable: &mut ShortList,
    visit: &mut (dyn FnMut(&str, IndexRow) + Send),
) {
    let (mut malformed, mut conflicting) = (0_u64, 0_u64);
    for line in lines.lines() {
        let row = serde_json::from_str::<IndexRow>(line).ok();
        match row.filter(|row| index_name.may_contain(row) && row.is_sane(line.len())) {
            None => malformed += 1,
            Some(row) => {
                let hash = Sha256::digest(line).first_chunk::<8>().copied().unwrap_or_default();
                match seen.entry(hash_line_place(&row)) {
                    Entry::Vacant(place) => {
                        place.insert(hash);
                        visit(name, row);
                    }
                    // an earlier, different line of this number takes precedence
                    Entry::Occupied(first) => conflicting += u64::from(*first.get() != hash),
                }
            }
        }
    }
    if malformed > 0 {
        unreadable.push(format!("{name}: {malformed} lines are malformed or do not match the object's name"));
    }
    if conflicting > 0 {
        unreadable.push(format!(
            "{name}: {conflicting} lines reuse the numbers of other lines: `tollgate vault verify` shows which lines \
             are signed"
        ));
    }
}

/// Hashes of the lines already visited, by [`hash_line_place`]. A line takes about 40 bytes.
type SeenLines = HashMap<[u8; 16], [u8; 8]>;

/// A hash of a line's place: writer, epoch and account, each preceded by its length, and leaf number.
fn hash_line_place(row: &IndexRow) -> [u8; 16] {
    let tail = &row.tail;
    let mut hasher = Sha256::new();
    hasher.update_list([&tail.writer, &tail.epoch, &tail.account]);
    hasher.update(row.leaf.to_le_bytes());
    hasher.finalize().first_chunk::<16>().copied().unwrap_or_default()
}

impl Vault {
    /// The stored bytes of an index object; an error if they exceed the limit, which is lower for an unsigned object.
    pub(crate) async fn fetch_index_object(&self, name: &str, signed: bool) -> Result<Bytes, StoreError> {
        self.fetch_within(ObjectKind::Index, name, if signed { MAX_STORED } else { MAX_UNSIGNED_STORED }).await
    }
}

/// The lines of an index object; an error if they exceed the limit, which is lower for an unsigned object.
pub(crate) fn unpack_lines(name: &str, bytes: &[u8], signed: bool) -> Result<String> {
    let lines = inflate(bytes, signed).map_err(|problem| ReadError::new(format!("{name}: {problem}")))?;
    String::from_utf8(lines).map_err(|_| ReadError::new(format!("{name}: damaged")))
}

/// An index object's decompressed bytes, or a description of the problem.
pub(crate) fn inflate(bytes: &[u8], signed: bool) -> Result<Vec<u8>, &'static str> {
    let (limit, mut lines) = (if signed { MAX_INDEX } else { MAX_UNSIGNED_INDEX }, Vec::new());
    let decoder = zstd::Decoder::new(bytes).map_err(|_| "damaged")?;
    decoder.take(limit + 1).read_to_end(&mut lines).map_err(|_| "damaged")?;
    match lines.len() as u64 {
        len if len <= limit => Ok(lines),
        _ if signed => Err("too large"),
        _ => Err("too large for an object that is not known to be signed: give --key to check signatures"),
    }
}
