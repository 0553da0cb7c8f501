//! Writes sorted lines into one table file. A file appears whole and synced under its name or not at all, and the same
//! lines give the same bytes. Neighbour: `compact` decides which lines go into which file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernel::sha256::Sha256;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value};

use crate::error::ReadError;

use super::cells::ColumnCells;
use super::columns::{BLOOM_FILTER_COLUMNS, COLUMNS, ColumnType, leaf_count, schema, split_columns};

/// Most rows of a row group; one row group is in memory while a file is written.
const MAX_GROUP_ROWS: usize = 128 * 1024;
/// Most bytes of a row group's lines.
const MAX_GROUP_BYTES: usize = 256 << 20;
/// Compression level of zstd.
const LEVEL: i32 = 3;

/// A file that is being written.
pub(super) struct TableWriter {
    path: PathBuf,
    temporary: PathBuf,
    writer: SerializedFileWriter<HashingFile>,
    /// Cells of the current row group, by leaf column.
    cells: Vec<ColumnCells>,
    group_rows: usize,
    /// Bytes of the current row group's lines.
    group_bytes: usize,
    /// Rows in the whole file.
    pub(super) lines: u64,
}

fn write_error(error: &ParquetError) -> ReadError {
    ReadError::Unavailable(format!("the table can't be written: {error}"))
}

fn writer_properties() -> Result<WriterProperties, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
        .set_created_by("tollgate".to_owned())
        .set_max_row_group_row_count(Some(MAX_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for name in BLOOM_FILTER_COLUMNS {
        properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(name), true);
    }
    Ok(properties.build())
}

impl TableWriter {
    /// Creates a file at `path` (0600), and its folder if missing.
    pub(super) fn new(path: &Path) -> Result<Self, ReadError> {
        let folder = kernel::files::parent_folder(path);
        let file_error = |error: io::Error| ReadError::from_file_error(path, &error);
        kernel::files::make_folders(folder).map_err(file_error)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.tmp"));
        // a crashed run may have left this file
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let schema = parse_message_type(&schema()).map_err(|error| write_error(&error))?;
        let properties = writer_properties().map_err(|error| write_error(&error))?;
        let file = HashingFile { file: file.map_err(file_error)?, hash: Sha256::new() };
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        let writer = writer.map_err(|error| write_error(&error))?;
        let (path, cells) = (path.to_owned(), empty_cells());
        Ok(Self { path, temporary, writer, cells, group_rows: 0, group_bytes: 0, lines: 0 })
    }

    /// Adds a line of `bytes` bytes.
    pub(super) fn push(&mut self, line: Map<String, Value>, bytes: usize) -> Result<(), ReadError> {
        let mut cells = self.cells.iter_mut();
        for (column, value) in COLUMNS.iter().zip(split_columns(line)) {
            match column.column_type {
                ColumnType::Ints(fields) => {
                    for (cells, field) in cells.by_ref().take(fields.len()).zip(fields) {
                        cells.push_field(&value, field);
                    }
                }
                column_type => {
                    if let Some(cells) = cells.next() {
                        cells.push(column_type, &value);
                    }
                }
            }
        }
        self.group_rows += 1;
        self.group_bytes += bytes;
        self.lines += 1;
        let is_full = self.group_rows == MAX_GROUP_ROWS || self.group_bytes >= MAX_GROUP_BYTES;
        if is_full { self.write_group() } else { Ok(()) }
    }

    fn write_group(&mut self) -> Result<(), ReadError> {
        let cells = std::mem::replace(&mut self.cells, empty_cells());
        (self.group_rows, self.group_bytes) = (0, 0);
        self.write_cells(cells).map_err(|error| write_error(&error))
    }

    fn write_cells(&mut self, cells: Vec<ColumnCells>) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        let column_types =
            COLUMNS.iter().flat_map(|column| std::iter::repeat_n(column.column_type, leaf_count(column.column_type)));
        for (column_type, cells) in column_types.zip(cells) {
            let column = group.next_column()?;
            let column = column.ok_or_else(|| ParquetError::General("a column is missing".to_owned()))?;
            cells.write(column_type, column)?;
        }
        group.close().map(drop)
    }

    /// Completes the file under its final name; returns its size in bytes and its SHA-256 in hex.
    pub(super) fn finish(mut self) -> Result<(u64, String), ReadError> {
        if self.group_rows > 0 {
            self.write_group()?;
        }
        let HashingFile { file, hash } = self.writer.into_inner().map_err(|error| write_error(&error))?;
        let file_error = |error: io::Error| ReadError::from_file_error(&self.path, &error);
        file.sync_all().map_err(file_error)?;
        let size = file.metadata().map_err(file_error)?.len();
        std::fs::rename(&self.temporary, &self.path).map_err(file_error)?;
        kernel::files::sync_folder(kernel::files::parent_folder(&self.path)).map_err(file_error)?;
        Ok((size, kernel::hex::encode(&hash.finalize())))
    }
}

/// A file that is hashed as it is written.
struct HashingFile {
    file: File,
    hash: Sha256,
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn empty_cells() -> Vec<ColumnCells> {
    let count = COLUMNS.iter().map(|column| leaf_count(column.column_type)).sum();
    std::iter::repeat_with(ColumnCells::default).take(count).collect()
}
