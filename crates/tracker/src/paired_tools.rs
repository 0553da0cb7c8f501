//! Pairs a span and a log record that report the same tool call without sharing an id, as in Gemini CLI and Qwen Code.
//! Only records of one run are paired, and only if their dialect reports calls on both signals. Records on one signal
//! are separate calls: the nth span of a tool is paired with its nth log record, and the rest stay unpaired.
//! `calls::decide_roles` pairs model calls.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet};

use super::group::{ToolCall, ToolCallRecord};
use super::observation::{first_nonzero, flag};
use super::run::{ItemRecord, RunItem};

/// Spans, and log records, of a tool in a run: start, key, and index among the items.
type CandidateRecords = [Vec<(u64, u64, usize)>; 2];

/// The merged records of paired tool calls, by index among the items.
#[derive(Default)]
pub(super) struct PairedTools {
    /// Spans, completed from their log records.
    tools: HashMap<usize, ToolCallRecord>,
    /// Log records that were merged into a span.
    merged_logs: HashSet<usize>,
}

impl PairedTools {
    /// `item_runs`: the run of each item.
    pub(super) fn pair_records(items: &[RunItem<'_>], item_runs: &[Option<usize>]) -> Self {
        let mut candidates: BTreeMap<(usize, u16), CandidateRecords> = BTreeMap::new();
        for (index, (item, run)) in items.iter().zip(item_runs).enumerate() {
            let (ItemRecord::Tool(tool), Some(run)) = (&item.record, run) else { continue };
            if tool.flags & flag::TOOL_RAN != 0 && tool.flags & flag::ON_BOTH_SIGNALS != 0 {
                let [spans, logs] = candidates.entry((*run, tool.any_name())).or_default();
                let records = if tool.flags & flag::SPAN != 0 { spans } else { logs };
                records.push((item.start, item.key, index));
            }
        }
        let mut pairs = Self::default();
        for [mut spans, mut logs] in candidates.into_values() {
            spans.sort_unstable();
            logs.sort_unstable();
            for ((.., span), (.., log)) in spans.into_iter().zip(logs) {
                pairs.pair(items, span, log);
            }
        }
        pairs
    }

    /// Merges the log record at one index into the span at another.
    fn pair(&mut self, items: &[RunItem<'_>], span_index: usize, log_index: usize) {
        let tool = |index: usize| match items.get(index)?.record {
            ItemRecord::Tool(tool) => Some(tool),
            _ => None,
        };
        let Some((span, log)) = tool(span_index).zip(tool(log_index)) else { return };
        let detail = ToolCall {
            error: first_nonzero(span.error, log.error),
            denial_source: first_nonzero(span.denial_source, log.denial_source),
            args: first_nonzero(span.args, log.args),
            lines: span.lines.max(log.lines),
            ..span.detail
        };
        let flags = span.flags | (log.flags & (flag::FAILED | flag::DENIED));
        self.tools.insert(span_index, ToolCallRecord { flags, detail, ..*span });
        self.merged_logs.insert(log_index);
    }

    /// The tool call to count for the item at an index; `None` if it was merged into another.
    pub(super) fn tool<'t>(&'t self, index: usize, tool: &'t ToolCallRecord) -> Option<&'t ToolCallRecord> {
        if self.merged_logs.contains(&index) { None } else { Some(self.tools.get(&index).unwrap_or(tool)) }
    }
}
