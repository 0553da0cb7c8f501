//! Finds names behind cue words that announce them. At most some 200 bytes behind a cue are read. The cues are data
//! (`config/rules/names.yaml`).

use std::sync::LazyLock;

use crate::scan::Scan;
use crate::sets::Words;
use crate::stems::WordAt;

use super::shape::{self, Name, TITLES};
use super::words;
use crate::wordlists;

/// Finds a name behind an unambiguous cue.
pub(super) fn introduced(scan: &Scan<'_>, cue: &WordAt) -> Option<Name> {
    let at = skip(scan, cue.end, b" :*\"'`\t.?", 6)?;
    let at = title(scan, at);
    let Some(name) = shape::read(scan.text, at).or_else(|| shape::behind_particles(scan.text, at)) else {
        return lowercase(scan, at);
    };
    // `MR SL SN`: several codes in a row are not a name
    let short = all_capitals(scan, &name) && scan.part(name.range.clone()).split(' ').all(|word| word.len() < 4);
    let surely = name.given || !(name.common || short);
    (surely || is_common_name(scan, cue, &name)).then_some(name)
}

/// Whether a common word is a name here: before an uncommon word (`my name is Max de Graaf`), or behind a title
/// (`Ms. Fields`).
fn is_common_name(scan: &Scan<'_>, cue: &WordAt, name: &Name) -> bool {
    let text = scan.part(name.range.clone());
    let last = text.rsplit(' ').next().unwrap_or("");
    let titled = ["mr", "mrs", "ms"].iter().any(|title| scan.part(cue.at..cue.end).eq_ignore_ascii_case(title));
    let dotted = scan.byte(cue.end) == b'.';
    !all_capitals(scan, name)
        && !organisation(scan, name)
        && (name.words > 1 && !words::is_common(last) || name.words == 1 && titled && dotted)
}

/// Finds a name behind an ambiguous cue: a listed name, or several words that are not common.
pub(super) fn cued(scan: &Scan<'_>, cue: &WordAt) -> Option<Name> {
    if scan.byte(cue.end) == b'.' {
        return abbreviated(scan, cue);
    }
    let at = skip(scan, cue.end, b" :*\"'`\t,", 4)?;
    let at = title(scan, at);
    let name = shape::read(scan.text, at)?;
    // `Kunde: Max Mustermann`
    let first = || scan.part(name.range.clone()).split(' ').next().unwrap_or("");
    let labelled = || scan.byte(cue.end) == b':' && words::may_be_given(first());
    let several = name.words > 1 && (!name.common || labelled());
    let unlisted = several && !organisation(scan, &name) && !all_capitals(scan, &name);
    (unlisted || name.given && !is_product(scan.part(name.range.clone()))).then_some(name)
}

/// Finds a name behind an abbreviation that is a title only with its dot: `Sr. García`, `Sig. Bianchi`.
fn abbreviated(scan: &Scan<'_>, cue: &WordAt) -> Option<Name> {
    let titled = TITLES.has(scan.part(cue.at..cue.end)) && scan.byte(cue.at).is_ascii_uppercase();
    // `Sig.ra`, `Dott.ssa`
    let tail = scan.bytes(cue.end + 1..cue.end + 5).iter().take_while(|byte| byte.is_ascii_lowercase()).count();
    let at = skip(scan, cue.end + 1 + tail, b" ", 1).filter(|_| titled && tail < 4)?;
    let name = shape::read(scan.text, title(scan, at)).or_else(|| shape::behind_particles(scan.text, at))?;
    let person = name.given || !name.common && !organisation(scan, &name);
    (person && !all_capitals(scan, &name)).then_some(name)
}

/// Finds a name behind a greeting; unlisted names need punctuation or a line break behind them. `None` if another
/// greeting begins there. `further`: the known words after the greeting.
pub(super) fn greeted(scan: &Scan<'_>, cue: &WordAt, further: &[WordAt]) -> Option<Name> {
    let behind = scan.byte(cue.end);
    let at = skip(scan, cue.end, b" ,\t", 2)?;
    if further.iter().take_while(|word| word.at <= at).any(|word| word.at == at && word.action == cue.action) {
        return None;
    }
    let at = title(scan, at);
    let name = shape::read(scan.text, at)?;
    if is_assistant(scan, &name) {
        return None;
    }
    if name.given {
        return Some(name);
    }
    let next = scan.part(name.range.end..scan.text.len());
    let ends =
        next.is_empty() || next.starts_with([',', '!', '.', '\n', '\r', ';', '?', '"', ':', '<', '\\', '–', '—']);
    let greeting = behind == b',' || scan.part(cue.at..cue.end).len() <= 5 || next.starts_with([',', '!']);
    let maybe = || name.words == 1 && words::may_be_given(scan.part(name.range.clone()));
    (ends && greeting && (!name.common || maybe()) && !organisation(scan, &name) && !all_capitals(scan, &name))
        .then_some(name)
}

/// Finds a name on the line below a closing formula.
pub(super) fn signed(scan: &Scan<'_>, cue: &WordAt) -> Option<Name> {
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
    let name = shape::read(scan.text, title(scan, at))?;
    let next = scan.part(name.range.end..scan.text.len());
    let ends = next.is_empty() || next.starts_with(['\n', '\r', '\\', '"', '\'', '<', ',', ' ', '(', '*', '|', '.']);
    let maybe = name.words == 1 && words::may_be_given(scan.part(name.range.clone()));
    let person = name.given || maybe || (!name.common && !is_group(next) && !organised(scan, &name, false));
    (ends && person && !is_assistant(scan, &name)).then_some(name)
}

/// Words for a group that signs.
static GROUPS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.groups")));

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
    GROUPS.has(last)
}

/// Programs and roles that are greeted or sign letters.
static ASSISTANTS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.assistants")));

/// Whether a single word is a program or a role.
fn is_assistant(scan: &Scan<'_>, name: &Name) -> bool {
    name.words == 1 && ASSISTANTS.has(scan.part(name.range.clone()))
}

/// Finds the name of at least two words before `(DOB`.
pub(super) fn born(scan: &Scan<'_>, cue: &WordAt) -> Option<Name> {
    let end = cue.at.checked_sub(2).filter(|end| scan.byte(*end) == b' ')?;
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
        let name = shape::read(scan.text, start).filter(|name| name.range.end == end && name.words > 1);
        if name.as_ref().is_some_and(|name| !name.common && !organisation(scan, name)) && !goes_on(scan, start) {
            return name;
        }
    }
    None
}

/// Whether another capitalised word comes before `start`.
fn goes_on(scan: &Scan<'_>, start: usize) -> bool {
    let head = scan.part(scan.text.ceil_char_boundary(start.saturating_sub(32))..start);
    let word = head.strip_suffix(' ').and_then(|head| head.rsplit([' ', '\n']).next()).unwrap_or("");
    word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphabetic)
}

/// Position behind one to `most` of the `skipped` bytes from `from` on; `None` if there are none or more.
fn skip(scan: &Scan<'_>, from: usize, skipped: &[u8], most: usize) -> Option<usize> {
    let rest = scan.bytes(from..scan.text.len().min(from + most + 1));
    let len = rest.iter().take_while(|byte| skipped.contains(byte)).count();
    (len > 0 && len <= most).then_some(from + len)
}

/// Skips a title at `at`, if there is one.
pub(super) fn title(scan: &Scan<'_>, at: usize) -> usize {
    let rest = scan.part(at..scan.widen(at..scan.text.len().min(at + 16)).end);
    let len = rest.bytes().position(|byte| matches!(byte, b' ' | b'.')).unwrap_or(rest.len());
    let word = rest.get(..len).unwrap_or("");
    if !TITLES.has(word) || !word.starts_with(|c: char| c.is_uppercase()) {
        return at;
    }
    let behind = rest.get(word.len()..).unwrap_or("");
    let blanks = if behind.starts_with(". ") { 2 } else { 1 };
    let goes_on = behind.get(blanks..).is_some_and(|next| next.starts_with(|c: char| c.is_uppercase()));
    if goes_on { at + word.len() + blanks } else { at }
}

/// Finds a lower-case name behind an unambiguous cue: a listed name and the word behind it.
fn lowercase(scan: &Scan<'_>, at: usize) -> Option<Name> {
    let rest = scan.part(at..scan.widen(at..scan.text.len().min(at + 48)).end);
    let mut words = rest.split(' ').map(|word| {
        let len = word.bytes().take_while(|byte| byte.is_ascii_lowercase()).count();
        (word.get(..len).unwrap_or(""), len == word.len())
    });
    let (first, whole) = words.next()?;
    if !words::is_given_lower(first) || words::is_common(first) {
        return None;
    }
    let mut end = at + first.len();
    let mut count = 1;
    if let Some((second, _)) = words.next().filter(|_| whole)
        && second.len() > 2
        && !words::is_common(second)
    {
        end += 1 + second.len();
        count += 1;
    }
    Some(Name { range: at..end, words: count, given: true, common: false })
}

/// Words that end the name of an organisation or place.
static ORGANISATIONS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.organisations")));

/// Whether a word ends names of organisations or places.
pub(crate) fn is_organisation(word: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    ORGANISATIONS.has(word)
}

/// Firms, brands, games and laws whose two words look like a person's name.
static FIRMS: LazyLock<Words> = LazyLock::new(|| Words::of(wordlists::lines("names.firms")));

/// The first two words of such names with a third word.
static LONGER: LazyLock<Words> = LazyLock::new(|| Words::of(["gibson les", "yves saint", "hilton new"]));

/// Whether a name of two words is a firm's, or a longer one begins with one that has a third word.
fn is_firm(text: &str) -> bool {
    let mut ends = text.match_indices(' ').map(|(at, _)| at).chain([text.len()]).skip(1);
    let two = ends.next().and_then(|end| text.get(..end));
    let longer = ends.next().is_some();
    two.is_some_and(|two| if longer { LONGER.has(two) } else { FIRMS.has(two) || LONGER.has(two) })
}

/// Whether a word of a name, or one of the two words behind it, shows that it is not a person's.
pub(super) fn organisation(scan: &Scan<'_>, name: &Name) -> bool {
    organised(scan, name, true)
}

/// Like [`organisation`]; the second word behind counts only if `far` is set.
fn organised(scan: &Scan<'_>, name: &Name, far: bool) -> bool {
    let is = is_organisation;
    let text = scan.part(name.range.clone());
    let behind = scan.part(name.range.end..scan.widen(name.range.end..scan.text.len().min(name.range.end + 32)).end);
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
    capitals && first.contains(char::is_lowercase) && !words::is_family(last) && !words::is_given(last)
}

/// Whether a name is all in capitals, which behind a weak cue is more often a constant.
pub(super) fn all_capitals(scan: &Scan<'_>, name: &Name) -> bool {
    !scan.part(name.range.clone()).contains(char::is_lowercase)
}
