//! Reads the rows of a vendor's export, CSV or JSON, also compressed with gzip, whatever its size: one row of CSV or
//! one document of JSON is in memory at a time. Errors name the file and the row's number, never a text of the file.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::format::{ExportFormat, ExportRow, FileType};
use command::output::Progress;
use kernel::files::describe_io_error;

/// Most bytes of a row of CSV, or of a document of JSON, such as a page of an API.
const MAX_PART: u64 = 16 << 20;

/// A file whose rows are read.
struct ExportReader {
    inner: Box<dyn Read>,
    /// Bytes since the last part.
    pending: Rc<Cell<u64>>,
    all: u64,
    progress: Progress,
}

impl Read for ExportReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        self.pending.set(self.pending.get().saturating_add(read as u64));
        if self.pending.get() > MAX_PART {
            return Err(std::io::Error::other("a row of CSV or a document of JSON has more than 16 MiB"));
        }
        self.all = self.all.saturating_add(read as u64);
        self.progress.show(|| format!("{} MB read", self.all / 1_000_000));
        Ok(read)
    }
}

struct CsvRow<'r> {
    columns: &'r HashMap<String, usize>,
    record: &'r csv::StringRecord,
}

impl ExportRow for CsvRow<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.record.get(*self.columns.get(&name.to_lowercase())?).map(str::to_owned)
    }

    fn text(&self) -> String {
        self.record.iter().collect::<Vec<_>>().join("\u{1f}")
    }
}

/// A row with the objects around it, from the inside out. Names are dotted for fields of objects in them.
struct JsonRow<'r>(Vec<&'r Value>);

impl ExportRow for JsonRow<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let find = |object: &&Value| {
            let found = object.get(name).or_else(|| name.split('.').try_fold(*object, |at, key| at.get(key)))?;
            as_text(found)
        };
        self.0.iter().find_map(find)
    }

    fn text(&self) -> String {
        let outer = self.0.iter().skip(1).filter_map(|object| object.as_object()).flatten();
        let outer = outer.filter_map(|(name, value)| Some(format!("{name}={}", as_text(value)?)));
        self.0.first().map(|row| row.to_string()).into_iter().chain(outer).collect::<Vec<_>>().join("\u{1f}")
    }

    fn list(&self, name: &str) -> Vec<String> {
        let (array, field) = name.split_once('.').unwrap_or((name, ""));
        let elements = self.0.iter().find_map(|object| object.get(array)?.as_array());
        elements.into_iter().flatten().filter_map(|element| as_text(element.get(field)?)).collect()
    }
}

/// The text of a field; "" of one that is there and empty.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a row is passed to, with the format of its file.
type Visit<'f, 'v> = dyn FnMut(&'f ExportFormat, &dyn ExportRow) -> Result<(), String> + 'v;

/// Finds the format of a file among `formats` and calls `visit` with each of its rows.
///
/// # Errors
/// The file can't be read, has no known format, or `visit` refuses a row.
pub(crate) fn each_row<'f>(
    path: &Path,
    formats: &'f [ExportFormat],
    visit: &mut Visit<'f, '_>,
) -> Result<&'f ExportFormat, String> {
    let name = path.display();
    let mut reader = open(path).map_err(|error| format!("{name}: {}", describe_io_error(error.kind())))?;
    let first = first_byte(&mut reader).map_err(|error| format!("{name}: {error}"))?;
    let mut number = 0_u64;
    let mut visit_row = |format: &'f ExportFormat, row: &dyn ExportRow| {
        number += 1;
        visit(format, row).map_err(|problem| format!("row {number}: {problem}"))
    };
    let found = match first {
        Some(b'{' | b'[') => read_json(reader, formats, &mut visit_row),
        Some(_) if reader.buffer().starts_with(b"PAR1") => {
            Err("Parquet: convert it to CSV first, with DuckDB for instance (docs/how-to/close-the-month.md)"
                .to_owned())
        }
        Some(_) => read_csv(reader, formats, &mut visit_row),
        None => Err("the file is empty".to_owned()),
    };
    found.map_err(|problem| format!("{name}: {problem}"))
}

fn unknown_format(formats: &[ExportFormat]) -> String {
    let names: Vec<&str> = formats.iter().map(|format| format.name.as_str()).collect();
    format!(
        "its columns are those of none of these formats: {}. Describe it in a file of formats: --format-file FILE, \
         docs/how-to/close-the-month.md",
        names.join(", ")
    )
}

fn open(path: &Path) -> std::io::Result<BufReader<ExportReader>> {
    let mut file = BufReader::new(File::open(path)?);
    let is_gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let inner: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let source = ExportReader { inner, pending: Rc::default(), all: 0, progress: Progress::default() };
    Ok(BufReader::with_capacity(1 << 16, source))
}

/// The first byte that is neither white space nor part of a byte order mark, which is left unread.
fn first_byte(reader: &mut BufReader<ExportReader>) -> std::io::Result<Option<u8>> {
    loop {
        let Some(byte) = reader.fill_buf()?.first().copied() else { return Ok(None) };
        if !byte.is_ascii_whitespace() && ![0xef, 0xbb, 0xbf].contains(&byte) {
            return Ok(Some(byte));
        }
        reader.consume(1);
    }
}

fn read_csv<'f>(
    reader: BufReader<ExportReader>,
    formats: &'f [ExportFormat],
    visit: &mut Visit<'f, '_>,
) -> Result<&'f ExportFormat, String> {
    let pending = Rc::clone(&reader.get_ref().pending);
    let mut reader = csv::ReaderBuilder::new().from_reader(reader);
    let describe = |error: csv::Error| match error.kind() {
        csv::ErrorKind::UnequalLengths { pos: Some(at), .. } => {
            format!("line {} has another number of columns than the heading: is the file cut off?", at.line())
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        csv::ErrorKind::Io(error) => error.to_string(),
        _ => "not CSV".to_owned(),
    };
    let headings = reader.headers().map_err(describe)?;
    let columns = headings.iter().enumerate().map(|(at, name)| (name.trim().to_lowercase(), at)).collect();
    let (mut record, mut found) = (csv::StringRecord::new(), None);
    while reader.read_record(&mut record).map_err(describe)? {
        pending.set(0);
        let row = CsvRow { columns: &columns, record: &record };
        let fitting = || formats.iter().find(|format| format.file_type == FileType::Csv && format.fits(&row));
        let format = found.or_else(fitting).ok_or_else(|| unknown_format(formats))?;
        found = Some(format);
        visit(format, &row)?;
    }
    found.ok_or_else(|| "the export has no rows".to_owned())
}

/// Reads one document, several, or lines of them.
fn read_json<'f>(
    reader: BufReader<ExportReader>,
    formats: &'f [ExportFormat],
    visit: &mut Visit<'f, '_>,
) -> Result<&'f ExportFormat, String> {
    let pending = Rc::clone(&reader.get_ref().pending);
    let mut found = None;
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<Value>() {
        let document = document.map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => "the file is cut off".to_owned(),
            serde_json::error::Category::Io => error.to_string(),
            _ => format!("line {}: not JSON", error.line()),
        })?;
        pending.set(0);
        let documents = document.as_array().map_or(std::slice::from_ref(&document), Vec::as_slice);
        if found.is_none() {
            let has_row = |format: &&ExportFormat| {
                let mut is_known = false;
                let mut visit_first = |row: &JsonRow<'_>| {
                    is_known = format.fits(row);
                    ControlFlow::Break(())
                };
                documents.iter().any(|one| rows_in(&[one], &format.rows, &mut visit_first).is_break()) && is_known
            };
            found = formats.iter().filter(|format| format.file_type == FileType::Json).find(has_row);
        }
        let Some(format) = found else { continue };
        let mut visit_row =
            |row: &JsonRow<'_>| visit(format, row).map_or_else(ControlFlow::Break, ControlFlow::Continue);
        for one in documents {
            if let ControlFlow::Break(problem) = rows_in(&[one], &format.rows, &mut visit_row) {
                return Err(problem);
            }
        }
    }
    // a page may have no rows
    found.ok_or_else(|| format!("the export has no rows, or {}", unknown_format(formats)))
}

/// Visits the rows below an object by the names of the arrays on the way; each with the objects around it.
fn rows_in<B>(objects: &[&Value], path: &str, visit: &mut dyn FnMut(&JsonRow<'_>) -> ControlFlow<B>) -> ControlFlow<B> {
    if path.is_empty() {
        return visit(&JsonRow(objects.to_vec()));
    }
    let (array, rest) = path.split_once('.').unwrap_or((path, ""));
    let elements = objects.first().and_then(|object| object.get(array)?.as_array());
    for element in elements.into_iter().flatten() {
        rows_in(&[&[element], objects].concat(), rest, visit)?;
    }
    ControlFlow::Continue(())
}
