//! Decides whether a value is the secret that its key names, or only looks like one: code, prose, paths and names of
//! secrets are not secrets. Pure functions. `assign` and `lists` find keys and values.

use std::sync::LazyLock;

use super::keys::Kind;
use super::literals;
use super::place::Place;
use super::templates::is_torn;
use super::values::{
    Look, contains, is_salt, is_sentence, is_talk, is_twilio_id, is_version, path, prose, random, refused, uuid, wordy,
};
use crate::pairs::{Pair, Sep};
use crate::wordlists;

/// Whether the value is secret, given the kind of its key.
pub(super) fn judge(kind: Kind, value: &[u8], pair: &Pair, place: &Place) -> bool {
    let look = Look::at(value);
    let joins = |at: usize| matches!(value.get(at..at + 2), Some(b"::" | b"->"));
    let modules = || pair.quote.is_none() && memchr::memchr2_iter(b':', b'-', value).any(joins);
    let named = pair.sep == Sep::Is || pair.sep == Sep::Space && value.contains(&b'_');
    let ticks = named && pair.quote == Some(b'`') && !literals::is_literal(value, &look);
    let talk = kind != Kind::Password || matches!(pair.sep, Sep::Colon | Sep::Space | Sep::Is) && pair.quote.is_none();
    let least = if place.parameter { 3 } else { 4 };
    if value.len() < least
        || is_bracket(value, pair)
        || place.typed
        || (talk && is_talk(value))
        || refused(value)
        || pair.quote.is_none() && is_version(value)
        || modules()
        || ticks
    {
        return false;
    }
    let flag = pair.sep == Sep::Comma && place.flag && !value.starts_with(b"-");
    let strict = matches!(pair.sep, Sep::Comma | Sep::Compare) && !flag || (pair.sep == Sep::Cell && look.blanks > 0);
    match kind {
        Kind::Password if !strict => password(value, &look, pair, place),
        // `bind '…' pass '…'`: a quoted value full of special characters is not a test result
        Kind::Pass if strict || matches!(pair.sep, Sep::Space | Sep::Is | Sep::Call) && !place.flag => {
            pair.quote.is_some() && look.blanks == 0 && look.digits > 0 && look.marks > look.joints + 2
        }
        Kind::Pass => {
            let quiet = pair.sep == Sep::Colon && pair.quote.is_none();
            (!quiet || (look.digits > 0 && look.letters() > 0 && !place.upper)) && password(value, &look, pair, place)
        }
        Kind::Pin => look.digits == look.len && (4..=8).contains(&look.len) && pair.sep != Sep::Space,
        Kind::Parameter if place.always => value.len() >= 4 && look.blanks == 0 && calls(value, pair).is_none(),
        Kind::Parameter => {
            value.len() >= 8
                && look.blanks == 0
                && (look.digits > 0 && look.letters() > 0)
                && (!wordy(value) || look.hex)
        }
        Kind::Secret | Kind::Weak | Kind::Token if pair.sep == Sep::Comma && is_salt(value, &look) => true,
        Kind::Weak
            if pair.quote.is_none() && (look.upper == 0 && value.contains(&b'_') && look.digits * 4 < look.len) =>
        {
            false
        }
        Kind::Weak => random(value) && !uuid(value) && !is_twilio_id(value) && calls(value, pair).is_none(),
        // Excludes numbers, dates and words, which describe passwords
        Kind::Doubtful => {
            let mixed = look.digits > 0 && look.upper > 0 && look.lower > 0 && look.marks > look.joints;
            look.blanks == 0 && calls(value, pair).is_none() && !uuid(value) && (mixed || random(value))
        }
        Kind::Password if (pair.sep == Sep::Compare || place.stored) && pair.quote.is_some() => {
            literals::is_compared(value, &look)
        }
        Kind::Password => look.blanks == 0 && look.classes() >= 2 && !wordy(value),
        Kind::Secret | Kind::Token => secret(kind, value, &look, pair, place),
        Kind::Header | Kind::Cookie => false,
    }
}

/// Whether a text that is the whole value of a key is secret, judged as in JSON. Numbers with few digits are not.
pub(super) fn is_secret_under(kind: Kind, key: &[u8], value: &[u8]) -> bool {
    let pair = Pair { key: 0..0, sep: Sep::Colon, quote: Some(b'"'), json_key: true, value: 0..value.len() };
    let place = Place::alone(!key.iter().any(u8::is_ascii_lowercase));
    let few = kind != Kind::Pin && value.len() < 6 && value.iter().all(u8::is_ascii_digit);
    !few && !matches!(kind, Kind::Header | Kind::Cookie | Kind::Parameter) && judge(kind, value, &pair, &place)
}

/// Whether a value is an object or array (`{`, `[`).
fn is_bracket(value: &[u8], pair: &Pair) -> bool {
    pair.quote.is_none() && value.first().is_some_and(|byte| b"{[(|>&*!@".contains(byte)) && !is_torn(value)
}

/// Position of the bracket if the value is code: `f(x)`, `a[0]`.
fn calls(value: &[u8], pair: &Pair) -> Option<usize> {
    let at = if pair.quote.is_none() { memchr::memchr3(b'(', b'[', b'{', value)? } else { return None };
    let name = value.get(..at).unwrap_or_default();
    if value.get(at) == Some(&b'{') {
        // A struct literal in Go or Rust: `pkg.Type{Field`
        let typed = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'.';
        return (name.contains(&b'.') && name.iter().all(typed)).then_some(at);
    }
    if value.get(at) == Some(&b'[') && !name.starts_with(b"$") && goes_on(value.get(at..).unwrap_or_default()) {
        return None;
    }
    (!name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.$:!?".contains(byte))).then_some(at)
}

/// Whether letters or digits follow right behind the closing bracket, unlike in code.
fn goes_on(rest: &[u8]) -> bool {
    let mut open = 0_usize;
    let close = rest.iter().position(|byte| {
        open += usize::from(b"([{".contains(byte));
        open -= usize::from(b")]}".contains(byte)).min(open);
        open == 0
    });
    close.and_then(|close| rest.get(close + 1)).is_some_and(u8::is_ascii_alphanumeric)
}

/// Words in the names that code gives to secrets.
static IDENTIFIERS: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.identifiers"));

/// Whether a value is an identifier of code: letters such as `a.b`, `aB`, `a_b`.
fn identifier(value: &[u8], look: &Look) -> bool {
    let named = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    if memchr::memchr_iter(b':', value).any(|at| value.get(at + 1) == Some(&b':')) {
        return true;
    }
    let told = IDENTIFIERS.iter().any(|word| contains(value, word));
    named && (look.only_letters() || look.digits == 0 || told) && look.digits <= 2
}

fn password(value: &[u8], look: &Look, pair: &Pair, place: &Place) -> bool {
    // Words of another script behind a key in that script are text of a form
    let foreign = place.is_foreign && look.letters() + look.digits == 0 && !value.is_ascii();
    if path(value) && value.starts_with(b"/") || foreign {
        return false;
    }
    let mixed = look.digits > 0 || look.marks > look.joints;
    if pair.quote.is_some() {
        return quoted_password(value, look, pair, mixed || place.flag);
    }
    if calls(value, pair).is_some() || look.blanks > 0 && !place.line_start {
        return false;
    }
    let code = identifier(value, look);
    let told =
        [&b"pass"[..], b"pwd", b"secret", b"token", b"user", b"get", b"arg"].iter().any(|word| contains(value, word));
    match pair.sep {
        Sep::Is => {
            mixed && look.letters() > 0 && !wordy(value)
                || literals::is_phrase(value, look, place.last_word || place.argument)
        }
        Sep::Space if place.flag => {
            let random = look.upper > 2 && look.lower > 2 && look.len >= 12 && !wordy(value);
            !value.starts_with(b"-") && (mixed || random || look.upper == 0 && place.last_word)
        }
        Sep::Space => mixed && look.letters() > 0,
        Sep::Call | Sep::Comma | Sep::Compare => false,
        Sep::Equals if place.parameter || place.list => true,
        Sep::Equals if place.argument => mixed && !code,
        Sep::Equals if place.spaced => {
            mixed && !code || (place.line_end && !told && !value.contains(&b'.') && !place_is_code(look, value))
        }
        Sep::Equals => !code || !value.contains(&b'.') && (!told || look.upper == 0 && look.len >= 10) || place.upper,
        Sep::Arrow | Sep::Colon if place.argument => mixed && !code && look.letters() + look.digits > 3,
        Sep::Arrow | Sep::Colon => {
            (mixed && (!code || (place.line_start && place.line_end && !value.contains(&b'.'))))
                || (place.line_start && place.line_end && !told && look.upper == 0 && !value.contains(&b'.'))
        }
        Sep::Element if place_is_code(look, value) => true,
        Sep::Cell | Sep::Element | Sep::Sibling => mixed || look.upper == 0 && !(look.blanks > 0 && prose(value)),
    }
}

/// Whether a value is one identifier in camel case.
fn place_is_code(look: &Look, value: &[u8]) -> bool {
    look.only_letters() && look.upper > 0 && look.lower > 0 && value.first().is_some_and(u8::is_ascii_lowercase)
}

fn quoted_password(value: &[u8], look: &Look, pair: &Pair, mixed: bool) -> bool {
    let ends_in_colon = value.ends_with(b":");
    let high = value.iter().filter(|byte| !byte.is_ascii()).count();
    let title =
        look.letters() + high == look.len && look.upper == 1 && value.first().is_some_and(u8::is_ascii_uppercase);
    // A CSS selector
    let name = value.strip_prefix(b"#").unwrap_or(value);
    let look = &Look::at(name);
    let parts = name.split(|byte| b"-_. []/#".contains(byte)).filter(|part| !part.is_empty()).count();
    let names_itself = parts > 1
        && [&b"pass"[..], b"pwd", b"secret"].iter().any(|word| contains(value, word))
        && look.digits == 0
        && look.marks == look.joints + name.iter().filter(|byte| b"/#".contains(byte)).count();
    if ends_in_colon || names_itself || (title && pair.sep == Sep::Colon) {
        return false;
    }
    match pair.sep {
        Sep::Comma => mixed && look.digits + look.marks > look.joints,
        Sep::Space => mixed || value.len() >= 6 && look.blanks == 0 && look.upper == 0,
        _ if look.blanks > 0 => {
            look.blanks <= 12
                && !prose(value)
                && !is_sentence(value, look)
                && (mixed || look.upper == 0)
                && look.blanks * 3 <= look.len
        }
        _ => look.high_is_rare(value),
    }
}

trait High {
    fn high_is_rare(&self, value: &[u8]) -> bool;
}

impl High for Look {
    /// Whether a value is mostly ASCII, unlike labels in other languages.
    fn high_is_rare(&self, value: &[u8]) -> bool {
        value.iter().filter(|byte| !byte.is_ascii()).count() * 3 <= self.len
    }
}

fn secret(kind: Kind, value: &[u8], look: &Look, pair: &Pair, place: &Place) -> bool {
    let strict =
        matches!(pair.sep, Sep::Comma | Sep::Compare | Sep::Is | Sep::Cell) || (pair.sep == Sep::Space && !place.flag);
    let words = look.lower + look.blanks == look.len && pair.quote.is_some() && look.blanks <= 3 && value.len() >= 10;
    if words && look.blanks > 0 && kind == Kind::Secret {
        let named = [&b"key"[..], b"token", b"secret", b"pass"].iter().any(|word| contains(value, word));
        return !prose(value) && !named && matches!(pair.sep, Sep::Colon | Sep::Equals | Sep::Arrow);
    }
    if is_torn(value) {
        return true;
    }
    if is_bootstrap(value, look) {
        return true;
    }
    if place.parameter && value.len() < 8 {
        return pair.quote.is_none() && place.always && look.blanks == 0 && calls(value, pair).is_none();
    }
    if value.len() < 8 || look.blanks > 0 || calls(value, pair).is_some() || path(value) || example(value) {
        return false;
    }
    if look.digits == look.len {
        return look.len >= 14 && look.distinct > 3 && kind == Kind::Secret;
    }
    let quoted = pair.quote.is_some();
    if !quoted && (pair.sep == Sep::Compare || (code(value, look) && (place.spaced || !place.upper))) {
        return false;
    }
    if random(value) {
        return true;
    }
    let mixed = look.digits > 0 && look.letters() > 0;
    if strict || kind == Kind::Token {
        return mixed && !wordy(value) || (pair.quote.is_none() && place.parameter && (mixed || place.always));
    }
    let named =
        [&b"key"[..], b"token", b"secret", b"api", b"pass", b"name", b"auth"].iter().any(|word| contains(value, word));
    match pair.quote {
        Some(_) if named && look.digits == 0 && look.marks == look.joints => false,
        // The name of a message: `e2.api.client.secret.key`
        Some(_) if named && value.iter().filter(|byte| **byte == b'.').count() > 2 && wordy(value) => false,
        Some(_) => {
            (look.classes() >= 2 && !title(value, look))
                || (look.only_letters()
                    && look.upper == 0
                    && !place.argument
                    && !matches!(pair.sep, Sep::Colon | Sep::Call))
        }
        None if place.parameter => true,
        None if identifier(value, look) => {
            place.upper && !place.spaced && look.upper == 0 && (look.joints == 0 || !named)
        }
        None => {
            mixed
                || look.marks > look.joints
                    && look.classes() >= 2
                    && !place.argument
                    && !(value.contains(&b'/') && wordy(value))
        }
    }
}

/// Whether a value is a bootstrap token of Kubernetes: `abcdef.0123456789abcdef`.
fn is_bootstrap(value: &[u8], look: &Look) -> bool {
    look.len == 23
        && value.get(6) == Some(&b'.')
        && look.marks == 1
        && look.upper == 0
        && look.digits > 3
        && look.lower > 3
}

/// Whether a value is a module path or class: `rust_openssl.hpke.X1`, `PKCS7KeyTypes`.
fn code(value: &[u8], look: &Look) -> bool {
    let named = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(byte));
    let first = value.split(|byte| *byte == b'.').next().unwrap_or_default();
    let module = first.len() < value.len()
        && first.len() > 2
        && wordy(first)
        && first.first().is_some_and(u8::is_ascii_alphabetic);
    let told = [&b"Key"[..], b"Token", b"Secret", b"Auth", b"key", b"token"]
        .iter()
        .any(|word| value.windows(word.len()).any(|part| part == *word));
    // A random text may also contain such a word
    let numbers = value
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .filter(|part| part.first().is_some_and(u8::is_ascii_digit));
    named && (module || (told && look.lower > look.upper && look.digits * 3 < look.len && numbers.count() < 4))
}

/// Whether a value is a name such as `ACCESS_TOKEN`, or a documentation example.
fn example(value: &[u8]) -> bool {
    let number = value.iter().rev().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let name = value.get(..value.len() - number).unwrap_or_default();
    let numbered = number == 0 || name.ends_with(b"_");
    let capitals =
        numbered && name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') && name.contains(&b'_');
    capitals || value.windows(7).any(|part| part == b"EXAMPLE")
}

/// Whether a value has the words of a title or class name.
fn title(value: &[u8], look: &Look) -> bool {
    look.digits == 0 && look.marks == look.joints && wordy(value)
}
