//! **What**: [`Vaulted`]: which texts of a payload go to the vault. **Why**: a text that facts took from a content
//! place (an id that is a sentence, a name that is JSON) must not stand in a column, an object's name or a new
//! attribute. **Invariants**: what has not the shape of a label is vaulted, whatever the content is. **Not here**: what
//! is content.

use std::collections::HashSet;

use otlp::{Payload, Value};

use super::facts::{ContentAt, Facts};
use super::shape;

/// Texts of content places that could be taken for names or ids.
#[derive(Default)]
pub struct Vaulted(HashSet<Box<str>>);

/// Elements of a list that are looked at.
const ELEMENTS: usize = 64;

impl Vaulted {
    /// The texts of `payload`.
    pub fn of(payload: &Payload, facts: &Facts) -> Self {
        let mut texts = HashSet::new();
        let mut add = |value: Value<'_>| {
            // Texts of label shape are no secret where they stand twice; longer ones are refused for their length.
            let text =
                value.as_str().map(str::trim).filter(|text| shape::is_known_label(text) && !shape::is_label(text));
            // Some facts are kept in lower case.
            texts.extend(text.into_iter().flat_map(|text| [text.into(), text.to_lowercase().into_boxed_str()]));
        };
        for place in facts.items.iter().flat_map(|item| &item.content) {
            let ContentAt::Attribute(id) = place.at else { continue };
            let Some(attribute) = payload.attribute(id) else { continue };
            add(attribute.value);
            attribute.value.items().take(ELEMENTS).for_each(&mut add);
        }
        Self(texts)
    }

    /// Whether `text` may stand only in the vault.
    pub fn holds(&self, text: &str) -> bool {
        !shape::is_known_label(text) || self.0.contains(text.trim())
    }
}
