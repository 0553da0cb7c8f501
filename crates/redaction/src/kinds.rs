//! **What**: [`ByKind`]: the known words of a text by who asks for them. **Why**: each family walked over all words to
//! skip those of the others; half a dozen walks cost more than one that sorts. **Invariants**: each list is in order of
//! place. **Not here**: where words stand (`anchors`).

use super::action::Action;
use super::rule::Family;
use super::stems::WordAt;

/// Words of a text, in order. Reused.
#[derive(Default)]
pub(super) struct ByKind {
    /// Where patterns begin.
    pub(super) tokens: Vec<WordAt>,
    /// Words of keys.
    pub(super) keys: Vec<WordAt>,
    /// What announces names and post boxes.
    pub(super) cues: Vec<WordAt>,
    /// What speaks of numbers.
    pub(super) numbers: Vec<WordAt>,
    /// What secrets begin with.
    pub(super) secrets: Vec<WordAt>,
    /// `VALUES` stands somewhere.
    pub(super) inserts: bool,
}

impl ByKind {
    /// Sorts `words`, which are in order; what was here before is gone.
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
