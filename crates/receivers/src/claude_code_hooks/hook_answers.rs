//! [`HookClient`]: the clients whose hooks ask, from `config/hook_answers.yaml`, whose head explains the fields. Both
//! the receiver and `tollgate hook` render answers with it. `questions` asks, `save_work` has the commands that stay
//! allowed.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::event::{EventError, HookEvent};
use super::save_work::SavingCommand;
use budgets::{Names, Verdict};

const TABLE_TEXT: &str = include_str!("../../../../config/hook_answers.yaml");
/// The client whose events are stored too.
pub(super) const CLAUDE_CODE: &str = "claude-code";
/// Where the paths of hooks begin.
pub const HOOKS_PATH: &str = "/v1/hooks/";

/// The golden cases read the embedded text, so the empty table is never used.
pub(super) static ANSWER_TABLE: LazyLock<AnswerTable> =
    LazyLock::new(|| config::load::parse_data("config/hook_answers.yaml", TABLE_TEXT).unwrap_or_default());

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerTable {
    clients: Vec<HookClient>,
    pub(super) save_work: Vec<SavingCommand>,
}

/// A client whose hooks ask.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookClient {
    client: String,
    session: String,
    run: Option<String>,
    model: Option<String>,
    mode: Option<String>,
    #[serde(default)]
    asks_in: Vec<String>,
    events: Vec<AskingEvent>,
}

/// An event at which the client can be stopped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskingEvent {
    event: String,
    pub(super) shell: Option<ShellPlace>,
    deny: Value,
    ask: Option<Value>,
    note: Option<Value>,
    allow: Option<Value>,
}

/// Where an event has a command of the shell.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShellPlace {
    tool: Option<String>,
    #[serde(default)]
    tools: Vec<String>,
    command: String,
}

impl HookClient {
    /// The client of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ANSWER_TABLE.clients.iter().find(|client| client.client == name)
    }

    /// The names of all clients.
    pub fn client_names() -> impl Iterator<Item = &'static str> {
        ANSWER_TABLE.clients.iter().map(|client| &*client.client)
    }

    pub(super) fn stores_events(&self) -> bool {
        self.client == CLAUDE_CODE
    }

    pub(super) fn parse_event<'b>(&self, body: &'b [u8]) -> Result<HookEvent<'b>, EventError> {
        HookEvent::parse(body, &self.session)
    }

    /// The rule for an event; `None` if the client can't be stopped there.
    pub(super) fn asking_event(&self, name: &str) -> Option<&AskingEvent> {
        self.events.iter().find(|rule| rule.event == name)
    }

    /// Whose work the event is.
    pub(super) fn names(&self, event: &HookEvent<'_>) -> Names {
        let text = |path: &Option<String>| path.as_ref().and_then(|path| event.text_at(path));
        let (run, model) = (text(&self.run), text(&self.model));
        Names { session: Some(event.session.clone()), run, model, ..Names::default() }
    }

    /// Whether the client puts a question to its user at this event.
    pub(super) fn can_ask(&self, rule: &AskingEvent, event: &HookEvent<'_>) -> bool {
        let asks = |mode: &String| event.text_at(mode).is_some_and(|mode| self.asks_in.contains(&mode));
        rule.ask.is_some() && self.mode.as_ref().is_none_or(asks)
    }

    /// The answer by which the client stops at this event, without a gateway; empty if it can't be stopped there.
    ///
    /// # Errors
    /// The body is no event of the client.
    pub fn deny(&self, body: &[u8], reason: &str) -> Result<String, String> {
        let event = self.parse_event(body).map_err(|error| error.to_string())?;
        Ok(self.asking_event(&event.name).map_or_else(String::new, |rule| rule.render(Verdict::Deny, reason)))
    }
}

impl AskingEvent {
    /// The command of the shell that the event is about.
    pub(super) fn shell_command(&self, event: &HookEvent<'_>) -> Option<String> {
        let ShellPlace { tool, tools, command } = self.shell.as_ref()?;
        let is_shell = |tool: &String| event.text_at(tool).is_some_and(|tool| tools.contains(&tool));
        if tool.as_ref().is_none_or(is_shell) { event.text_at(command) } else { None }
    }

    /// The JSON of an answer with this sentence, which may be empty if the work goes on; or an empty text.
    pub(super) fn render(&self, verdict: Verdict, text: &str) -> String {
        let template = match verdict {
            Verdict::Deny => Some(&self.deny),
            Verdict::Ask => self.ask.as_ref().or(Some(&self.deny)),
            Verdict::Allow => self.note.as_ref().filter(|_| !text.is_empty()).or(self.allow.as_ref()),
        };
        let fill_in = |template| map_texts(template, &|part| part.replace("{text}", text)).to_string();
        template.map_or_else(String::new, fill_in)
    }
}

/// The value with `change` applied to every text in it.
pub fn map_texts(value: &Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(items) => items.iter().map(|item| map_texts(item, change)).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, member)| (key.clone(), map_texts(member, change))).collect()
        }
        other => other.clone(),
    }
}
