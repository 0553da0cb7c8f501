//! The progress file: positions that consumers have finished, and the state of segments. It is synced before any
//! segment is unlinked, so a lost segment is never mistaken for a finished one, nor the reverse.
//! A process rewrites the file (temporary file, sync, rename, sync of the directory) at its start, after a failed write
//! and when it has grown; otherwise lines are appended. A lost line only means that records are delivered again.
//! `maintenance` decides when to write.
//!
//! ```text
//! progress: magic "TGPROGR\n" | u16 version | 6 zeros, then lines, each:
//!   u32 length of the payload | u32 CRC32C(payload) | payload =
//!     1 | u16 length | consumer | (u64 first position | u32 count)…     done
//!     2 | u64 segment | u64 valid bytes                                 the segment is closed
//!     3 | u64 segment                                                   all of it is done, it may be unlinked
//!     4 | u64 next position | u64 highest segment | u64 lowest segment  positions below `next` and segment numbers up
//!                                                                       to `highest` were used; no segment below
//!                                                                       `lowest` exists any more
//!     5 | u64 segment | u64 bytes                                       bytes synced, written after the sync
//!     6 | twice: u16 length | consumer, then (u64 first position | u32 count)…
//!                                                                       transferred from the first consumer to the
//!                                                                       second
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use crate::disk::{Directory, DiskFile};

use super::record::ByteReader;

pub(super) const FILE: &str = "progress";
/// Name while the file is rewritten.
pub(super) const TEMPORARY_FILE: &str = "progress.tmp";

const MAGIC: [u8; 8] = *b"TGPROGR\n";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
pub(super) const TAG_DONE: u8 = 1;
pub(super) const TAG_CLOSED: u8 = 2;
pub(super) const TAG_REMOVED: u8 = 3;
pub(super) const TAG_WATERMARKS: u8 = 4;
pub(super) const TAG_SYNCED: u8 = 5;
pub(super) const TAG_TRANSFERRED: u8 = 6;
/// Maximum number of runs in one line.
const MAX_RUNS_PER_LINE: usize = 4096;

/// Contents of the file.
#[derive(Default)]
pub(super) struct ProgressContents {
    /// Consumer, first position, count.
    pub(super) done: Vec<(Arc<str>, u64, u32)>,
    /// Giver, receiver, first position, count. To be applied before `done`.
    pub(super) transfers: Vec<(Arc<str>, Arc<str>, u64, u32)>,
    /// Valid bytes of closed segments.
    pub(super) closed: BTreeMap<u64, u64>,
    /// Synced bytes of segments, as far as recorded.
    pub(super) synced: BTreeMap<u64, u64>,
    /// Segments that may be unlinked.
    pub(super) removed: BTreeSet<u64>,
    /// Lowest position that may be used next.
    pub(super) next: u64,
    /// Highest segment number used.
    pub(super) highest: u64,
    /// Segments below this number no longer exist.
    pub(super) lowest: u64,
    /// Bytes that could be read; 0: there was no usable file.
    pub(super) valid_bytes: u64,
    /// Set if the format is of a later version.
    pub(super) newer_version: Option<u16>,
}

/// Reads a progress file up to the first line that is not intact.
pub(super) fn read(bytes: &[u8]) -> ProgressContents {
    let mut contents = ProgressContents::default();
    let mut reader = ByteReader(bytes);
    match (reader.array::<8>(), reader.u16(), reader.array::<6>()) {
        (Some(MAGIC), Some(VERSION), Some(_)) => {}
        (Some(MAGIC), Some(version), _) if version > VERSION => {
            contents.newer_version = Some(version);
            return contents;
        }
        _ => return contents,
    }
    while let Some(payload) = read_line(&mut reader) {
        if apply_line(&mut contents, payload).is_none() {
            break;
        }
    }
    contents.valid_bytes = (bytes.len() - reader.0.len()) as u64;
    contents
}

/// Reads the payload of the next line; advances `reader` only if the line is intact.
fn read_line<'a>(reader: &mut ByteReader<'a>) -> Option<&'a [u8]> {
    let mut ahead = ByteReader(reader.0);
    let (len, checksum) = (ahead.u32()?, ahead.u32()?);
    let payload = ahead.bytes(len as usize)?;
    if payload.is_empty() || crc32c::crc32c(payload) != checksum {
        return None;
    }
    reader.0 = ahead.0;
    Some(payload)
}

fn apply_line(contents: &mut ProgressContents, payload: &[u8]) -> Option<()> {
    let mut reader = ByteReader(payload);
    match reader.u8()? {
        TAG_DONE => {
            let name = read_name(&mut reader)?;
            while !reader.0.is_empty() {
                contents.done.push((Arc::clone(&name), reader.u64()?, reader.u32()?));
            }
        }
        TAG_CLOSED => {
            contents.closed.insert(reader.u64()?, reader.u64()?);
        }
        TAG_REMOVED => {
            contents.removed.insert(reader.u64()?);
        }
        TAG_WATERMARKS => {
            contents.next = contents.next.max(reader.u64()?);
            contents.highest = contents.highest.max(reader.u64()?);
            contents.lowest = contents.lowest.max(reader.u64()?);
        }
        TAG_SYNCED => {
            let (segment, bytes) = (reader.u64()?, reader.u64()?);
            let synced = contents.synced.entry(segment).or_default();
            *synced = bytes.max(*synced);
        }
        TAG_TRANSFERRED => {
            let (from, to) = (read_name(&mut reader)?, read_name(&mut reader)?);
            while !reader.0.is_empty() {
                contents.transfers.push((Arc::clone(&from), Arc::clone(&to), reader.u64()?, reader.u32()?));
            }
        }
        _ => return None,
    }
    Some(())
}

fn read_name(reader: &mut ByteReader<'_>) -> Option<Arc<str>> {
    reader.text().map(Arc::from)
}

/// Consecutive positions that a consumer finished (`[consumer]`) or gave away (`[giver, receiver]`): the consumers'
/// numbers, first position, count.
pub(super) type PositionRun<const N: usize> = ([usize; N], u64, u32);

/// Adds a position to the last run if it continues that, otherwise as a run of its own.
pub(super) fn add_to_runs<const N: usize>(runs: &mut Vec<PositionRun<N>>, consumers: [usize; N], position: u64) {
    match runs.last_mut() {
        Some((last, first, count)) if *last == consumers && first.saturating_add(u64::from(*count)) == position => {
            *count = count.saturating_add(1);
        }
        _ => runs.push((consumers, position, 1)),
    }
}

/// Lines to be appended.
#[derive(Default)]
pub(super) struct ProgressLines(Vec<u8>);

impl ProgressLines {
    fn push(&mut self, payload: &[u8]) {
        self.0.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.0.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        self.0.extend_from_slice(payload);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds runs in their order; consecutive runs of the same consumers share a line. [`TAG_TRANSFERRED`]: each from
    /// the first consumer to the second.
    pub(super) fn add_runs<'a, const N: usize>(
        &mut self,
        tag: u8,
        runs: impl IntoIterator<Item = ([&'a Arc<str>; N], u64, u32)>,
    ) {
        // Names and number of runs of the line that `payload` holds.
        let mut current: Option<([&Arc<str>; N], usize)> = None;
        let mut payload = Vec::new();
        for (names, first, count) in runs {
            match &mut current {
                Some((line_names, runs)) if *line_names == names && *runs < MAX_RUNS_PER_LINE => *runs += 1,
                _ => {
                    if current.is_some() {
                        self.push(&payload);
                    }
                    payload.clear();
                    payload.push(tag);
                    names.iter().for_each(|name| put_name(&mut payload, name));
                    current = Some((names, 1));
                }
            }
            payload.extend_from_slice(&first.to_le_bytes());
            payload.extend_from_slice(&count.to_le_bytes());
        }
        if current.is_some() {
            self.push(&payload);
        }
    }

    /// Adds a line of numbers.
    pub(super) fn add_numbers(&mut self, tag: u8, numbers: &[u64]) {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        self.push(&std::iter::once(tag).chain(bytes).collect::<Vec<_>>());
    }
}

fn put_name(payload: &mut Vec<u8>, name: &str) {
    payload.extend_from_slice(&(name.len() as u16).to_le_bytes());
    payload.extend_from_slice(name.as_bytes());
}

/// The file as this process writes it.
pub(super) struct ProgressFile {
    /// `None`: must be rewritten before anything can be appended.
    file: Option<Arc<dyn DiskFile>>,
    /// Bytes on disk.
    pub(super) len: u64,
    /// Size after the last rewrite.
    rewritten_len: u64,
    /// Above this size the file is rewritten when it has doubled.
    rewrite_above: u64,
    is_synced: bool,
}

impl ProgressFile {
    /// A file that must be rewritten first.
    pub(super) fn new(rewrite_above: u64) -> Self {
        Self { file: None, len: 0, rewritten_len: 0, rewrite_above, is_synced: true }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.file.is_some()
    }

    /// Whether the file must or should be rewritten.
    pub(super) fn needs_rewrite(&self) -> bool {
        self.file.is_none() || (self.len > self.rewrite_above && self.len > self.rewritten_len.saturating_mul(2))
    }

    /// Whether everything in the file is durable.
    pub(super) fn is_synced(&self) -> bool {
        self.file.is_some() && self.is_synced
    }

    /// Appends lines. After an error the file must be rewritten.
    pub(super) fn append(&mut self, lines: &ProgressLines) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::Error::other("the progress file is closed")) };
        if lines.is_empty() {
            return Ok(());
        }
        self.is_synced = false;
        let result = match file.write_at(self.len, &lines.0) {
            Ok(written) if written == lines.0.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::StorageFull.into()),
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => self.len += lines.0.len() as u64,
            Err(_) => self.file = None,
        }
        result
    }

    /// Makes the file durable. After an error the file must be rewritten.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::Error::other("the progress file is closed")) };
        if self.is_synced {
            return Ok(());
        }
        let result = file.sync_data();
        match result {
            Ok(()) => self.is_synced = true,
            Err(_) => self.file = None,
        }
        result
    }

    /// Ends all writing.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Replaces the file by one with these lines, durably.
    pub(super) fn rewrite(&mut self, directory: &dyn Directory, lines: &ProgressLines) -> io::Result<()> {
        self.file = None;
        match directory.remove(TEMPORARY_FILE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (file, _) = directory.create(TEMPORARY_FILE, 0)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + lines.0.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&lines.0);
        if file.write_at(0, &bytes)? != bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.sync_data()?;
        directory.rename(TEMPORARY_FILE, FILE)?;
        directory.sync()?;
        self.len = bytes.len() as u64;
        self.rewritten_len = self.len;
        self.is_synced = true;
        self.file = Some(file);
        Ok(())
    }
}
