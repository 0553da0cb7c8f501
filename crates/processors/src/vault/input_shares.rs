//! Estimates how the billed input of a call is distributed:
//! `tollgate.input.{system,tools,tool_results,history,user}_tokens`. If an iteration becomes too expensive, its tool
//! results or history have grown, and the content that would show it is removed.
//!
//! The estimate is by bytes; the five values add up exactly to the billed input (largest remainder method); all
//! messages count. Prices are computed in `processors/cost`; `shape` defines what a message is.

use genai::usage::split_tokens;
use genai::{BillingStatus, ContentPart, ItemFacts, ItemRole};

/// The attributes, in the order of [`InputShares::distribute`].
pub(super) const KEYS: [&str; 5] = [
    "tollgate.input.system_tokens",
    "tollgate.input.tools_tokens",
    "tollgate.input.tool_results_tokens",
    "tollgate.input.history_tokens",
    "tollgate.input.user_tokens",
];

/// Bytes of a conversation by category. `user` holds the last user messages; everything before an answer is history.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct InputShares {
    pub(super) system: u64,
    pub(super) tools: u64,
    pub(super) results: u64,
    pub(super) history: u64,
    pub(super) user: u64,
}

impl InputShares {
    /// Adds a message: its bytes, and those of tool results in it.
    pub(super) fn add_message(&mut self, role: Option<&str>, text: u64, results: u64) {
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

    /// Appends later messages.
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

    /// All bytes except tool results.
    pub(super) fn non_result_bytes(&self) -> u64 {
        [self.system, self.tools, self.history, self.user].into_iter().fold(0, u64::saturating_add)
    }

    /// Adds the bytes found in a place of `part`. Outputs are not input.
    pub(super) fn add_part(&mut self, part: ContentPart, found: &Self) {
        let all = found.non_result_bytes().saturating_add(found.results);
        match part {
            ContentPart::Input => self.append(found),
            ContentPart::System => self.system = self.system.saturating_add(all),
            ContentPart::Tools => self.tools = self.tools.saturating_add(all),
            ContentPart::ToolResult => self.results = self.results.saturating_add(all),
            ContentPart::Output | ContentPart::ToolArgs | ContentPart::Other => {}
        }
    }

    /// Distributes `total` tokens exactly, in proportion to the bytes.
    pub(super) fn distribute(&self, total: u64) -> Option<[u64; 5]> {
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

/// The billed input of an item. `None` for copies and for items that are not calls.
pub(super) fn billed_input(item: &ItemFacts) -> Option<u64> {
    if item.call != ItemRole::Model || !item.billable {
        return None;
    }
    let counted =
        item.cost.as_deref().filter(|cost| matches!(cost.status, BillingStatus::Priced | BillingStatus::Unpriced));
    if item.cost.is_some() && counted.is_none() {
        return None;
    }
    let buckets = counted.map(|cost| cost.buckets);
    let sum = buckets.map(|buckets| {
        [buckets.cache_read, buckets.cache_write_5m, buckets.cache_write_1h]
            .into_iter()
            .fold(buckets.input, u64::saturating_add)
    });
    let told = sum.filter(|sum| *sum > 0).or_else(|| Some(split_tokens(item).ok()?.total_input()));
    told.filter(|tokens| *tokens > 0)
}
