//! [`ClientRecorder`]: a step that observes which clients send which signals and content, for [`ClientTable`]. It
//! changes nothing. It follows `normalize`, where the facts of the batch are known and content is still on the items;
//! in a pipeline without `normalize` it follows all other steps. Without facts it sees only names and signals. It
//! costs a look-up for each resource and a few comparisons for each place that holds content. The step has no
//! configuration: it exists wherever the admin port does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::clients::{BatchSightings, ClientSighting, ClientTable};
use super::failure_recorder::truncate;
use genai::{ContentLocation, ContentPart, ContentPlace, Facts, ItemFacts, ItemRole, known_facts};
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, NodeKind, Payload};
use pipeline::{Batch, Effect, Processor, Reason};

/// Id of the step, which no component can have.
const STEP_ID: &str = "(clients)";
/// Maximum resources observed in one batch.
const MAX_RESOURCES: usize = 64;
/// Maximum bytes of a name that are searched for private text, so that none is cut in two.
const MAX_SEARCHED_BYTES: usize = 512;
/// Maximum bytes of a shown name.
const MAX_NAME_BYTES: usize = 64;
/// Maximum bytes of a version.
const MAX_VERSION_BYTES: usize = 32;
/// The name shown for a resource without `service.name`, as SDKs call it.
const UNNAMED: &str = "unknown_service";
/// The service of tollgate's own run summaries and alerts, which is no client.
const OWN_SERVICE: &str = "tollgate";
/// The marks that clients send in place of content that is switched off.
const WITHHELD: [&str; 2] = ["<REDACTED>", "[REDACTED]"];

/// See the module.
pub struct ClientRecorder {
    id: Arc<str>,
    table: Arc<ClientTable>,
    ids: Arc<dyn IdPolicy>,
}

impl ClientRecorder {
    /// A step that records into `table`, with names in the form that `ids` allows.
    pub fn new(table: Arc<ClientTable>, ids: Arc<dyn IdPolicy>) -> Self {
        Self { id: STEP_ID.into(), table, ids }
    }

    fn observe_resource(&self, account: &str, payload: &Payload, resource: NodeId) -> Option<ClientSighting> {
        let text = |key: &str| payload.get_str(resource, key).unwrap_or("");
        let name = Some(text("service.name")).filter(|name| !name.is_empty()).unwrap_or(UNNAMED);
        let version_of = |key: &str| self.ids.redact_column(account, version_text(text(key))).into_owned();
        let [language, sdk] = ["telemetry.sdk.language", "telemetry.sdk.version"].map(version_of);
        (name != OWN_SERVICE).then(|| ClientSighting {
            name: truncate(&self.ids.redact_column(account, truncate(name, MAX_SEARCHED_BYTES)), MAX_NAME_BYTES).into(),
            dialect: None,
            version: version_of("service.version").into(),
            sdk: format!("{language} {sdk}").trim().into(),
            expected: BTreeSet::new(),
            carried: BTreeSet::new(),
            named: BTreeSet::new(),
        })
    }

    /// The clients of items whose facts are known.
    fn observe_items(&self, account: &str, payload: &Payload, facts: &Facts) -> Vec<ClientSighting> {
        let mut clients: Vec<ClientSighting> = Vec::new();
        let mut by_resource: HashMap<NodeId, Option<usize>> = HashMap::new();
        for item in facts.items.iter().filter(|item| !item.is_budget_record()) {
            let resource = payload.resource(item.node);
            if by_resource.len() >= MAX_RESOURCES && !by_resource.contains_key(&resource) {
                continue;
            }
            let index = *by_resource.entry(resource).or_insert_with(|| {
                clients.push(self.observe_resource(account, payload, resource)?);
                Some(clients.len().saturating_sub(1))
            });
            let Some(client) = index.and_then(|index| clients.get_mut(index)) else { continue };
            client.dialect = client.dialect.or(item.dialect);
            client.expected.extend(expected_parts(item));
            let names = [("user", &item.user), ("tenant", &item.tenant), ("feature", &item.feature)];
            client.named.extend(names.into_iter().filter_map(|(scope, name)| name.as_ref().map(|_| scope)));
            for place in &item.content {
                if !client.carried.contains(&place.part) && is_carried(payload, place) {
                    client.carried.insert(place.part);
                }
            }
        }
        clients
    }
}

impl Processor for ClientRecorder {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let (payload, account) = (&batch.payload, &batch.origin.account);
        let clients = match known_facts(&batch.facts) {
            Some(facts) => self.observe_items(account, payload, &facts),
            None => {
                let resources = payload.nodes().filter(|node| payload.kind(*node) == NodeKind::Resource);
                let observe = |resource| self.observe_resource(account, payload, resource);
                resources.take(MAX_RESOURCES).filter_map(observe).collect()
            }
        };
        if !clients.is_empty() {
            let (signal, received) = (payload.signal(), batch.origin.received.0);
            let sightings = BatchSightings { account: Arc::clone(account), signal, received, clients };
            batch.effects.push(Effect {
                processor: self.id.clone(),
                body: Vec::new(),
                unstored: Some(Arc::new(sightings)),
            });
        }
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let sightings = effect.unstored.as_ref().and_then(|unstored| unstored.downcast_ref::<BatchSightings>());
        sightings.into_iter().for_each(|sightings| self.table.add_batch(sightings));
    }
}

/// The parts that an item of this role carries unless its client holds them back.
fn expected_parts(item: &ItemFacts) -> &'static [ContentPart] {
    match item.call {
        ItemRole::Model | ItemRole::Agent => &[ContentPart::Input, ContentPart::Output],
        // a tool that failed may have no result
        ItemRole::Tool if item.failed || item.tool_failed => &[ContentPart::ToolArgs],
        ItemRole::Tool => &[ContentPart::ToolArgs, ContentPart::ToolResult],
        ItemRole::Permission => &[ContentPart::ToolArgs],
        ItemRole::ModelCopy | ItemRole::TurnEnd | ItemRole::SessionEnd | ItemRole::Other => &[],
    }
}

/// Whether a place holds content, not the mark of content that is switched off or an id under a content key. The text
/// of an error counts as content to be safe, but clients send it whatever is switched off.
fn is_carried(payload: &Payload, place: &ContentPlace) -> bool {
    let value = match place.at {
        ContentLocation::Attribute(id) => {
            payload.attribute(id).filter(|attribute| attribute.key != "error").map(|attribute| attribute.value)
        }
        ContentLocation::Body => payload.body(place.node),
        ContentLocation::Status => None,
        ContentLocation::Name | ContentLocation::Embedded(_) => return true,
    };
    if value.is_none() {
        return false;
    }
    let text = value.and_then(|value| value.as_str()).map(str::trim);
    let is_mark = |text: &str| {
        text.is_empty() || WITHHELD.iter().any(|mark| text.eq_ignore_ascii_case(mark)) || looks_like_uuid(text)
    };
    !text.is_some_and(is_mark)
}

fn looks_like_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// `text` if it has the shape of a version or language, else "".
fn version_text(text: &str) -> &str {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_');
    if text.len() <= MAX_VERSION_BYTES && text.bytes().all(is_label) { text } else { "" }
}

#[cfg(test)]
mod tests;
