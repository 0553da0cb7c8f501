//! [`Rope`]: the frames of a body as they arrived, and a reader over them. A body of one frame is not copied, a larger
//! one is joined once, a compressed one is not joined at all.
//! Small frames are copied together, so that the memory used stays close to the bytes counted. No `Debug`, because it
//! holds telemetry.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};

/// Smaller frames are copied together: a separate frame costs a header and may keep a read buffer alive.
const SMALL: usize = 4 * 1024;
/// Capacity reserved for small frames at a time.
const BLOCK: usize = 16 * 1024;

/// The bytes of a body, in order.
#[derive(Default)]
pub struct Rope {
    whole: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Rope {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the rope is empty.
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

    /// Removes and returns the first `N` bytes; `None`, removing nothing, if there are fewer.
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

    /// Whether [`Rope::into_bytes`] has to copy.
    pub fn is_split(&self) -> bool {
        self.whole.len() + usize::from(!self.tail.is_empty()) > 1
    }

    /// The last four bytes, as needed for a gzip trailer; fewer if the last piece is shorter.
    pub fn last_bytes(&mut self) -> &[u8] {
        self.seal_tail();
        self.whole.back().map_or(&[], |piece| piece.get(piece.len().saturating_sub(4)..).unwrap_or_default())
    }

    /// The first piece, for reading headers.
    pub fn first_piece(&mut self) -> &[u8] {
        self.seal_tail();
        self.whole.front().map_or(&[], |piece| piece)
    }

    /// All bytes as one buffer; without a copy if there is only one piece.
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

    /// A reader over the bytes; pieces are freed as they are read.
    pub fn into_reader(mut self) -> RopeReader {
        self.seal_tail();
        RopeReader { left: self.whole }
    }
}

/// Reads a rope's bytes in order.
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
