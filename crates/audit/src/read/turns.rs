//! The turns of a session: the input and answer of each model call, the difference between two turns, and all turns as
//! a dataset. A good and a bad answer differ mostly in their contexts.
//!
//! A turn is a model call with content, counted from 1 in order of time. For clients that report content beside their
//! calls (Claude Code's events), a turn is an answer with all messages to and from the same agent since its previous
//! answer. A sub-agent's input starts with the prompt of its call, and its last answer is the result of that call. If
//! the session's own agent never answers, sub-agents without a known call get the own agent's input. No input before
//! an answer is left out. Neighbours: `replay` (reading), `agents`, `messages`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use vault::document::{DocumentItem, ReadPiece};

use super::agents::{AgentAssignment, OWN_AGENT};
use super::chat::{ChatEvent, ChatTranscript};
use super::entry_links::{EntryLinks, EntryNode};
use super::messages::{MessagePart, extract_messages, part_messages};
use super::session::ReplayedSession;
use crate::error::{ReadError, Result};
use kernel::terminal::{escape_unsafe, format_count};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// One line per model call: `{"messages": [...], "model": ...}`.
    Messages,
    /// One line per item: head, parameters, content.
    Jsonl,
}

pub struct ModelTurn<'r> {
    /// Number of the turn, from 1.
    pub number: usize,
    /// Name or kind of the agent, if known.
    pub agent: Option<String>,
    item: &'r DocumentItem,
    /// Events since the previous turn, with the answer; empty if the call has its own input.
    events: Vec<ChatEvent<'r>>,
    /// The model's input: system instructions, tools, conversation.
    context: Vec<MessagePart>,
    response: Vec<MessagePart>,
}

/// The parts of the model's input, each with the speaker of messages that name none.
const CONTEXT: [(&str, &str); 3] = [("system", "system"), ("tools", "tools"), ("input", "user")];

impl<'r> ModelTurn<'r> {
    fn from_item(item: &'r DocumentItem) -> Self {
        let context = CONTEXT.iter().flat_map(|(part, speaker)| part_messages(item, part, speaker).0).collect();
        let response = part_messages(item, "output", "assistant").0;
        Self { number: 0, agent: None, item, events: Vec::new(), context, response }
    }

    /// Model that answered, or else the requested one.
    pub fn model(&self) -> Option<&str> {
        self.item.head.response_model.as_deref().or(self.item.head.request_model.as_deref())
    }

    /// Whether the context is the model's full input, rather than the messages since the previous turn.
    pub fn is_whole(&self) -> bool {
        self.item.head.call == "model"
    }

    /// Start of the last user message, to recognise the turn in a list.
    pub fn first_words(&self) -> String {
        let last = self.context.iter().rev().find(|message| message.speaker == "user").or(self.context.last());
        last.map_or(String::new(), |message| {
            message.text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect()
        })
    }

    fn headline(&self) -> String {
        let hash = self.item.context_sha256.as_deref().and_then(|hash| hash.get(..16)).unwrap_or("-");
        let start = self.item.head.start.get(..23).unwrap_or(&self.item.head.start);
        let agent = self.agent.as_ref().map(|agent| format!("  agent {agent}")).unwrap_or_default();
        let (model, messages) = (self.model().unwrap_or("-"), format_count(self.context.len(), "message"));
        format!("turn {}  {start}{agent}  {model}  {messages}  context {hash}", self.number)
    }
}

impl ReplayedSession {
    /// The turns in order of time.
    pub fn turns(&self) -> Vec<ModelTurn<'_>> {
        let nodes: Vec<EntryNode<'_>> = self.counted_entries().map(EntryNode::from_entry).collect();
        let agents = AgentAssignment::assign(&nodes, &EntryLinks::build(&nodes, &HashSet::new()));
        let items = || nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.item()?)));
        let with_content = items().filter(|(_, item)| item.head.call == "model" && item.content.iter().any(is_message));
        let name = |at: usize| agents.entry_agent_name(at).map(str::to_owned);
        let mut turns: Vec<ModelTurn<'_>> =
            with_content.map(|(at, item)| ModelTurn { agent: name(at), ..ModelTurn::from_item(item) }).collect();
        if turns.is_empty() {
            let is_own_answer = |(at, item): (usize, &DocumentItem)| agents.agent(at) == OWN_AGENT && has_answer(item);
            let mut answers = AnswerCollector {
                agents: &agents,
                own_answers: items().any(is_own_answer),
                pending: HashMap::new(),
                due_answers: HashMap::new(),
                turns: Vec::new(),
            };
            items().for_each(|(at, item)| answers.take_item(at, item));
            turns = answers.turns;
        }
        for (number, turn) in (1..).zip(&mut turns) {
            turn.number = number;
        }
        turns
    }

    fn find_turn(&self, number: usize) -> Result<ModelTurn<'_>> {
        let turns = self.turns();
        let count = turns.len();
        number.checked_sub(1).and_then(|at| turns.into_iter().nth(at)).ok_or_else(|| match count {
            0 if self.unsigned() > 0 => {
                ReadError::new("no line of the session is signed (yet): --unsigned includes unsigned lines")
            }
            0 => ReadError::new("the session contains no model answer"),
            count => ReadError::new(format!("the session has turns 1 to {count}")),
        })
    }

    /// Writes one turn: the model's full input, and its answer.
    pub fn write_turn(&self, number: usize, out: &mut dyn Write) -> Result<io::Result<()>> {
        let turn = self.find_turn(number)?;
        let write = |out: &mut dyn Write| {
            writeln!(out, "{}", escape_unsafe(&turn.headline()))?;
            turn.context.iter().try_for_each(|message| message.write(' ', out))?;
            writeln!(out, "answered")?;
            turn.response.iter().try_for_each(|message| message.write(' ', out))
        };
        Ok(write(out))
    }

    /// Writes the differences between the contexts of two turns.
    pub fn diff(&self, first: usize, second: usize, out: &mut dyn Write) -> Result<io::Result<()>> {
        let (first, second) = (self.find_turn(first)?, self.find_turn(second)?);
        let changes = diff_messages(&first.context, &second.context);
        let write = |out: &mut dyn Write| {
            writeln!(out, "--- {}", escape_unsafe(&first.headline()))?;
            writeln!(out, "+++ {}", escape_unsafe(&second.headline()))?;
            if changes.iter().all(|change| matches!(change, ContextChange::Same(_))) {
                return writeln!(out, "the contexts are the same");
            }
            changes.iter().try_for_each(|change| match change {
                ContextChange::Same(count) => writeln!(out, "  ({} as before)", format_count(*count, "message")),
                ContextChange::Removed(message) => message.write('-', out),
                ContextChange::Added(message) => message.write('+', out),
            })
        };
        Ok(write(out))
    }

    /// Writes the session as a dataset.
    pub fn export(&self, format: ExportFormat, out: &mut dyn Write) -> io::Result<()> {
        match format {
            ExportFormat::Messages => self.turns().iter().try_for_each(|turn| {
                writeln!(out, "{}", kernel::terminal::escape_json(&build_dataset_row(turn).to_string()))
            }),
            ExportFormat::Jsonl => self.items().try_for_each(|item| {
                let text = serde_json::to_string(item).map_err(io::Error::other)?;
                writeln!(out, "{}", kernel::terminal::escape_json(&text))
            }),
        }
    }
}

/// Collects answers reported beside the calls, each with the messages to and from its agent since the previous answer.
struct AnswerCollector<'a, 'n, 'r> {
    agents: &'a AgentAssignment<'n, 'r>,
    /// Whether the session's own agent ever answers.
    own_answers: bool,
    /// For each agent, the messages since its last answer.
    pending: HashMap<usize, PendingContext<'r>>,
    /// By agent, its sub-agents whose last answer it has not received yet, ordered by the end of their calls.
    due_answers: HashMap<usize, BTreeSet<(&'r str, usize)>>,
    turns: Vec<ModelTurn<'r>>,
}

/// Messages since an agent's last answer.
#[derive(Default)]
struct PendingContext<'r> {
    context: Vec<MessagePart>,
    /// Texts of the context, to skip repeated ones.
    texts: HashSet<String>,
    events: Vec<ChatEvent<'r>>,
    /// The agent's last answer, until its caller receives it.
    answer: Option<String>,
}

impl PendingContext<'_> {
    /// A context that starts with the prompt of a sub-agent, if known.
    fn with_prompt(prompt: Option<&str>) -> Self {
        let mut pending = Self::default();
        if let Some(prompt) = prompt {
            pending.texts.insert(prompt.to_owned());
            pending.context.push(MessagePart { speaker: "user".to_owned(), text: prompt.to_owned() });
            pending.events.push(ChatEvent::AgentStarted(prompt.to_owned()));
        }
        pending
    }
}

impl<'r> AnswerCollector<'_, '_, 'r> {
    fn take_item(&mut self, at: usize, item: &'r DocumentItem) {
        let messages = item.content.iter().flat_map(|piece| {
            let speaker = match piece.part.as_str() {
                "input" => "user",
                "tool_args" => "arguments",
                "tool_result" => "result",
                "output" if item.head.call == "tool" => "result",
                "output" => "assistant",
                _ => piece.key.as_deref().unwrap_or("other"),
            };
            extract_messages(&piece.value, speaker)
        });
        let (answer, others): (Vec<MessagePart>, Vec<MessagePart>) =
            messages.partition(|message| message.speaker == "assistant");
        let agent = self.context_agent(at);
        if !answer.is_empty() {
            self.pass_due_answers(agent, &item.head.start);
        }
        let pending = self.pending_context(agent);
        pending.events.push(ChatEvent::Reported(item));
        for message in others {
            // the same prompt may be on a span and in an event
            if pending.texts.insert(message.text.clone()) {
                pending.context.push(message);
            }
        }
        if !answer.is_empty() {
            pending.texts.clear();
            let (context, events) = (std::mem::take(&mut pending.context), std::mem::take(&mut pending.events));
            pending.answer = Some(answer.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("\n"));
            let name = self.agents.entry_agent_name(at).map(str::to_owned);
            self.turns.push(ModelTurn { number: 0, agent: name, item, events, context, response: answer });
            if let Some((caller, end)) = self.agents.unanswered_caller(agent) {
                self.due_answers.entry(caller).or_default().insert((end, agent));
            }
        }
        // a call's result comes after the messages of its own entry
        let ended: Vec<usize> = self.agents.agents_ended_at(at).collect();
        ended.into_iter().for_each(|sub| self.pass_answer(sub));
    }

    /// The agent to whose context an entry belongs.
    fn context_agent(&self, at: usize) -> usize {
        let agent = self.agents.agent(at);
        let uses_own_context = !self.own_answers && self.agents.call(agent).is_none();
        if uses_own_context { OWN_AGENT } else { agent }
    }

    fn pending_context(&mut self, agent: usize) -> &mut PendingContext<'r> {
        self.pending.entry(agent).or_insert_with(|| PendingContext::with_prompt(self.agents.prompt(agent)))
    }

    /// Passes an agent the answers of sub-agents whose calls ended by `now`.
    fn pass_due_answers(&mut self, caller: usize, now: &str) {
        while let Some((_, sub)) =
            self.due_answers.get(&caller).and_then(BTreeSet::first).copied().filter(|(end, _)| *end <= now)
        {
            self.pass_answer(sub);
        }
    }

    /// Passes a sub-agent's last answer to its caller.
    fn pass_answer(&mut self, sub: usize) {
        let Some((caller, end)) = self.agents.unanswered_caller(sub) else { return };
        if let Some(due) = self.due_answers.get_mut(&caller) {
            due.remove(&(end, sub));
        }
        let Some(answer) = self.pending.get_mut(&sub).and_then(|pending| pending.answer.take()) else { return };
        let id = self.agents.call_id(sub);
        let pending = self.pending_context(caller);
        pending.texts.insert(answer.clone());
        pending.context.push(MessagePart { speaker: "result".to_owned(), text: answer.clone() });
        pending.events.push(ChatEvent::AgentAnswered(id, answer));
    }
}

fn has_answer(item: &DocumentItem) -> bool {
    item.head.call != "tool" && item.content.iter().any(|piece| piece.part == "output")
}

fn is_message(piece: &ReadPiece) -> bool {
    matches!(piece.part.as_str(), "system" | "input" | "output")
}

/// A difference between two lists of messages.
#[derive(PartialEq, Eq)]
pub(super) enum ContextChange<'s> {
    Same(usize),
    Removed(&'s MessagePart),
    Added(&'s MessagePart),
}

/// Longest list for which a minimal difference is computed. For longer lists, all old messages count as removed and all
/// new messages as added.
const MAX_COMPARED: usize = 2_000;

/// The shortest edit from one list of messages to another.
pub(super) fn diff_messages<'s>(old: &'s [MessagePart], new: &'s [MessagePart]) -> Vec<ContextChange<'s>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let old_middle = old_rest.get(..old_rest.len() - tail).unwrap_or_default();
    let new_middle = new_rest.get(..new_rest.len() - tail).unwrap_or_default();
    let mut out = vec![ContextChange::Same(head)];
    diff_middle(old_middle, new_middle, &mut out);
    out.push(ContextChange::Same(tail));
    out.retain(|change| *change != ContextChange::Same(0));
    out
}

/// Computes the edit by the longest common subsequence: `longest` has its length for each pair of list ends.
fn diff_middle<'s>(old: &'s [MessagePart], new: &'s [MessagePart], out: &mut Vec<ContextChange<'s>>) {
    let width = new.len() + 1;
    let mut longest = vec![0_u16; 0];
    if old.len() <= MAX_COMPARED && new.len() <= MAX_COMPARED {
        longest.resize((old.len() + 1) * width, 0);
        for (i, a) in old.iter().enumerate().rev() {
            for (j, b) in new.iter().enumerate().rev() {
                let at = |i: usize, j: usize| longest.get(i * width + j).copied().unwrap_or(0);
                let best = if a == b { at(i + 1, j + 1) + 1 } else { at(i + 1, j).max(at(i, j + 1)) };
                if let Some(cell) = longest.get_mut(i * width + j) {
                    *cell = best;
                }
            }
        }
    }
    let at = |i: usize, j: usize| longest.get(i * width + j).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    loop {
        match (old.get(i), new.get(j)) {
            (None, None) => return,
            (Some(a), Some(b)) if a == b => {
                match out.last_mut() {
                    Some(ContextChange::Same(count)) => *count += 1,
                    _ => out.push(ContextChange::Same(1)),
                }
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || at(i + 1, j) >= at(i, j + 1) => {
                out.push(ContextChange::Removed(a));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(ContextChange::Added(b));
                j += 1;
            }
            (Some(_), None) => return,
        }
    }
}

/// A model call in the form of chat APIs, with additional fields for everything that they don't accept.
fn build_dataset_row(turn: &ModelTurn<'_>) -> Value {
    let chat = if turn.events.is_empty() {
        ChatTranscript::from_call(turn.item)
    } else {
        ChatTranscript::from_events(&turn.events)
    };
    let mut out = json!({"messages": chat.messages, "model": turn.model(), "turn": turn.number});
    let optional = [
        ("tools", Value::Array(chat.tools)),
        ("parameters", Value::Object(turn.item.parameters.clone())),
        ("reasoning", chat.reasoning.into()),
        ("agent", turn.agent.as_deref().map_or(json!([]), Value::from)),
    ];
    if let Some(out) = out.as_object_mut() {
        for (key, value) in optional {
            let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
            if !is_empty {
                out.insert(key.to_owned(), value);
            }
        }
    }
    out
}
