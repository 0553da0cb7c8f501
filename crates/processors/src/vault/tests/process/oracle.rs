//! Reads what leaves as an attacker would: [`readable_words`] is the oracle of the generated tests.

/// The largest number of `words` that can be read in sequence in `leaving`, whatever is between them and however they
/// are written: with any marks, case, list or type of field, escaped, percent-encoded, in hexadecimal or base64.
pub(super) fn readable_words(leaving: &[u8], words: &[String]) -> usize {
    let plain = unescaped(leaving);
    let mut views = vec![letters(leaving), letters(&plain)];
    views.extend([0, 1].map(|offset| letters(&unescaped(&from_hex(&plain, offset)))));
    views.extend([0, 1, 2, 3].map(|offset| letters(&unescaped(&from_base64(&plain, offset)))));
    let words: Vec<String> = words.iter().map(|word| letters(word.as_bytes())).collect();
    let is_readable = |run: &[String]| views.iter().any(|view| view.contains(&run.concat()));
    let mut longest = 0;
    for first in 0..words.len() {
        while words.get(first..=first + longest).is_some_and(is_readable) {
            longest += 1;
        }
    }
    longest
}

/// The letters of a text, in lower case, without anything between them.
fn letters(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

/// Decodes `%6d` and `\u006d`; everything else stays.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let code = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).unwrap_or("-"), 16).ok();
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let [first, after @ ..] = rest {
        let byte = after.get(..2).filter(|_| *first == b'%').and_then(code).and_then(|code| u8::try_from(code).ok());
        let escape = after.get(1..5).filter(|_| *first == b'\\' && after[0] == b'u').and_then(code);
        match (byte, escape.and_then(char::from_u32)) {
            (Some(byte), _) => {
                out.push(byte);
                rest = &after[2..];
            }
            (None, Some(c)) => {
                out.extend(c.to_string().bytes());
                rest = &after[5..];
            }
            (None, None) => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Decodes each run of hexadecimal digits, which marks may divide, from its digit number `offset` on.
fn from_hex(bytes: &[u8], offset: usize) -> Vec<u8> {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || b"-: _.x\\".contains(&byte);
    let mut out = Vec::new();
    for run in bytes.split(|byte| !is_part(*byte)) {
        let digits = run.iter().filter_map(|byte| char::from(*byte).to_digit(16)).skip(offset).collect::<Vec<_>>();
        out.extend(digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap_or_default()));
        out.push(b'\n');
    }
    out
}

/// Decodes each run of base64 digits of either alphabet, from its digit number `offset` on.
fn from_base64(bytes: &[u8], offset: usize) -> Vec<u8> {
    let digit = |byte: &u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    for run in bytes.split(|byte| digit(byte).is_none()) {
        let digits: Vec<u32> = run.iter().filter_map(digit).skip(offset).collect();
        for four in digits.chunks(4) {
            let bits = four.iter().fold(0, |bits, digit| (bits << 6) | digit) << (6 * (4 - four.len()));
            out.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
        }
        out.push(b'\n');
    }
    out
}
