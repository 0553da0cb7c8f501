//! [`RunCall`]: one model or tool call of a run, and the figures that depend on the order of the calls: retries,
//! fallbacks, identical calls in a row, context growth, the slowest and the most expensive call.
//! The figures depend only on the set of calls: these are sorted by start time, then by properties that do not depend
//! on the order of arrival. `layers` decides which calls count.

use foldhash::{HashMap, HashMapExt as _};

use runs::{CallStreak, RunPeaks, RunStep, RunTotals, StepKind};

use super::aggregation_context::AggregationContext;
use super::constants::has_word;
use super::group::{ItemGroup, TracePosition};
use super::observation::{self, flag, trouble};
use super::tokens::PackedTokens;

/// One model or tool call of a run.
#[derive(Clone, Default)]
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
    /// Why the call was not answered as requested: a constant of [`trouble`].
    pub(super) trouble: u8,
    /// Why this model replaced another one, if the item says so: a constant of [`trouble`].
    pub(super) fallback: u8,
    pub(super) attempts: u16,
    /// Digest of a tool's arguments; 0 = unknown.
    pub(super) args: u64,
    /// If this call replaced another model's call: the reason (a constant of [`trouble`]) and the replaced model.
    pub(super) replaced_model: Option<(u8, u16)>,
}

impl RunCall {
    fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    fn is_tool(&self) -> bool {
        self.kind == StepKind::Tool
    }

    /// Whether an item's flags say that it failed, and that a sub-agent made it.
    pub(super) fn failed_and_sub_agent(flags: u32) -> (bool, bool) {
        (flags & flag::FAILED != 0, flags & flag::SUB_AGENT != 0)
    }

    /// The call as pages show it; names are not redacted yet.
    pub(super) fn to_step(&self, group: &ItemGroup) -> RunStep {
        let trace = trace_id(group, self.position.trace);
        let span_id = |place: u64| {
            trace.filter(|_| place != 0).map_or([0; 8], |trace| observation::span_id_of_place(trace, place))
        };
        let tokens = self.tokens.to_buckets();
        RunStep {
            kind: self.kind,
            name: group.name(self.name).to_owned(),
            span: span_id(if self.position.is_own_span { self.position.node } else { 0 }),
            parent: span_id(self.parent),
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

/// The trace id of a key, from the key's hex text.
pub(super) fn trace_id(group: &ItemGroup, trace: u32) -> Option<[u8; 16]> {
    let text = group.key_text(trace);
    if text.len() != 32 {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

/// Sorts a run's calls and adds the order-dependent figures to its totals.
pub(super) fn summarize_calls(
    calls: &mut [RunCall],
    totals: &mut RunTotals,
    group: &ItemGroup,
    context: &AggregationContext,
) -> RunPeaks {
    calls.sort_unstable_by_key(|call| (call.start, call.end, call.key));
    let (models, tools): (Vec<&RunCall>, Vec<&RunCall>) = calls.iter().partition(|call| !call.is_tool());
    let replaced_models = count_fallbacks_and_retries(&models, totals, group, context);
    count_errors(calls, totals, group);
    count_tool_retries(&tools, totals, group);
    let peaks = RunPeaks {
        slowest: first_with_highest(calls, |call| call.duration()).map(|call| call.to_step(group)),
        most_expensive: first_with_highest(calls, |call| call.atto.unwrap_or(0)).map(|call| call.to_step(group)),
        identical_row: longest_identical_row(&tools, group),
        busiest_window: busiest_window(&tools, context.window, group),
        context: context_sizes(&models),
    };
    for call in calls.iter_mut().filter(|call| !call.is_tool()) {
        call.replaced_model = replaced_models.get(&call.key).copied();
    }
    peaks
}

/// The first call with the highest value, if that is above the default value.
fn first_with_highest<V: Ord + Default + Copy>(calls: &[RunCall], value: impl Fn(&RunCall) -> V) -> Option<&RunCall> {
    let mut highest: Option<(&RunCall, V)> = None;
    for call in calls {
        let value = value(call);
        if value > highest.map_or(V::default(), |(_, highest)| highest) {
            highest = Some((call, value));
        }
    }
    highest.map(|(call, _)| call)
}

fn count_errors(calls: &[RunCall], totals: &mut RunTotals, group: &ItemGroup) {
    for call in calls.iter().filter(|call| call.failed) {
        let error = group.name(call.error);
        let label = if error.is_empty() && call.trouble > trouble::REFUSAL {
            trouble::reason_text(call.trouble)
        } else {
            error
        };
        totals.add_error(label);
    }
}

/// Counts retries and fallbacks after model calls that failed or were not answered as requested. Returns the reason and
/// the replaced model of each call that replaced another model's call, by the call's key.
fn count_fallbacks_and_retries(
    models: &[&RunCall],
    totals: &mut RunTotals,
    group: &ItemGroup,
    context: &AggregationContext,
) -> HashMap<u64, (u8, u16)> {
    let mut replaced_models = HashMap::new();
    let is_same_model =
        |call: &RunCall, a: u16, b: u16| context.is_same_model(group.name(call.provider), group.name(a), group.name(b));
    let mut previous_calls: HashMap<(bool, bool, u64), &RunCall> = HashMap::new();
    for call in models {
        if call.trouble != trouble::NONE {
            totals.add_trouble(trouble::reason_text(call.trouble), group.name(call.provider), 1);
        }
        if call.requested_model != 0 && call.name != 0 && !is_same_model(call, call.requested_model, call.name) {
            totals.model_changes += 1;
        }
        totals.retries += u64::from(call.attempts.saturating_sub(1));
        // Sub-agents and spans with different parents run in parallel, so their calls do not replace each other.
        let sequence = (call.outside_loop, call.sub_agent, call.parent);
        let previous = previous_calls.insert(sequence, call);
        let previous = previous.filter(|previous| previous.failed || previous.trouble != trouble::NONE);
        let replaced = previous.filter(|previous| {
            let has_other_model =
                previous.name != 0 && call.name != 0 && !is_same_model(call, previous.name, call.name);
            let has_other_provider = previous.provider != 0 && call.provider != 0 && previous.provider != call.provider;
            has_other_model || has_other_provider
        });
        let is_reported = call.fallback != trouble::NONE;
        if replaced.is_some() || is_reported {
            let reason =
                if is_reported { call.fallback } else { replaced.map_or(trouble::OTHER, |replaced| replaced.trouble) };
            let reason = if reason == trouble::NONE { trouble::OTHER } else { reason };
            let (provider, from) =
                replaced.map_or((call.provider, call.requested_model), |replaced| (replaced.provider, replaced.name));
            let [provider, from_name, to_name] = [provider, from, call.name].map(|name| group.name(name));
            totals.add_fallback([trouble::reason_text(reason), provider, from_name, to_name], 1);
            replaced_models.insert(call.key, (reason, from));
        } else if previous.is_some_and(|previous| previous.failed) && call.attempts <= 1 {
            totals.retries += 1;
        }
    }
    replaced_models
}

fn count_tool_retries(tools: &[&RunCall], totals: &mut RunTotals, group: &ItemGroup) {
    let mut last_failed: HashMap<u16, bool> = HashMap::new();
    for call in tools {
        let name = group.name(call.name);
        if last_failed.insert(call.name, call.failed) == Some(true) {
            totals.tool(name).retries += 1;
        }
        match tool_access(name) {
            Some(ToolAccess::Reads) => totals.reads += 1,
            Some(ToolAccess::Writes) => totals.writes += 1,
            None => {}
        }
    }
}

/// The longest row of identical calls; calls with unknown arguments are never identical.
fn longest_identical_row(tools: &[&RunCall], group: &ItemGroup) -> Option<CallStreak> {
    let mut longest: Option<CallStreak> = None;
    let (mut previous, mut count) = ((0, 0), 0);
    for call in tools {
        let current = (call.name, call.args);
        count = if call.args != 0 && current == previous { count + 1 } else { u64::from(call.args != 0) };
        previous = current;
        if count > longest.as_ref().map_or(0, |longest| longest.count) {
            longest = Some(CallStreak { tool: group.name(call.name).to_owned(), count });
        }
    }
    longest
}

/// The tool with the most calls within `window`.
fn busiest_window(tools: &[&RunCall], window: u64, group: &ItemGroup) -> Option<CallStreak> {
    if window == 0 {
        return None; // the window is not needed, see `AggregationContext::without_window`
    }
    let mut starts_by_tool: HashMap<u16, Vec<u64>> = HashMap::new();
    for call in tools.iter().filter(|call| call.start != 0) {
        starts_by_tool.entry(call.name).or_default().push(call.start);
    }
    let mut busiest: Option<CallStreak> = None;
    for (name, starts) in starts_by_tool {
        let mut window_starts = starts.iter().peekable();
        let (mut inside, mut highest) = (0_u64, 0_u64);
        for start in &starts {
            inside += 1;
            while window_starts.next_if(|first| start.saturating_sub(**first) >= window).is_some() {
                inside -= 1;
            }
            highest = highest.max(inside);
        }
        let tool = group.name(name);
        if busiest.as_ref().is_none_or(|busiest| (highest, &*busiest.tool) > (busiest.count, tool)) {
            busiest = Some(CallStreak { tool: tool.to_owned(), count: highest });
        }
    }
    busiest
}

/// Input tokens of the first, the last and the largest call of the run's own loop.
fn context_sizes(models: &[&RunCall]) -> [u64; 3] {
    let own_calls = models.iter().filter(|call| !call.outside_loop && !call.failed);
    let sizes: Vec<u64> =
        own_calls.map(|call| runs::total_input_tokens(&call.tokens.to_buckets())).filter(|size| *size > 0).collect();
    let largest = sizes.iter().max().copied().unwrap_or(0);
    [sizes.first().copied().unwrap_or(0), sizes.last().copied().unwrap_or(0), largest]
}

/// How a tool uses external state.
enum ToolAccess {
    Reads,
    Writes,
}

/// Words in the names of tools that change something.
const WRITE_WORDS: &str = "write edit multiedit notebookedit apply patch create update delete remove insert replace \
    put post send move rename save upload append commit push set merge";
/// Words in the names of tools that only read.
const READ_WORDS: &str = "read glob grep ls list get search find fetch webfetch websearch view lookup query describe \
    show cat open browse head";

/// Decided by the first known word in the tool's name, otherwise by the whole name; the server prefix of an MCP tool's
/// name is skipped. `None`: unknown.
fn tool_access(name: &str) -> Option<ToolAccess> {
    let name = name.rsplit("__").next().unwrap_or(name);
    let name = name.rsplit([':', '.', '/']).next().unwrap_or(name);
    let access = |word: String| {
        let reads = has_word(READ_WORDS, &word).then_some(ToolAccess::Reads);
        if has_word(WRITE_WORDS, &word) { Some(ToolAccess::Writes) } else { reads }
    };
    split_words(name).chain([name.to_ascii_lowercase()]).find_map(access)
}

/// `readFile`, `read_file`, `ReadFile` → `read`, `file`.
fn split_words(name: &str) -> impl Iterator<Item = String> {
    let (mut words, mut lower_before) = (vec![String::new()], false);
    for character in name.chars().take(64) {
        if !character.is_ascii_alphanumeric() || (character.is_ascii_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = character.is_ascii_lowercase();
        if let Some(word) = words.last_mut().filter(|_| character.is_ascii_alphanumeric()) {
            word.push(character.to_ascii_lowercase());
        }
    }
    words.into_iter()
}
