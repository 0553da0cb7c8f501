//! [`ReportedOutcomes`] accepts outcomes of runs that people report. Each becomes an effect without a request,
//! committed before it is acknowledged: state changes only by committed effects, so an outcome survives a crash and
//! counts once. The HTTP side is in `pages/api`.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use history::RunBoard;
use kernel::clock::Clock;
use net::Spawn;
use net::spawn::run_blocking;
use otlp::Signal;
use pipeline::{BytePermit, Clearance, ClientIdentity, InternalInput, Outcome as Answer, Submission, Trust};
use runs::{OutcomeError, OutcomeStore, RunOutcome, RunSource, run_key};
use tracker::RunTracker;

use super::build::InletCell;

/// Turns reported outcomes into effects.
pub(super) struct ReportedOutcomes {
    pub(super) trackers: Vec<Arc<RunTracker>>,
    pub(super) runs: RunBoard,
    pub(super) inlet: InletCell,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Arc<dyn Spawn>,
}

impl OutcomeStore for ReportedOutcomes {
    fn store_outcome<'a>(
        &'a self,
        account: &'a str,
        id: &'a str,
        outcome: RunOutcome,
    ) -> BoxFuture<'a, Result<(), OutcomeError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let (runs, wanted) = (self.runs.clone(), (account.to_owned(), id.to_owned()));
            let run = run_blocking(&*self.tasks, "outcome", move || runs.find_run(&wanted.0, &wanted.1)).await;
            let run = run.flatten().ok_or(OutcomeError::UnknownRun)?;
            let key = run_key(account, id);
            let knows_run = |tracker: &&Arc<RunTracker>| !tracker.find_runs(&[key]).is_empty();
            let tracker = self.trackers.iter().find(knows_run).or_else(|| self.trackers.first());
            let effect = tracker.ok_or(OutcomeError::UnknownRun)?.outcome_effect(&run.view, outcome, now);
            let Some(inlet) = self.inlet.get() else { return Err(OutcomeError::NotStoredNow) };
            let submission = Submission {
                signal: Signal::Logs,
                wire: bytes::Bytes::new(),
                permit: BytePermit::new(),
                account: account.into(),
                identity: ClientIdentity::Unverified,
                receiver: "api".into(),
                transport: "http",
                trust: Trust::Internal,
                effects: Vec::new(),
                source_record: None,
            };
            let input = InternalInput { effects: vec![effect], clearance: Clearance::RECEIVED };
            match inlet.submit_internal(submission, input).await {
                Answer::Accepted => Ok(()),
                _ => Err(OutcomeError::NotStoredNow),
            }
        })
    }
}
