//! [`Batch`]: one request on its way through the processors of one pipeline. One worker owns it at a time, and
//! processors change nothing but the batch. It holds telemetry, so it has no `Debug`.
//! Batches are numbered in `sequencer` and stored by `spool/`.

use std::any::Any;
use std::sync::Arc;

use kernel::clock::UnixNanos;
use otlp::Payload;

use super::clearance::{Clearance, Trust};
use super::identity::ClientIdentity;
use super::inquiry::InquiryAnswer;

/// Where a batch came from and when.
#[derive(Clone, Debug)]
pub struct BatchOrigin {
    /// Account of the client's credential; `default` without one. Rate limits and the vault are separate per account.
    pub account: Arc<str>,
    /// Who sent the request, as its credential proves.
    pub identity: ClientIdentity,
    /// Id of the receiver, e.g. `otlp`.
    pub receiver: Arc<str>,
    /// Whether the receiver is `trust: internal`, in which case the stamps of an upstream tollgate are kept.
    pub trust: Trust,
    /// Gateway clock at arrival.
    pub received: UnixNanos,
    /// Id of the batch; what processors claim for it, they claim under this id. All workers of a fleet give the
    /// batch of a source record, and of its copies, the same id; others are random.
    pub id: [u8; 16],
    /// Equal bytes were accepted before (`docs/decisions/0002-repeated-requests.md`): this is a new request, but its
    /// calls are not counted again.
    pub repeat: bool,
    /// The record of a log that brought the request, as `topic/partition/offset`; `None` for a client's own request.
    pub source_record: Option<Arc<str>>,
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
    /// An effect all of whose data is stored.
    pub fn new(processor: Arc<str>, body: Vec<u8>) -> Self {
        Self { processor, body, unstored: None }
    }
}

/// Data from which a processor's [`super::Ticketer`] makes spool records when the batch gets its ticket, i.e. its
/// numbers in commit order. A draft is not cloned where pipelines fork.
pub struct RecordDraft {
    /// The processor's component id, e.g. `vault`.
    pub processor: Arc<str>,
    /// Upper bound of the bytes of these records (bodies and about 64 bytes each). This room in the spool is reserved
    /// before the ticket.
    pub bytes: u64,
    /// The data; the type is the processor's own.
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
    /// Facts read from the payload with the vocabulary (crate `genai`), by the first processor that needs them.
    pub facts: Option<Arc<dyn Any + Send + Sync>>,
    /// Ranges of texts that repeat stripped content. The step that strips content finds them and owns the type; the
    /// redaction step reads them.
    pub echoes: Option<Arc<dyn Any + Send + Sync>>,
    /// Answer to the question that the current step asked outside ([`super::Processor::inquire`]).
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
