//! Finds names next to cue words that announce them. At most some 200 bytes around a cue are read. The cues are data
//! (`config/rules/names.yaml`).

use crate::scan::TextScan;
use crate::sets::WordSet;
use crate::stems::StemMatch;

use super::name_lists;
use super::name_shape::{self, PersonName, TITLES};
use crate::wordlists;

/// Finds a name after an unambiguous cue.
pub(super) fn name_after_sure_cue(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    let at = skip_bytes(scan, cue.end, b" :*\"'`\t.?", 6)?;
    let Some(name) =
        name_shape::read_name(scan.text, at).or_else(|| name_shape::read_name_with_particles(scan.text, at))
    else {
        return lower_case_name(scan, at);
    };
    // `MR SL SN`: several codes in a row are not a name
    let has_short_words =
        is_all_capitals(scan, &name) && scan.part(name.range.clone()).split(' ').all(|word| word.len() < 4);
    let is_name = name.has_given_name || !(name.starts_with_common_word || has_short_words);
    (is_name || is_common_word_a_name(scan, cue, &name)).then_some(name)
}

/// Whether a common word is a name here: before an uncommon word (`my name is Max de Graaf`), or after a title
/// (`Ms. Fields`).
fn is_common_word_a_name(scan: &TextScan<'_>, cue: &StemMatch, name: &PersonName) -> bool {
    let text = scan.part(name.range.clone());
    let last_word = text.rsplit(' ').next().unwrap_or("");
    let follows_title =
        ["mr", "mrs", "ms"].iter().any(|title| scan.part(cue.start..cue.end).eq_ignore_ascii_case(title));
    let has_dot = scan.byte(cue.end) == b'.';
    !is_all_capitals(scan, name)
        && !is_organisation_name(scan, name)
        && (name.word_count > 1 && !name_lists::is_common_word(last_word)
            || name.word_count == 1 && follows_title && has_dot)
}

/// Finds a name after an ambiguous cue: a listed name, or several words that are not common. After an abbreviation that
/// is a title with its dot (`Sr. García`), one word is enough.
pub(super) fn name_after_weak_cue(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    let is_abbreviated = scan.byte(cue.end) == b'.';
    let at = if is_abbreviated { after_abbreviation(scan, cue)? } else { skip_bytes(scan, cue.end, b" :*\"'`\t,", 4)? };
    let name = name_shape::read_name(scan.text, at)
        .or_else(|| name_shape::read_name_with_particles(scan.text, at).filter(|_| is_abbreviated))?;
    // `Kunde: Max Mustermann`
    let first_word = || scan.part(name.range.clone()).split(' ').next().unwrap_or("");
    let is_labelled = || scan.byte(cue.end) == b':' && name_lists::may_be_given_name(first_word());
    let may_be_full_name = (name.word_count > 1 || is_abbreviated) && (!name.starts_with_common_word || is_labelled());
    let is_unlisted_name = may_be_full_name && !is_organisation_name(scan, &name) && !is_all_capitals(scan, &name);
    (is_unlisted_name || name.has_given_name && !is_product(scan.part(name.range.clone()))).then_some(name)
}

/// The position after a title's dot and the letters after it: `Sig. Bianchi`, `Sig.ra Rossi`, `Dott.ssa Verdi`.
fn after_abbreviation(scan: &TextScan<'_>, cue: &StemMatch) -> Option<usize> {
    let is_title = TITLES.contains(scan.part(cue.start..cue.end)) && scan.byte(cue.start).is_ascii_uppercase();
    let len = code_pattern!(r"\.[a-z]{0,3} ").match_len(scan.text_after(cue.end, 8));
    len.filter(|_| is_title).map(|len| cue.end + len)
}

/// Finds a name after a greeting; unlisted names need punctuation or a line break after them. `None` if another
/// greeting begins there. `next_words`: the known words after the greeting.
pub(super) fn name_after_greeting(
    scan: &TextScan<'_>,
    cue: &StemMatch,
    next_words: &[StemMatch],
) -> Option<PersonName> {
    let byte_after = scan.byte(cue.end);
    let at = skip_bytes(scan, cue.end, b" ,\t", 2)?;
    if next_words.iter().take_while(|word| word.start <= at).any(|word| word.start == at && word.action == cue.action) {
        return None;
    }
    let name = name_shape::read_name(scan.text, at)?;
    if is_assistant(scan, &name) {
        return None;
    }
    if name.has_given_name {
        return Some(name);
    }
    let after = scan.part(name.range.end..scan.text.len());
    let is_name_complete =
        after.is_empty() || after.starts_with([',', '!', '.', '\n', '\r', ';', '?', '"', ':', '<', '\\', '–', '—']);
    let is_direct_address =
        byte_after == b',' || scan.part(cue.start..cue.end).len() <= 5 || after.starts_with([',', '!']);
    let is_possible_given_name =
        || name.word_count == 1 && name_lists::may_be_given_name(scan.part(name.range.clone()));
    (is_name_complete
        && is_direct_address
        && (!name.starts_with_common_word || is_possible_given_name())
        && !is_organisation_name(scan, &name)
        && !is_all_capitals(scan, &name))
    .then_some(name)
}

/// Finds a name on the line below a closing formula.
pub(super) fn name_below_closing(scan: &TextScan<'_>, cue: &StemMatch) -> Option<PersonName> {
    let line_breaks = code_pattern!(concat!(
        r"(?:(?:[ ,.!\r\t*>~-]|\\\\|\\r)*(?:\n|\\n|<br[^>]*>)){1,3}",
        r"(?:[ ,.!\r\t*>~-]|\\\\|\\r)*"
    ));
    let at = cue.end + line_breaks.match_len(scan.text_after(cue.end, 24))?;
    let name = name_shape::read_name(scan.text, at)?;
    let after = scan.part(name.range.end..scan.text.len());
    let is_name_complete =
        after.is_empty() || after.starts_with(['\n', '\r', '\\', '"', '\'', '<', ',', ' ', '(', '*', '|', '.']);
    let is_possible_given_name = name.word_count == 1 && name_lists::may_be_given_name(scan.part(name.range.clone()));
    // `Travel Deals Team`, but not `Sales Manager`
    let is_group = words_after(after).last().is_some_and(|last| word_set!("names.signing_groups").contains(last));
    let may_be_person = name.has_given_name
        || is_possible_given_name
        || (!name.starts_with_common_word && !is_group && !is_organisation_name(scan, &name));
    (is_name_complete && may_be_person && !is_assistant(scan, &name)).then_some(name)
}

/// Up to six words after a name, of which all but the first are capitalised, up to a mark.
fn words_after(after: &str) -> impl Iterator<Item = &str> {
    let is_joint = |c: char| matches!(c, ' ' | ',' | '&' | '–');
    let mut is_open = after.starts_with(is_joint);
    let words = after.trim_start_matches(is_joint).split(' ').take(6).enumerate();
    words.map_while(move |(index, word)| {
        let bare = word.split(|c: char| !c.is_alphanumeric() && c != '-').next().unwrap_or("");
        let continues = is_open && (index == 0 || bare.starts_with(char::is_uppercase));
        is_open = bare.len() == word.len() && bare.starts_with(char::is_uppercase);
        continues.then_some(bare)
    })
}

/// Whether a single word is a program or a role.
fn is_assistant(scan: &TextScan<'_>, name: &PersonName) -> bool {
    name.word_count == 1 && word_set!("names.assistants").contains(scan.part(name.range.clone()))
}

/// Position after one to `most` of the `skipped` bytes from `from` on; `None` if there are none or more.
fn skip_bytes(scan: &TextScan<'_>, from: usize, skipped: &[u8], most: usize) -> Option<usize> {
    let rest = scan.bytes(from..from + most + 1);
    let len = rest.iter().take_while(|byte| skipped.contains(byte)).count();
    (len > 0 && len <= most).then_some(from + len)
}

/// Finds a lower-case name after an unambiguous cue: a listed name and the word after it.
fn lower_case_name(scan: &TextScan<'_>, at: usize) -> Option<PersonName> {
    let rest = scan.text_after(at, 48);
    let mut words = rest.split(' ').map(|word| {
        let len = word.bytes().take_while(|byte| byte.is_ascii_lowercase()).count();
        (word.get(..len).unwrap_or(""), len == word.len())
    });
    let (first, is_whole_word) = words.next()?;
    if !name_lists::is_lower_given_name(first) || name_lists::is_common_word(first) {
        return None;
    }
    let mut end = at + first.len();
    let mut count = 1;
    if let Some((second, _)) = words.next().filter(|_| is_whole_word)
        && second.len() > 2
        && !name_lists::is_common_word(second)
    {
        end += 1 + second.len();
        count += 1;
    }
    Some(PersonName { range: at..end, word_count: count, has_given_name: true, starts_with_common_word: false })
}

/// Whether a word ends names of organisations or places.
pub(crate) fn is_organisation_word(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    word_set!("names.organisation_suffixes").contains(word)
}

/// Whether a name is a firm's, or begins like one of three words.
fn is_firm(text: &str) -> bool {
    let mut word_ends = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]).skip(1);
    let first_two = word_ends.next().and_then(|end| text.get(..end));
    let has_third_word = word_ends.next().is_some();
    first_two.is_some_and(|first_two| {
        once!(WordSet, WordSet::from_words(["gibson les", "yves saint", "hilton new"])).contains(first_two)
            || !has_third_word
                && once!(WordSet, WordSet::from_words(wordlists::lines("names.other_proper_names"))).contains(first_two)
    })
}

/// Whether a word of a name, or one of the two words after it, shows that it is not a person's.
pub(super) fn is_organisation_name(scan: &TextScan<'_>, name: &PersonName) -> bool {
    let text = scan.part(name.range.clone());
    let after = scan.text_after(name.range.end, 32);
    // `Leonardo da Vinci–Fiumicino Airport`
    let most_after = if after.starts_with([' ', '–']) { 2 } else { 1 };
    text.split(' ').skip(1).chain(words_after(after).take(most_after)).any(is_organisation_word)
        || is_product(text)
        || is_firm(text)
}

/// `Travis CI`, `Ray ID`: mixed case, then a short word in capitals that is not a known name.
fn is_product(text: &str) -> bool {
    let Some((first, last)) = text.rsplit_once(' ') else { return false };
    let is_upper_case = (2..5).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_uppercase());
    is_upper_case
        && first.contains(char::is_lowercase)
        && !name_lists::is_family_name(last)
        && !name_lists::is_given_name(last)
}

/// Whether a name is all in capitals, which after a weak cue is more often a constant.
pub(super) fn is_all_capitals(scan: &TextScan<'_>, name: &PersonName) -> bool {
    !scan.part(name.range.clone()).contains(char::is_lowercase)
}
