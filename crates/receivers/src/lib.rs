//! Receivers: components that receive telemetry. Each owns its connections and depends on the engine only through the
//! inlet. A client gets OK only after the inlet has returned `Accepted` or `Partial`. The engine is in `pipeline/`.

pub mod kafka;
pub mod otlp;
