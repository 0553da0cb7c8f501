//! The demo's last part: the session has used up its budget, so the agent that asks before a tool call is stopped, but
//! may still save its work.

use serde_json::{Value, json};

use super::gateway::PlayedGateway;
use super::story::DemoStory;
use command::admin_client::AdminClient;
use command::error::CommandError;
use net::ProxyRules;

/// The budgets of the demo's gateway, which the recorded session exceeds.
pub const BUDGETS: &str = "demo-session: { scope: session, amount: 0.02 USD, action: deny }";
/// The path of Claude Code's hooks.
const HOOK_PATH: &str = "/v1/hooks/claude-code";

/// Asks as Claude Code's hook does; returns whether the work was stopped, and a commit was not.
pub(super) async fn show_budget(
    story: &mut DemoStory,
    gateway: &PlayedGateway,
    session: &str,
) -> Result<bool, CommandError> {
    story.show("budget", &[&BUDGETS]);
    let hooks = AdminClient::new(&format!("http://{}", gateway.hooks), None, ProxyRules::direct())?;
    let mut answers = Vec::new();
    for command in ["npm test", "git commit -m wip"] {
        let event = json!({"hook_event_name": "PreToolUse", "session_id": session, "tool_name": "Bash",
            "tool_input": {"command": command}, "permission_mode": "default"});
        answers.push(decision(&hooks.post(HOOK_PATH, event.to_string()).await?));
    }
    let [Some((stopped, reason)), saved] = answers.as_slice() else { return Ok(false) };
    let is_right = stopped == "deny" && saved.as_ref().is_none_or(|(saved, _)| saved == "allow");
    let reason = reason.split(". ").next().unwrap_or_default();
    story.show(if is_right { "stopped" } else { "not stopped" }, &[&reason]);
    Ok(is_right)
}

/// The decision of an answer and its reason; `None` if it decides nothing.
fn decision(answer: &str) -> Option<(String, String)> {
    let answer: Value = serde_json::from_str(answer).ok()?;
    let text = |key: &str| answer.pointer(&format!("/hookSpecificOutput/{key}"))?.as_str().map(str::to_owned);
    Some((text("permissionDecision")?, text("permissionDecisionReason").unwrap_or_default()))
}
