//! The ids of spans, derived from the event alone, so that no state has to survive for spans of one turn to be in one
//! trace, and a repeated event has the same ids. A turn is a trace: its ids are those of claude-otel-hooks, the SHA-256
//! of `session:turn`. Events before the first prompt, and those of the session itself, are in the trace of `session:`.

use kernel::sha256::Sha256;

use super::event::HookEvent;
use super::event_table::{EventShape, SpanIdentity};

/// The span of a sub-agent, whose id the spans inside it derive too.
const SUB_AGENT_SPAN: &str = "claude_code.subagent";

pub(super) struct SpanPlace {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    /// `None` for the root.
    pub(super) parent: Option<[u8; 8]>,
}

impl SpanPlace {
    /// The place of an event. `turn`: the prompt's id, if the event belongs to a turn. `arrival`, in unix ns, makes the
    /// span of an event that nothing identifies one of its own.
    pub(super) fn of_event(event: &HookEvent<'_>, shape: &EventShape, turn: Option<&str>, arrival: u64) -> Self {
        let hash = Sha256::digest(format!("{}:{}", event.session, turn.unwrap_or_default()));
        let trace: [u8; 16] = nonzero(hash.first_chunk().copied().unwrap_or_default());
        let root: [u8; 8] = nonzero(hash.get(16..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default());
        // A turn that a hook keeps going stops again: only its first stop is the root.
        let is_repeated_stop = event.flag("stop_hook_active") == Some(true);
        let agent_span = |id: &str| span_id(&trace, SUB_AGENT_SPAN, id);
        let own_id = match shape.identity {
            SpanIdentity::Turn if turn.is_some() && !is_repeated_stop => {
                return Self { trace, span: root, parent: None };
            }
            SpanIdentity::Agent if !is_repeated_stop => event.text("agent_id").map(|id| agent_span(&id)),
            SpanIdentity::ToolUse => event.text("tool_use_id").map(|id| span_id(&trace, &shape.span, &id)),
            SpanIdentity::Turn | SpanIdentity::Agent | SpanIdentity::Event => None,
        };
        let span = own_id.unwrap_or_else(|| span_id(&trace, &shape.span, &format!("{}:{arrival}", event.name)));
        let is_inside = shape.identity != SpanIdentity::Agent;
        let agent = event.text("agent_id").filter(|_| is_inside).map(|id| agent_span(&id));
        Self { trace, span, parent: agent.or_else(|| turn.map(|_| root)) }
    }
}

fn span_id(trace: &[u8; 16], kind: &str, id: &str) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(trace);
    hash.update_list([kind, id]);
    nonzero(hash.finalize().first_chunk().copied().unwrap_or_default())
}

/// An id of only zeros is invalid.
fn nonzero<const N: usize>(mut id: [u8; N]) -> [u8; N] {
    if id == [0; N]
        && let Some(last) = id.last_mut()
    {
        *last = 1;
    }
    id
}
