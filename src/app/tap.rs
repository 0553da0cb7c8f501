//! `/api/tap` on the admin port streams committed requests until the client disconnects. It needs the role `tapper`
//! (`access_control`). It shows only data that third parties may see, without fields unknown to the OTLP schema. Text
//! is formatted off the socket threads; the stream reports omitted requests. Queues are in `pipeline/tap`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use crate::app::build::InletCell;
use exporters::debug::{Verbosity, render_request};
use kernel::calendar::utc;
use kernel::terminal::format_count;
use net::SharedServices;
use net::spawn::run_blocking;
use otlp::{Payload, Signal, UnknownFields, json as otlp_json};
use pipeline::ExportRequest;
use pipeline::tap::{LeftOutCounts, TapFilter, TapSubscription, TappedRequest};

/// How long the stream may be silent before the number of left-out requests is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The resources of the route.
#[derive(Clone)]
pub(super) struct TapState {
    /// The engine's inlet, set once the engine exists.
    pub inlet: InletCell,
    pub services: SharedServices,
    /// The ids of the configuration's pipelines.
    pub pipelines: Arc<[String]>,
}

#[derive(Clone, Default, Deserialize)]
struct TapQuery {
    pipeline: Option<String>,
    signal: Option<String>,
    service: Option<String>,
    /// The most requests to show.
    limit: Option<u64>,
}

/// The route `/api/tap`.
pub(super) fn router(state: TapState) -> Router {
    Router::new().route("/api/tap", get(get_tap)).with_state(state)
}

async fn get_tap(State(state): State<TapState>, Query(query): Query<TapQuery>, headers: HeaderMap) -> Response {
    let signal = match query.signal.as_deref().map(Signal::from_name) {
        Some(None) => return (StatusCode::BAD_REQUEST, "`signal` must be traces, metrics or logs\n").into_response(),
        signal => signal.flatten(),
    };
    if let Some(pipeline) = &query.pipeline
        && !state.pipelines.contains(pipeline)
    {
        let known = state.pipelines.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        let text = format!("there is no pipeline of this id; the configuration has: {known}\n");
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let filter = TapFilter { pipeline: query.pipeline.clone(), signal };
    let Some(inlet) = state.inlet.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the gateway is still starting: try again\n").into_response();
    };
    let Some(subscription) = inlet.tap().connect_client(filter) else {
        return (StatusCode::TOO_MANY_REQUESTS, "too many clients use the tap: try again later\n").into_response();
    };
    let json_lines = wants_json(&headers);
    let content_type = if json_lines { "application/x-ndjson" } else { "text/plain; charset=utf-8" };
    let remaining = query.limit.unwrap_or(u64::MAX);
    let view = TapStream { state, subscription, service: query.service, json_lines, remaining };
    let parts = stream::unfold(view, |mut view| async move {
        let part = view.next().await?;
        Some((Ok::<_, Infallible>(part), view))
    });
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(parts)).into_response()
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("json"))
}

struct TapStream {
    state: TapState,
    subscription: TapSubscription,
    service: Option<String>,
    /// Whether to write JSON lines instead of text.
    json_lines: bool,
    /// The number of requests still to show.
    remaining: u64,
}

impl TapStream {
    async fn next(&mut self) -> Option<Bytes> {
        while self.remaining > 0 {
            let tapped = tokio::select! {
                biased;
                tapped = self.subscription.next() => tapped?,
                () = self.state.services.clock.sleep(REPORT_INTERVAL) => {
                    // Requests are counted as left out even if none is shown.
                    let text = format_left_out(self.subscription.take_left_out(), self.json_lines);
                    if text.is_empty() {
                        continue;
                    }
                    return Some(text.into());
                }
            };
            let left_out = self.subscription.take_left_out();
            let time = utc(self.state.services.clock.now()).format(&Rfc3339).unwrap_or_default();
            let (service, json_lines) = (self.service.clone(), self.json_lines);
            let write = move || format_request(&tapped, service.as_deref(), &time, json_lines);
            let shown = run_blocking(&*self.state.services.tasks, "tap", write).await?;
            self.remaining = self.remaining.saturating_sub(u64::from(shown.is_some()));
            let mut text = format_left_out(left_out, self.json_lines);
            text.push_str(&shown.unwrap_or_default());
            if !text.is_empty() {
                return Some(text.into());
            }
        }
        None
    }
}

/// Formats one request; `None` if nothing in it matches `service`.
fn format_request(tapped: &TappedRequest, service: Option<&str>, time: &str, json_lines: bool) -> Option<String> {
    let (signal, pipeline, account) = (tapped.label.signal, &tapped.label.pipeline, &tapped.account);
    let full = Payload::parse(signal, tapped.body.clone()).ok()?;
    let payload = match service {
        None => full,
        Some(service) => {
            let matches_service = |node| full.get_str(full.resource(node), "service.name") == Some(service);
            let keep: Vec<bool> = full.items().map(matches_service).collect();
            full.subset(&|item| keep.get(item) == Some(&true))
        }
    };
    let items = payload.item_count() as u64;
    if items == 0 {
        return None;
    }
    let body = Bytes::from(payload.encode(UnknownFields::Drop).ok()?.bytes);
    if !json_lines {
        let request = ExportRequest { signal, account: Arc::clone(account), body: body.into(), items };
        return Some(format!("{time} {pipeline} account={account} {}", render_request(&request, Verbosity::Detailed)?));
    }
    let mut request = String::new();
    otlp_json::encode(signal, &body, &mut request).ok()?;
    let head =
        json!({"time": time, "pipeline": pipeline, "account": &**account, "signal": signal.as_str(), "items": items});
    let head = head.to_string();
    Some(format!("{},\"request\":{request}}}\n", head.strip_suffix('}')?))
}

/// The line that reports requests that were not shown.
fn format_left_out(LeftOutCounts { slow, withheld }: LeftOutCounts, json_lines: bool) -> String {
    if (slow, withheld) == (0, 0) {
        return String::new();
    }
    if json_lines {
        return format!("{}\n", json!({"left_out": slow, "withheld": withheld}));
    }
    let mut text = String::new();
    if slow > 0 {
        text.push_str(&format!(
            "-- {} left out: this client reads more slowly than requests arrive\n",
            format_count(slow, "request")
        ));
    }
    if withheld > 0 {
        text.push_str(&format!("-- {} withheld: their pipelines do not redact\n", format_count(withheld, "request")));
    }
    text
}
