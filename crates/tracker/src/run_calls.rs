//! [`RunCall`]: one model or tool call of a run, and the figures that depend on the order of the calls: retries,
//! fallbacks, identical calls in a row, context growth, the slowest and the most expensive call.
//! The figures depend only on the set of calls: these are sorted by start time, then by properties that do not depend
//! on the order of arrival. `model_calls` decides which calls count.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use rates::{RateTable, same_model};
use runs::{CallStreak, RunPeaks, RunStep, RunTotals, StepKind};

use super::finish_reason::has_word;
use super::group::{ItemGroup, ModelCall, TracePosition};
use super::observation::{first_nonzero, span_id_of_place, trouble};

/// What is needed besides the items to add up runs. The price table in use, with the operator's overlays, says which
/// ids mean the same model; it may be replaced while the gateway runs, so each evaluation uses one table throughout.
#[derive(Clone, Default)]
pub(super) struct AggregationContext {
    /// Window in which calls of one tool are counted, ns; 0 = not counted.
    pub(super) window: u64,
    /// The price table in use; `None`: the built-in one.
    pub(super) table: Option<Arc<RateTable>>,
}

impl AggregationContext {
    /// The same context without a window.
    pub(super) fn without_window(&self) -> Self {
        Self { window: 0, table: self.table.clone() }
    }

    /// Whether two model ids, as sent, mean the same model of a provider.
    pub(super) fn is_same_model(&self, provider: &str, a: &str, b: &str) -> bool {
        match &self.table {
            Some(table) => table.is_same_model(provider, a, b),
            None => same_model(provider, a, b),
        }
    }
}

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
    /// Of a model call, with the tokens that count.
    pub(super) record: ModelCall,
    pub(super) atto: Option<i128>,
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

    /// The call as pages show it; names are not redacted yet.
    pub(super) fn to_step(&self, group: &ItemGroup) -> RunStep {
        let trace = trace_id(group.key_text(self.position.trace));
        let span_id = |place: u64| span_id(trace, place);
        let tokens = self.record.tokens.to_buckets();
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

/// A trace id from hex.
pub(super) fn trace_id(hex: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32);
    number.map(u128::to_be_bytes)
}

/// The id of the span at a place; all zero if unknown.
pub(super) fn span_id(trace: Option<[u8; 16]>, place: u64) -> [u8; 8] {
    trace.filter(|_| place != 0).map_or([0; 8], |trace| span_id_of_place(trace, place))
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
fn first_with_highest<V: Ord + Default>(calls: &[RunCall], value: impl Fn(&RunCall) -> V) -> Option<&RunCall> {
    calls.iter().rev().max_by_key(|call| value(call)).filter(|call| value(call) > V::default())
}

fn count_errors(calls: &[RunCall], totals: &mut RunTotals, group: &ItemGroup) {
    for call in calls.iter().filter(|call| call.failed) {
        let error = group.name(call.error);
        let label = if error.is_empty() && call.record.trouble > trouble::REFUSAL {
            trouble::reason_text(call.record.trouble)
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
    let mut previous_calls: HashMap<(bool, bool, u64), &RunCall> = HashMap::new();
    for call in models {
        let record = &call.record;
        let provider = group.name(record.provider);
        let is_other_model = |model: u16| {
            let is_known = model != 0 && call.name != 0;
            is_known && !context.is_same_model(provider, group.name(model), group.name(call.name))
        };
        if record.trouble != trouble::NONE {
            totals.add_trouble(trouble::reason_text(record.trouble), provider, 1);
        }
        totals.model_changes += u64::from(is_other_model(record.requested_model));
        totals.retries += u64::from(record.attempts.saturating_sub(1));
        // Sub-agents and spans with different parents run in parallel, so their calls do not replace each other.
        let sequence = (call.outside_loop, call.sub_agent, call.parent);
        let previous = previous_calls.insert(sequence, call);
        let previous = previous.filter(|previous| previous.failed || previous.record.trouble != trouble::NONE);
        let replaced = previous.filter(|previous| {
            let (before, after) = (previous.record.provider, record.provider);
            is_other_model(previous.name) || (before != 0 && after != 0 && before != after)
        });
        if replaced.is_some() || record.fallback != trouble::NONE {
            let trouble_before = replaced.map_or(trouble::NONE, |replaced| replaced.record.trouble);
            let reason =
                [record.fallback, trouble_before, trouble::OTHER].into_iter().fold(trouble::NONE, first_nonzero);
            let (provider, from) = replaced.map_or((record.provider, record.requested_model), |replaced| {
                (replaced.record.provider, replaced.name)
            });
            let [provider, from_name, to_name] = [provider, from, call.name].map(|name| group.name(name));
            totals.add_fallback([trouble::reason_text(reason), provider, from_name, to_name], 1);
            replaced_models.insert(call.key, (reason, from));
        } else if previous.is_some_and(|previous| previous.failed) && record.attempts <= 1 {
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
    let mut longest = (0, 0);
    let (mut previous, mut count) = ((0, 0), 0);
    for call in tools {
        let current = (call.name, call.args);
        count = if call.args != 0 && current == previous { count + 1 } else { u64::from(call.args != 0) };
        previous = current;
        if count > longest.0 {
            longest = (count, call.name);
        }
    }
    let (count, name) = longest;
    (count > 0).then(|| CallStreak { tool: group.name(name).to_owned(), count })
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
    let busiest = starts_by_tool.iter().map(|(name, starts)| {
        let mut window_starts = starts.iter().peekable();
        let (mut inside, mut highest) = (0_u64, 0_u64);
        for start in starts {
            inside += 1;
            while window_starts.next_if(|first| start.saturating_sub(**first) >= window).is_some() {
                inside -= 1;
            }
            highest = highest.max(inside);
        }
        (highest, group.name(*name))
    });
    busiest.max().map(|(count, tool)| CallStreak { tool: tool.to_owned(), count })
}

/// Input tokens of the first, the last and the largest call of the run's own loop.
fn context_sizes(models: &[&RunCall]) -> [u64; 3] {
    let own_calls = models.iter().filter(|call| !call.outside_loop && !call.failed);
    let sizes: Vec<u64> = own_calls
        .map(|call| runs::total_input_tokens(&call.record.tokens.to_buckets()))
        .filter(|size| *size > 0)
        .collect();
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
