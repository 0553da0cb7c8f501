//! Kafka's protocol for the exporter and the receiver `kafka`: the connection's settings, the sealed records of the
//! topic between edges and workers, and the interfaces to a client ([`BrokerClient`]).
//! The library that speaks the protocol is used in `krafka_client` only, and only if the cargo feature `client` is on:
//! it makes the binary 4 MB larger, and one machine needs no broker. `tests/support/kafka_fakes` replaces
//! it in tests.
//! The receiver (`receivers/kafka`) knows offsets and partitions, the exporter (`exporters/kafka`) requests.

mod access_rights;
mod broker_keys;
mod client;
mod durability;
mod kept_producer;
#[cfg(feature = "client")]
mod krafka_client;
mod partitions;
mod reachability;
mod sealed_record;
mod settings;

pub use access_rights::{AccessRight, AclResource, GrantedRights, MissingRights, missing_rights};
pub use client::{
    BrokerClient, BrokerError, BrokerFault, CommittedOffset, GroupDescription, GroupExit, GroupMember, IncomingRecord,
    OutgoingRecord, PartitionBounds, PartitionId, PartitionOffsets, PartitionOwner, RecordConsumer, RecordProducer,
    SubscriptionSettings, TopicDescription,
};
pub use durability::{DurabilityProblem, durability_problem};
pub use kept_producer::KeptProducer;
pub use partitions::SessionPartitioner;
pub use reachability::watch_brokers;
pub use sealed_record::{
    RECORD_HEADERS, RecordContent, RecordHead, RecordId, RecordOpener, RecordSealer, UnreadableRecord, has_seal,
    inflate,
};
pub use settings::{
    AuthConfig, BrokerSettings, KafkaTlsConfig, SaslConfig, SaslMechanism, SaslSettings, broker_settings,
};

/// Opens a client. Connects only when it is used.
///
/// # Errors
/// This binary was built without the feature `client`.
pub fn build_client(settings: &BrokerSettings) -> Result<std::sync::Arc<dyn BrokerClient>, BrokerError> {
    #[cfg(feature = "client")]
    return Ok(std::sync::Arc::new(krafka_client::KrafkaClient::new(settings.clone())));
    #[cfg(not(feature = "client"))]
    {
        let _ = settings;
        Err(BrokerError::new(BrokerFault::NotBuilt, "this binary was built without Kafka"))
    }
}

/// Default name of the topic between edges and workers.
pub const SEALED_TOPIC: &str = "tollgate.in";
