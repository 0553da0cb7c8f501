//! Reads a person's name: one to five capitalised words, particles and initials. At most [`MAX_WORDS`] words and some
//! 150 bytes are read. Cues are in `name_cues`, word lists in `name_lists`.

use std::ops::Range;
use std::sync::LazyLock;

use super::name_lists;
use crate::sets::WordSet;
use crate::wordlists;

/// Most words in a name.
const MAX_WORDS: usize = 5;
/// Longest word in a name, in characters.
const MAX_WORD_LEN: usize = 24;

/// A name, judged by its form.
#[derive(Clone, Debug)]
pub(crate) struct PersonName {
    /// From its first word to its last.
    pub(crate) range: Range<usize>,
    /// Number of words, without particles.
    pub(crate) word_count: usize,
    /// Whether it begins with a listed given name, or with an initial or ambiguous word that other words confirm.
    pub(crate) has_given_name: bool,
    /// Whether its first word is a common word, and it has no given name.
    pub(crate) starts_with_common_word: bool,
}

/// A capitalised word.
struct NameWord<'t> {
    text: &'t str,
    is_initial: bool,
}

/// Particles before a family name.
static PARTICLES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("names.particles").collect());
/// Titles before a name, which are not part of it.
pub(crate) static TITLES: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("names.titles"));

/// Reads the name that starts at `at`.
pub(crate) fn read_name(text: &str, at: usize) -> Option<PersonName> {
    let first = read_word(text, at)?;
    if TITLES.contains(first.text) && !first.text.eq_ignore_ascii_case("don") {
        return None;
    }
    let has_given_name = name_lists::is_given_name(first.text);
    let mut name =
        PersonName { range: at..at + first.text.len(), word_count: 1, has_given_name, starts_with_common_word: false };
    name.starts_with_common_word = !has_given_name && !first.is_initial && name_lists::is_common_word(first.text);
    if first.is_initial {
        name.range.end += 1;
    }
    let is_ambiguous = !has_given_name && name_lists::may_be_given_name(first.text);
    let (mut has_name_word, mut has_family_name) = (has_given_name || is_ambiguous, false);
    while name.word_count < MAX_WORDS {
        let Some((next_at, after_particle)) = next_word_start(text, name.range.end) else { break };
        let Some(next) = read_word(text, next_at).or_else(|| middle_initial(text, next_at, &name)) else { break };
        if after_particle && TITLES.contains(next.text) {
            break;
        }
        let is_given_name = name_lists::is_given_name(next.text);
        let is_family_name = || !next.is_initial && name_lists::is_family_name(next.text);
        let is_common = !next.is_initial && !is_given_name && name_lists::is_common_word(next.text);
        if is_common && !after_particle && !(has_name_word && is_family_name()) {
            break;
        }
        // Only needed for ambiguous given names
        has_family_name |= is_ambiguous && !is_common && !has_family_name && is_family_name();
        let dot = next.is_initial && text.as_bytes().get(next_at + next.text.len()) == Some(&b'.');
        name.range.end = next_at + next.text.len() + usize::from(dot);
        name.word_count += 1;
        has_name_word |= is_given_name;
    }
    if first.is_initial && name.word_count == 1 {
        return None;
    }
    name.has_given_name |= (first.is_initial && has_name_word) || (is_ambiguous && has_family_name);
    name.starts_with_common_word &= !name.has_given_name;
    extend_by_suffix(text, &mut name);
    Some(name)
}

/// Reads an initial without a dot between a given name and a possible family name of the same case: `JANE Q DOE`.
fn middle_initial<'t>(text: &'t str, at: usize, name: &PersonName) -> Option<NameWord<'t>> {
    let initial = text.get(at..at + 1).filter(|c| name.has_given_name && name.word_count == 1 && *c != "I")?;
    let is_upper_case = !text.get(name.range.clone())?.bytes().any(|byte| byte.is_ascii_lowercase());
    let after = text.get(at + 1..)?.strip_prefix(' ')?;
    let next = read_word(text, text.len() - after.len()).filter(|next| !next.is_initial && next.text.len() > 2)?;
    let has_same_case = is_upper_case != next.text.bytes().any(|byte| byte.is_ascii_lowercase());
    let is_middle = initial.bytes().all(|byte| byte.is_ascii_uppercase())
        && has_same_case
        && !name_lists::is_common_word(next.text);
    is_middle.then_some(NameWord { text: initial, is_initial: true })
}

/// Reads a name that starts with particles at `at`: `van den Berg`.
pub(crate) fn read_name_with_particles(text: &str, at: usize) -> Option<PersonName> {
    let first_len = text.get(at..)?.bytes().take(4).take_while(u8::is_ascii_lowercase).count();
    let first = text.get(at..at + first_len).filter(|word| PARTICLES.contains(word) && word.len() > 1)?;
    let (from, _) = next_word_start(text, at + first.len())?;
    let name = read_name(text, from).filter(|name| !name.starts_with_common_word)?;
    Some(PersonName { range: at..name.range.end, ..name })
}

/// Extends a name by `, Jr.` and similar suffixes.
fn extend_by_suffix(text: &str, name: &mut PersonName) {
    let rest = text.get(name.range.end..).unwrap_or_default();
    let name_text = text.get(name.range.clone()).unwrap_or_default();
    if rest.starts_with('.') && (name_text.ends_with(" Jr") || name_text.ends_with(" Sr")) {
        name.range.end += 1;
        return;
    }
    for suffix in line_list!("names.suffixes") {
        if rest.strip_prefix(suffix).is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric())) {
            name.range.end += suffix.len();
            return;
        }
    }
}

/// Start of the next word of a name after `end`, and whether particles are between.
fn next_word_start(text: &str, end: usize) -> Option<(usize, bool)> {
    let mut at = skip_blank(text, end)?;
    let mut particles = 0;
    while particles < 3 {
        let rest = text.get(at..)?;
        let len = rest.bytes().take_while(|byte| byte.is_ascii_lowercase() || *byte == b'\'').count();
        let word = rest.get(..len)?;
        if len == 0 || !PARTICLES.contains(&word.trim_end_matches('\'')) && !PARTICLES.contains(&word) {
            break;
        }
        at = if word.ends_with('\'') { at + len } else { skip_blank(text, at + len)? };
        particles += 1;
    }
    Some((at, particles > 0))
}

/// Skips one blank at `at`, raw or encoded.
fn skip_blank(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    for blank in [" ", "\u{a0}", "+", "%20"] {
        if let Some(after) = rest.strip_prefix(blank) {
            let next = after.trim_start_matches(' ');
            return (after.len() - next.len() <= 1).then(|| text.len() - next.len());
        }
    }
    None
}

/// Reads a word of one capital and small ASCII letters, as nearly all are. Empty if digits or characters of
/// code are attached to it; `None` if `read_letters` has to read it.
fn plain_word(rest: &str) -> Option<&str> {
    let (_, after_capital) = rest.as_bytes().split_first().filter(|(first, _)| first.is_ascii_uppercase())?;
    let small_letters = after_capital.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    match after_capital.get(small_letters) {
        None | Some(b' ' | b',' | b'\n' | b'"') if small_letters > 0 => rest.get(..=small_letters),
        Some(b'0'..=b'9' | b'_' | b'/' | b'=' | b'#' | b'$') => Some(""),
        _ => None,
    }
}

/// Reads one capitalised word at `at`.
fn read_word(text: &str, at: usize) -> Option<NameWord<'_>> {
    let rest = text.get(at..)?;
    if let Some(text) = plain_word(rest) {
        return (1..=MAX_WORD_LEN).contains(&text.len()).then_some(NameWord { text, is_initial: false });
    }
    let letters = read_letters(rest)?;
    let text = rest.get(..letters.end)?;
    if letters.count == 1 {
        let initial = rest.get(letters.end..).unwrap_or_default().starts_with('.') && text != "I";
        return initial.then_some(NameWord { text, is_initial: true });
    }
    let WordLetters { upper, lower, has_inner_capital, .. } = letters;
    // The second capital must follow the prefix: `DeVito`, not `DejaVu`
    let begins_with =
        |prefix: &&str| text.strip_prefix(*prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_uppercase()));
    if has_inner_capital && !(upper == 2 && word_list!("names.joined_particles").iter().any(begins_with)) {
        return None;
    }
    // Except for `McX`, mixed case such as `IDs` or `APIs` is not a name
    if lower > 0
        && upper > 1
        && !has_inner_capital
        && text.starts_with(|c: char| c.is_uppercase())
        && !text.contains(['-', '\'', '’', '‐'])
    {
        return None;
    }
    Some(NameWord { text, is_initial: false })
}

/// The letters of a word, and characters that join them.
struct WordLetters {
    /// Position after the last letter, in bytes.
    end: usize,
    count: usize,
    upper: usize,
    lower: usize,
    /// Whether a capital follows a small letter.
    has_inner_capital: bool,
}

/// Reads the letters at the start of `rest`, the first a capital. `None` if digits or characters of code are attached.
fn read_letters(rest: &str) -> Option<WordLetters> {
    let mut chars = rest.char_indices().peekable();
    let (_, first) = chars.next()?;
    if !first.is_uppercase() {
        return None;
    }
    let (mut end, mut count, mut upper, mut lower) = (first.len_utf8(), 1, 1, 0);
    let mut has_inner_capital = false;
    let mut follows_joint = false;
    while let Some((index, c)) = chars.next() {
        if c.is_alphabetic() {
            has_inner_capital |= c.is_uppercase() && lower > 0 && !follows_joint;
            upper += usize::from(c.is_uppercase());
            lower += usize::from(!c.is_uppercase());
            follows_joint = false;
        } else if matches!(c, '\'' | '’' | '-' | '‐') && chars.peek().is_some_and(|(_, next)| next.is_alphabetic())
        {
            // A possessive ends a name
            let tail = rest.get(index + c.len_utf8()..).unwrap_or_default();
            let may_be_possessive = c != '-' && tail.starts_with(['s', 'S']);
            if may_be_possessive && !tail.get(1..).unwrap_or_default().starts_with(|c: char| c.is_alphanumeric()) {
                break;
            }
            // A contraction (`Who'll`) is not a name
            if c != '-' && !tail.starts_with(|c: char| c.is_uppercase()) && count > 2 {
                return None;
            }
            follows_joint = true;
        } else {
            // Digits, underscores and characters of code make it an identifier; `Bernstein[^1]` has a footnote
            let is_code = c.is_ascii_digit() || matches!(c, '_' | '/' | '(' | '[' | '=' | '#' | '$');
            let is_footnote = c == '[' && chars.peek().is_some_and(|(_, next)| *next == '^');
            if is_code && !is_footnote {
                return None;
            }
            let has_joint =
                matches!(c, '.' | ':') && chars.peek().is_some_and(|(_, next)| next.is_alphanumeric() || *next == ':');
            if has_joint && count > 1 {
                return None;
            }
            break;
        }
        end = index + c.len_utf8();
        count += 1;
        if count > MAX_WORD_LEN {
            return None;
        }
    }
    Some(WordLetters { end, count, upper, lower, has_inner_capital })
}
