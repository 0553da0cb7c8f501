//! Encodes bytes as hexadecimal text, and decodes it. `otlp/json` parses the hexadecimal ids of OTLP JSON.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The lower-case digits of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    push(&mut out, bytes);
    out
}

/// Appends the lower-case digits of `bytes`.
pub fn push(out: &mut String, bytes: &[u8]) {
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    for chunk in bytes.chunks(32) {
        let mut digits = [0; 64];
        let pairs = digits.as_chunks_mut::<2>().0;
        pairs.iter_mut().zip(chunk).for_each(|(pair, byte)| *pair = [digit(byte >> 4), digit(byte & 15)]);
        out.push_str(digits.get(..2 * chunk.len()).and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default());
    }
}

/// The bytes of hexadecimal digits; `None` if there is anything else, or half a byte.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    // a buffer that grew would leave copies of a key
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(bytes)
}
