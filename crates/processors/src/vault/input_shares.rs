//! Estimates how the billed input of a call is distributed:
//! `tollgate.input.{system,tools,tool_results,history,user}_tokens`. They show whether an expensive iteration has grown
//! by its tool results or by its history, although the content is removed.
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

/// Bytes of a conversation by category. `user` holds the user messages after the model's last answer; earlier ones are
/// history.
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
        let bytes = found.non_result_bytes().saturating_add(found.results);
        match part {
            ContentPart::Input => self.append(found),
            ContentPart::System => self.system = self.system.saturating_add(bytes),
            ContentPart::Tools => self.tools = self.tools.saturating_add(bytes),
            ContentPart::ToolResult => self.results = self.results.saturating_add(bytes),
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
        let mut shares = bytes.map(|bytes| u64::try_from(product(bytes) / sum).unwrap_or(u64::MAX));
        let mut undistributed = total.saturating_sub(shares.iter().sum());
        let mut remainders: Vec<(u128, usize)> =
            bytes.iter().enumerate().map(|(index, bytes)| (product(*bytes) % sum, index)).collect();
        remainders.sort_by_key(|(remainder, index)| (std::cmp::Reverse(*remainder), *index));
        for (_, index) in remainders {
            if let Some(tokens) = shares.get_mut(index).filter(|_| undistributed > 0) {
                *tokens += 1;
                undistributed -= 1;
            }
        }
        Some(shares)
    }
}

/// The input tokens that an item is billed for. `None` for copies and for items that are not calls.
pub(super) fn billed_input(item: &ItemFacts) -> Option<u64> {
    if item.call != ItemRole::Model || !item.billable {
        return None;
    }
    let cost = item.cost.as_deref();
    if cost.is_some_and(|cost| !matches!(cost.status, BillingStatus::Priced | BillingStatus::Unpriced)) {
        return None;
    }
    let billed = cost.map(|cost| {
        [cost.buckets.cache_read, cost.buckets.cache_write_5m, cost.buckets.cache_write_1h]
            .into_iter()
            .fold(cost.buckets.input, u64::saturating_add)
    });
    let tokens = billed.filter(|billed| *billed > 0).or_else(|| Some(split_tokens(item).ok()?.total_input()));
    tokens.filter(|tokens| *tokens > 0)
}
