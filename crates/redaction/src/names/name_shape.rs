//! Reads a person's name: one to five capitalised words, particles and initials. At most [`MOST`] words and some 150
//! bytes are read. Cues are in `cues`, word lists in `words`.

use std::ops::Range;
use std::sync::LazyLock;

use super::name_lists;
use crate::sets::WordSet;
use crate::wordlists;

/// Most words in a name.
const MOST: usize = 5;
/// Longest word in a name, in characters.
const WORD: usize = 24;

/// A name, judged by its form.
#[derive(Clone, Debug)]
pub(crate) struct PersonName {
    /// From its first word to its last.
    pub(crate) range: Range<usize>,
    /// Number of words, without particles.
    pub(crate) words: usize,
    /// Whether its first word is a listed given name.
    pub(crate) given: bool,
    /// Whether one of its words is common, unless it is a family name behind a given one.
    pub(crate) common: bool,
}

/// A capitalised word.
struct NameWord<'t> {
    text: &'t str,
    initial: bool,
}

/// Particles before a family name.
static PARTICLES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("names.particles").collect());
/// Titles before a name, which are not part of it.
pub(crate) static TITLES: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("names.titles")));

/// Reads the name that starts at `at`.
pub(crate) fn read_name(text: &str, at: usize) -> Option<PersonName> {
    let first = read_word(text, at)?;
    if TITLES.contains(first.text) && !first.text.eq_ignore_ascii_case("don") {
        return None;
    }
    let given = name_lists::is_given_name(first.text);
    let mut name = PersonName { range: at..at + first.text.len(), words: 1, given, common: false };
    name.common = !given && !first.initial && name_lists::is_common_word(first.text);
    if first.initial {
        name.range.end += 1;
    }
    let maybe = !given && name_lists::may_be_given_name(first.text);
    let (mut known, mut family) = (given || maybe, false);
    while name.words < MOST {
        let Some((next_at, after_particle)) = next_word_start(text, name.range.end, first.initial && name.words == 1)
        else {
            break;
        };
        let Some(next) = read_word(text, next_at).or_else(|| middle_initial(text, next_at, &name)) else { break };
        if after_particle && TITLES.contains(next.text) {
            break;
        }
        let next_given = name_lists::is_given_name(next.text);
        let next_family = || !next.initial && name_lists::is_family_name(next.text);
        let common = !next.initial && !next_given && name_lists::is_common_word(next.text);
        if common && !after_particle && !(known && next_family()) {
            break;
        }
        // Only needed for ambiguous given names
        family |= maybe && !common && !family && next_family();
        let dot = next.initial && text.as_bytes().get(next_at + next.text.len()) == Some(&b'.');
        name.range.end = next_at + next.text.len() + usize::from(dot);
        name.words += 1;
        known |= next_given;
    }
    if first.initial && name.words == 1 {
        return None;
    }
    name.given |= (first.initial && known) || (maybe && family);
    name.common &= !name.given;
    extend_by_suffix(text, &mut name);
    Some(name)
}

/// An initial without a dot between a given name and a possible family name of the same case: `JANE Q DOE`.
fn middle_initial<'t>(text: &'t str, at: usize, name: &PersonName) -> Option<NameWord<'t>> {
    let initial = text.get(at..at + 1).filter(|c| name.given && name.words == 1 && *c != "I")?;
    let capitals = !text.get(name.range.clone())?.bytes().any(|byte| byte.is_ascii_lowercase());
    let behind = text.get(at + 1..)?.strip_prefix(' ')?;
    let next = read_word(text, text.len() - behind.len()).filter(|next| !next.initial && next.text.len() > 2)?;
    let alike = capitals != next.text.bytes().any(|byte| byte.is_ascii_lowercase());
    let fits = initial.bytes().all(|byte| byte.is_ascii_uppercase()) && alike && !name_lists::is_common_word(next.text);
    fits.then_some(NameWord { text: initial, initial: true })
}

/// Reads a name that starts with particles at `at`: `van den Berg`.
pub(crate) fn read_name_with_particles(text: &str, at: usize) -> Option<PersonName> {
    let begins = text.get(at..)?.bytes().take(4).take_while(u8::is_ascii_lowercase).count();
    let first = text.get(at..at + begins).filter(|word| PARTICLES.contains(word) && word.len() > 1)?;
    let (from, _) = next_word_start(text, at + first.len(), false)?;
    let name = read_name(text, from).filter(|name| !name.common)?;
    Some(PersonName { range: at..name.range.end, ..name })
}

/// Suffixes that belong to a name; longer ones first.
static SUFFIXES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::lines("names.suffixes").collect());

/// Extends a name by `, Jr.` and similar suffixes.
fn extend_by_suffix(text: &str, name: &mut PersonName) {
    let rest = text.get(name.range.end..).unwrap_or_default();
    let read = text.get(name.range.clone()).unwrap_or_default();
    if rest.starts_with('.') && (read.ends_with(" Jr") || read.ends_with(" Sr")) {
        name.range.end += 1;
        return;
    }
    // Quick check, because nearly no name has one
    let may = matches!(
        rest.as_bytes(),
        [b' ', b'J' | b'S', b'r', ..]
            | [b' ', b'I', b'I' | b'V', ..]
            | [b' ', b'P', b'h', ..]
            | [b' ', b'M', b'D', ..]
            | [b' ', b'D', b'D' | b'V', ..]
            | [b',', b' ', b'J' | b'S' | b'M' | b'P', ..]
    );
    if !may {
        return;
    }
    for end in SUFFIXES.iter() {
        if rest.strip_prefix(end).is_some_and(|behind| !behind.starts_with(|c: char| c.is_alphanumeric())) {
            name.range.end += end.len();
            return;
        }
    }
}

/// Start of the next word of a name behind `end`, and whether particles are between.
fn next_word_start(text: &str, end: usize, _initial: bool) -> Option<(usize, bool)> {
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
        if let Some(behind) = rest.strip_prefix(blank) {
            let next = behind.trim_start_matches(' ');
            return (behind.len() - next.len() <= 1).then(|| text.len() - next.len());
        }
    }
    None
}

/// Fast path for a word of one capital and small ASCII letters, as nearly all are. Empty if digits or characters of
/// code are attached to it; `None` if the slow path has to read it.
fn plain_word(rest: &str) -> Option<&str> {
    let (_, behind) = rest.as_bytes().split_first().filter(|(first, _)| first.is_ascii_uppercase())?;
    let small = behind.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    match behind.get(small) {
        None | Some(b' ' | b',' | b'\n' | b'"') if small > 0 => rest.get(..=small),
        Some(b'0'..=b'9' | b'_' | b'/' | b'=' | b'#' | b'$') => Some(""),
        _ => None,
    }
}

/// Prefixes before a second capital in a family name: `DeVito`.
static GLUED_PARTICLES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("names.joined_particles").collect());

/// Reads one capitalised word at `at`.
fn read_word(text: &str, at: usize) -> Option<NameWord<'_>> {
    let rest = text.get(at..)?;
    if let Some(text) = plain_word(rest) {
        return (1..=WORD).contains(&text.len()).then_some(NameWord { text, initial: false });
    }
    let letters = read_letters(rest)?;
    let text = rest.get(..letters.end)?;
    if letters.count == 1 {
        let initial = rest.get(letters.end..).unwrap_or_default().starts_with('.') && text != "I";
        return initial.then_some(NameWord { text, initial: true });
    }
    let WordLetters { upper, lower, has_inner_capital: inner, .. } = letters;
    let prefixed = &*GLUED_PARTICLES;
    // The second capital must follow the prefix: `DeVito`, not `DejaVu`
    let behind =
        |prefix: &&str| text.strip_prefix(*prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_uppercase()));
    if inner && !(upper == 2 && prefixed.iter().any(behind)) {
        return None;
    }
    // Except for `McX`, mixed case such as `IDs` or `APIs` is not a name
    if lower > 0
        && upper > 1
        && !inner
        && text.starts_with(|c: char| c.is_uppercase())
        && !text.contains(['-', '\'', '’', '‐'])
    {
        return None;
    }
    Some(NameWord { text, initial: false })
}

/// The letters of a word, and characters that join them.
struct WordLetters {
    /// Position behind the last letter, in bytes.
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
    let mut inner = false;
    let mut joint = false;
    while let Some((index, c)) = chars.next() {
        if c.is_alphabetic() {
            inner |= c.is_uppercase() && lower > 0 && !joint;
            upper += usize::from(c.is_uppercase());
            lower += usize::from(!c.is_uppercase());
            joint = false;
        } else if matches!(c, '\'' | '’' | '-' | '‐') && chars.peek().is_some_and(|(_, next)| next.is_alphabetic())
        {
            // A possessive ends a name
            let tail = rest.get(index + c.len_utf8()..).unwrap_or_default();
            let possessive = c != '-' && tail.starts_with(['s', 'S']);
            if possessive && !tail.get(1..).unwrap_or_default().starts_with(|c: char| c.is_alphanumeric()) {
                break;
            }
            // A contraction (`Who'll`) is not a name
            if c != '-' && !tail.starts_with(|c: char| c.is_uppercase()) && count > 2 {
                return None;
            }
            joint = true;
        } else {
            // Digits, underscores and characters of code make it an identifier
            let code = c.is_ascii_digit() || matches!(c, '_' | '/' | '\\' | '@' | '(' | '[' | '=' | '#' | '*' | '$');
            // `Bernstein[^1]` has a footnote
            let note = c == '[' && chars.peek().is_some_and(|(_, next)| *next == '^');
            let call = matches!(c, '(' | '[') && count > 0 && !note;
            let spaced = matches!(c, '*' | '\\' | '[' | '(') && !call;
            if code && !spaced && !matches!(c, '\\' | '*' | '@') {
                return None;
            }
            let dotted =
                matches!(c, '.' | ':') && chars.peek().is_some_and(|(_, next)| next.is_alphanumeric() || *next == ':');
            if dotted && count > 1 {
                return None;
            }
            break;
        }
        end = index + c.len_utf8();
        count += 1;
        if count > WORD {
            return None;
        }
    }
    Some(WordLetters { end, count, upper, lower, has_inner_capital: inner })
}
