//! [`KeyShape`]: the shape of the values that stay under a listed key on a closed item. Any shape also admits opaque
//! values and names of three words; hosts and paths may have a few words more, because their form is known.

use std::sync::Arc;

use otlp::Value;
use serde::Deserialize;

use super::address;
use super::label_shape;
use super::opaque::is_opaque;
use super::words::{self, LISTS, MAX_JOINED_BYTES, MAX_NAME_WORDS, WordCount, split_words};

/// Maximum number of elements in a list under a listed key, and under another: a longer one may encode letters.
const MAX_LIST: usize = 16;
const MAX_UNLISTED_LIST: usize = 8;
/// Maximum number of words in a host or e-mail address that ends in a known domain, and of labels in a host.
const MAX_HOST_WORDS: usize = 5;
const MAX_HOST_LABELS: usize = 8;
const MAX_HOST_BYTES: usize = 255;
/// Maximum number of words in a path whose first or last segment shows that it is one, besides usual directories.
const MAX_PATH_WORDS: usize = 6;
const MAX_PATH_SEGMENTS: usize = 12;
/// `Program Files`
const MAX_PATH_BLANKS: usize = 2;

/// See the module documentation.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeyShape {
    /// Names, ids and versions: [`words::is_name`], [`words::is_dotted_name`].
    #[default]
    #[serde(alias = "label", alias = "id", alias = "version")]
    Name,
    Host,
    Path,
    /// Any text: the rule for addresses judges it part by part.
    Url,
    /// A member of an enumeration of the conventions; one identifier if its members are not known.
    Members(Arc<[Box<str>]>),
}

impl KeyShape {
    /// Returns true if the value has this shape, is a short list of such values, or holds no text.
    pub(super) fn accepts(&self, value: Value<'_>) -> bool {
        fits_list(value, MAX_LIST, |text| self.weigh(text))
    }

    /// The number of words, without neutral ones, of a text of this shape. `None`: it has another shape.
    fn weigh(&self, text: &str) -> Option<usize> {
        let fits = match self {
            Self::Name => words::is_name(text) || words::is_dotted_name(text),
            Self::Host => words::is_name(text) || is_host(text),
            Self::Path => words::is_name(text) || is_path(text),
            Self::Url => return Some(0),
            Self::Members(members) if members.iter().any(|member| member.eq_ignore_ascii_case(text)) => return Some(0),
            Self::Members(members) => is_opaque(text) || (members.is_empty() && words::is_single_identifier(text)),
        };
        words::count_telling_words(text).filter(|_| fits)
    }
}

/// Returns true for a text that `weigh` accepts, for a list of at most `max_elements` such texts that together have no
/// more words than a name, and for a value without text.
fn fits_list(value: Value<'_>, max_elements: usize, weigh: impl Fn(&str) -> Option<usize>) -> bool {
    match value {
        Value::Str(text) => {
            let is_single = |list: &Vec<_>| list.len() == 1;
            let list = || label_shape::list_from_json(text).filter(is_single);
            weigh(text).is_some() || list().is_some_and(|list| list.iter().all(|text| weigh(text).is_some()))
        }
        Value::List(_) => {
            // a list of finish reasons often repeats one
            let first = value.items().next().and_then(|item| item.as_str());
            let is_repeated = first.is_some() && value.items().all(|item| item.as_str() == first);
            let counted = if is_repeated { 1 } else { usize::MAX };
            let words = value.items().take(counted).try_fold(0_usize, |words, item| match item {
                Value::Str(text) => Some(words.saturating_add(weigh(text)?)),
                Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => Some(words),
                Value::List(_) | Value::Map(_) | Value::Bytes(_) => None,
            });
            let is_single = value.items().nth(1).is_none();
            value.items().nth(max_elements).is_none() && words.is_some_and(|words| is_single || words <= MAX_NAME_WORDS)
        }
        Value::Map(_) | Value::Bytes(_) => label_shape::is_empty_value(value),
        Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Empty => true,
    }
}

/// Returns true for what stays under a key that no list names. `may_name`: identifiers stay too, not only opaque
/// values.
pub(super) fn is_unlisted_value(value: Value<'_>, may_name: bool) -> bool {
    let stays = |text: &str| is_opaque(text) || (may_name && words::is_single_identifier(text));
    fits_list(value, MAX_UNLISTED_LIST, |text| words::count_telling_words(text).filter(|_| stays(text)))
}

/// Returns true for the id of a session, turn, user or tenant: any short line, because ids join items, but no list.
/// Redaction replaces a sentence by its pseudonym (`kernel::pseudonym::is_unfit`).
pub(super) fn is_identity_value(value: Value<'_>) -> bool {
    fits_list(value, 1, |text| label_shape::is_known_label(text).then_some(0))
}

/// Returns true for a value that names a person, a machine or a place on one: a name, path, host, e-mail or web
/// address. Redaction treats those.
pub(super) fn is_person_or_machine(value: Value<'_>) -> bool {
    let fits = |text: &str| {
        words::is_name(text)
            || is_path(text)
            || is_host(text)
            || is_email(text)
            || (text.contains("://") && address::is_route(text))
    };
    fits_list(value, MAX_LIST, |text| fits(text).then(|| words::count_telling_words(text).unwrap_or(0)))
}

/// `api.eu.example.com:8080`. IP addresses are opaque values.
fn is_host(text: &str) -> bool {
    let name = text.split_once(':').map_or(text, |(name, _)| name);
    let in_alphabet = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    let ends_in_domain = || name.rsplit('.').next().is_some_and(|last| LISTS.domains.contains(last));
    let is_short_label = |label: &str| words::is_identifier(label, MAX_NAME_WORDS, MAX_HOST_BYTES);
    in_alphabet
        && ends_in_domain()
        && name.split('.').nth(MAX_HOST_LABELS).is_none()
        && name.split('.').all(is_short_label)
        && words::is_identifier(text, MAX_HOST_WORDS, MAX_HOST_BYTES)
}

fn is_email(text: &str) -> bool {
    let is_user = |user: &str| !user.is_empty() && words::is_identifier(user, MAX_NAME_WORDS, MAX_HOST_BYTES);
    text.split_once('@').is_some_and(|(user, host)| is_user(user) && is_host(host))
}

/// A path with few words. Only a usual directory at its start or a source file at its end shows that words between
/// slashes are a path: `/patient/maria/has/cancer` is none.
pub(super) fn is_path(text: &str) -> bool {
    let Some(count) = WordCount::of(text, MAX_JOINED_BYTES) else { return false };
    let segments = || text.split(['/', '\\']).filter(|segment| !segment.is_empty());
    let is_directory = |segment: &str| LISTS.directories.contains_in_any_case(segment);
    let is_drive = |segment: &str| segment.len() == 2 && segment.ends_with(':');
    let is_root =
        |segment: &str| is_directory(segment) || is_drive(segment) || LISTS.neutral.contains_in_any_case(segment);
    let is_absolute = text.starts_with(['/', '~', '\\']) || segments().next().is_some_and(is_drive);
    let is_source = || text.rsplit_once('.').is_some_and(|(_, ending)| LISTS.source_endings.contains(ending));
    let shows_path = (is_absolute && segments().next().is_some_and(is_root)) || is_source();
    let usual: usize = segments().filter(|segment| is_directory(segment)).map(|name| split_words(name).count()).sum();
    let has_few_words = |segment: &str| {
        is_directory(segment)
            || is_opaque(segment)
            || WordCount::of(segment, MAX_JOINED_BYTES).is_some_and(|count| count.telling <= MAX_NAME_WORDS)
    };
    segments().nth(MAX_PATH_SEGMENTS).is_none()
        && segments().all(has_few_words)
        && count.blanks <= MAX_PATH_BLANKS
        && count.telling.saturating_sub(usual) <= if shows_path { MAX_PATH_WORDS } else { MAX_NAME_WORDS }
}

#[cfg(test)]
mod tests;
