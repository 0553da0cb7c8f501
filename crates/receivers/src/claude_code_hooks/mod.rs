//! The `claude_code_hooks` receiver: takes the events that Claude Code posts to hooks of type `http`, and makes a span
//! of each, named as claude-otel-hooks names it. The ids of spans follow from the event alone, so nothing is lost with
//! the process. Where the client can be stopped, the answer is that of the budgets (`budgets::BudgetDesk`); hooks of
//! other clients, and proxies, only ask. No answer waits long, because the agent waits for it. `http_ports` has what
//! receivers share, `genai` the dialect of the spans.
//!
//! Three states as in `otlp`: [`ClaudeCodeHooksReceiver`] (built), [`BoundClaudeCodeHooks`] (port taken),
//! [`RunningClaudeCodeHooks`].

mod budget_api;
mod config;
mod event;
mod event_table;
mod handler;
mod hook_answers;
mod questions;
mod save_work;
mod span;
mod span_ids;
mod start_times;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use config::{ClaudeCodeHooksConfig, ClaudeCodeHooksSettings};
pub use hook_answers::{HOOKS_PATH, HookClient, map_texts};

use self::handler::HookPort;
use self::questions::BudgetQuestions;
use self::start_times::StartTimes;
use crate::http_ports::web_pages::needs_guard;
use crate::http_ports::{
    AcceptedClients, PortReceiver, ReceiverContext, ReceiverMetrics, ReceiverOpenError, ReceiverPort, ReloadableFiles,
    drain_ports,
};
use budgets::BudgetDesk;
use kernel::clock::Clock;
use net::Spawn;
use net::listen::{self, RunningPort};
use pipeline::{ReceiverInlet, Trust};
use telemetry::Meter;

/// Where a hook sets its credential.
const CREDENTIAL_PLACE: &str = "`headers` and `allowedEnvVars` of the hook";

/// A receiver that is not listening yet.
pub type ClaudeCodeHooksReceiver = PortReceiver<ClaudeCodeHooksSettings>;

impl PortReceiver<ClaudeCodeHooksSettings> {
    /// Opens the port and reads certificate and tokens; no connection is accepted yet.
    ///
    /// # Errors
    /// The address can't be listened on, or a file can't be used.
    pub async fn bind(self) -> Result<BoundClaudeCodeHooks, ReceiverOpenError> {
        let clients = self.read_clients(self.settings.auth.clone(), CREDENTIAL_PLACE)?;
        let (port, tls) = self.open(&self.settings.endpoint, self.settings.tls.clone()).await?;
        let files = ReloadableFiles { clients: Arc::clone(&clients), tls: tls.into_iter().collect() };
        let askers = self.settings.askers.clone().map(|askers| AcceptedClients::read(Some(askers), CREDENTIAL_PLACE));
        let askers = askers.transpose()?;
        Ok(BoundClaudeCodeHooks { id: self.id, settings: self.settings, clients, askers, files, port, desk: None })
    }
}

/// A receiver that holds its port. Dropping it releases the port.
pub struct BoundClaudeCodeHooks {
    id: Arc<str>,
    settings: ClaudeCodeHooksSettings,
    clients: Arc<AcceptedClients>,
    askers: Option<AcceptedClients>,
    files: ReloadableFiles,
    port: listen::BoundPort,
    desk: Option<Arc<dyn BudgetDesk>>,
}

impl BoundClaudeCodeHooks {
    /// Address of the port; `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.port.address()
    }

    /// Asks these budgets; without them no answer stops anybody.
    #[must_use]
    pub fn with_budgets(self, desk: Option<Arc<dyn BudgetDesk>>) -> Self {
        Self { desk, ..self }
    }

    /// Starts to accept connections and submits events to `inlet`; `tasks` spawns background work.
    pub fn serve(
        self,
        inlet: ReceiverInlet,
        tasks: Arc<dyn Spawn>,
        clock: Arc<dyn Clock>,
        meter: &Meter,
    ) -> RunningClaudeCodeHooks {
        let guards_browsers = needs_guard(self.clients.has_auth(), self.address());
        let (answer_now, drain_ending) = watch::channel(false);
        let context = Arc::new(ReceiverContext {
            id: self.id,
            // no attribute of a span is named by the client, so none can be a stamp
            trust: Trust::ThirdParty,
            clients: self.clients,
            inlet,
            tasks: Arc::clone(&tasks),
            drain_ending,
        });
        let meters = ReceiverMetrics::new(meter, &context.id, "http");
        let connection_meters = meters.connection_meters();
        let port = ReceiverPort {
            context: Arc::clone(&context),
            limits: self.settings.limits,
            upload_slots: Arc::default(),
            meters,
            other_port: None,
            guards_browsers,
        };
        let handler = HookPort {
            port,
            path: self.settings.path,
            askers: self.askers,
            questions: Arc::new(BudgetQuestions::new(self.desk, self.settings.save_work)),
            answer_within: self.settings.answer_within,
            starts: Arc::new(StartTimes::default()),
            clock,
        };
        let files = self.files.watch_files(&context.id, self.settings.reload, &tasks, meter);
        let running = self.port.serve(Arc::new(handler), self.settings.connections, connection_meters, tasks);
        RunningClaudeCodeHooks { running, answer_now, _files: files }
    }
}

/// A running receiver. Dropping it closes its port and connections.
pub struct RunningClaudeCodeHooks {
    running: RunningPort,
    /// Tells requests that wait for their outcome that they must be answered now.
    answer_now: watch::Sender<bool>,
    /// Dropping this ends the task that reads files again.
    _files: Option<watch::Sender<()>>,
}

impl RunningClaudeCodeHooks {
    /// Stops accepting connections, waits up to `grace` for requests in progress, and closes the rest.
    pub async fn drain(self, grace: Duration) {
        drain_ports([self.running], &self.answer_now, grace).await;
    }
}

#[cfg(test)]
mod tests;
