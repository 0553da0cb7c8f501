//! Receivers with a port, and what every port does with a complete request: submit it, count it, turn the outcome into
//! a response. `otlp/grpc` has the framing; `otlp/http` and `claude_code_hooks/handler` have paths and content types.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;

use super::auth::{AcceptedClients, AuthSettings, Sender};
use super::body_collector::{BodyCollector, BodyTally, ChargedBody};
use super::metrics::ReceiverMetrics;
use super::open_error::ReceiverOpenError;
use super::reply::{self, RequestRefusal};
use net::listen::{self, BoundPort, RunningPort};
use net::server_tls::ServerTlsSettings;
use net::spawn::run_blocking;
use net::{BodyLimits, Endpoint, RetainedSockets, ServerTls, SharedServices, SlowUploads, Spawn};
use otlp::status::PartialSuccess;
use otlp::{Signal, count_items};
use pipeline::{Outcome, Reason, ReceiverInlet, Submission, Trust};

/// Time reserved at the end of a drain for the last responses, but at most a quarter of the drain.
const FINAL_ANSWER_TIME: Duration = Duration::from_secs(1);
/// The items of larger requests are counted on a blocking thread instead of the reactor.
const MAX_INLINE_COUNT_BYTES: usize = 1 << 20;

/// The state shared by both ports of a receiver.
pub(crate) struct ReceiverContext {
    pub(crate) id: Arc<str>,
    /// How far clients are trusted.
    pub(crate) trust: Trust,
    /// Finds the account of a request.
    pub(crate) clients: Arc<AcceptedClients>,
    /// The engine's inlet.
    pub(crate) inlet: ReceiverInlet,
    pub(crate) tasks: Arc<dyn Spawn>,
    /// Becomes true when a drain is nearly over: clients that still wait for an outcome are then asked to retry.
    pub(crate) drain_ending: watch::Receiver<bool>,
}

impl ReceiverContext {
    /// Submits a request. If a drain ends first, the outcome is `shutting_down`, although the request may still
    /// succeed.
    async fn submit(&self, submission: Submission, is_own: bool) -> Outcome {
        let mut drain_ending = self.drain_ending.clone();
        let answer = if is_own { self.inlet.submit_own(submission) } else { self.inlet.submit(submission) };
        tokio::select! {
            biased;
            outcome = answer => outcome,
            _ = drain_ending.wait_for(|is_ending| *is_ending) => Reason::ShuttingDown.outcome(),
        }
    }
}

/// A receiver with settings `S` whose ports are not open yet.
pub struct PortReceiver<S> {
    pub(crate) id: Arc<str>,
    pub(crate) settings: S,
    sockets: Option<RetainedSockets>,
    oidc: Option<SharedServices>,
}

impl<S> PortReceiver<S> {
    /// Creates a receiver with component id `id`, without opening a port.
    pub fn build(id: Arc<str>, settings: S) -> Self {
        Self { id, settings, sockets: None, oidc: None }
    }

    /// Takes its ports from `sockets`, where an earlier configuration may hold them.
    #[must_use]
    pub fn with_sockets(self, sockets: Option<RetainedSockets>) -> Self {
        Self { sockets, ..self }
    }

    /// Verifies tokens of an identity provider with these services.
    #[must_use]
    pub fn with_oidc(self, services: SharedServices) -> Self {
        Self { oidc: Some(services), ..self }
    }

    /// Reads who may send.
    pub(crate) fn read_clients(
        &self,
        auth: Option<AuthSettings>,
        where_to_set: &'static str,
    ) -> Result<Arc<AcceptedClients>, ReceiverOpenError> {
        let clients = AcceptedClients::read(auth, where_to_set)?.with_provider(self.oidc.clone())?;
        Ok(Arc::new(clients))
    }

    /// Opens a port and reads its certificate; no connection is accepted yet.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        tls: Option<ServerTlsSettings>,
    ) -> Result<(BoundPort, Option<Arc<ServerTls>>), ReceiverOpenError> {
        let tls = tls.map(|settings| ServerTls::read(settings).map(Arc::new)).transpose()?;
        let bound = listen::bind_reusing(self.sockets.as_ref(), endpoint).await?;
        Ok((bound.with_tls(tls.clone()), tls))
    }
}

impl<S: Send + Sync> pipeline::Receiver for PortReceiver<S> {
    fn id(&self) -> &Arc<str> {
        &self.id
    }
}

/// Stops accepting connections, waits up to `grace` for requests in progress, and closes the rest. Shortly before that,
/// `answer_now` tells requests that still wait for an outcome (such as a slow delivery) to ask for a retry.
pub(crate) async fn drain_ports(
    ports: impl IntoIterator<Item = RunningPort>,
    answer_now: &watch::Sender<bool>,
    grace: Duration,
) {
    let answer_waiting = async {
        tokio::time::sleep(grace.saturating_sub(FINAL_ANSWER_TIME.min(grace / 4))).await;
        answer_now.send_replace(true);
        std::future::pending::<()>().await;
    };
    let drained = join_all(ports.into_iter().map(|port| port.drain(grace)));
    tokio::select! {
        _ = drained => {}
        () = answer_waiting => {}
    }
}

pub(crate) struct ReceiverPort {
    /// The state shared with the other port.
    pub(crate) context: Arc<ReceiverContext>,
    /// Size and time limits of one request.
    pub(crate) limits: BodyLimits,
    /// Tracks slow uploads, one of which is ended when a new connection needs its place.
    pub(crate) upload_slots: Arc<SlowUploads>,
    pub(crate) meters: ReceiverMetrics,
    /// The port number of the other protocol, if it is on.
    pub(crate) other_port: Option<u16>,
    /// Whether browsers must be kept out (`web_pages`).
    pub(crate) guards_browsers: bool,
}

/// Rejected items and the reason, sent with an OK.
pub(crate) type PartialResult = Option<PartialSuccess>;

impl ReceiverPort {
    /// The byte budget of a new request.
    pub(crate) fn tally(&self) -> BodyTally<'_> {
        BodyTally { inlet: &self.context.inlet, bytes: AtomicUsize::new(0) }
    }

    /// The collector of a request's body.
    pub(crate) fn intake<'a>(&'a self, tally: &'a BodyTally<'a>) -> BodyCollector<'a> {
        BodyCollector { tally, tasks: &*self.context.tasks, limits: &self.limits, slow_uploads: &self.upload_slots }
    }

    /// Handles a refused body. A body that is refused for good counts against the account's rate as if it had been
    /// accepted: it cost as much work, which other accounts must not pay for. A retryable one is charged when it is
    /// accepted.
    pub(crate) fn charge_refused_body(
        &self,
        account: &Arc<str>,
        tally: &BodyTally<'_>,
        refusal: RequestRefusal,
    ) -> RequestRefusal {
        if refusal.retry_after.is_none() {
            self.context.inlet.charge_refused(account, tally.bytes.load(Ordering::Relaxed));
        }
        refusal
    }

    /// Refuses, before reading the body, a signal that no pipeline takes.
    pub(crate) fn check_signal(&self, signal: Signal) -> Result<(), RequestRefusal> {
        if self.context.inlet.accepts_signal(signal) {
            return Ok(());
        }
        Err(RequestRefusal::from_outcome(&Outcome::Refused { reason: Reason::NoPipeline }))
    }

    /// Refuses, before reading the body, a request over the account's rate.
    pub(crate) fn check_rate(&self, account: &Arc<str>) -> Result<(), RequestRefusal> {
        self.context.inlet.admit(account).map_err(|outcome| RequestRefusal::from_outcome(&outcome))
    }

    /// Refuses, before reading it, a question over the account's rate of questions.
    pub(crate) fn check_question_rate(&self, account: &Arc<str>) -> Result<(), RequestRefusal> {
        let admitted = self.context.inlet.admit_question(account);
        admitted.map_err(|outcome| RequestRefusal::from_outcome(&outcome))
    }

    /// Submits one complete request of `sender`. An empty request succeeds without reaching the engine.
    pub(crate) async fn submit(
        &self,
        signal: Signal,
        sender: &Sender,
        request: ChargedBody,
    ) -> Result<PartialResult, RequestRefusal> {
        self.hand_in(signal, sender, request, false).await
    }

    /// Like [`ReceiverPort::submit`], for a request that tollgate made itself about the sender.
    pub(crate) async fn submit_own(
        &self,
        signal: Signal,
        sender: &Sender,
        request: ChargedBody,
    ) -> Result<PartialResult, RequestRefusal> {
        self.hand_in(signal, sender, request, true).await
    }

    async fn hand_in(
        &self,
        signal: Signal,
        sender: &Sender,
        request: ChargedBody,
        is_own: bool,
    ) -> Result<PartialResult, RequestRefusal> {
        if request.bytes.is_empty() {
            return Ok(None);
        }
        let items = self.count_request_items(signal, &request.bytes).await;
        let context = &self.context;
        let submission = Submission {
            signal,
            wire: request.bytes,
            permit: request.permit,
            account: Arc::clone(&sender.account),
            identity: sender.identity.clone(),
            receiver: Arc::clone(&context.id),
            trust: if is_own { Trust::Internal } else { context.trust },
            effects: Vec::new(),
            source_record: None,
        };
        let outcome = context.submit(submission, is_own).await;
        self.meters.count_items(signal, items, &outcome);
        reply::partial_or_refusal(&outcome)
    }

    /// Counts the items of a request; 0 if it is malformed, which the engine detects and reports.
    async fn count_request_items(&self, signal: Signal, request: &Bytes) -> u64 {
        if request.len() <= MAX_INLINE_COUNT_BYTES {
            return count_items(signal, request).unwrap_or_default();
        }
        let request = request.clone();
        let count =
            run_blocking(&*self.context.tasks, "count", move || count_items(signal, &request).unwrap_or_default());
        count.await.unwrap_or_default()
    }

    /// The message for a request that came to the wrong port.
    pub(crate) fn wrong_port_message(&self, here: &str, there: &str) -> String {
        match self.other_port {
            Some(port) => format!("this is the {here} port; {there} is served on port {port}"),
            None => format!("this is the {here} port; {there} is not served here"),
        }
    }
}
