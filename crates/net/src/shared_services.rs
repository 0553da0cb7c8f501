//! [`SharedServices`]: what the components of a gateway are built and run with. `command/tasks` has the tasks of a
//! process, `telemetry/meter` its metrics.

use std::sync::Arc;

use kernel::clock::Clock;
use kernel::rng::Rng;
use telemetry::Meter;

use super::proxy::ProxyRules;
use super::spawn::Spawn;

/// The services that all components share. Tests replace each.
#[derive(Clone)]
pub struct SharedServices {
    /// Spawns tasks, and runs slow work on threads of its own.
    pub tasks: Arc<dyn Spawn>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of ids and jitter.
    pub rng: Arc<dyn Rng>,
    /// Registry of the metrics.
    pub meter: Meter,
    /// Proxies for outgoing connections; loopback uses none.
    pub proxies: Arc<ProxyRules>,
}
