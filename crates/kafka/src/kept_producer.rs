//! [`KeptProducer`]: a producer that is opened with the first record, and again after a failure that ended it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::client::{BrokerClient, BrokerError, OutgoingRecord, RecordProducer};

/// See the module.
pub struct KeptProducer {
    client: Arc<dyn BrokerClient>,
    /// How long a record may take.
    timeout: Duration,
    open: Mutex<Option<Arc<dyn RecordProducer>>>,
}

impl KeptProducer {
    /// A producer whose records fail if they are not acknowledged within `timeout`. Opens nothing yet.
    pub fn new(client: Arc<dyn BrokerClient>, timeout: Duration) -> Self {
        Self { client, timeout, open: Mutex::default() }
    }

    /// Writes a record. Completes when all replicas in sync have it.
    ///
    /// # Errors
    /// The producer can't be opened, or the record was not acknowledged.
    pub async fn send(&self, record: OutgoingRecord) -> Result<(), BrokerError> {
        let producer = self.producer().await?;
        let sent = producer.send(record).await;
        if sent.as_ref().is_err_and(|error| error.fault.is_final()) {
            let mut open = self.open.lock().await;
            // Another record may have opened a new one meanwhile.
            open.take_if(|now| Arc::ptr_eq(now, &producer));
        }
        sent
    }

    async fn producer(&self) -> Result<Arc<dyn RecordProducer>, BrokerError> {
        let mut open = self.open.lock().await;
        if let Some(producer) = &*open {
            return Ok(Arc::clone(producer));
        }
        let producer = self.client.open_producer(self.timeout).await?;
        *open = Some(Arc::clone(&producer));
        Ok(producer)
    }
}
