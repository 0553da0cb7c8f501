//! [`ExtensionListeners`] builds the listeners of extensions: the admin port with its pages and API, and the health
//! check. The pages are in `pages`, access control in `telemetry/admin` and `access_control`.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use http::StatusCode;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::app::alert_sender::{self, AlertSender};
use crate::app::budget_grants::{self, BudgetGrants};
use crate::app::build::{GatewayResources, InletCell, Listener};
use crate::app::erasure_reports::{self, ErasureReports};
use crate::app::fleet_drain::{self, FleetDrain};
use crate::app::history_setup::HistorySetup;
use crate::app::listeners::{IDLE_TIMEOUT, WebListener};
use crate::app::processors::BuiltProcessors;
use crate::app::reported_judgements::ReportedJudgements;
use crate::app::spool_changes::{self, MoveTargets, SpoolChanges};
use crate::app::tap;
use crate::components::ExtensionSettings;
use access::access_control::{AccessControl, check_routes};
use access::oidc::OidcClient;
use history::RunBoard;
use kernel::pseudonym::IdPolicy;
use kernel::secret::Secret;
use net::{LastGoodValue, RetainedSockets, server_tls};
use pages::BudgetBoard;
use pages::api::RunsApi;
use receivers::kafka::PartitionHandOver;
use telemetry::admin::{self, AdminState};

/// The resources that extensions show or are opened with.
pub(super) struct ExtensionListeners<'p> {
    pub(super) resources: &'p GatewayResources,
    pub(super) history: &'p HistorySetup,
    pub(super) runs: &'p RunBoard,
    pub(super) processors: &'p BuiltProcessors,
    pub(super) inlet: &'p InletCell,
    pub(super) pipelines: Arc<[String]>,
    /// The receiver under which requests reach the budgets.
    pub(super) budget_receiver: Option<Arc<str>>,
    pub(super) ids: &'p Arc<dyn IdPolicy>,
    pub(super) alert_sender: Option<&'p Arc<AlertSender>>,
    /// The admin port's certificates, read before.
    pub(super) admin_certificates: &'p LastGoodValue<server_tls::BuiltServerConfig>,
    /// The token for changes through an admin port without credentials.
    pub(super) admin_token: Option<&'p Secret>,
    /// The identity provider of the admin port.
    pub(super) oidc: Option<&'p Arc<OidcClient>>,
    /// The ports held over from the previous round.
    pub(super) sockets: Option<&'p RetainedSockets>,
    /// Notified when a reload is requested.
    pub(super) reload_requested: Option<&'p Arc<Notify>>,
    /// The exporters to which data in the spool can be moved.
    pub(super) move_targets: Arc<MoveTargets>,
    /// The receivers that can hand partitions over.
    pub(super) hand_overs: &'p [PartitionHandOver],
}

impl ExtensionListeners<'_> {
    pub(super) fn build_listener(&self, settings: ExtensionSettings) -> Listener {
        let sockets = self.sockets.cloned();
        let web = match settings {
            ExtensionSettings::Admin(settings) => self.build_admin(settings, sockets),
            ExtensionSettings::HealthCheck(settings) => {
                let router = admin::health_router(self.resources.deps.health.clone(), &settings.path);
                WebListener {
                    name: "health_check",
                    endpoint: settings.endpoint,
                    router,
                    idle_timeout: IDLE_TIMEOUT,
                    sockets,
                    tls: None,
                }
            }
        };
        web.listen()
    }

    fn build_admin(&self, settings: admin::AdminSettings, sockets: Option<RetainedSockets>) -> WebListener {
        let deps = &self.resources.deps;
        let (meter, health) = (deps.meter.clone(), deps.health.clone());
        let is_secure = settings.is_secure();
        let access = AccessControl::new(settings.auth, self.admin_token, self.oidc.cloned(), &meter).with_login_form(
            is_secure,
            Arc::clone(&deps.clock),
            Arc::clone(&deps.rng),
        );
        let admin_state = AdminState { meter, health, money: runs::amounts::format_dollars };
        let tls = settings
            .tls
            .as_ref()
            .map(|port| server_tls::ServerTlsSettings::from(port).sharing_last_good(self.admin_certificates));
        let tap = tap::TapState {
            inlet: Arc::clone(self.inlet),
            clock: Arc::clone(&deps.clock),
            tasks: Arc::clone(&self.resources.tasks),
            pipelines: Arc::clone(&self.pipelines),
        };
        let seats = self.processors.all().filter_map(|built| built.seats.clone()).collect();
        let budgets = BudgetBoard::new(self.processors.budget_desk());
        let history_pages =
            self.history.build_pages(self.resources, self.runs.clone(), settings.trace_link, seats, budgets);
        let erasure_targets = self.processors.all().filter_map(|built| built.erasure_target.clone());
        let routes = admin::router(Arc::new(admin_state))
            .merge(self.api_router())
            .merge(tap::router(tap))
            .merge(alert_sender::routes::router(self.alert_sender.cloned()))
            .merge(self.reload_requested.cloned().map_or_else(Router::new, reload_route))
            .merge(fleet_drain::router(FleetDrain {
                receivers: self.hand_overs.to_vec(),
                spool: Arc::clone(&self.resources.spool),
            }))
            .merge(spool_changes::router(SpoolChanges {
                spool: Arc::clone(&self.resources.spool),
                exporters: Arc::clone(&self.move_targets),
                tasks: Arc::clone(&self.resources.tasks),
                running: Mutex::default(),
            }))
            .merge(erasure_reports::router(ErasureReports {
                targets: erasure_targets.collect(),
                runs: self.runs.clone(),
                tasks: Arc::clone(&self.resources.tasks),
                clock: Arc::clone(&self.resources.deps.clock),
            }))
            .merge(budget_grants::router(BudgetGrants {
                desk: self.processors.budget_desk(),
                receiver: self.budget_receiver.clone(),
                inlet: Arc::clone(self.inlet),
                ids: Arc::clone(self.ids),
                clock: Arc::clone(&self.resources.deps.clock),
                rng: Arc::clone(&self.resources.deps.rng),
            }))
            .merge(pages::router(Arc::new(history_pages)));
        let routes = routes.clone().merge(pages::mcp::router(check_routes(routes, access.clone())));
        let router = admin::guard_routes(check_routes(routes, access), settings.allowed_hosts);
        WebListener { name: "admin", endpoint: settings.endpoint, router, idle_timeout: IDLE_TIMEOUT, sockets, tls }
    }

    fn api_router(&self) -> Router {
        let trackers = self.processors.trackers().map(|(_, tracker)| Arc::clone(tracker)).collect();
        let (inlet, clock) = (Arc::clone(self.inlet), Arc::clone(&self.resources.deps.clock));
        let tasks = || Arc::clone(&self.resources.tasks);
        let judge =
            ReportedJudgements { trackers, runs: self.runs.clone(), inlet, clock: Arc::clone(&clock), tasks: tasks() };
        pages::api::router(RunsApi { board: self.runs.clone(), judge: Arc::new(judge), clock, tasks: tasks() })
    }
}

/// The route `POST /-/reload`.
fn reload_route(reload_requested: Arc<Notify>) -> Router {
    let request_reload = move || async move {
        reload_requested.notify_one();
        (StatusCode::ACCEPTED, "reloading the configuration; see the log for the result\n")
    };
    Router::new().route("/-/reload", post(request_reload))
}
