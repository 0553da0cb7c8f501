//! Sockets: accepting connections, reading request bodies within limits, and clients through proxies, shared by both
//! OTLP ports and every exporter. Every wait has a limit, and so has every size; tasks are spawned only through
//! [`Spawn`]. Paths and statuses are in `receivers/` and `exporters/`.

mod activity;
mod certificate_dates;
pub mod client;
mod client_address;
pub mod collect;
mod connection_remedy;
pub mod encoding;
mod last_good;
pub mod listen;
pub mod oidc;
mod pem;
pub mod proxy;
pub mod reloading_client;
mod reply;
pub mod rope;
pub mod server_tls;
mod shared_services;
pub mod slow_uploads;
mod socket;
pub mod spawn;
pub mod tls;
mod tls_error;
mod upload_speed;

pub use certificate_dates::TlsFileProblem;
pub use client::HttpClient;
pub use client_address::ClientAddress;
pub use collect::{BodyError, BodyLimits};
pub use config::Endpoint;
pub use encoding::ContentEncoding;
pub use last_good::LastGoodValue;
pub use proxy::{ProxyError, ProxyRules, is_local_host};
pub use reloading_client::ReloadingClient;
pub use server_tls::{ClientCertificateNames, ServerTls};
pub use shared_services::SharedServices;
pub use slow_uploads::SlowUploads;
pub use socket::{BindError, RetainedSockets};
pub use spawn::Spawn;
pub use tls::TlsError;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
