//! **What**: what the vocabulary read in one payload. Made once per batch ([`crate::pipeline::Batch::facts`]).
//! **Invariants**: one [`ItemFacts`] per item of the payload, in `Payload::items` order; no `Debug` (holds text).
//! **Not here**: how it is read (`dialects`).

use crate::otlp::{AttrId, Node};

/// What an item is, in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A model call whose tokens are billable here (`count_on`).
    Model,
    /// A model call that is a copy, roll-up or failure without usage: not billable, still an LLM record.
    ModelCopy,
    /// A tool call.
    Tool,
    /// An agent invocation (run root or sub-agent).
    Agent,
    /// The end of a turn (`claude_code.turn.stop`, …).
    TurnEnd,
    /// The end of a session.
    SessionEnd,
    /// A permission decision.
    Permission,
    /// Something else of an agent.
    Other,
}

/// Which part of a conversation a content place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Prompt, input messages.
    Input,
    /// Completion, output messages.
    Output,
    /// System instructions.
    System,
    /// Tool definitions.
    Tools,
    /// Arguments of a tool call.
    ToolArgs,
    /// Result of a tool call.
    ToolResult,
    /// Anything else that is content (unlisted text of agent items too).
    Other,
}

impl Part {
    /// The word in index lines and fragments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::System => "system",
            Self::Tools => "tools",
            Self::ToolArgs => "tool_args",
            Self::ToolResult => "tool_result",
            Self::Other => "other",
        }
    }
}

/// Where content stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentAt {
    /// An attribute (of the item, its events, its scope or resource).
    Attribute(AttrId),
    /// The body of the log record.
    Body,
}

/// One content place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentPlace {
    /// The node that carries it (item, event, resource …).
    pub node: Node,
    /// Where on it.
    pub at: ContentAt,
    /// What it holds.
    pub part: Part,
    /// True for a listed content key; false for unlisted text of an agent item.
    pub listed: bool,
}

/// Tokens as reported, before buckets are made disjoint. None = not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Reported input.
    pub input: Option<u64>,
    /// Reported output.
    pub output: Option<u64>,
    /// Cache read.
    pub cache_read: Option<u64>,
    /// Cache write, unspecified.
    pub cache_write: Option<u64>,
    /// Cache write, 5 minutes.
    pub cache_write_5m: Option<u64>,
    /// Cache write, 1 hour.
    pub cache_write_1h: Option<u64>,
    /// Reasoning.
    pub reasoning: Option<u64>,
    /// Reported total.
    pub total: Option<u64>,
    /// A count was negative, fractional or not a number.
    pub bad: bool,
}

/// What one item says.
#[derive(Clone)]
pub struct ItemFacts {
    /// The span, log record or data point.
    pub node: Node,
    /// Dialect id of `config/dialects.yaml`, e.g. `claude-code-native`.
    pub dialect: Option<&'static str>,
    /// Agent item as design.md §5 defines.
    pub agent: bool,
    /// What it is.
    pub call: Call,
    /// `gen_ai.operation.name` in today's words, e.g. `chat`, `execute_tool`.
    pub operation: Option<String>,
    /// Session id (raw).
    pub session: Option<String>,
    /// Turn id or number (raw).
    pub turn: Option<String>,
    /// Iteration number.
    pub iteration: Option<i64>,
    /// User id (raw).
    pub user: Option<String>,
    /// Tenant: span, then resource; None = `unattributed`.
    pub tenant: Option<String>,
    /// Feature (`feature`, `agent.feature`, `gen_ai.agent.name`).
    pub feature: Option<String>,
    /// Agent id or service name: who acted.
    pub actor: Option<String>,
    /// Canonical provider name.
    pub provider: Option<String>,
    /// Model asked for (own, or inherited from an ancestor in the batch).
    pub request_model: Option<String>,
    /// Model that answered.
    pub response_model: Option<String>,
    /// Provider's response id.
    pub response_id: Option<String>,
    /// Tokens.
    pub usage: Usage,
    /// Cost as the emitter reported it, decimal text in USD.
    pub reported_cost: Option<String>,
    /// Tool name.
    pub tool: Option<String>,
    /// Tool call id.
    pub tool_call: Option<String>,
    /// Finish / stop reason.
    pub finish: Option<String>,
    /// Failed: status ERROR, `error=true`, success=false, stop_failure, stop reason error.
    pub failed: bool,
    /// Error type, if any.
    pub error: Option<String>,
    /// Content to be stripped.
    pub content: Vec<ContentPlace>,
}

/// All items of one payload.
pub struct Facts {
    /// In `Payload::items` order.
    pub items: Vec<ItemFacts>,
    /// Whether any item is an agent's.
    pub agent: bool,
}
