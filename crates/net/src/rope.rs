//! **What**: [`Rope`]: the frames of a body as they arrived, and a reader over them. **Why**: a body of one frame is
//! taken as it is, a larger one is joined once, a compressed one not at all. **Invariants**: small frames are copied
//! together, so that the bytes held stay near the bytes counted. No `Debug`: it holds telemetry.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};

/// Frames under this size are copied together: each frame kept as it is costs a header and may pin a read buffer.
const SMALL: usize = 4 * 1024;
/// Room reserved for small frames at a time.
const BLOCK: usize = 16 * 1024;

/// Body bytes in order.
#[derive(Default)]
pub struct Rope {
    whole: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Rope {
    /// Bytes inside.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a frame.
    pub fn push(&mut self, frame: Bytes) {
        self.len = self.len.saturating_add(frame.len());
        if frame.len() < SMALL {
            if self.tail.capacity().saturating_sub(self.tail.len()) < frame.len() {
                self.seal_tail();
                self.tail.reserve(BLOCK);
            }
            self.tail.extend_from_slice(&frame);
        } else {
            self.seal_tail();
            self.whole.push_back(frame);
        }
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.whole.push_back(self.tail.split().freeze());
        }
    }

    /// Takes the first `N` bytes off; `None` (and nothing taken) when there are fewer.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.len < N {
            return None;
        }
        self.seal_tail();
        let mut head = [0; N];
        for to in &mut head {
            *to = self.byte()?;
        }
        self.len = self.len.saturating_sub(N);
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        let front = self.whole.front_mut()?;
        let byte = front.first().copied()?;
        front.advance(1);
        if front.is_empty() {
            self.whole.pop_front();
        }
        Some(byte)
    }

    /// Whether [`Rope::into_bytes`] copies.
    pub fn is_split(&self) -> bool {
        self.whole.len() + usize::from(!self.tail.is_empty()) > 1
    }

    /// The last up to four bytes, as in a gzip trailer; fewer when the last piece is shorter.
    pub fn last_bytes(&mut self) -> &[u8] {
        self.seal_tail();
        self.whole.back().map_or(&[], |piece| piece.get(piece.len().saturating_sub(4)..).unwrap_or_default())
    }

    /// The first piece, for headers.
    pub fn first_piece(&mut self) -> &[u8] {
        self.seal_tail();
        self.whole.front().map_or(&[], |piece| piece)
    }

    /// All bytes as one buffer; without a copy when there is one piece.
    pub fn into_bytes(mut self) -> Bytes {
        self.seal_tail();
        if self.whole.len() <= 1 {
            return self.whole.pop_front().unwrap_or_default();
        }
        let mut joined = Vec::with_capacity(self.len);
        for piece in self.whole {
            joined.extend_from_slice(&piece);
        }
        Bytes::from(joined)
    }

    /// Reads the bytes in order; pieces are freed as they are read.
    pub fn into_reader(mut self) -> RopeReader {
        self.seal_tail();
        RopeReader { left: self.whole }
    }
}

/// A reader over a rope.
pub struct RopeReader {
    left: VecDeque<Bytes>,
}

impl BufRead for RopeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.left.front().map_or(&[], |piece| piece))
    }

    fn consume(&mut self, mut n: usize) {
        while let Some(front) = self.left.front_mut() {
            let step = n.min(front.len());
            front.advance(step);
            n = n.saturating_sub(step);
            if !front.is_empty() {
                break;
            }
            self.left.pop_front();
        }
    }
}

impl Read for RopeReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let n = piece.len().min(into.len());
        for (to, from) in into.iter_mut().zip(piece) {
            *to = *from;
        }
        self.consume(n);
        Ok(n)
    }
}
