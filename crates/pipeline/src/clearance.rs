//! [`Clearance`]: how far a batch may travel, as two facts (content, text). The vault processor raises `content`; so
//! does the redact processor for metrics, from which it removes content itself, and where its `content` is `allow`.
//! Only the redact processor raises `text`. The check runs when the graph is loaded and again before each send. Content
//! is defined in `genai/`, private text in `processors/redact`.

use serde::{Deserialize, Serialize};

/// Whether content (prompts, completions, tool payloads) is still in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentState {
    /// As received.
    Kept,
    /// Moved to the vault, or dropped.
    Stripped,
}

/// Whether the texts have passed the redaction rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextState {
    /// As received.
    Raw,
    /// Every text was searched and redacted.
    Redacted,
}

/// Both facts about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearance {
    /// Content kept or stripped.
    pub content: ContentState,
    /// Text raw or redacted.
    pub text: TextState,
}

impl Clearance {
    /// The clearance that every batch starts with.
    pub const RECEIVED: Self = Self { content: ContentState::Kept, text: TextState::Raw };

    /// The clearance of two batches together: the lower of each fact.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            content: if other.content == ContentState::Kept { ContentState::Kept } else { self.content },
            text: if other.text == TextState::Raw { TextState::Raw } else { self.text },
        }
    }

    /// Whether a batch with this clearance may go to an exporter of `trust`.
    pub fn allows(self, trust: Trust) -> bool {
        match trust {
            Trust::Internal => true,
            Trust::ThirdParty => self.content == ContentState::Stripped && self.text == TextState::Redacted,
        }
    }
}

/// How far an exporter, or the clients of a receiver, are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Outside the organisation: needs content stripped and text redacted.
    #[default]
    ThirdParty,
    /// Inside the organisation: may see everything.
    Internal,
}
