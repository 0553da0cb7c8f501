//! `/api/tap` on the admin port streams committed requests until the client disconnects. It is open only to clients on
//! this machine, or with a password, a token or a certificate. It shows only what third parties may see, without
//! unknown fields of the schema. Text is formatted off the socket threads, and the stream reports what was left out.
//! Queues are in `pipeline/tap`; the guard of all pages is in `telemetry/admin`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::app::build::Way;
use crate::app::strangers::is_known;
use exporters::debug;
use kernel::clock::Clock;
use kernel::terminal::counted;
use net::Spawn;
use net::spawn::blocking;
use otlp::{Payload, Signal, UnknownFields, json as otlp_json};
use pipeline::ExportRequest;
use pipeline::tap::{LeftOut, Look, Tapped, Wanted};

/// How long the stream may be silent before the number of left-out requests is reported.
const TOLD: Duration = Duration::from_secs(1);

/// The resources of the route.
#[derive(Clone)]
pub(super) struct Site {
    /// The engine's inlet, set once the engine exists.
    pub way: Way,
    /// The time shown with each request.
    pub clock: Arc<dyn Clock>,
    /// Runs the formatting of text.
    pub tasks: Arc<dyn Spawn>,
    /// Whether the port checks credentials.
    pub guarded: bool,
}

/// The query parameters.
#[derive(Clone, Default, Deserialize)]
struct Asked {
    pipeline: Option<String>,
    signal: Option<String>,
    service: Option<String>,
    /// The most requests to show.
    limit: Option<u64>,
}

/// The route `/api/tap`.
pub(super) fn router(site: Site) -> Router {
    Router::new().route("/api/tap", get(tap)).with_state(site)
}

async fn tap(State(site): State<Site>, Query(asked): Query<Asked>, request: Request) -> Response {
    if !is_known(site.guarded, request.extensions()) {
        let text = "only clients on this machine may look: set `extensions.admin.auth`, or `tls.client_ca_file`\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let signal = match asked.signal.as_deref().map(Signal::named) {
        Some(None) => return (StatusCode::BAD_REQUEST, "`signal` is traces, metrics or logs\n").into_response(),
        found => found.flatten(),
    };
    let wanted = Wanted { pipeline: asked.pipeline.clone(), signal };
    let Some(inlet) = site.way.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the gateway starts\n").into_response();
    };
    let Some(look) = inlet.tap().look(wanted) else {
        return (StatusCode::TOO_MANY_REQUESTS, "as many look as may\n").into_response();
    };
    let lines = wants_json(request.headers());
    let kind = if lines { "application/x-ndjson" } else { "text/plain; charset=utf-8" };
    let left = asked.limit.unwrap_or(u64::MAX);
    let view = View { site, look, service: asked.service, lines, left };
    let parts = stream::unfold(view, |mut view| async move {
        let part = view.next().await?;
        Some((Ok::<_, Infallible>(part), view))
    });
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response()
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("json"))
}

/// The stream of one client.
struct View {
    site: Site,
    look: Look,
    service: Option<String>,
    /// Whether to write JSON lines instead of text.
    lines: bool,
    /// The number of requests still to show.
    left: u64,
}

impl View {
    /// The next part of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        while self.left > 0 {
            let tapped = tokio::select! {
                biased;
                tapped = self.look.next() => tapped?,
                () = self.site.clock.sleep(TOLD) => {
                    // Requests are counted as left out even if none is shown.
                    let text = told(self.look.left_out(), self.lines);
                    if text.is_empty() {
                        continue;
                    }
                    return Some(text.into());
                }
            };
            let left_out = self.look.left_out();
            let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.site.clock.now().0));
            let time = now.ok().and_then(|now| now.format(&Rfc3339).ok()).unwrap_or_default();
            let (service, lines) = (self.service.clone(), self.lines);
            let write = move || write(&tapped, service.as_deref(), &time, lines);
            let shown = blocking(&*self.site.tasks, "tap", write).await?;
            self.left = self.left.saturating_sub(u64::from(shown.is_some()));
            let mut text = told(left_out, self.lines);
            text.push_str(&shown.unwrap_or_default());
            if !text.is_empty() {
                return Some(text.into());
            }
        }
        None
    }
}

/// Formats one request; `None` if nothing in it matches `service`.
fn write(tapped: &Tapped, service: Option<&str>, time: &str, lines: bool) -> Option<String> {
    let (signal, pipeline, account) = (tapped.label.signal, &tapped.label.pipeline, &tapped.account);
    let whole = Payload::parse(signal, tapped.body.clone()).ok()?;
    let payload = match service {
        None => whole,
        Some(service) => {
            let of = |node| whole.get_str(whole.resource(node), "service.name") == Some(service);
            let keep: Vec<bool> = whole.items().map(of).collect();
            whole.subset(&|item| keep.get(item) == Some(&true))
        }
    };
    let items = payload.item_count() as u64;
    if items == 0 {
        return None;
    }
    let body = Bytes::from(payload.encode(UnknownFields::Drop).ok()?.bytes);
    if !lines {
        let request = ExportRequest { signal, account: Arc::clone(account), body, items };
        return Some(format!("{time} {pipeline} account={account} {}", debug::text(&request)?));
    }
    let mut request = String::new();
    otlp_json::encode(signal, &body, &mut request).ok()?;
    let head =
        json!({"time": time, "pipeline": pipeline, "account": &**account, "signal": signal.as_str(), "items": items});
    let head = head.to_string();
    Some(format!("{},\"request\":{request}}}\n", head.strip_suffix('}')?))
}

/// The line that reports requests that were not shown.
fn told(LeftOut { slow, withheld }: LeftOut, lines: bool) -> String {
    if (slow, withheld) == (0, 0) {
        return String::new();
    }
    if lines {
        return format!("{}\n", json!({"left_out": slow, "withheld": withheld}));
    }
    let mut text = String::new();
    if slow > 0 {
        text.push_str(&format!("-- {} left out: more passes than is read here\n", counted(slow, "request")));
    }
    if withheld > 0 {
        text.push_str(&format!("-- {} withheld: their pipelines do not redact\n", counted(withheld, "request")));
    }
    text
}
