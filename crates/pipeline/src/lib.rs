//! The engine: everything that happens to a batch between a receiver and the exporters. It decides durability, order
//! and clearance once, for all components.
//! The engine knows no component by name and starts no thread. Between a batch's ticket and its append to the spool,
//! only I/O can fail. An item is forwarded only if every step of its pipeline succeeded.
//! Protobuf is handled in the crate `otlp`; components are in the crates `receivers`, `processors`, `exporters` and
//! `connectors`; tasks are in `crates/command/src/tasks.rs`.

#![warn(missing_docs)]

pub mod accounts;
pub mod batch;
pub mod bisect;
pub mod checkpoint;
pub mod clearance;
pub mod component;
pub mod delivery;
pub mod disk;
pub mod effects;
pub mod engine;
pub mod forward_label;
pub mod identity;
pub mod inlet;
pub mod inquiry;
pub mod item_refusal;
pub mod offload;
pub mod outcome;
pub mod outlet;
pub mod plan;
pub mod pressure;
pub mod receipt;
pub mod repeats;
pub mod route;
pub mod sampling;
pub mod sequencer;
pub mod spool;
pub mod tap;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod worker;
pub mod workers;

pub use batch::{Batch, BatchOrigin, Effect, RecordDraft};
pub use clearance::{Clearance, ContentState, TextState, Trust};
pub use component::{
    AttemptFailure, ExportRequest, Exporter, Processor, Receiver, RequestSource, SourceRequest, TicketResult, Ticketer,
};
pub use disk::{Directory, Disk, DiskFile, RealDisk};
pub use identity::{ClientIdentity, VerifiedIdentity};
pub use inlet::entry::{Inlet, ReceiverInlet};
pub use inlet::{ByteBudget, BytePermit, OwnRequest, SourceRecord, Submission};
pub use inquiry::{Inquiry, InquiryAnswer};
pub use outcome::{MAX_RETRY_AFTER, Outcome, Reason};
pub use plan::{AckMode, EngineLimits, EnginePlan, OnFullAction, OutletSettings, PipelinePlan};
pub use pressure::{MemoryLevel, MemoryPressure};
