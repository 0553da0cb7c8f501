//! Reads a request body: collects it, charges its bytes, inflates it within a limit. Bytes are charged while they
//! arrive and while they are inflated, so that memory is limited before the request is understood.
//! The size limits before and after inflation are separate. The permit covers all bytes held at any moment. An
//! incomplete body is never passed on. A slow upload is ended while another request waits for its bytes or its
//! connection. `receivers/otlp/grpc` handles gRPC's prefix, `upload_speed` decides what is slow.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Body;
use http_body_util::BodyExt as _;

use super::encoding::{ContentEncoding, InflateError, InflateStep, Inflater, ZSTD_WINDOW};
use super::rope::Rope;
use super::slow_uploads::SlowUploads;
use super::spawn::{Spawn, run_blocking};
use super::upload_speed::UploadSpeedMeter;

/// Maximum number of bytes inflated between two charges.
const INFLATE_STEP_BYTES: usize = 1 << 20;
/// Bodies up to this size, as sent and inflated, are inflated on the reactor instead of a blocking thread.
const MAX_INLINE_INFLATE: usize = 256 * 1024;

type BodySourceError = Box<dyn Error + Send + Sync>;

/// Why a body was not received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body is larger than the limit, before or after decompression.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// The body is cut off, damaged or wrongly framed; the same bytes would be refused again.
    #[error("the body is malformed")]
    Malformed,
    /// The body arrived too slowly.
    #[error("the body arrived too slowly")]
    TimedOut,
    /// The client closed the connection.
    #[error("the client disconnected")]
    Disconnected,
    /// The task that inflated the body ended without a result.
    #[error("decompressing the body did not finish")]
    Lost,
}

/// Why a body could not be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectError<R> {
    /// The body or its sender is at fault.
    Body(BodyError),
    /// The byte budget has no room; holds the budget's own reason.
    NoRoom(R),
}

impl<R> From<BodyError> for CollectError<R> {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

/// The byte budget that a body is charged to while it arrives and is inflated. It has no default methods, so that a
/// wrapper must forward each.
pub trait BodyBudget: Sync {
    /// A charge; dropping it returns the bytes.
    type Permit: Send;
    /// Why the budget has no room.
    type NoRoom: Send;
    /// Charges `n` more bytes to `permit`, waiting for room.
    ///
    /// # Errors
    /// The budget had no room before the deadline.
    fn charge<'a>(&'a self, permit: &'a mut Self::Permit, n: usize) -> BoxFuture<'a, Result<(), Self::NoRoom>>;
    /// The number of bytes that `permit` holds.
    fn charged_bytes(&self, permit: &Self::Permit) -> usize;
    /// Returns up to `n` bytes of `permit` to the budget.
    fn release(&self, permit: &mut Self::Permit, n: usize);
    /// Whether another request is waiting for room.
    fn has_waiters(&self) -> bool;
}

/// Size and time limits of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Maximum size of the body as sent, in bytes.
    pub wire: usize,
    /// Maximum size of the inflated body, in bytes.
    pub inflated: usize,
    /// Maximum pause within a body.
    pub idle: Duration,
    /// Maximum time for a whole body.
    pub total: Duration,
}

/// Everything needed to collect a body.
pub struct BodyCollector<'a, B> {
    pub budget: &'a B,
    /// Where large bodies are inflated.
    pub tasks: &'a dyn Spawn,
    /// Size and time limits.
    pub limits: &'a BodyLimits,
    /// Tracks slow uploads of the port.
    pub slow_uploads: &'a SlowUploads,
}

/// A complete body and its charge, at least `bytes.len()` bytes. No `Debug`, because it holds telemetry.
pub struct CollectedBody<P> {
    pub bytes: Bytes,
    /// The charge for the body's bytes.
    pub permit: P,
}

/// A result whose error carries the budget's reason.
type CollectResult<T, B> = Result<T, CollectError<<B as BodyBudget>::NoRoom>>;

impl<C: BodyBudget> BodyCollector<'_, C> {
    /// Reads `body` to its end. `check` is called after each frame with all bytes so far; it may refuse the body
    /// early, and may remove a prefix.
    ///
    /// # Errors
    /// `TooLarge` above the wire limit, `NoRoom`, `TimedOut`, `Disconnected`, `Malformed`, or an error of `check`.
    pub async fn read_body<B, F>(&self, body: &mut B, permit: &mut C::Permit, mut check: F) -> CollectResult<Rope, C>
    where
        B: Body<Data = Bytes, Error: Into<BodySourceError>> + Unpin,
        F: FnMut(&mut Rope) -> Result<(), BodyError>,
    {
        if body.size_hint().lower() > u64::try_from(self.limits.wire).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge.into());
        }
        let read = async {
            let (mut rope, mut frames) = (Rope::default(), BodyFrames::new(body, self.limits, self.slow_uploads));
            while let Some(data) = frames.next(|| self.budget.has_waiters()).await? {
                frames.run_uncounted(self.charge(permit, data.len())).await?;
                rope.push(data);
                check(&mut rope)?;
            }
            Ok(rope)
        };
        self.limits.run_within(read).await
    }

    /// Inflates a collected body. `permit` must hold the charge of `rope`; the result's permit holds the inflated
    /// bytes.
    ///
    /// # Errors
    /// `Malformed` if the body is cut off or damaged, `TooLarge` above the inflated limit, `NoRoom`.
    pub async fn inflate(
        &self,
        encoding: ContentEncoding,
        rope: Rope,
        mut permit: C::Permit,
    ) -> CollectResult<CollectedBody<C::Permit>, C> {
        let wire = rope.len();
        if encoding == ContentEncoding::Identity {
            return self.join_pieces(rope, permit).await;
        }
        if wire == 0 {
            return Ok(CollectedBody { bytes: Bytes::new(), permit });
        }
        let mut inflater = Inflater::new(encoding, rope, self.limits.inflated)
            .map_err(|error| CollectError::Body(to_body_error(error)))?;
        // zstd also keeps a window of up to `ZSTD_WINDOW` bytes, which is charged as it fills.
        let (mut room, mut charged_window) =
            (inflater.size_hint().clamp(4 * 1024, INFLATE_STEP_BYTES - 1) + 1, 0_usize);
        loop {
            let window_growth = if encoding == ContentEncoding::Zstd {
                room.min(ZSTD_WINDOW.saturating_sub(charged_window))
            } else {
                0
            };
            self.charge(&mut permit, room.saturating_add(window_growth)).await?;
            charged_window = charged_window.saturating_add(window_growth);
            let step;
            (inflater, step) = self.inflate_step(inflater, room, wire).await?;
            if step == InflateStep::Done {
                break;
            }
            room = INFLATE_STEP_BYTES;
        }
        Ok(self.return_excess(inflater.into_bytes(), permit))
    }

    async fn charge(&self, permit: &mut C::Permit, n: usize) -> CollectResult<(), C> {
        self.budget.charge(permit, n).await.map_err(CollectError::NoRoom)
    }

    /// Combines `bytes` with their charge and returns the rest of `permit` to the budget.
    fn return_excess(&self, bytes: Bytes, mut permit: C::Permit) -> CollectedBody<C::Permit> {
        let excess = self.budget.charged_bytes(&permit).saturating_sub(bytes.len());
        self.budget.release(&mut permit, excess);
        CollectedBody { bytes, permit }
    }

    async fn inflate_step(
        &self,
        mut inflater: Inflater,
        room: usize,
        wire: usize,
    ) -> CollectResult<(Inflater, InflateStep), C> {
        // Millions of empty gzip members produce no output but still cost time, so the size as sent counts too.
        let run_inline = wire <= MAX_INLINE_INFLATE && inflater.output_len().saturating_add(room) <= MAX_INLINE_INFLATE;
        let work = move || {
            let step = inflater.step(room);
            (inflater, step)
        };
        let result = if run_inline { Some(work()) } else { run_blocking(self.tasks, "inflate", work).await };
        let Some((inflater, step)) = result else { return Err(BodyError::Lost.into()) };
        step.map(|step| (inflater, step)).map_err(|error| to_body_error(error).into())
    }

    async fn join_pieces(&self, rope: Rope, mut permit: C::Permit) -> CollectResult<CollectedBody<C::Permit>, C> {
        if rope.len() > self.limits.inflated {
            return Err(BodyError::TooLarge.into());
        }
        let copied_bytes = if rope.is_split() { rope.len() } else { 0 };
        self.charge(&mut permit, copied_bytes).await?;
        Ok(self.return_excess(rope.into_bytes(), permit))
    }
}

fn to_body_error(error: InflateError) -> BodyError {
    match error {
        InflateError::Damaged => BodyError::Malformed,
        InflateError::TooLarge => BodyError::TooLarge,
    }
}

impl BodyLimits {
    /// Runs `read` within the time limit of a whole body.
    ///
    /// # Errors
    /// `TimedOut`, or an error of `read`.
    pub async fn run_within<T, E: From<BodyError>>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::time::timeout(self.total, read).await.unwrap_or_else(|_| Err(BodyError::TimedOut.into()))
    }
}

/// The pieces of a body, with the limits on size and pauses applied.
pub struct BodyFrames<'a, B> {
    body: &'a mut B,
    limits: &'a BodyLimits,
    bytes_seen: usize,
    speed: UploadSpeedMeter<'a>,
}

impl<'a, B: Body<Data = Bytes, Error: Into<BodySourceError>> + Unpin> BodyFrames<'a, B> {
    /// Starts to read a body.
    pub fn new(body: &'a mut B, limits: &'a BodyLimits, slow_uploads: &'a SlowUploads) -> Self {
        Self { body, limits, bytes_seen: 0, speed: UploadSpeedMeter::begin(slow_uploads) }
    }

    /// The next piece; `None` at the end. A slow body is ended while `crowded` says that another request waits for the
    /// bytes it holds.
    ///
    /// # Errors
    /// `TooLarge` above the wire limit, `TimedOut`, `Disconnected`, `Malformed` if the framing is broken.
    pub async fn next(&mut self, crowded: impl Fn() -> bool) -> Result<Option<Bytes>, BodyError> {
        let holds_bytes = self.bytes_seen > 0;
        loop {
            let next = self.speed.wait_unless_slow(self.body.frame(), || holds_bytes && crowded());
            let Ok(Some(frame)) = tokio::time::timeout(self.limits.idle, next).await else {
                return Err(BodyError::TimedOut);
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| classify_read_error(&*error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            self.bytes_seen = self.bytes_seen.saturating_add(data.len());
            if self.bytes_seen > self.limits.wire {
                return Err(BodyError::TooLarge);
            }
            self.speed.count_bytes(data.len());
            return Ok(Some(data));
        }
    }

    /// Runs `work`; the time it waits does not count against the client's speed.
    pub async fn run_uncounted<F: Future>(&mut self, work: F) -> F::Output {
        self.speed.run_uncounted(work).await
    }
}

/// Classifies a body's error. Broken framing (such as an invalid chunk length) is the client's fault and would repeat;
/// any other error means that the client disconnected.
fn classify_read_error(error: &(dyn Error + 'static)) -> BodyError {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
            return BodyError::Malformed;
        }
        next = error.source();
    }
    BodyError::Disconnected
}

/// Reads and drops up to `bytes` bytes for up to `time`: an HTTP/1.1 client that is still sending would otherwise get
/// a connection reset instead of the response.
pub async fn discard<B: Body + Unpin>(body: &mut B, bytes: usize, time: Duration) {
    let read_all = async {
        let mut left = bytes;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let received = bytes::Buf::remaining(&data);
            if received > left {
                break;
            }
            left = left.saturating_sub(received);
        }
    };
    let _ = tokio::time::timeout(time, read_all).await;
}
