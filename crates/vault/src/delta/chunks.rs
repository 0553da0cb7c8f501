//! Splits a JSON text into messages: after each element of the outer list or object, and of lists in an outer object.
//! The concatenated parts are the original text, whatever it is; there are at most [`MAX_CHUNKS`] parts.

/// Most parts of a text; the remainder is one part.
pub(super) const MAX_CHUNKS: usize = 4096;

/// Splits `text` into its parts.
pub(super) fn split_chunks(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut done = 0;
    if text.trim_start().starts_with(['[', '{']) {
        let mut scan = ChunkScanner { bytes: text.as_bytes(), at: 0, depth: 0, outer: [0; 2] };
        while let Some(cut) = scan.next_cut().filter(|_| out.len() + 1 < MAX_CHUNKS) {
            let Some((chunk, tail)) = rest.split_at_checked(cut - done) else { break };
            if !chunk.is_empty() {
                out.push(chunk);
            }
            (rest, done) = (tail, cut);
        }
    }
    if !rest.is_empty() {
        out.push(rest);
    }
    out
}

struct ChunkScanner<'t> {
    bytes: &'t [u8],
    at: usize,
    depth: usize,
    outer: [u8; 2],
}

impl ChunkScanner<'_> {
    /// The next cut: before the comma that follows an element, or before the bracket that follows the last one.
    fn next_cut(&mut self) -> Option<usize> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            let here = self.at;
            self.at += 1;
            match byte {
                b'"' => self.skip_string(),
                b'[' | b'{' => {
                    if let Some(outer) = self.outer.get_mut(self.depth) {
                        *outer = byte;
                    }
                    self.depth += 1;
                }
                b']' | b'}' => {
                    let cut = self.is_listed();
                    self.depth = self.depth.saturating_sub(1);
                    if cut {
                        return Some(here);
                    }
                }
                b',' if self.is_listed() => return Some(here),
                _ => {}
            }
        }
    }

    fn is_listed(&self) -> bool {
        self.depth == 1 || (self.depth == 2 && self.outer == [b'{', b'['])
    }

    /// Skips to the end of the string whose opening quote was read.
    fn skip_string(&mut self) {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return;
            };
            let escaped = rest.get(found) == Some(&b'\\');
            self.at += found + 1 + usize::from(escaped);
            if !escaped {
                return;
            }
        }
    }
}
