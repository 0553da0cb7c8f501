//! [`Rope`]: the frames of a body as they arrived, and a reader over them. A body of one frame is not copied, a larger
//! one is joined once, a compressed one is not joined at all.
//! Small frames are copied together, so that the memory used stays close to the bytes counted. No `Debug`, because it
//! holds telemetry.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};

/// Smaller frames are copied together: a separate frame costs a header and may keep a read buffer alive.
const MIN_OWN_PIECE: usize = 4 * 1024;
/// Capacity reserved for small frames at a time.
const OPEN_PIECE_BYTES: usize = 16 * 1024;

/// The bytes of a body, in order.
#[derive(Default)]
pub struct Rope {
    pieces: VecDeque<Bytes>,
    /// The last piece, to which small frames are still added.
    open_piece: BytesMut,
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

    pub fn push(&mut self, frame: Bytes) {
        self.len = self.len.saturating_add(frame.len());
        if frame.len() < MIN_OWN_PIECE {
            if self.open_piece.capacity().saturating_sub(self.open_piece.len()) < frame.len() {
                self.close_open_piece();
                self.open_piece.reserve(OPEN_PIECE_BYTES);
            }
            self.open_piece.extend_from_slice(&frame);
        } else {
            self.close_open_piece();
            self.pieces.push_back(frame);
        }
    }

    fn close_open_piece(&mut self) {
        if !self.open_piece.is_empty() {
            self.pieces.push_back(self.open_piece.split().freeze());
        }
    }

    /// Removes and returns the first `N` bytes; `None`, removing nothing, if there are fewer.
    pub fn take_front<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.len < N {
            return None;
        }
        self.close_open_piece();
        let mut head = [0; N];
        for to in &mut head {
            *to = self.take_byte()?;
        }
        self.len = self.len.saturating_sub(N);
        Some(head)
    }

    fn take_byte(&mut self) -> Option<u8> {
        let front = self.pieces.front_mut()?;
        let byte = front.first().copied()?;
        front.advance(1);
        if front.is_empty() {
            self.pieces.pop_front();
        }
        Some(byte)
    }

    /// Whether [`Rope::into_bytes`] has to copy.
    pub fn is_split(&self) -> bool {
        self.pieces.len() + usize::from(!self.open_piece.is_empty()) > 1
    }

    /// The last four bytes, as needed for a gzip trailer; fewer if the last piece is shorter.
    pub fn last_bytes(&mut self) -> &[u8] {
        self.close_open_piece();
        self.pieces.back().map_or(&[], |piece| piece.get(piece.len().saturating_sub(4)..).unwrap_or_default())
    }

    /// The first piece, for reading headers.
    pub fn first_piece(&mut self) -> &[u8] {
        self.close_open_piece();
        self.pieces.front().map_or(&[], |piece| piece)
    }

    /// All bytes as one buffer; without a copy if there is only one piece.
    pub fn into_bytes(mut self) -> Bytes {
        self.close_open_piece();
        if self.pieces.len() <= 1 {
            return self.pieces.pop_front().unwrap_or_default();
        }
        let mut joined = Vec::with_capacity(self.len);
        for piece in self.pieces {
            joined.extend_from_slice(&piece);
        }
        Bytes::from(joined)
    }

    /// A reader over the bytes; pieces are freed as they are read.
    pub fn into_reader(mut self) -> RopeReader {
        self.close_open_piece();
        RopeReader { pieces: self.pieces }
    }
}

/// Reads a rope's bytes in order.
pub struct RopeReader {
    pieces: VecDeque<Bytes>,
}

impl BufRead for RopeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.pieces.front().map_or(&[], |piece| piece))
    }

    fn consume(&mut self, mut n: usize) {
        while let Some(front) = self.pieces.front_mut() {
            let step = n.min(front.len());
            front.advance(step);
            n = n.saturating_sub(step);
            if !front.is_empty() {
                break;
            }
            self.pieces.pop_front();
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
