//! [`Tried`]: the result of one check of `tollgate check`.

pub(super) struct Tried {
    pub(super) what: String,
    /// The fault and its remedy; `None` if the check passed.
    pub(super) wrong: Option<(String, String)>,
}

impl Tried {
    pub(super) fn new(what: impl Into<String>, result: Result<(), (String, String)>) -> Self {
        Self { what: what.into(), wrong: result.err() }
    }
}
