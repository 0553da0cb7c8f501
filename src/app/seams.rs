//! **What**: [`Seams`]: time, randomness, disk and metrics, which tests replace.

use std::sync::Arc;

use kernel::clock::Clock;
use kernel::rng::Rng;
use pipeline::Disk;
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
