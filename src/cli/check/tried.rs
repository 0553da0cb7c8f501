//! **What**: one thing that `check` tried, and what came of it.

/// One thing that was tried.
pub(super) struct Tried {
    pub(super) what: String,
    /// What is wrong, and what to do about it.
    pub(super) wrong: Option<(String, String)>,
}

impl Tried {
    pub(super) fn new(what: impl Into<String>, result: Result<(), (String, String)>) -> Self {
        Self { what: what.into(), wrong: result.err() }
    }
}
