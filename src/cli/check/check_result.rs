//! [`CheckResult`]: the result of one check of `tollgate check`.

pub(super) struct CheckResult {
    pub(super) description: String,
    /// The fault or warning and its remedy; `None` if the check passed without one.
    pub(super) failure: Option<(String, String)>,
    /// Whether the fault is only a warning.
    pub(super) is_warning: bool,
}

impl CheckResult {
    pub(super) fn new(description: impl Into<String>, result: Result<(), (String, String)>) -> Self {
        Self { description: description.into(), failure: result.err(), is_warning: false }
    }

    /// A check that passed, with a warning and its remedy.
    pub(super) fn with_warning(description: impl Into<String>, warning: (String, String)) -> Self {
        Self { description: description.into(), failure: Some(warning), is_warning: true }
    }

    /// Whether the check passed, perhaps with a warning.
    pub(super) fn has_passed(&self) -> bool {
        self.failure.is_none() || self.is_warning
    }
}
