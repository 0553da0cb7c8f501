//! Actions on attributes in the Collector's spelling (`insert`, `update`, `upsert`, `delete`): their configuration and
//! their execution. `attributes` and `resource` share them and differ only in the node they act on.
//!
//! Attributes stamped by tollgate can be deleted, but not set or copied: content references are not known yet when
//! these steps run. The order of steps is checked in `config/graph`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use otlp::{NodeId, OwnedValue, Payload, Value};

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

#[derive(Clone, Debug, Default)]
pub struct CheckedActions(Vec<ActionStep>);

#[derive(Clone, Debug)]
struct ActionStep {
    key: String,
    kind: ActionKind,
    source: ValueSource,
}

#[derive(Clone, Debug)]
enum ValueSource {
    Literal(ScalarValue),
    Attribute(String),
    NoSource,
}

/// Returns true for attributes that only tollgate may set.
fn is_tollgate_attribute(key: &str) -> bool {
    const REFERENCES: [&str; 6] = [
        "gen_ai.input.messages_ref",
        "gen_ai.output.messages_ref",
        "gen_ai.system_instructions_ref",
        "gen_ai.tool.definitions_ref",
        "gen_ai.tool.call.arguments_ref",
        "gen_ai.tool.call.result_ref",
    ];
    key.starts_with("tollgate.") || key.starts_with("gen_ai.payload.") || REFERENCES.contains(&key)
}

/// Checks the actions listed under `field`.
///
/// # Errors
/// Every problem, with its path inside the component.
pub fn check_actions(field: &str, written: &[AttributeAction]) -> Result<CheckedActions, Vec<FieldProblem>> {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
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
        let source = match (&action.value, &action.from_attribute) {
            (Some(_), Some(_)) => {
                add_problem(".from_attribute", "cannot be combined with `value`; set only one of them");
                continue;
            }
            (Some(_), None) | (None, Some(_)) if !sets_value => {
                add_problem("", "must not have `value` or `from_attribute`, because its action is `delete`");
                continue;
            }
            (Some(value), None) => ValueSource::Literal(value.clone()),
            (None, Some(source_key)) if is_tollgate_attribute(source_key) => {
                add_problem(
                    ".from_attribute",
                    "must not be an attribute that tollgate sets: its value is not known at this step",
                );
                continue;
            }
            (None, Some(source_key)) => ValueSource::Attribute(source_key.clone()),
            (None, None) if sets_value => {
                add_problem("", "needs a value: set `value` or `from_attribute`");
                continue;
            }
            (None, None) => ValueSource::NoSource,
        };
        steps.push(ActionStep { key: action.key.clone(), kind: action.action, source });
    }
    if problems.is_empty() { Ok(CheckedActions(steps)) } else { Err(problems) }
}

impl CheckedActions {
    pub fn apply(&self, payload: &mut Payload, node: NodeId) {
        for ActionStep { key, kind, source } in &self.0 {
            let is_present = payload.get(node, key).is_some();
            let applies = match kind {
                ActionKind::Insert => !is_present,
                ActionKind::Update => is_present,
                ActionKind::Upsert => true,
                ActionKind::Delete => {
                    payload.remove(node, key);
                    continue;
                }
            };
            let value = match source {
                ValueSource::Literal(ScalarValue::Bool(value)) => Some(OwnedValue::Bool(*value)),
                ValueSource::Literal(ScalarValue::Int(value)) => Some(OwnedValue::Int(*value)),
                ValueSource::Literal(ScalarValue::Double(value)) => Some(OwnedValue::Double(*value)),
                ValueSource::Literal(ScalarValue::Str(value)) => Some(OwnedValue::Str(value.clone())),
                ValueSource::Attribute(source_key) => payload.get(node, source_key).and_then(to_scalar),
                ValueSource::NoSource => None,
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
