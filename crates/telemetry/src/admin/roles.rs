//! Roles on the admin port. Every role may read; `crates/access/src/access_control` has the table of routes and roles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client of the admin port may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads the pages, the metrics and the API.
    Viewer,
    /// Changes things: reload, drain, test messages, outcomes of runs, reports of erasures. Also reads.
    Operator,
    /// Sees redacted traffic with `tap`. Also reads.
    Tapper,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Tapper];

    /// The role's name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Tapper => "tapper",
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Viewer => 0b001,
            Self::Operator => 0b011,
            Self::Tapper => 0b101,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleSet(u8);

impl RoleSet {
    pub const ALL: Self = Self(0b111);

    pub fn insert(&mut self, role: Role) {
        self.0 |= role.bits();
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether these roles include what `role` may do.
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bits() == role.bits()
    }
}

impl From<Role> for RoleSet {
    fn from(role: Role) -> Self {
        Self(role.bits())
    }
}
