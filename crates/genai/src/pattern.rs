//! Key patterns: a literal, `{i}` (one decimal index) and `*` (any run of bytes, dots included). Matching one pattern
//! is linear in the key; `{i}` takes the whole run of digits.

use foldhash::HashMap;
use serde::Deserialize;

#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct KeyPattern {
    tokens: Box<[PatternToken]>,
}

#[derive(Clone, PartialEq, Eq)]
enum PatternToken {
    Literal(Box<str>),
    Index,
    Star,
}

impl KeyPattern {
    /// Parses `text`; `{x}` with any single letter is an index.
    pub(super) fn new(text: &str) -> Self {
        let (mut tokens, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let wildcard = |at: usize| match rest.as_bytes().get(at..)? {
                [b'*', ..] => Some((PatternToken::Star, 1)),
                [b'{', _, b'}', ..] => Some((PatternToken::Index, 3)),
                _ => None,
            };
            let end = (0..rest.len()).find(|at| wildcard(*at).is_some()).unwrap_or(rest.len());
            let literal = rest.get(..end).unwrap_or_default();
            let (token, len) = wildcard(0).unwrap_or_else(|| (PatternToken::Literal(literal.into()), end));
            tokens.push(token);
            rest = rest.get(len..).unwrap_or_default();
        }
        Self { tokens: tokens.into() }
    }

    /// The literal, if the pattern has no wildcard.
    pub(super) fn literal(&self) -> Option<&str> {
        match &*self.tokens {
            [PatternToken::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Greedy matching is correct: after a star, the leftmost position where the tokens up to the next star match is
    /// always a right one.
    pub(super) fn matches(&self, key: &str) -> bool {
        let (mut tokens, mut key) = (&*self.tokens, key.as_bytes());
        // What follows the last star, and where that is tried.
        let mut behind_star: Option<(&[PatternToken], &[u8])> = None;
        loop {
            let rest = match tokens.first() {
                Some(PatternToken::Star) => {
                    behind_star = tokens.get(1..).map(|behind| (behind, key));
                    Some(key)
                }
                Some(PatternToken::Literal(text)) => key.strip_prefix(text.as_bytes()),
                Some(PatternToken::Index) => {
                    let digits = key.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    key.get(digits..).filter(|_| digits > 0)
                }
                None if key.is_empty() => return true,
                None => None,
            };
            (tokens, key) = match (rest, behind_star) {
                (Some(rest), _) => (tokens.get(1..).unwrap_or_default(), rest),
                (None, Some((behind, [_, next @ ..]))) => {
                    behind_star = Some((behind, next));
                    (behind, next)
                }
                (None, _) => return false,
            };
        }
    }
}

impl From<String> for KeyPattern {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

/// Weight of a literal key.
pub(super) const LITERAL_WEIGHT: u8 = 3;
/// Weight of a pattern with a star. A pattern with `{i}` only is between the two.
pub(super) const WILDCARD_WEIGHT: u8 = 1;

/// How specific `pattern` is.
pub(super) fn pattern_weight(pattern: &str) -> u8 {
    match KeyPattern::new(pattern) {
        pattern if pattern.literal().is_some() => LITERAL_WEIGHT,
        pattern if pattern.tokens.contains(&PatternToken::Star) => WILDCARD_WEIGHT,
        _ => 2,
    }
}

/// Patterns with values. Literals are looked up by the whole key, other patterns by the key's first segment.
pub(super) struct PatternMap<T> {
    literals: HashMap<Box<str>, Vec<T>>,
    by_segment: HashMap<Box<str>, Vec<WildcardEntry<T>>>,
    without_segment: Vec<WildcardEntry<T>>,
}

/// A pattern with the values of all its entries, so that it is matched only once.
struct WildcardEntry<T> {
    pattern: KeyPattern,
    values: Vec<T>,
}

impl<T> Default for PatternMap<T> {
    fn default() -> Self {
        Self { literals: HashMap::default(), by_segment: HashMap::default(), without_segment: Vec::new() }
    }
}

impl<T: Clone> PatternMap<T> {
    pub(super) fn insert(&mut self, pattern: &str, value: T) {
        let pattern = KeyPattern::new(pattern);
        if let Some(literal) = pattern.literal() {
            self.literals.entry(literal.into()).or_default().push(value);
            return;
        }
        let first = pattern.tokens.first();
        let prefix = if let Some(PatternToken::Literal(text)) = first { &**text } else { "" };
        let list = match prefix.split_once('.') {
            Some((segment, _)) => self.by_segment.entry(segment.into()).or_default(),
            None => &mut self.without_segment,
        };
        match list.iter_mut().find(|entry| entry.pattern == pattern) {
            Some(entry) => entry.values.push(value),
            None => list.push(WildcardEntry { pattern, values: vec![value] }),
        }
    }

    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.literals.keys().map(|key| &**key)
    }

    /// The values of every pattern that matches `key`.
    pub(super) fn find(&self, key: &str) -> impl Iterator<Item = &T> {
        let segment = key.split_once('.').map_or(key, |(segment, _)| segment);
        let wildcards = self.by_segment.get(segment).into_iter().flatten().chain(&self.without_segment);
        let literal = self.literals.get(key).into_iter().flatten();
        literal.chain(wildcards.filter(move |entry| entry.pattern.matches(key)).flat_map(|entry| &entry.values))
    }
}

/// A few patterns, tried in order (names of scopes, spans, events).
#[derive(Clone, Default, Deserialize)]
pub(super) struct NamePatterns(Vec<KeyPattern>);

impl NamePatterns {
    pub(super) fn new(list: &[String]) -> Self {
        Self(list.iter().map(|text| KeyPattern::new(text)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if any pattern matches.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }
}
