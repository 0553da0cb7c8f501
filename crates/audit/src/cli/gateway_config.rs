//! [`GatewayConfig`]: what the auditors' commands ask of a gateway's configuration.

use std::sync::Arc;

use command::admin_client::{AdminPort, AdminPortArgs};
use command::error::CommandError;
use redaction::Detector;
use vault::recipients::RecipientPolicy;

/// What these commands ask of the gateway's configuration (`--config`), which only the root package can read.
pub trait GatewayConfig {
    /// The admin port of the selected gateway.
    fn admin_port(&self, options: &AdminPortArgs) -> Result<AdminPort, CommandError>;
    /// The redaction rules of the configuration, or the built-in ones.
    fn redaction_rules(&self) -> Result<Arc<Detector>, CommandError>;
    /// The recipients of each vault with a store, by the vault's id.
    fn vault_recipients(&self) -> Result<Vec<(String, RecipientPolicy)>, CommandError>;
}
