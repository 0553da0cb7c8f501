//! [`TelemetryItem`]: incoming and outgoing telemetry as lists of items with texts, so that both can be compared.
//! Both are OTLP/JSON: the session's requests, and the lines of the exporter's file.

use std::collections::BTreeMap;

use serde_json::Value;

use command::error::CommandError;

/// A span, log record or data point. It holds telemetry text, so there is no `Debug`.
pub(super) struct TelemetryItem {
    /// `span`, `log` or `point`.
    pub(super) kind: &'static str,
    /// Name of the span, or event name of the log record.
    pub(super) name: String,
    /// The span's id or the record's number, which are the same in both directions; data points have none.
    id: String,
    /// Attributes by key; those of a span's event by `event/key`.
    attributes: BTreeMap<String, String>,
}

/// The items of OTLP/JSON requests, in order.
pub(super) fn read_items<'j>(requests: impl Iterator<Item = &'j str>) -> Result<Vec<TelemetryItem>, CommandError> {
    let mut items = Vec::new();
    for request in requests {
        collect_items(&serde_json::from_str(request).map_err(|_| "telemetry is not JSON")?, &mut items);
    }
    Ok(items)
}

pub(super) fn find_same<'i>(items: &'i [TelemetryItem], item: &TelemetryItem) -> Option<&'i TelemetryItem> {
    items.iter().find(|other| (other.kind, &other.name, &other.id) == (item.kind, &item.name, &item.id))
}

/// Names of spans and log records that came in and did not go out.
pub(super) fn find_missing(incoming: &[TelemetryItem], outgoing: &[TelemetryItem]) -> Vec<String> {
    let is_missing = |item: &&TelemetryItem| !item.id.is_empty() && find_same(outgoing, item).is_none();
    incoming.iter().filter(is_missing).map(|item| item.name.clone()).collect()
}

fn collect_items(value: &Value, items: &mut Vec<TelemetryItem>) {
    elements(Some(value)).for_each(|value| collect_items(value, items));
    for (name, member) in value.as_object().into_iter().flatten() {
        let kinds = [("spans", "span"), ("logRecords", "log"), ("dataPoints", "point")];
        match kinds.into_iter().find(|(list, _)| list == name) {
            Some((_, kind)) => items.extend(elements(Some(member)).map(|item| TelemetryItem::read(kind, item))),
            None => collect_items(member, items),
        }
    }
}

fn elements(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

impl TelemetryItem {
    fn read(kind: &'static str, item: &Value) -> Self {
        let mut attributes = BTreeMap::new();
        read_attributes("", item, &mut attributes);
        for event in elements(item.get("events")) {
            read_attributes(&format!("{}/", text(event.get("name"))), event, &mut attributes);
        }
        let attribute = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        let (name, id) = match kind {
            "span" => (text(item.get("name")), text(item.get("spanId"))),
            _ => (attribute("event.name"), attribute("event.sequence")),
        };
        Self { kind, name, id, attributes }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).map(String::as_str)
    }
}

fn read_attributes(prefix: &str, node: &Value, out: &mut BTreeMap<String, String>) {
    for attribute in elements(node.get("attributes")) {
        out.insert(format!("{prefix}{}", text(attribute.get("key"))), any_value(attribute.get("value")));
    }
}

/// An OTLP value is an object of one member, whose name is the type; the elements of an array stand in its `values`.
fn any_value(value: Option<&Value>) -> String {
    let value = value.and_then(|value| value.as_object()?.values().next());
    match value.and_then(|value| value.get("values")?.as_array()) {
        Some(elements) => elements.iter().map(|element| any_value(Some(element))).collect::<Vec<_>>().join(", "),
        None => text(value),
    }
}

fn text(value: Option<&Value>) -> String {
    value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
}
