//! **What**: where the billed input of a call went: `tollgate.input.{system,tools,tool_results,history,user}_tokens`.
//! **Why**: an iteration that costs too much is one whose tool results or history grew; the content that tells is gone.
//! **Invariants**: an estimate by bytes; the five sum to the billed input exactly (largest remainder); whole messages
//! count, however many. **Not here**: prices (`processors/cost`), what a message is (`shape`).

use genai::usage::split;
use genai::{Billing, Call, ItemFacts, Part};

/// The attributes, in the order of [`Shares::spread`].
pub(super) const KEYS: [&str; 5] = [
    "tollgate.input.system_tokens",
    "tollgate.input.tools_tokens",
    "tollgate.input.tool_results_tokens",
    "tollgate.input.history_tokens",
    "tollgate.input.user_tokens",
];

/// Bytes of a conversation by what they are. The last user messages are `user`, what stands before an answer is
/// history.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    pub(super) system: u64,
    pub(super) tools: u64,
    pub(super) results: u64,
    pub(super) history: u64,
    pub(super) user: u64,
}

impl Shares {
    /// Adds a message: its bytes, and those of tool results in it.
    pub(super) fn message(&mut self, role: Option<&str>, text: u64, results: u64) {
        self.results = self.results.saturating_add(results);
        match role {
            Some("system" | "developer") => self.system = self.system.saturating_add(text),
            Some("tool" | "function") => self.results = self.results.saturating_add(text),
            Some("assistant" | "ai" | "model") => {
                self.history = self.history.saturating_add(self.user).saturating_add(text);
                self.user = 0;
            }
            _ => self.user = self.user.saturating_add(text),
        }
    }

    /// Adds messages that follow.
    pub(super) fn append(&mut self, later: &Self) {
        if later.history > 0 {
            self.history = self.history.saturating_add(self.user);
            self.user = 0;
        }
        self.system = self.system.saturating_add(later.system);
        self.tools = self.tools.saturating_add(later.tools);
        self.results = self.results.saturating_add(later.results);
        self.history = self.history.saturating_add(later.history);
        self.user = self.user.saturating_add(later.user);
    }

    /// Everything that is no tool result.
    pub(super) fn text(&self) -> u64 {
        [self.system, self.tools, self.history, self.user].into_iter().fold(0, u64::saturating_add)
    }

    /// Adds what stands in a place of `part`; outputs are no input.
    pub(super) fn place(&mut self, part: Part, found: &Self) {
        let all = found.text().saturating_add(found.results);
        match part {
            Part::Input => self.append(found),
            Part::System => self.system = self.system.saturating_add(all),
            Part::Tools => self.tools = self.tools.saturating_add(all),
            Part::ToolResult => self.results = self.results.saturating_add(all),
            Part::Output | Part::ToolArgs | Part::Other => {}
        }
    }

    /// `total` tokens in proportion, exactly.
    pub(super) fn spread(&self, total: u64) -> Option<[u64; 5]> {
        let bytes = [self.system, self.tools, self.results, self.history, self.user];
        let sum: u128 = bytes.iter().map(|bytes| u128::from(*bytes)).sum();
        if sum == 0 {
            return None;
        }
        let product = |bytes: u64| u128::from(total) * u128::from(bytes);
        let mut out = bytes.map(|bytes| u64::try_from(product(bytes) / sum).unwrap_or(u64::MAX));
        let mut left = total.saturating_sub(out.iter().sum());
        let mut order: Vec<(u128, usize)> =
            bytes.iter().enumerate().map(|(at, bytes)| (product(*bytes) % sum, at)).collect();
        order.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        for (_, at) in order {
            if let Some(tokens) = out.get_mut(at).filter(|_| left > 0) {
                *tokens += 1;
                left -= 1;
            }
        }
        Some(out)
    }
}

/// The input that an item is billed for; none on copies and on what is no call.
pub(super) fn billed_input(item: &ItemFacts) -> Option<u64> {
    if item.call != Call::Model || !item.billable {
        return None;
    }
    let counted = item.cost.as_deref().filter(|cost| matches!(cost.status, Billing::Priced | Billing::Unpriced));
    if item.cost.is_some() && counted.is_none() {
        return None;
    }
    let buckets = counted.map(|cost| cost.buckets);
    let sum = buckets.map(|buckets| {
        [buckets.cache_read, buckets.cache_write_5m, buckets.cache_write_1h]
            .into_iter()
            .fold(buckets.input, u64::saturating_add)
    });
    let told = sum.filter(|sum| *sum > 0).or_else(|| Some(split(item).ok()?.total_input()));
    told.filter(|tokens| *tokens > 0)
}
