//! [`ConfiguredComponent`]: a configured component with its id; and the components that several files ask for.

use crate::components::{ExtensionSettings, ProcessorSettings, ReceiverSettings};
use ::vault::store::spec::StoreSpec;
use config::ComponentId;
use processors::vault::VaultSettings;
use receivers::kafka::KafkaReceiverSettings;
use telemetry::admin::AdminSettings;

/// A component's configuration or settings with its id.
#[derive(Clone)]
pub struct ConfiguredComponent<T> {
    pub id: ComponentId,
    /// The configuration or settings.
    pub value: T,
}

/// The vaults that have a store.
pub(crate) fn vaults(
    processors: &[ConfiguredComponent<ProcessorSettings>],
) -> impl Iterator<Item = (&ComponentId, &VaultSettings, &dyn StoreSpec)> {
    processors.iter().filter_map(|ConfiguredComponent { id, value }| match value {
        ProcessorSettings::Vault(vault) => Some((id, vault, vault.store.as_deref()?)),
        _ => None,
    })
}

pub(crate) fn kafka_receivers(
    receivers: &[ConfiguredComponent<ReceiverSettings>],
) -> impl Iterator<Item = (&ComponentId, &KafkaReceiverSettings)> {
    receivers.iter().filter_map(|ConfiguredComponent { id, value }| match value {
        ReceiverSettings::Kafka(settings) => Some((id, settings)),
        ReceiverSettings::Otlp(_) | ReceiverSettings::ClaudeCodeHooks(_) => None,
    })
}

pub(crate) fn admin_ports(
    extensions: &[ConfiguredComponent<ExtensionSettings>],
) -> impl Iterator<Item = (&ComponentId, &AdminSettings)> {
    extensions.iter().filter_map(|ConfiguredComponent { id, value }| match value {
        ExtensionSettings::Admin(settings) => Some((id, settings)),
        ExtensionSettings::HealthCheck(_) => None,
    })
}
