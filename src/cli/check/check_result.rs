//! [`CheckResult`]: the result of one check of `tollgate check`.

pub(super) struct CheckResult {
    pub(super) description: String,
    /// The fault and its remedy; `None` if the check passed.
    pub(super) failure: Option<(String, String)>,
}

impl CheckResult {
    pub(super) fn new(description: impl Into<String>, result: Result<(), (String, String)>) -> Self {
        Self { description: description.into(), failure: result.err() }
    }
}
