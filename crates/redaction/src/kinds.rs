//! [`ByKind`] groups the known words of a text by their users, because each family would otherwise skip the other
//! families' words itself, which costs more. Each list is in order of position. `anchors` finds the words.

use super::action::Action;
use super::rule::Family;
use super::stems::WordAt;

/// Known words grouped by their users, each in order. Reused.
#[derive(Default)]
pub(super) struct ByKind {
    /// Words that begin patterns.
    pub(super) tokens: Vec<WordAt>,
    /// Words of keys.
    pub(super) keys: Vec<WordAt>,
    /// Cues of names and post boxes.
    pub(super) cues: Vec<WordAt>,
    /// Context words of numbers.
    pub(super) numbers: Vec<WordAt>,
    /// Words that lead to secrets.
    pub(super) secrets: Vec<WordAt>,
    /// Whether `VALUES` occurs.
    pub(super) inserts: bool,
}

impl ByKind {
    /// Replaces the lists by those of `words`, which must be in order.
    pub(super) fn sort(&mut self, words: &[WordAt]) {
        let Self { tokens, keys, cues, numbers, secrets, inserts } = self;
        [&mut *tokens, keys, cues, numbers, secrets].into_iter().for_each(|list| list.clear());
        *inserts = false;
        for word in words {
            match word.action {
                Action::Key => keys.push(*word),
                Action::Secret(_) => secrets.push(*word),
                Action::Pattern(_) => tokens.push(*word),
                Action::Cue(_) => cues.push(*word),
                Action::Number(Family::Birth) => {
                    // `1. Lei Kim (DOB: …)`
                    cues.push(*word);
                    numbers.push(*word);
                }
                Action::Number(_) | Action::NumberProse(_) => numbers.push(*word),
                Action::Values => *inserts = true,
                Action::Context(_) => {}
            }
        }
    }
}
