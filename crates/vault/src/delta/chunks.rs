//! Splits a JSON text into chunks, usually one for each message: after each element of the outer list or object, and of
//! lists in an outer object. The concatenated chunks are the original text, even if the text is not JSON.

use kernel::notation::{Notation, Token, Tokens};

/// Limit for the chunks of a text; the last one is the remainder.
pub(super) const MAX_CHUNKS: usize = 4096;

pub(super) fn split_chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = text;
    let mut last_cut = 0;
    if text.trim_start().starts_with(['[', '{']) {
        let mut scanner = ChunkScanner { tokens: Tokens::new(text, Notation::Json), depth: 0, outer: [0; 2] };
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

/// Finds the cuts of a text.
struct ChunkScanner<'t> {
    tokens: Tokens<'t>,
    depth: usize,
    /// Opening brackets of the two outer levels.
    outer: [u8; 2],
}

impl ChunkScanner<'_> {
    /// The next cut: before the comma that follows an element, or before the bracket that follows the last one.
    fn next_cut(&mut self) -> Option<usize> {
        loop {
            let token = self.tokens.next()?;
            let is_at_element = self.is_at_element();
            match token {
                Token::Open(bracket) => {
                    if let Some(outer) = self.outer.get_mut(self.depth) {
                        *outer = bracket;
                    }
                    self.depth += 1;
                    continue;
                }
                Token::Close(_) => self.depth = self.depth.saturating_sub(1),
                Token::Comma => {}
                _ => continue,
            }
            if is_at_element {
                return Some(self.tokens.at - 1);
            }
        }
    }

    /// Whether the scanner is directly in the outer list or object, or in a list of an outer object.
    fn is_at_element(&self) -> bool {
        self.depth == 1 || (self.depth == 2 && self.outer == [b'{', b'['])
    }
}
