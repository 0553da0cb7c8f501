//! [`AlertRule`]: the rules of the alerts that tollgate computes itself, with the name, severity and unit of each. The
//! crate `tracker` evaluates them; pages, webhooks and metrics name them. The order of the rules is part of the
//! checkpoint's format: a new rule is added before the test message.

kernel::word_enum! {
    /// A rule of the alerts that tollgate computes itself.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub AlertRule {
        /// A run reached 80 % of its iteration ceiling.
        IterationCeilingWarning = "iteration_ceiling_warning",
        /// A run reached its iteration ceiling.
        IterationCeiling = "iteration_ceiling",
        /// A run called one tool with equal arguments again and again.
        IdenticalToolCalls = "identical_tool_calls",
        /// A run called one tool very often in a short time.
        ToolCallsInWindow = "tool_calls_in_window",
        /// A run repeated failed tool calls.
        ToolRetries = "tool_retries",
        /// A run has not ended for a long time.
        RunOverdue = "run_overdue",
        /// A limit ended a run.
        LimitHit = "limit_hit",
        /// A session costs much more than is usual for its feature.
        SessionCost = "session_cost",
        /// A session costs far more than is usual for its feature.
        SessionCostRunaway = "session_cost_runaway",
        /// A session takes much longer than is usual for its feature.
        SessionDuration = "session_duration",
        /// The tokens per run of a feature have grown.
        TokensPerRunDrift = "tokens_per_run_drift",
        /// The cost per run of a tenant has grown.
        CostPerRunDrift = "cost_per_run_drift",
        /// A budget has crossed one of its warnings.
        BudgetWarning = "budget_warning",
        /// A budget has reached its limit.
        BudgetExceeded = "budget_exceeded",
        /// Not a rule: the test message of a webhook.
        Test = "test",
    }
}

impl AlertRule {
    /// All rules without the test message, in the order of their numbers.
    pub fn rules() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|rule| *rule != Self::Test)
    }

    pub fn severity(self) -> AlertSeverity {
        let critical =
            [Self::IterationCeiling, Self::IdenticalToolCalls, Self::SessionCostRunaway, Self::BudgetExceeded];
        if critical.contains(&self) { AlertSeverity::Critical } else { AlertSeverity::Warning }
    }

    /// Whether it is about a budget, which its `tool` names.
    pub fn is_of_budget(self) -> bool {
        matches!(self, Self::BudgetWarning | Self::BudgetExceeded)
    }

    /// Unit of the rule's values and thresholds.
    pub fn unit(self) -> AlertUnit {
        match self {
            Self::SessionCost | Self::SessionCostRunaway => AlertUnit::Usd,
            Self::BudgetWarning | Self::BudgetExceeded => AlertUnit::Share,
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

kernel::word_enum! {
    pub AlertSeverity {
        /// Should be looked at.
        Warning = "warning",
        /// Needs immediate action.
        Critical = "critical",
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
    /// A share of a budget's limit, 1.0 = all.
    Share,
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
            Self::Times(_) | Self::Share => "ratio",
            Self::Event(_) => "event",
        }
    }
}
