//! [`Batch`]: one request on its way through the processors of one pipeline. One worker owns it at a time, and
//! processors change nothing but the batch. It holds telemetry, so it has no `Debug`.
//! Batches are numbered in `sequencer` and stored by `spool/`.

use std::any::Any;
use std::sync::Arc;

use kernel::clock::UnixNanos;
use otlp::Payload;

use super::clearance::{Clearance, Trust};
use super::inquiry::InquiryAnswer;

/// Where a batch came from and when.
#[derive(Clone, Debug)]
pub struct BatchOrigin {
    /// Account of the client's credential; `default` without one. Rate limits and the vault are separate per account.
    pub account: Arc<str>,
    /// Id of the receiver, e.g. `otlp`.
    pub receiver: Arc<str>,
    /// Whether the receiver is `trust: internal`, in which case the stamps of an upstream tollgate are kept.
    pub trust: Trust,
    /// Gateway clock at arrival.
    pub received: UnixNanos,
    /// Random id of the batch: the holder of its claims.
    pub id: [u8; 16],
    /// Equal bytes were accepted before (`docs/decisions/0002-repeated-requests.md`): this is a new request, but its
    /// calls are not counted again.
    pub repeat: bool,
}

/// A state change that a processor requests for the time after the batch's commit. It is stored (sealed) with the
/// commit, applied in commit order, and applied again from the spool after a crash.
#[derive(Clone)]
pub struct Effect {
    /// The processor's component id, e.g. `runs`.
    pub processor: Arc<str>,
    /// The change, in the processor's own encoding.
    pub body: Vec<u8>,
    /// Data that is applied with the effect but never stored, for a bounded memory that a restart may lose. The type is
    /// the processor's own.
    pub unstored: Option<Arc<dyn Any + Send + Sync>>,
}

impl Effect {
    /// An effect without data aside: all of it is stored.
    pub fn new(processor: Arc<str>, body: Vec<u8>) -> Self {
        Self { processor, body, unstored: None }
    }
}

/// Data that a processor hands to its [`super::Ticketer`] (vault drafts). It is not cloned: only one pipeline carries
/// it.
pub struct RecordDraft {
    /// The processor's component id, e.g. `vault`.
    pub processor: Arc<str>,
    /// Upper bound of the bytes of the records that the draft becomes (bodies and about 64 bytes each). This room is
    /// reserved before the ticket.
    pub bytes: u64,
    /// The draft itself; the type is the processor's own.
    pub body: Box<dyn Any + Send>,
}

/// One request on its way through a pipeline.
pub struct Batch {
    /// Origin of the request.
    pub origin: Arc<BatchOrigin>,
    /// The telemetry, with the edits made so far.
    pub payload: Payload,
    /// How far it may travel.
    pub clearance: Clearance,
    /// Effects collected so far, to be committed with the batch.
    pub effects: Vec<Effect>,
    /// Drafts collected so far, to be given to the ticketers.
    pub drafts: Vec<RecordDraft>,
    /// Facts that the vocabulary (`genai`) read in the batch, made once by the first processor that needs them.
    pub facts: Option<Arc<dyn Any + Send + Sync>>,
    /// Texts that repeat stripped content, as the stripping step found them. The type is the step's own; the redaction
    /// step reads it.
    pub echoes: Option<Arc<dyn Any + Send + Sync>>,
    /// Answer to the inquiry of the step that works on the batch now ([`super::Processor::inquire`]).
    pub answer: Option<InquiryAnswer>,
}

impl Batch {
    /// A batch as received.
    pub fn new(origin: Arc<BatchOrigin>, payload: Payload) -> Self {
        Self {
            origin,
            payload,
            clearance: Clearance::RECEIVED,
            effects: Vec::new(),
            drafts: Vec::new(),
            facts: None,
            echoes: None,
            answer: None,
        }
    }
}
