//! [`ContentEncoding`]: the content codings that clients and servers use; [`Inflater`] inflates a body in steps,
//! [`compress`] compresses one. Each step is charged in advance, so that a decompression bomb stops at the budget or
//! the limit, whichever is lower. Output never exceeds the limit; a cut or damaged stream is an error, never a shorter
//! body; zstd windows over 8 MiB are refused. `collect` charges the bytes.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};

use super::rope::{Rope, RopeReader};

/// log2 of the largest zstd window: 8 MiB, the size that every decoder must support (RFC 8878 §3.1.1.1.2).
const ZSTD_WINDOW_LOG: u32 = 23;
/// Largest zstd window, in bytes.
pub const ZSTD_WINDOW: usize = 1 << ZSTD_WINDOW_LOG;
/// A declared size above this many times the compressed size is not believed.
const LARGEST_RATIO: usize = 1100;

/// Unused capacity below this is not worth a copy.
const MIN_SPARE_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentEncoding {
    /// No coding.
    Identity,
    /// RFC 1952; several members are allowed.
    Gzip,
    /// RFC 1950 (zlib), as in HTTP and gRPC.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl ContentEncoding {
    /// The list that servers advertise.
    pub const ACCEPTED: &str = "identity,gzip,deflate,zstd";

    /// Parses a `Content-Encoding` or `grpc-encoding` value; `None` if the coding is not supported.
    pub fn parse(token: &str) -> Option<Self> {
        let token = token.trim();
        [Self::Identity, Self::Gzip, Self::Deflate, Self::Zstd]
            .into_iter()
            .find(|encoding| token.eq_ignore_ascii_case(encoding.as_str()))
            .or_else(|| (token.is_empty() || token.eq_ignore_ascii_case("none")).then_some(Self::Identity))
            // RFC 9110, 8.4.1.3 (`x-gzip` means gzip)
            .or_else(|| token.eq_ignore_ascii_case("x-gzip").then_some(Self::Gzip))
    }

    /// The name of the coding in a header.
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
    /// The body is cut off, damaged, or not in this coding.
    Damaged,
    /// The inflated body is larger than the limit.
    TooLarge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateStep {
    /// More output may follow.
    More,
    /// The body is complete.
    Done,
}

enum BodyDecoder {
    Identity(RopeReader),
    Gzip(MultiGzDecoder<RopeReader>),
    Deflate(ZlibDecoder<RopeReader>),
    Zstd(zstd::stream::read::Decoder<'static, RopeReader>),
}

/// A body that is being inflated. It owns its data, so that a step may run on another thread.
pub struct Inflater {
    source: BodyDecoder,
    out: Vec<u8>,
    max_bytes: usize,
    size_hint: usize,
}

impl Inflater {
    /// Starts to inflate `body`; the result may have up to `max_bytes` bytes.
    ///
    /// # Errors
    /// [`InflateError::Damaged`] if the decoder can't be created.
    pub fn new(encoding: ContentEncoding, mut body: Rope, max_bytes: usize) -> Result<Self, InflateError> {
        let size_hint = declared_size(encoding, &mut body).min(max_bytes);
        let reader = body.into_reader();
        let source = match encoding {
            ContentEncoding::Identity => BodyDecoder::Identity(reader),
            ContentEncoding::Gzip => BodyDecoder::Gzip(MultiGzDecoder::new(reader)),
            ContentEncoding::Deflate => BodyDecoder::Deflate(ZlibDecoder::new(reader)),
            ContentEncoding::Zstd => BodyDecoder::Zstd(zstd_decoder(reader).map_err(|_| InflateError::Damaged)?),
        };
        Ok(Self { source, out: Vec::new(), max_bytes, size_hint })
    }

    /// An estimate of the inflated size, based on the size that the sender declared.
    pub fn size_hint(&self) -> usize {
        self.size_hint
    }

    /// Produces up to `room` more bytes.
    ///
    /// # Errors
    /// See [`InflateError`].
    pub fn step(&mut self, room: usize) -> Result<InflateStep, InflateError> {
        let left = self.max_bytes.saturating_sub(self.out.len());
        // One byte more than allowed shows that the body is too large.
        let wanted = room.min(left.saturating_add(1));
        if self.out.capacity() == 0 {
            // This reserves address space only; the system provides a page when it is first written.
            self.out.reserve_exact(self.size_hint.max(wanted).min(self.max_bytes).saturating_add(1));
        }
        let limit = u64::try_from(wanted).unwrap_or(u64::MAX);
        let produced = match &mut self.source {
            BodyDecoder::Identity(reader) => reader.take(limit).read_to_end(&mut self.out),
            BodyDecoder::Gzip(reader) => reader.take(limit).read_to_end(&mut self.out),
            BodyDecoder::Deflate(reader) => reader.take(limit).read_to_end(&mut self.out),
            BodyDecoder::Zstd(reader) => reader.take(limit).read_to_end(&mut self.out),
        }
        .map_err(|_| InflateError::Damaged)?;
        if self.out.len() > self.max_bytes {
            return Err(InflateError::TooLarge);
        }
        if produced == wanted { Ok(InflateStep::More) } else { self.check_end() }
    }

    /// Checks that the whole input was read: what follows the end of the stream is not in this coding.
    fn check_end(&mut self) -> Result<InflateStep, InflateError> {
        use std::io::BufRead as _;
        let rest = match &mut self.source {
            BodyDecoder::Deflate(reader) => reader.get_mut(),
            BodyDecoder::Gzip(reader) => reader.get_mut(),
            BodyDecoder::Identity(_) | BodyDecoder::Zstd(_) => return Ok(InflateStep::Done),
        };
        let is_empty = rest.fill_buf().is_ok_and(<[u8]>::is_empty);
        if is_empty { Ok(InflateStep::Done) } else { Err(InflateError::Damaged) }
    }

    /// Number of bytes produced so far.
    pub fn output_len(&self) -> usize {
        self.out.len()
    }

    /// The whole body, after [`InflateStep::Done`].
    pub fn into_bytes(mut self) -> Bytes {
        // The sender may have declared far more bytes than it sent.
        if self.out.capacity() / 2 > self.out.len().saturating_add(MIN_SPARE_BYTES) {
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

/// The inflated size that the sender declared, if it is plausible; otherwise an estimate.
fn declared_size(encoding: ContentEncoding, body: &mut Rope) -> usize {
    let wire = body.len();
    let declared = match encoding {
        ContentEncoding::Identity => Some(wire),
        ContentEncoding::Gzip => {
            <[u8; 4]>::try_from(body.last_bytes()).ok().map(|size| u32::from_le_bytes(size) as usize)
        }
        ContentEncoding::Zstd => zstd::zstd_safe::get_frame_content_size(body.first_piece())
            .ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok()),
        ContentEncoding::Deflate => None,
    };
    declared.filter(|size| *size <= wire.saturating_mul(LARGEST_RATIO)).unwrap_or(wire.saturating_mul(4))
}

/// Compresses the concatenation of `parts` at the fastest level: level 1 costs a fifth of gzip's default level 6
/// (measured).
///
/// # Errors
/// The encoder's error, which only occurs when memory runs out.
pub fn compress(encoding: ContentEncoding, parts: &[Bytes]) -> io::Result<Bytes> {
    let length: usize = parts.iter().map(Bytes::len).sum();
    let write_to = |encoder: &mut dyn io::Write| parts.iter().try_for_each(|part| encoder.write_all(part));
    let out = Vec::with_capacity((length / 3).max(256));
    let compressed = match encoding {
        ContentEncoding::Identity => parts.concat(),
        ContentEncoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            write_to(&mut encoder)?;
            encoder.finish()?
        }
        ContentEncoding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::fast());
            write_to(&mut encoder)?;
            encoder.finish()?
        }
        ContentEncoding::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, 1)?;
            encoder.set_pledged_src_size(u64::try_from(length).ok())?;
            write_to(&mut encoder)?;
            encoder.finish()?
        }
    };
    Ok(Bytes::from(compressed))
}
