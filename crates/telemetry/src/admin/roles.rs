//! Roles on the admin port, and the part of the runs that a viewer may see. Every role without such a limit may read
//! the metrics; `crates/access/src/access_control` has the table of routes and roles, `crates/pages` limits pages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use config::FieldProblem;

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

/// A part of the runs: those that fit all keys that are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ViewerLimit {
    /// The accounts of the runs. Default: all.
    pub accounts: Option<Vec<String>>,
    /// The tenants of the runs, as the page names them; `unattributed` for runs without one. Default: all.
    pub tenants: Option<Vec<String>>,
    /// Whether the client must be the runs' user, by `sub`, verified mail address or certificate. Default: false.
    pub own_sessions: bool,
}

impl ViewerLimit {
    /// Whether it shows everything, or nothing.
    pub(super) fn is_void(&self) -> bool {
        let mut lists = [&self.accounts, &self.tenants].into_iter().flatten().peekable();
        (lists.peek().is_none() && !self.own_sessions) || lists.any(Vec::is_empty)
    }

    /// Whether runs of this account and tenant are in this part; `is_own`: whether the client is their user.
    pub fn permits(&self, account: &str, tenant: &str, is_own: impl FnOnce() -> bool) -> bool {
        let has = |list: &Option<Vec<String>>, name| list.as_ref().is_none_or(|list| list.iter().any(|it| it == name));
        has(&self.accounts, account) && has(&self.tenants, tenant) && (!self.own_sessions || is_own())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleSet {
    bits: u8,
    /// The parts of the runs that the client sees; empty: all runs. A limit counts before every role.
    pub limits: Vec<ViewerLimit>,
}

impl RoleSet {
    pub const ALL: Self = Self { bits: 0b1111, limits: Vec::new() };

    /// The role of this name, which is at `path`, or that of a viewer with the limit of this name.
    pub(super) fn find(
        name: &str,
        limits: &BTreeMap<String, ViewerLimit>,
        path: &str,
        problems: &mut Vec<FieldProblem>,
    ) -> Self {
        if let Some(role) = Role::ALL.into_iter().find(|role| role.as_str() == name) {
            return role.into();
        }
        let what = "must be `scraper`, `viewer`, `operator`, `tapper` or a name in `auth.limits`";
        problems.extend((!limits.contains_key(name)).then(|| FieldProblem::new(path, what)));
        limits.get(name).map_or_else(Self::default, |limit| Self { limits: vec![limit.clone()], ..Role::Viewer.into() })
    }

    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.bits |= other.bits;
        self.limits.extend_from_slice(&other.limits);
    }

    /// Whether these roles include what `role` may do.
    pub fn has(&self, role: Role) -> bool {
        self.bits & role.bits() == role.bits()
    }
}

impl From<Role> for RoleSet {
    fn from(role: Role) -> Self {
        Self { bits: role.bits(), limits: Vec::new() }
    }
}
