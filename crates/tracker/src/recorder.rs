//! **What**: [`Recorder`]: who hears of what is over. **Not here**: metrics of it (`meters`).

use runs::{Alert, RunView, SessionView};

/// Hears of what is over, and of what is counted at once.
pub(super) trait Recorder {
    /// A run is over.
    fn run(&self, run: &RunView);
    /// A session is over.
    fn session(&self, session: &SessionView);
    /// Runs were given up that were not over.
    fn evicted(&self, runs: u64);
    /// A numeric attribute of an account: measure, service, tenant, commit.
    fn measure(&self, account: &str, labels: [&str; 4], value: f64);
    /// The first run of an incident is over.
    fn investigation(&self, account: &str, kind: &str);
    /// News that no connector told in time.
    fn untold(&self, news: u64);
    /// An alert fires.
    fn alert(&self, alert: &Alert);
    /// A human decided otherwise.
    fn overridden(&self, account: &str, kind: &str);
    /// Tool calls per investigation; the last one who ran such was of this account.
    fn tool_calls_p95(&self, account: &str, kind: &str, calls: f64);
}
