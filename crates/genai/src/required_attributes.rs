//! Lists attributes that the semantic conventions require of an agent's span but that are missing, so that its
//! developer can be informed. Attributes that can be derived are added in `processors/normalize`.

use otlp::{NodeId, NodeKind, Payload};

use super::facts::{ItemFacts, ItemRole};

/// The required attributes that `node` currently lacks.
pub fn missing_required_attributes(payload: &Payload, node: NodeId, item: &ItemFacts) -> Vec<&'static str> {
    if payload.kind(node) != NodeKind::Span || item.dialect.is_none() {
        return Vec::new();
    }
    let wanted: &[&str] = match item.call {
        ItemRole::Model | ItemRole::ModelCopy => {
            &["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"]
        }
        ItemRole::Tool => &["gen_ai.operation.name", "gen_ai.tool.name"],
        ItemRole::Agent => &["gen_ai.operation.name", "gen_ai.provider.name"],
        ItemRole::TurnEnd | ItemRole::SessionEnd | ItemRole::Permission | ItemRole::Other => &[],
    };
    let failed = matches!(item.call, ItemRole::Model | ItemRole::ModelCopy | ItemRole::Tool | ItemRole::Agent)
        && payload.status_code(node) == 2;
    let error = failed.then_some("error.type");
    wanted.iter().copied().chain(error).filter(|key| payload.get(node, key).is_none()).collect()
}
