//! Sockets: accepting connections, reading request bodies within limits, and clients through proxies, shared by both
//! OTLP ports and every exporter. Every wait has a limit, and so has every size; tasks are spawned only through
//! [`Spawn`]. OTLP's paths and statuses are in `receivers/otlp` and `exporters/`.

mod activity;
pub mod client;
pub mod collect;
mod dates;
pub mod encoding;
mod kept;
pub mod listen;
mod pace;
mod pem;
pub mod places;
pub mod proxy;
pub mod renewed;
mod reply;
pub mod rope;
pub mod server_tls;
mod socket;
pub mod spawn;
pub mod tls;
mod tls_error;
mod validity;

pub use client::Client;
pub use collect::{BodyBudget, BodyError, CollectError, Collected, Intake, Limits};
pub use config::Endpoint;
pub use dates::Trouble;
pub use encoding::Encoding;
pub use kept::Kept;
pub use places::Places;
pub use proxy::{Proxies, ProxyError, is_this_machine};
pub use renewed::Renewed;
pub use server_tls::{Peer, ServerTls};
pub use socket::{BindError, Sockets};
pub use spawn::Spawn;
pub use tls::TlsError;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
