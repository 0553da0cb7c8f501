//! Converts a Collector's `memory_limiter` to tollgate's `limits`, so that a migrated file keeps its limit. Refusing
//! begins at the Collector's soft limit or below, unless that is too small for a gateway, which the note says. Settings
//! under `limits` take precedence. `memory` enforces the limit.

use config::tree::{MapKey, NodeValue, TreeNode};
use config::{ByteSize, Problem, SourcePosition};

use super::limits::MIN_MEMORY;
use super::memory::SHORT_PERCENT;

/// The part of its limit, in percent, that the Collector reserves for spikes by default.
const DEFAULT_SPIKE_PERCENT: u64 = 20;

/// A `memory_limiter` in tollgate's terms.
enum ConvertedLimit {
    Memory(ByteSize),
    Percent(u64),
}

/// Adds the limits in `body` to `limits`; returns a note about the result.
pub(crate) fn convert_memory_limiter(
    path: String,
    at: SourcePosition,
    body: &TreeNode,
    limits: &mut TreeNode,
) -> Problem {
    let number = |key: &str| body.get(key).and_then(|(_, node)| parse_number(node)).filter(|number| *number > 0);
    let converted = match (number("limit_mib"), number("limit_percentage")) {
        (Some(limit), _) => {
            let spike = number("spike_limit_mib").unwrap_or(limit * DEFAULT_SPIKE_PERCENT / 100);
            Some(ConvertedLimit::Memory(ByteSize::mib(convert_limit(limit, spike))))
        }
        (None, Some(limit)) => {
            let spike = number("spike_limit_percentage").unwrap_or(limit * DEFAULT_SPIKE_PERCENT / 100);
            Some(ConvertedLimit::Percent(convert_limit(limit, spike).clamp(1, 100)))
        }
        (None, None) => None,
    };
    let note = |message: String| Problem::warning(Some(at), path.clone(), message);
    if ["memory", "memory_percentage"].iter().any(|key| limits.get(key).is_some()) {
        return note("`memory_limiter` is not used: `limits` already sets the memory limit".to_owned());
    }
    let Some(converted) = converted else {
        return note("`memory_limiter` sets no limit: the cgroup's limit is used (see `limits.memory`)".to_owned());
    };
    let raised = matches!(converted, ConvertedLimit::Memory(size) if size < MIN_MEMORY);
    let (key, value, shown) = match converted {
        ConvertedLimit::Memory(size) => {
            let size = size.max(MIN_MEMORY).to_string();
            ("memory", NodeValue::Str(size.clone()), size)
        }
        ConvertedLimit::Percent(percent) => ("memory_percentage", NodeValue::UInt(percent), percent.to_string()),
    };
    let node = TreeNode { value, ..TreeNode::null(at) };
    limits.put(MapKey { at, name: key.to_owned() }, node);
    let raised = if raised { ", the minimum for the gateway" } else { "" };
    note(format!(
        "`memory_limiter` became `limits.{key}: {shown}`{raised}: from {} % of it on, clients are asked to retry later",
        SHORT_PERCENT.0
    ))
}

/// tollgate's limit for which refusing begins at `limit - spike`, capped at `limit`.
fn convert_limit(limit: u64, spike: u64) -> u64 {
    limit.min(limit.saturating_sub(spike).saturating_mul(100) / SHORT_PERCENT.0)
}

fn parse_number(node: &TreeNode) -> Option<u64> {
    match &node.value {
        NodeValue::UInt(number) => Some(*number),
        NodeValue::Str(text) => text.trim().parse().ok(),
        _ => None,
    }
}
