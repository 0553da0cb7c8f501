//! The words of budgets: scopes, actions, measures, verdicts.

kernel::word_enum! {
    /// Whose spending a budget adds up.
    #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub Scope {
        /// One agent invocation.
        Run = "run",
        /// All runs of one session.
        Session = "session",
        User = "user",
        Tenant = "tenant",
        Feature = "feature",
        /// `work_tracker.issue_id`.
        Issue = "issue",
        /// Everything that is sent with the account's credentials.
        Account = "account",
    }
}

kernel::word_enum! {
    /// What happens at the limit.
    #[derive(Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub Action {
        /// Only an alert and a note.
        #[default]
        Notify = "notify",
        /// The agent asks its user, if it can; otherwise it is stopped.
        Ask = "ask",
        /// The agent is stopped.
        Deny = "deny",
    }
}

kernel::word_enum! {
    /// What a limit counts.
    #[derive(serde::Serialize, serde::Deserialize)]
    pub Measure {
        /// USD.
        Amount = "amount",
        ModelCalls = "model_calls",
        Iterations = "iterations",
        ToolCalls = "tool_calls",
        Minutes = "minutes",
    }
}

kernel::word_enum! {
    /// The answer to a question. The order is that of severity.
    pub Verdict {
        Allow = "allow",
        Ask = "ask",
        Deny = "deny",
    }
}
