//! Sorts any number of lines by tenant, session, turn and time in bounded memory. Lines that exceed the memory limit
//! go to sorted files (runs) in the given folder, which are deleted when the sorter is dropped. Neighbour: `compact`
//! writes the sorted lines.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ReadError;
use vault::index_row::{self, IndexRow, RowKind};

/// Most bytes of lines in memory.
const MAX_MEMORY: usize = 128 << 20;
/// Largest key of a line that a gateway writes, bytes: eight columns.
const MAX_KEY: usize = 8 * index_row::MAX_TEXT;
/// Largest line, and largest key, of a run, bytes.
const MAX_RUN_TEXT: u32 = 16 << 20;

/// The fields that determine a line's position.
#[derive(Deserialize)]
struct SortFields<'l> {
    leaf: u64,
    #[serde(borrow)]
    tenant: Cow<'l, str>,
    #[serde(borrow)]
    session_id: Option<Cow<'l, str>>,
    #[serde(borrow)]
    trace_id: Option<Cow<'l, str>>,
    #[serde(borrow)]
    turn: Option<Cow<'l, str>>,
    #[serde(borrow)]
    ts: Cow<'l, str>,
    #[serde(borrow)]
    writer: Cow<'l, str>,
    #[serde(borrow)]
    epoch: Cow<'l, str>,
}

/// A line with its sort key. Equal keys mean that one line was stored twice.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyedLine {
    key: String,
    pub(super) text: String,
}

/// Whether a text is an index line of a size that a gateway can have written; unknown fields of newer gateways are
/// accepted.
pub(super) fn is_index_line(text: &str) -> bool {
    let Some(line) = KeyedLine::parse(text) else { return false };
    // the table's columns are filled from its fields
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(text) else { return false };
    let kind = fields.get("kind").and_then(|kind| RowKind::deserialize(kind).ok());
    let may_be_long = kind.is_some_and(RowKind::may_be_long);
    let has_valid_size = line.key.len() <= MAX_KEY && (may_be_long || text.len() <= index_row::MAX_LINE);
    // a reader of the tables must be able to parse the line, as a reader of the index can
    has_valid_size && IndexRow::deserialize(Value::Object(fields)).is_ok()
}

impl KeyedLine {
    /// The tenant, with which the key starts.
    pub(super) fn tenant(&self) -> &str {
        self.key.split('\0').next().unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: SortFields<'_> = serde_json::from_str(text).ok()?;
        let SortFields { leaf, tenant, session_id, trace_id, turn, ts, writer, epoch } = fields;
        let (session, trace) = (session_id.unwrap_or_default(), trace_id.unwrap_or_default());
        let turn = turn.unwrap_or_default();
        // leading zeros make texts sort in the order of their numbers
        let turn = turn.parse::<u64>().map_or(turn.into_owned(), |number| format!("{number:020}"));
        let key = format!("{tenant}\0{session}\0{turn}\0{ts}\0{trace}\0{writer}\0{epoch}\0{leaf:020}");
        Some(Self { key, text: text.to_owned() })
    }
}

/// Accepts lines in any order.
pub(super) struct LineSorter {
    folder: PathBuf,
    lines: Vec<KeyedLine>,
    /// Memory that `lines` use.
    bytes: usize,
    limit: usize,
    runs: Vec<PathBuf>,
}

impl LineSorter {
    pub(super) fn new(folder: &Path) -> Self {
        Self::with_limit(folder, MAX_MEMORY)
    }

    /// As `new`, with another memory limit in bytes.
    pub(super) fn with_limit(folder: &Path, limit: usize) -> Self {
        Self { folder: folder.to_owned(), lines: Vec::new(), bytes: 0, limit, runs: Vec::new() }
    }

    /// Adds a line; false if the text is not an index line.
    pub(super) fn push(&mut self, text: &str) -> Result<bool, ReadError> {
        let Some(line) = KeyedLine::parse(text) else { return Ok(false) };
        self.bytes += line.key.len() + line.text.len() + size_of::<KeyedLine>();
        self.lines.push(line);
        if self.bytes >= self.limit {
            self.spill_lines()?;
        }
        Ok(true)
    }

    fn spill_lines(&mut self) -> Result<(), ReadError> {
        let path = self.folder.join(format!(".sorting-{}-{}.tmp", std::process::id(), self.runs.len()));
        kernel::files::make_folders(&self.folder).map_err(|error| ReadError::from_file_error(&path, &error))?;
        self.lines.sort_unstable();
        self.runs.push(path.clone());
        write_run(&path, &self.lines).map_err(|error| ReadError::from_file_error(&path, &error))?;
        self.lines.clear();
        self.bytes = 0;
        Ok(())
    }

    /// Calls `visit` with every line in order, without duplicates.
    pub(super) fn finish(mut self, visit: &mut dyn FnMut(KeyedLine) -> Result<(), ReadError>) -> Result<(), ReadError> {
        self.lines.sort_unstable();
        let mut last_key = String::new();
        let mut visit_once = |line: KeyedLine| {
            if line.key == last_key {
                return Ok(());
            }
            last_key.clone_from(&line.key);
            visit(line)
        };
        let mut runs = Vec::new();
        for path in &self.runs {
            let file = File::open(path).map_err(|error| ReadError::from_file_error(path, &error))?;
            let reader =
                zstd::Decoder::new(BufReader::new(file)).map_err(|error| ReadError::from_file_error(path, &error))?;
            runs.push((path.clone(), reader));
        }
        let mut heap = BinaryHeap::new();
        for (run_index, (path, run)) in runs.iter_mut().enumerate() {
            let first = read_line(run).map_err(|error| ReadError::from_file_error(path, &error))?;
            heap.extend(first.map(|line| Reverse((line, run_index))));
        }
        // the lines in memory are the last run
        let memory_index = runs.len();
        let mut lines = std::mem::take(&mut self.lines).into_iter();
        heap.extend(lines.next().map(|line| Reverse((line, memory_index))));
        while let Some(mut top) = heap.peek_mut() {
            let run_index = top.0.1;
            let next = match runs.get_mut(run_index) {
                Some((path, run)) => read_line(run).map_err(|error| ReadError::from_file_error(path, &error))?,
                None => lines.next(),
            };
            let line = match next {
                Some(next) => std::mem::replace(&mut top.0.0, next),
                None => PeekMut::pop(top).0.0,
            };
            visit_once(line)?;
        }
        Ok(())
    }
}

impl Drop for LineSorter {
    fn drop(&mut self) {
        for path in &self.runs {
            // `drop` can't report an error, so a file that can't be removed is left in the folder
            let _ = std::fs::remove_file(path);
        }
    }
}

fn write_run(path: &Path, lines: &[KeyedLine]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut encoder = zstd::Encoder::new(file, 1)?;
    for line in lines {
        for text in [&line.key, &line.text] {
            let length = u32::try_from(text.len()).ok().filter(|length| *length <= MAX_RUN_TEXT);
            let length = length.ok_or_else(|| io::Error::other("a line of the index is too long"))?;
            encoder.write_all(&length.to_le_bytes())?;
            encoder.write_all(text.as_bytes())?;
        }
    }
    encoder.finish().map(drop)
}

fn read_line(run: &mut impl Read) -> io::Result<Option<KeyedLine>> {
    let Some(key) = read_text(run)? else { return Ok(None) };
    let text = read_text(run)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Some(KeyedLine { key, text }))
}

fn read_text(run: &mut impl Read) -> io::Result<Option<String>> {
    let mut length = [0; 4];
    match run.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_RUN_TEXT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    run.read_exact(&mut bytes)?;
    String::from_utf8(bytes).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}
