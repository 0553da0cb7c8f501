//! Reads lines of tables that may match a query ([`rows`]), and lists the index objects covered by tables
//! ([`Covered`]), so that a lookup need not read millions of lines. A file, row group or row is skipped only if its
//! name, filter, bounds or value rules out a match. Neighbour: `read/find` defines queries.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use parquet::errors::{ParquetError, Result};
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use serde_json::{Map, Value};

use vault::row::Row;

use crate::error::ReadError;

use super::cells::Cursor;
use super::columns::{COLUMNS, Form, leaves, line, position};
use super::layout::{STATES, part};
use super::state::{Part, State};

/// Rows assembled at a time.
const AT_ONCE: usize = 4096;
/// Unwanted rows that are read rather than skipped.
const NEAR: usize = 16;

/// A condition on a text column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test<'q> {
    /// The value equals the text.
    Is(&'static str, &'q str),
    /// The value differs from the text, or is missing.
    IsNot(&'static str, &'q str),
    /// The value starts with the text.
    Starts(&'static str, &'q str),
    /// The value is not less than the text.
    From(&'static str, &'q str),
    /// The value is less than the text.
    Before(&'static str, &'q str),
}

impl Test<'_> {
    fn column(&self) -> &'static str {
        let (Self::Is(name, _)
        | Self::IsNot(name, _)
        | Self::Starts(name, _)
        | Self::From(name, _)
        | Self::Before(name, _)) = self;
        name
    }

    fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Is(_, wanted) => value == Some(wanted.as_bytes()),
            Self::IsNot(_, wanted) => value != Some(wanted.as_bytes()),
            Self::Starts(_, wanted) => value.is_some_and(|value| value.starts_with(wanted.as_bytes())),
            Self::From(_, wanted) => value.is_some_and(|value| value >= wanted.as_bytes()),
            Self::Before(_, wanted) => value.is_some_and(|value| value < wanted.as_bytes()),
        }
    }

    /// Whether a value between these bounds can match.
    fn within(&self, least: &[u8], most: &[u8]) -> bool {
        match self {
            Self::Is(_, wanted) => least <= wanted.as_bytes() && wanted.as_bytes() <= most,
            Self::From(_, wanted) => most >= wanted.as_bytes(),
            Self::Before(_, wanted) => least < wanted.as_bytes(),
            Self::IsNot(..) | Self::Starts(..) => true,
        }
    }
}

/// Calls `visit` with each line for which every test holds, in the files below `folder` that `covered` lists.
///
/// # Errors
/// A file can't be read, or is damaged.
pub fn rows(
    folder: &Path,
    covered: &Covered,
    tests: &[Test<'_>],
    visit: &mut dyn FnMut(Row),
) -> std::result::Result<(), ReadError> {
    for name in &covered.files {
        let path = folder.join(name);
        let file = File::open(&path).map_err(|error| ReadError::of_file(&path, &error))?;
        let mut each = |line: Map<String, Value>| {
            let row = serde_json::from_value(Value::Object(line));
            visit(row.map_err(|_| ParquetError::General("a row is no index line".to_owned()))?);
            Ok(())
        };
        table(file, tests, &mut each).map_err(|error| ReadError::Damaged(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// Whether a file may contain lines for which every test holds, judging by its name, and `day` accepts its day.
fn may_hold(name: &str, tests: &[Test<'_>], day: &dyn Fn(&str) -> bool) -> bool {
    let named = |key: &str| part(name, key);
    let is = |test: &Test<'_>| match test {
        Test::Is("account", wanted) => {
            named("account").is_none_or(|name| name == vault::names::account_segment(wanted))
        }
        Test::Is("tenant", wanted) => named("tenant").is_none_or(|name| {
            let segment = kernel::pseudonym::segment(wanted);
            name.starts_with("h-") || name == segment.as_deref().unwrap_or(wanted)
        }),
        _ => true,
    };
    tests.iter().all(is) && named("dt").is_none_or(day)
}

/// Callback for each line of a table.
type Visit<'v> = &'v mut dyn FnMut(Map<String, Value>) -> Result<()>;

/// Visits every line of a file for which every test holds.
pub(super) fn table(file: File, tests: &[Test<'_>], visit: Visit<'_>) -> Result<()> {
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let reader = SerializedFileReader::new_with_options(file, options)?;
    for n in 0..reader.num_row_groups() {
        let metadata = reader.metadata().row_group(n);
        // bounds are in the footer; Bloom filters are read with the group
        let bounds = |test: &Test<'_>| {
            let at = leaf(test.column()).and_then(|at| metadata.columns().get(at));
            let bounds = at.and_then(|column| column.statistics());
            let bounds = bounds.and_then(|bounds| Some((bounds.min_bytes_opt()?, bounds.max_bytes_opt()?)));
            bounds.is_none_or(|(least, most)| test.within(least, most))
        };
        if tests.iter().all(bounds) {
            let group = reader.get_row_group(n)?;
            let count = usize::try_from(metadata.num_rows()).unwrap_or_default();
            if let Some(rows) = matching(&*group, tests, count)? {
                lines(&*group, &rows, visit)?;
            }
        }
    }
    Ok(())
}

/// Position of a column's first leaf column.
fn leaf(name: &str) -> Option<usize> {
    let at = position(name)?;
    Some(COLUMNS.iter().take(at).map(|column| leaves(column.form)).sum())
}

/// The rows for which every test holds, as ranges; `None` if there are none.
fn matching(group: &dyn RowGroupReader, tests: &[Test<'_>], count: usize) -> Result<Option<Vec<Range<usize>>>> {
    for test in tests {
        let filter = leaf(test.column()).and_then(|at| group.get_column_bloom_filter(at));
        if let (Some(filter), Test::Is(_, wanted)) = (filter, test)
            && !filter.check(*wanted)
        {
            return Ok(None);
        }
    }
    let mut rows = std::iter::once(0..count).collect::<Vec<_>>();
    for test in tests {
        let Some(at) = leaf(test.column()) else { continue };
        let mut cursor = Cursor::new(group.get_column_reader(at)?);
        let mut kept: Vec<Range<usize>> = Vec::new();
        for range in rows {
            cursor.texts(range, &mut |row, value| {
                if test.holds(value) {
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

/// Assembles the rows and passes them on, at most [`AT_ONCE`] at a time.
fn lines(group: &dyn RowGroupReader, rows: &[Range<usize>], visit: Visit<'_>) -> Result<()> {
    let count = COLUMNS.iter().map(|column| leaves(column.form)).sum();
    let mut cursors = (0..count).map(|at| group.get_column_reader(at).map(Cursor::new)).collect::<Result<Vec<_>>>()?;
    for (range, wanted) in pieces(rows) {
        let mut maps = vec![Map::new(); range.len()];
        let mut at = cursors.iter_mut();
        for column in COLUMNS {
            let fields: &[&str] = if let Form::Ints(fields) = column.form { fields } else { &[] };
            for n in 0..leaves(column.form) {
                if let Some(cursor) = at.next() {
                    cursor.fill(column.form, column.name, fields.get(n).copied(), &range, &mut maps)?;
                }
            }
        }
        for (_, map) in (range.start..).zip(maps).filter(|(row, _)| wanted.contains(row)) {
            visit(line(map))?;
        }
    }
    Ok(())
}

/// Ranges to read, and the wanted rows in each: close rows are read together, and long ranges in pieces.
fn pieces(rows: &[Range<usize>]) -> Vec<(Range<usize>, BTreeSet<usize>)> {
    let mut out: Vec<(Range<usize>, BTreeSet<usize>)> = Vec::new();
    for row in rows.iter().cloned().flatten() {
        match out.last_mut() {
            Some((range, wanted)) if row < range.end + NEAR && row - range.start < AT_ONCE => {
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
pub struct Covered {
    objects: BTreeSet<String>,
    files: BTreeSet<String>,
    /// Objects in files that are not read, because the files include unsigned objects.
    unsigned: usize,
    /// Changed or missing files, which are not read.
    changed: Vec<String>,
}

/// Whether an object counts as signed, given its name and the SHA-256 of the bytes that were read.
pub type Signed<'a> = &'a dyn Fn(&str, &str) -> bool;

impl Covered {
    /// Reads the states below `folder` for lines that a query may need. If a file was changed or is missing, its
    /// objects are not covered. `signed` decides which objects count, by name and SHA-256.
    ///
    /// # Errors
    /// A state or a file can't be read.
    pub fn read(
        folder: &Path,
        tests: &[Test<'_>],
        day: &dyn Fn(&str) -> bool,
        signed: Option<Signed<'_>>,
    ) -> std::result::Result<Self, ReadError> {
        let mut covered = Self::default();
        for Part { objects, files, .. } in parts(folder)? {
            if signed.is_some_and(|signed| !objects.iter().all(|(name, sha256)| signed(name, sha256))) {
                covered.unsigned += objects.len();
                continue;
            }
            let wanted: Vec<_> = files.into_iter().filter(|file| may_hold(&file.name, tests, day)).collect();
            let mut changed = Vec::new();
            for file in &wanted {
                if !file.is_sound(folder)? {
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
    pub fn left(&self) -> Vec<String> {
        let unsigned = (self.unsigned > 0).then(|| {
            let objects = self.unsigned;
            format!(
                "tables that hold lines of {objects} index objects: not all of them were signed; what the index still has was read from there"
            )
        });
        let changed = self.changed.iter().map(|name| {
            format!(
                "{name}: it is not what `vault compact` wrote, or is gone; what the index still has was read from there, and `vault compact` makes it anew"
            )
        });
        unsigned.into_iter().chain(changed).collect()
    }

    /// Whether an object (without the vault's prefix) is covered.
    pub fn has(&self, object: &str) -> bool {
        self.objects.contains(object)
    }
}

/// The parts listed in the states below `folder`.
fn parts(folder: &Path) -> std::result::Result<Vec<Part>, ReadError> {
    let accounts = std::fs::read_dir(folder.join(STATES));
    let accounts = accounts.map_err(|error| {
        ReadError::of_io(&error, format!("{} holds no tables of `vault compact`: {error}", folder.display()))
    })?;
    let mut out = Vec::new();
    for account in accounts.flatten() {
        for state in std::fs::read_dir(account.path()).into_iter().flatten().flatten() {
            let path = state.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                out.extend(State::read(&path)?.parts);
            }
        }
    }
    Ok(out)
}
