//! `POST /-/erasures`: an eraser reports the newest digest of its erasure chain, and the gateway's next digests name
//! it. The gateway may only write to the store, so it can't look for erasures itself (docs/vault.md). The digest must
//! be signed by one of `erasure_keys`; the answer is sent once the report is on disk and the erased runs are deleted
//! from the gateway's history. `access_control` decides who may post.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use history::RunBoard;
use net::{SharedServices, spawn::run_blocking};
use processors::spec::ErasureReportTarget;
use runs::RunRecord;
use vault::chain::erasures::{ErasedRuns, ErasureHead, ErasureReport};

/// How long the uploader may take to sync the report to disk.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);

/// Where reports go.
#[derive(Clone)]
pub(super) struct ErasureReports {
    pub(super) targets: Arc<[Arc<ErasureReportTarget>]>,
    /// The history from which erased runs are deleted.
    pub(super) runs: RunBoard,
    pub(super) services: SharedServices,
}

pub(super) fn router(reports: ErasureReports) -> Router {
    Router::new().route("/-/erasures", post(accept_report)).with_state(reports)
}

async fn accept_report(State(reports): State<ErasureReports>, body: Bytes) -> Response {
    let report: Option<ErasureReport> = serde_json::from_slice(&body).ok();
    let decoded = report.and_then(|report| Some((report.decode()?, report)));
    let Some(((digest, signature), report)) = decoded else {
        return (StatusCode::BAD_REQUEST, "the body must be JSON with `digest` and `signature` in base64\n")
            .into_response();
    };
    let mut refused = "no vault of this gateway has `erasure_keys`";
    for target in reports.targets.iter().filter(|target| !target.keys.is_empty()) {
        let head = ErasureHead::verify(&digest, &signature, &target.keys);
        let (head, runs) = match head.and_then(|head| Ok((head, report.erased_runs(&target.keys)?))) {
            Ok(verified) => verified,
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
            Ok(Ok(())) => reports.erase_runs(runs).await,
            _ => (StatusCode::SERVICE_UNAVAILABLE, "the report is not on disk yet: send it again\n").into_response(),
        };
    }
    (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response()
}

impl ErasureReports {
    /// Deletes the runs of the report from history, which takes them no more.
    async fn erase_runs(&self, erased: ErasedRuns) -> Response {
        let ErasedRuns { account, users, session } = erased;
        let (board, now) = (self.runs.clone(), self.services.clock.now().0);
        let users: HashSet<String> = users.into_iter().collect();
        let is_erased = move |run: &RunRecord<'_>| {
            run.account == account
                && (session.as_deref() == Some(run.session) || run.user.is_some_and(|user| users.contains(user)))
        };
        match run_blocking(&*self.services.tasks, "history", move || board.erase_runs(is_erased, now)).await {
            Some(Ok(count)) => {
                (StatusCode::OK, format!("accepted: the next digest will name it; {count} runs left the history\n"))
                    .into_response()
            }
            _ => (StatusCode::SERVICE_UNAVAILABLE, "the runs are still in the history: send the report again\n")
                .into_response(),
        }
    }
}

#[cfg(test)]
mod tests;
