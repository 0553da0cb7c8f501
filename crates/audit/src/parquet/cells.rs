//! The cells of one leaf column: collected row by row for writing, and turned back into rows when read. Levels follow
//! Parquet's definition and repetition levels. Texts share one buffer, so that a row group needs few allocations.
//! Neighbours: `columns` (the schema), `write` and `read` (files).

use bytes::Bytes;
use parquet::column::reader::ColumnReader;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedColumnWriter;
use serde_json::{Map, Value};
use std::ops::Range;

use super::columns::ColumnType;

/// Values passed to the writer at a time.
const BATCH: usize = 8192;

/// The cells of a leaf column.
#[derive(Default)]
pub(super) struct ColumnCells {
    texts: Vec<u8>,
    ends: Vec<usize>,
    ints: Vec<i64>,
    bools: Vec<bool>,
    /// Definition level of each value.
    def: Vec<i16>,
    /// Repetition levels: 0 starts a row; only lists have others.
    rep: Vec<i16>,
}

impl ColumnCells {
    fn push_text(&mut self, text: &str) {
        self.texts.extend(text.as_bytes());
        self.ends.push(self.texts.len());
    }

    /// Adds a row's value of a plain column.
    pub(super) fn push(&mut self, form: ColumnType, value: &Value) {
        let defined = match (form, value) {
            (_, Value::Null) => false,
            (ColumnType::Text, Value::String(text)) => {
                self.push_text(text);
                true
            }
            (ColumnType::Int, value) => value.as_i64().map(|number| self.ints.push(number)).is_some(),
            (ColumnType::Bool, Value::Bool(yes)) => {
                self.bools.push(*yes);
                true
            }
            (ColumnType::Json, value) => {
                self.push_text(&value.to_string());
                true
            }
            (ColumnType::Texts, Value::Array(items)) => return self.push_list(items),
            _ => false,
        };
        self.def.push(i16::from(defined));
        if form == ColumnType::Texts {
            self.rep.push(0);
        }
    }

    fn push_list(&mut self, items: &[Value]) {
        if items.is_empty() {
            self.def.push(1);
            self.rep.push(0);
        }
        for (n, item) in items.iter().enumerate() {
            self.push_text(item.as_str().unwrap_or_default());
            self.def.push(3);
            self.rep.push(i16::from(n > 0));
        }
    }

    /// Adds a row's value of a group's field.
    pub(super) fn push_field(&mut self, group: &Value, field: &str) {
        let number = group.get(field).and_then(Value::as_i64);
        self.ints.extend(number);
        self.def.push(if number.is_some() { 2 } else { i16::from(group.is_object()) });
    }

    /// Writes all cells into a column chunk and closes it.
    pub(super) fn write(self, form: ColumnType, mut to: SerializedColumnWriter<'_>) -> Result<()> {
        let rep = (form == ColumnType::Texts).then_some(&*self.rep);
        match form {
            ColumnType::Text | ColumnType::Json | ColumnType::Texts => {
                let texts = Bytes::from(self.texts);
                let mut from = 0;
                let values =
                    self.ends.iter().map(|end| ByteArray::from(texts.slice(std::mem::replace(&mut from, *end)..*end)));
                write_batches::<ByteArrayType>(
                    &mut to,
                    values,
                    &self.def,
                    rep,
                    if form == ColumnType::Texts { 3 } else { 1 },
                )?;
            }
            ColumnType::Int => write_batches::<Int64Type>(&mut to, self.ints.into_iter(), &self.def, rep, 1)?,
            ColumnType::Ints(_) => write_batches::<Int64Type>(&mut to, self.ints.into_iter(), &self.def, rep, 2)?,
            ColumnType::Bool => write_batches::<BoolType>(&mut to, self.bools.into_iter(), &self.def, rep, 1)?,
        }
        to.close()
    }
}

/// Writes values in batches. A batch has as many values as it has levels equal to `full`, which mark a present value.
fn write_batches<T: DataType>(
    to: &mut SerializedColumnWriter<'_>,
    mut values: impl Iterator<Item = T::T>,
    def: &[i16],
    rep: Option<&[i16]>,
    full: i16,
) -> Result<()> {
    let mut at = 0;
    while at < def.len() {
        let mut end = def.len().min(at + BATCH);
        // a batch must end at the end of a row
        while rep.and_then(|rep| rep.get(end)).is_some_and(|rep| *rep > 0) {
            end += 1;
        }
        let levels = def.get(at..end).unwrap_or_default();
        let count = levels.iter().filter(|level| **level == full).count();
        let some: Vec<T::T> = values.by_ref().take(count).collect();
        to.typed::<T>().write_batch(&some, Some(levels), rep.and_then(|rep| rep.get(at..end)))?;
        at = end;
    }
    Ok(())
}

/// A column reader and its current row.
pub(super) struct ColumnCursor {
    reader: ColumnReader,
    row: usize,
}

fn damaged_error() -> ParquetError {
    ParquetError::General("a column ends before its rows do".to_owned())
}

impl ColumnCursor {
    pub(super) fn new(reader: ColumnReader) -> Self {
        Self { reader, row: 0 }
    }

    /// Calls `each` with the row number and value of each row in `rows`, which must lie beyond the rows already read.
    /// For text columns only.
    pub(super) fn visit_texts(&mut self, rows: Range<usize>, each: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else { return Err(damaged_error()) };
        let (def, _, values) = read_records(reader, &mut self.row, &rows, false)?;
        let mut values = values.iter();
        for (row, def) in rows.zip(def) {
            let value = if def > 0 { Some(values.next().ok_or_else(damaged_error)?) } else { None };
            each(row, value.map(ByteArray::data));
        }
        Ok(())
    }

    /// Stores the values of `rows` in `lines` under `name`, or under `field` of the group `name`.
    pub(super) fn fill_column(
        &mut self,
        form: ColumnType,
        name: &str,
        field: Option<&str>,
        rows: &Range<usize>,
        lines: &mut [Map<String, Value>],
    ) -> Result<()> {
        match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(reader) => {
                let (def, rep, values) = read_records(reader, &mut self.row, rows, form == ColumnType::Texts)?;
                if form == ColumnType::Texts {
                    fill_lists(name, &def, &rep, &values, lines)
                } else {
                    fill_texts(form, name, &def, &values, lines)
                }
            }
            ColumnReader::Int64ColumnReader(reader) => {
                let (def, _, values) = read_records(reader, &mut self.row, rows, false)?;
                let mut values = values.into_iter();
                for (line, def) in lines.iter_mut().zip(def) {
                    match field {
                        None if def > 0 => drop(line.insert(name.to_owned(), values.next().into())),
                        Some(field) if def > 0 => {
                            let group = line.entry(name).or_insert_with(|| Value::Object(Map::new()));
                            if let (2, Some(group)) = (def, group.as_object_mut()) {
                                group.insert(field.to_owned(), values.next().into());
                            }
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            ColumnReader::BoolColumnReader(reader) => {
                let (def, _, values) = read_records(reader, &mut self.row, rows, false)?;
                let mut values = values.into_iter();
                for (line, _) in lines.iter_mut().zip(def).filter(|(_, def)| *def > 0) {
                    line.insert(name.to_owned(), values.next().into());
                }
                Ok(())
            }
            _ => Err(damaged_error()),
        }
    }
}

fn fill_texts(
    form: ColumnType,
    name: &str,
    def: &[i16],
    values: &[ByteArray],
    lines: &mut [Map<String, Value>],
) -> Result<()> {
    let mut values = values.iter();
    for (line, _) in lines.iter_mut().zip(def).filter(|(_, def)| **def > 0) {
        let text = values.next().ok_or_else(damaged_error)?.as_utf8()?;
        let value = match form {
            ColumnType::Json => serde_json::from_str(text).map_err(|_| damaged_error())?,
            _ => Value::String(text.to_owned()),
        };
        line.insert(name.to_owned(), value);
    }
    Ok(())
}

fn fill_lists(
    name: &str,
    def: &[i16],
    rep: &[i16],
    values: &[ByteArray],
    lines: &mut [Map<String, Value>],
) -> Result<()> {
    let (mut values, mut lines, mut here) = (values.iter(), lines.iter_mut(), None);
    for (def, rep) in def.iter().zip(rep) {
        if *rep == 0 {
            here = lines.next();
        }
        let line = here.as_mut().ok_or_else(damaged_error)?;
        if *def == 0 {
            continue;
        }
        let list = line.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let (3, Some(list)) = (*def, list.as_array_mut()) {
            list.push(Value::String(values.next().ok_or_else(damaged_error)?.as_utf8()?.to_owned()));
        }
    }
    Ok(())
}

type ColumnRecords<T> = (Vec<i16>, Vec<i16>, Vec<T>);

/// The levels and values of `rows`.
fn read_records<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    at: &mut usize,
    rows: &Range<usize>,
    lists: bool,
) -> Result<ColumnRecords<T::T>> {
    let skip = rows.start.checked_sub(*at).ok_or_else(damaged_error)?;
    if skip > 0 && reader.skip_records(skip)? != skip {
        return Err(damaged_error());
    }
    let (mut def, mut rep, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut left = rows.len();
    while left > 0 {
        let (read, _, _) = reader.read_records(left, Some(&mut def), lists.then_some(&mut rep), &mut values)?;
        if read == 0 {
            return Err(damaged_error());
        }
        left -= read;
    }
    *at = rows.end;
    Ok((def, rep, values))
}
