//! A running gateway: [`RunningGateway::start`], [`RunningGateway::run_until`] and shutdown. Nothing is admitted before
//! state is rebuilt, and no port is bound before everything that can fail was built. At shutdown, open
//! requests are answered, then workers end, then outlets get a deadline, then state is saved and the spool closed;
//! undelivered data stays in the spool. If the spool can't be written, the process ends with an error. Configuration is
//! in the crate `config`, the engine in `pipeline`.

mod alert_sender;
pub mod assemble;
mod budget_checks;
pub(crate) mod budget_grants;
pub mod build;
pub(crate) mod collector_compat;
pub(crate) mod configured_component;
pub(crate) mod crypto_module;
pub mod defaults;
pub mod destinations;
pub mod dry_run;
pub(crate) mod erasure_reports;
pub mod exporters;
mod extensions;
pub(crate) mod fleet_drain;
mod gateway_deps;
pub mod gateway_keys;
mod history_recorder;
mod history_setup;
mod kafka_loops;
mod key_command;
pub mod key_opening;
mod limits;
pub mod listeners;
pub mod memory;
mod memory_limiter;
pub mod own_metrics;
mod port_conflicts;
mod processors;
mod reported_judgements;
pub mod resolve;
mod running;
mod sampling_checks;
pub mod seen_keys;
mod sender_identities;
mod shutdown;
pub(crate) mod spool_changes;
pub(crate) mod start_checks;
mod start_error;
mod supervise;
mod tap;
#[cfg(test)]
mod tests;
mod valid_settings;
mod vault_recipients;
pub mod volume;

pub use self::running::RunningGateway;
pub use self::shutdown::{GatewayOutcome, ShutdownReport};
pub use self::start_error::{StartError, StartFault};
