//! Runs a gateway from start to end under signals. A signal is handled at any time, because both a start (which reads
//! the whole spool) and a shutdown can take minutes. Ending before the gateway is ready, or at a second signal, loses
//! nothing: both are equivalent to a crash. Signals are in `process`, the order of a shutdown is in `shutdown`.

use std::pin::pin;

use super::build::GatewayBlueprint;
use super::gateway_deps::GatewayDeps;
use super::running::RunningGateway;
use super::shutdown::ShutdownReport;
use super::start_error::StartError;
use command::error::StopSignal;

/// How the gateway ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayOutcome {
    /// It ran, and shut down in order.
    Completed(ShutdownReport),
    /// It received a signal before it was ready.
    StoppedBeforeReady,
    /// It received this second signal during shutdown, and stopped at once.
    Aborted(StopSignal),
}

impl RunningGateway {
    /// Starts a gateway, calls `ready` when it runs, shuts it down after `stop`, and abandons the shutdown after
    /// `abort`.
    ///
    /// # Errors
    /// The gateway could not start.
    pub async fn run_until_stopped(
        blueprint: GatewayBlueprint,
        deps: GatewayDeps,
        ready: impl FnOnce(&Self),
        stop: impl Future<Output = ()>,
        abort: impl Future<Output = StopSignal>,
    ) -> Result<GatewayOutcome, StartError> {
        let mut stop = pin!(stop);
        let gateway = tokio::select! {
            started = Self::start(blueprint, deps) => started?,
            () = &mut stop => {
                tracing::info!("stopped by a signal before it was ready");
                return Ok(GatewayOutcome::StoppedBeforeReady);
            }
        };
        ready(&gateway);
        tokio::select! {
            report = gateway.run_until(stop) => Ok(GatewayOutcome::Completed(report)),
            signal = abort => {
                tracing::warn!("second stop signal: exiting at once; accepted data is in the spool");
                Ok(GatewayOutcome::Aborted(signal))
            }
        }
    }
}
