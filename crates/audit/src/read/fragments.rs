//! Splits an object into its age files. Without the index, only an age file's first line shows where the file begins;
//! these 176 bits don't occur by chance in ciphertext. Neighbour: `opener` opens the files.

use std::collections::BTreeSet;

use bytes::Bytes;
use memchr::memmem;

const FIRST_LINE: &[u8] = b"age-encryption.org/v1\n";

/// The age files in `bytes` with their offsets; bytes before the first one are ignored.
pub(super) fn split(bytes: &Bytes) -> Vec<(u64, Bytes)> {
    let starts: Vec<usize> = memmem::find_iter(bytes, FIRST_LINE).collect();
    let ends = starts.iter().copied().skip(1).chain([bytes.len()]);
    starts.iter().zip(ends).map(|(start, end)| (*start as u64, bytes.slice(*start..end))).collect()
}

/// The age files in `bytes`, in order: those in the `known` ranges (first byte, length), and any others between them.
/// Also returns the starts of known ranges that lie outside `bytes`.
pub(super) fn cut(bytes: &Bytes, known: &BTreeSet<(u64, u64)>) -> (Vec<(u64, Bytes)>, Vec<u64>) {
    let (mut found, mut outside) = (Vec::new(), Vec::new());
    for (first, length) in known {
        let end = first.checked_add(*length).filter(|end| *end <= bytes.len() as u64);
        let range = end.and_then(|end| Some(usize::try_from(*first).ok()?..usize::try_from(end).ok()?));
        match range {
            Some(range) => found.push((*first, bytes.slice(range))),
            None => outside.push(*first),
        }
    }
    for (start, fragment) in split(bytes) {
        let previous = known.range(..=(start, u64::MAX)).next_back();
        if previous.is_none_or(|(first, length)| start - first >= *length) {
            let until_next = known.range((start, u64::MAX)..).next().map_or(u64::MAX, |(first, _)| *first - start);
            let length = fragment.len().min(usize::try_from(until_next).unwrap_or(usize::MAX));
            found.push((start, fragment.slice(..length)));
        }
    }
    found.sort_unstable_by_key(|(start, _)| *start);
    (found, outside)
}
