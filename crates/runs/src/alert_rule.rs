//! [`AlertRule`]: the rules of the alerts that tollgate computes itself, with the name, severity and unit of each. The
//! crate `tracker` evaluates them; pages, webhooks and metrics name them. The order of the rules is part of the
//! checkpoint's format: a new rule is added at the end.

/// A rule of the alerts that tollgate computes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertRule {
    /// A run reached 80 % of its iteration ceiling.
    IterationCeilingWarning,
    /// A run reached its iteration ceiling.
    IterationCeiling,
    /// A run called one tool with equal arguments again and again.
    IdenticalToolCalls,
    /// A run called one tool very often in a short time.
    ToolCallsInWindow,
    /// A run repeated failed tool calls.
    ToolRetries,
    /// A run has not ended for a long time.
    RunOverdue,
    /// A limit ended a run.
    LimitHit,
    /// A session costs much more than is usual for its feature.
    SessionCost,
    /// A session costs far more than is usual for its feature.
    SessionCostRunaway,
    /// A session takes much longer than is usual for its feature.
    SessionDuration,
    /// The tokens per run of a feature have grown.
    TokensPerRunDrift,
    /// The cost per run of a tenant has grown.
    CostPerRunDrift,
    /// Not a rule: the test message of a webhook.
    Test,
}

impl AlertRule {
    /// All rules, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::IterationCeilingWarning,
        Self::IterationCeiling,
        Self::IdenticalToolCalls,
        Self::ToolCallsInWindow,
        Self::ToolRetries,
        Self::RunOverdue,
        Self::LimitHit,
        Self::SessionCost,
        Self::SessionCostRunaway,
        Self::SessionDuration,
        Self::TokensPerRunDrift,
        Self::CostPerRunDrift,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::IterationCeilingWarning => "iteration_ceiling_warning",
            Self::IterationCeiling => "iteration_ceiling",
            Self::IdenticalToolCalls => "identical_tool_calls",
            Self::ToolCallsInWindow => "tool_calls_in_window",
            Self::ToolRetries => "tool_retries",
            Self::RunOverdue => "run_overdue",
            Self::LimitHit => "limit_hit",
            Self::SessionCost => "session_cost",
            Self::SessionCostRunaway => "session_cost_runaway",
            Self::SessionDuration => "session_duration",
            Self::TokensPerRunDrift => "tokens_per_run_drift",
            Self::CostPerRunDrift => "cost_per_run_drift",
            Self::Test => "test",
        }
    }

    pub fn severity(self) -> AlertSeverity {
        match self {
            Self::IterationCeiling | Self::IdenticalToolCalls | Self::SessionCostRunaway => AlertSeverity::Critical,
            Self::IterationCeilingWarning
            | Self::ToolCallsInWindow
            | Self::ToolRetries
            | Self::RunOverdue
            | Self::LimitHit
            | Self::SessionCost
            | Self::SessionDuration
            | Self::TokensPerRunDrift
            | Self::CostPerRunDrift
            | Self::Test => AlertSeverity::Warning,
        }
    }

    /// Unit of the rule's values and thresholds.
    pub fn unit(self) -> AlertUnit {
        match self {
            Self::SessionCost | Self::SessionCostRunaway => AlertUnit::Usd,
            Self::RunOverdue | Self::SessionDuration => AlertUnit::Seconds,
            Self::IterationCeilingWarning | Self::IterationCeiling => AlertUnit::Count("iterations"),
            Self::IdenticalToolCalls => AlertUnit::Count("identical calls in a row"),
            Self::ToolCallsInWindow => AlertUnit::Count("calls in the window"),
            Self::ToolRetries => AlertUnit::Count("tool retries"),
            Self::TokensPerRunDrift => AlertUnit::Times("the earlier tokens per run"),
            Self::CostPerRunDrift => AlertUnit::Times("the earlier cost per run"),
            Self::LimitHit => AlertUnit::Event("a limit ended the run"),
            Self::Test => AlertUnit::Count(""),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertSeverity {
    /// Should be looked at.
    Warning,
    /// Needs immediate action.
    Critical,
}

impl AlertSeverity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Unit of an alert's value and threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertUnit {
    Usd,
    /// Seconds.
    Seconds,
    /// A number of these things.
    Count(&'static str),
    /// A multiple of the usual value.
    Times(&'static str),
    /// Something happened or did not.
    Event(&'static str),
}

impl AlertUnit {
    /// Name of the unit, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "USD",
            Self::Seconds => "seconds",
            Self::Count(_) => "count",
            Self::Times(_) => "ratio",
            Self::Event(_) => "event",
        }
    }
}
