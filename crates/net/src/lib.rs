//! **What**: sockets: accepting, reading request bodies within limits, clients through proxies.
//! **Why**: both OTLP ports and every exporter share one way of each.
//! **Invariants**: every wait has an end, every size a limit; tasks are made only through [`Spawn`].
//! **Not here**: OTLP's paths and statuses (`receivers/otlp`, `exporters/`).

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
