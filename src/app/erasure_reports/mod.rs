//! `POST /-/erasures`: an eraser reports the newest digest of its erasure chain, and the gateway's next digests name
//! it. The gateway may only write to the store, so it can't look for erasures itself (docs/vault.md). The digest must
//! be signed by one of `erasure_keys`; the answer is sent once the report is on disk. `access_control` decides who may
//! post.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use processors::spec::ErasureReportTarget;
use vault::chain::erasures::{ErasureHead, ErasureReport};

/// How long the uploader may take to sync the report to disk.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn router(targets: Vec<Arc<ErasureReportTarget>>) -> Router {
    Router::new().route("/-/erasures", post(accept_report)).with_state(Arc::<[_]>::from(targets))
}

async fn accept_report(State(targets): State<Arc<[Arc<ErasureReportTarget>]>>, body: Bytes) -> Response {
    let report: Option<ErasureReport> = serde_json::from_slice(&body).ok();
    let Some((digest, signature)) = report.and_then(|report| report.decode()) else {
        return (StatusCode::BAD_REQUEST, "the body must be JSON with `digest` and `signature` in base64\n")
            .into_response();
    };
    let mut refused = "no vault of this gateway has `erasure_keys`";
    for target in targets.iter().filter(|target| !target.keys.is_empty()) {
        let head = match ErasureHead::verify(&digest, &signature, &target.keys) {
            Ok(head) => head,
            Err(why) => {
                refused = why;
                continue;
            }
        };
        let Some(synced) = target.inbox.report(head) else {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many reports are waiting: try again later\n")
                .into_response();
        };
        return match tokio::time::timeout(SYNC_TIMEOUT, synced).await {
            Ok(Ok(())) => (StatusCode::OK, "accepted: the next digest will name it\n").into_response(),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "the report is not on disk yet: send it again\n").into_response(),
        };
    }
    (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response()
}

#[cfg(test)]
mod tests;
