//! **What**: tollgate's own metrics, logs, health and admin. **Why**: one recorder per app, no global.
//! **Invariants**: only `names` names metrics; labels come from finite sets or are capped by their owner.
//! **Not here**: telemetry that passes through (`otlp/`).

pub mod admin;
pub mod health;
pub mod labels;
pub mod logging;
pub mod meter;
pub mod moved;
pub mod names;
mod quiet;
pub mod samples;
mod series;

pub use health::{GATEWAY, Health};
pub use meter::Meter;
pub use series::{Counter, Gauge, Histogram};
