//! [`Tap`]: shows committed data live to clients of the admin port. It shows only copies that third parties may see,
//! after their commit.
//! The gateway never waits for a tap client: data that does not fit into the client's queue is left out and counted.
//! Queues are bounded in requests and bytes, and so is the number of clients; without clients the tap costs one atomic
//! read per batch. Access and output are in `src/app/tap.rs`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use otlp::Signal;
use telemetry::{Counter, Gauge, Meter, names};

use super::clearance::Trust;
use super::forward_label::ForwardLabel;

#[cfg(test)]
mod tests;

/// Maximum number of concurrent tap clients.
const MAX_CLIENTS: usize = 4;
/// Maximum number of requests in one client's queue.
const MAX_QUEUED: usize = 256;
/// Maximum bytes in one client's queue, if it holds more than one request.
const MAX_QUEUED_BYTES: usize = 8 << 20;

/// See the module. Clones share the clients.
#[derive(Clone)]
pub struct Tap {
    clients: Arc<TapClients>,
    /// Requests that did not fit into a client's queue.
    left_out: Counter,
}

/// The connected clients.
struct TapClients {
    /// Number of clients, readable without the lock.
    count: AtomicUsize,
    list: Mutex<Vec<TapClient>>,
    count_gauge: Gauge,
}

/// Filter of a tap client; `None` matches all.
#[derive(Clone, Default)]
pub struct TapFilter {
    /// Id of the pipeline to show.
    pub pipeline: Option<String>,
    /// Signal to show.
    pub signal: Option<Signal>,
}

/// One committed request. No `Debug`: it holds telemetry.
pub struct TappedRequest {
    /// Signal, clearance and pipeline of the request.
    pub label: ForwardLabel,
    /// The account that owns the data.
    pub account: Arc<str>,
    /// `Export*ServiceRequest` in protobuf.
    pub body: Bytes,
}

/// Counts of matching requests that a client did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOutCounts {
    /// Requests that did not fit into the queue because the client reads too slowly.
    pub slow: u64,
    /// Requests that third parties may not see.
    pub withheld: u64,
}

/// State that both ends of a client's queue share.
#[derive(Default)]
struct TapClientState {
    /// Bytes in the queue.
    queued_bytes: AtomicUsize,
    slow: AtomicU64,
    withheld: AtomicU64,
}

struct TapClient {
    filter: TapFilter,
    queue: mpsc::Sender<TappedRequest>,
    state: Arc<TapClientState>,
}

/// The client's end of the tap. Dropping it disconnects the client.
pub struct TapSubscription {
    queue: mpsc::Receiver<TappedRequest>,
    state: Arc<TapClientState>,
    clients: Arc<TapClients>,
}

impl Tap {
    /// A tap without clients.
    pub fn new(meter: &Meter) -> Self {
        let count_gauge = meter.gauge(&names::TAP_CLIENTS, &[]);
        let clients = TapClients { count: AtomicUsize::new(0), list: Mutex::default(), count_gauge };
        Self { clients: Arc::new(clients), left_out: meter.counter(&names::TAP_LEFT_OUT, &[]) }
    }

    /// Whether any client is connected.
    pub fn has_clients(&self) -> bool {
        self.clients.count.load(Ordering::Relaxed) > 0
    }

    /// Connects a client. `None`: too many clients are connected.
    pub fn connect_client(&self, filter: TapFilter) -> Option<TapSubscription> {
        let mut clients = self.clients.list.lock();
        if clients.len() >= MAX_CLIENTS {
            return None;
        }
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let state = Arc::<TapClientState>::default();
        clients.push(TapClient { filter, queue: sender, state: Arc::clone(&state) });
        self.clients.set_count(clients.len());
        Some(TapSubscription { queue: receiver, state, clients: Arc::clone(&self.clients) })
    }

    /// Disconnects every client once it has read its queue.
    pub fn close(&self) {
        let mut clients = self.clients.list.lock();
        clients.clear();
        self.clients.set_count(0);
    }

    /// Shows the forward records (OTLP and label) of one committed batch. Copies of one pipeline are equal, so only the
    /// first is shown.
    pub fn show_batch(&self, account: &Arc<str>, bodies: &[Bytes]) {
        let clients = self.clients.list.lock();
        let mut pipelines = HashSet::new();
        for (label, body) in bodies.iter().filter_map(ForwardLabel::split) {
            if !pipelines.insert(label.pipeline.clone()) {
                continue;
            }
            let interested = clients.iter().filter(|client| client.filter.matches(&label));
            interested.for_each(|client| client.offer_request(&label, account, &body, &self.left_out));
        }
    }
}

impl TapClients {
    fn set_count(&self, count: usize) {
        self.count.store(count, Ordering::Relaxed);
        self.count_gauge.set(count as f64);
    }
}

impl Drop for TapSubscription {
    fn drop(&mut self) {
        let mut clients = self.clients.list.lock();
        clients.retain(|client| !Arc::ptr_eq(&client.state, &self.state));
        self.clients.set_count(clients.len());
    }
}

impl TapFilter {
    fn matches(&self, label: &ForwardLabel) -> bool {
        self.pipeline.as_ref().is_none_or(|id| *id == label.pipeline)
            && self.signal.is_none_or(|signal| signal == label.signal)
    }
}

impl TapClient {
    fn offer_request(&self, label: &ForwardLabel, account: &Arc<str>, body: &Bytes, left_out: &Counter) {
        if !label.clearance.allows(Trust::ThirdParty) {
            self.state.withheld.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let queued_bytes = self.state.queued_bytes.load(Ordering::Relaxed);
        // A single request always fits, or large ones would never be shown.
        let fits = queued_bytes == 0 || queued_bytes.saturating_add(body.len()) <= MAX_QUEUED_BYTES;
        let request = || TappedRequest { label: label.clone(), account: Arc::clone(account), body: body.clone() };
        self.state.queued_bytes.fetch_add(body.len(), Ordering::Relaxed);
        if !fits || self.queue.try_send(request()).is_err() {
            self.state.queued_bytes.fetch_sub(body.len(), Ordering::Relaxed);
            self.state.slow.fetch_add(1, Ordering::Relaxed);
            left_out.increment(1);
        }
    }
}

impl TapSubscription {
    /// The next request; `None`: the gateway stops.
    pub async fn next(&mut self) -> Option<TappedRequest> {
        let request = self.queue.recv().await?;
        self.state.queued_bytes.fetch_sub(request.body.len(), Ordering::Relaxed);
        Some(request)
    }

    /// Counts since the last call.
    pub fn take_left_out(&self) -> LeftOutCounts {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        LeftOutCounts { slow: take(&self.state.slow), withheld: take(&self.state.withheld) }
    }
}
