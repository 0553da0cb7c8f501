//! `/-/drain`: POST makes the receivers `kafka` hand their partitions over to the other workers while the gateway goes
//! on with what it has; GET says what is left. `tollgate fleet drain` uses both. `access_control` decides who may post.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use pipeline::sequencer::CHECKPOINT;
use pipeline::spool::Spool;
use receivers::kafka::PartitionHandOver;

pub(crate) const DRAIN_PATH: &str = "/-/drain";

/// What a drain needs.
pub(super) struct FleetDrain {
    /// The receivers that read from a group.
    pub(super) receivers: Vec<PartitionHandOver>,
    /// The spool that must become empty.
    pub(super) spool: Arc<Spool>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DrainState {
    /// Whether every receiver was asked to hand over.
    pub(crate) is_draining: bool,
    /// Receivers that have not left their group yet, by component id.
    pub(crate) reading: Vec<String>,
    /// What waits in the spool.
    pub(crate) waiting: Vec<WaitingRecords>,
}

/// Records that wait for one consumer of the spool.
#[derive(Serialize, Deserialize)]
pub(crate) struct WaitingRecords {
    /// An exporter, a vault, or the sender of shared effects.
    pub(crate) consumer: String,
    pub(crate) records: u64,
    /// Their bytes on disk.
    pub(crate) bytes: u64,
}

impl FleetDrain {
    fn state(&self) -> DrainState {
        // Before the spool is read: whatever a receiver still stores must be seen below.
        let reading =
            self.receivers.iter().filter(|one| !one.is_done()).map(|one| one.receiver().to_string()).collect();
        let waiting = self.spool.status().consumers.into_iter().filter(|one| one.records > 0);
        // The checkpoint is this worker's own memory: nobody waits for it.
        let waiting = waiting.filter(|one| *one.name != *CHECKPOINT);
        DrainState {
            is_draining: self.receivers.iter().all(PartitionHandOver::is_asked),
            reading,
            waiting: waiting
                .map(|one| WaitingRecords { consumer: one.name.to_string(), records: one.records, bytes: one.bytes })
                .collect(),
        }
    }

    fn respond(&self) -> Response {
        // Texts and numbers can always be written.
        let body = serde_json::to_vec(&self.state()).unwrap_or_default();
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

pub(super) fn router(drain: FleetDrain) -> Router {
    Router::new().route(DRAIN_PATH, post(begin).get(show)).with_state(Arc::new(drain))
}

async fn begin(State(drain): State<Arc<FleetDrain>>) -> Response {
    if drain.receivers.is_empty() {
        return (StatusCode::CONFLICT, "this gateway has no `kafka` receiver: end it with SIGTERM\n").into_response();
    }
    for receiver in &drain.receivers {
        tracing::info!(receiver = &**receiver.receiver(), "drain: the partitions are handed over");
        receiver.ask();
    }
    drain.respond()
}

async fn show(State(drain): State<Arc<FleetDrain>>) -> Response {
    drain.respond()
}
