//! **What**: attributes that the conventions require of a span of an agent, and that are not there. **Why**: what is
//! missing is missing on every board; the one who instruments can be told. **Invariants**: reads only; spans only.
//! **Not here**: adding what can be known (`processors/normalize`).

use otlp::{Node, NodeKind, Payload};

use super::facts::{Call, ItemFacts};

/// What is missing on `node`, as it stands now.
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
