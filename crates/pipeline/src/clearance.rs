//! **What**: how far a batch may travel, as two facts. **Invariants**: only the vault processor raises `content`,
//! only redact raises `text`; the check runs when the graph is loaded and again before each send.
//! **Not here**: what content is (`genai/`), what is private (`processors/redact`).

use serde::{Deserialize, Serialize};

/// Whether content (prompts, completions, tool payloads) is still inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// As received.
    Kept,
    /// Moved to the vault, or dropped.
    Stripped,
}

/// Whether texts have passed the redaction rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// As received.
    Raw,
    /// Every text place was visited.
    Redacted,
}

/// The two facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearance {
    /// Content kept or stripped.
    pub content: Content,
    /// Text raw or redacted.
    pub text: Text,
}

impl Clearance {
    /// What every batch starts with.
    pub const RECEIVED: Self = Self { content: Content::Kept, text: Text::Raw };

    /// What holds for two batches together: the lower of each fact.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            content: if other.content == Content::Kept { Content::Kept } else { self.content },
            text: if other.text == Text::Raw { Text::Raw } else { self.text },
        }
    }

    /// Whether a batch with these facts may go to an exporter of `trust`.
    pub fn allows(self, trust: Trust) -> bool {
        match trust {
            Trust::Internal => true,
            Trust::ThirdParty => self.content == Content::Stripped && self.text == Text::Redacted,
        }
    }
}

/// How far an exporter (or a receiver's clients) is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Outside: needs content stripped and text redacted.
    #[default]
    ThirdParty,
    /// Inside: may see everything.
    Internal,
}
