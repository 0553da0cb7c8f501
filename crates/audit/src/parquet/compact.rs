//! [`compact()`]: updates the tables in a folder from the index. A day is written only if its index has objects that
//! are in no file yet, or if a file or the set of columns was changed. New files are durable before the state names
//! them; old files are removed afterwards. While a day is rewritten, a reader of all files may see lines twice, but
//! misses none.
//! Neighbours: `state` (which objects are in which files), `sort`, `table_writer`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::error::ReadError;
use crate::location::Vault;
use crate::signed_index::SignedIndex;
use kernel::sha256::Sha256;
use vault::chain::note::VerifyKey;
use vault::object_names::account_segment;
use vault::store::{ObjectKind, StoreError};

use super::layout::STATES;
use super::sort::{KeyedLine, LineSorter, is_index_line};
use super::state::{AccountDay, DayState, TableFile, TablePart, short_hash};
use super::table_writer::TableWriter;

/// Number of parts at which a day is rewritten as one part.
const MAX_PARTS: usize = 8;
/// Most lines in one file.
const MAX_FILE_LINES: u64 = 4 << 20;

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
    summary: CompactSummary,
}

/// The file that [`CompactRun::write_part`] is writing.
struct OpenTable {
    tenant: String,
    writer: TableWriter,
}

struct HashedLines {
    text: String,
    /// SHA-256 of the object's bytes, hex.
    sha256: String,
}

/// Updates the tables from the index. Calls `show_progress` with the account and day before each day.
///
/// # Errors
/// The store or the folder fails, a signed index object is damaged or differs from its digest, or an object already in
/// tables can't be read again to rewrite them.
pub async fn compact(
    vault: &Vault,
    options: &CompactOptions,
    show_progress: &mut dyn FnMut(&str),
) -> Result<CompactSummary, ReadError> {
    let prefix = match &options.account {
        Some(account) => format!("index/v1/account={}/", account_segment(account)),
        None => "index/v1/".to_owned(),
    };
    let signed = match options.keys.is_empty() {
        true => None,
        false => Some(SignedIndex::read(vault, &options.keys, options.account.as_deref()).await?),
    };
    let mut run = CompactRun { vault, options, signed, summary: CompactSummary::default() };
    let mut days: BTreeMap<AccountDay, BTreeSet<String>> = BTreeMap::new();
    let listed = vault.list(ObjectKind::Index, &prefix).await?;
    for name in &listed {
        let object = vault.relative_name(name).filter(|name| name.ends_with(".ndjson.zst"));
        if let Some((day, object)) = object.and_then(|object| Some((AccountDay::from_object_name(object)?, object))) {
            days.entry(day).or_default().insert(object.to_owned());
        }
    }
    for (day, objects) in &days {
        show_progress(&format!("{} {}", day.account, day.day));
        run.compact_day(day, objects).await?;
    }
    run.report_missing_objects(&listed)?;
    if options.prune {
        run.prune_days(&days)?;
    }
    Ok(run.summary)
}

impl CompactRun<'_> {
    async fn compact_day(&mut self, day: &AccountDay, objects: &BTreeSet<String>) -> Result<(), ReadError> {
        let path = day.state_path(&self.options.folder);
        let mut state = DayState::read(&path)?;
        self.drop_changed_parts(&mut state, objects)?;
        let has_dropped_unsigned = self.drop_unsigned_parts(&mut state, objects);
        let compacted: BTreeSet<String> = state.objects().into_iter().map(str::to_owned).collect();
        let has_old_columns = state.columns != DayState::default().columns;
        let mut new: BTreeSet<String> = BTreeSet::new();
        for object in objects.difference(&compacted) {
            match &self.signed {
                Some(signed) if !signed.has_object(&self.vault.full_name(object)) => {
                    self.summary.unsigned.push(object.clone());
                }
                _ => drop(new.insert(object.clone())),
            }
        }
        if new.is_empty() && !has_old_columns && !has_dropped_unsigned {
            return Ok(());
        }
        // objects that are no longer in the index can't be written again
        let is_rebuildable = compacted.is_subset(objects);
        if has_old_columns && !is_rebuildable {
            return Err(ReadError::invalid(format!(
                "{} was made with other columns and can't be rebuilt, because part of its index is gone: delete it, \
                 or move it out of this folder",
                path.display()
            )));
        }
        if has_old_columns || (state.parts.len() >= MAX_PARTS && is_rebuildable) {
            (new, state) = (new.into_iter().chain(compacted.iter().cloned()).collect(), DayState::default());
        }
        let part = self.write_part(day, new, &compacted).await?;
        if part.is_none() && !has_dropped_unsigned {
            return Ok(());
        }
        self.summary.days += 1;
        state.parts.extend(part);
        state.write(&path)?;
        for file in day.list_table_files(&self.options.folder) {
            if !state.files().contains(file.as_str()) {
                let removed = std::fs::remove_file(self.options.folder.join(&file));
                removed.map_err(|error| ReadError::from_io_error(&error, format!("{file}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Removes a part with changed files from the state, so that its objects are written again, if all those objects
    /// are still in the index.
    fn drop_changed_parts(&mut self, state: &mut DayState, objects: &BTreeSet<String>) -> Result<(), ReadError> {
        for part in std::mem::take(&mut state.parts) {
            let mut changed: Vec<&str> = Vec::new();
            for file in &part.files {
                if !file.is_unchanged(&self.options.folder)? {
                    changed.push(&file.name);
                }
            }
            let is_rebuildable = part.objects.keys().all(|object| objects.contains(object));
            match changed.first() {
                Some(_) if is_rebuildable => self.summary.rewritten_files += changed.len() as u64,
                Some(name) => {
                    self.summary.unreadable.push(format!(
                        "{name}: the table was changed and can't be rebuilt, because its lines are no longer in the \
                         index; the table is not read"
                    ));
                    state.parts.push(part);
                }
                None => state.parts.push(part),
            }
        }
        Ok(())
    }

    /// Removes parts with lines that no digest signs, such as those of a run without keys, if all their index objects
    /// are still there to be written again. Returns whether it removed any.
    fn drop_unsigned_parts(&mut self, state: &mut DayState, objects: &BTreeSet<String>) -> bool {
        // while a digest can't be read, the objects that it signs look unsigned: nothing is removed then
        let Some(signed) = self.signed.as_ref().filter(|signed| signed.unreadable().is_empty()) else { return false };
        let mut has_dropped = false;
        for part in std::mem::take(&mut state.parts) {
            let is_signed =
                |(object, sha256): (&String, &String)| signed.matches_hash(&self.vault.full_name(object), sha256);
            let is_rebuildable = part.objects.keys().all(|name| objects.contains(name));
            if part.objects.iter().all(is_signed) {
                state.parts.push(part);
            } else if is_rebuildable {
                has_dropped = true;
                self.summary.rewritten_files += part.files.len() as u64;
            } else {
                self.summary.unreadable.extend(part.files.first().map(|file| {
                    format!(
                        "{}: the table has lines that no digest of the given keys signs, and can't be rebuilt, \
                         because not all of its index objects are there",
                        file.name
                    )
                }));
                state.parts.push(part);
            }
        }
        has_dropped
    }

    /// Reports signed objects that are neither in a table nor in the index.
    fn report_missing_objects(&mut self, listed: &[String]) -> Result<(), ReadError> {
        let Some(signed) = &self.signed else { return Ok(()) };
        let listed_names: HashSet<&str> = listed.iter().map(String::as_str).collect();
        let unlisted = signed.objects().filter(|name| !listed_names.contains(name));
        let days: BTreeSet<AccountDay> =
            unlisted.filter_map(|name| AccountDay::from_object_name(self.vault.relative_name(name)?)).collect();
        let mut compacted: BTreeSet<String> = BTreeSet::new();
        for day in days {
            let state = DayState::read(&day.state_path(&self.options.folder))?;
            compacted.extend(state.objects().into_iter().map(|object| self.vault.full_name(object)));
        }
        let wanted = self.options.account.as_deref().map(account_segment);
        let is_expected = |name: &str| {
            let is_wanted_account = wanted
                .as_deref()
                .is_none_or(|wanted| AccountDay::from_object_name(name).is_some_and(|day| day.account == wanted));
            is_wanted_account && !compacted.contains(name)
        };
        let missing = signed.find_missing_objects(self.vault, listed, &is_expected);
        self.summary.unreadable.extend(missing.recent);
        self.summary.older_missing = missing.older;
        Ok(())
    }

    /// Writes the lines of `objects`; `None` if none of them can be read. Those in `compacted` must be readable,
    /// because the tables that contain them will be removed.
    async fn write_part(
        &mut self,
        day: &AccountDay,
        objects: BTreeSet<String>,
        compacted: &BTreeSet<String>,
    ) -> Result<Option<TablePart>, ReadError> {
        let mut sorter = LineSorter::new(&self.options.folder);
        let mut hashes = BTreeMap::new();
        for object in &objects {
            let HashedLines { text, sha256 } = match self.read_lines(object).await? {
                Ok(lines) => lines,
                // an unsigned object must not stop every run, because any writer may have put it there
                Err(why) if self.signed.is_none() && !compacted.contains(object) => {
                    self.summary.unreadable.push(why.to_string());
                    continue;
                }
                Err(why) => return Err(why),
            };
            hashes.insert(object.clone(), sha256);
            for line in text.lines() {
                if !sorter.push(line)? {
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
        let mut finish_table = |table: OpenTable, files: &mut Vec<TableFile>| {
            let (size, sha256) = table.writer.finish()?;
            bytes += size;
            files.last_mut().into_iter().for_each(|file| file.sha256.clone_from(&sha256));
            Ok::<(), ReadError>(())
        };
        let mut open_table: Option<OpenTable> = None;
        sorter.finish(&mut |line: KeyedLine| {
            let is_complete =
                |table: &mut OpenTable| table.tenant != line.tenant() || table.writer.lines == MAX_FILE_LINES;
            if let Some(table) = open_table.take_if(is_complete) {
                finish_table(table, &mut files)?;
            }
            if open_table.is_none() {
                let name = day.table_path(line.tenant(), &id, files.len());
                let writer = TableWriter::new(&folder.join(&name))?;
                open_table = Some(OpenTable { tenant: line.tenant().to_owned(), writer });
                files.push(TableFile { name, sha256: String::new() });
            }
            let fields: Map<String, Value> = serde_json::from_str(&line.text)
                .map_err(|_| ReadError::damaged("an index line is not a JSON object"))?;
            lines += 1;
            open_table.as_mut().map_or(Ok(()), |table| table.writer.push(fields, line.text.len()))
        })?;
        if let Some(table) = open_table {
            finish_table(table, &mut files)?;
        }
        self.summary.lines += lines;
        self.summary.files += files.len() as u64;
        self.summary.bytes += bytes;
        Ok(Some(TablePart { objects: hashes, files, lines }))
    }

    /// Reads the lines of an index object. The outer error is temporary, the inner one is about this object.
    async fn read_lines(&mut self, object: &str) -> Result<Result<HashedLines, ReadError>, ReadError> {
        let name = self.vault.full_name(object);
        let is_signed = self.signed.is_some();
        let bytes = match self.vault.fetch_index_object(&name, is_signed).await {
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
        let text = match Vault::unpack_index_lines(&name, &bytes, is_signed) {
            // a malformed line makes an unsigned object unusable; in a signed object, `write_part` fails at such a line
            Ok(text) if is_signed || text.lines().all(is_index_line) => text,
            Ok(_) => return Ok(Err(ReadError::damaged(format!("{object}: a line is not an index line")))),
            Err(why) => return Ok(Err(why)),
        };
        self.summary.objects += 1;
        Ok(Ok(HashedLines { text, sha256: kernel::hex::encode(&Sha256::digest(&bytes)) }))
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
                self.summary.pruned += 1;
            }
        }
        Ok(())
    }
}
