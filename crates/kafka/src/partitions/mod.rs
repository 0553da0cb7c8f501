//! [`SessionPartitioner`]: which partition an item belongs to. Everything of one session must meet in one partition, so
//! that one worker counts it. No single key achieves that: an item that names no session follows the session that the
//! same request names for its trace, else its trace, else its resource (measured on recorded clients: 4.7 % of the
//! groups of connected items are still split; `docs/how-to/fleet.md` says what that means).
//! Partitions are chosen here, not by a record's key, so a request makes at most one record per partition, and no id
//! stands in the topic, not even as a hash.

use std::collections::{BTreeSet, HashMap};

use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use otlp::{MalformedOtlp, NodeId, Payload, Signal, Value};

use bytes::Bytes;

#[cfg(test)]
mod tests;

/// Chooses partitions by session, under a key that all edges share.
pub struct SessionPartitioner {
    /// Attribute keys that name a session in some dialect.
    session_keys: Vec<String>,
    hasher: Pseudonymizer,
}

/// What an item is sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SortKey<'a> {
    Session(&'a str),
    Trace(&'a [u8]),
    Resource(NodeId),
}

/// For components that are built only to be checked: knows no session, under a key that everybody knows.
impl Default for SessionPartitioner {
    fn default() -> Self {
        Self::new([], Pseudonymizer::new(&Secret::default()))
    }
}

impl SessionPartitioner {
    /// A partitioner that knows these attribute keys as names of sessions.
    pub fn new(session_keys: impl IntoIterator<Item = String>, hasher: Pseudonymizer) -> Self {
        Self { session_keys: session_keys.into_iter().collect(), hasher }
    }

    /// Splits a request by partition. A request of one partition keeps its bytes.
    ///
    /// # Errors
    /// The bytes are no request of this signal.
    pub fn split(
        &self,
        account: &str,
        signal: Signal,
        body: &Bytes,
        partitions: i32,
    ) -> Result<Vec<(i32, Bytes)>, MalformedOtlp> {
        let payload = Payload::parse(signal, body.clone())?;
        let chosen = self.partition_of_items(account, &payload, partitions);
        let wanted: BTreeSet<i32> = chosen.iter().copied().collect();
        if wanted.len() <= 1 {
            return Ok(vec![(wanted.first().copied().unwrap_or_default(), body.clone())]);
        }
        let parts = wanted.into_iter().map(|partition| {
            let part = payload.encode_items(&|item| chosen.get(item) == Some(&partition))?;
            Ok((partition, Bytes::from(part)))
        });
        parts.collect()
    }

    fn partition_of_items(&self, account: &str, payload: &Payload, partitions: i32) -> Vec<i32> {
        let mut resources = HashMap::<NodeId, Option<&str>>::new();
        let keyed: Vec<_> = (payload.items())
            .map(|item| {
                let resource = payload.resource(item);
                let of_resource = *resources.entry(resource).or_insert_with(|| self.session_of(payload, resource));
                (item, resource, self.session_of(payload, item).or(of_resource))
            })
            .collect();
        let mut traces = HashMap::<&[u8], &str>::new();
        for (item, _, session) in &keyed {
            if let Some(session) = session
                && let trace @ [_, ..] = payload.trace_id(*item)
            {
                traces.entry(trace).or_insert(session);
            }
        }
        let mut known = Vec::<(SortKey<'_>, i32)>::new();
        (keyed.iter())
            .map(|(item, resource, session)| {
                let trace = payload.trace_id(*item);
                let key = match session.or_else(|| traces.get(trace).copied()) {
                    Some(session) => SortKey::Session(session),
                    None if !trace.is_empty() => SortKey::Trace(trace),
                    None => SortKey::Resource(*resource),
                };
                // Neighbours mostly have the same key.
                if let Some((_, partition)) = known.iter().rev().take(8).find(|(known, _)| *known == key) {
                    return *partition;
                }
                let partition = self.partition_of(account, payload, key, partitions);
                known.push((key, partition));
                partition
            })
            .collect()
    }

    /// The session that a node's own attributes name.
    fn session_of<'p>(&self, payload: &'p Payload, node: NodeId) -> Option<&'p str> {
        let named = (payload.encoded_attributes(node))
            .filter(|attribute| self.session_keys.iter().any(|key| key.as_bytes() == attribute.key_bytes()));
        named
            .filter_map(|attribute| match attribute.decode().value {
                Value::Str(text) if !text.is_empty() => Some(text),
                _ => None,
            })
            .next()
    }

    fn partition_of(&self, account: &str, payload: &Payload, key: SortKey<'_>, partitions: i32) -> i32 {
        let hash = match key {
            SortKey::Session(session) => self.hasher.fingerprint(account, &[b"kafka session", session.as_bytes()]),
            SortKey::Trace(trace) => self.hasher.fingerprint(account, &[b"kafka trace", trace]),
            SortKey::Resource(resource) => {
                let named = ["service.name", "service.instance.id"];
                let [name, instance] = named.map(|key| payload.get_str(resource, key).unwrap_or_default().as_bytes());
                self.hasher.fingerprint(account, &[b"kafka resource", name, instance])
            }
        };
        let number = hash.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let count = u64::try_from(partitions.max(1)).unwrap_or(1);
        i32::try_from(number % count).unwrap_or_default()
    }
}
