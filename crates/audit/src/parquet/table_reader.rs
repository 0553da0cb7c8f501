//! Reads the lines of tables that match conditions ([`visit_rows`]), and lists the index objects whose lines are in
//! tables ([`TableCoverage`]), so that a lookup need not read millions of lines. A file is skipped only if its name
//! rules out a match, a row group only if its Bloom filter or bounds do. Neighbour: `read::find` defines queries.

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
/// Most unwanted rows between two wanted ones that are read rather than skipped.
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
    fn may_match_range(&self, min: &[u8], max: &[u8]) -> bool {
        match self {
            Self::Equals(_, wanted) => min <= wanted.as_bytes() && wanted.as_bytes() <= max,
            Self::AtLeast(_, wanted) => max >= wanted.as_bytes(),
            Self::LessThan(_, wanted) => min < wanted.as_bytes(),
            Self::NotEquals(..) | Self::StartsWith(..) => true,
        }
    }
}

/// Calls `visit` with each line that matches all conditions, in the files below `folder` that `coverage` lists.
///
/// # Errors
/// A file can't be read, or is damaged.
pub fn visit_rows(
    folder: &Path,
    coverage: &TableCoverage,
    conditions: &[ColumnCondition<'_>],
    visit: &mut dyn FnMut(IndexRow),
) -> std::result::Result<(), ReadError> {
    for name in &coverage.files {
        let path = folder.join(name);
        let file = File::open(&path).map_err(|error| ReadError::from_file_error(&path, &error))?;
        let mut visit_line = |line: Map<String, Value>| {
            let row = serde_json::from_value(Value::Object(line));
            visit(row.map_err(|_| ParquetError::General("a row is not a valid index line".to_owned()))?);
            Ok(())
        };
        visit_table(file, conditions, &mut visit_line)
            .map_err(|error| ReadError::Damaged(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// Whether a file may contain lines that match all conditions, as far as its name shows, and `day` accepts its day.
fn may_match_file(name: &str, conditions: &[ColumnCondition<'_>], day: &dyn Fn(&str) -> bool) -> bool {
    let value_of = |key: &str| path_segment_value(name, key);
    let may_match = |condition: &ColumnCondition<'_>| match condition {
        ColumnCondition::Equals("account", wanted) => {
            value_of("account").is_none_or(|account| account == vault::object_names::account_segment(wanted))
        }
        ColumnCondition::Equals("tenant", wanted) => value_of("tenant").is_none_or(|tenant| {
            let segment = kernel::pseudonym::encode_segment(wanted);
            // the path has only a hash of a long name
            tenant.starts_with("h-") || tenant == segment.as_deref().unwrap_or(wanted)
        }),
        _ => true,
    };
    conditions.iter().all(may_match) && value_of("dt").is_none_or(day)
}

/// Callback for each line of a table.
type LineVisitor<'v> = &'v mut dyn FnMut(Map<String, Value>) -> Result<()>;

/// Visits every line of a file that matches all conditions.
pub(super) fn visit_table(file: File, conditions: &[ColumnCondition<'_>], visit: LineVisitor<'_>) -> Result<()> {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let reader = SerializedFileReader::new_with_options(file, options)?;
    for group_index in 0..reader.num_row_groups() {
        let metadata = reader.metadata().row_group(group_index);
        // the footer has the bounds, so they can rule out a row group before its Bloom filters are read
        let may_match = |condition: &ColumnCondition<'_>| {
            let column = leaf_position(condition.column()).and_then(|leaf| metadata.columns().get(leaf));
            let statistics = column.and_then(|column| column.statistics());
            let bounds = statistics.and_then(|values| Some((values.min_bytes_opt()?, values.max_bytes_opt()?)));
            bounds.is_none_or(|(min, max)| condition.may_match_range(min, max))
        };
        if conditions.iter().all(may_match) {
            let group = reader.get_row_group(group_index)?;
            let row_count = usize::try_from(metadata.num_rows()).unwrap_or_default();
            if let Some(rows) = find_matching_rows(&*group, conditions, row_count)? {
                assemble_lines(&*group, &rows, visit)?;
            }
        }
    }
    Ok(())
}

/// Position of a column's first leaf column.
fn leaf_position(name: &str) -> Option<usize> {
    let index = position(name)?;
    Some(COLUMNS.iter().take(index).map(|column| leaf_count(column.column_type)).sum())
}

/// The rows that match all conditions, as ranges; `None` if there are none.
fn find_matching_rows(
    group: &dyn RowGroupReader,
    conditions: &[ColumnCondition<'_>],
    row_count: usize,
) -> Result<Option<Vec<Range<usize>>>> {
    for condition in conditions {
        let filter = leaf_position(condition.column()).and_then(|leaf| group.get_column_bloom_filter(leaf));
        if let (Some(filter), ColumnCondition::Equals(_, wanted)) = (filter, condition)
            && !filter.check(*wanted)
        {
            return Ok(None);
        }
    }
    let mut rows = std::iter::once(0..row_count).collect::<Vec<_>>();
    for condition in conditions {
        let Some(leaf) = leaf_position(condition.column()) else { continue };
        let mut cursor = ColumnCursor::new(group.get_column_reader(leaf)?);
        let mut matching: Vec<Range<usize>> = Vec::new();
        for range in rows {
            cursor.visit_texts(range, &mut |row, value| {
                if condition.matches(value) {
                    match matching.last_mut() {
                        Some(last) if last.end == row => last.end = row + 1,
                        _ => matching.push(row..row + 1),
                    }
                }
            })?;
        }
        rows = matching;
        if rows.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(rows))
}

/// Assembles the rows and passes them on, at most [`ROWS_PER_CHUNK`] at a time.
fn assemble_lines(group: &dyn RowGroupReader, rows: &[Range<usize>], visit: LineVisitor<'_>) -> Result<()> {
    let leaf_columns: usize = COLUMNS.iter().map(|column| leaf_count(column.column_type)).sum();
    let open_cursor = |leaf| group.get_column_reader(leaf).map(ColumnCursor::new);
    let mut cursors = (0..leaf_columns).map(open_cursor).collect::<Result<Vec<_>>>()?;
    for RowChunk { range, wanted } in plan_chunks(rows) {
        let mut lines = vec![Map::new(); range.len()];
        let mut leaf_cursors = cursors.iter_mut();
        for column in COLUMNS {
            let fields: &[&str] = if let ColumnType::Ints(fields) = column.column_type { fields } else { &[] };
            for index in 0..leaf_count(column.column_type) {
                if let Some(cursor) = leaf_cursors.next() {
                    let field = fields.get(index).copied();
                    cursor.fill_column(column.column_type, column.name, field, &range, &mut lines)?;
                }
            }
        }
        for (_, line) in (range.start..).zip(lines).filter(|(row, _)| wanted.contains(row)) {
            visit(join_columns(line))?;
        }
    }
    Ok(())
}

/// Rows that are read together.
struct RowChunk {
    range: Range<usize>,
    wanted: BTreeSet<usize>,
}

/// Joins rows that are close together into chunks of limited length.
fn plan_chunks(rows: &[Range<usize>]) -> Vec<RowChunk> {
    let mut chunks: Vec<RowChunk> = Vec::new();
    for row in rows.iter().cloned().flatten() {
        match chunks.last_mut() {
            Some(RowChunk { range, wanted })
                if row < range.end + MAX_UNWANTED_ROWS && row - range.start < ROWS_PER_CHUNK =>
            {
                range.end = row + 1;
                wanted.insert(row);
            }
            _ => chunks.push(RowChunk { range: row..row + 1, wanted: BTreeSet::from([row]) }),
        }
    }
    chunks
}

/// Index objects whose lines are in the tables, and the files to read for a query.
#[derive(Default)]
pub struct TableCoverage {
    objects: BTreeSet<String>,
    files: BTreeSet<String>,
    /// Number of objects in parts that are not read, because the parts also have lines of unsigned objects.
    unsigned: usize,
    /// Changed or missing files, which are not read.
    changed: Vec<String>,
}

/// Whether an object counts as signed, given its name and the SHA-256 of the bytes that were read.
pub type SignedCheck<'a> = &'a dyn Fn(&str, &str) -> bool;

impl TableCoverage {
    /// Reads the states below `folder` and selects the files that may match a query. A part is not covered if one of
    /// these files was changed or is missing, or if `is_signed` is given and rejects one of the part's objects.
    ///
    /// # Errors
    /// A state or a file can't be read.
    pub fn read(
        folder: &Path,
        conditions: &[ColumnCondition<'_>],
        day: &dyn Fn(&str) -> bool,
        is_signed: Option<SignedCheck<'_>>,
    ) -> std::result::Result<Self, ReadError> {
        let mut coverage = Self::default();
        for TablePart { objects, files, .. } in read_parts(folder)? {
            if is_signed.is_some_and(|is_signed| !objects.iter().all(|(name, sha256)| is_signed(name, sha256))) {
                coverage.unsigned += objects.len();
                continue;
            }
            let wanted: Vec<_> = files.into_iter().filter(|file| may_match_file(&file.name, conditions, day)).collect();
            let mut changed = Vec::new();
            for file in &wanted {
                if !file.is_unchanged(folder)? {
                    changed.push(file.name.clone());
                }
            }
            if changed.is_empty() {
                coverage.objects.extend(objects.into_keys());
                coverage.files.extend(wanted.into_iter().map(|file| file.name));
            }
            coverage.changed.extend(changed);
        }
        Ok(coverage)
    }

    /// Messages about the tables that were not read.
    pub fn skipped_files(&self) -> Vec<String> {
        let unsigned = (self.unsigned > 0).then(|| {
            let objects = self.unsigned;
            format!(
                "tables with lines of {objects} index objects were skipped because not all objects are signed; lines \
                 still in the index were read from there"
            )
        });
        let changed = self.changed.iter().map(|name| {
            format!(
                "{name}: this table is missing or was changed; lines still in the index were read from there; run \
                 `vault compact` to rebuild it"
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
    let mut parts = Vec::new();
    for account in accounts.flatten() {
        for state in std::fs::read_dir(account.path()).into_iter().flatten().flatten() {
            let path = state.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                parts.extend(DayState::read(&path)?.parts);
            }
        }
    }
    Ok(parts)
}
