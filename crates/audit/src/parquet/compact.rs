//! [`compact()`]: updates the tables in a folder from the index. A day is written only if its index has objects that
//! are in no file yet, or if a file was changed. New files are durable before the state names them; old files are
//! removed afterwards. A reader of all files may see lines twice while a day is being rewritten, but never too few.
//! Neighbours: `columns`, `write` and `read`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::error::ReadError;
use crate::location::Vault;
use crate::signed_index::SignedIndex;
use vault::chain::note::VerifyKey;
use vault::object_names::account_segment;
use vault::store::{ObjectKind, StoreError};

use super::layout::STATES;
use super::sort::{KeyedLine, LineSorter, is_index_line};
use super::state::{AccountDay, DayState, TableFile, TablePart, short_hash};
use super::table_writer::TableWriter;

/// Parts of a day that accumulate before they are merged into one.
const MAX_PARTS: usize = 8;
/// Most lines in one file.
const FILE_LINES: u64 = 4 << 20;

/// Options of a run.
#[derive(Default)]
pub struct CompactOptions {
    /// Folder for the tables.
    pub folder: PathBuf,
    /// Only this account.
    pub account: Option<String>,
    /// Public keys of the writers' signers. If given, only objects that a signed digest names, with matching hash, are
    /// included.
    pub keys: Vec<VerifyKey>,
    /// Whether to remove days that are no longer in the index.
    pub prune: bool,
}

/// Result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactSummary {
    /// Index objects read.
    pub objects: u64,
    /// Lines written.
    pub lines: u64,
    /// Files written.
    pub files: u64,
    /// Size of the written files, bytes.
    pub bytes: u64,
    /// Days for which files were written.
    pub days: u64,
    /// Changed or missing files whose lines were written again.
    pub rewritten_files: u64,
    /// Days removed.
    pub pruned: u64,
    /// Index objects left out because no signed digest names them (yet).
    pub unsigned: Vec<String>,
    /// Index objects left out because they can't be read, or are missing although a signed digest names them.
    pub unreadable: Vec<String>,
    /// Signed objects that are missing and older than any that exists.
    pub older_missing: Option<String>,
}

struct CompactRun<'a> {
    vault: &'a Vault,
    options: &'a CompactOptions,
    /// Hashes from the chain, if keys were given.
    signed: Option<SignedIndex>,
    done: CompactSummary,
}

/// Updates the tables from the index.
///
/// # Errors
/// The store or the folder fails, a signed index object is damaged or differs from its digest, or an object already in
/// tables can't be read again to rewrite them.
pub async fn compact(
    vault: &Vault,
    options: &CompactOptions,
    show: &mut dyn FnMut(&str),
) -> Result<CompactSummary, ReadError> {
    let prefix = match &options.account {
        Some(account) => format!("index/v1/account={}/", account_segment(account)),
        None => "index/v1/".to_owned(),
    };
    let signed = match options.keys.is_empty() {
        true => None,
        false => Some(SignedIndex::read(vault, &options.keys, options.account.as_deref()).await?),
    };
    let mut run = CompactRun { vault, options, signed, done: CompactSummary::default() };
    let mut days: BTreeMap<AccountDay, BTreeSet<String>> = BTreeMap::new();
    let listed = vault.list(ObjectKind::Index, &prefix).await?;
    for name in &listed {
        let object = vault.relative_name(name).filter(|name| name.ends_with(".ndjson.zst"));
        if let Some((day, object)) = object.and_then(|object| Some((AccountDay::from_object_name(object)?, object))) {
            days.entry(day).or_default().insert(object.to_owned());
        }
    }
    for (day, objects) in &days {
        show(&format!("{} {}", day.account, day.day));
        run.compact_day(day, objects).await?;
    }
    run.report_missing_objects(&listed)?;
    if options.prune {
        run.prune_days(&days)?;
    }
    Ok(run.done)
}

impl CompactRun<'_> {
    async fn compact_day(&mut self, day: &AccountDay, objects: &BTreeSet<String>) -> Result<(), ReadError> {
        let path = day.state_path(&self.options.folder);
        let mut state = DayState::read(&path)?;
        self.drop_changed_parts(&mut state, objects)?;
        let done: BTreeSet<String> = state.objects().into_iter().map(str::to_owned).collect();
        let other = state.columns != DayState::default().columns;
        let mut new: BTreeSet<String> = BTreeSet::new();
        for object in objects.difference(&done) {
            match &self.signed {
                Some(signed) if !signed.has_object(&self.vault.full_name(object)) => {
                    self.done.unsigned.push(object.clone());
                }
                _ => drop(new.insert(object.clone())),
            }
        }
        if new.is_empty() && !other {
            return Ok(());
        }
        // objects no longer in the index can't be written again
        let whole = done.is_subset(objects);
        if other && !whole {
            return Err(ReadError::invalid(format!(
                "{} was made with other columns and can't be rebuilt, because part of its index is gone: delete it, or move it out of this folder",
                path.display()
            )));
        }
        if other || (state.parts.len() >= MAX_PARTS && whole) {
            (new, state) = (new.into_iter().chain(done.iter().cloned()).collect(), DayState::default());
        }
        let Some(part) = self.write_part(day, new, &done).await? else { return Ok(()) };
        self.done.days += 1;
        state.parts.push(part);
        state.write(&path)?;
        for file in day.list_table_files(&self.options.folder) {
            if !state.files().contains(file.as_str()) {
                let gone = std::fs::remove_file(self.options.folder.join(&file));
                gone.map_err(|error| ReadError::from_io_error(&error, format!("{file}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Removes parts with changed files from the state, so that their objects are written again, if all those objects
    /// still exist.
    fn drop_changed_parts(&mut self, state: &mut DayState, objects: &BTreeSet<String>) -> Result<(), ReadError> {
        let mut kept = Vec::new();
        for part in std::mem::take(&mut state.parts) {
            let changed = part.files.iter().map(|file| Ok((!file.is_unchanged(&self.options.folder)?, file)));
            let changed: Vec<(bool, &TableFile)> = changed.collect::<Result<_, ReadError>>()?;
            let changed: Vec<&str> =
                changed.into_iter().filter(|(changed, _)| *changed).map(|(_, file)| file.name.as_str()).collect();
            let whole = part.objects.keys().all(|object| objects.contains(object));
            match changed.first() {
                Some(_) if whole => self.done.rewritten_files += changed.len() as u64,
                Some(name) => {
                    let why = "the table was changed and can't be rebuilt, because its lines are no longer in the index; the table is not read";
                    self.done.unreadable.push(format!("{name}: {why}"));
                    kept.push(part);
                }
                None => kept.push(part),
            }
        }
        state.parts = kept;
        Ok(())
    }

    /// Reports signed objects that are neither in a table nor in the index.
    fn report_missing_objects(&mut self, listed: &[String]) -> Result<(), ReadError> {
        let Some(signed) = &self.signed else { return Ok(()) };
        let there: HashSet<&str> = listed.iter().map(String::as_str).collect();
        let gone = signed.objects().filter(|name| !there.contains(name));
        let days: BTreeSet<AccountDay> =
            gone.filter_map(|name| AccountDay::from_object_name(self.vault.relative_name(name)?)).collect();
        let mut held: BTreeSet<String> = BTreeSet::new();
        for day in days {
            let state = DayState::read(&day.state_path(&self.options.folder))?;
            held.extend(state.objects().into_iter().map(|object| self.vault.full_name(object)));
        }
        let wanted = self.options.account.as_deref().map(account_segment);
        let asked = |name: &str| {
            let account = wanted
                .as_deref()
                .is_none_or(|wanted| AccountDay::from_object_name(name).is_some_and(|day| day.account == wanted));
            account && !held.contains(name)
        };
        let absent = signed.find_missing_objects(self.vault, listed, &asked);
        self.done.unreadable.extend(absent.recent);
        self.done.older_missing = absent.older;
        Ok(())
    }

    /// Writes the lines of these objects; `None` if none of them can be read. `held` are objects in tables that are
    /// being replaced.
    async fn write_part(
        &mut self,
        day: &AccountDay,
        objects: BTreeSet<String>,
        held: &BTreeSet<String>,
    ) -> Result<Option<TablePart>, ReadError> {
        let mut sorter = LineSorter::new(&self.options.folder);
        let mut hashes = BTreeMap::new();
        for object in &objects {
            let (lines, sha256) = match self.read_lines(object).await? {
                Ok(lines) => lines,
                // a writer must not be able to stop every run
                Err(why) if self.signed.is_none() && !held.contains(object) => {
                    self.done.unreadable.push(why.to_string());
                    continue;
                }
                Err(why) => return Err(why),
            };
            hashes.insert(object.clone(), sha256);
            for text in lines.lines() {
                if !sorter.push(text)? {
                    return Err(ReadError::damaged(format!("{object}: a line is not an index line")));
                }
            }
        }
        if hashes.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = hashes.keys().map(String::as_str).collect();
        let id = short_hash(&names);
        let folder = &self.options.folder;
        let (mut files, mut lines, mut bytes) = (Vec::<TableFile>::new(), 0, 0);
        let mut end = |table: TableWriter, files: &mut Vec<TableFile>| {
            let (size, sha256) = table.finish()?;
            bytes += size;
            files.last_mut().into_iter().for_each(|file| file.sha256.clone_from(&sha256));
            Ok::<(), ReadError>(())
        };
        let mut table: Option<(String, TableWriter)> = None;
        sorter.finish(&mut |line: KeyedLine| {
            let full =
                |(tenant, table): &mut (String, TableWriter)| *tenant != line.tenant() || table.lines == FILE_LINES;
            if let Some((_, table)) = table.take_if(full) {
                end(table, &mut files)?;
            }
            if table.is_none() {
                let name = day.table_path(line.tenant(), &id, files.len());
                table = Some((line.tenant().to_owned(), TableWriter::new(&folder.join(&name))?));
                files.push(TableFile { name, sha256: String::new() });
            }
            let map: Map<String, Value> = serde_json::from_str(&line.text)
                .map_err(|_| ReadError::damaged("an index line is not a JSON object"))?;
            lines += 1;
            table.as_mut().map_or(Ok(()), |(_, table)| table.push(map, line.text.len()))
        })?;
        if let Some((_, table)) = table {
            end(table, &mut files)?;
        }
        self.done.lines += lines;
        self.done.files += files.len() as u64;
        self.done.bytes += bytes;
        Ok(Some(TablePart { objects: hashes, files, lines }))
    }

    /// The lines of an index object and the SHA-256 of its bytes, or the reason why it can't be used.
    async fn read_lines(&mut self, object: &str) -> Result<Result<(String, String), ReadError>, ReadError> {
        let name = self.vault.full_name(object);
        let signed = self.signed.is_some();
        let bytes = match self.vault.fetch_index_object(&name, signed).await {
            Ok(bytes) => bytes,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Busy(_))) => {
                return Err(ReadError::from_object_error(&name, &error));
            }
            Err(error) => return Ok(Err(ReadError::from_object_error(&name, &error))),
        };
        if self.signed.as_ref().is_some_and(|signed| signed.has_object(&name) && !signed.matches_bytes(&name, &bytes)) {
            return Ok(Err(ReadError::damaged(format!(
                "{name}: does not match the hash in its digest; run `vault verify`"
            ))));
        }
        let lines = match Vault::unpack_index_lines(&name, &bytes, signed) {
            // a malformed line in a signed object ends the run (see the sorter); an unsigned object with one is skipped
            // as a whole
            Ok(lines) if signed || lines.lines().all(is_index_line) => lines,
            Ok(_) => return Ok(Err(ReadError::damaged(format!("{object}: a line is not an index line")))),
            Err(why) => return Ok(Err(why)),
        };
        self.done.objects += 1;
        Ok(Ok((lines, kernel::hex::encode(&Sha256::digest(&bytes)))))
    }

    /// Removes the files of days that are no longer in the index.
    fn prune_days(&mut self, days: &BTreeMap<AccountDay, BTreeSet<String>>) -> Result<(), ReadError> {
        if days.is_empty() {
            return Err(ReadError::invalid(
                "--prune would delete all tables because the index lists no objects: check --store and --account",
            ));
        }
        let folder = &self.options.folder;
        let wanted = self.options.account.as_deref().map(account_segment);
        let accounts = std::fs::read_dir(folder.join(STATES)).into_iter().flatten().flatten();
        for account in accounts {
            let name = account.file_name().to_string_lossy().into_owned();
            let Some(name) = name.strip_prefix("account=") else { continue };
            if wanted.as_deref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            for state in std::fs::read_dir(account.path()).into_iter().flatten().flatten() {
                let day = state.file_name().to_string_lossy().trim_end_matches(".json").to_owned();
                let day = AccountDay { account: name.to_owned(), day };
                if days.contains_key(&day) {
                    continue;
                }
                let files = day.list_table_files(folder).into_iter().map(|file| folder.join(file));
                for file in files.chain([state.path()]) {
                    std::fs::remove_file(&file).map_err(|error| ReadError::from_file_error(&file, &error))?;
                }
                self.done.pruned += 1;
            }
        }
        Ok(())
    }
}
