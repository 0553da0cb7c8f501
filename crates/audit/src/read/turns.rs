//! The turns of a session: the input and answer of each model call; the difference between two turns; all turns as a
//! dataset. Differences between a good and a bad answer are mostly in the context.
//!
//! A turn is a model call with content, counted from 1 in order of time. For clients that report content beside their
//! calls (Claude Code's events), a turn is an answer with everything said to and by the same agent since its previous
//! answer. A sub-agent's input starts with its call's prompt, and its last answer is that call's result. A sub-agent
//! whose call is unknown gets the own agent's input, if the own agent never answers. No input before an answer is left
//! out. Neighbours: `replay` (reading), `agents`, `messages`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use vault::document::Item;

use super::agents::{Agents, OWN};
use super::chat::{Chat, Step};
use super::links::{Links, Node};
use super::messages::{Said, said};
use super::session::Replay;
use crate::error::ReadError;
use kernel::terminal::clean;

/// Format of an exported session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line for each model call: `{"messages": […], "model": …}`, as chat APIs and fine-tuning accept it.
    Messages,
    /// A line for each item: its metadata, parameters and content.
    Jsonl,
}

/// One model call.
pub struct Turn<'r> {
    /// Number of the turn, from 1.
    pub number: usize,
    /// Name of its agent, if known.
    agent: Option<String>,
    item: &'r Item,
    /// Events since the previous turn, with the answer; empty if the call has its own input.
    told: Vec<Step<'r>>,
    /// The model's input: system instructions, tools, conversation.
    context: Vec<Said>,
    response: Vec<Said>,
}

const CONTEXT: [(&str, &str); 3] = [("system", "system"), ("tools", "tools"), ("input", "user")];

impl<'r> Turn<'r> {
    fn of(item: &'r Item) -> Self {
        let spoken = |(part, who): (&str, &str)| -> Vec<Said> {
            let mut pieces: Vec<Vec<Said>> = Vec::new();
            for piece in item.content.iter().filter(|piece| piece.part == part) {
                let said = said(&piece.value, who);
                if !pieces.contains(&said) {
                    pieces.push(said);
                }
            }
            pieces.into_iter().flatten().collect()
        };
        let context = CONTEXT.into_iter().flat_map(spoken).collect();
        Self { number: 0, agent: None, item, told: Vec::new(), context, response: spoken(("output", "assistant")) }
    }

    /// Model that answered, or else the requested one.
    pub fn model(&self) -> Option<&str> {
        self.item.head.response_model.as_deref().or(self.item.head.request_model.as_deref())
    }

    /// The agent's name or kind, if known.
    pub fn agent(&self) -> Option<&str> {
        self.agent.as_deref()
    }

    /// Whether the context is the model's full input, rather than what was said since the previous turn.
    pub fn is_whole(&self) -> bool {
        self.item.head.call == "model"
    }

    /// Start of the last user message, to recognise the turn in a list.
    pub fn first_words(&self) -> String {
        let last = self.context.iter().rev().find(|said| said.who == "user").or(self.context.last());
        last.map_or(String::new(), |said| {
            said.text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(80).collect()
        })
    }

    fn headline(&self) -> String {
        let hash = self.item.context_sha256.as_deref().and_then(|hash| hash.get(..16)).unwrap_or("-");
        let at = self.item.head.start.get(..23).unwrap_or(&self.item.head.start);
        let agent = self.agent().map(|agent| format!("  agent {agent}")).unwrap_or_default();
        let (model, messages) = (self.model().unwrap_or("-"), self.context.len());
        format!("turn {}  {at}{agent}  {model}  {messages} messages  context {hash}", self.number)
    }
}

impl Replay {
    /// The turns in order of time.
    pub fn turns(&self) -> Vec<Turn<'_>> {
        let nodes: Vec<Node<'_>> = self.counted().map(Node::of).collect();
        let agents = Agents::of(&nodes, &Links::of(&nodes, &HashSet::new()));
        let calls = || nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.item()?)));
        let spoken = calls().filter(|(_, item)| item.head.call == "model" && item.content.iter().any(is_spoken));
        let name = |at: usize| agents.name_of(at).map(str::to_owned);
        let mut turns: Vec<Turn<'_>> = spoken.map(|(at, item)| Turn { agent: name(at), ..Turn::of(item) }).collect();
        if turns.is_empty() {
            let own = |(at, item): (usize, &Item)| agents.agent(at) == OWN && answers(item);
            let (said, waiting) = (HashMap::new(), HashMap::new());
            let mut answers =
                Answers { agents: &agents, own_answers: calls().any(own), said, waiting, turns: Vec::new() };
            calls().for_each(|(at, item)| answers.take(at, item));
            turns = answers.turns;
        }
        for (number, turn) in (1..).zip(&mut turns) {
            turn.number = number;
        }
        turns
    }

    fn turn(&self, number: usize) -> Result<Turn<'_>, ReadError> {
        let turns = self.turns();
        let count = turns.len();
        number.checked_sub(1).and_then(|at| turns.into_iter().nth(at)).ok_or_else(|| match count {
            0 if self.unsigned() > 0 => {
                ReadError::not_found("nothing of the session is signed (yet); --unsigned counts it all the same")
            }
            0 => ReadError::not_found("the session has no answer of a model"),
            count => ReadError::not_found(format!("the session has turns 1 to {count}")),
        })
    }

    /// Writes one turn: the model's full input, and its answer.
    ///
    /// # Errors
    /// There is no such turn; errors of `out` are passed through.
    pub fn write_turn(&self, number: usize, out: &mut dyn Write) -> Result<io::Result<()>, ReadError> {
        let turn = self.turn(number)?;
        let write = |out: &mut dyn Write| {
            writeln!(out, "{}", clean(&turn.headline()))?;
            turn.context.iter().try_for_each(|said| line(' ', said, out))?;
            writeln!(out, "answered")?;
            turn.response.iter().try_for_each(|said| line(' ', said, out))
        };
        Ok(write(out))
    }

    /// Writes the differences between the contexts of two turns.
    ///
    /// # Errors
    /// There is no such turn; errors of `out` are passed through.
    pub fn diff(&self, first: usize, second: usize, out: &mut dyn Write) -> Result<io::Result<()>, ReadError> {
        let (first, second) = (self.turn(first)?, self.turn(second)?);
        let changes = changes(&first.context, &second.context);
        let write = |out: &mut dyn Write| {
            writeln!(out, "--- {}", clean(&first.headline()))?;
            writeln!(out, "+++ {}", clean(&second.headline()))?;
            if changes.iter().all(|change| matches!(change, Change::Same(_))) {
                return writeln!(out, "the same context");
            }
            changes.iter().try_for_each(|change| match change {
                Change::Same(1) => writeln!(out, "  (1 message as before)"),
                Change::Same(count) => writeln!(out, "  ({count} messages as before)"),
                Change::Gone(said) => line('-', said, out),
                Change::New(said) => line('+', said, out),
            })
        };
        Ok(write(out))
    }

    /// Writes the session as a dataset.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn export(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Messages => self
                .turns()
                .iter()
                .try_for_each(|turn| writeln!(out, "{}", kernel::terminal::escaped(&dataset(turn).to_string()))),
            Format::Jsonl => self.items().try_for_each(|item| {
                let text = serde_json::to_string(item).map_err(io::Error::other)?;
                writeln!(out, "{}", kernel::terminal::escaped(&text))
            }),
        }
    }
}

/// Collects answers reported beside the calls, each with what was said to and by its agent since the previous answer.
struct Answers<'a, 'n, 'r> {
    agents: &'a Agents<'n, 'r>,
    /// Whether the session's own agent answers.
    own_answers: bool,
    /// For each agent, the messages since its last answer.
    said: HashMap<usize, Since<'r>>,
    /// By agent, its sub-agents whose last answer it has not received yet, ordered by the end of their calls.
    waiting: HashMap<usize, BTreeSet<(&'r str, usize)>>,
    turns: Vec<Turn<'r>>,
}

/// Messages since an agent's last answer.
#[derive(Default)]
struct Since<'r> {
    context: Vec<Said>,
    /// Texts in the context, for fast look-up.
    known: HashSet<String>,
    told: Vec<Step<'r>>,
    /// The agent's last answer, until its caller receives it.
    answer: Option<String>,
}

impl Since<'_> {
    /// The start of a sub-agent's context: its prompt.
    fn begun(prompt: Option<&str>) -> Self {
        let mut since = Self::default();
        if let Some(prompt) = prompt {
            since.known.insert(prompt.to_owned());
            since.context.push(Said { who: "user".to_owned(), text: prompt.to_owned() });
            since.told.push(Step::Begun(prompt.to_owned()));
        }
        since
    }
}

impl<'r> Answers<'_, '_, 'r> {
    fn take(&mut self, at: usize, item: &'r Item) {
        let said = item.content.iter().flat_map(|piece| {
            let who = match piece.part.as_str() {
                "input" => "user",
                "tool_args" => "arguments",
                "tool_result" => "result",
                "output" if item.head.call == "tool" => "result",
                "output" => "assistant",
                _ => piece.key.as_deref().unwrap_or("other"),
            };
            said(&piece.value, who)
        });
        let (answer, rest): (Vec<Said>, Vec<Said>) = said.partition(|said| said.who == "assistant");
        let agent = self.agent(at);
        if !answer.is_empty() {
            self.results(agent, &item.head.start);
        }
        let since = self.since(agent);
        since.told.push(Step::Told(item));
        for said in rest {
            // the same prompt may be on a span and in an event
            if since.known.insert(said.text.clone()) {
                since.context.push(said);
            }
        }
        if !answer.is_empty() {
            since.known.clear();
            let (context, told) = (std::mem::take(&mut since.context), std::mem::take(&mut since.told));
            since.answer = Some(answer.iter().map(|said| said.text.as_str()).collect::<Vec<_>>().join("\n"));
            let name = self.agents.name_of(at).map(str::to_owned);
            self.turns.push(Turn { number: 0, agent: name, item, told, context, response: answer });
            if let Some((caller, end)) = self.agents.answers_to(agent) {
                self.waiting.entry(caller).or_default().insert((end, agent));
            }
        }
        // a call's result comes after the messages of its own entry
        let ended: Vec<usize> = self.agents.ended(at).collect();
        ended.into_iter().for_each(|sub| self.result(sub));
    }

    /// The agent to whose context an entry belongs.
    fn agent(&self, at: usize) -> usize {
        let agent = self.agents.agent(at);
        let is_own = !self.own_answers && self.agents.call(agent).is_none();
        if is_own { OWN } else { agent }
    }

    fn since(&mut self, agent: usize) -> &mut Since<'r> {
        self.said.entry(agent).or_insert_with(|| Since::begun(self.agents.prompt(agent)))
    }

    /// Passes an agent the answers of sub-agents whose calls ended by `now`.
    fn results(&mut self, caller: usize, now: &str) {
        while let Some((_, sub)) =
            self.waiting.get(&caller).and_then(BTreeSet::first).copied().filter(|(end, _)| *end <= now)
        {
            self.result(sub);
        }
    }

    /// Passes a sub-agent's last answer to its caller.
    fn result(&mut self, sub: usize) {
        let Some((caller, end)) = self.agents.answers_to(sub) else { return };
        if let Some(waiting) = self.waiting.get_mut(&caller) {
            waiting.remove(&(end, sub));
        }
        let Some(answer) = self.said.get_mut(&sub).and_then(|since| since.answer.take()) else { return };
        let id = self.agents.call_id(sub);
        let since = self.since(caller);
        since.known.insert(answer.clone());
        since.context.push(Said { who: "result".to_owned(), text: answer.clone() });
        since.told.push(Step::Ended(id, answer));
    }
}

fn answers(item: &Item) -> bool {
    item.head.call != "tool" && item.content.iter().any(|piece| piece.part == "output")
}

fn is_spoken(piece: &vault::document::ReadPiece) -> bool {
    matches!(piece.part.as_str(), "system" | "input" | "output")
}

/// Writes a message with a mark before each line.
fn line(mark: char, said: &Said, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = said.text.lines();
    writeln!(out, "{mark} {:<11} {}", clean(&said.who), clean(lines.next().unwrap_or_default()))?;
    lines.try_for_each(|line| writeln!(out, "{mark} {:<11} {}", "", clean(line)))
}

/// A difference between two lists of messages.
#[derive(PartialEq, Eq)]
pub(super) enum Change<'s> {
    Same(usize),
    Gone(&'s Said),
    New(&'s Said),
}

/// Longest list for which a minimal difference is computed; for longer ones, all old messages are gone and all new ones
/// new.
const COMPARED: usize = 2_000;

/// The shortest edit from one list of messages to another.
pub(super) fn changes<'s>(old: &'s [Said], new: &'s [Said]) -> Vec<Change<'s>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let old_middle = old_rest.get(..old_rest.len() - tail).unwrap_or_default();
    let new_middle = new_rest.get(..new_rest.len() - tail).unwrap_or_default();
    let mut out = vec![Change::Same(head)];
    middle(old_middle, new_middle, &mut out);
    out.push(Change::Same(tail));
    out.retain(|change| *change != Change::Same(0));
    out
}

/// Computes the edit by the longest common subsequence.
fn middle<'s>(old: &'s [Said], new: &'s [Said], out: &mut Vec<Change<'s>>) {
    let width = new.len() + 1;
    let mut longest = vec![0_u16; 0];
    if old.len() <= COMPARED && new.len() <= COMPARED {
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
                    Some(Change::Same(count)) => *count += 1,
                    _ => out.push(Change::Same(1)),
                }
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || at(i + 1, j) >= at(i, j + 1) => {
                out.push(Change::Gone(a));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(Change::New(b));
                j += 1;
            }
            (Some(_), None) => return,
        }
    }
}

/// A model call in the form of chat APIs, with additional fields for everything that they don't accept.
fn dataset(turn: &Turn<'_>) -> Value {
    let chat = if turn.told.is_empty() { Chat::of(turn.item) } else { Chat::told(&turn.told) };
    let mut out = json!({"messages": chat.messages, "model": turn.model(), "turn": turn.number});
    let beside = [
        ("tools", Value::Array(chat.tools)),
        ("parameters", Value::Object(turn.item.parameters.clone())),
        ("reasoning", chat.reasoning.into()),
        ("agent", turn.agent().map_or(json!([]), Value::from)),
    ];
    if let Some(out) = out.as_object_mut() {
        for (key, value) in beside {
            let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
            if !empty {
                out.insert(key.to_owned(), value);
            }
        }
    }
    out
}
