//! Receivers: components that receive telemetry. Each owns its connections and depends on the engine only through the
//! inlet. A client gets OK only after the inlet has returned `Accepted` or `Partial`. `http_ports` is no component: it
//! has what the receivers with a port share. The engine is in `pipeline/`.

pub mod claude_code_hooks;
mod http_ports;
pub mod kafka;
pub mod otlp;

pub use http_ports::{PortReceiver, ReceiverOpenError, ReceiverPortView, ReceiverPortsView, TokensError};
