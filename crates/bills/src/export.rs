//! Reads the rows of a vendor's export, CSV or JSON, also compressed with gzip, whatever its size: one row is in memory
//! at a time. Errors name the file and the row's number, never a text of the file.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::form::{Fields, Form, Shape};
use command::output::Progress;
use kernel::files::describe_io_error;

/// Most bytes between two rows: a larger row is no row of an export.
const MAX_ROW: u64 = 64 << 20;

/// A file whose rows are read.
struct Source {
    inner: Box<dyn Read>,
    /// Bytes since the last row.
    pending: Rc<Cell<u64>>,
    all: u64,
    progress: Progress,
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        self.pending.set(self.pending.get().saturating_add(read as u64));
        if self.pending.get() > MAX_ROW {
            return Err(std::io::Error::other("a row has more than 64 MiB"));
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

impl Fields for CsvRow<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.record.get(*self.columns.get(&name.to_lowercase())?).map(str::to_owned)
    }
}

/// A row with the objects around it, from the inside out. Names are dotted for fields of objects in them.
struct JsonRow<'r>(&'r [&'r Value]);

impl Fields for JsonRow<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let find = |object: &&Value| {
            let found = object.get(name).or_else(|| name.split('.').try_fold(*object, |at, key| at.get(key)))?;
            as_text(found)
        };
        self.0.iter().find_map(find)
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

/// Finds the form of a file among `forms` and calls `visit` with each of its rows.
///
/// # Errors
/// The file can't be read, has no known form, or `visit` refuses a row.
pub(crate) fn each_row<'f>(
    path: &Path,
    forms: &'f [Form],
    visit: &mut dyn FnMut(&'f Form, &dyn Fields) -> Result<(), String>,
) -> Result<&'f Form, String> {
    let name = path.display().to_string();
    let mut reader = open(path).map_err(|error| format!("{name}: {}", describe_io_error(error.kind())))?;
    let first = first_byte(&mut reader).map_err(|error| format!("{name}: {error}"))?;
    let pending = Rc::clone(&reader.get_ref().pending);
    let mut found: Option<&'f Form> = None;
    let mut number = 0_u64;
    let mut on_row = |row: &dyn Fields, is_last: &dyn Fn(&Form) -> bool| -> Result<(), String> {
        number += 1;
        pending.set(0);
        let form = match found {
            Some(form) => form,
            None => {
                let fit = forms.iter().find(|form| is_last(form) && form.fits(row));
                *found.insert(fit.ok_or_else(|| no_form(forms))?)
            }
        };
        visit(form, row).map_err(|problem| format!("row {number}: {problem}"))
    };
    let result = match first {
        Some(b'{' | b'[') => read_json(reader, forms, &mut on_row),
        Some(_) => read_csv(reader, &mut on_row),
        None => Err("the file is empty".to_owned()),
    };
    result.map_err(|problem| format!("{name}: {problem}"))?;
    found.ok_or_else(|| format!("{name}: the export has no rows"))
}

fn no_form(forms: &[Form]) -> String {
    let names: Vec<&str> = forms.iter().map(|form| form.name.as_str()).collect();
    format!(
        "its columns are those of none of these forms: {}. Describe it in a file of forms: --form FILE, \
         docs/how-to/close-the-month.md",
        names.join(", ")
    )
}

fn open(path: &Path) -> std::io::Result<BufReader<Source>> {
    let mut file = BufReader::new(File::open(path)?);
    let is_gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let inner: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let source = Source { inner, pending: Rc::default(), all: 0, progress: Progress::default() };
    Ok(BufReader::with_capacity(1 << 16, source))
}

/// The first byte that is neither white space nor part of a byte order mark, which is left unread.
fn first_byte(reader: &mut BufReader<Source>) -> std::io::Result<Option<u8>> {
    loop {
        let Some(byte) = reader.fill_buf()?.first().copied() else { return Ok(None) };
        if !byte.is_ascii_whitespace() && ![0xef, 0xbb, 0xbf].contains(&byte) {
            return Ok(Some(byte));
        }
        reader.consume(1);
    }
}

type OnRow<'v> = dyn FnMut(&dyn Fields, &dyn Fn(&Form) -> bool) -> Result<(), String> + 'v;

fn read_csv(reader: BufReader<Source>, on_row: &mut OnRow<'_>) -> Result<(), String> {
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
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(describe)? {
        on_row(&CsvRow { columns: &columns, record: &record }, &|form| form.shape == Shape::Csv)?;
    }
    Ok(())
}

/// Reads one document, several, or lines of them. Arrays on the way to rows are walked, not kept.
fn read_json(reader: BufReader<Source>, forms: &[Form], on_row: &mut OnRow<'_>) -> Result<(), String> {
    let mut stream = serde_json::Deserializer::from_reader(reader);
    let mut refused = None;
    while stream.end().is_err() {
        let walk = Document { forms, on_row, refused: &mut refused };
        let read = walk.deserialize(&mut stream);
        if let Some(problem) = refused {
            return Err(problem);
        }
        read.map_err(|error| match error.classify() {
            serde_json::error::Category::Eof => "the file is cut off".to_owned(),
            serde_json::error::Category::Io => error.to_string(),
            _ => format!("line {}: not JSON", error.line()),
        })?;
    }
    Ok(())
}

/// A document: an object with an array on the way to rows, an array of rows, or a row.
struct Document<'w, 'v> {
    forms: &'w [Form],
    on_row: &'w mut OnRow<'v>,
    refused: &'w mut Option<String>,
}

impl Document<'_, '_> {
    /// Visits the rows below `value`, an element of the array of this name ("" = a document of its own).
    fn walk<E: serde::de::Error>(&mut self, array: &str, value: &Value) -> Result<(), E> {
        let mut visited = false;
        for form in self.forms.iter().filter(|form| form.shape == Shape::Json) {
            let (outer, inner) = form.rows.split_once('.').unwrap_or((&form.rows, ""));
            if outer != array {
                continue;
            }
            let is_form = |other: &Form| other.shape == Shape::Json && other.rows == form.rows;
            let rows = if inner.is_empty() { std::slice::from_ref(value) } else { rows_in(value, inner) };
            for row in rows {
                let objects = [row, value];
                let fields = JsonRow(if inner.is_empty() { &objects[..1] } else { &objects });
                if !visited && !self.forms.iter().any(|form| is_form(form) && form.fits(&fields)) {
                    break;
                }
                visited = true;
                (self.on_row)(&fields, &is_form).map_err(|problem| {
                    *self.refused = Some(problem);
                    E::custom("refused")
                })?;
            }
            if visited {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn rows_in<'v>(value: &'v Value, path: &str) -> &'v [Value] {
    let found = path.split('.').try_fold(value, |at, key| at.get(key));
    found.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut own = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let arrays = || self.forms.iter().filter(|form| form.shape == Shape::Json);
            let is_array = arrays().any(|form| form.rows.split('.').next() == Some(key.as_str()));
            if is_array {
                map.next_value_seed(Elements { of: &mut self, array: &key })?;
            } else if own.len() < 200 {
                own.insert(key, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        self.walk("", &Value::Object(own))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(value) = elements.next_element::<Value>()? {
            self.walk("", &value)?;
        }
        Ok(())
    }
}

/// The elements of an array in a document.
struct Elements<'w, 'o, 'v> {
    of: &'w mut Document<'o, 'v>,
    array: &'w str,
}

impl<'de> DeserializeSeed<'de> for Elements<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(value) = elements.next_element::<Value>()? {
            self.of.walk(self.array, &value)?;
        }
        Ok(())
    }
}
