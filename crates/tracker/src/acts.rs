//! [`Act`]: one model or tool call of a run, and the figures that depend on the order of the calls: retries,
//! fallbacks, identical calls in a row, context growth, the slowest and the most expensive call.
//! The result is a function of the set of calls alone: they are sorted by start time, then by properties that do not
//! depend on arrival order. `layers` decides which calls count.

use std::collections::HashMap;

use runs::{Peaks, Step, StepKind, Streak, Totals};

use super::group::{Group, Spot};
use super::seen::{self, flag, trouble};
use super::terms::Terms;
use super::tokens::Tokens;

/// One model or tool call of a run.
#[derive(Clone)]
pub(super) struct Act {
    pub(super) kind: StepKind,
    /// The call's key in its group; breaks ties in the sort order.
    pub(super) key: u64,
    pub(super) spot: Spot,
    /// Place of the parent span; 0 = none or unknown.
    pub(super) parent: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    /// Number of the model's or tool's name.
    pub(super) name: u16,
    pub(super) error: u16,
    pub(super) failed: bool,
    pub(super) denied: bool,
    /// Not a step of the run's own loop.
    pub(super) aside: bool,
    pub(super) sub: bool,
    pub(super) tokens: Tokens,
    pub(super) atto: Option<i128>,
    pub(super) asked: u16,
    pub(super) provider: u16,
    pub(super) trouble: u8,
    pub(super) fallback: u8,
    pub(super) attempts: u8,
    /// Digest of a tool's arguments; 0 = unknown.
    pub(super) args: u64,
    /// If this call replaced another model's call: the reason (see `seen::trouble`) and the replaced model.
    pub(super) stands_in: Option<(u8, u16)>,
}

impl Act {
    fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    fn is_tool(&self) -> bool {
        self.kind == StepKind::Tool
    }

    /// The call as pages show it; names are not redacted yet.
    pub(super) fn step(&self, group: &Group) -> Step {
        let trace = trace_id(group, self.spot.trace);
        let span = |place: u64| trace.filter(|_| place != 0).map_or([0; 8], |trace| seen::span_at(trace, place));
        let tokens = self.tokens.buckets();
        Step {
            kind: self.kind,
            name: group.name(self.name).to_owned(),
            span: span(if self.spot.own { self.spot.node } else { 0 }),
            parent: span(self.parent),
            start: self.start,
            duration: self.duration(),
            failed: self.failed,
            denied: self.denied,
            sub_agent: self.sub,
            input_tokens: runs::input(&tokens),
            output_tokens: tokens.output,
            atto_usd: self.atto,
        }
    }
}

/// Parses a trace key's hex text.
pub(super) fn trace_id(group: &Group, trace: u32) -> Option<[u8; 16]> {
    let text = group.text(trace);
    if text.len() != 32 {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// Sorts a run's calls and adds the order-dependent figures to its totals.
pub(super) fn tell(acts: &mut [Act], totals: &mut Totals, group: &Group, terms: &Terms) -> Peaks {
    acts.sort_unstable_by_key(|act| (act.start, act.end, act.key));
    let (models, tools): (Vec<&Act>, Vec<&Act>) = acts.iter().partition(|act| !act.is_tool());
    let stand_ins = troubles(&models, totals, group, terms);
    errors(acts, totals, group);
    tool_retries(&tools, totals, group);
    let peaks = Peaks {
        slowest: most(acts, |act| act.duration()).map(|act| act.step(group)),
        most_expensive: most(acts, |act| act.atto.unwrap_or(0)).map(|act| act.step(group)),
        row: row(&tools, group),
        window: busiest(&tools, terms.window, group),
        context: context(&models),
    };
    for act in acts.iter_mut().filter(|act| !act.is_tool()) {
        act.stands_in = stand_ins.get(&act.key).copied();
    }
    peaks
}

/// The first call with the highest value, if that is above the default value.
fn most<V: Ord + Default + Copy>(acts: &[Act], value: impl Fn(&Act) -> V) -> Option<&Act> {
    let mut best: Option<(&Act, V)> = None;
    for act in acts {
        let value = value(act);
        if value > best.map_or(V::default(), |(_, best)| best) {
            best = Some((act, value));
        }
    }
    best.map(|(act, _)| act)
}

fn errors(acts: &[Act], totals: &mut Totals, group: &Group) {
    for act in acts.iter().filter(|act| act.failed) {
        let named = group.name(act.error);
        let word = if named.is_empty() && act.trouble > trouble::REFUSAL { trouble::word(act.trouble) } else { named };
        totals.add_error(word);
    }
}

/// Counts retries and fallbacks after model calls that failed or were not answered as requested. Returns the calls
/// that replaced another model's call, by key: the reason and the replaced model.
fn troubles(models: &[&Act], totals: &mut Totals, group: &Group, terms: &Terms) -> HashMap<u64, (u8, u16)> {
    let mut stand_ins = HashMap::new();
    let is_same = |act: &Act, one: u16, other: u16| {
        terms.is_same_model(group.name(act.provider), group.name(one), group.name(other))
    };
    let mut by_line: HashMap<(bool, bool, u64), &Act> = HashMap::new();
    for act in models {
        let name = group.name(act.name);
        if act.trouble != trouble::NONE {
            totals.add_trouble(trouble::word(act.trouble), group.name(act.provider), 1);
        }
        if act.asked != 0 && act.name != 0 && !is_same(act, act.asked, act.name) {
            totals.swapped += 1;
        }
        totals.retries += u64::from(act.attempts.saturating_sub(1));
        // Sub-agents and spans with different parents run in parallel, so their calls do not replace each other.
        let line = (act.aside, act.sub, act.parent);
        let before = by_line.insert(line, act).filter(|before| before.failed || before.trouble != trouble::NONE);
        let changed = before.filter(|before| {
            let models = before.name != 0 && act.name != 0 && !is_same(act, before.name, act.name);
            let providers = before.provider != 0 && act.provider != 0 && before.provider != act.provider;
            models || providers
        });
        let told = act.fallback != trouble::NONE;
        if changed.is_some() || told {
            let reason = if told { act.fallback } else { changed.map_or(trouble::OTHER, |one| one.trouble) };
            let reason = if reason == trouble::NONE { trouble::OTHER } else { reason };
            let (provider, from) = changed.map_or((act.provider, act.asked), |one| (one.provider, one.name));
            totals.add_fallback([trouble::word(reason), group.name(provider), group.name(from), name], 1);
            stand_ins.insert(act.key, (reason, from));
        } else if before.is_some_and(|before| before.failed) && act.attempts <= 1 {
            totals.retries += 1;
        }
    }
    stand_ins
}

fn tool_retries(tools: &[&Act], totals: &mut Totals, group: &Group) {
    let mut failed: HashMap<u16, bool> = HashMap::new();
    for act in tools {
        let name = group.name(act.name);
        if failed.insert(act.name, act.failed) == Some(true) {
            totals.tool(name).retries += 1;
        }
        match access(name) {
            Access::Reads => totals.reads += 1,
            Access::Writes => totals.writes += 1,
            Access::Unknown => {}
        }
    }
}

/// The most identical calls in a row.
fn row(tools: &[&Act], group: &Group) -> Option<Streak> {
    let mut best: Option<Streak> = None;
    let (mut last, mut count) = ((0, 0), 0);
    for act in tools {
        let this = (act.name, act.args);
        count = if act.args != 0 && this == last { count + 1 } else { u64::from(act.args != 0) };
        last = this;
        if count > best.as_ref().map_or(0, |best| best.count) {
            best = Some(Streak { tool: group.name(act.name).to_owned(), count });
        }
    }
    best
}

/// The tool with the most calls within `window`.
fn busiest(tools: &[&Act], window: u64, group: &Group) -> Option<Streak> {
    let mut by_tool: HashMap<u16, Vec<u64>> = HashMap::new();
    if window == 0 {
        return None; // no alert rule uses a window
    }
    for act in tools.iter().filter(|act| act.start != 0) {
        by_tool.entry(act.name).or_default().push(act.start);
    }
    let mut best: Option<Streak> = None;
    for (name, starts) in by_tool {
        let (mut from, mut most) = (starts.iter().peekable(), 0_u64);
        let mut inside = 0_u64;
        for start in &starts {
            inside += 1;
            while from.next_if(|first| start.saturating_sub(**first) >= window).is_some() {
                inside -= 1;
            }
            most = most.max(inside);
        }
        let tool = group.name(name);
        let better = best.as_ref().is_none_or(|best| (most, &*best.tool) > (best.count, tool));
        if better {
            best = Some(Streak { tool: tool.to_owned(), count: most });
        }
    }
    best
}

/// Input tokens of the first, the last and the largest call of the run's own loop.
fn context(models: &[&Act]) -> [u64; 3] {
    let own = models.iter().filter(|act| !act.aside && !act.failed);
    let sizes: Vec<u64> = own.map(|act| runs::input(&act.tokens.buckets())).filter(|size| *size > 0).collect();
    let most = sizes.iter().max().copied().unwrap_or(0);
    [sizes.first().copied().unwrap_or(0), sizes.last().copied().unwrap_or(0), most]
}

impl Act {
    /// Whether an item's flags say that it failed, and that a sub-agent made it.
    pub(super) fn flagged(flags: u16) -> (bool, bool) {
        (flags & flag::FAILED != 0, flags & flag::SUB != 0)
    }
}

/// Whether a tool reads or changes external state.
enum Access {
    Reads,
    Writes,
    Unknown,
}

/// Words in the names of tools that change something.
const WRITES: [&str; 24] = [
    "write",
    "edit",
    "multiedit",
    "notebookedit",
    "apply",
    "patch",
    "create",
    "update",
    "delete",
    "remove",
    "insert",
    "replace",
    "put",
    "post",
    "send",
    "move",
    "rename",
    "save",
    "upload",
    "append",
    "commit",
    "push",
    "set",
    "merge",
];
/// Words in the names of tools that only read.
const READS: [&str; 20] = [
    "read",
    "glob",
    "grep",
    "ls",
    "list",
    "get",
    "search",
    "find",
    "fetch",
    "webfetch",
    "websearch",
    "view",
    "lookup",
    "query",
    "describe",
    "show",
    "cat",
    "open",
    "browse",
    "head",
];

/// Uses the first known word in the tool's name; the server prefix of an MCP tool's name is skipped.
fn access(name: &str) -> Access {
    let name = name.rsplit("__").next().unwrap_or(name);
    let name = name.rsplit([':', '.', '/']).next().unwrap_or(name);
    let mut words = words_of(name);
    let found = words.find_map(|word| {
        if WRITES.contains(&word.as_str()) {
            return Some(Access::Writes);
        }
        READS.contains(&word.as_str()).then_some(Access::Reads)
    });
    let whole = name.to_ascii_lowercase();
    match found {
        Some(access) => access,
        None if WRITES.contains(&whole.as_str()) => Access::Writes,
        None if READS.contains(&whole.as_str()) => Access::Reads,
        None => Access::Unknown,
    }
}

/// `readFile`, `read_file`, `ReadFile` → `read`, `file`.
fn words_of(name: &str) -> impl Iterator<Item = String> {
    let (mut words, mut lower_before) = (vec![String::new()], false);
    for c in name.chars().take(64) {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = c.is_ascii_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.into_iter()
}
