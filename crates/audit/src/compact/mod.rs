//! [`compact()`]: packs the index objects of past days into few files, so that query engines open few objects.
//! A packed file is signed index objects end to end, each a zstd frame with its unchanged bytes. So every run checks
//! the files against the digests and needs no record of earlier runs. Files are written once and never changed.
//! Neighbours: [`SignedIndex`] (the hashes), `read::index` (fetching objects).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

use crate::error::{ReadError, Result};
use crate::location::Vault;
use crate::read::index::unpack_lines;
use crate::signed_index::SignedIndex;
use kernel::sha256::Sha256;
use vault::chain::note::VerifyKey;
use vault::index_row::IndexRow;
use vault::object_names::{IndexName, account_segment};
use vault::store::{ObjectKind, StoreError};

#[cfg(test)]
mod tests;

/// Folder of the packed files below the output folder; below it are `account=…/dt=…`, as below `index/v1`.
const PACKED: &str = "lines/v1";
/// Most bytes of a packed file, which query engines read with one thread. A single object has at most 32 MiB.
const MAX_PACKED: usize = if cfg!(test) { 4 << 10 } else { 64 << 20 };
/// Most bytes that are read of a file: `compact` writes no larger one, so a larger one is reported.
const MAX_FILE: u64 = 64 << 20;
/// Index objects fetched concurrently.
const CONCURRENT_FETCHES: usize = 16;

#[derive(Default)]
pub struct CompactOptions {
    /// Folder above `lines/v1`.
    pub folder: PathBuf,
    /// Only this account.
    pub account: Option<String>,
    /// Public keys of the writers' signers: only objects that a digest signed by one of them names are packed.
    pub keys: Vec<VerifyKey>,
    /// Whether to remove days that are no longer in the index.
    pub prune: bool,
    /// The present day, `2026-11-20`: earlier days are over and are packed.
    pub today: String,
}

/// Summary of one run of `compact`: what it packed, wrote and removed, and the objects that it could not pack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CompactSummary {
    /// Index objects packed by this run.
    pub objects: usize,
    pub lines: usize,
    pub files: usize,
    /// Size of the written files.
    pub bytes: usize,
    /// Days removed, each of one account.
    pub pruned_days: usize,
    /// Index objects of past days that no signed digest names.
    pub unsigned: Vec<String>,
    /// One line for each object, file or digest that is missing, can't be read, or differs from what was signed.
    pub unreadable: Vec<String>,
    /// Signed objects that are missing and older than any that exists.
    pub missing_older_objects: Option<String>,
}

#[derive(Default)]
struct IndexDay<'n> {
    /// Signed objects by the SHA-256 (hex) of their bytes, whether they still exist or not.
    signed: BTreeMap<&'n str, &'n str>,
    /// Signed objects that exist, if the day is over.
    packable: Vec<&'n str>,
    /// Whether any object of the day exists.
    is_listed: bool,
}

/// Index objects that will become one file.
#[derive(Default)]
struct Pack<'n> {
    bytes: Vec<u8>,
    objects: Vec<&'n str>,
}

struct CompactRun<'a> {
    vault: &'a Vault,
    options: &'a CompactOptions,
    /// Names of the objects that are in packed files.
    packed: BTreeSet<&'a str>,
    summary: CompactSummary,
}

/// Packs the signed index objects of past days that are in no packed file yet.
pub async fn compact(vault: &Vault, options: &CompactOptions) -> Result<CompactSummary> {
    let account = options.account.as_deref().map(|account| format!("account={}", account_segment(account)));
    let prefix = account.as_ref().map_or("index/v1/".to_owned(), |account| format!("index/v1/{account}/"));
    let signed = SignedIndex::read(vault, &options.keys, options.account.as_deref()).await?;
    let listed = vault.list(ObjectKind::Index, &prefix).await?;
    if options.prune && listed.is_empty() {
        return Err(ReadError::new(
            "--prune would delete all packed files because the index lists no objects: check --store and --account",
        ));
    }
    let prefix = vault.full_name(&prefix);
    let mut run = CompactRun { vault, options, packed: BTreeSet::new(), summary: CompactSummary::default() };
    let is_over = |day: &str| day.rsplit_once("/dt=").is_some_and(|(_, day)| day < &*options.today);
    let mut days = run.list_packed_days(account.as_deref())?;
    for (name, sha256) in signed.objects().filter(|(name, _)| name.starts_with(&prefix)) {
        if let Some(day) = day_folder(vault, name) {
            days.entry(day.to_owned()).or_default().signed.insert(sha256, name);
        }
    }
    for name in &listed {
        let Some(day) = day_folder(vault, name) else { continue };
        let objects = days.entry(day.to_owned()).or_default();
        objects.is_listed = true;
        // objects of today may be signed soon
        if is_over(day) && signed.has_object(name) {
            objects.packable.push(name);
        } else if is_over(day) {
            run.summary.unsigned.push(name.clone());
        }
    }
    for (day, objects) in &days {
        run.pack_day(day, objects).await?;
    }
    let CompactRun { packed, mut summary, .. } = run;
    let is_wanted = |name: &str| name.starts_with(&prefix) && !packed.contains(name);
    let missing = signed.find_missing_objects(vault, &listed, &is_wanted);
    summary.unreadable.extend(missing.recent);
    summary.unreadable.extend_from_slice(&signed.unreadable);
    summary.missing_older_objects = missing.older;
    Ok(summary)
}

impl<'a> CompactRun<'a> {
    async fn pack_day(&mut self, day: &str, objects: &IndexDay<'a>) -> Result<()> {
        let folder = self.options.folder.join(PACKED).join(day);
        if self.options.prune && !objects.is_listed && folder.is_dir() {
            std::fs::remove_dir_all(&folder).map_err(|error| ReadError::from_file_error(&folder, &error))?;
            self.summary.pruned_days += 1;
            return Ok(());
        }
        // beside a file with other lines, a line might be packed twice
        if !self.check_packed_files(&folder, objects)? {
            return Ok(());
        }
        let vault = self.vault;
        let unpacked: Vec<&str> = objects.packable.iter().copied().filter(|name| !self.packed.contains(name)).collect();
        let fetched = stream::iter(unpacked).map(async |name| (name, vault.fetch_index_object(name, true).await));
        let mut fetched = fetched.buffered(CONCURRENT_FETCHES);
        let mut pack = Pack::default();
        while let Some((name, bytes)) = fetched.next().await {
            let bytes = match bytes {
                Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_))) => {
                    return Err(ReadError::from_object_error(name, &error));
                }
                bytes => bytes.map_err(|error| ReadError::from_object_error(name, &error)),
            };
            let (bytes, lines) = match bytes.and_then(|bytes| check_signed_object(vault, name, bytes, objects)) {
                Ok(checked) => checked,
                Err(why) => {
                    self.summary.unreadable.push(why.to_string());
                    continue;
                }
            };
            if pack.bytes.len() + bytes.len() > MAX_PACKED {
                self.write_pack(&folder, std::mem::take(&mut pack))?;
            }
            pack.bytes.extend_from_slice(&bytes);
            pack.objects.push(name);
            self.summary.lines += lines;
        }
        self.write_pack(&folder, pack)
    }

    /// Adds the objects in the files of a day to `packed`. Returns false, and reports the file, if one has lines that
    /// are not signed or that an earlier file has.
    fn check_packed_files(&mut self, folder: &Path, objects: &IndexDay<'a>) -> Result<bool> {
        let Some(names) = self.list_folder(folder)? else { return Ok(false) };
        let mut is_clean = true;
        for name in names {
            let (path, mut bytes) = (folder.join(&name), Vec::new());
            // To open a pipe would block.
            if !std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                is_clean = false;
                self.report_wrong_kind(&path, "file");
                continue;
            }
            std::fs::File::open(&path)
                .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
                .map_err(|error| ReadError::from_file_error(&path, &error))?;
            let (mut rest, mut is_signed) = (&*bytes, !bytes.is_empty());
            while is_signed && !rest.is_empty() {
                let (frame, next) = split_frame(rest).unwrap_or((rest, &[]));
                let object = objects.signed.get(&*kernel::hex::encode(&Sha256::digest(frame)));
                is_signed = object.is_some_and(|object| self.packed.insert(object));
                rest = next;
            }
            if !is_signed {
                is_clean = false;
                self.summary.unreadable.push(format!(
                    "{}: has lines that no digest of the given keys signs, or that another file has too. The day was \
                     left as it is: delete the file, or give the missing key, and run `vault compact` again",
                    path.display()
                ));
            }
        }
        Ok(is_clean)
    }

    /// The days that have packed files, of one account or of all.
    fn list_packed_days(&mut self, account: Option<&str>) -> Result<BTreeMap<String, IndexDay<'a>>> {
        let (folder, mut days) = (self.options.folder.join(PACKED), BTreeMap::new());
        let mut accounts = self.list_folder(&folder)?.unwrap_or_default();
        accounts.retain(|name| account.is_none_or(|account| account == *name));
        for name in accounts {
            let of_account = self.list_folder(&folder.join(&name))?.unwrap_or_default();
            days.extend(of_account.into_iter().map(|day| (format!("{name}/{day}"), IndexDay::default())));
        }
        Ok(days)
    }

    /// The names in a folder, without hidden ones, which query engines skip; none if it does not exist. Removes
    /// temporary files of interrupted runs. `None`: it is no folder, which is reported.
    fn list_folder(&mut self, folder: &Path) -> Result<Option<Vec<String>>> {
        let folder_error = |error: io::Error| ReadError::from_file_error(folder, &error);
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                self.report_wrong_kind(folder, "folder");
                return Ok(None);
            }
            entries => entries.map_err(folder_error)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(folder_error)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            } else if name.ends_with(".tmp") {
                std::fs::remove_file(entry.path()).map_err(folder_error)?;
            }
        }
        names.sort_unstable();
        Ok(Some(names))
    }

    fn report_wrong_kind(&mut self, path: &Path, wanted: &str) {
        let why = format!("{}: is no {wanted}: delete it, and run `vault compact` again", path.display());
        self.summary.unreadable.push(why);
    }

    /// Writes a file that is named after its first object and the number of its objects.
    fn write_pack(&mut self, folder: &Path, pack: Pack<'a>) -> Result<()> {
        let Some((_, first)) = pack.objects.first().and_then(|name| name.rsplit_once('/')) else { return Ok(()) };
        let name = format!("{}-{}.ndjson.zst", first.trim_end_matches(".ndjson.zst"), pack.objects.len());
        let path = folder.join(name);
        kernel::files::make_folders(folder)
            .and_then(|()| kernel::files::write_new(&path, &pack.bytes))
            .map_err(|error| ReadError::from_file_error(&path, &error))?;
        self.summary.objects += pack.objects.len();
        self.summary.files += 1;
        self.summary.bytes += pack.bytes.len();
        self.packed.extend(pack.objects);
        Ok(())
    }
}

/// The bytes and the number of lines of an object that has the signed hash and only lines that readers accept.
fn check_signed_object(vault: &Vault, name: &str, bytes: Bytes, objects: &IndexDay<'_>) -> Result<(Bytes, usize)> {
    if objects.signed.get(&*kernel::hex::encode(&Sha256::digest(&bytes))) != Some(&name) {
        return Err(ReadError::new(format!("{name}: does not match the hash in its digest; run `vault verify`")));
    }
    let text = unpack_lines(name, &bytes, true)?;
    let index_name = vault.relative_name(name).and_then(IndexName::parse);
    let is_index_line = |line: &str| {
        let row = serde_json::from_str::<IndexRow>(line).ok();
        row.zip(index_name.as_ref()).is_some_and(|(row, name)| name.may_contain(&row) && row.is_sane(line.len()))
    };
    let is_one_frame = split_frame(&bytes).is_some_and(|(_, rest)| rest.is_empty());
    if !is_one_frame || !text.ends_with('\n') || !text.lines().all(is_index_line) {
        return Err(ReadError::new(format!("{name}: is not one frame of index lines")));
    }
    Ok((bytes, text.lines().count()))
}

/// The first zstd frame, and the rest.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(zstd::zstd_safe::find_frame_compressed_size(bytes).ok()?)
}

/// `account=…/dt=…` of an index object's full name; `None` if no gateway writes such a name.
fn day_folder<'n>(vault: &Vault, name: &'n str) -> Option<&'n str> {
    let object = vault.relative_name(name)?;
    IndexName::parse(object)?;
    Some(object.strip_prefix("index/v1/")?.rsplit_once('/')?.0)
}
