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
use crate::app::build::{GatewayResources, InletCell, Listener, ReloadResources};
use crate::app::erasure_reports::{self, ErasureReports};
use crate::app::fleet_drain::{self, FleetDrain};
use crate::app::history_setup::HistorySetup;
use crate::app::listeners::{IDLE_TIMEOUT, WebListener};
use crate::app::processors::BuiltProcessors;
use crate::app::reported_judgements::ReportedJudgements;
use crate::app::spool_changes::{self, MoveTargets, SpoolChanges};
use crate::app::start_error::StartError;
use crate::app::tap::{self, TapState};
use crate::components::ExtensionSettings;
use access::access_control::{AccessControl, check_routes};
use access::oidc::OidcClient;
use config::file::PipelineConfig;
use history::RunBoard;
use kernel::secret::Secret;
use net::{LastGoodValue, server_tls};
use pages::BudgetBoard;
use pages::api::RunsApi;
use processors::spec::ProcessorDeps;
use receivers::kafka::PartitionHandOver;
use telemetry::admin::{self, AdminState};

/// The resources that extensions show or are opened with.
pub(super) struct ExtensionListeners<'p> {
    pub(super) resources: &'p GatewayResources,
    pub(super) deps: &'p ProcessorDeps,
    pub(super) history: &'p HistorySetup,
    pub(super) runs: &'p RunBoard,
    pub(super) processors: &'p BuiltProcessors,
    pub(super) inlet: &'p InletCell,
    pub(super) pipelines: &'p [PipelineConfig],
    pub(super) alert_sender: Option<&'p Arc<AlertSender>>,
    /// The admin port's certificates, read before.
    pub(super) admin_certificates: &'p LastGoodValue<server_tls::BuiltServerConfig>,
    /// The token for changes through an admin port without credentials.
    pub(super) admin_token: Option<&'p Secret>,
    pub(super) reload: &'p ReloadResources,
    /// The exporters to which data in the spool can be moved.
    pub(super) move_targets: Arc<MoveTargets>,
    /// The receivers that can hand partitions over.
    pub(super) hand_overs: &'p [PartitionHandOver],
}

impl ExtensionListeners<'_> {
    /// Builds the listener of an extension.
    ///
    /// # Errors
    /// The client of the identity provider can't be built.
    pub(super) fn build_listener(&self, settings: ExtensionSettings) -> Result<Listener, StartError> {
        let (name, endpoint, router, tls) = match settings {
            ExtensionSettings::Admin(settings) => {
                let tls = settings.tls.as_ref().map(server_tls::ServerTlsSettings::from);
                let tls = tls.map(|port| port.sharing_last_good(self.admin_certificates));
                ("admin", settings.endpoint.clone(), self.admin_routes(settings)?, tls)
            }
            ExtensionSettings::HealthCheck(settings) => {
                let router = admin::health_router(self.resources.deps.health.clone(), &settings.path);
                ("health_check", settings.endpoint, router, None)
            }
        };
        let sockets = self.reload.sockets.clone();
        Ok(WebListener { name, endpoint, router, idle_timeout: IDLE_TIMEOUT, sockets, tls }.listen())
    }

    /// The pages and routes of the admin port, behind its access control.
    fn admin_routes(&self, settings: admin::AdminSettings) -> Result<Router, StartError> {
        let (services, health) = (&self.deps.services, self.resources.deps.health.clone());
        let (inlet, spool) = (|| Arc::clone(self.inlet), || Arc::clone(&self.resources.spool));
        let (meter, is_secure) = (services.meter.clone(), settings.is_secure());
        let oidc = settings.auth.as_ref().and_then(|auth| auth.oidc.clone());
        let oidc = oidc.map(|oidc| OidcClient::build(oidc, services.clone())).transpose()?.map(Arc::new);
        let access = AccessControl::new(settings.auth, self.admin_token, oidc, &meter).with_login_form(
            is_secure,
            Arc::clone(&services.clock),
            Arc::clone(&services.rng),
        );
        let admin_state = AdminState { meter, health: health.clone(), money: runs::amounts::format_dollars };
        let seats = self.processors.all().filter_map(|built| built.seats.clone()).collect();
        let budgets = BudgetBoard::new(self.processors.budget_desk());
        let history_pages = self.history.build_pages(
            (services.clone(), health),
            self.runs.clone(),
            settings.trace_link,
            seats,
            budgets,
        );
        let routes = admin::router(Arc::new(admin_state))
            .merge(self.api_router())
            .merge(tap::router(TapState {
                inlet: inlet(),
                services: services.clone(),
                pipelines: self.pipelines.iter().map(|pipeline| pipeline.id.to_string()).collect(),
            }))
            .merge(alert_sender::routes::router(self.alert_sender.cloned()))
            .merge(self.reload.reload_requested.clone().map_or_else(Router::new, reload_route))
            .merge(fleet_drain::router(FleetDrain { receivers: self.hand_overs.to_vec(), spool: spool() }))
            .merge(spool_changes::router(SpoolChanges {
                spool: spool(),
                exporters: Arc::clone(&self.move_targets),
                services: services.clone(),
                running: Mutex::default(),
            }))
            .merge(erasure_reports::router(ErasureReports {
                targets: self.processors.all().filter_map(|built| built.erasure_target.clone()).collect(),
                runs: self.runs.clone(),
                services: services.clone(),
            }))
            .merge(budget_grants::router(BudgetGrants {
                desk: self.processors.budget_desk(),
                receiver: self.processors.budget_receiver(self.pipelines),
                inlet: inlet(),
                ids: Arc::clone(&self.deps.ids),
                services: services.clone(),
            }))
            .merge(pages::router(Arc::new(history_pages)));
        let routes = routes.clone().merge(pages::mcp::router(check_routes(routes, access.clone())));
        Ok(admin::guard_routes(check_routes(routes, access), settings.allowed_hosts))
    }

    fn api_router(&self) -> Router {
        let trackers = self.processors.trackers().map(|(_, tracker)| Arc::clone(tracker)).collect();
        let (board, services, inlet) = (self.runs.clone(), self.deps.services.clone(), Arc::clone(self.inlet));
        let judge = ReportedJudgements { trackers, runs: board.clone(), inlet, services: services.clone() };
        pages::api::router(RunsApi { board, judge: Arc::new(judge), services })
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
