//! Converts a Collector's `memory_limiter` to tollgate's `limits`, so that a migrated file keeps its limit. Refusing
//! begins at the Collector's soft limit or below, unless that is too small for a gateway, which the note says. Settings
//! under `limits` take precedence. `memory` enforces the limit.

use config::tree::{Key, Node, Val};
use config::{At, ByteSize, Problem};

use super::limits::LEAST_MEMORY;
use super::memory::SHORT;

/// The part of its limit, in percent, that the Collector reserves for spikes by default.
const SPIKE: u64 = 20;

/// A `memory_limiter` in tollgate's terms.
enum Meant {
    Memory(ByteSize),
    Percent(u64),
}

/// Adds the limits in `body` to `limits`; returns a note about the result.
pub(super) fn taken(path: String, at: At, body: &Node, limits: &mut Node) -> Problem {
    let number = |key: &str| body.get(key).and_then(|(_, node)| figure(node)).filter(|number| *number > 0);
    let meant = match (number("limit_mib"), number("limit_percentage")) {
        (Some(limit), _) => {
            let spike = number("spike_limit_mib").unwrap_or(limit * SPIKE / 100);
            Some(Meant::Memory(ByteSize::mib(ours(limit, spike))))
        }
        (None, Some(limit)) => {
            let spike = number("spike_limit_percentage").unwrap_or(limit * SPIKE / 100);
            Some(Meant::Percent(ours(limit, spike).clamp(1, 100)))
        }
        (None, None) => None,
    };
    let told = |what: String| Problem::warning(Some(at), path.clone(), what);
    let Some(meant) = meant else {
        return told("`memory_limiter` says no limit: the cgroup's is known by itself (`limits.memory`)".to_owned());
    };
    if ["memory", "memory_percentage"].iter().any(|key| limits.get(key).is_some()) {
        return told("`memory_limiter` is not used: `limits` says what memory may be taken".to_owned());
    }
    let raised = matches!(meant, Meant::Memory(size) if size < LEAST_MEMORY);
    let (key, value, shown) = match meant {
        Meant::Memory(size) => {
            let size = size.max(LEAST_MEMORY).to_string();
            ("memory", Val::Str(size.clone()), size)
        }
        Meant::Percent(percent) => ("memory_percentage", Val::UInt(percent), percent.to_string()),
    };
    let node = Node { value, ..Node::null(at) };
    let entry = (Key { at, name: key.to_owned() }, node);
    match &mut limits.value {
        Val::Map(entries) => entries.push(entry),
        value => *value = Val::Map(vec![entry]),
    }
    let raised = if raised { ", the least that can hold the gateway" } else { "" };
    told(format!(
        "`memory_limiter` became `limits.{key}: {shown}`{raised}: from {} % of it on clients are told when to come again",
        SHORT.0
    ))
}

/// tollgate's limit for which refusing begins at `limit - spike`, capped at `limit`.
fn ours(limit: u64, spike: u64) -> u64 {
    limit.min(limit.saturating_sub(spike).saturating_mul(100) / SHORT.0)
}

fn figure(node: &Node) -> Option<u64> {
    match &node.value {
        Val::UInt(number) => Some(*number),
        Val::Str(text) => text.trim().parse().ok(),
        _ => None,
    }
}
