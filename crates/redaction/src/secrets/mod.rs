//! Finds secrets with code: values of keys, headers, cookies, URLs, command lines, key blocks, values near a provider's
//! name. They depend on the notation around a value, which patterns can't read exactly.
//!
//! Only positions found by `anchors` are checked. Each kind of finding is a rule in `config/rules/secrets.yaml` with
//! its own name, so that it can be disabled and counted. Reading is bounded, and no key is checked twice. Tokens with
//! their own prefix are patterns in `secrets.yaml`; `pairs` reads the notations.

mod arguments;
mod assign;
mod aws;
mod beside;
mod blocks;
mod calls;
mod commands;
pub(crate) mod cue;
mod fallback;
mod forms;
mod headers;
mod judge;
mod keys;
mod known;
pub(crate) mod lists;
mod literals;
mod look;
mod manifest;
mod near;
mod params;
mod pgpass;
mod phrases;
mod place;
mod random;
pub(crate) mod rules;
mod scripts;
mod shell;
mod templates;
mod told;
mod urls;
pub(crate) mod values;
mod variables;
mod word;
mod words;

use super::action::Action;
use super::scan::{Claims, Scan};
use super::stems::{Stem, WordAt};
use crate::wordlists;
use cue::Cue;
use rules::Rules;

/// The words that lead to secrets.
pub(super) fn stems(rules: &Rules) -> Vec<Stem> {
    if !rules.any() {
        return Vec::new();
    }
    let stem = |text: &str, exact: bool, whole: bool, cue: Cue| Stem {
        text: text.as_bytes().into(),
        exact,
        whole,
        action: Action::Secret(cue),
    };
    let keys = wordlists::words("secrets.key_stems").map(|text| stem(text, false, false, Cue::Key));
    let providers = wordlists::words("secrets.providers").map(|text| stem(text, false, false, Cue::Provider));
    let aws = ["aws", "amazon"].map(|text| stem(text, false, false, Cue::Aws));
    let commands = forms::COMMANDS.iter().map(|(text, takes)| stem(text, true, true, Cue::Command(*takes)));
    let whole = |text: &str| text.ends_with(|last: char| last.is_ascii_alphanumeric());
    let shell = forms::FORMS.iter().map(|(text, form)| stem(text, true, whole(text), Cue::Shell(*form)));
    let exact = [
        ("BEGIN", Cue::Begin),
        ("END", Cue::End),
        ("PuTTY-User-Key-File", Cue::Putty),
        ("AKIA", Cue::Akia),
        ("ASIA", Cue::Akia),
        ("atlasv1", Cue::Atlas),
        ("toCharArray", Cue::Characters),
    ];
    let calls = known::all().map(|(text, exact, taken)| stem(text, exact, true, Cue::Call(taken)));
    let phrases = wordlists::words("secrets.phrase_cues").map(|text| stem(text, false, true, Cue::Phrase));
    keys.chain(providers)
        .chain(aws)
        .chain(calls)
        .chain(phrases)
        .chain(commands)
        .chain(shell)
        .chain(told::FOLLOWS.map(|text| stem(text, false, true, Cue::Follows)))
        .chain(told::LOGINS.map(|text| stem(text, false, true, Cue::Login)))
        .chain([stem("pgpass", false, false, Cue::Pgpass)])
        .chain(exact.map(|(text, cue)| stem(text, true, false, cue)))
        .collect()
}

/// The action at a secret's word with letters glued to it (`glued`).
pub(super) fn glued(rules: &Rules) -> Option<Action> {
    rules.any().then_some(Action::Secret(Cue::Key))
}

/// The rule of `value` as the whole value of an attribute's `key`, if the key names a secret.
pub(super) fn under(rules: &Rules, key: &[u8], value: &[u8]) -> Option<u16> {
    let kind = keys::kind(key).filter(|kind| judge::is_secret_under(*kind, key, value))?;
    rules.of_pair(kind, key)
}

/// Whether a number that is the value of an attribute's `key` is a password. Numbers under keys of tokens and API keys
/// are counts.
pub(super) fn is_password(rules: &Rules, key: &[u8], digits: &[u8]) -> bool {
    let kind = || matches!(keys::kind(key), Some(keys::Kind::Password | keys::Kind::Pass | keys::Kind::Pin));
    digits.len() >= 4 && kind() && under(rules, key, digits).is_some()
}

/// Claims the secrets in one text.
pub(super) fn find(scan: &Scan<'_>, rules: &Rules, claims: &mut Claims) {
    let mut done = Done::default();
    for word in &scan.anchors.by.secrets {
        match word.action {
            Action::Secret(Cue::Key) => {
                if scan.byte(word.at) == b'S' {
                    manifest::look(scan, word, rules, &mut done.manifests, claims);
                }
                if word.at >= done.keys {
                    done.keys = assign::look(scan, word, rules, &mut done.asked, claims);
                }
            }
            // Most of these words are not calls
            Action::Secret(Cue::Call(_)) if !matches!(scan.byte(word.end), b'(' | b' ') => {}
            Action::Secret(cue) => one(scan, word, cue, rules, &mut done, claims),
            _ => {}
        }
    }
    for colon in &scan.anchors.schemes {
        urls::look(scan, *colon, rules, claims);
    }
    for run in &scan.anchors.numbers {
        near::shapes(scan, run, &rules.shapes, claims);
    }
    let Some(rule) = rules.password.filter(|_| scan.anchors.facts.high) else { return };
    for run in &scan.anchors.numbers {
        scripts::look(scan, run, rule, claims);
    }
}

/// Progress of each kind of search.
#[derive(Default)]
struct Done {
    keys: usize,
    asked: keys::Asked,
    commands: usize,
    shell: usize,
    blocks: usize,
    providers: usize,
    phrases: usize,
    pgpass: usize,
    manifests: manifest::Read,
}

fn one(scan: &Scan<'_>, word: &WordAt, cue: Cue, rules: &Rules, done: &mut Done, claims: &mut Claims) {
    match (cue, rules.block, rules.provider, rules.aws) {
        (Cue::Provider, _, Some(rule), _) if word.at >= done.providers => {
            done.providers = near::look(scan, word.end, rule, claims)
        }
        (Cue::Command(takes), ..) if word.at >= done.commands => {
            done.commands = commands::look(scan, word.end, takes, rules, claims);
        }
        (Cue::Shell(form), ..) if word.at >= done.shell => {
            done.shell = shell::look(scan, word.at..word.end, form, rules, claims);
        }
        (Cue::Begin, Some(rule), ..) if word.at >= done.blocks => {
            done.blocks = blocks::pem(scan, word.at, rule, claims)
        }
        (Cue::End, Some(rule), ..) if word.at >= done.blocks => {
            done.blocks = blocks::cut(scan, word.at, done.blocks, rule, claims)
        }
        (Cue::Putty, Some(rule), ..) if word.at >= done.blocks => {
            done.blocks = blocks::putty(scan, word.at, rule, claims)
        }
        (Cue::Atlas, ..) => {
            if let Some(rule) = rules.shapes.marked {
                near::atlas(scan, word.at, word.end, rule, claims);
            }
        }
        (Cue::Call(taken), ..) => calls::look(scan, word.end, taken, &mut done.asked.unquoted, rules, claims),
        (Cue::Follows, ..) => told::below(scan, word.end, rules, claims),
        (Cue::Login, ..) => told::login(scan, word.end, rules, claims),
        (Cue::Characters, ..) => calls::characters(scan, word.at, rules, claims),
        (Cue::Pgpass, ..) => {
            if let Some(rule) = rules.password {
                done.pgpass = pgpass::look(scan, word, done.pgpass, rule, claims);
            }
        }
        (Cue::Phrase, ..) => {
            if let Some(rule) = rules.phrase {
                done.phrases = phrases::look(scan, word.end, done.phrases, rule, claims);
            }
        }
        (Cue::Aws, _, _, Some(rule)) => aws::secret(scan, word.end, (0, 64), rule, claims),
        (Cue::Akia, _, _, Some(rule)) => aws::secret(scan, word.at, (200, 300), rule, claims),
        _ => {}
    }
}

/// Number of entries in each table.
#[cfg(test)]
pub(super) struct Tables {
    pub(super) commands: usize,
    pub(super) forms: usize,
    pub(super) calls: usize,
    pub(super) kinds: usize,
}

#[cfg(test)]
pub(super) fn tables() -> Tables {
    Tables {
        commands: forms::COMMANDS.len(),
        forms: forms::FORMS.len(),
        calls: known::all().count(),
        kinds: keys::alone().count(),
    }
}
