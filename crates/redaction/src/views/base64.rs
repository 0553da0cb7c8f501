//! Decodes both base64 alphabets. `blobs` finds the blobs.

use crate::sets::ByteSet;

/// The base64 alphabets.
pub(crate) static IN_BLOB: ByteSet = ByteSet::new(b"+/-_").and_alnum();

/// Decodes both base64 alphabets; an incomplete last group of one character is dropped.
pub(crate) fn decode_base64(blob: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blob.len() / 4 * 3 + 2);
    out.extend(base64_bytes(blob));
    out
}

/// The bytes of a blob; an incomplete last group of one character is dropped.
pub(crate) fn base64_bytes(blob: &[u8]) -> impl Iterator<Item = u8> + '_ {
    blob.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, byte| bits << 6 | u32::from(sextet(*byte)));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes.into_iter().skip(1).take(group.len().saturating_sub(1))
    })
}

/// The six bits of a character; a byte outside both alphabets gives 63.
fn sextet(byte: u8) -> u8 {
    SEXTETS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Values of the characters of both alphabets.
static SEXTETS: [u8; 256] = {
    let mut table = [0; 256];
    let (mut slots, mut byte): (&mut [u8], u8) = (&mut table, 0);
    while let [slot, rest @ ..] = slots {
        *slot = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            _ => 63,
        };
        slots = rest;
        byte = byte.wrapping_add(1);
    }
    table
};
