//! **What**: a Collector's `memory_limiter` as limits of ours. **Why**: who had a limit must not lose it by changing
//! over. **Invariants**: refusing begins at the figure at which the Collector's soft limit stands, or before, unless
//! that can't hold a gateway (it is told then); what the file says itself under `limits` wins. **Not here**: what the
//! guard does (`memory`), other parts of a Collector (`collector`).

use config::tree::{Key, Node, Val};
use config::{At, ByteSize, Problem};

use super::limits::LEAST_MEMORY;
use super::memory::SHORT;

/// Percent of its limit that the Collector keeps for spikes unless it is told otherwise.
const SPIKE: u64 = 20;

/// What one `memory_limiter` comes to.
enum Meant {
    Memory(ByteSize),
    Percent(u64),
}

/// Puts what `body` says into `limits`; a note of what became of it.
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

/// The limit of ours whose refusing begins at `limit - spike`, and that is not above `limit`.
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
