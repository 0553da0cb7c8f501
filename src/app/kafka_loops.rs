//! Finds pipelines that write data to the Kafka topic that they read it from: each record would come back for ever. Two
//! pipelines of one gateway may write and read the same topic, as an edge and a worker do.

use super::configured_component::kafka_receivers;
use super::start_checks::finding::{FileContext, FileFinding};
use crate::components::ExporterSettings;

/// The exporters that close a loop.
pub(super) fn find_kafka_loops(context: &FileContext<'_>) -> Vec<FileFinding> {
    let (valid, mut loops) = (context.valid, Vec::new());
    for exporter in &valid.exporters {
        let ExporterSettings::Kafka(written) = &exporter.value else { continue };
        for (receiver, read) in kafka_receivers(&valid.receivers) {
            let share_pipeline = valid.pipelines.iter().any(|pipeline| {
                pipeline.receivers.iter().any(|(id, _)| id == receiver)
                    && pipeline.exporters.iter().any(|(id, _)| *id == exporter.id)
            });
            let share_broker = written.brokers.brokers.iter().any(|broker| read.brokers.brokers.contains(broker));
            let topic = written.target.topics().into_iter().find(|topic| read.topics().contains(topic));
            if let Some(topic) = topic.filter(|_| share_pipeline && share_broker) {
                let message = format!(
                    "writes to the topic `{topic}`, which `receivers.{receiver}` reads in the same pipeline: \
                     records would circle for ever; name another topic"
                );
                loops.push(FileFinding::error("exporters", &exporter.id, "", message));
            }
        }
    }
    loops
}
