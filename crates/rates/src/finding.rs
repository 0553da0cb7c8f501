//! **What**: one difference between two tables and how bad it is ([`Finding`]). **Not here**: what differs (`diff`,
//! `moved`, `effective`).

/// A price that changes by more than this factor is not believed.
pub(super) const JUMP: i128 = 3;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// A change like any other.
    Change,
    /// Told, but no reason to refuse.
    Warning,
    /// The new table is not taken.
    Refusal,
}

impl Gravity {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Warning => "warning",
            Self::Refusal => "refusal",
        }
    }
}

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub gravity: Gravity,
    /// `provider/model`; `*` for the whole table.
    pub place: String,
    /// What.
    pub what: String,
}
