//! Access to the tap and to changing routes. (What the tap shows is in `tests/it/tap.rs`.)

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use tower::ServiceExt as _;

use crate::app::access_control::refuse_untrusted_changes;
use crate::app::build::InletCell;
use crate::app::tap::{TapState, router};
use crate::app::tasks::Tasks;
use kernel::clock::SystemClock;
use net::ClientCertificateNames;
use net::listen::LocalClient;
use telemetry::Meter;

/// A client of another machine must not use the tap on a port without credentials; a client on this machine, one that
/// passed the port's guard, and one with a certificate may.
#[tokio::test]
async fn strangers_do_not_look() {
    let ask = async |guarded: bool, mark: fn(&mut Request<Body>)| {
        let tasks = Tasks::new(&Meter::new());
        let (inlet, clock) = (InletCell::default(), Arc::new(SystemClock::new()));
        let site = TapState { inlet, clock, tasks, guarded, pipelines: Arc::default() };
        let mut request = Request::get("/api/tap?limit=1").body(Body::empty()).unwrap();
        mark(&mut request);
        router(site).oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask(false, |_| {}).await, StatusCode::FORBIDDEN);
    // There is no engine behind the route.
    let may = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(ask(true, |_| {}).await, may);
    assert_eq!(ask(false, |request| _ = request.extensions_mut().insert(LocalClient)).await, may);
    assert_eq!(
        ask(false, |request| _ = request.extensions_mut().insert(Arc::new(ClientCertificateNames::default()))).await,
        may
    );
}

/// On a port without credentials, unknown clients can read and change nothing: a scraper's port must not let a
/// neighbour reload, mute or set outcomes.
#[tokio::test]
async fn strangers_change_nothing() {
    let ask = async |method: Method, guarded: bool, mark: fn(&mut Request<Body>)| {
        let routes = Router::new().route("/-/reload", any(async || "done"));
        let mut request = Request::builder().method(method).uri("/-/reload").body(Body::empty()).unwrap();
        mark(&mut request);
        routes.layer(from_fn_with_state(guarded, refuse_untrusted_changes)).oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask(Method::GET, false, |_| {}).await, StatusCode::OK);
    for method in [Method::POST, Method::DELETE, Method::PUT] {
        assert_eq!(ask(method.clone(), false, |_| {}).await, StatusCode::FORBIDDEN, "{method}");
        assert_eq!(ask(method.clone(), true, |_| {}).await, StatusCode::OK);
        assert_eq!(
            ask(method.clone(), false, |request| _ = request.extensions_mut().insert(LocalClient)).await,
            StatusCode::OK
        );
    }
}
