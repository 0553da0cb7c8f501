//! Iterates over the lines of a vault's index, from which queries and proofs start.
//!
//! No auditor's key is needed. A line that was stored twice is visited once. A few objects are fetched at a time, and
//! lines come in the order of object names. Anyone with write access may plant objects, so an object that no gateway
//! wrote, or that can't be read, is reported and skipped, and an object too large for a gateway is not read. A digest
//! is a signed list of index objects and their hashes.
//! Neighbours: [`SignedIndex`] (which objects are signed), `verify`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use sha2::{Digest, Sha256};

use crate::error::ReadError;
use crate::location::Vault;
use crate::signed_index::SignedIndex;
use vault::index_row::IndexRow;
use vault::object_names::{IndexName, arrival_day};
use vault::store::{ObjectKind, StoreError};

/// Largest index object, bytes after decompression.
const MAX_INDEX: u64 = 256 << 20;
/// Largest index object as stored, bytes: a gateway's objects have 4 MiB of lines, or one longer line.
const MAX_STORED: u64 = 32 << 20;
/// The same limits for objects not known to be signed, of which an attacker can write any number: decompressed, and as
/// stored. A gateway's objects have 4 MiB of lines, or more for one request with over 50,000 items of one session, or
/// for a large erasure.
const MAX_UNSIGNED: (u64, u64) = (64 << 20, 16 << 20);
/// Objects fetched concurrently.
const CONCURRENT_FETCHES: usize = 16;
/// Maximum number of unreadable objects that are listed.
const MAX_LISTED_UNREADABLE: usize = 100;

/// Calls `visit` with each line, of one account or of all, for the days of arrival (`2026-11-20`) that `day` accepts.
/// Returns the unreadable parts, a line each.
///
/// # Errors
/// The index can't be listed.
pub async fn each_row(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    visit: &mut (dyn FnMut(IndexRow) + Send),
) -> Result<Vec<String>, ReadError> {
    each_row_in_objects(vault, account, day, &|_| true, visit).await
}

/// As [`each_row`], for the index objects whose names `object` accepts.
///
/// # Errors
/// As [`each_row`].
pub async fn each_row_in_objects(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    object: &(dyn Fn(&str) -> bool + Sync),
    visit: &mut (dyn FnMut(IndexRow) + Send),
) -> Result<Vec<String>, ReadError> {
    Ok(visit_index_rows(vault, account, day, object, None, &mut |_, row| visit(row)).await?.unreadable)
}

/// As [`each_row`], for the index objects that signed digests name. An object that differs from its hash in the
/// digest is not read, and a missing one is reported.
///
/// # Errors
/// As [`each_row`].
pub async fn each_signed_row(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    signed: &SignedIndex,
    visit: &mut (dyn FnMut(IndexRow) + Send),
) -> Result<UnreadIndex, ReadError> {
    each_signed_row_in_objects(vault, account, day, &|_| true, signed, visit).await
}

/// As [`each_signed_row`], for the objects whose names `object` accepts.
///
/// # Errors
/// As [`each_row`].
pub(super) async fn each_signed_row_in_objects(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    object: &(dyn Fn(&str) -> bool + Sync),
    signed: &SignedIndex,
    visit: &mut (dyn FnMut(IndexRow) + Send),
) -> Result<UnreadIndex, ReadError> {
    let object = |name: &str| signed.has_object(name) && object(name);
    visit_index_rows(vault, account, day, &object, Some(signed), &mut |_, row| visit(row)).await
}

/// As [`each_row`], for the index objects that no signed digest names, each line with its object: objects that a
/// gateway is about to sign, or planted ones.
///
/// # Errors
/// As [`each_row`].
pub async fn each_unsigned_row(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    signed: &SignedIndex,
    visit: &mut (dyn FnMut(&str, IndexRow) + Send),
) -> Result<Vec<String>, ReadError> {
    Ok(visit_index_rows(vault, account, day, &|name| !signed.has_object(name), None, visit).await?.unreadable)
}

async fn visit_index_rows(
    vault: &Vault,
    account: Option<&str>,
    day: &(dyn Fn(&str) -> bool + Sync),
    object: &(dyn Fn(&str) -> bool + Sync),
    signed: Option<&SignedIndex>,
    visit: &mut (dyn FnMut(&str, IndexRow) + Send),
) -> Result<UnreadIndex, ReadError> {
    let folder = match account {
        Some(account) => format!("index/v1/account={}/", vault::object_names::account_segment(account)),
        None => "index/v1/".to_owned(),
    };
    let mut closed = UnreadableObjects::default();
    let mut seen = SeenLines::default();
    // a name without a day is not a gateway's, and is reported
    let day_of = |name: &str| vault.relative_name(name).and_then(arrival_day).is_none_or(day);
    let listed = vault.list(ObjectKind::Index, &folder).await?;
    let start = vault.full_name(&folder);
    let asked = |name: &str| name.starts_with(&start) && day_of(name) && object(name);
    let absent = signed.map(|signed| signed.find_missing_objects(vault, &listed, &asked)).unwrap_or_default();
    let names = listed.into_iter().filter(|name| day_of(name) && object(name));
    let names: Vec<String> = names.collect();
    let is_signed = signed.is_some();
    let objects = stream::iter(names).map(async |name| (vault.fetch_index_object(&name, is_signed).await, name));
    let mut objects = objects.buffered(CONCURRENT_FETCHES);
    while let Some((bytes, name)) = objects.next().await {
        let Some(own) = vault.relative_name(&name).and_then(IndexName::parse) else {
            closed.add(format!("{name}: not an index object name that a gateway writes: the object was planted"));
            continue;
        };
        let bytes = bytes.map_err(|error| ReadError::from_object_error(&name, &error)).and_then(|bytes| match signed {
            Some(signed) if !signed.matches_bytes(&name, &bytes) => Err(ReadError::damaged(format!(
                "{name}: does not match the hash in its digest; run `tollgate vault verify`"
            ))),
            _ => Ok(bytes),
        });
        let lines = bytes.and_then(|bytes| Vault::unpack_index_lines(&name, &bytes, is_signed));
        match lines {
            Ok(lines) => visit_object_lines(&name, &own, &lines, &mut seen, &mut closed, visit),
            Err(why) => closed.add(why.to_string()),
        }
    }
    absent.recent.into_iter().for_each(|why| closed.add(why));
    Ok(UnreadIndex { unreadable: closed.list(), older_missing: absent.older })
}

/// Parts of the index that were not read.
#[derive(Debug, Default)]
pub struct UnreadIndex {
    /// Unreadable objects, and signed objects that are missing although older ones exist, a line each.
    pub unreadable: Vec<String>,
    /// Signed objects that are missing and older than any that exists: their retention is over, or they were deleted.
    pub older_missing: Option<String>,
}

/// Handles the lines of one object.
fn visit_object_lines(
    name: &str,
    own: &IndexName,
    lines: &str,
    seen: &mut SeenLines,
    closed: &mut UnreadableObjects,
    visit: &mut (dyn FnMut(&str, IndexRow) + Send),
) {
    let (mut strange, mut twice) = (0_u64, 0_u64);
    for line in lines.lines() {
        match serde_json::from_str::<IndexRow>(line).ok().filter(|row| own.may_contain(row) && row.is_sane(line.len()))
        {
            None => strange += 1,
            Some(row) => match seen.classify_line(&row, line) {
                LineOccurrence::New => visit(name, row),
                LineOccurrence::Repeated => {}
                LineOccurrence::Conflicting => twice += 1,
            },
        }
    }
    if strange > 0 {
        closed.add(format!("{name}: {strange} lines are malformed or do not match the object's name"));
    }
    if twice > 0 {
        closed.add(format!(
            "{name}: {twice} lines reuse the numbers of other lines: `tollgate vault verify` shows which lines are signed"
        ));
    }
}

/// Lines already seen, by a hash of writer, epoch, account and number: about 40 bytes for each.
#[derive(Default)]
struct SeenLines(HashMap<[u8; 16], [u8; 8]>);

/// Classification of a line.
enum LineOccurrence {
    New,
    /// The line was stored twice.
    Repeated,
    /// An earlier, different line has the same number and takes precedence.
    Conflicting,
}

impl SeenLines {
    fn classify_line(&mut self, row: &IndexRow, line: &str) -> LineOccurrence {
        let place = hash_line_place(row);
        let hash = Sha256::digest(line).first_chunk::<8>().copied().unwrap_or_default();
        match self.0.entry(place) {
            Entry::Occupied(before) if *before.get() == hash => LineOccurrence::Repeated,
            Entry::Occupied(_) => LineOccurrence::Conflicting,
            Entry::Vacant(free) => {
                free.insert(hash);
                LineOccurrence::New
            }
        }
    }
}

/// A hash of a line's place: writer, epoch, account and leaf number, each with its length in front.
pub(super) fn hash_line_place(row: &IndexRow) -> [u8; 16] {
    let tail = &row.tail;
    let mut place = Sha256::new();
    for part in [&tail.writer, &tail.epoch, &tail.account] {
        place.update((part.len() as u64).to_le_bytes());
        place.update(part);
    }
    place.update(row.leaf.to_le_bytes());
    place.finalize().first_chunk::<16>().copied().unwrap_or_default()
}

impl Vault {
    /// An index object's bytes, up to the limit for its kind, which is lower for an unsigned one.
    pub(crate) async fn fetch_index_object(&self, name: &str, signed: bool) -> Result<Bytes, StoreError> {
        let most = if signed { MAX_STORED } else { MAX_UNSIGNED.1 };
        let bytes = self.reader.get(ObjectKind::Index, name, Some((0, most + 1))).await?;
        if bytes.len() as u64 > most { Err(StoreError::TooLarge) } else { Ok(bytes) }
    }

    /// The lines of an index object, up to the limit, which is lower for an unsigned one.
    pub(crate) fn unpack_index_lines(name: &str, bytes: &[u8], signed: bool) -> Result<String, ReadError> {
        unpack_within(name, bytes, if signed { MAX_INDEX } else { MAX_UNSIGNED.0 })
    }
}

/// Unreadable objects, in a bounded list.
#[derive(Default)]
struct UnreadableObjects {
    listed: Vec<String>,
    omitted: u64,
}

impl UnreadableObjects {
    fn add(&mut self, why: String) {
        if self.listed.len() < MAX_LISTED_UNREADABLE { self.listed.push(why) } else { self.omitted += 1 }
    }

    fn list(mut self) -> Vec<String> {
        if self.omitted > 0 {
            self.listed.push(format!("and {} more unreadable objects", self.omitted));
        }
        self.listed
    }
}

/// An index object's lines.
pub(crate) fn unpack_lines(name: &str, bytes: &[u8]) -> Result<String, ReadError> {
    unpack_within(name, bytes, MAX_INDEX)
}

fn unpack_within(name: &str, bytes: &[u8], most: u64) -> Result<String, ReadError> {
    let lines = inflate_within(bytes, most).map_err(|why| ReadError::Damaged(format!("{name}: {why}")))?;
    String::from_utf8(lines).map_err(|_| ReadError::damaged(format!("{name}: damaged")))
}

/// An index object's decompressed bytes, or a description of the problem.
pub(crate) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    inflate_within(bytes, MAX_INDEX)
}

fn inflate_within(bytes: &[u8], most: u64) -> Result<Vec<u8>, &'static str> {
    let mut lines = Vec::new();
    let decoder = zstd::Decoder::new(bytes).map_err(|_| "damaged")?;
    decoder.take(most + 1).read_to_end(&mut lines).map_err(|_| "damaged")?;
    match lines.len() as u64 {
        len if len <= most => Ok(lines),
        _ if most == MAX_INDEX => Err("too large"),
        _ => Err("too large for an object that is not known to be signed: give --key to check signatures"),
    }
}
