//! **What**: the contract between the engine and components. **Not here**: which components exist (`components`).

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use kernel::clock::UnixNanos;
use otlp::{Signal, SlotId};

use super::batch::{Batch, Draft, Effect, Origin};
use super::clearance::Trust;
use super::inquiry::Inquiry;
use super::outcome::{Outcome, Reason};
use super::spool::Record;

/// A synchronous, pure step over an owned batch: no I/O, no clock but `origin.received`, no shared state changed
/// (claims excepted, which are released by [`Processor::discard`]).
pub trait Processor: Send + Sync {
    /// Component id, e.g. `redact` or `redact/strict`.
    fn id(&self) -> &Arc<str>;
    /// What has to be asked outside before [`Processor::process`] may see this batch, which stands as it will stand
    /// then; nothing of it may be changed that shows. The answer is found in [`Batch::answer`]. None: nothing is asked.
    /// A batch that is tried in parts because of a panic is not asked about: a step that finds no answer must do
    /// without.
    fn inquire(&self, batch: &mut Batch) -> Option<Inquiry> {
        let _ = batch;
        None
    }
    /// Works on the batch. `Err` keeps the batch back (fail closed). A panic is caught and bisected by the engine.
    fn process(&self, batch: &mut Batch) -> Result<(), Reason>;
    /// Applies one effect after its batch was committed, in commit order; also on recovery. Must not fail.
    fn apply(&self, effect: &Effect) {
        let _ = effect;
    }
    /// The batch was not committed: release what it claimed.
    fn discard(&self, batch_id: &[u8; 16]) {
        let _ = batch_id;
    }
    /// Called about once a second by one task.
    fn tick(&self, now: UnixNanos) {
        let _ = now;
    }
    /// State to be restored after a restart (sealed by the engine before it touches the disk); None = stateless.
    fn checkpoint(&self) -> Option<Vec<u8>> {
        None
    }
    /// Restores what [`Processor::checkpoint`] gave. An unreadable one is ignored (start empty).
    fn restore(&self, checkpoint: &[u8]) {
        let _ = checkpoint;
    }
    /// The ticketer of this processor's drafts, if it makes any.
    fn ticketer(&self) -> Option<Box<dyn Ticketer>> {
        None
    }
    /// Who seals what no processor of its pipelines can finish, if this one can.
    fn quarantine(&self) -> Option<&dyn Quarantine> {
        None
    }
}

/// Numbers drafts in commit order. Called under the sequencer's lock: no I/O, may not fail.
pub trait Ticketer: Send {
    /// Fixes object, offset, leaf and record numbers of one batch's draft.
    fn ticket(&mut self, draft: Box<dyn Any + Send>) -> Ticketed;
}

/// Seals items that no processor could finish, to the auditors' recipients as `kind: quarantine`; never with the
/// spool's key. Implemented by the processor that has such recipients ([`Processor::quarantine`]); where no pipeline of
/// the route has one such items are dropped and counted.
pub trait Quarantine: Send + Sync {
    /// A draft (with the id of the processor whose ticketer takes it) that holds `request`, an
    /// `Export*ServiceRequest` of `signal` as it was received, with `items` items. `None`: it can't be sealed.
    fn seal(&self, origin: &Origin, signal: Signal, request: &Bytes, items: u64) -> Option<Draft>;
}

/// What a ticket fixed.
#[derive(Default)]
pub struct Ticketed {
    /// Records to be committed with the batch, in order (keys before fragments before leaves).
    pub records: Vec<Record>,
    /// Texts for the slots of the batch's payloads; each exactly as wide as its slot.
    pub slots: Vec<(SlotId, String)>,
}

/// One attempt's request: encoded OTLP of one signal and account.
#[derive(Clone)]
pub struct ExportRequest {
    /// The signal.
    pub signal: Signal,
    /// The account whose data this is.
    pub account: Arc<str>,
    /// `Export*ServiceRequest` in protobuf.
    pub body: Bytes,
    /// Spans, records or points inside.
    pub items: u64,
}

/// One attempt at delivery: no queue, no retry, no metrics of its own.
pub trait Exporter: Send + Sync {
    /// Component id, e.g. `otlp/honeycomb`.
    fn id(&self) -> &Arc<str>;
    /// What it may be given.
    fn trust(&self) -> Trust;
    /// Largest request body before compression, bytes; the outlet merges up to it and splits above it.
    fn max_request_bytes(&self) -> usize;
    /// The same for what can't be split: then it goes alone, up to this size.
    fn max_item_bytes(&self) -> usize {
        self.max_request_bytes()
    }
    /// Sends one request. `Partial` and `Accepted` end the delivery; `Retry` repeats it; `Refused` with
    /// [`Reason::BadData`] or [`Reason::TooLarge`] is halved, then quarantined; `Denied` keeps retrying and alarms;
    /// `Retry` with `TooLarge` means that nobody can tell the size from want of room: halved, then asked again for a
    /// while, then quarantined.
    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome>;
}

/// A step that tells something beside the batches it sees: what a connector sends into the pipelines it feeds.
pub trait Source: Send + Sync {
    /// A connector that feeds pipelines of these signals asks from now on. Called while components are built.
    fn ask(&self, signals: &[Signal]);
    /// The next request of `signal` as of `now`, if there is any; the same again until its effect was applied.
    fn portion(&self, signal: Signal, now: UnixNanos) -> Option<Portion>;
}

/// What a [`Source`] tells, as one request.
pub struct Portion {
    /// Whose it is.
    pub account: Arc<str>,
    /// `Export*ServiceRequest` in protobuf; it holds no content, its texts are to be redacted like any others.
    pub wire: Bytes,
    /// Says that it was told: committed with it.
    pub effect: Effect,
}

/// Owns sockets; knows nothing but its inlet.
pub trait Receiver: Send {
    /// Component id, e.g. `otlp`.
    fn id(&self) -> &Arc<str>;
}
