//! **What**: cuts an object into its age files. **Why**: without the index only the files' own first lines tell where
//! they begin; in ciphertext that line does not occur (176 bits). **Not here**: opening them.

use bytes::Bytes;
use memchr::memmem;

const FIRST_LINE: &[u8] = b"age-encryption.org/v1\n";

/// The age files in `bytes` with their offsets; what stands before the first is left out.
pub(super) fn split(bytes: &Bytes) -> Vec<(u64, Bytes)> {
    let starts: Vec<usize> = memmem::find_iter(bytes, FIRST_LINE).collect();
    let ends = starts.iter().copied().skip(1).chain([bytes.len()]);
    starts.iter().zip(ends).map(|(start, end)| (*start as u64, bytes.slice(*start..end))).collect()
}
