//! [`ChaosBackEnd`]: receives spans over OTLP/HTTP and records their ids; it can be disconnected. An id is recorded
//! before its request is answered. The parent module evaluates the ids.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::app::listeners::serve_pages;
use crate::cli::error::CommandError;
use config::Endpoint;
use net::{Spawn, listen};
use otlp::{Payload, Signal};
use telemetry::Meter;

/// How long a connection may be idle.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The spans received.
#[derive(Default)]
struct ReceivedSpans {
    ids: BTreeSet<u64>,
    count: u64,
}

/// A back end that can be disconnected.
pub(super) struct ChaosBackEnd {
    received: Arc<Mutex<ReceivedSpans>>,
    serving: Option<listen::RunningPort>,
    address: SocketAddr,
    meter: Meter,
    tasks: Arc<dyn Spawn>,
}

impl ChaosBackEnd {
    /// Listens on a port chosen by the system.
    ///
    /// # Errors
    /// The port can't be opened.
    pub(super) async fn start(meter: &Meter, tasks: Arc<dyn Spawn>) -> Result<Self, CommandError> {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut this = Self { received: Arc::default(), serving: None, address, meter: meter.clone(), tasks };
        this.reconnect().await?;
        Ok(this)
    }

    /// The address, also while disconnected.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and closes all connections.
    pub(super) async fn disconnect(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.drain(Duration::ZERO).await;
        }
    }

    /// Listens, on the same port as before.
    ///
    /// # Errors
    /// The port can't be opened.
    pub(super) async fn reconnect(&mut self) -> Result<(), CommandError> {
        let bound = listen::bind(&Endpoint::parse(&self.address.to_string())?).await?;
        self.address = bound.address().ok_or("the back end does not listen")?;
        let router = Router::new()
            .route("/v1/traces", post(receive_spans))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&self.received));
        let tasks = Arc::clone(&self.tasks);
        self.serving = Some(serve_pages(bound, router, "chaos", IDLE_TIMEOUT, &self.meter, tasks));
        Ok(())
    }

    /// Number of spans received, including duplicates.
    pub(super) fn count(&self) -> u64 {
        self.received.lock().count
    }

    /// Ids of the spans received.
    pub(super) fn ids(&self) -> BTreeSet<u64> {
        self.received.lock().ids.clone()
    }
}

async fn receive_spans(State(received): State<Arc<Mutex<ReceivedSpans>>>, body: Bytes) -> StatusCode {
    let Ok(payload) = Payload::parse(Signal::Traces, body) else { return StatusCode::BAD_REQUEST };
    let id = |node| <[u8; 8]>::try_from(payload.span_id(node)).ok().map(u64::from_be_bytes);
    let ids: Vec<u64> = payload.items().filter_map(id).collect();
    let mut received = received.lock();
    received.count += ids.len() as u64;
    received.ids.extend(ids);
    StatusCode::OK
}
