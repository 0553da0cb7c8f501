//! The processors `attributes` and `resource`: actions on attributes in the Collector's spelling (`insert`, `update`,
//! `upsert`, `delete`). They differ only in the nodes they act on.
//!
//! Both run after `redact` (checked in `config/graph`), so vault, cost and runs never depend on their changes.
//! Attributes stamped by tollgate can be deleted, but not set or copied: content references are not known yet when
//! these steps run.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use genai::ContentPart;
use otlp::{NodeId, NodeKind, OwnedValue, Payload, Signal, Value};
use pipeline::{Batch, Processor, Reason};

use crate::spec::{BuiltProcessor, ProcessorBuildResult, ProcessorDeps, ProcessorSpec};

#[cfg(test)]
mod tests;

/// Inserts, updates and deletes attributes of spans, log records and data points.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttributesConfig {
    /// The actions, applied in order.
    pub actions: Vec<AttributeAction>,
}

/// Inserts, updates and deletes attributes of resources.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceConfig {
    /// The actions, applied in order.
    pub attributes: Vec<AttributeAction>,
}

/// One action on one attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AttributeAction {
    /// Key of the attribute.
    pub key: String,
    /// `insert` (only if the attribute is absent), `update` (only if it is present), `upsert` (in both cases, the
    /// default) or `delete`.
    pub action: ActionKind,
    /// The value to set: a text, number or boolean. `${env:X}` inserts an environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<ScalarValue>,
    /// Another attribute of the same element to copy the value from. If the element does not have it, nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_attribute: Option<String>,
}

/// The kind of action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// Sets the attribute only if it is absent.
    Insert,
    /// Sets the attribute only if it is present.
    Update,
    /// Sets the attribute in both cases.
    #[default]
    Upsert,
    /// Deletes the attribute.
    Delete,
}

/// A value as written in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected text, a number, or `true` or `false`")]
pub enum ScalarValue {
    /// `true`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `0.5`
    Double(f64),
    /// `text`
    Str(String),
}

/// The nodes whose attributes are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActionTarget {
    /// Spans, log records and data points.
    Items,
    Resources,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct ActionSettings {
    target: ActionTarget,
    actions: Vec<AttributeAction>,
}

/// The processor of both.
pub struct ActionProcessor {
    id: Arc<str>,
    settings: ActionSettings,
}

/// Returns true for attributes that only tollgate may set.
fn is_tollgate_attribute(key: &str) -> bool {
    key.starts_with("tollgate.") || key.starts_with("gen_ai.payload.") || ContentPart::is_reference_key(key)
}

impl AttributesConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<ActionSettings, Vec<FieldProblem>> {
        check_actions("actions", &self.actions, ActionTarget::Items)
    }
}

impl ResourceConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<ActionSettings, Vec<FieldProblem>> {
        check_actions("attributes", &self.attributes, ActionTarget::Resources)
    }
}

/// Checks the actions on `target` that are listed under `field`.
fn check_actions(
    field: &str,
    written: &[AttributeAction],
    target: ActionTarget,
) -> Result<ActionSettings, Vec<FieldProblem>> {
    let mut problems = Vec::new();
    if written.is_empty() {
        problems.push(FieldProblem::new(field, "must list at least one action"));
    }
    for (index, action) in written.iter().enumerate() {
        let mut add_problem =
            |key: &str, text: &str| problems.push(FieldProblem::new(format!("{field}[{index}]{key}"), text));
        if action.key.is_empty() {
            add_problem(".key", "must name an attribute");
        }
        let sets_value = action.action != ActionKind::Delete;
        if sets_value && is_tollgate_attribute(&action.key) {
            add_problem(".key", "is an attribute that only tollgate may set; the only action allowed is `delete`");
        }
        match (&action.value, &action.from_attribute) {
            (Some(_), Some(_)) => {
                add_problem(".from_attribute", "cannot be combined with `value`; set only one of them");
            }
            (Some(_), None) | (None, Some(_)) if !sets_value => {
                add_problem("", "must not have `value` or `from_attribute`, because its action is `delete`");
            }
            (None, Some(source_key)) if is_tollgate_attribute(source_key) => {
                add_problem(
                    ".from_attribute",
                    "must not be an attribute that tollgate sets: its value is not known at this step",
                );
            }
            (None, None) if sets_value => add_problem("", "needs a value: set `value` or `from_attribute`"),
            _ => {}
        }
    }
    if problems.is_empty() { Ok(ActionSettings { target, actions: written.to_vec() }) } else { Err(problems) }
}

impl ProcessorSpec for ActionSettings {
    fn build(&self, id: &Arc<str>, _: &[Signal], _: &ProcessorDeps) -> ProcessorBuildResult {
        Ok(BuiltProcessor::new(Arc::new(ActionProcessor { id: Arc::clone(id), settings: self.clone() })))
    }
}

impl Processor for ActionProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let payload = &mut batch.payload;
        let nodes: Vec<NodeId> = match self.settings.target {
            ActionTarget::Items => payload.items().collect(),
            ActionTarget::Resources => {
                payload.nodes().filter(|node| payload.kind(*node) == NodeKind::Resource).collect()
            }
        };
        nodes.into_iter().for_each(|node| self.settings.apply(payload, node));
        Ok(())
    }
}

impl ActionSettings {
    fn apply(&self, payload: &mut Payload, node: NodeId) {
        for AttributeAction { key, action, value, from_attribute } in &self.actions {
            let is_present = payload.get(node, key).is_some();
            let applies = match action {
                ActionKind::Insert => !is_present,
                ActionKind::Update => is_present,
                ActionKind::Upsert => true,
                ActionKind::Delete => {
                    payload.remove(node, key);
                    continue;
                }
            };
            let copied = || payload.get(node, from_attribute.as_deref()?).and_then(to_scalar);
            let value = match value {
                Some(ScalarValue::Bool(value)) => Some(OwnedValue::Bool(*value)),
                Some(ScalarValue::Int(value)) => Some(OwnedValue::Int(*value)),
                Some(ScalarValue::Double(value)) => Some(OwnedValue::Double(*value)),
                Some(ScalarValue::Str(value)) => Some(OwnedValue::Str(value.clone())),
                None => copied(),
            };
            if let Some(value) = value.filter(|_| applies) {
                payload.set(node, key, value);
            }
        }
    }
}

/// Converts texts, numbers and booleans. Lists, maps and bytes are not copied.
fn to_scalar(value: Value<'_>) -> Option<OwnedValue> {
    match value {
        Value::Str(text) => Some(OwnedValue::Str(text.to_owned())),
        Value::Bool(value) => Some(OwnedValue::Bool(value)),
        Value::Int(value) => Some(OwnedValue::Int(value)),
        Value::Double(value) => Some(OwnedValue::Double(value)),
        Value::Empty | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
    }
}
