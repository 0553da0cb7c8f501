//! [`survey`]: reads the contents of a spool directory without changing anything. Every acknowledged record is found,
//! or the start fails with an error that says what to do, as for a missing key, a newer format or a missing segment.
//! `open` prepares the directory for writing, `scan` reads the records of one segment.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::disk::{Directory, DirectoryEntry, DiskFile, read_exact_at};

use super::cipher::SegmentCipher;
use super::config::SpoolSettings;
use super::index::SpoolIndex;
use super::key::SpoolKey;
use super::progress::{self, ProgressContents};
use super::record::{HeaderError, SEGMENT_HEADER, SegmentHeader, segment_name};
use super::scan::{ScanError, ScanResult, SegmentSource, scan};
use super::segment::SpoolSegment;
use super::space::SPARE_PREFIX;
use super::status::SpoolOpenError;

/// Contents of a spool directory.
pub(super) struct SurveyedSpool {
    pub(super) index: SpoolIndex,
    /// Valid bytes of the newest segment found.
    pub(super) newest_len: u64,
    /// Segments that may be unlinked, according to the progress file.
    pub(super) removed: BTreeSet<u64>,
    /// Highest segment number ever used.
    pub(super) highest_segment: u64,
    /// The file written last, and the part of it (from, to) that may exist only in the page cache.
    pub(super) unproven: Option<(Arc<dyn DiskFile>, u64, u64)>,
    /// Bytes of the segments' files.
    pub(super) bytes: u64,
    /// Files with bytes after their valid part, and the size to which they can be truncated.
    pub(super) truncate: Vec<(Arc<dyn DiskFile>, u64)>,
    /// Names of files to be removed.
    pub(super) useless_files: Vec<String>,
}

struct NumberedFile {
    number: u64,
    name: String,
    size: u64,
}

struct OpenedSegment {
    entry: NumberedFile,
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    cipher: Arc<SegmentCipher>,
}

pub(super) fn survey(
    directory: &Arc<dyn Directory>,
    settings: &SpoolSettings,
    keys: &[SpoolKey],
) -> Result<SurveyedSpool, SpoolOpenError> {
    let entries = directory.list().map_err(|error| directory_error("can't be listed", &error))?;
    let progress = read_progress(&**directory, &entries)?;
    let (mut segments, lost) = (list_numbered(&entries, ".spool"), list_numbered(&entries, ".lost"));
    let mut useless_files: Vec<String> = entries
        .iter()
        .map(|entry| entry.name.clone())
        .filter(|name| name.starts_with(SPARE_PREFIX) || name == progress::TEMPORARY_FILE)
        .collect();
    let is_removed = |segment: &NumberedFile| progress.removed.contains(&segment.number);
    useless_files.extend(segments.iter().filter(|segment| is_removed(segment)).map(|segment| segment.name.clone()));
    segments.retain(|segment| !is_removed(segment));
    let lost: BTreeSet<u64> = lost.iter().map(|segment| segment.number).collect();
    check_missing(&segments, &lost, &progress)?;

    let highest = segments.iter().map(|segment| segment.number).chain(lost.iter().copied()).max().unwrap_or(0);
    let mut surveyed = SurveyedSpool {
        index: SpoolIndex::new(),
        newest_len: 0,
        removed: progress.removed.clone(),
        highest_segment: highest.max(progress.highest),
        unproven: None,
        bytes: segments.iter().map(|segment| segment.size).sum(),
        truncate: Vec::new(),
        useless_files,
    };
    let opened = segments
        .into_iter()
        .map(|entry| open_segment(&**directory, settings, keys, entry))
        .collect::<Result<Vec<_>, _>>()?;
    let mut next_headers: Vec<Option<SegmentHeader>> =
        opened.iter().skip(1).map(|next| Some(next.header.clone())).collect();
    next_headers.push(None);
    for (segment, next_header) in opened.into_iter().zip(next_headers) {
        read_segment(&mut surveyed, segment, next_header.as_ref(), &progress)?;
    }
    surveyed.index.reserve_positions(progress.next);
    for (from, to, first, count) in &progress.transfers {
        let (from, to) = (surveyed.index.consumer_number(from), surveyed.index.consumer_number(to));
        for seq in *first..first.saturating_add(u64::from(*count)).min(surveyed.index.next) {
            surveyed.index.transfer_record(from, to, seq);
        }
    }
    for (name, first, count) in &progress.done {
        let consumer = surveyed.index.consumer_number(name);
        for seq in *first..first.saturating_add(u64::from(*count)).min(surveyed.index.next) {
            surveyed.index.mark_done(consumer, seq);
        }
    }
    Ok(surveyed)
}

fn directory_error(problem: &str, error: &io::Error) -> SpoolOpenError {
    SpoolOpenError::failed(format!("the spool directory {problem}: {error}"))
}

/// The files `seg-NUMBER` with this suffix, in order of their numbers.
fn list_numbered(entries: &[DirectoryEntry], suffix: &str) -> Vec<NumberedFile> {
    let parse_number = |name: &str| {
        let digits = name.strip_prefix("seg-")?.strip_suffix(suffix)?;
        let is_number = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some(digits)?.parse::<u64>().ok()
    };
    let mut files: Vec<NumberedFile> = entries
        .iter()
        .filter_map(|entry| {
            Some(NumberedFile { number: parse_number(&entry.name)?, name: entry.name.clone(), size: entry.len })
        })
        .collect();
    files.sort_by_key(|file| file.number);
    files
}

fn read_progress(directory: &dyn Directory, entries: &[DirectoryEntry]) -> Result<ProgressContents, SpoolOpenError> {
    let Some(entry) = entries.iter().find(|entry| entry.name == progress::FILE) else {
        return Ok(ProgressContents::default());
    };
    let len = usize::try_from(entry.len).unwrap_or(usize::MAX);
    let file = directory.open(progress::FILE).map_err(|error| directory_error("can't be read (progress)", &error))?;
    let mut bytes = vec![0; len];
    read_exact_at(&*file, 0, &mut bytes).map_err(|error| directory_error("can't be read (progress)", &error))?;
    let contents = progress::read(&bytes);
    if let Some(version) = contents.newer_version {
        return Err(newer_format_error(progress::FILE, version));
    }
    if contents.valid_bytes == 0 {
        tracing::warn!(
            "the spool's progress file can't be read; everything still in the spool will be delivered again"
        );
    } else if contents.valid_bytes < entry.len {
        tracing::info!(
            bytes = entry.len - contents.valid_bytes,
            "the end of the spool's progress file was cut off by a crash"
        );
    }
    Ok(contents)
}

fn newer_format_error(name: &str, version: u16) -> SpoolOpenError {
    SpoolOpenError::failed(format!(
        "spool file {name} has format {version}, written by a newer tollgate; this one reads format {} \
         (run the newer version, or let it empty the spool before you downgrade)",
        super::record::VERSION
    ))
}

/// Checks that every number between the lowest and the highest segment is that of an existing, lost or removed segment.
fn check_missing(
    segments: &[NumberedFile],
    lost: &BTreeSet<u64>,
    progress: &ProgressContents,
) -> Result<(), SpoolOpenError> {
    if progress.valid_bytes == 0 {
        return Ok(());
    }
    let present: BTreeSet<u64> = segments.iter().map(|segment| segment.number).chain(lost.iter().copied()).collect();
    let highest = present.last().copied().unwrap_or(0).max(progress.highest);
    let mut expected = progress.lowest.max(1);
    let accounted: BTreeSet<u64> = present.union(&progress.removed).copied().collect();
    for number in accounted.range(expected..) {
        if *number != expected {
            break;
        }
        expected = expected.saturating_add(1);
    }
    if expected > highest {
        return Ok(());
    }
    let name = segment_name(expected);
    Err(SpoolOpenError::failed(format!(
        "spool file {name} is missing, with accepted data that was not delivered yet; nothing was changed. \
         Restore the file, or create an empty file {} next to it to start without that data",
        name.replace(".spool", ".lost")
    )))
}

fn open_segment(
    directory: &dyn Directory,
    settings: &SpoolSettings,
    keys: &[SpoolKey],
    entry: NumberedFile,
) -> Result<OpenedSegment, SpoolOpenError> {
    let name = &entry.name;
    let unreadable = |error: io::Error| SpoolOpenError::failed(format!("spool file {name} can't be read: {error}"));
    let file = directory.open(name).map_err(unreadable)?;
    let mut bytes = [0; SEGMENT_HEADER];
    let header = match read_exact_at(&*file, 0, &mut bytes) {
        Ok(()) => SegmentHeader::decode(&bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(HeaderError::Damaged),
        Err(error) => return Err(unreadable(error)),
    };
    let header = match header {
        Ok(header) if header.number == entry.number => header,
        Err(HeaderError::Newer(version)) => return Err(newer_format_error(name, version)),
        _ => return Err(damaged_error(name, 0, "its header is not valid")),
    };
    if !header.sealed && settings.sealing {
        return Err(SpoolOpenError::failed(format!(
            "spool file {name} is not sealed; it was not written by this gateway"
        )));
    }
    let Some(key) = keys.iter().find(|key| key.id == header.key_id) else {
        return Err(SpoolOpenError::config(format!(
            "spool file {name} is sealed with key {}, which is not given; add that key to spool.keys \
             (after the first key, which encrypts new data)",
            kernel::hex::encode(&header.key_id)
        )));
    };
    let cipher = SegmentCipher::new(key, &header.salt, header.number, header.sealed)
        .ok_or_else(|| SpoolOpenError::failed("the cipher of the spool can't be set up"))?;
    Ok(OpenedSegment { entry, header, file, cipher: Arc::new(cipher) })
}

fn damaged_error(name: &str, offset: u64, problem: &str) -> SpoolOpenError {
    SpoolOpenError::failed(format!(
        "spool file {name} is damaged at byte {offset}: {problem}; nothing was changed. Restore the file, or rename it to \
         {} to start without its data",
        name.replace(".spool", ".lost")
    ))
}

/// Adds the records of a segment to `surveyed`. `next_header` is that of the next existing segment.
fn read_segment(
    surveyed: &mut SurveyedSpool,
    opened: OpenedSegment,
    next_header: Option<&SegmentHeader>,
    progress: &ProgressContents,
) -> Result<(), SpoolOpenError> {
    let OpenedSegment { entry, header, file, cipher } = opened;
    let number = header.number;
    let len_in_next = next_header.filter(|next| next.number == number + 1).map(|next| next.previous_len);
    let source = SegmentSource {
        number,
        file: Arc::clone(&file),
        cipher: Arc::clone(&cipher),
        size: entry.size,
        recorded_len: len_in_next.or_else(|| progress.closed.get(&number).copied()),
        synced: progress.synced.get(&number).copied().unwrap_or(0),
        first: header.first,
        next_segment_first: next_header.map_or(u64::MAX, |next| next.first),
    };
    surveyed.index.add(SpoolSegment::new(number, header.first, file, cipher, SEGMENT_HEADER as u64, entry.size));
    match scan(&mut surveyed.index, &source) {
        Ok(ScanResult { valid, used, last_group }) => {
            if source.recorded_len.is_none() {
                surveyed.unproven = Some((Arc::clone(&source.file), last_group, valid));
            }
            if used < entry.size {
                surveyed.truncate.push((Arc::clone(&source.file), used));
                surveyed.bytes = surveyed.bytes.saturating_sub(entry.size - used);
            }
            surveyed.index.close(number, used.min(entry.size));
            surveyed.newest_len = valid;
            Ok(())
        }
        Err(ScanError::Damage(offset)) => Err(damaged_error(&entry.name, offset, "complete records have been altered")),
        Err(ScanError::Io(error)) => {
            Err(SpoolOpenError::failed(format!("spool file {} can't be read: {error}", entry.name)))
        }
    }
}
