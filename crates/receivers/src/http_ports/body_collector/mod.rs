//! [`BodyCollector`]: collects a request's body, charges its bytes and inflates it within a limit. Bytes are charged
//! while they arrive and while they are inflated, so that memory is limited before the request is understood.
//! The size limits before and after inflation are separate. The permit covers all bytes held at any moment. An
//! incomplete body is never passed on. `net::collect` has the limits, `otlp/grpc` handles gRPC's prefix.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};

use net::collect::BodyFrames;
use net::encoding::{InflateError, InflateStep, Inflater, ZSTD_WINDOW};
use net::rope::Rope;
use net::spawn::run_blocking;
use net::{BodyError, BodyLimits, ContentEncoding, SlowUploads, Spawn};
use pipeline::{BytePermit, Outcome, Reason, ReceiverInlet};

#[cfg(test)]
mod tests;

/// Maximum number of bytes inflated between two charges.
const INFLATE_STEP_BYTES: usize = 1 << 20;
/// Bodies up to this size, as sent and inflated, are inflated on the reactor instead of a blocking thread.
const MAX_INLINE_INFLATE: usize = 256 * 1024;

/// The byte budget for one request's body. Counts all charged bytes, both as sent and as inflated.
pub(crate) struct BodyTally<'a> {
    pub(super) inlet: &'a ReceiverInlet,
    pub(super) bytes: AtomicUsize,
}

/// Everything needed to collect a body.
pub(crate) struct BodyCollector<'a> {
    pub(crate) tally: &'a BodyTally<'a>,
    /// Where large bodies are inflated.
    pub(crate) tasks: &'a dyn Spawn,
    /// Size and time limits.
    pub(crate) limits: &'a BodyLimits,
    /// Tracks slow uploads of the port.
    pub(crate) slow_uploads: &'a SlowUploads,
}

/// A complete body and its charge, at least `bytes.len()` bytes. No `Debug`, because it holds telemetry.
pub(crate) struct ChargedBody {
    pub(crate) bytes: Bytes,
    pub(crate) permit: BytePermit,
}

/// Why a body was not received, as an outcome for the client: the budget has no room, or the body or its sender is at
/// fault.
pub(crate) struct CollectError(pub(crate) Outcome);

impl From<BodyError> for CollectError {
    fn from(error: BodyError) -> Self {
        let reason = match error {
            BodyError::TooLarge => Reason::TooLarge,
            BodyError::Malformed => Reason::Malformed,
            BodyError::TimedOut => Reason::TimedOut,
            BodyError::Disconnected => Reason::Disconnected,
            BodyError::Lost => Reason::Lost,
        };
        Self(reason.outcome())
    }
}

impl BodyCollector<'_> {
    /// Reads `body` to its end. `check` is called after each frame with all bytes so far; it may refuse the body
    /// early, and may remove a prefix.
    ///
    /// # Errors
    /// `TooLarge` above the wire limit, `NoRoom`, `TimedOut`, `Disconnected`, `Malformed`, or an error of `check`.
    pub(crate) async fn read_body(
        &self,
        body: &mut Incoming,
        permit: &mut BytePermit,
        mut check: impl FnMut(&mut Rope) -> Result<(), BodyError>,
    ) -> Result<Rope, CollectError> {
        if body.size_hint().lower() > u64::try_from(self.limits.wire).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge.into());
        }
        let read = async {
            let (mut rope, mut frames) = (Rope::default(), BodyFrames::new(body, self.limits, self.slow_uploads));
            while let Some(data) = frames.next(|| self.tally.inlet.is_crowded()).await? {
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
    pub(crate) async fn inflate(
        &self,
        encoding: ContentEncoding,
        rope: Rope,
        mut permit: BytePermit,
    ) -> Result<ChargedBody, CollectError> {
        let wire = rope.len();
        if encoding == ContentEncoding::Identity {
            return self.join_pieces(rope, permit).await;
        }
        if wire == 0 {
            return Ok(ChargedBody { bytes: Bytes::new(), permit });
        }
        let mut inflater = Inflater::new(encoding, rope, self.limits.inflated).map_err(to_body_error)?;
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
        Ok(Self::return_excess(inflater.into_bytes(), permit))
    }

    /// Charges `n` more bytes to `permit`, waiting for room.
    pub(crate) async fn charge(&self, permit: &mut BytePermit, n: usize) -> Result<(), CollectError> {
        self.tally.bytes.fetch_add(n, Ordering::Relaxed);
        self.tally.inlet.charge(permit, n).await.map_err(CollectError)
    }

    /// Combines `bytes` with their charge and returns the rest of `permit` to the budget.
    fn return_excess(bytes: Bytes, mut permit: BytePermit) -> ChargedBody {
        permit.release(permit.bytes().saturating_sub(bytes.len()));
        ChargedBody { bytes, permit }
    }

    async fn inflate_step(
        &self,
        mut inflater: Inflater,
        room: usize,
        wire: usize,
    ) -> Result<(Inflater, InflateStep), CollectError> {
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

    async fn join_pieces(&self, rope: Rope, mut permit: BytePermit) -> Result<ChargedBody, CollectError> {
        if rope.len() > self.limits.inflated {
            return Err(BodyError::TooLarge.into());
        }
        let copied_bytes = if rope.is_split() { rope.len() } else { 0 };
        self.charge(&mut permit, copied_bytes).await?;
        Ok(Self::return_excess(rope.into_bytes(), permit))
    }
}

fn to_body_error(error: InflateError) -> BodyError {
    match error {
        InflateError::Damaged => BodyError::Malformed,
        InflateError::TooLarge => BodyError::TooLarge,
    }
}
