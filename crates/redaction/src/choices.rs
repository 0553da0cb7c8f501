//! **What**: [`Choices`], what users choose of a search beside its rules. **Not here**: rules on and off, their forms
//! (`processors/redact`).

/// What is searched, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Ways of writing within each other that are decoded; what lies deeper becomes `[UNSCANNED]`.
    pub depth: u8,
    /// Addresses of private networks are private too.
    pub private_addresses: bool,
    /// Mail addresses that are spelt: `jane at example dot com`.
    pub spelled_emails: bool,
    /// What was found goes wherever else the same text has it.
    pub carry_over: bool,
}

impl Choices {
    /// Most ways of writing within each other that can be chosen.
    pub const DEEPEST: u8 = 8;
}

impl Default for Choices {
    fn default() -> Self {
        Self { depth: 4, private_addresses: false, spelled_emails: false, carry_over: true }
    }
}
