//! [`ProviderNames`]: the current name of a provider, read from the name that a client sends. A name is divided into
//! known words (`config/dialects.yaml`, `providers`), whatever separators and capitals it has: `ChatAnthropicVertex`
//! and `vertex.anthropic.messages` are Vertex AI. A name with any other word stays as it was sent, so that
//! `openai_like` or `our_openai` is not taken for OpenAI, nor is `openai-proxy`, which may be another seller. Neutral
//! words (`chat`, `client`, `sdk`) are ignored: `ChatOpenAI` is OpenAI.

use std::collections::BTreeMap;

use foldhash::HashMap;
use kernel::bounded_map::BoundedMap;
use parking_lot::RwLock;
use serde::Deserialize;

use super::words::divide_words;

/// Maximum number of words in a name.
const MAX_WORDS: usize = 8;
/// Maximum number of names kept as they were read.
const MAX_CACHED_NAMES: usize = 512;

/// The words of providers' names, each in lower case → current `gen_ai.provider.name`. `provider_names` reads names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderWordLists {
    /// Whole names that the words would read wrongly; null = names no provider.
    names: BTreeMap<String, Option<Box<str>>>,
    named: BTreeMap<WordKind, BTreeMap<Box<str>, Box<str>>>,
    /// Words that name no provider.
    nameless: BTreeMap<WordKind, Vec<Box<str>>>,
}

/// The kinds of words, the weakest first. The strongest kind in a name decides: a platform bills for its vendors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WordKind {
    /// Words for APIs, kinds of models and parts of an SDK.
    Neutral,
    /// Frameworks and gateways, which are no providers.
    Framework,
    /// Companies that are named beside their platforms and brands.
    Company,
    /// Vendors of models.
    Vendor,
    /// Services that bill for models of several vendors, and local ones.
    Platform,
}

/// The kind of a word, and the provider that it names; "" for none.
type ProviderWord = (WordKind, Box<str>);

/// The letters and digits of a name in lower case. The first character is kept whatever it is, because `_OTHER` names
/// no provider, and `other` one that is unknown.
fn whole_name(name: &str) -> Box<str> {
    let kept = name.chars().enumerate().filter(|(at, c)| *at == 0 || c.is_alphanumeric());
    kept.flat_map(|(_, c)| c.to_lowercase()).collect::<String>().into()
}

pub(super) struct ProviderNames {
    /// Whole names in the form of [`whole_name`], which are not read as words; "" = names no provider.
    names: HashMap<Box<str>, Box<str>>,
    words: HashMap<Box<str>, ProviderWord>,
    /// Length of the longest word, bytes.
    longest: usize,
    cache: RwLock<BoundedMap<Box<str>, Option<Box<str>>, MAX_CACHED_NAMES>>,
}

impl ProviderNames {
    pub(super) fn compile(lists: &ProviderWordLists) -> Self {
        let mut words: HashMap<Box<str>, ProviderWord> = HashMap::default();
        for (kind, named) in &lists.named {
            words.extend(named.iter().map(|(word, name)| (word.clone(), (*kind, name.clone()))));
        }
        for (kind, nameless) in &lists.nameless {
            words.extend(nameless.iter().map(|word| (word.clone(), (*kind, Box::<str>::default()))));
        }
        // A name of the conventions means itself, whatever its words say.
        let current = words.values().map(|(_, provider)| provider).filter(|name| !name.is_empty());
        let mut names: HashMap<Box<str>, Box<str>> = current.map(|name| (whole_name(name), name.clone())).collect();
        for (name, provider) in &lists.names {
            names.insert(whole_name(name), provider.clone().unwrap_or_default());
        }
        let longest = words.keys().map(|word| word.len()).max().unwrap_or(0);
        Self { names, words, longest, cache: RwLock::default() }
    }

    /// The current name of a provider as sent. `None` if it names none. Unknown names are returned in lower case.
    pub(super) fn current_name(&self, sent: &str) -> Option<String> {
        if let Some(known) = self.cache.read().get(sent) {
            return known.as_deref().map(str::to_owned);
        }
        let name = self.read_name(&sent.trim().to_lowercase());
        let cached = name.as_deref().map(Box::from);
        self.cache.write().insert(sent.into(), cached);
        name
    }

    fn read_name(&self, lower: &str) -> Option<String> {
        let provider = match self.names.get(&whole_name(lower)) {
            Some(provider) => Some(&**provider),
            None => self.provider_of_words(lower),
        };
        Some(provider.unwrap_or(lower).to_owned()).filter(|name| !name.is_empty())
    }

    /// The provider that the strongest words of a name agree on. `None` if they disagree or a word is unknown.
    fn provider_of_words(&self, lower: &str) -> Option<&str> {
        let letters: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
        let words = divide_words((&self.words, self.longest), &letters, MAX_WORDS)?;
        let kind = words.iter().map(|(kind, _)| *kind).max().filter(|kind| *kind > WordKind::Neutral)?;
        let mut providers = words.iter().filter(|word| word.0 == kind).map(|(_, provider)| &**provider);
        let provider = providers.next()?;
        providers.all(|other| other == provider).then_some(provider)
    }
}
