//! **What**: [`Hidden`]: what of a session's content rules hide downstream, by placeholder. **Why**: who reads a
//! session in the vault wants to know what the back end was not shown. **Invariants**: counts only, never text; the
//! same rules find what the gateway found, since they are deterministic. What was hidden because an earlier text had it
//! (an echo) is not known here. **Not here**: the rules (`redaction`).

use std::fmt::Write as _;

use serde_json::Value;

use super::session::{Hidden, Replay};
use vault::document::Item;

/// Says of a text below a key ("": none) which placeholders it would have.
pub type Finds<'f> = dyn FnMut(&str, &str) -> Vec<String> + 'f;

/// What is hidden of an item's content.
fn of(item: &Item, find: &mut Finds<'_>) -> Hidden {
    let mut hidden = Hidden::new();
    for piece in &item.content {
        let key = piece.key.as_deref().unwrap_or_default();
        let found = match &piece.value {
            Value::String(text) => find(key, text),
            value => find(key, &value.to_string()),
        };
        for name in found {
            *hidden.entry(name).or_default() += 1;
        }
    }
    hidden
}

/// In words; `None`: nothing is hidden.
pub(super) fn words(hidden: &Hidden) -> Option<String> {
    let mut out = String::new();
    for (name, count) in hidden {
        // a String takes everything
        let _ = write!(out, "{}{count} {name}", if out.is_empty() { "" } else { ", " });
    }
    Some(out).filter(|out| !out.is_empty())
}

impl Replay {
    /// Looks through everything that was opened with the rules that a gateway has; texts and JSON then tell what they
    /// hide.
    pub fn look_for_private(&mut self, find: &mut Finds<'_>) {
        for entry in self.entries_mut() {
            entry.hidden = entry.item.as_ref().map(|item| of(item, find));
        }
    }
}
