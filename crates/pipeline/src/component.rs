//! The contract between the engine and its components: traits that processors, exporters, sources and receivers
//! implement. The components themselves are listed in `src/components.rs`.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use kernel::clock::UnixNanos;
use otlp::{MergedRequest, Signal, SlotId};

use super::batch::{Batch, BatchOrigin, Effect, RecordDraft};
use super::clearance::Trust;
use super::inquiry::Inquiry;
use super::outcome::{Outcome, Reason};
use super::spool::SpoolRecord;

/// A synchronous, pure step over an owned batch: no I/O, no clock but `origin.received`, no change to shared state
/// (except claims, which [`Processor::discard`] releases).
pub trait Processor: Send + Sync {
    /// Component id, e.g. `redact` or `redact/strict`.
    fn id(&self) -> &Arc<str>;
    /// Returns the question that must be answered from outside before [`Processor::process`] may see this batch, or
    /// `None` if there is none. It is called with the batch in the state in which `process` will get it, and must make
    /// no visible change to it. The answer arrives in [`Batch::answer`].
    /// While the engine bisects a batch after a panic, it asks no questions, so a step must be able to work without an
    /// answer.
    fn inquire(&self, _batch: &mut Batch) -> Option<Inquiry> {
        None
    }
    /// Processes the batch. `Err` keeps the batch back (fail closed). The engine catches a panic and bisects the batch.
    fn process(&self, batch: &mut Batch) -> Result<(), Reason>;
    /// Applies one effect after its batch was committed, in commit order; also during recovery. Must not fail.
    fn apply(&self, _effect: &Effect) {}
    /// Whether this processor's effects are sent to the other replicas of a fleet. Its [`Processor::apply_shared`] must
    /// give the same state in any order of the effects, and if one comes twice.
    fn shares_effects(&self) -> bool {
        false
    }
    /// Applies an effect that another replica committed. That replica counts it, so this one must not.
    fn apply_shared(&self, _effect: &Effect, _replica: &Arc<str>) {}
    /// Called when the batch was not committed: releases what the batch claimed.
    fn discard(&self, _batch_id: &[u8; 16]) {}
    /// Called about once a second by one task.
    fn tick(&self, _now: UnixNanos) {}
    /// Appends the state to restore after a restart; nothing if there is none. The engine seals it before it is written
    /// to disk. All states share one buffer, which is large: a copy would take as much memory again.
    fn save(&self, _checkpoint: &mut Vec<u8>) {}
    /// What [`Processor::save`] appends, on its own. `None`: nothing.
    fn checkpoint(&self) -> Option<Vec<u8>> {
        let mut saved = Vec::new();
        self.save(&mut saved);
        Some(saved).filter(|saved| !saved.is_empty())
    }
    /// Restores the state that [`Processor::save`] appended. `false`: it can't be read, perhaps because a newer
    /// version wrote it; the processor then starts empty, and the engine keeps the file.
    fn restore(&self, _checkpoint: &[u8]) -> bool {
        true
    }
    /// The ticketer for the drafts of this processor, if it makes drafts.
    fn ticketer(&self) -> Option<Box<Ticketer>> {
        None
    }
    /// Whether this processor seals items that no processor of its pipelines can finish.
    fn seals_quarantine(&self) -> bool {
        false
    }
    /// Seals the request, an `Export*ServiceRequest` of the signal as it was received, with this many items, to the
    /// auditors' recipients as `kind: quarantine`, never with the spool's key. Returns a draft for this processor's
    /// ticketer, or `None` if the request can't be sealed. If no pipeline of the route has such a processor, the items
    /// are dropped and counted.
    fn quarantine(&self, _origin: &BatchOrigin, _: Signal, _request: &Bytes, _items: u64) -> Option<RecordDraft> {
        None
    }
}

/// Numbers drafts in commit order: fixes the object, offset, leaf and record numbers of one batch's draft. Called under
/// the sequencer's lock: no I/O, may not fail.
pub type Ticketer = dyn FnMut(Box<dyn Any + Send>) -> TicketResult + Send;

/// The numbers that a ticket fixed, as records and as texts.
#[derive(Default)]
pub struct TicketResult {
    /// Records to be committed with the batch, in order (keys before fragments before leaves).
    pub records: Vec<SpoolRecord>,
    /// Texts for the slots of the batch's payloads, each exactly as wide as its slot.
    pub slots: Vec<(SlotId, String)>,
}

/// The request of one delivery attempt: encoded OTLP of one signal and account.
#[derive(Clone)]
pub struct ExportRequest {
    /// The signal.
    pub signal: Signal,
    /// The account that owns the data.
    pub account: Arc<str>,
    /// `Export*ServiceRequest` in protobuf.
    pub body: MergedRequest,
    /// Number of spans, log records or data points in `body`.
    pub items: u64,
}

/// One attempt at delivery: no queue, no retry, no metrics of its own.
pub trait Exporter: Send + Sync {
    /// Component id, e.g. `otlp/honeycomb`.
    fn id(&self) -> &Arc<str>;
    /// The exporter's trust: whether it may be given uncleared data.
    fn trust(&self) -> Trust;
    /// Largest request body before compression, in bytes. The outlet merges batches up to it and splits requests above
    /// it.
    fn max_request_bytes(&self) -> usize;
    /// Largest body, in bytes, for a single item that can't be split: it is sent alone.
    fn max_item_bytes(&self) -> usize {
        self.max_request_bytes()
    }
    /// Sends one request. The outlet acts on the outcome: `Accepted` and `Partial` end the delivery, and `Retry`
    /// repeats it, with [`Reason::Denied`] also raising an alarm. A request that is `Refused` with [`Reason::BadData`],
    /// [`Reason::TooLarge`] or [`Reason::Malformed`] is split in halves, a single item is quarantined; other refusals
    /// are retried. `Retry` with `TooLarge` is ambiguous (too large, or no room at the moment): the request is split in
    /// halves, a single item is retried for a while and then quarantined.
    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome>;
    /// Asks the back end whether it would take data, without sending any. The outlet asks when it starts, and again
    /// until the answer is yes, so that a refusal is seen before the first request.
    ///
    /// # Errors
    /// Why it would not. An exporter that can't ask without sending says yes.
    fn check_back_end(&self) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(async { Ok(()) })
    }
    /// Why the last attempt failed; `None` if it succeeded or the exporter does not know.
    fn last_failure(&self) -> Option<AttemptFailure> {
        None
    }
}

/// Why an attempt failed, in tollgate's own words: a status or a connection error, never a back end's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFailure {
    /// The status or connection error.
    pub reason: String,
    /// What the operator can do about it.
    pub remedy: &'static str,
}

/// A step that also produces requests of its own; a connector sends them into the pipelines that it feeds.
pub trait RequestSource: Send + Sync {
    /// Tells the source that a connector feeds pipelines of these signals. Called while components are built.
    fn enable_signals(&self, signals: &[Signal]);
    /// The next request of `signal` as of `now`, if there is one. The same request is returned until its effect was
    /// applied.
    fn next_request(&self, signal: Signal, now: UnixNanos) -> Option<SourceRequest>;
}

/// One request that a [`RequestSource`] produced.
pub struct SourceRequest {
    /// The account that owns the data.
    pub account: Arc<str>,
    /// `Export*ServiceRequest` in protobuf. It holds no content; its texts still have to be redacted.
    pub wire: Bytes,
    /// Tells the step that the request was emitted; committed in the same transaction.
    pub effect: Effect,
}

/// Owns sockets and hands requests to its inlet; it knows no other part of the engine.
pub trait Receiver: Send {
    /// Component id, e.g. `otlp`.
    fn id(&self) -> &Arc<str>;
}
