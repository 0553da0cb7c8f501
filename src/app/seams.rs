//! **What**: [`Seams`]: time, randomness, disk and metrics, which tests replace.

use std::sync::Arc;

use kernel::clock::{Clock, SystemClock};
use kernel::rng::{Rng, SystemRng};
use pipeline::{Disk, RealDisk};
use telemetry::{Health, Meter};

/// The seams of a gateway. Tests give others.
#[derive(Clone)]
pub struct Seams {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The file system of spool and checkpoints.
    pub disk: Arc<dyn Disk>,
    /// Metrics.
    pub meter: Meter,
    /// Readiness.
    pub health: Health,
}

impl Seams {
    /// Those of a real gateway: this machine's clock, randomness and disk, and metrics of its own.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SystemRng),
            disk: Arc::new(RealDisk),
            meter: Meter::new(),
            health: Health::new(),
        }
    }
}
