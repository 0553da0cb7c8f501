//! Rules for the known noise of some clients: one trivial turn of Codex is 397 spans, of which a few dozen concern the
//! agent, and OpenCode traces each of its own database calls.
//!
//! Tests on recordings of the clients check that nothing with tokens, a tool call, a turn or an error is dropped. The
//! rules are evaluated in `matching`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::{FilterRule, SignalName};

/// A client whose noise is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FilterPreset {
    /// OpenAI's Codex CLI (0.14x): spans of its own files, settings and tool lists, and an event for each piece of a
    /// stream.
    Codex,
    /// OpenCode (1.x): spans of its own database, files and state.
    Opencode,
}

/// Attribute keys that concern an agent: an item that has one is never noise.
const AGENT_KEY_PATTERNS: [&str; 7] =
    ["gen_ai.*", "tool_name", "tool.*", "ai.*", "*token_count", "*_tokens", "tollgate.cost.*"];

/// Name patterns of Codex spans about its own internals.
const CODEX_SPAN_NAMES: [&str; 44] = [
    "add_*_tool*",
    "agents_md.*",
    "append_*",
    "apply_bespoke_event_handling",
    "auth",
    "build_*",
    "built_tools*",
    "capability_roots.*",
    "emit_turn_*",
    "environments.*",
    "extension_tool_executors",
    "finalize_*",
    "flush_*",
    "fs.*",
    "get_model_info",
    "get_or_build",
    "hosted_model_tool_specs",
    "instructions.*",
    "list_models",
    "load_*",
    "mcp.runtime.*",
    "merge_into_namespaces",
    "new",
    "persist_rollout_items",
    "plugins_*",
    "prepare_*",
    "realtime_conversation.*",
    "receiving",
    "recommended_*",
    "record_*",
    "refresh_*",
    "render_*",
    "resolve_*",
    "rollout.*",
    "run_hooks_*",
    "send_raw_response_items",
    "session.flush_*",
    "skills*",
    "startup_*",
    "step_context.*",
    "thread_store.*",
    "app_server.serialized_request_queue",
    "try_*",
    "world_state.*",
];

/// Name patterns of OpenCode spans about its own internals.
const OPENCODE_SPAN_NAMES: [&str; 26] = [
    "sql.*",
    "Agent.*",
    "Auth.*",
    "Bus.*",
    "Config.*",
    "Credential.*",
    "Env.*",
    "FileSystem.*",
    "Format.*",
    "Instruction.*",
    "Integration.*",
    "LSP.*",
    "MCP.*",
    "MessageV2.*",
    "Plugin.*",
    "Project.*",
    "Provider.*",
    "Question.*",
    "Session.*",
    "SessionProcessor.*",
    "SessionStatus.*",
    "Snapshot.*",
    "State.*",
    "Storage.*",
    "SystemPrompt.*",
    "Truncate.*",
];

impl FilterPreset {
    pub fn rules(self) -> Vec<FilterRule> {
        let to_strings = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let span_rule = |name: &str, scope: &str, names: &[&str]| FilterRule {
            name: name.to_owned(),
            signals: vec![SignalName::Traces],
            names: to_strings(names),
            scopes: vec![scope.to_owned()],
            without: to_strings(&AGENT_KEY_PATTERNS),
            ..FilterRule::default()
        };
        match self {
            Self::Codex => vec![
                span_rule("codex-spans", "codex_*", &CODEX_SPAN_NAMES),
                FilterRule {
                    name: "codex-stream".to_owned(),
                    signals: vec![SignalName::Logs],
                    names: to_strings(&["codex.sse_event", "codex.websocket_event", "codex.startup_phase"]),
                    without: to_strings(&AGENT_KEY_PATTERNS),
                    ..FilterRule::default()
                },
            ],
            Self::Opencode => vec![span_rule("opencode-spans", "opencode", &OPENCODE_SPAN_NAMES)],
        }
    }
}
