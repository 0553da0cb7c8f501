//! **What**: a gateway from its start to its end, as signals want it. **Why**: whoever tells it to end is heard at any
//! time: a start can take minutes (it reads the whole spool), and so can an end. **Invariants**: a gateway that was
//! told to end before it was ready lost nothing, and neither did one that was told twice: that is what a crash is to
//! it. **Not here**: the signals themselves (`process`), the order of an end (`shutdown`).

use std::pin::pin;

use super::build::Blueprint;
use super::process::Stop;
use super::running::App;
use super::seams::Seams;
use super::shutdown::Ended;
use super::start_error::StartError;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It ran, and ended in good order.
    Whole(Ended),
    /// It was told to end before it was ready.
    Unborn,
    /// It was told a second time, by this signal: it ended where it stood.
    Cut(Stop),
}

impl App {
    /// Starts a gateway, tells `ready` when it runs, and ends it after `stop`; after `now` it ends at once.
    ///
    /// # Errors
    /// It could not start.
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
