//! Roles on the admin port. Every role may read the metrics; `crates/access/src/access_control` has the table of routes
//! and roles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client of the admin port may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads the metrics, and nothing else: Prometheus.
    Scraper,
    /// Reads the pages, the API and the metrics.
    Viewer,
    /// Changes things: reload, drain, waiting data, test messages, outcomes of runs, reports of erasures. Also reads.
    Operator,
    /// Sees redacted traffic with `tap`. Also reads.
    Tapper,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Scraper, Self::Viewer, Self::Operator, Self::Tapper];

    /// The role's name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scraper => "scraper",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Tapper => "tapper",
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Scraper => 0b0001,
            Self::Viewer => 0b0011,
            Self::Operator => 0b0111,
            Self::Tapper => 0b1011,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleSet(u8);

impl RoleSet {
    pub const ALL: Self = Self(0b1111);

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
