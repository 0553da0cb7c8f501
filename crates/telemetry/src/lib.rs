//! tollgate's own metrics, logs, health and admin port. Each app has its own recorder; there is no global one. Only
//! `names` defines metrics; label values come from finite sets or are limited by their owner. `otlp/` handles the
//! telemetry that passes through.

pub mod admin;
pub mod health;
pub mod labels;
mod log_limiter;
pub mod logging;
pub mod meter;
mod metrics_text;
pub mod moved_keys;
pub mod names;
pub mod notices;
pub mod refusal_log;
mod series;
pub mod unpriced_calls;

pub use health::{GATEWAY, Health};
pub use meter::Meter;
pub use series::{Counter, Gauge, Histogram, HistogramReading, MetricSeries, SeriesValue};
