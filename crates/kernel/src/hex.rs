//! Encodes bytes as hexadecimal text. `otlp/json` parses the hexadecimal ids of OTLP JSON.

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// The lower-case digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    push(&mut out, bytes);
    out
}

/// Appends the lower-case digits of `bytes`.
pub fn push(out: &mut String, bytes: &[u8]) {
    push_with(out, bytes, LOWER);
}

/// Appends the upper-case digits of `bytes`, as used in percent-encoding.
pub fn push_upper(out: &mut String, bytes: &[u8]) {
    push_with(out, bytes, UPPER);
}

fn push_with(out: &mut String, bytes: &[u8], digits: &[u8; 16]) {
    let digit = |value: u8| char::from(digits.get(usize::from(value)).copied().unwrap_or(b'0'));
    for byte in bytes {
        out.push(digit(byte >> 4));
        out.push(digit(byte & 15));
    }
}
