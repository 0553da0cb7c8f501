//! The `kafka` receiver: reads requests from a topic and commits a record's offset after the gateway's spool has it on
//! disk.
//! Nothing is skipped silently: a record that can't be read goes to the dead topic, one that an operator can make
//! readable (an unknown key) holds its partition, and records that the topic's retention removed are counted. A record
//! that is stored already is not stored again (`stored_positions`). `ownership` follows the group, `progress` knows
//! what may be committed, `decode` reads records.
//!
//! A receiver goes through two states: [`KafkaReceiver`] (built, nothing connected), [`RunningKafkaReceiver`].

mod config;
mod decode;
mod ownership;
mod progress;
mod reading;
mod stored_positions;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use config::{KafkaReceiverConfig, KafkaReceiverSettings, PlainEncoding, PlainTopic, PlainTopicConfig};
pub use reading::KafkaReceiverContext;
pub use stored_positions::StoredPositions;

use self::reading::RecordLoop;
use ::kafka::BrokerClient;
use kernel::clock::{Clock, with_timeout};

#[cfg(test)]
mod tests;

/// A receiver that reads nothing yet.
pub struct KafkaReceiver {
    id: Arc<str>,
    settings: KafkaReceiverSettings,
    client: Arc<dyn BrokerClient>,
    positions: Arc<StoredPositions>,
}

impl KafkaReceiver {
    /// Creates a receiver with component id `id` over `client`.
    pub fn build(id: Arc<str>, settings: KafkaReceiverSettings, client: Arc<dyn BrokerClient>) -> Self {
        let positions = StoredPositions::new(Arc::clone(&id));
        Self { id, settings, client, positions }
    }

    /// The state that the engine must keep for this receiver.
    pub fn positions(&self) -> Arc<StoredPositions> {
        Arc::clone(&self.positions)
    }

    /// Starts to read. A broker that can't be reached is tried again.
    pub fn serve(self, context: KafkaReceiverContext) -> RunningKafkaReceiver {
        let (stop, stopping) = watch::channel(false);
        let (ended, end) = watch::channel(false);
        let (tasks, clock) = (Arc::clone(&context.tasks), Arc::clone(&context.clock));
        let reading = Arc::new(RecordLoop::new(self.id, self.settings, self.client, self.positions, context));
        let task = async move {
            reading.run(stopping).await;
            ended.send_replace(true);
        };
        tasks.spawn("kafka", Box::pin(task));
        RunningKafkaReceiver { stop, end, clock }
    }
}

impl pipeline::Receiver for KafkaReceiver {
    fn id(&self) -> &Arc<str> {
        &self.id
    }
}

/// A receiver that reads.
pub struct RunningKafkaReceiver {
    stop: watch::Sender<bool>,
    end: watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
}

impl RunningKafkaReceiver {
    /// Stops reading, waits up to `grace` for the records under way, commits them and leaves the group.
    pub async fn drain(mut self, grace: Duration) {
        self.stop.send_replace(true);
        let ended = self.end.wait_for(|ended| *ended);
        if with_timeout(&*self.clock, grace, ended).await.is_none() {
            tracing::warn!("records of Kafka were still under way at the end; they are read again at the next start");
        }
    }
}
