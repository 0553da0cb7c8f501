//! Encodes bytes as hexadecimal text. `otlp/json` parses the hexadecimal ids of OTLP JSON.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The lower-case digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    push(&mut out, bytes);
    out
}

/// Appends the lower-case digits of `bytes`.
pub fn push(out: &mut String, bytes: &[u8]) {
    let digit = |value: u8| char::from(DIGITS.get(usize::from(value)).copied().unwrap_or(b'0'));
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}
