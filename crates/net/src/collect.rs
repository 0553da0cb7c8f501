//! Reads a request body within limits on its size as sent and on its time. A slow upload is ended while another request
//! waits for its bytes or its connection. `receivers/http_ports/body_collector` charges the bytes and inflates them,
//! `upload_speed` decides what is slow.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;

use super::slow_uploads::SlowUploads;
use super::upload_speed::UploadSpeedMeter;

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
