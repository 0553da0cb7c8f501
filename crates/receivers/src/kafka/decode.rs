//! Records as requests: sealed ones are opened, plain ones belong to the signal of their topic.

use std::sync::Arc;

use bytes::Bytes;

use super::config::{KafkaReceiverSettings, PlainEncoding};
use ::kafka::{IncomingRecord, RecordContent, RecordId, RecordOpener, UnreadableRecord, has_seal};
use otlp::{Signal, json};
use pipeline::ClientIdentity;

/// A request that was read from a record. No `Debug`: it holds telemetry.
pub(super) struct RecordRequest {
    pub(super) account: Arc<str>,
    pub(super) identity: ClientIdentity,
    pub(super) signal: Signal,
    /// `Export*ServiceRequest` in protobuf.
    pub(super) body: Bytes,
    /// The id that the edge gave the record, under its seal.
    pub(super) id: Option<RecordId>,
}

/// Why a record is no request, and what becomes of it.
#[derive(Debug)]
pub(super) enum UnusableRecord {
    /// An operator can change it (a key, a version): the record is held.
    Held(String),
    /// It will never be readable: it goes to the dead topic.
    Dead(String),
}

/// Reads records with the receiver's keys.
pub(super) struct RecordReader {
    settings: KafkaReceiverSettings,
    opener: RecordOpener,
}

impl RecordReader {
    pub(super) fn new(settings: KafkaReceiverSettings) -> Self {
        let opener = RecordOpener::new(&settings.opened_keys(), settings.max_request_bytes);
        Self { settings, opener }
    }

    /// Reads one record.
    ///
    /// # Errors
    /// See [`UnusableRecord`].
    pub(super) fn read(&self, record: &IncomingRecord) -> Result<RecordRequest, UnusableRecord> {
        let topic = &record.partition.topic;
        let plain = self.settings.plain_topics.iter().find(|plain| plain.topic == *topic);
        match plain {
            None => self.open(record),
            // A sealed record in a plain topic is an edge that was configured wrongly; its seal tells.
            Some(_) if has_seal(record) => self.open(record).map_err(|why| match why {
                // Anybody may write to a plain topic, so no record of it may hold its partition.
                UnusableRecord::Held(why) | UnusableRecord::Dead(why) => UnusableRecord::Dead(why),
            }),
            Some(plain) => {
                let value = record.value.clone().unwrap_or_default();
                if value.len() > self.settings.max_request_bytes {
                    return Err(UnusableRecord::Dead(UnreadableRecord::TooLarge.to_string()));
                }
                let body = match plain.encoding {
                    PlainEncoding::OtlpProto => value,
                    PlainEncoding::OtlpJson => json::decode(plain.signal, &value)
                        .map_err(|_| UnusableRecord::Dead("the record is no OTLP in JSON".to_owned()))?
                        .into(),
                };
                Ok(RecordRequest {
                    account: Arc::clone(&self.settings.account),
                    identity: ClientIdentity::Unverified,
                    signal: plain.signal,
                    body,
                    id: None,
                })
            }
        }
    }

    fn open(&self, record: &IncomingRecord) -> Result<RecordRequest, UnusableRecord> {
        if !has_seal(record) {
            return Err(UnusableRecord::Dead("no edge wrote the record".to_owned()));
        }
        let (head, body) = self.opener.open(record).map_err(unusable)?;
        match head.content {
            RecordContent::Request(signal) => {
                let is_written = self.settings.edges_verify;
                let identity = if is_written { ClientIdentity::WrittenByEdge } else { ClientIdentity::Unverified };
                Ok(RecordRequest { account: head.account, identity, signal, body, id: head.id })
            }
            RecordContent::Effects => Err(UnusableRecord::Dead("the record holds no request".to_owned())),
        }
    }
}

/// What becomes of a record that can't be opened.
fn unusable(why: UnreadableRecord) -> UnusableRecord {
    match why {
        UnreadableRecord::UnknownKey(_) | UnreadableRecord::Newer | UnreadableRecord::TooLarge => {
            UnusableRecord::Held(why.to_string())
        }
        UnreadableRecord::Damaged(_) => UnusableRecord::Dead(why.to_string()),
    }
}
