//! [`SearchOptions`]: how a text is searched. `processors/redact` chooses the rules.

/// Search options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Number of nested encodings that are decoded; text nested deeper becomes `[UNSCANNED]`.
    pub depth: u8,
    /// Whether IP addresses of private networks are private.
    pub private_addresses: bool,
    /// Whether mail addresses that are spelt out count: `jane at example dot com`.
    pub spelled_emails: bool,
    /// Whether further occurrences of a found value in the same text are replaced.
    pub redact_repeats: bool,
}

impl SearchOptions {
    /// Largest allowed [`Self::depth`].
    pub const MAX_DEPTH: u8 = 8;
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self { depth: 4, private_addresses: false, spelled_emails: false, redact_repeats: true }
    }
}
