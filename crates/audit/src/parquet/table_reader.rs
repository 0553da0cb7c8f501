//! Reads lines of tables that may match a query ([`visit_rows`]), and lists the index objects covered by tables
//! ([`TableCoverage`]), so that a lookup need not read millions of lines. A file, row group or row is skipped only if
//! its name, filter, bounds or value rules out a match. Neighbour: `read/find` defines queries.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use parquet::errors::{ParquetError, Result};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use serde_json::{Map, Value};

use vault::index_row::IndexRow;

use crate::error::ReadError;

use super::cells::ColumnCursor;
use super::columns::{COLUMNS, ColumnType, join_columns, leaf_count, position};
use super::layout::{STATES, path_segment_value};
use super::state::{DayState, TablePart};

/// Rows assembled at a time.
const ROWS_PER_CHUNK: usize = 4096;
/// Unwanted rows that are read rather than skipped.
const MAX_UNWANTED_ROWS: usize = 16;

/// A condition on a text column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnCondition<'q> {
    /// The value equals the text.
    Equals(&'static str, &'q str),
    /// The value differs from the text, or is missing.
    NotEquals(&'static str, &'q str),
    /// The value starts with the text.
    StartsWith(&'static str, &'q str),
    /// The value is not less than the text.
    AtLeast(&'static str, &'q str),
    /// The value is less than the text.
    LessThan(&'static str, &'q str),
}

impl ColumnCondition<'_> {
    fn column(&self) -> &'static str {
        let (Self::Equals(name, _)
        | Self::NotEquals(name, _)
        | Self::StartsWith(name, _)
        | Self::AtLeast(name, _)
        | Self::LessThan(name, _)) = self;
        name
    }

    fn matches(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Equals(_, wanted) => value == Some(wanted.as_bytes()),
            Self::NotEquals(_, wanted) => value != Some(wanted.as_bytes()),
            Self::StartsWith(_, wanted) => value.is_some_and(|value| value.starts_with(wanted.as_bytes())),
            Self::AtLeast(_, wanted) => value.is_some_and(|value| value >= wanted.as_bytes()),
            Self::LessThan(_, wanted) => value.is_some_and(|value| value < wanted.as_bytes()),
        }
    }

    /// Whether a value between these bounds can match.
    fn may_match_range(&self, least: &[u8], most: &[u8]) -> bool {
        match self {
            Self::Equals(_, wanted) => least <= wanted.as_bytes() && wanted.as_bytes() <= most,
            Self::AtLeast(_, wanted) => most >= wanted.as_bytes(),
            Self::LessThan(_, wanted) => least < wanted.as_bytes(),
            Self::NotEquals(..) | Self::StartsWith(..) => true,
        }
    }
}

/// Calls `visit` with each line for which every test holds, in the files below `folder` that `covered` lists.
///
/// # Errors
/// A file can't be read, or is damaged.
pub fn visit_rows(
    folder: &Path,
    covered: &TableCoverage,
    tests: &[ColumnCondition<'_>],
    visit: &mut dyn FnMut(IndexRow),
) -> std::result::Result<(), ReadError> {
    for name in &covered.files {
        let path = folder.join(name);
        let file = File::open(&path).map_err(|error| ReadError::from_file_error(&path, &error))?;
        let mut each = |line: Map<String, Value>| {
            let row = serde_json::from_value(Value::Object(line));
            visit(row.map_err(|_| ParquetError::General("a row is not a valid index line".to_owned()))?);
            Ok(())
        };
        visit_table(file, tests, &mut each)
            .map_err(|error| ReadError::Damaged(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// Whether a file may contain lines for which every test holds, judging by its name, and `day` accepts its day.
fn may_match_file(name: &str, tests: &[ColumnCondition<'_>], day: &dyn Fn(&str) -> bool) -> bool {
    let named = |key: &str| path_segment_value(name, key);
    let is = |test: &ColumnCondition<'_>| match test {
        ColumnCondition::Equals("account", wanted) => {
            named("account").is_none_or(|name| name == vault::object_names::account_segment(wanted))
        }
        ColumnCondition::Equals("tenant", wanted) => named("tenant").is_none_or(|name| {
            let segment = kernel::pseudonym::encode_segment(wanted);
            name.starts_with("h-") || name == segment.as_deref().unwrap_or(wanted)
        }),
        _ => true,
    };
    tests.iter().all(is) && named("dt").is_none_or(day)
}

/// Callback for each line of a table.
type LineVisitor<'v> = &'v mut dyn FnMut(Map<String, Value>) -> Result<()>;

/// Visits every line of a file for which every test holds.
pub(super) fn visit_table(file: File, tests: &[ColumnCondition<'_>], visit: LineVisitor<'_>) -> Result<()> {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let reader = SerializedFileReader::new_with_options(file, options)?;
    for n in 0..reader.num_row_groups() {
        let metadata = reader.metadata().row_group(n);
        // bounds are in the footer; Bloom filters are read with the group
        let bounds = |test: &ColumnCondition<'_>| {
            let at = leaf_position(test.column()).and_then(|at| metadata.columns().get(at));
            let bounds = at.and_then(|column| column.statistics());
            let bounds = bounds.and_then(|bounds| Some((bounds.min_bytes_opt()?, bounds.max_bytes_opt()?)));
            bounds.is_none_or(|(least, most)| test.may_match_range(least, most))
        };
        if tests.iter().all(bounds) {
            let group = reader.get_row_group(n)?;
            let count = usize::try_from(metadata.num_rows()).unwrap_or_default();
            if let Some(rows) = find_matching_rows(&*group, tests, count)? {
                assemble_lines(&*group, &rows, visit)?;
            }
        }
    }
    Ok(())
}

/// Position of a column's first leaf column.
fn leaf_position(name: &str) -> Option<usize> {
    let at = position(name)?;
    Some(COLUMNS.iter().take(at).map(|column| leaf_count(column.column_type)).sum())
}

/// The rows for which every test holds, as ranges; `None` if there are none.
fn find_matching_rows(
    group: &dyn RowGroupReader,
    tests: &[ColumnCondition<'_>],
    count: usize,
) -> Result<Option<Vec<Range<usize>>>> {
    for test in tests {
        let filter = leaf_position(test.column()).and_then(|at| group.get_column_bloom_filter(at));
        if let (Some(filter), ColumnCondition::Equals(_, wanted)) = (filter, test)
            && !filter.check(*wanted)
        {
            return Ok(None);
        }
    }
    let mut rows = std::iter::once(0..count).collect::<Vec<_>>();
    for test in tests {
        let Some(at) = leaf_position(test.column()) else { continue };
        let mut cursor = ColumnCursor::new(group.get_column_reader(at)?);
        let mut kept: Vec<Range<usize>> = Vec::new();
        for range in rows {
            cursor.visit_texts(range, &mut |row, value| {
                if test.matches(value) {
                    match kept.last_mut() {
                        Some(last) if last.end == row => last.end = row + 1,
                        _ => kept.push(row..row + 1),
                    }
                }
            })?;
        }
        rows = kept;
        if rows.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(rows))
}

/// Assembles the rows and passes them on, at most [`ROWS_PER_CHUNK`] at a time.
fn assemble_lines(group: &dyn RowGroupReader, rows: &[Range<usize>], visit: LineVisitor<'_>) -> Result<()> {
    let count = COLUMNS.iter().map(|column| leaf_count(column.column_type)).sum();
    let mut cursors =
        (0..count).map(|at| group.get_column_reader(at).map(ColumnCursor::new)).collect::<Result<Vec<_>>>()?;
    for (range, wanted) in plan_ranges(rows) {
        let mut maps = vec![Map::new(); range.len()];
        let mut at = cursors.iter_mut();
        for column in COLUMNS {
            let fields: &[&str] = if let ColumnType::Ints(fields) = column.column_type { fields } else { &[] };
            for n in 0..leaf_count(column.column_type) {
                if let Some(cursor) = at.next() {
                    cursor.fill_column(column.column_type, column.name, fields.get(n).copied(), &range, &mut maps)?;
                }
            }
        }
        for (_, map) in (range.start..).zip(maps).filter(|(row, _)| wanted.contains(row)) {
            visit(join_columns(map))?;
        }
    }
    Ok(())
}

/// Ranges to read, and the wanted rows in each: close rows are read together, and long ranges in pieces.
fn plan_ranges(rows: &[Range<usize>]) -> Vec<(Range<usize>, BTreeSet<usize>)> {
    let mut out: Vec<(Range<usize>, BTreeSet<usize>)> = Vec::new();
    for row in rows.iter().cloned().flatten() {
        match out.last_mut() {
            Some((range, wanted)) if row < range.end + MAX_UNWANTED_ROWS && row - range.start < ROWS_PER_CHUNK => {
                range.end = row + 1;
                wanted.insert(row);
            }
            _ => out.push((row..row + 1, BTreeSet::from([row]))),
        }
    }
    out
}

/// Index objects whose lines are in the tables, and the files to read for a query.
#[derive(Default)]
pub struct TableCoverage {
    objects: BTreeSet<String>,
    files: BTreeSet<String>,
    /// Objects in files that are not read, because the files include unsigned objects.
    unsigned: usize,
    /// Changed or missing files, which are not read.
    changed: Vec<String>,
}

/// Whether an object counts as signed, given its name and the SHA-256 of the bytes that were read.
pub type SignedCheck<'a> = &'a dyn Fn(&str, &str) -> bool;

impl TableCoverage {
    /// Reads the states below `folder` for lines that a query may need. If a file was changed or is missing, its
    /// objects are not covered. `signed` decides which objects count, by name and SHA-256.
    ///
    /// # Errors
    /// A state or a file can't be read.
    pub fn read(
        folder: &Path,
        tests: &[ColumnCondition<'_>],
        day: &dyn Fn(&str) -> bool,
        signed: Option<SignedCheck<'_>>,
    ) -> std::result::Result<Self, ReadError> {
        let mut covered = Self::default();
        for TablePart { objects, files, .. } in read_parts(folder)? {
            if signed.is_some_and(|signed| !objects.iter().all(|(name, sha256)| signed(name, sha256))) {
                covered.unsigned += objects.len();
                continue;
            }
            let wanted: Vec<_> = files.into_iter().filter(|file| may_match_file(&file.name, tests, day)).collect();
            let mut changed = Vec::new();
            for file in &wanted {
                if !file.is_unchanged(folder)? {
                    changed.push(file.name.clone());
                }
            }
            if changed.is_empty() {
                covered.objects.extend(objects.into_keys());
                covered.files.extend(wanted.into_iter().map(|file| file.name));
            }
            covered.changed.extend(changed);
        }
        Ok(covered)
    }

    /// The files that were not read, as messages.
    pub fn skipped_files(&self) -> Vec<String> {
        let unsigned = (self.unsigned > 0).then(|| {
            let objects = self.unsigned;
            format!(
                "tables with lines of {objects} index objects were skipped because not all objects are signed; lines still in the index were read from there"
            )
        });
        let changed = self.changed.iter().map(|name| {
            format!(
                "{name}: this table is missing or was changed; lines still in the index were read from there; run `vault compact` to rebuild it"
            )
        });
        unsigned.into_iter().chain(changed).collect()
    }

    /// Whether an object (without the vault's prefix) is covered.
    pub fn contains(&self, object: &str) -> bool {
        self.objects.contains(object)
    }
}

/// The parts listed in the states below `folder`.
fn read_parts(folder: &Path) -> std::result::Result<Vec<TablePart>, ReadError> {
    let accounts = std::fs::read_dir(folder.join(STATES));
    let accounts = accounts.map_err(|error| {
        ReadError::from_io_error(&error, format!("{} contains no tables of `vault compact`: {error}", folder.display()))
    })?;
    let mut out = Vec::new();
    for account in accounts.flatten() {
        for state in std::fs::read_dir(account.path()).into_iter().flatten().flatten() {
            let path = state.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                out.extend(DayState::read(&path)?.parts);
            }
        }
    }
    Ok(out)
}
