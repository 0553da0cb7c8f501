//! [`RunCall`]: one model or tool call of a run, and the figures that depend on the order of the calls: retries,
//! fallbacks, identical calls in a row, context growth, the slowest and the most expensive call.
//! The result is a function of the set of calls alone: they are sorted by start time, then by properties that do not
//! depend on arrival order. `layers` decides which calls count.

use std::collections::HashMap;

use runs::{CallStreak, RunPeaks, RunStep, RunTotals, StepKind};

use super::aggregation_context::AggregationContext;
use super::group::{ItemGroup, TracePosition};
use super::observation::{self, flag, trouble};
use super::tokens::PackedTokens;

/// One model or tool call of a run.
#[derive(Clone)]
pub(super) struct RunCall {
    pub(super) kind: StepKind,
    /// The call's key in its group; breaks ties in the sort order.
    pub(super) key: u64,
    pub(super) position: TracePosition,
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
    pub(super) outside_loop: bool,
    pub(super) sub_agent: bool,
    pub(super) tokens: PackedTokens,
    pub(super) atto: Option<i128>,
    pub(super) requested_model: u16,
    pub(super) provider: u16,
    pub(super) trouble: u8,
    pub(super) fallback: u8,
    pub(super) attempts: u8,
    /// Digest of a tool's arguments; 0 = unknown.
    pub(super) args: u64,
    /// If this call replaced another model's call: the reason (see `seen::trouble`) and the replaced model.
    pub(super) replaced_model: Option<(u8, u16)>,
}

impl RunCall {
    fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    fn is_tool(&self) -> bool {
        self.kind == StepKind::Tool
    }

    /// The call as pages show it; names are not redacted yet.
    pub(super) fn to_step(&self, group: &ItemGroup) -> RunStep {
        let trace = trace_id(group, self.position.trace);
        let span = |place: u64| {
            trace.filter(|_| place != 0).map_or([0; 8], |trace| observation::span_id_of_place(trace, place))
        };
        let tokens = self.tokens.to_buckets();
        RunStep {
            kind: self.kind,
            name: group.name(self.name).to_owned(),
            span: span(if self.position.is_own_span { self.position.node } else { 0 }),
            parent: span(self.parent),
            start: self.start,
            duration: self.duration(),
            failed: self.failed,
            denied: self.denied,
            sub_agent: self.sub_agent,
            input_tokens: runs::total_input_tokens(&tokens),
            output_tokens: tokens.output,
            atto_usd: self.atto,
        }
    }
}

/// Parses a trace key's hex text.
pub(super) fn trace_id(group: &ItemGroup, trace: u32) -> Option<[u8; 16]> {
    let text = group.key_text(trace);
    if text.len() != 32 {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// Sorts a run's calls and adds the order-dependent figures to its totals.
pub(super) fn summarize_calls(
    acts: &mut [RunCall],
    totals: &mut RunTotals,
    group: &ItemGroup,
    terms: &AggregationContext,
) -> RunPeaks {
    acts.sort_unstable_by_key(|act| (act.start, act.end, act.key));
    let (models, tools): (Vec<&RunCall>, Vec<&RunCall>) = acts.iter().partition(|act| !act.is_tool());
    let stand_ins = count_fallbacks_and_retries(&models, totals, group, terms);
    count_errors(acts, totals, group);
    count_tool_retries(&tools, totals, group);
    let peaks = RunPeaks {
        slowest: first_with_highest(acts, |act| act.duration()).map(|act| act.to_step(group)),
        most_expensive: first_with_highest(acts, |act| act.atto.unwrap_or(0)).map(|act| act.to_step(group)),
        identical_row: longest_identical_row(&tools, group),
        busiest_window: busiest_window(&tools, terms.window, group),
        context: context_sizes(&models),
    };
    for act in acts.iter_mut().filter(|act| !act.is_tool()) {
        act.replaced_model = stand_ins.get(&act.key).copied();
    }
    peaks
}

/// The first call with the highest value, if that is above the default value.
fn first_with_highest<V: Ord + Default + Copy>(acts: &[RunCall], value: impl Fn(&RunCall) -> V) -> Option<&RunCall> {
    let mut best: Option<(&RunCall, V)> = None;
    for act in acts {
        let value = value(act);
        if value > best.map_or(V::default(), |(_, best)| best) {
            best = Some((act, value));
        }
    }
    best.map(|(act, _)| act)
}

fn count_errors(acts: &[RunCall], totals: &mut RunTotals, group: &ItemGroup) {
    for act in acts.iter().filter(|act| act.failed) {
        let named = group.name(act.error);
        let word =
            if named.is_empty() && act.trouble > trouble::REFUSAL { trouble::reason_text(act.trouble) } else { named };
        totals.add_error(word);
    }
}

/// Counts retries and fallbacks after model calls that failed or were not answered as requested. Returns the calls
/// that replaced another model's call, by key: the reason and the replaced model.
fn count_fallbacks_and_retries(
    models: &[&RunCall],
    totals: &mut RunTotals,
    group: &ItemGroup,
    terms: &AggregationContext,
) -> HashMap<u64, (u8, u16)> {
    let mut stand_ins = HashMap::new();
    let is_same = |act: &RunCall, one: u16, other: u16| {
        terms.is_same_model(group.name(act.provider), group.name(one), group.name(other))
    };
    let mut by_line: HashMap<(bool, bool, u64), &RunCall> = HashMap::new();
    for act in models {
        let name = group.name(act.name);
        if act.trouble != trouble::NONE {
            totals.add_trouble(trouble::reason_text(act.trouble), group.name(act.provider), 1);
        }
        if act.requested_model != 0 && act.name != 0 && !is_same(act, act.requested_model, act.name) {
            totals.model_changes += 1;
        }
        totals.retries += u64::from(act.attempts.saturating_sub(1));
        // Sub-agents and spans with different parents run in parallel, so their calls do not replace each other.
        let line = (act.outside_loop, act.sub_agent, act.parent);
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
            let (provider, from) = changed.map_or((act.provider, act.requested_model), |one| (one.provider, one.name));
            totals.add_fallback([trouble::reason_text(reason), group.name(provider), group.name(from), name], 1);
            stand_ins.insert(act.key, (reason, from));
        } else if before.is_some_and(|before| before.failed) && act.attempts <= 1 {
            totals.retries += 1;
        }
    }
    stand_ins
}

fn count_tool_retries(tools: &[&RunCall], totals: &mut RunTotals, group: &ItemGroup) {
    let mut failed: HashMap<u16, bool> = HashMap::new();
    for act in tools {
        let name = group.name(act.name);
        if failed.insert(act.name, act.failed) == Some(true) {
            totals.tool(name).retries += 1;
        }
        match tool_access(name) {
            ToolAccess::Reads => totals.reads += 1,
            ToolAccess::Writes => totals.writes += 1,
            ToolAccess::Unknown => {}
        }
    }
}

/// The most identical calls in a row.
fn longest_identical_row(tools: &[&RunCall], group: &ItemGroup) -> Option<CallStreak> {
    let mut best: Option<CallStreak> = None;
    let (mut last, mut count) = ((0, 0), 0);
    for act in tools {
        let this = (act.name, act.args);
        count = if act.args != 0 && this == last { count + 1 } else { u64::from(act.args != 0) };
        last = this;
        if count > best.as_ref().map_or(0, |best| best.count) {
            best = Some(CallStreak { tool: group.name(act.name).to_owned(), count });
        }
    }
    best
}

/// The tool with the most calls within `window`.
fn busiest_window(tools: &[&RunCall], window: u64, group: &ItemGroup) -> Option<CallStreak> {
    let mut by_tool: HashMap<u16, Vec<u64>> = HashMap::new();
    if window == 0 {
        return None; // no alert rule uses a window
    }
    for act in tools.iter().filter(|act| act.start != 0) {
        by_tool.entry(act.name).or_default().push(act.start);
    }
    let mut best: Option<CallStreak> = None;
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
            best = Some(CallStreak { tool: tool.to_owned(), count: most });
        }
    }
    best
}

/// Input tokens of the first, the last and the largest call of the run's own loop.
fn context_sizes(models: &[&RunCall]) -> [u64; 3] {
    let own = models.iter().filter(|act| !act.outside_loop && !act.failed);
    let sizes: Vec<u64> =
        own.map(|act| runs::total_input_tokens(&act.tokens.to_buckets())).filter(|size| *size > 0).collect();
    let most = sizes.iter().max().copied().unwrap_or(0);
    [sizes.first().copied().unwrap_or(0), sizes.last().copied().unwrap_or(0), most]
}

impl RunCall {
    /// Whether an item's flags say that it failed, and that a sub-agent made it.
    pub(super) fn failed_and_sub_agent(flags: u16) -> (bool, bool) {
        (flags & flag::FAILED != 0, flags & flag::SUB_AGENT != 0)
    }
}

/// Whether a tool reads or changes external state.
enum ToolAccess {
    Reads,
    Writes,
    Unknown,
}

/// Words in the names of tools that change something.
const WRITE_WORDS: [&str; 24] = [
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
const READ_WORDS: [&str; 20] = [
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
fn tool_access(name: &str) -> ToolAccess {
    let name = name.rsplit("__").next().unwrap_or(name);
    let name = name.rsplit([':', '.', '/']).next().unwrap_or(name);
    let mut words = split_words(name);
    let found = words.find_map(|word| {
        if WRITE_WORDS.contains(&word.as_str()) {
            return Some(ToolAccess::Writes);
        }
        READ_WORDS.contains(&word.as_str()).then_some(ToolAccess::Reads)
    });
    let whole = name.to_ascii_lowercase();
    match found {
        Some(access) => access,
        None if WRITE_WORDS.contains(&whole.as_str()) => ToolAccess::Writes,
        None if READ_WORDS.contains(&whole.as_str()) => ToolAccess::Reads,
        None => ToolAccess::Unknown,
    }
}

/// `readFile`, `read_file`, `ReadFile` → `read`, `file`.
fn split_words(name: &str) -> impl Iterator<Item = String> {
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
