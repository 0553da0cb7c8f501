//! Reads the contents of a spool directory without changing anything. Every acknowledged record is found, or its loss
//! is reported with what to do; a missing key, a newer format or a missing segment stops the start. `open` prepares the
//! directory for writing, `scan` reads the records of one segment.

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
use super::space::SPARE;
use super::status::SpoolOpenError;

/// Contents of a spool directory.
pub(super) struct SurveyedSpool {
    pub(super) index: SpoolIndex,
    /// Valid bytes of the newest segment found.
    pub(super) newest_len: u64,
    /// Segments known to be unlinked.
    pub(super) removed: BTreeSet<u64>,
    /// Highest segment number ever used.
    pub(super) highest_segment: u64,
    /// The file written last, and the part of it (from, to) that may exist only in the page cache.
    pub(super) unproven: Option<(Arc<dyn DiskFile>, u64, u64)>,
    /// Bytes of the segments' files.
    pub(super) bytes: u64,
    /// Files with bytes behind their valid part, and the size to which they can be cut.
    pub(super) truncate: Vec<(Arc<dyn DiskFile>, u64)>,
    /// Useless files.
    pub(super) useless_files: Vec<String>,
}

struct NumberedFile {
    number: u64,
    name: String,
    size: u64,
}

struct OpenedSegment {
    named: NumberedFile,
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    cipher: Arc<SegmentCipher>,
}

/// Reads the directory.
pub(super) fn survey(
    directory: &Arc<dyn Directory>,
    settings: &SpoolSettings,
    keys: &[SpoolKey],
) -> Result<SurveyedSpool, SpoolOpenError> {
    let entries = directory.list().map_err(|error| directory_error("can't be listed", &error))?;
    let known = read_progress(&**directory, &entries)?;
    let (mut segments, lost) = (list_numbered(&entries, ".spool"), list_numbered(&entries, ".lost"));
    let mut sweep: Vec<String> = entries
        .iter()
        .map(|entry| entry.name.clone())
        .filter(|name| name.starts_with(SPARE) || name == progress::TEMPORARY)
        .collect();
    sweep.extend(
        segments.iter().filter(|segment| known.removed.contains(&segment.number)).map(|gone| gone.name.clone()),
    );
    segments.retain(|segment| !known.removed.contains(&segment.number));
    let lost: BTreeSet<u64> = lost.iter().map(|segment| segment.number).collect();
    check_missing(&segments, &lost, &known)?;

    let highest = segments.iter().map(|segment| segment.number).chain(lost.iter().copied()).max().unwrap_or(0);
    let mut found = SurveyedSpool {
        index: SpoolIndex::new(),
        newest_len: 0,
        removed: known.removed.clone(),
        highest_segment: highest.max(known.highest),
        unproven: None,
        bytes: segments.iter().map(|segment| segment.size).sum(),
        truncate: Vec::new(),
        useless_files: sweep,
    };
    let opened = segments
        .into_iter()
        .map(|named| open_segment(&**directory, settings, keys, named))
        .collect::<Result<Vec<_>, _>>()?;
    let mut following: Vec<Option<SegmentHeader>> =
        opened.iter().skip(1).map(|next| Some(next.header.clone())).collect();
    following.push(None);
    for (segment, next) in opened.into_iter().zip(following) {
        read_segment(&mut found, segment, next.as_ref(), &known)?;
    }
    found.index.reserve_positions(known.next);
    for (from, to, first, count) in &known.transfers {
        let (from, to) = (found.index.consumer(from), found.index.consumer(to));
        for seq in *first..first.saturating_add(u64::from(*count)).min(found.index.next()) {
            found.index.transfer_record(from, to, seq);
        }
    }
    for (name, first, count) in &known.done {
        let consumer = found.index.consumer(name);
        for seq in *first..first.saturating_add(u64::from(*count)).min(found.index.next()) {
            found.index.mark_done(consumer, seq);
        }
    }
    Ok(found)
}

fn directory_error(what: &str, error: &io::Error) -> SpoolOpenError {
    SpoolOpenError::failed(format!("the spool directory {what}: {error}"))
}

/// Files by segment number; `suffix` selects the kind of file.
fn list_numbered(entries: &[DirectoryEntry], suffix: &str) -> Vec<NumberedFile> {
    let number = |name: &str| {
        let digits = name.strip_prefix("seg-")?.strip_suffix(suffix)?;
        let plain = digits.len() >= 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then_some(digits)?.parse::<u64>().ok()
    };
    let mut found: Vec<NumberedFile> = entries
        .iter()
        .filter_map(|entry| {
            Some(NumberedFile { number: number(&entry.name)?, name: entry.name.clone(), size: entry.len })
        })
        .collect();
    found.sort_by_key(|named| named.number);
    found
}

fn read_progress(directory: &dyn Directory, entries: &[DirectoryEntry]) -> Result<ProgressContents, SpoolOpenError> {
    let Some(entry) = entries.iter().find(|entry| entry.name == progress::NAME) else {
        return Ok(ProgressContents::default());
    };
    let len = usize::try_from(entry.len).unwrap_or(usize::MAX);
    let file = directory.open(progress::NAME).map_err(|error| directory_error("can't be read (progress)", &error))?;
    let mut bytes = vec![0; len];
    read_exact_at(&*file, 0, &mut bytes).map_err(|error| directory_error("can't be read (progress)", &error))?;
    let known = progress::read(&bytes);
    if let Some(version) = known.newer_version {
        return Err(newer_format_error(progress::NAME, version));
    }
    if known.valid_bytes == 0 {
        tracing::warn!(
            "the spool's progress file can't be read; everything still in the spool will be delivered again"
        );
    } else if known.valid_bytes < entry.len {
        tracing::info!(
            bytes = entry.len - known.valid_bytes,
            "the end of the spool's progress file was cut off by a crash"
        );
    }
    Ok(known)
}

fn newer_format_error(name: &str, version: u16) -> SpoolOpenError {
    SpoolOpenError::failed(format!(
        "spool file {name} has format {version}, written by a newer tollgate; this one reads format {} \
         (run the newer version, or let it empty the spool before you downgrade)",
        super::record::VERSION
    ))
}

/// Checks that every number between the lowest and the highest segment is accounted for.
fn check_missing(
    segments: &[NumberedFile],
    lost: &BTreeSet<u64>,
    known: &ProgressContents,
) -> Result<(), SpoolOpenError> {
    if known.valid_bytes == 0 {
        return Ok(());
    }
    let there: BTreeSet<u64> = segments.iter().map(|segment| segment.number).chain(lost.iter().copied()).collect();
    let highest = there.last().copied().unwrap_or(0).max(known.highest);
    let mut expect = known.lowest.max(1);
    let all: BTreeSet<u64> = there.union(&known.removed).copied().collect();
    for number in all.range(expect..) {
        if *number != expect {
            break;
        }
        expect = expect.saturating_add(1);
    }
    if expect > highest {
        return Ok(());
    }
    let name = segment_name(expect);
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
    named: NumberedFile,
) -> Result<OpenedSegment, SpoolOpenError> {
    let name = &named.name;
    let unreadable = |error: io::Error| SpoolOpenError::failed(format!("spool file {name} can't be read: {error}"));
    let file = directory.open(name).map_err(unreadable)?;
    let mut bytes = [0; SEGMENT_HEADER];
    let header = match read_exact_at(&*file, 0, &mut bytes) {
        Ok(()) => SegmentHeader::decode(&bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(HeaderError::Damaged),
        Err(error) => return Err(unreadable(error)),
    };
    let header = match header {
        Ok(header) if header.number == named.number => header,
        Err(HeaderError::Newer(version)) => return Err(newer_format_error(name, version)),
        _ => return Err(damaged_error(name, 0, "its header is not valid")),
    };
    if !header.sealed && settings.sealing {
        return Err(SpoolOpenError::failed(format!(
            "spool file {name} is not sealed; it was not written by this gateway"
        )));
    }
    let Some(key) = keys.iter().find(|key| key.id_bytes() == header.key_id) else {
        return Err(SpoolOpenError::config(format!(
            "spool file {name} is sealed with key {}, which is not given; add that key to spool.keys \
             (after the first key, which encrypts new data)",
            kernel::hex::encode(&header.key_id)
        )));
    };
    let cipher = SegmentCipher::new(key, &header.salt, header.number, header.sealed)
        .ok_or_else(|| SpoolOpenError::failed("the cipher of the spool can't be set up"))?;
    Ok(OpenedSegment { named, header, file, cipher: Arc::new(cipher) })
}

fn damaged_error(name: &str, offset: u64, what: &str) -> SpoolOpenError {
    SpoolOpenError::failed(format!(
        "spool file {name} is damaged at byte {offset}: {what}; nothing was changed. Restore the file, or rename it to \
         {} to start without its data",
        name.replace(".spool", ".lost")
    ))
}

fn read_segment(
    found: &mut SurveyedSpool,
    opened: OpenedSegment,
    next: Option<&SegmentHeader>,
    known: &ProgressContents,
) -> Result<(), SpoolOpenError> {
    let OpenedSegment { named, header, file, cipher } = opened;
    let number = header.number;
    let recorded = next.filter(|next| next.number == number + 1).map(|next| next.previous_len);
    let source = SegmentSource {
        number,
        file: Arc::clone(&file),
        cipher: Arc::clone(&cipher),
        size: named.size,
        recorded_len: recorded.or_else(|| known.closed.get(&number).copied()),
        synced: known.synced.get(&number).copied().unwrap_or(0),
        first: header.first,
        bound: next.map_or(u64::MAX, |next| next.first),
    };
    found.index.add(SpoolSegment::new(number, header.first, file, cipher, SEGMENT_HEADER as u64, named.size));
    match scan(&mut found.index, &source) {
        Ok(ScanResult { valid, used, group }) => {
            if source.recorded_len.is_none() {
                found.unproven = Some((Arc::clone(&source.file), group, valid));
            }
            if used < named.size {
                found.truncate.push((Arc::clone(&source.file), used));
                found.bytes = found.bytes.saturating_sub(named.size - used);
            }
            found.index.close(number, used.min(named.size));
            found.newest_len = valid;
            Ok(())
        }
        Err(ScanError::Damage(offset)) => Err(damaged_error(&named.name, offset, "complete records have been altered")),
        Err(ScanError::Io(error)) => {
            Err(SpoolOpenError::failed(format!("spool file {} can't be read: {error}", named.name)))
        }
    }
}
