//! **What**: [`Batch`]: one request on its way through the processors of one pipeline.
//! **Invariants**: owned by one worker at a time; processors change only the batch; no `Debug`.
//! **Not here**: how it is stored (`spool/`), numbered (`sequencer`).

use std::any::Any;
use std::sync::Arc;

use kernel::clock::UnixNanos;
use otlp::Payload;

use super::clearance::{Clearance, Trust};
use super::inquiry::Answer;

/// Where a batch came from and when.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Account of the credential; `default` without one. Limits and vault separation.
    pub account: Arc<str>,
    /// Id of the receiver, e.g. `otlp`.
    pub receiver: Arc<str>,
    /// Whether the receiver is `trust: internal` (stamps of an upstream tollgate are kept).
    pub trust: Trust,
    /// Gateway clock at arrival.
    pub received: UnixNanos,
    /// Random id of the batch: the holder of its claims.
    pub id: [u8; 16],
    /// Equal bytes were accepted before (`docs/decisions/0002-repeated-requests.md`): a new request whose calls are not
    /// counted again.
    pub repeat: bool,
}

/// What a processor wants changed once the batch is committed. Stored with the commit (sealed), applied in commit
/// order, applied again from the spool after a crash.
#[derive(Clone)]
pub struct Effect {
    /// The processor's component id, e.g. `runs`.
    pub processor: Arc<str>,
    /// Its own encoding.
    pub body: Vec<u8>,
    /// What is applied with it but never stored: a bounded memory that may be lost at a restart. Its own type.
    pub aside: Option<Arc<dyn Any + Send + Sync>>,
}

impl Effect {
    /// One that is stored whole.
    pub fn new(processor: Arc<str>, body: Vec<u8>) -> Self {
        Self { processor, body, aside: None }
    }
}

/// What a processor hands to its [`super::Ticketer`] (vault drafts). Not cloned: only one pipeline carries it.
pub struct Draft {
    /// The processor's component id, e.g. `vault`.
    pub processor: Arc<str>,
    /// Upper bound of the bytes of the records it becomes (bodies and about 64 bytes each): reserved before the ticket.
    pub bytes: u64,
    /// Its own type.
    pub body: Box<dyn Any + Send>,
}

/// One request on its way.
pub struct Batch {
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// The data.
    pub payload: Payload,
    /// How far it may travel.
    pub clearance: Clearance,
    /// Collected for after the commit.
    pub effects: Vec<Effect>,
    /// Collected for the ticket.
    pub drafts: Vec<Draft>,
    /// What the vocabulary read in the batch; made once by the first processor that needs it.
    pub facts: Option<Arc<dyn Any + Send + Sync>>,
    /// What the step that strips content says about texts that repeat it; its own type, read by the redaction step.
    pub echoes: Option<Arc<dyn Any + Send + Sync>>,
    /// What the step that works on the batch now has asked for ([`super::Processor::inquire`]).
    pub answer: Option<Answer>,
}

impl Batch {
    /// A batch as received.
    pub fn new(origin: Arc<Origin>, payload: Payload) -> Self {
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
