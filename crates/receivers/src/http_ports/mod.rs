//! What the receivers with a port share: who may send, size and time limits, statuses, metrics, and files that are read
//! again. No component by itself, so every receiver may import it. No text of a request gets into an error, a log or a
//! metric. `net` has the sockets; a receiver's own folder has its paths and formats.

pub(crate) mod auth;
pub(crate) mod auth_config;
pub(crate) mod body_collector;
pub(crate) mod http_request;
pub(crate) mod metrics;
pub(crate) mod oidc_senders;
pub(crate) mod open_error;
pub(crate) mod port;
pub(crate) mod reload;
pub(crate) mod reply;
pub(crate) mod settings_problems;
mod view;
pub(crate) mod web_pages;

pub use auth::TokensError;
pub use open_error::ReceiverOpenError;
pub use port::PortReceiver;
pub use view::{ReceiverPortView, ReceiverPortsView};

pub(crate) use auth::{AcceptedClients, Sender};
pub(crate) use body_collector::{BodyCollector, BodyTally, ChargedBody};
pub(crate) use metrics::ReceiverMetrics;
pub(crate) use port::{PartialResult, ReceiverContext, ReceiverPort, drain_ports};
pub(crate) use reload::ReloadableFiles;
pub(crate) use settings_problems::SettingsProblems;
