//! [`TableFinding`]: one difference between two tables, and its severity. `diff`, `id_moves` and `price_jumps` produce
//! findings.

/// A price that changes by more than this factor is refused.
pub(super) const MAX_PRICE_FACTOR: i128 = 3;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingSeverity {
    /// An ordinary change.
    Change,
    /// Reported, but not a reason to refuse the table.
    Warning,
    /// The new table is not used.
    Refusal,
}

impl FindingSeverity {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Warning => "warning",
            Self::Refusal => "refusal",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFinding {
    /// Severity.
    pub severity: FindingSeverity,
    /// `provider/model`; `*` for the whole table.
    pub place: String,
    /// Description of the difference.
    pub description: String,
}
