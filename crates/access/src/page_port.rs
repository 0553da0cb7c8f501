//! The port of a page: accepts connections, answers from a router, and follows its certificate files. The accept loop
//! is in `net/listen`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;
use tower::ServiceExt;

use net::listen::{self, PortMetrics, ReplyBody, RequestHandler, RunningPort};
use net::spawn::run_blocking;
use net::{ServerTls, Spawn};
use telemetry::{Meter, names};

/// Concurrent connections to the port of a page.
const MAX_CONNECTIONS: usize = 256;

/// Serves `router` on `bound` until it is drained; `name` is for logs and metrics. `idle_timeout` is from accept to the
/// request, and between requests.
pub fn serve_pages(
    bound: listen::BoundPort,
    router: Router,
    name: &'static str,
    idle_timeout: Duration,
    meter: &Meter,
    tasks: Arc<dyn Spawn>,
) -> RunningPort {
    let settings = listen::PortSettings {
        max_connections: MAX_CONNECTIONS,
        first_request: idle_timeout,
        idle: idle_timeout,
        ..listen::PortSettings::default()
    };
    bound.serve(Arc::new(RouterHandler(router)), settings, PortMetrics::new(meter, name, "http"), tasks)
}

/// Reloads certificates when their files change, until the returned sender is dropped.
pub fn watch_certificates(
    name: &'static str,
    tls: Arc<ServerTls>,
    meter: &Meter,
    tasks: &Arc<dyn Spawn>,
) -> watch::Sender<()> {
    let failures = meter.counter(&names::RECEIVER_RELOAD_FAILURES, &[("receiver", name)]);
    let (stop, mut stopped) = watch::channel(());
    let blocking_tasks = Arc::clone(tasks);
    let watch = async move {
        let mut last_error = None;
        loop {
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(tls.interval()) => {}
            }
            let tls = Arc::clone(&tls);
            match run_blocking(&*blocking_tasks, "reload", move || tls.reload()).await {
                Some(Err(why)) => {
                    failures.increment(1);
                    if last_error.as_ref() != Some(&why) {
                        let text = why.to_string();
                        tracing::error!(
                            port = name,
                            why = text,
                            "a changed TLS file can't be used; the previous one stays in use"
                        );
                        last_error = Some(why);
                    }
                }
                Some(Ok(changed)) => {
                    last_error = None;
                    if changed {
                        tracing::info!(port = name, "certificates were reloaded");
                    }
                }
                None => {}
            }
        }
    };
    tasks.spawn("reload", Box::pin(watch));
    stop
}

struct RouterHandler(Router);

impl RequestHandler for RouterHandler {
    fn handle(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Response<ReplyBody>> {
        let router = self.0.clone();
        Box::pin(async move {
            let reply: Result<_, Infallible> = router.oneshot(request).await;
            match reply {
                Ok(reply) => reply.map(|body| ReplyBody::new(body.map_err(Into::into))),
                Err(never) => match never {},
            }
        })
    }
}
