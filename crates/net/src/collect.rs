//! **What**: the one way a request body comes in: collect, charge, inflate with a cap. **Why**: bytes are charged
//! while they arrive and while they inflate, so that memory is bounded before anyone knows what was sent.
//! **Invariants**: the limits before and after inflation are two numbers; the permit covers what is held at any
//! moment; a body that was not whole is never handed on; one that trickles in gives back what it holds while somebody waits
//! for room, and its place while somebody waits for one. **Not here**: gRPC's prefix (`receivers/otlp/grpc`), how slow is too slow (`pace`).

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;

use super::encoding::{Encoding, InflateError, Inflater, Step, ZSTD_WINDOW};
use super::pace::Pace;
use super::places::Places;
use super::rope::Rope;
use super::spawn::{Spawn, blocking};
use pipeline::{Admission, BytePermit, Outcome, Reason};

/// Largest number of bytes inflated between two charges.
const STRIDE: usize = 1 << 20;
/// Bodies that stay under this, as sent and inflated, are inflated where they were read.
const INLINE: usize = 256 * 1024;

/// Any error.
type BoxError = Box<dyn Error + Send + Sync>;

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
#[derive(Clone, Copy)]
pub struct Intake<'a> {
    /// Who is charged.
    pub admission: &'a dyn Admission,
    /// Where large bodies are inflated.
    pub tasks: &'a dyn Spawn,
    /// How much and how long.
    pub limits: &'a Limits,
    /// The port's.
    pub places: &'a Places,
}

/// A whole body and what it holds of the budget: `permit.bytes() >= bytes.len()`. No `Debug`.
pub struct Collected {
    /// The body, inflated.
    pub bytes: Bytes,
    /// Its bytes' charge.
    pub permit: BytePermit,
}

const TOO_LARGE: Outcome = Outcome::Refused { reason: Reason::TooLarge };
const MALFORMED: Outcome = Outcome::Refused { reason: Reason::Malformed };

fn retry(reason: Reason) -> Outcome {
    Outcome::Retry { after: None, reason }
}

impl Intake<'_> {
    /// Reads `body` to its end. `check` sees what is there after each frame and may refuse early; it may take a
    /// prefix off the rope.
    ///
    /// # Errors
    /// `TooLarge` over the wire limit, `Overloaded` without room, `TimedOut`, `Disconnected`, `Malformed`, or what `check` says.
    pub async fn gather<B, F>(&self, body: &mut B, permit: &mut BytePermit, mut check: F) -> Result<Rope, Outcome>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
        F: FnMut(&mut Rope) -> Result<(), Outcome>,
    {
        if body.size_hint().lower() > u64::try_from(self.limits.wire).unwrap_or(u64::MAX) {
            return Err(TOO_LARGE);
        }
        let read = async {
            let (mut rope, mut frames) = (Rope::default(), Frames::of(body, self.limits, self.places));
            while let Some(data) = frames.next(|| self.admission.crowded()).await? {
                frames.stands(self.admission.charge(permit, data.len())).await?;
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
    /// `Malformed` when it is cut or damaged, `TooLarge` over the inflated limit, `Overloaded` without room.
    pub async fn inflate(&self, encoding: Encoding, rope: Rope, mut permit: BytePermit) -> Result<Collected, Outcome> {
        let wire = rope.len();
        if encoding == Encoding::Identity {
            return self.join(rope, permit).await;
        }
        if wire == 0 {
            return Ok(Collected { bytes: Bytes::new(), permit });
        }
        let mut inflater = Inflater::new(encoding, rope, self.limits.inflated).map_err(refusal)?;
        let (mut room, mut window) = (inflater.hint().clamp(4 * 1024, STRIDE - 1) + 1, 0_usize);
        loop {
            let history = if encoding == Encoding::Zstd { room.min(ZSTD_WINDOW.saturating_sub(window)) } else { 0 };
            self.admission.charge(&mut permit, room.saturating_add(history)).await?;
            window = window.saturating_add(history);
            let step;
            (inflater, step) = self.step(inflater, room, wire).await?;
            if step == Step::Done {
                break;
            }
            room = STRIDE;
        }
        let bytes = inflater.into_bytes();
        permit.release(permit.bytes().saturating_sub(bytes.len()));
        Ok(Collected { bytes, permit })
    }

    async fn step(&self, mut inflater: Inflater, room: usize, wire: usize) -> Result<(Inflater, Step), Outcome> {
        // millions of empty members make no output, and are work all the same
        let inline = wire <= INLINE && inflater.made().saturating_add(room) <= INLINE;
        let work = move || {
            let step = inflater.step(room);
            (inflater, step)
        };
        let done = if inline { Some(work()) } else { blocking(self.tasks, "inflate", work).await };
        let Some((inflater, step)) = done else { return Err(retry(Reason::Lost)) };
        step.map(|step| (inflater, step)).map_err(refusal)
    }

    async fn join(&self, rope: Rope, mut permit: BytePermit) -> Result<Collected, Outcome> {
        if rope.len() > self.limits.inflated {
            return Err(TOO_LARGE);
        }
        let copied = if rope.is_split() { rope.len() } else { 0 };
        self.admission.charge(&mut permit, copied).await?;
        let bytes = rope.into_bytes();
        permit.release(permit.bytes().saturating_sub(bytes.len()));
        Ok(Collected { bytes, permit })
    }
}

fn refusal(error: InflateError) -> Outcome {
    match error {
        InflateError::Damaged => MALFORMED,
        InflateError::TooLarge => TOO_LARGE,
    }
}

impl Limits {
    /// What `read` gives within the time that a whole body has.
    ///
    /// # Errors
    /// `TimedOut`, or what `read` says.
    pub async fn within<T>(&self, read: impl Future<Output = Result<T, Outcome>>) -> Result<T, Outcome> {
        tokio::time::timeout(self.total, read).await.unwrap_or_else(|_| Err(retry(Reason::TimedOut)))
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

    /// The next piece; None: that was all. What comes slowly is ended while `crowded` says that somebody waits for what it holds.
    ///
    /// # Errors
    /// `TooLarge` over the wire limit, `TimedOut`, `Disconnected`, `Malformed` where its framing is broken.
    pub async fn next(&mut self, crowded: impl Fn() -> bool) -> Result<Option<Bytes>, Outcome> {
        let holds = self.seen > 0;
        loop {
            let next = self.pace.keeps(self.body.frame(), || holds && crowded());
            let Ok(Some(frame)) = tokio::time::timeout(self.limits.idle, next).await else {
                return Err(retry(Reason::TimedOut));
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| unread(&*error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            self.seen = self.seen.saturating_add(data.len());
            if self.seen > self.limits.wire {
                return Err(TOO_LARGE);
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

/// What an error of a body means. Broken framing (a chunk's length that is none) is the client's fault, and would be the same again;
/// whatever else it is, the client went away.
fn unread(error: &(dyn Error + 'static)) -> Outcome {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)) {
            return MALFORMED;
        }
        next = error.source();
    }
    retry(Reason::Disconnected)
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
