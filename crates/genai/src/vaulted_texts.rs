//! [`VaultedTexts`] knows which texts of a payload go to the vault. A text that facts took from a content place (an id
//! that is a sentence, a name that is JSON) must not appear in an index column, an object name or a new attribute.
//!
//! A text that does not have the shape of a label always counts as vaulted. `content` decides what is content.

use foldhash::HashSet;

use otlp::{Payload, Value};

use super::facts::{ContentLocation, Facts};
use super::label_shape;

/// Texts of content places that could be mistaken for names or ids.
#[derive(Default)]
pub struct VaultedTexts(HashSet<Box<str>>);

/// Maximum number of list elements checked.
const MAX_ELEMENTS: usize = 64;

impl VaultedTexts {
    /// Collects the texts of the content places in `payload`.
    pub fn collect(payload: &Payload, facts: &Facts) -> Self {
        let mut texts = HashSet::default();
        let mut add = |value: Value<'_>| {
            // Texts with the shape of a plain label may appear in both places. Texts too long for a label are refused
            // by length.
            let text = value
                .as_str()
                .map(str::trim)
                .filter(|text| label_shape::is_known_label(text) && !label_shape::is_label(text));
            // Some facts are kept in lower case.
            texts.extend(text.into_iter().flat_map(|text| [text.into(), text.to_lowercase().into_boxed_str()]));
        };
        for place in facts.items.iter().flat_map(|item| &item.content) {
            let ContentLocation::Attribute(id) = place.at else { continue };
            let Some(attribute) = payload.attribute(id) else { continue };
            add(attribute.value);
            attribute.value.items().take(MAX_ELEMENTS).for_each(&mut add);
        }
        Self(texts)
    }

    /// Returns true if `text` may be stored only in the vault.
    pub fn contains(&self, text: &str) -> bool {
        !label_shape::is_known_label(text) || self.0.contains(text.trim())
    }
}
