//! **What**: the one way a request body comes in: collect, charge, inflate with a cap. **Why**: bytes are charged while
//! they arrive and while they inflate, so that memory is bounded before anyone knows what was sent. **Invariants**: the
//! limits before and after inflation are two numbers; the permit covers what is held at any moment; a body that was not
//! whole is never handed on; one that trickles in gives back what it holds while somebody waits for room, and its place
//! while somebody waits for one. **Not here**: gRPC's prefix (`receivers/otlp/grpc`), how slow is too slow (`pace`).

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Body;
use http_body_util::BodyExt as _;

use super::encoding::{Encoding, InflateError, Inflater, Step, ZSTD_WINDOW};
use super::pace::Pace;
use super::places::Places;
use super::rope::Rope;
use super::spawn::{Spawn, blocking};

/// Largest number of bytes inflated between two charges.
const STRIDE: usize = 1 << 20;
/// Bodies that stay under this, as sent and inflated, are inflated where they were read.
const INLINE: usize = 256 * 1024;

/// Any error.
type BoxError = Box<dyn Error + Send + Sync>;

/// Why a body did not come in whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than the limit, before or after decompression.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// Cut, damaged, or framed wrongly: the same bytes would be refused again.
    #[error("the body is malformed")]
    Malformed,
    /// It came too slowly.
    #[error("the body came too slowly")]
    TimedOut,
    /// The client went away.
    #[error("the client went away")]
    Disconnected,
    /// The task that worked on it ended without a result.
    #[error("the work on the body was not finished")]
    Lost,
}

/// Why a body could not be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectError<R> {
    /// The body's fault, or its sender's.
    Body(BodyError),
    /// Whoever pays has no room: what they say.
    NoRoom(R),
}

impl<R> From<BodyError> for CollectError<R> {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

/// The byte budget that a body is charged to while it arrives and inflates. No default methods, so that a wrapper must
/// forward each.
pub trait BodyBudget: Sync {
    /// A charge; dropping it returns the bytes.
    type Permit: Send;
    /// Why there is no room.
    type NoRoom: Send;
    /// Charges `n` more bytes to `permit`, waiting for room.
    ///
    /// # Errors
    /// There was no room before the deadline.
    fn charge<'a>(&'a self, permit: &'a mut Self::Permit, n: usize) -> BoxFuture<'a, Result<(), Self::NoRoom>>;
    /// Bytes that `permit` holds.
    fn held(&self, permit: &Self::Permit) -> usize;
    /// Gives back up to `n` bytes of `permit`.
    fn release(&self, permit: &mut Self::Permit, n: usize);
    /// Whether another request is waiting for room.
    fn is_crowded(&self) -> bool;
}

/// How much and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Body bytes as sent.
    pub wire: usize,
    /// Body bytes inflated.
    pub inflated: usize,
    /// Longest silence within a body.
    pub idle: Duration,
    /// Longest time for a whole body.
    pub total: Duration,
}

/// What a body is collected with.
pub struct Intake<'a, B> {
    /// Who is charged.
    pub budget: &'a B,
    /// Where large bodies are inflated.
    pub tasks: &'a dyn Spawn,
    /// How much and how long.
    pub limits: &'a Limits,
    /// The port's.
    pub places: &'a Places,
}

/// A whole body and what it holds of the budget: at least `bytes.len()`. No `Debug`.
pub struct Collected<P> {
    /// The body, inflated.
    pub bytes: Bytes,
    /// Its bytes' charge.
    pub permit: P,
}

/// What collecting gives, as its budget pays for it.
type Collecting<T, B> = Result<T, CollectError<<B as BodyBudget>::NoRoom>>;

impl<C: BodyBudget> Intake<'_, C> {
    /// Reads `body` to its end. `check` sees what is there after each frame and may refuse early; it may take a
    /// prefix off the rope.
    ///
    /// # Errors
    /// `TooLarge` over the wire limit, `NoRoom`, `TimedOut`, `Disconnected`, `Malformed`, or what `check` says.
    pub async fn gather<B, F>(&self, body: &mut B, permit: &mut C::Permit, mut check: F) -> Collecting<Rope, C>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
        F: FnMut(&mut Rope) -> Result<(), BodyError>,
    {
        if body.size_hint().lower() > u64::try_from(self.limits.wire).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge.into());
        }
        let read = async {
            let (mut rope, mut frames) = (Rope::default(), Frames::of(body, self.limits, self.places));
            while let Some(data) = frames.next(|| self.budget.is_crowded()).await? {
                frames.stands(self.charge(permit, data.len())).await?;
                rope.push(data);
                check(&mut rope)?;
            }
            Ok(rope)
        };
        self.limits.within(read).await
    }

    /// Inflates what was gathered. `permit` holds the charge of `rope` and comes back holding the result's.
    ///
    /// # Errors
    /// `Malformed` when it is cut or damaged, `TooLarge` over the inflated limit, `NoRoom`.
    pub async fn inflate(
        &self,
        encoding: Encoding,
        rope: Rope,
        mut permit: C::Permit,
    ) -> Collecting<Collected<C::Permit>, C> {
        let wire = rope.len();
        if encoding == Encoding::Identity {
            return self.join(rope, permit).await;
        }
        if wire == 0 {
            return Ok(Collected { bytes: Bytes::new(), permit });
        }
        let mut inflater =
            Inflater::new(encoding, rope, self.limits.inflated).map_err(|error| CollectError::Body(refusal(error)))?;
        let (mut room, mut window) = (inflater.hint().clamp(4 * 1024, STRIDE - 1) + 1, 0_usize);
        loop {
            let history = if encoding == Encoding::Zstd { room.min(ZSTD_WINDOW.saturating_sub(window)) } else { 0 };
            self.charge(&mut permit, room.saturating_add(history)).await?;
            window = window.saturating_add(history);
            let step;
            (inflater, step) = self.step(inflater, room, wire).await?;
            if step == Step::Done {
                break;
            }
            room = STRIDE;
        }
        Ok(self.paid(inflater.into_bytes(), permit))
    }

    async fn charge(&self, permit: &mut C::Permit, n: usize) -> Collecting<(), C> {
        self.budget.charge(permit, n).await.map_err(CollectError::NoRoom)
    }

    /// `bytes` with what they hold of `permit`; the rest goes back.
    fn paid(&self, bytes: Bytes, mut permit: C::Permit) -> Collected<C::Permit> {
        let more = self.budget.held(&permit).saturating_sub(bytes.len());
        self.budget.release(&mut permit, more);
        Collected { bytes, permit }
    }

    async fn step(&self, mut inflater: Inflater, room: usize, wire: usize) -> Collecting<(Inflater, Step), C> {
        // millions of empty members make no output, and are work all the same
        let inline = wire <= INLINE && inflater.made().saturating_add(room) <= INLINE;
        let work = move || {
            let step = inflater.step(room);
            (inflater, step)
        };
        let done = if inline { Some(work()) } else { blocking(self.tasks, "inflate", work).await };
        let Some((inflater, step)) = done else { return Err(BodyError::Lost.into()) };
        step.map(|step| (inflater, step)).map_err(|error| refusal(error).into())
    }

    async fn join(&self, rope: Rope, mut permit: C::Permit) -> Collecting<Collected<C::Permit>, C> {
        if rope.len() > self.limits.inflated {
            return Err(BodyError::TooLarge.into());
        }
        let copied = if rope.is_split() { rope.len() } else { 0 };
        self.charge(&mut permit, copied).await?;
        Ok(self.paid(rope.into_bytes(), permit))
    }
}

fn refusal(error: InflateError) -> BodyError {
    match error {
        InflateError::Damaged => BodyError::Malformed,
        InflateError::TooLarge => BodyError::TooLarge,
    }
}

impl Limits {
    /// What `read` gives within the time that a whole body has.
    ///
    /// # Errors
    /// `TimedOut`, or what `read` says.
    pub async fn within<T, E: From<BodyError>>(&self, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::time::timeout(self.total, read).await.unwrap_or_else(|_| Err(BodyError::TimedOut.into()))
    }
}

/// A body, piece by piece, within the limits of what is sent and of silence.
pub struct Frames<'a, B> {
    body: &'a mut B,
    limits: &'a Limits,
    seen: usize,
    pace: Pace<'a>,
}

impl<'a, B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Frames<'a, B> {
    /// Of a body that begins now.
    pub fn of(body: &'a mut B, limits: &'a Limits, places: &'a Places) -> Self {
        Self { body, limits, seen: 0, pace: Pace::begin(places) }
    }

    /// The next piece; None: that was all. What comes slowly is ended while `crowded` says that somebody waits for what
    /// it holds.
    ///
    /// # Errors
    /// `TooLarge` over the wire limit, `TimedOut`, `Disconnected`, `Malformed` where its framing is broken.
    pub async fn next(&mut self, crowded: impl Fn() -> bool) -> Result<Option<Bytes>, BodyError> {
        let holds = self.seen > 0;
        loop {
            let next = self.pace.keeps(self.body.frame(), || holds && crowded());
            let Ok(Some(frame)) = tokio::time::timeout(self.limits.idle, next).await else {
                return Err(BodyError::TimedOut);
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| unread(&*error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            self.seen = self.seen.saturating_add(data.len());
            if self.seen > self.limits.wire {
                return Err(BodyError::TooLarge);
            }
            self.pace.came(data.len());
            return Ok(Some(data));
        }
    }

    /// Does `work`; the time that it has to wait is not the client's.
    pub async fn stands<F: Future>(&mut self, work: F) -> F::Output {
        self.pace.stands(work).await
    }
}

/// What an error of a body means. Broken framing (a chunk's length that is none) is the client's fault, and would be
/// the same again; whatever else it is, the client went away.
fn unread(error: &(dyn Error + 'static)) -> BodyError {
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

/// Reads on and forgets, up to `bytes` or `time`: an HTTP/1.1 client that is still sending would otherwise meet a
/// reset connection instead of the answer.
pub async fn discard<B: Body + Unpin>(body: &mut B, bytes: usize, time: Duration) {
    let drain = async {
        let mut left = bytes;
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            let n = bytes::Buf::remaining(&data);
            if n > left {
                break;
            }
            left = left.saturating_sub(n);
        }
    };
    let _ = tokio::time::timeout(time, drain).await;
}
