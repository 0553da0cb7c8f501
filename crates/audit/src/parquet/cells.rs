//! The cells of one leaf column: collected row by row for writing, and turned back into rows when read. Levels follow
//! Parquet's definition and repetition levels. Texts share one buffer, so that a row group needs few allocations.
//! Neighbours: `columns` (the schema), `table_writer` and `table_reader` (files).

use bytes::Bytes;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedColumnWriter;
use serde_json::{Map, Value};
use std::ops::Range;

use super::columns::ColumnType;

/// Levels passed to the writer at a time; a batch is longer if its last row is.
const BATCH_LEVELS: usize = 8192;

/// The cells of a leaf column.
#[derive(Default)]
pub(super) struct ColumnCells {
    texts: Vec<u8>,
    /// Where each text ends in `texts`.
    text_ends: Vec<usize>,
    ints: Vec<i64>,
    bools: Vec<bool>,
    /// Definition levels: 0 is null; a value has 1 in a plain column, 2 in a group and 3 in a list. A group without the
    /// field and an empty list have 1.
    def_levels: Vec<i16>,
    /// Repetition levels of lists: 0 starts a row.
    rep_levels: Vec<i16>,
}

impl ColumnCells {
    fn push_text(&mut self, text: &str) {
        self.texts.extend(text.as_bytes());
        self.text_ends.push(self.texts.len());
    }

    /// Adds a row's value of a plain column.
    pub(super) fn push(&mut self, column_type: ColumnType, value: &Value) {
        let is_defined = match (column_type, value) {
            (_, Value::Null) => false,
            (ColumnType::Text, Value::String(text)) => {
                self.push_text(text);
                true
            }
            (ColumnType::Int, value) => value.as_i64().map(|number| self.ints.push(number)).is_some(),
            (ColumnType::Bool, Value::Bool(value)) => {
                self.bools.push(*value);
                true
            }
            (ColumnType::Json, value) => {
                self.push_text(&value.to_string());
                true
            }
            (ColumnType::Texts, Value::Array(items)) => return self.push_list(items),
            _ => false,
        };
        self.def_levels.push(i16::from(is_defined));
        if column_type == ColumnType::Texts {
            self.rep_levels.push(0);
        }
    }

    fn push_list(&mut self, items: &[Value]) {
        if items.is_empty() {
            self.def_levels.push(1);
            self.rep_levels.push(0);
        }
        for (index, item) in items.iter().enumerate() {
            self.push_text(item.as_str().unwrap_or_default());
            self.def_levels.push(3);
            self.rep_levels.push(i16::from(index > 0));
        }
    }

    /// Adds a row's value of a group's field.
    pub(super) fn push_field(&mut self, group: &Value, field: &str) {
        let number = group.get(field).and_then(Value::as_i64);
        self.ints.extend(number);
        self.def_levels.push(if number.is_some() { 2 } else { i16::from(group.is_object()) });
    }

    /// Writes all cells into a column chunk and closes it.
    pub(super) fn write(self, column_type: ColumnType, mut writer: SerializedColumnWriter<'_>) -> Result<()> {
        let def = &self.def_levels;
        let rep = (column_type == ColumnType::Texts).then_some(&*self.rep_levels);
        match column_type {
            ColumnType::Text | ColumnType::Json | ColumnType::Texts => {
                let texts = Bytes::from(self.texts);
                let mut start = 0;
                let values = self.text_ends.iter().map(|end| texts.slice(std::mem::replace(&mut start, *end)..*end));
                let value_level = if column_type == ColumnType::Texts { 3 } else { 1 };
                write_batches::<ByteArrayType>(&mut writer, values.map(ByteArray::from), def, rep, value_level)?;
            }
            ColumnType::Int => write_batches::<Int64Type>(&mut writer, self.ints.into_iter(), def, rep, 1)?,
            ColumnType::Ints(_) => write_batches::<Int64Type>(&mut writer, self.ints.into_iter(), def, rep, 2)?,
            ColumnType::Bool => write_batches::<BoolType>(&mut writer, self.bools.into_iter(), def, rep, 1)?,
        }
        writer.close()
    }
}

/// Writes values in batches. A batch has one value for each definition level that equals `value_level`.
fn write_batches<T: DataType>(
    writer: &mut SerializedColumnWriter<'_>,
    mut values: impl Iterator<Item = T::T>,
    def: &[i16],
    rep: Option<&[i16]>,
    value_level: i16,
) -> Result<()> {
    let mut start = 0;
    while start < def.len() {
        let mut end = def.len().min(start + BATCH_LEVELS);
        // a batch must end at the end of a row
        while rep.and_then(|rep| rep.get(end)).is_some_and(|rep| *rep > 0) {
            end += 1;
        }
        let levels = def.get(start..end).unwrap_or_default();
        let count = levels.iter().filter(|level| **level == value_level).count();
        let batch: Vec<T::T> = values.by_ref().take(count).collect();
        writer.typed::<T>().write_batch(&batch, Some(levels), rep.and_then(|rep| rep.get(start..end)))?;
        start = end;
    }
    Ok(())
}

/// A column reader and the row that it reads next.
pub(super) struct ColumnCursor {
    reader: ColumnReader,
    next_row: usize,
}

fn damaged_error() -> ParquetError {
    ParquetError::General("a column ends before its rows do".to_owned())
}

impl ColumnCursor {
    pub(super) fn new(reader: ColumnReader) -> Self {
        Self { reader, next_row: 0 }
    }

    /// Calls `visit` with the number and value of each row in `rows`, which must follow the rows already read. For text
    /// columns only.
    pub(super) fn visit_texts(
        &mut self,
        rows: Range<usize>,
        visit: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let ColumnReader::ByteArrayColumnReader(reader) = &mut self.reader else { return Err(damaged_error()) };
        let ColumnRecords { def, values, .. } = read_records(reader, &mut self.next_row, &rows, false)?;
        let mut values = values.iter();
        for (row, def) in rows.zip(def) {
            let value = if def > 0 { Some(values.next().ok_or_else(damaged_error)?) } else { None };
            visit(row, value.map(ByteArray::data));
        }
        Ok(())
    }

    /// Stores the values of `rows` in `lines` under `name`, or under `field` of the group `name`.
    pub(super) fn fill_column(
        &mut self,
        column_type: ColumnType,
        name: &str,
        field: Option<&str>,
        rows: &Range<usize>,
        lines: &mut [Map<String, Value>],
    ) -> Result<()> {
        match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(reader) => {
                let is_list = column_type == ColumnType::Texts;
                let records = read_records(reader, &mut self.next_row, rows, is_list)?;
                if is_list { fill_lists(name, &records, lines) } else { fill_texts(column_type, name, &records, lines) }
            }
            ColumnReader::Int64ColumnReader(reader) => {
                let ColumnRecords { def, values, .. } = read_records(reader, &mut self.next_row, rows, false)?;
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
                let ColumnRecords { def, values, .. } = read_records(reader, &mut self.next_row, rows, false)?;
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
    column_type: ColumnType,
    name: &str,
    records: &ColumnRecords<ByteArray>,
    lines: &mut [Map<String, Value>],
) -> Result<()> {
    let mut values = records.values.iter();
    for (line, _) in lines.iter_mut().zip(&records.def).filter(|(_, def)| **def > 0) {
        let text = values.next().ok_or_else(damaged_error)?.as_utf8()?;
        let value = match column_type {
            ColumnType::Json => serde_json::from_str(text).map_err(|_| damaged_error())?,
            _ => Value::String(text.to_owned()),
        };
        line.insert(name.to_owned(), value);
    }
    Ok(())
}

fn fill_lists(name: &str, records: &ColumnRecords<ByteArray>, lines: &mut [Map<String, Value>]) -> Result<()> {
    let (mut values, mut lines, mut current_line) = (records.values.iter(), lines.iter_mut(), None);
    for (def, rep) in records.def.iter().zip(&records.rep) {
        if *rep == 0 {
            current_line = lines.next();
        }
        let line = current_line.as_mut().ok_or_else(damaged_error)?;
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

/// Values of some rows, with their definition and repetition levels.
struct ColumnRecords<T> {
    def: Vec<i16>,
    /// Empty if the column is not a list.
    rep: Vec<i16>,
    values: Vec<T>,
}

/// Reads `rows` and sets `next_row` to the row after them.
fn read_records<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    next_row: &mut usize,
    rows: &Range<usize>,
    is_list: bool,
) -> Result<ColumnRecords<T::T>> {
    let skip = rows.start.checked_sub(*next_row).ok_or_else(damaged_error)?;
    if skip > 0 && reader.skip_records(skip)? != skip {
        return Err(damaged_error());
    }
    let (mut def, mut rep, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let mut remaining = rows.len();
    while remaining > 0 {
        let (read, _, _) = reader.read_records(remaining, Some(&mut def), is_list.then_some(&mut rep), &mut values)?;
        if read == 0 {
            return Err(damaged_error());
        }
        remaining -= read;
    }
    *next_row = rows.end;
    Ok(ColumnRecords { def, rep, values })
}
