//! Lists attributes that the semantic conventions require of an agent's span but that are missing, so that its
//! developer can be informed. Attributes that can be derived are added in `processors/normalize`.

use otlp::{Node, NodeKind, Payload};

use super::facts::{Call, ItemFacts};

/// The required attributes that `node` currently lacks.
pub fn missing(payload: &Payload, node: Node, item: &ItemFacts) -> Vec<&'static str> {
    if payload.kind(node) != NodeKind::Span || item.dialect.is_none() {
        return Vec::new();
    }
    let wanted: &[&str] = match item.call {
        Call::Model | Call::ModelCopy => &["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"],
        Call::Tool => &["gen_ai.operation.name", "gen_ai.tool.name"],
        Call::Agent => &["gen_ai.operation.name", "gen_ai.provider.name"],
        Call::TurnEnd | Call::SessionEnd | Call::Permission | Call::Other => &[],
    };
    let failed =
        matches!(item.call, Call::Model | Call::ModelCopy | Call::Tool | Call::Agent) && payload.status_code(node) == 2;
    let error = failed.then_some("error.type");
    wanted.iter().copied().chain(error).filter(|key| payload.get(node, key).is_none()).collect()
}
