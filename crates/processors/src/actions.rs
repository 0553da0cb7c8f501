//! Actions on attributes in the Collector's spelling (`insert`, `update`, `upsert`, `delete`): their configuration and
//! their execution. `attributes` and `resource` share them and differ only in the node they act on.
//!
//! Attributes stamped by tollgate can be deleted, but not set or copied: content references are not known yet when
//! these steps run. The order of steps is checked in `config/graph`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;
use otlp::{Node, OwnedValue, Payload, Value};

/// One action on one attribute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Action {
    /// Key of the attribute.
    pub key: String,
    /// `insert` (only if the attribute is absent), `update` (only if it is present), `upsert` (in both cases, the
    /// default) or `delete`.
    pub action: Verb,
    /// The value to set: a text, number or boolean. `${env:X}` inserts an environment variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Scalar>,
    /// Another attribute of the same element to copy the value from. If the element does not have it, nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_attribute: Option<String>,
}

/// The kind of action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
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
pub enum Scalar {
    /// `true`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `0.5`
    Double(f64),
    /// `text`
    Str(String),
}

/// Checked actions, in order.
#[derive(Clone, Debug, Default)]
pub struct Actions(Vec<Step>);

#[derive(Clone, Debug)]
struct Step {
    key: String,
    verb: Verb,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Given(Scalar),
    Attribute(String),
    /// For `delete`.
    Nothing,
}

/// Returns true for attributes that only tollgate may set.
fn is_stamp(key: &str) -> bool {
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
pub fn check(field: &str, written: &[Action]) -> Result<Actions, Vec<FieldProblem>> {
    let (mut steps, mut problems) = (Vec::new(), Vec::new());
    if written.is_empty() {
        problems.push(FieldProblem::new(field, "is empty: the step would do nothing"));
    }
    for (at, action) in written.iter().enumerate() {
        let mut problem = |key: &str, what: &str| problems.push(FieldProblem::new(format!("{field}[{at}]{key}"), what));
        if action.key.is_empty() {
            problem(".key", "names no attribute");
        }
        let makes = action.action != Verb::Delete;
        if makes && is_stamp(&action.key) {
            problem(".key", "is made by tollgate alone; it can be deleted");
        }
        let source = match (&action.value, &action.from_attribute) {
            (Some(_), Some(_)) => {
                problem(".from_attribute", "stands beside `value`: give one of them");
                continue;
            }
            (Some(_), None) | (None, Some(_)) if !makes => {
                problem("", "deletes: it needs no value");
                continue;
            }
            (Some(value), None) => Source::Given(value.clone()),
            (None, Some(other)) if is_stamp(other) => {
                problem(".from_attribute", "is made by tollgate, and not known yet at this step");
                continue;
            }
            (None, Some(other)) => Source::Attribute(other.clone()),
            (None, None) if makes => {
                problem("", "has no value: give `value` or `from_attribute`");
                continue;
            }
            (None, None) => Source::Nothing,
        };
        steps.push(Step { key: action.key.clone(), verb: action.action, source });
    }
    if problems.is_empty() { Ok(Actions(steps)) } else { Err(problems) }
}

impl Actions {
    /// Performs all actions on `node`.
    pub fn apply(&self, payload: &mut Payload, node: Node) {
        for Step { key, verb, source } in &self.0 {
            let there = payload.get(node, key).is_some();
            let wanted = match verb {
                Verb::Insert => !there,
                Verb::Update => there,
                Verb::Upsert => true,
                Verb::Delete => {
                    payload.remove(node, key);
                    continue;
                }
            };
            let value = match source {
                Source::Given(Scalar::Bool(value)) => Some(OwnedValue::Bool(*value)),
                Source::Given(Scalar::Int(value)) => Some(OwnedValue::Int(*value)),
                Source::Given(Scalar::Double(value)) => Some(OwnedValue::Double(*value)),
                Source::Given(Scalar::Str(value)) => Some(OwnedValue::Str(value.clone())),
                Source::Attribute(other) => payload.get(node, other).and_then(plain),
                Source::Nothing => None,
            };
            if let Some(value) = value.filter(|_| wanted) {
                payload.set(node, key, value);
            }
        }
    }
}

/// Converts texts, numbers and booleans. Lists, maps and bytes are not copied.
fn plain(value: Value<'_>) -> Option<OwnedValue> {
    match value {
        Value::Str(text) => Some(OwnedValue::Str(text.to_owned())),
        Value::Bool(value) => Some(OwnedValue::Bool(value)),
        Value::Int(value) => Some(OwnedValue::Int(value)),
        Value::Double(value) => Some(OwnedValue::Double(value)),
        Value::Empty | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
    }
}
