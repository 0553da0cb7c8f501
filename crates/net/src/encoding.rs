//! **What**: [`Encoding`]: the content codings that both sides speak, and how a body is inflated in steps
//! ([`Inflater`]) or compressed ([`compress`]). **Why**: a step is charged before it is made, so that a bomb stops at
//! the budget or the cap, whichever is lower. **Invariants**: output never passes the cap; a cut or damaged stream is
//! an error, never a short body; zstd windows over 8 MiB are refused. **Not here**: who pays (`collect`).

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::rope::{Rope, RopeReader};

/// log2 of the largest zstd window: 8 MiB, what every decoder must support at least (RFC 8878 §3.1.1.1.2).
const ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes of the largest zstd window.
pub const ZSTD_WINDOW: usize = 1 << ZSTD_WINDOW_LOG;
/// No coding in use makes more of one byte.
const LARGEST_RATIO: usize = 1100;

/// Spare room that is not worth a copy.
const LEAST_SPARE: usize = 64 * 1024;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// RFC 1952, several members allowed.
    Gzip,
    /// RFC 1950 (zlib), as HTTP and gRPC mean it.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// What a server that speaks all of them says it accepts.
    pub const ACCEPTED: &str = "identity,gzip,deflate,zstd";

    /// The coding of a `Content-Encoding` or `grpc-encoding` value; `None` when it is not ours.
    pub fn parse(token: &str) -> Option<Self> {
        let token = token.trim();
        [Self::Identity, Self::Gzip, Self::Deflate, Self::Zstd]
            .into_iter()
            .find(|encoding| token.eq_ignore_ascii_case(encoding.as_str()))
            .or_else(|| (token.is_empty() || token.eq_ignore_ascii_case("none")).then_some(Self::Identity))
            // RFC 9110, 8.4.1.3
            .or_else(|| token.eq_ignore_ascii_case("x-gzip").then_some(Self::Gzip))
    }

    /// The token on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

/// Why a body can't be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// Cut, damaged, or not of this coding.
    Damaged,
    /// Larger than the cap, inflated.
    TooLarge,
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more.
    More,
    /// The body is whole.
    Done,
}

enum Source {
    Identity(RopeReader),
    Gzip(MultiGzDecoder<RopeReader>),
    Deflate(ZlibDecoder<RopeReader>),
    Zstd(zstd::stream::read::Decoder<'static, RopeReader>),
}

/// A body on its way to being inflated. Owned, so that a step may run on another thread.
pub struct Inflater {
    source: Source,
    out: Vec<u8>,
    cap: usize,
    hint: usize,
}

impl Inflater {
    /// Starts on `body`; the result may have up to `cap` bytes.
    ///
    /// # Errors
    /// [`InflateError::Damaged`] when the decoder can't be made.
    pub fn new(encoding: Encoding, mut body: Rope, cap: usize) -> Result<Self, InflateError> {
        let hint = hint(encoding, &mut body).min(cap);
        let reader = body.into_reader();
        let source = match encoding {
            Encoding::Identity => Source::Identity(reader),
            Encoding::Gzip => Source::Gzip(MultiGzDecoder::new(reader)),
            Encoding::Deflate => Source::Deflate(ZlibDecoder::new(reader)),
            Encoding::Zstd => Source::Zstd(zstd_decoder(reader).map_err(|_| InflateError::Damaged)?),
        };
        Ok(Self { source, out: Vec::new(), cap, hint })
    }

    /// About how many bytes will come out, as the sender declared it; a hint only.
    pub fn hint(&self) -> usize {
        self.hint
    }

    /// Makes up to `room` more bytes.
    ///
    /// # Errors
    /// See [`InflateError`].
    pub fn step(&mut self, room: usize) -> Result<Step, InflateError> {
        let left = self.cap.saturating_sub(self.out.len());
        let want = room.min(left.saturating_add(1));
        if self.out.capacity() == 0 {
            // Address space only: pages come into being as they are written.
            self.out.reserve_exact(self.hint.max(want).min(self.cap).saturating_add(1));
        }
        let limit = u64::try_from(want).unwrap_or(u64::MAX);
        let made = match &mut self.source {
            Source::Identity(reader) => reader.take(limit).read_to_end(&mut self.out),
            Source::Gzip(reader) => reader.take(limit).read_to_end(&mut self.out),
            Source::Deflate(reader) => reader.take(limit).read_to_end(&mut self.out),
            Source::Zstd(reader) => reader.take(limit).read_to_end(&mut self.out),
        }
        .map_err(|_| InflateError::Damaged)?;
        if self.out.len() > self.cap {
            return Err(InflateError::TooLarge);
        }
        if made == want { Ok(Step::More) } else { self.end() }
    }

    /// A decoder that stopped before its input did read something that is not of its coding.
    fn end(&mut self) -> Result<Step, InflateError> {
        use std::io::BufRead as _;
        let rest = match &mut self.source {
            Source::Deflate(reader) => reader.get_mut(),
            Source::Gzip(reader) => reader.get_mut(),
            Source::Identity(_) | Source::Zstd(_) => return Ok(Step::Done),
        };
        let empty = rest.fill_buf().is_ok_and(<[u8]>::is_empty);
        if empty { Ok(Step::Done) } else { Err(InflateError::Damaged) }
    }

    /// Bytes made so far.
    pub fn made(&self) -> usize {
        self.out.len()
    }

    /// The whole body, after [`Step::Done`].
    pub fn into_bytes(mut self) -> Bytes {
        // A sender may have declared far more than came.
        if self.out.capacity() / 2 > self.out.len().saturating_add(LEAST_SPARE) {
            self.out.shrink_to_fit();
        }
        Bytes::from(self.out)
    }
}

fn zstd_decoder(reader: RopeReader) -> io::Result<zstd::stream::read::Decoder<'static, RopeReader>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

/// The inflated size that the sender declared, if believable; else a guess.
fn hint(encoding: Encoding, body: &mut Rope) -> usize {
    let wire = body.len();
    let declared = match encoding {
        Encoding::Identity => Some(wire),
        Encoding::Gzip => <[u8; 4]>::try_from(body.last_bytes()).ok().map(|size| u32::from_le_bytes(size) as usize),
        Encoding::Zstd => zstd::zstd_safe::get_frame_content_size(body.first_piece())
            .ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok()),
        Encoding::Deflate => None,
    };
    declared.filter(|size| *size <= wire.saturating_mul(LARGEST_RATIO)).unwrap_or(wire.saturating_mul(4))
}

/// `body` in `encoding` at its fastest level: level 1 costs a fifth of gzip's usual 6 (measured).
///
/// # Errors
/// The encoder's, which only running out of memory brings about.
pub fn compress(encoding: Encoding, body: &Bytes) -> io::Result<Bytes> {
    use io::Write as _;
    let out = Vec::with_capacity((body.len() / 3).max(256));
    let done = match encoding {
        Encoding::Identity => return Ok(body.clone()),
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            encoder.write_all(body)?;
            encoder.finish()?
        }
        Encoding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::fast());
            encoder.write_all(body)?;
            encoder.finish()?
        }
        Encoding::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, 1)?;
            encoder.set_pledged_src_size(u64::try_from(body.len()).ok())?;
            encoder.write_all(body)?;
            encoder.finish()?
        }
    };
    Ok(Bytes::from(done))
}
