//! [`CallsWithoutUsage`]: model calls whose client reported no usage, by model and service. Such calls have no price,
//! so an operator must learn which client to change. The counts come from the same entries as all other figures, so
//! these calls are also part of `unpriced`. `genai` decides which calls these are; `pages` shows them.

use serde_json::{Value, json};

use super::name_sums::{NameCounts, NameSums};
use runs::amounts::format_count;

/// Maximum number of rows shown.
const MAX_USAGE_ROWS: usize = 5;

/// See the module.
#[derive(Default)]
pub struct CallsWithoutUsage {
    pub calls: u64,
    /// Model, service ("" = not reported) and number of calls; most calls first.
    pub rows: NameCounts<2>,
    /// Number of rows left out.
    pub left_out: usize,
}

impl CallsWithoutUsage {
    /// From the counts by model and service.
    pub(super) fn from_counts(counts: NameSums<2, u64>) -> Self {
        let calls = counts.values().sum();
        let (rows, left_out) = counts.into_most_frequent(MAX_USAGE_ROWS);
        Self { calls, rows, left_out }
    }

    /// A sentence with a hint what to switch on; `None` if there are no such calls. `format_name` formats a name.
    pub fn sentence(&self, format_name: impl Fn(&str) -> String) -> Option<String> {
        let calls = match self.calls {
            0 => return None,
            1 => "1 model call was answered without usage, so it has no price".to_owned(),
            calls => format!("{} model calls were answered without usage, so they have no price", format_count(calls)),
        };
        let row = |([model, service], calls): &([Box<str>; 2], u64)| {
            let model = if model.is_empty() { "model not reported".to_owned() } else { format_name(model) };
            let service = if service.is_empty() { String::new() } else { format!(" in {}", format_name(service)) };
            format!("{model}{service} ({})", format_count(*calls))
        };
        let mut rows: Vec<String> = self.rows.iter().map(row).collect();
        rows.extend((self.left_out > 0).then(|| format!("{} more", self.left_out)));
        Some(format!("{calls}: {}. To price such calls, {}.", rows.join(", "), rates::NO_USAGE_HINT))
    }

    pub(super) fn json(&self) -> Value {
        let row = |([model, service], calls): &([Box<str>; 2], u64)| json!({"model": model, "service": service, "calls": calls});
        let hint = if self.calls > 0 { rates::NO_USAGE_HINT.into() } else { Value::Null };
        json!({"calls": self.calls, "largest": self.rows.iter().map(row).collect::<Vec<_>>(), "hint": hint})
    }
}
