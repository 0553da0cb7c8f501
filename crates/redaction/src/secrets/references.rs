//! Recognises placeholders, references and code in the place of a value: `null`, `***`, `${X}`, `<token>`,
//! `process.env.X`, `f(x)`. The words and patterns are data.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use crate::regex::WholePattern;
use crate::wordlists;

/// Most bytes of a value in which an example's mark is searched.
const MAX_HEAD: usize = 160;

static REFERENCES: LazyLock<WholePattern> = LazyLock::new(|| any_of("secrets.references"));
static CODE: LazyLock<WholePattern> = LazyLock::new(|| any_of("secrets.code"));

/// One pattern for values that any pattern of a list fits. The rules' examples show that they compile.
fn any_of(list: &str) -> WholePattern {
    WholePattern::new(&wordlists::lines(list).collect::<Vec<_>>().join("|"))
}

/// Whether a value is hidden, missing, or names where the secret is; unquoted, also whether it is code.
pub(super) fn is_reference(value: &[u8], is_quoted: bool) -> bool {
    let value = value.trim_ascii();
    let Some(first) = value.first() else { return true };
    let masks = value.iter().filter(|byte| matches!(byte, b'*' | b'x' | b'X')).count();
    value.iter().all(|byte| byte == first)
        || masks * 2 > value.len() + 2
        || is_no_value(value)
        || once!(PrefixSet, PrefixSet::new(wordlists::lines("secrets.reference_prefixes"))).matches_start(value)
        || is_example(value)
        || REFERENCES.fits(value)
        || !is_quoted && CODE.fits(value)
}

/// Whether a value is a word for no value or a type. Swift's have a mark: `String!`, `String?`.
fn is_no_value(value: &[u8]) -> bool {
    let word = value.strip_suffix(b"!").or_else(|| value.strip_suffix(b"?")).unwrap_or(value);
    word_set!("secrets.non_values").contains(word)
}

fn is_example(value: &[u8]) -> bool {
    static MARKS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
        AhoCorasick::builder().ascii_case_insensitive(true).build(wordlists::lines("secrets.placeholders")).ok()
    });
    MARKS.as_ref().is_none_or(|marks| marks.is_match(value.get(..MAX_HEAD).unwrap_or(value)))
}

/// Lower-case prefixes grouped by their first byte, which rejects nearly all texts.
struct PrefixSet(Vec<Vec<&'static [u8]>>);

impl PrefixSet {
    /// Groups the prefixes.
    fn new(prefixes: impl Iterator<Item = &'static str>) -> Self {
        let mut by_first_byte = vec![Vec::new(); 256];
        for prefix in prefixes.map(str::as_bytes) {
            let group = prefix.first().and_then(|first| by_first_byte.get_mut(usize::from(*first)));
            group.into_iter().for_each(|group| group.push(prefix));
        }
        Self(by_first_byte)
    }

    /// Whether `text` begins with one of the prefixes, ignoring case.
    fn matches_start(&self, text: &[u8]) -> bool {
        let group = text.first().and_then(|first| self.0.get(usize::from(first.to_ascii_lowercase())));
        let begins_with =
            |prefix: &&[u8]| text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        group.is_some_and(|group| group.iter().any(begins_with))
    }
}
