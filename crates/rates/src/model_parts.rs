//! [`PartsIndex`]: the models of a provider by the parts of their ids, in any order and notation: `claude-4.5-sonnet`
//! is `claude-sonnet-4-5`. Words for the effort of a call are dropped, unless the id is listed with them or they tell
//! listed models of the family apart (`codex-max`). All other words (`fast`, `mini`) must be listed. If two models have
//! the same parts, neither is chosen. `id_resolution` asks for parts only if no spelling of an id is listed.

use std::collections::{HashMap, HashSet};

/// Words that change the number of tokens of a call, but not their price. The price of a long context (`1m`) follows
/// from the size of the prompt.
const EFFORT_WORDS: [&str; 9] = ["none", "minimal", "low", "medium", "high", "xhigh", "max", "thinking", "1m"];

pub(super) struct PartsIndex {
    /// Model by parts; `None` if several models have them.
    models: HashMap<String, Option<usize>>,
    /// A word of an id, and an effort word that tells its model from others.
    variants: HashSet<(String, &'static str)>,
}

impl PartsIndex {
    /// `name`: a model's own id.
    pub(super) fn build<'t>(ids: &HashMap<Box<str>, usize>, name: impl Fn(usize) -> &'t str) -> Self {
        let mut index = Self { models: HashMap::with_capacity(ids.len()), variants: HashSet::new() };
        for (id, model) in ids {
            let known = index.models.entry(normalize_parts(id)).or_insert(Some(*model));
            *known = known.filter(|known| known == model);
            let parts = split_parts(id);
            for effort in EFFORT_WORDS.into_iter().filter(|effort| parts.iter().any(|part| part == effort)) {
                let rest: Vec<&str> = parts.iter().map(|part| &**part).filter(|part| *part != effort).collect();
                // `o3-mini-high` is `o3-mini`
                if join_parts(&rest) != normalize_parts(&name(*model).to_lowercase()) {
                    let words = rest.into_iter().filter(|word| !is_number(word));
                    index.variants.extend(words.map(|word| (word.to_owned(), effort)));
                }
            }
        }
        index
    }

    /// The only model with the parts of `id`. A text with a blank is a title, not an id.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let parts = Some(split_parts(id)).filter(|_| !id.contains(char::is_whitespace))?;
        if let Some(model) = self.models.get(&join_parts(&parts)) {
            return *model;
        }
        let is_variant = |effort: &'static str| {
            parts.iter().any(|part| part != effort && self.variants.contains(&(part.clone(), effort)))
        };
        let dropped: Vec<&str> = EFFORT_WORDS.into_iter().filter(|effort| !is_variant(effort)).collect();
        let kept: Vec<&str> = parts.iter().map(|part| &**part).filter(|part| !dropped.contains(part)).collect();
        self.models.get(&join_parts(&kept)).copied().flatten()
    }
}

/// The words and numbers of an id in lower case: `claude`, `4`, `5`, `sonnet`.
fn split_parts(id: &str) -> Vec<String> {
    let id = id.replace("extra-high", "xhigh");
    id.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The parts of an id as text that is equal for equal parts.
pub(super) fn normalize_parts(id: &str) -> String {
    join_parts(&split_parts(id))
}

/// The words in one order, and the numbers in their own: `claude sonnet 4 5`.
fn join_parts<S: AsRef<str>>(parts: &[S]) -> String {
    let (numbers, mut words): (Vec<&str>, Vec<&str>) =
        parts.iter().map(AsRef::as_ref).partition(|part| is_number(part));
    words.sort_unstable();
    words.extend(numbers);
    words.join(" ")
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
