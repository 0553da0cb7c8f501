//! [`GatewayDeps`]: time, randomness, disk, metrics and readiness, which tests replace.

use std::sync::Arc;

use kernel::clock::{Clock, SystemClock};
use kernel::rng::{Rng, SystemRng};
use net::{ProxyRules, SharedServices, Spawn};
use pipeline::{Disk, RealDisk};
use telemetry::{Health, Meter};

/// The replaceable dependencies of a gateway.
#[derive(Clone)]
pub struct GatewayDeps {
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Source of randomness.
    pub rng: Arc<dyn Rng>,
    /// The file system of the spool and of checkpoints.
    pub disk: Arc<dyn Disk>,
    /// The metrics registry.
    pub meter: Meter,
    pub health: Health,
}

impl GatewayDeps {
    /// The services of components, with the tasks and proxies of one round.
    pub fn services(&self, tasks: Arc<dyn Spawn>, proxies: Arc<ProxyRules>) -> SharedServices {
        let Self { clock, rng, meter, .. } = self.clone();
        SharedServices { tasks, clock, rng, meter, proxies }
    }

    /// The dependencies of a real gateway: this machine's clock, randomness and disk, and its own metrics.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SystemRng),
            disk: Arc::new(RealDisk),
            meter: Meter::new(),
            health: Health::new(),
        }
    }
}
