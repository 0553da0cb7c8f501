//! Splits a JSON text into chunks, usually one for each message: after each element of the outer list or object, and of
//! lists in an outer object. The concatenated chunks are the original text, even if the text is not JSON.

/// Limit for the chunks of a text; the last one is the remainder.
pub(super) const MAX_CHUNKS: usize = 4096;

pub(super) fn split_chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    let mut last_cut = 0;
    if text.trim_start().starts_with(['[', '{']) {
        let mut scanner = ChunkScanner { bytes: text.as_bytes(), at: 0, depth: 0, outer: [0; 2] };
        while let Some(cut) = scanner.next_cut().filter(|_| chunks.len() + 1 < MAX_CHUNKS) {
            let Some((chunk, tail)) = rest.split_at_checked(cut - last_cut) else { break };
            if !chunk.is_empty() {
                chunks.push(chunk);
            }
            (rest, last_cut) = (tail, cut);
        }
    }
    if !rest.is_empty() {
        chunks.push(rest);
    }
    chunks
}

struct ChunkScanner<'t> {
    bytes: &'t [u8],
    at: usize,
    depth: usize,
    /// Opening brackets of the two outer levels.
    outer: [u8; 2],
}

impl ChunkScanner<'_> {
    /// The next cut: before the comma that follows an element, or before the bracket that follows the last one.
    fn next_cut(&mut self) -> Option<usize> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            let position = self.at;
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
                    let ends_element = self.is_at_element();
                    self.depth = self.depth.saturating_sub(1);
                    if ends_element {
                        return Some(position);
                    }
                }
                b',' if self.is_at_element() => return Some(position),
                _ => {}
            }
        }
    }

    /// Whether the scanner is directly in the outer list or object, or in a list of an outer object.
    fn is_at_element(&self) -> bool {
        self.depth == 1 || (self.depth == 2 && self.outer == [b'{', b'['])
    }

    /// Skips to the end of the string whose opening quote was read.
    fn skip_string(&mut self) {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(offset) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.bytes.len();
                return;
            };
            let is_escape = rest.get(offset) == Some(&b'\\');
            self.at += offset + 1 + usize::from(is_escape);
            if !is_escape {
                return;
            }
        }
    }
}
