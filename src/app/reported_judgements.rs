//! [`ReportedJudgements`] accepts outcomes and evaluations of runs that clients report. Each becomes an effect without
//! a request, committed before it is acknowledged: state changes only by committed effects, so a judgement survives a
//! crash and counts once. The HTTP side is in `pages/api`.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use history::RunBoard;
use net::SharedServices;
use net::spawn::run_blocking;
use otlp::Signal;
use pipeline::{Clearance, Outcome as Answer, OwnRequest};
use runs::{JudgementError, JudgementStore, RunJudgement, RunSource, run_key};
use tracker::RunTracker;

use super::build::InletCell;

/// Turns reported judgements into effects.
pub(super) struct ReportedJudgements {
    pub(super) trackers: Vec<Arc<RunTracker>>,
    pub(super) runs: RunBoard,
    pub(super) inlet: InletCell,
    pub(super) services: SharedServices,
}

impl JudgementStore for ReportedJudgements {
    fn store_judgement<'a>(
        &'a self,
        account: &'a str,
        id: &'a str,
        judgement: RunJudgement,
    ) -> BoxFuture<'a, Result<(), JudgementError>> {
        Box::pin(async move {
            let now = self.services.clock.now();
            let (runs, wanted) = (self.runs.clone(), (account.to_owned(), id.to_owned()));
            let run =
                run_blocking(&*self.services.tasks, "judgement", move || runs.find_run(&wanted.0, &wanted.1)).await;
            let run = run.flatten().ok_or(JudgementError::UnknownRun)?;
            let key = run_key(account, id);
            let knows_run = |tracker: &&Arc<RunTracker>| !tracker.find_runs(&[key]).is_empty();
            let tracker = self.trackers.iter().find(knows_run).or_else(|| self.trackers.first());
            let effect = tracker.ok_or(JudgementError::UnknownRun)?.judgement_effect(&run.view, judgement, now);
            let Some(inlet) = self.inlet.get() else { return Err(JudgementError::NotStoredNow) };
            let (signal, account, receiver) = (Signal::Logs, account.into(), "api".into());
            let (wire, effects, clearance) = (bytes::Bytes::new(), vec![effect], Clearance::RECEIVED);
            match inlet.submit_own(OwnRequest { signal, account, receiver, wire, effects, clearance }).await {
                Answer::Accepted => Ok(()),
                _ => Err(JudgementError::NotStoredNow),
            }
        })
    }
}
