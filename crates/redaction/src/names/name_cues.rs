//! Finds names behind cue words that announce them. At most some 200 bytes behind a cue are read. The cues are data
//! (`config/rules/names.yaml`).

use std::sync::LazyLock;

use crate::scan::TextScan;
use crate::sets::WordSet;
use crate::stems::StemMatch;

use super::name_lists;
use super::name_shape::{self, PersonName, TITLES};
use crate::wordlists;

/// Finds a name behind an unambiguous cue.
pub(super) fn name_behind_sure_cue(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    let at = skip_bytes(scan, cue.end, b" :*\"'`\t.?", 6)?;
    let at = skip_title(scan, at);
    let Some(name) =
        name_shape::read_name(scan.text, at).or_else(|| name_shape::read_name_with_particles(scan.text, at))
    else {
        return lower_case_name(scan, at);
    };
    // `MR SL SN`: several codes in a row are not a name
    let short = is_all_capitals(scan, &name) && scan.part(name.range.clone()).split(' ').all(|word| word.len() < 4);
    let surely = name.given || !(name.common || short);
    (surely || is_common_word_a_name(scan, cue, &name)).then_some(name)
}

/// Whether a common word is a name here: before an uncommon word (`my name is Max de Graaf`), or behind a title
/// (`Ms. Fields`).
fn is_common_word_a_name(scan: &TextScan<'_>, cue: &StemMatch, name: &PersonName) -> bool {
    let text = scan.part(name.range.clone());
    let last = text.rsplit(' ').next().unwrap_or("");
    let titled = ["mr", "mrs", "ms"].iter().any(|title| scan.part(cue.start..cue.end).eq_ignore_ascii_case(title));
    let dotted = scan.byte(cue.end) == b'.';
    !is_all_capitals(scan, name)
        && !is_organisation_name(scan, name)
        && (name.words > 1 && !name_lists::is_common_word(last) || name.words == 1 && titled && dotted)
}

/// Finds a name behind an ambiguous cue: a listed name, or several words that are not common.
pub(super) fn name_behind_weak_cue(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    if scan.byte(cue.end) == b'.' {
        return name_behind_abbreviation(scan, cue);
    }
    let at = skip_bytes(scan, cue.end, b" :*\"'`\t,", 4)?;
    let at = skip_title(scan, at);
    let name = name_shape::read_name(scan.text, at)?;
    // `Kunde: Max Mustermann`
    let first = || scan.part(name.range.clone()).split(' ').next().unwrap_or("");
    let labelled = || scan.byte(cue.end) == b':' && name_lists::may_be_given_name(first());
    let several = name.words > 1 && (!name.common || labelled());
    let unlisted = several && !is_organisation_name(scan, &name) && !is_all_capitals(scan, &name);
    (unlisted || name.given && !is_product(scan.part(name.range.clone()))).then_some(name)
}

/// Finds a name behind an abbreviation that is a title only with its dot: `Sr. García`, `Sig. Bianchi`.
fn name_behind_abbreviation(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    let titled = TITLES.contains(scan.part(cue.start..cue.end)) && scan.byte(cue.start).is_ascii_uppercase();
    // `Sig.ra`, `Dott.ssa`
    let tail = scan.bytes(cue.end + 1..cue.end + 5).iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    let at = skip_bytes(scan, cue.end + 1 + tail, b" ", 1).filter(|_| titled && tail < 4)?;
    let name = name_shape::read_name(scan.text, skip_title(scan, at))
        .or_else(|| name_shape::read_name_with_particles(scan.text, at))?;
    let person = name.given || !name.common && !is_organisation_name(scan, &name);
    (person && !is_all_capitals(scan, &name)).then_some(name)
}

/// Finds a name behind a greeting; unlisted names need punctuation or a line break behind them. `None` if another
/// greeting begins there. `further`: the known words after the greeting.
pub(super) fn name_behind_greeting(scan: &TextScan<'_>, cue: &StemMatch, further: &[StemMatch]) -> Option<PersonName> {
    let behind = scan.byte(cue.end);
    let at = skip_bytes(scan, cue.end, b" ,\t", 2)?;
    if further.iter().take_while(|word| word.start <= at).any(|word| word.start == at && word.action == cue.action) {
        return None;
    }
    let at = skip_title(scan, at);
    let name = name_shape::read_name(scan.text, at)?;
    if is_assistant(scan, &name) {
        return None;
    }
    if name.given {
        return Some(name);
    }
    let next = scan.part(name.range.end..scan.text.len());
    let ends =
        next.is_empty() || next.starts_with([',', '!', '.', '\n', '\r', ';', '?', '"', ':', '<', '\\', '–', '—']);
    let greeting = behind == b',' || scan.part(cue.start..cue.end).len() <= 5 || next.starts_with([',', '!']);
    let maybe = || name.words == 1 && name_lists::may_be_given_name(scan.part(name.range.clone()));
    (ends
        && greeting
        && (!name.common || maybe())
        && !is_organisation_name(scan, &name)
        && !is_all_capitals(scan, &name))
    .then_some(name)
}

/// Finds a name on the line below a closing formula.
pub(super) fn name_below_closing(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    let rest = scan.bytes(cue.end..scan.text.len().min(cue.end + 24));
    let mut at = cue.end;
    let mut lines = 0;
    let mut bytes = rest.iter().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => lines += 1,
            b' ' | b',' | b'.' | b'!' | b'\r' | b'\t' | b'-' | b'*' | b'>' | b'~' => {}
            b'\\' => match bytes.next() {
                Some(b'n') => {
                    lines += 1;
                    at += 1;
                }
                Some(b'\\' | b'r') => at += 1,
                _ => return None,
            },
            b'<' if scan.part(at..at + 3) == "<br" => {
                let tag = bytes.by_ref().position(|byte| *byte == b'>')?;
                at += tag + 1;
                lines += 1;
            }
            _ => break,
        }
        at += 1;
    }
    if lines == 0 || lines > 3 {
        return None;
    }
    let name = name_shape::read_name(scan.text, skip_title(scan, at))?;
    let next = scan.part(name.range.end..scan.text.len());
    let ends = next.is_empty() || next.starts_with(['\n', '\r', '\\', '"', '\'', '<', ',', ' ', '(', '*', '|', '.']);
    let maybe = name.words == 1 && name_lists::may_be_given_name(scan.part(name.range.clone()));
    let person = name.given || maybe || (!name.common && !is_group(next) && !has_organisation_word(scan, &name, false));
    (ends && person && !is_assistant(scan, &name)).then_some(name)
}

/// Words for a group that signs.
static GROUPS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("names.signing_groups")));

/// Whether the capitalised words behind a name end in a group: `Travel Deals Team`, but not `Sales Manager`.
fn is_group(behind: &str) -> bool {
    let words = behind.strip_prefix(' ').unwrap_or("").split(' ').take(6);
    let mut last = "";
    for word in words {
        let bare = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        let bare = bare.split(['\n', '\r', '\\', '"', '<', ',']).next().unwrap_or("");
        if !bare.starts_with(char::is_uppercase) {
            break;
        }
        last = bare;
        if bare.len() < word.len() {
            break;
        }
    }
    GROUPS.contains(last)
}

/// Programs and roles that are greeted or sign letters.
static ASSISTANTS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("names.assistants")));

/// Whether a single word is a program or a role.
fn is_assistant(scan: &TextScan<'_>, name: &PersonName) -> bool {
    name.words == 1 && ASSISTANTS.contains(scan.part(name.range.clone()))
}

/// Finds the name of at least two words before `(DOB`.
pub(super) fn name_before_birth_date(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    let end = cue.start.checked_sub(2).filter(|end| scan.byte(*end) == b' ')?;
    let floor = scan.text.ceil_char_boundary(end.saturating_sub(64));
    let head = scan.part(floor..end);
    let mut start = end;
    for word in head.rsplit(' ').take(3) {
        let named =
            word.starts_with(char::is_uppercase) && word.chars().all(|c| c.is_alphabetic() || "-'.’".contains(c));
        if !named || start < floor + word.len() {
            break;
        }
        start -= word.len() + usize::from(start < end);
        let name = name_shape::read_name(scan.text, start).filter(|name| name.range.end == end && name.words > 1);
        if name.as_ref().is_some_and(|name| !name.common && !is_organisation_name(scan, name))
            && !follows_capitalised_word(scan, start)
        {
            return name;
        }
    }
    None
}

/// Whether another capitalised word comes before `start`.
fn follows_capitalised_word(scan: &TextScan<'_>, start: usize) -> bool {
    let head = scan.part(scan.text.ceil_char_boundary(start.saturating_sub(32))..start);
    let word = head.strip_suffix(' ').and_then(|head| head.rsplit([' ', '\n']).next()).unwrap_or("");
    word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphabetic)
}

/// Position behind one to `most` of the `skipped` bytes from `from` on; `None` if there are none or more.
fn skip_bytes(scan: &TextScan<'_>, from: usize, skipped: &[u8], most: usize) -> Option<usize> {
    let rest = scan.bytes(from..scan.text.len().min(from + most + 1));
    let len = rest.iter().take_while(|byte| skipped.contains(byte)).count();
    (len > 0 && len <= most).then_some(from + len)
}

/// Skips a title at `at`, if there is one.
pub(super) fn skip_title(scan: &TextScan<'_>, at: usize) -> usize {
    let rest = scan.part(at..scan.widen_to_characters(at..scan.text.len().min(at + 16)).end);
    let len = rest.bytes().position(|byte| matches!(byte, b' ' | b'.')).unwrap_or(rest.len());
    let word = rest.get(..len).unwrap_or("");
    if !TITLES.contains(word) || !word.starts_with(|c: char| c.is_uppercase()) {
        return at;
    }
    let behind = rest.get(word.len()..).unwrap_or("");
    let blanks = if behind.starts_with(". ") { 2 } else { 1 };
    let goes_on = behind.get(blanks..).is_some_and(|next| next.starts_with(|c: char| c.is_uppercase()));
    if goes_on { at + word.len() + blanks } else { at }
}

/// Finds a lower-case name behind an unambiguous cue: a listed name and the word behind it.
fn lower_case_name(scan: &TextScan<'_>, at: usize) -> Option<PersonName> {
    let rest = scan.part(at..scan.widen_to_characters(at..scan.text.len().min(at + 48)).end);
    let mut words = rest.split(' ').map(|word| {
        let len = word.bytes().take_while(|byte| byte.is_ascii_lowercase()).count();
        (word.get(..len).unwrap_or(""), len == word.len())
    });
    let (first, whole) = words.next()?;
    if !name_lists::is_lower_given_name(first) || name_lists::is_common_word(first) {
        return None;
    }
    let mut end = at + first.len();
    let mut count = 1;
    if let Some((second, _)) = words.next().filter(|_| whole)
        && second.len() > 2
        && !name_lists::is_common_word(second)
    {
        end += 1 + second.len();
        count += 1;
    }
    Some(PersonName { range: at..end, words: count, given: true, common: false })
}

/// Words that end the name of an organisation or place.
static ORGANISATIONS: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::new(wordlists::text("names.organisation_suffixes")));

/// Whether a word ends names of organisations or places.
pub(crate) fn is_organisation_word(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    ORGANISATIONS.contains(word)
}

/// Firms, brands, games and laws whose two words look like a person's name.
static FIRMS: LazyLock<WordSet> = LazyLock::new(|| WordSet::from_words(wordlists::lines("names.other_proper_names")));

/// The first two words of such names with a third word.
static FIRST_WORDS_OF_FIRMS: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::from_words(["gibson les", "yves saint", "hilton new"]));

/// Whether a name of two words is a firm's, or a longer one begins with one that has a third word.
fn is_firm(text: &str) -> bool {
    let mut ends = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]).skip(1);
    let two = ends.next().and_then(|end| text.get(..end));
    let longer = ends.next().is_some();
    two.is_some_and(|two| {
        if longer {
            FIRST_WORDS_OF_FIRMS.contains(two)
        } else {
            FIRMS.contains(two) || FIRST_WORDS_OF_FIRMS.contains(two)
        }
    })
}

/// Whether a word of a name, or one of the two words behind it, shows that it is not a person's.
pub(super) fn is_organisation_name(scan: &TextScan<'_>, name: &PersonName) -> bool {
    has_organisation_word(scan, name, true)
}

/// Like [`is_organisation_name`]; the second word behind counts only if `far` is set.
fn has_organisation_word(scan: &TextScan<'_>, name: &PersonName, far: bool) -> bool {
    let is = is_organisation_word;
    let text = scan.part(name.range.clone());
    let behind = scan
        .part(name.range.end..scan.widen_to_characters(name.range.end..scan.text.len().min(name.range.end + 32)).end);
    let ends = |c: char| matches!(c, ' ' | ',' | '.' | '\n' | '"');
    let parted = behind.trim_start_matches([' ', ',', '&', '–']);
    let (next, further) = parted.split_once(ends).unwrap_or((parted, ""));
    // `Leonardo da Vinci–Fiumicino Airport`
    let upper = |word: &str| word.starts_with(char::is_uppercase);
    let goes_on = far
        && behind.starts_with([' ', '–'])
        && upper(next)
        && parted.get(next.len()..).is_some_and(|rest| rest.starts_with(' '));
    let further = further.split(ends).next().unwrap_or("");
    text.split(' ').skip(1).any(is)
        || is_product(text)
        || is_firm(text)
        || (behind.starts_with([' ', ',', '&', '–']) && is(next))
        || (goes_on && upper(further) && is(further))
}

/// `Travis CI`, `Ray ID`: mixed case, then a short word in capitals that is not a known name.
fn is_product(text: &str) -> bool {
    let Some((first, last)) = text.rsplit_once(' ') else { return false };
    let capitals = (2..5).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_uppercase());
    capitals
        && first.contains(char::is_lowercase)
        && !name_lists::is_family_name(last)
        && !name_lists::is_given_name(last)
}

/// Whether a name is all in capitals, which behind a weak cue is more often a constant.
pub(super) fn is_all_capitals(scan: &TextScan<'_>, name: &PersonName) -> bool {
    !scan.part(name.range.clone()).contains(char::is_lowercase)
}
