//! [`Ports`] builds the listeners of extensions: the admin port with its pages and API, and the health check. The pages
//! are in `pages` and `runs/api`, access control in `telemetry/admin` and `strangers`.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::post;
use http::StatusCode;
use tokio::sync::Notify;

use crate::app::build::{Listener, Site, Way};
use crate::app::erasures;
use crate::app::humans::Humans;
use crate::app::listeners::{REST, Web};
use crate::app::notify::{self, Notify as Alerting};
use crate::app::past::Past;
use crate::app::processors::Processors;
use crate::app::{strangers, tap};
use crate::components::ExtensionSettings;
use net::{Kept, Sockets, server_tls};
use runs::api::Api;
use telemetry::admin::{self, Admin};

/// The resources that extensions show or are opened with.
pub(super) struct Ports<'p> {
    pub(super) site: &'p Site,
    pub(super) past: &'p Past,
    pub(super) processors: &'p Processors,
    pub(super) way: &'p Way,
    /// The sender of alerts.
    pub(super) alerting: Option<&'p Arc<Alerting>>,
    /// The admin port's certificates, read before.
    pub(super) files: &'p Kept<server_tls::Made>,
    /// The ports held over from the previous round.
    pub(super) sockets: Option<&'p Sockets>,
    /// Notified when a reload is requested.
    pub(super) again: Option<&'p Arc<Notify>>,
}

impl Ports<'_> {
    /// The listener of one extension.
    pub(super) fn listener(&self, settings: ExtensionSettings) -> Box<dyn Listener> {
        let sockets = self.sockets.cloned();
        Box::new(match settings {
            ExtensionSettings::Admin(settings) => self.admin(settings, sockets),
            ExtensionSettings::HealthCheck(settings) => {
                let router = admin::health_router(self.site.seams.health.clone(), &settings.path);
                Web { name: "health_check", endpoint: settings.endpoint, router, rest: REST, sockets, tls: None }
            }
        })
    }

    fn admin(&self, settings: admin::Settings, sockets: Option<Sockets>) -> Web {
        let seams = &self.site.seams;
        let (meter, health) = (seams.meter.clone(), seams.health.clone());
        let (allowed_hosts, auth) = (settings.allowed_hosts, settings.auth);
        let pages = Admin { meter, health, allowed_hosts, auth, money: runs::words::dollars };
        let guarded = pages.auth.is_some();
        let tls = settings.tls.as_ref().map(|port| server_tls::Settings::from(port).keeping(self.files));
        let tap = tap::Site {
            way: Arc::clone(self.way),
            clock: Arc::clone(&seams.clock),
            tasks: Arc::clone(&self.site.tasks),
            guarded,
        };
        let past = self.past.pages(self.site, self.processors.board(), settings.trace_link);
        let routes = self
            .api()
            .merge(tap::router(tap))
            .merge(notify::routes::router(self.alerting.cloned()))
            .merge(self.again.cloned().map_or_else(Router::new, reload_route))
            .merge(erasures::router(self.processors.erasures.clone()))
            .merge(pages::router(Arc::new(past)))
            .layer(middleware::from_fn_with_state(guarded, strangers::only_read));
        let router = admin::router(Arc::new(pages), routes);
        Web { name: "admin", endpoint: settings.endpoint, router, rest: REST, sockets, tls }
    }

    fn api(&self) -> Router {
        let runs = self.processors.runs.iter().map(|(_, runs)| Arc::clone(runs)).collect();
        let humans = Humans { runs, way: Arc::clone(self.way), clock: Arc::clone(&self.site.seams.clock) };
        let tasks = Arc::clone(&self.site.tasks);
        runs::api::router(Api { board: self.processors.board(), judge: Arc::new(humans), tasks })
    }
}

/// The route `POST /-/reload`.
fn reload_route(again: Arc<Notify>) -> Router {
    let told = move || async move {
        again.notify_one();
        (StatusCode::ACCEPTED, "reloading the configuration; see the log for the result\n")
    };
    Router::new().route("/-/reload", post(told))
}
