//! [`Humans`] accepts outcomes of runs that people report. Each becomes an effect without a request, committed before
//! it is acknowledged: state changes only by committed effects, so an outcome survives a crash and counts once. The
//! HTTP side is in `runs/api`.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use kernel::clock::Clock;
use otlp::Signal;
use pipeline::{BytePermit, Clearance, Made, Outcome as Answer, Submission, Trust};
use runs::{Judge, NotTaken, Outcome};
use tracker::Runs;

use super::build::Way;

/// Turns reported outcomes into effects.
pub(super) struct Humans {
    /// All trackers.
    pub(super) runs: Vec<Arc<Runs>>,
    /// The engine's inlet.
    pub(super) way: Way,
    pub(super) clock: Arc<dyn Clock>,
}

impl Judge for Humans {
    fn judge<'a>(&'a self, account: &'a str, id: &'a str, outcome: Outcome) -> BoxFuture<'a, Result<(), NotTaken>> {
        Box::pin(async move {
            let now = self.clock.now();
            let mut effects = self.runs.iter().filter_map(|runs| runs.judged(account, id, outcome, now));
            let effect = effects.next().ok_or(NotTaken::Unknown)?;
            let Some(inlet) = self.way.get() else { return Err(NotTaken::Later) };
            let submission = Submission {
                signal: Signal::Logs,
                wire: bytes::Bytes::new(),
                permit: BytePermit::new(),
                account: account.into(),
                receiver: "api".into(),
                transport: "http",
                trust: Trust::Internal,
            };
            let made = Made { effects: vec![effect], clearance: Clearance::RECEIVED };
            match inlet.submit_made(submission, made).await {
                Answer::Accepted => Ok(()),
                _ => Err(NotTaken::Later),
            }
        })
    }
}
