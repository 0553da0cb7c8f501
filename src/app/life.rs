//! Runs a gateway from start to end under signals. A signal is handled at any time, because both a start (which reads
//! the whole spool) and a shutdown can take minutes. Ending before the gateway is ready, or at a second signal, loses
//! nothing: both are equivalent to a crash. Signals are in `process`, the order of a shutdown is in `shutdown`.

use std::pin::pin;

use super::build::Blueprint;
use super::process::Stop;
use super::running::App;
use super::seams::Seams;
use super::shutdown::Ended;
use super::start_error::StartError;

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It ran, and shut down in order.
    Whole(Ended),
    /// It received a signal before it was ready.
    Unborn,
    /// It received this second signal during shutdown, and stopped at once.
    Cut(Stop),
}

impl App {
    /// Starts a gateway, calls `ready` when it runs, shuts it down after `stop`, and abandons the shutdown after `now`.
    ///
    /// # Errors
    /// The gateway could not start.
    pub async fn live(
        blueprint: Blueprint,
        seams: Seams,
        ready: impl FnOnce(&Self),
        stop: impl Future<Output = ()>,
        now: impl Future<Output = Stop>,
    ) -> Result<Life, StartError> {
        let mut stop = pin!(stop);
        let app = tokio::select! {
            started = Self::start(blueprint, seams) => started?,
            () = &mut stop => {
                tracing::info!("told to end before it was ready");
                return Ok(Life::Unborn);
            }
        };
        ready(&app);
        tokio::select! {
            ended = app.wait(stop) => Ok(Life::Whole(ended)),
            by = now => {
                tracing::warn!("told to end a second time: it ends at once; what was accepted is in the spool");
                Ok(Life::Cut(by))
            }
        }
    }
}
