//! [`WordsByUse`] groups the known words of a text by their users, because each family would otherwise skip the other
//! families' words itself, which costs more. Each list is in order of position. `anchors` finds the words.

use super::action::WordAction;
use super::stems::StemMatch;

/// Known words grouped by their users, each in order. Reused.
#[derive(Default)]
pub(super) struct WordsByUse {
    /// Words that begin patterns.
    pub(super) pattern_words: Vec<StemMatch>,
    /// Words of keys.
    pub(super) key_words: Vec<StemMatch>,
    /// Cues of names and post boxes.
    pub(super) cue_words: Vec<StemMatch>,
    /// Context words of numbers.
    pub(super) number_words: Vec<StemMatch>,
    /// Words that lead to secrets.
    pub(super) secret_words: Vec<StemMatch>,
}

impl WordsByUse {
    /// Replaces the lists by those of `words`, which must be in order.
    pub(super) fn group(&mut self, words: &[StemMatch]) {
        let Self { pattern_words, key_words, cue_words, number_words, secret_words } = self;
        [&mut *pattern_words, key_words, cue_words, number_words, secret_words].into_iter().for_each(Vec::clear);
        for word in words {
            match word.action {
                WordAction::Key => key_words.push(*word),
                WordAction::Secret(_) => secret_words.push(*word),
                WordAction::Pattern(_) => pattern_words.push(*word),
                WordAction::Cue(_) => cue_words.push(*word),
                WordAction::Number(_) | WordAction::NumberProse(_) => number_words.push(*word),
                WordAction::Context(_) | WordAction::NotNear(_) => {}
            }
        }
    }
}
