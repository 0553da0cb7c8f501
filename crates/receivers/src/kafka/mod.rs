//! The `kafka` receiver: reads requests from a topic and commits a record's offset after the gateway's spool has it on
//! disk.
//! Nothing is skipped silently: a record that can't be read goes to the dead topic, one that an operator can make
//! readable (an unknown key) holds its partition, and records that the topic's retention removed are counted. A record
//! that is stored already is not stored again (`stored_positions`). `ownership` follows the group, `progress` knows
//! what may be committed, `decode` reads records, `sink` stores them. `shared_effects` tells the fleet's other workers
//! what this one knows of runs.
//!
//! A receiver goes through two states: [`KafkaReceiver`] (built, nothing connected), [`RunningKafkaReceiver`].

mod config;
mod decode;
mod hand_over;
mod ownership;
mod progress;
mod reading;
mod shared_effects;
mod sink;
mod stored_positions;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

pub use config::{KafkaReceiverConfig, KafkaReceiverSettings, PlainEncoding, PlainTopic, PlainTopicConfig};
pub use hand_over::PartitionHandOver;
pub use reading::KafkaReceiverContext;
pub use shared_effects::{EffectsSender, EffectsSenderParts};
pub use stored_positions::StoredPositions;

use self::ownership::OwnedPartitions;
use self::reading::RecordLoop;
use self::shared_effects::{EffectsSink, SharedEffects};
use self::sink::{RecordGate, RequestSink};
use ::kafka::{BrokerClient, RecordSealer};
use kernel::clock::{Clock, with_timeout};
use kernel::rng::Rng;
use pipeline::Processor;
use telemetry::names;

#[cfg(test)]
mod tests;

/// A receiver that reads nothing yet.
pub struct KafkaReceiver {
    id: Arc<str>,
    settings: KafkaReceiverSettings,
    client: Arc<dyn BrokerClient>,
    positions: Arc<StoredPositions>,
    sharing: Option<EffectsSharing>,
    hand_over: PartitionHandOver,
}

/// How a receiver shares effects with other workers.
struct EffectsSharing {
    shared: Arc<SharedEffects>,
    settings: KafkaReceiverSettings,
    positions: Arc<StoredPositions>,
}

impl KafkaReceiver {
    /// Creates a receiver with component id `id` over `client`.
    pub fn build(id: Arc<str>, settings: KafkaReceiverSettings, client: Arc<dyn BrokerClient>) -> Self {
        let positions = StoredPositions::new(Arc::clone(&id));
        let hand_over = PartitionHandOver::new(Arc::clone(&id));
        Self { id, settings, client, positions, sharing: None, hand_over }
    }

    /// Gives this receiver's partitions to the group's other members, when somebody asks for it.
    pub fn hand_over(&self) -> PartitionHandOver {
        self.hand_over.clone()
    }

    /// Shares the effects of these processors with the fleet's other workers, if the settings name a topic for it.
    #[must_use]
    pub fn with_shared_effects(mut self, processors: &[Arc<dyn Processor>], rng: &dyn Rng) -> Self {
        let Some((group, replica)) = self.settings.effects_group().zip(self.settings.instance.clone()) else {
            return self;
        };
        let settings = KafkaReceiverSettings {
            group,
            sealed_topic: self.settings.effects_topic.clone(),
            plain_topics: Vec::new(),
            ..self.settings.clone()
        };
        let id: Arc<str> = format!("{}.effects", self.id).into();
        let shared = Arc::new(SharedEffects::new(Arc::clone(&id), replica.into(), processors, rng));
        let positions = StoredPositions::new(format!("{id}.positions").into());
        self.sharing = Some(EffectsSharing { shared, settings, positions });
        self
    }

    /// The state that the engine must keep for this receiver.
    pub fn state(&self) -> Vec<Arc<dyn Processor>> {
        let own = Arc::clone(&self.positions) as Arc<dyn Processor>;
        let shared = self.sharing.iter().flat_map(|sharing| {
            [Arc::clone(&sharing.shared) as Arc<dyn Processor>, Arc::clone(&sharing.positions) as Arc<dyn Processor>]
        });
        std::iter::once(own).chain(shared).collect()
    }

    /// The spool's consumer that must hold the effects which are shared; `None`: none are.
    pub fn effects_consumer(&self) -> Option<Arc<str>> {
        self.sharing.as_ref().map(|sharing| Arc::clone(sharing.shared.id()))
    }

    /// What tells the other workers this one's effects; `None`: they are not shared, or the cipher refused the key.
    pub fn effects_sender(&self, parts: EffectsSenderParts) -> Option<EffectsSender> {
        let sharing = self.sharing.as_ref()?;
        let sealer = RecordSealer::new(self.settings.keys.first()?.get()?, &*parts.services.rng)?;
        let (topic, shared) = (self.settings.effects_topic.clone()?, Arc::clone(&sharing.shared));
        Some(EffectsSender::new(Arc::clone(&self.id), topic, shared, sealer, Arc::clone(&self.client), parts))
    }

    /// Starts to read. A broker that can't be reached is tried again.
    pub fn serve(self, context: KafkaReceiverContext) -> RunningKafkaReceiver {
        let (stop, stopping) = watch::channel(false);
        let hand_over = self.hand_over;
        let (tasks, clock) = (Arc::clone(&context.services.tasks), Arc::clone(&context.services.clock));
        let asked = (Arc::clone(&self.client), self.settings.topics().into_iter().next());
        let gate = || RecordGate::new(context.inlet.clone(), Arc::clone(&tasks));
        let sink = RequestSink::new(Arc::clone(&self.id), &self.settings, gate());
        let requests = RecordLoop::new(
            Arc::clone(&self.id),
            self.settings,
            Arc::clone(&self.client),
            self.positions,
            Box::new(sink),
            context.clone(),
        );
        let effects = self.sharing.map(|sharing| {
            let EffectsSharing { shared, settings, positions } = sharing;
            let id = Arc::clone(shared.id());
            let sink = EffectsSink::new(
                Arc::clone(&self.id),
                shared,
                &settings.opened_keys(),
                gate(),
                &context.services.meter,
            );
            // What other workers tell is read to the end, so that nobody is asked to hand it over.
            let never = PartitionHandOver::new(Arc::clone(&id));
            (RecordLoop::new(id, settings, self.client, positions, Box::new(sink), context.clone()), never)
        });
        let loops: Vec<_> = std::iter::once((requests, hand_over)).chain(effects).collect();
        let owned = loops.iter().map(|(reading, _)| reading.owned()).collect();
        watch_brokers(self.id, asked, owned, &context, stopping.clone());
        let ends = loops.into_iter().map(|(reading, hand_over)| {
            let (reading, stopping, (ended, end)) = (Arc::new(reading), stopping.clone(), watch::channel(false));
            let task = async move {
                reading.run(stopping, hand_over).await;
                ended.send_replace(true);
            };
            tasks.spawn("kafka", Box::pin(task));
            end
        });
        let ends = ends.collect();
        RunningKafkaReceiver { stop, ends, clock }
    }
}

/// Asks the brokers about a topic until `stop` turns true, and shows whether they answer. Otherwise an outage would
/// look like a topic in which nothing is written.
fn watch_brokers(
    id: Arc<str>,
    (client, topic): (Arc<dyn BrokerClient>, Option<Arc<str>>),
    owned: Vec<Arc<OwnedPartitions>>,
    context: &KafkaReceiverContext,
    mut stop: watch::Receiver<bool>,
) {
    let (clock, meter) = (Arc::clone(&context.services.clock), context.services.meter.clone());
    let Some(topic) = topic else { return };
    let watch = async move {
        let labels = [("receiver", &*id)];
        let show = |answer: bool| {
            meter.gauge(&names::KAFKA_REACHABLE, &labels).set(f64::from(u8::from(answer)));
            owned.iter().for_each(|owned| owned.note_brokers(answer));
        };
        tokio::select! {
            () = ::kafka::watch_brokers(&*client, &topic, &*clock, show) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        meter.remove(&names::KAFKA_REACHABLE, &labels);
    };
    context.services.tasks.spawn("kafka brokers", Box::pin(watch));
}

impl pipeline::Receiver for KafkaReceiver {
    fn id(&self) -> &Arc<str> {
        &self.id
    }
}

pub struct RunningKafkaReceiver {
    stop: watch::Sender<bool>,
    /// Turn true when a loop has ended.
    ends: Vec<watch::Receiver<bool>>,
    clock: Arc<dyn Clock>,
}

impl RunningKafkaReceiver {
    /// Stops reading, waits up to `grace` for the records under way, commits them and ends the membership. A member
    /// with `group_instance_id` keeps its partitions until `session_timeout`.
    pub async fn drain(mut self, grace: Duration) {
        self.stop.send_replace(true);
        let ended = join_all(self.ends.iter_mut().map(async |end| end.wait_for(|ended| *ended).await.is_ok()));
        if with_timeout(&*self.clock, grace, ended).await.is_none() {
            tracing::warn!("records of Kafka were still under way at the end; they are read again at the next start");
        }
    }
}
