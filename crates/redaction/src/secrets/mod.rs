//! Finds secrets with code: values of keys, headers, cookies, URLs, command lines, key blocks, values near a provider's
//! name. They depend on the notation around a value, which patterns can't read exactly.
//!
//! Only positions found by `anchors` are checked. Each kind of finding is a rule in `config/rules/secrets.yaml` with
//! its own name, so that it can be disabled and counted. Reading is bounded, and no key is checked twice. Tokens with a
//! shape of their own are patterns in `secrets.yaml`; `pairs` reads the notations.

mod assign;
mod blocks;
mod byte_counts;
pub(crate) mod command_arguments;
mod command_lines;
mod headers;
mod pair_context;
mod provider_values;
mod references;
pub(crate) mod secret_keys;
pub(crate) mod secret_lists;
mod secret_value;
mod seed_phrases;
mod urls;
pub(crate) mod value_facts;
pub(crate) mod word_score;

use super::action::{SecretCue, WordAction};
use super::rule::FamilyRules;
use super::scan::TextScan;
use super::stems::{Stem, StemMatch};
use crate::wordlists;

/// The words that lead to secrets.
pub(super) fn secret_stems(families: &FamilyRules) -> Vec<Stem> {
    if !families.has_secret_rules() {
        return Vec::new();
    }
    let stem = |text: &str, exact: bool, whole: bool, cue: SecretCue| {
        Stem::new(text.as_bytes(), exact, whole, WordAction::Secret(cue))
    };
    let keys = wordlists::words("secrets.key_stems").map(|text| stem(text, false, false, SecretCue::Key));
    let providers = wordlists::words("secrets.providers").map(|text| stem(text, false, false, SecretCue::Provider));
    let aws = ["aws", "amazon"].map(|text| stem(text, false, false, SecretCue::Aws));
    let commands = command_arguments::COMMANDS
        .iter()
        .map(|(name, rules)| stem(name, true, true, SecretCue::Command(rules.as_slice())));
    let exact_words = [
        ("BEGIN", SecretCue::Begin),
        ("END", SecretCue::End),
        ("AKIA", SecretCue::AwsKeyId),
        ("ASIA", SecretCue::AwsKeyId),
        ("atlasv1", SecretCue::TerraformToken),
    ];
    let phrases =
        wordlists::words("secrets.seed_phrase_cues").map(|text| stem(text, false, true, SecretCue::SeedPhrase));
    keys.chain(providers)
        .chain(aws)
        .chain(phrases)
        .chain(commands)
        .chain(exact_words.map(|(text, cue)| stem(text, true, false, cue)))
        .collect()
}

/// The action at a secret's word that is only the end of a longer word (`glued_words`).
pub(super) fn suffix_word_action(families: &FamilyRules) -> Option<WordAction> {
    families.has_secret_rules().then_some(WordAction::Secret(SecretCue::Key))
}

/// The rule of `value` as the whole value of an attribute's `key`, if the key names a secret.
pub(super) fn rule_under_key(families: &FamilyRules, key: &[u8], value: &[u8]) -> Option<u16> {
    let kind = secret_keys::classify_key(key).filter(|kind| secret_value::is_secret_under(*kind, key, value))?;
    families.rule_for_key(kind, key)
}

pub(super) fn is_secret_key(key: &[u8]) -> bool {
    secret_keys::classify_key(key).is_some()
}

/// Whether a number that is the value of an attribute's `key` is a password. Numbers under keys of tokens and API keys
/// are counts.
pub(super) fn is_password(families: &FamilyRules, key: &[u8], digits: &[u8]) -> bool {
    let is_password_key = || {
        matches!(
            secret_keys::classify_key(key),
            Some(secret_keys::SecretKind::Password | secret_keys::SecretKind::Pass | secret_keys::SecretKind::Pin)
        )
    };
    digits.len() >= 4 && is_password_key() && rule_under_key(families, key, digits).is_some()
}

pub(super) fn claim_secrets(scan: &TextScan<'_>) {
    let mut progress = SearchProgress::default();
    for word in &scan.anchors.words_by_use.secret_words {
        match word.action {
            WordAction::Secret(SecretCue::Key) if word.start >= progress.keys => {
                progress.keys = assign::check_key(scan, word, &mut progress.key_kinds);
            }
            WordAction::Secret(cue) => check_word(scan, word, cue, &mut progress),
            _ => {}
        }
    }
    for colon in &scan.anchors.schemes {
        urls::check_url(scan, *colon);
    }
}

/// Progress of each kind of search: the position from which it continues.
#[derive(Default)]
struct SearchProgress {
    keys: usize,
    /// Caches for the search of keys.
    key_kinds: secret_keys::KeyKindCache,
    commands: usize,
    blocks: usize,
    providers: usize,
    phrases: usize,
}

fn check_word(scan: &TextScan<'_>, word: &StemMatch, cue: SecretCue, progress: &mut SearchProgress) {
    match cue {
        SecretCue::Provider if word.start >= progress.providers => {
            progress.providers = provider_values::check_provider(scan, word.end);
        }
        SecretCue::Command(rules) if word.start >= progress.commands => {
            progress.commands = command_lines::check_command(scan, word, rules);
        }
        SecretCue::Begin if word.start >= progress.blocks => {
            progress.blocks = blocks::claim_pem_block(scan, word.start);
        }
        SecretCue::End if word.start >= progress.blocks => {
            progress.blocks = blocks::claim_truncated_pem_block(scan, word.start, progress.blocks);
        }
        SecretCue::TerraformToken => provider_values::claim_terraform_token(scan, word.start, word.end),
        SecretCue::SeedPhrase => {
            progress.phrases = seed_phrases::claim_seed_phrases(scan, word.end, progress.phrases);
        }
        SecretCue::Aws => provider_values::claim_aws_secret(scan, word.end, (0, 64)),
        SecretCue::AwsKeyId => provider_values::claim_aws_secret(scan, word.start, (200, 300)),
        _ => {}
    }
}
