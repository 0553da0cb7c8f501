//! **What**: secrets that code finds: values of keys, headers, cookies, URLs, command lines, key blocks, values beside a
//! provider's name. **Why**: these need the notation around a value, which no pattern reads exactly. **Invariants**:
//! only places that `anchors` named are looked at; each kind of finding is a rule of `config/rules/secrets.yaml` with
//! its own name, so that it can be switched off and counted; looking around is bounded, and no key is judged twice.
//! **Not here**: tokens with a prefix of their own (patterns of `secrets.yaml`), notations (`pairs`).

mod arguments;
mod assign;
mod aws;
mod beside;
mod blocks;
mod calls;
mod commands;
mod fallback;
mod headers;
mod keys;
mod known;
mod lists;
mod look;
mod manifest;
mod near;
mod params;
mod pgpass;
mod phrases;
mod place;
mod shell;
mod templates;
mod told;
mod urls;
mod values;
mod variables;
mod word;
mod words;

pub(super) use lists::{Column, cell, column};
pub(super) use values::{token_body, wordy};

use super::find::Action;
use super::rule::{Families, Family};
use super::scan::{Claims, Scan};
use super::stems::{Stem, WordAt};
use crate::wordlists;
use commands::Takes;
use known::Taken;
use shell::Form;

/// What a word of secrets begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cue {
    /// A key that may announce a secret.
    Key,
    /// A provider's name.
    Provider,
    /// A command.
    Command(Takes),
    /// A command, or a part of one, that takes a secret by its place.
    Shell(Form),
    /// `log in with`: a user and a password may follow.
    Login,
    /// A password may follow on a line below.
    Follows,
    /// `BEGIN` of a block.
    Begin,
    /// `END` of a block, whose beginning may have been cut off.
    End,
    /// A PuTTY key file.
    Putty,
    /// An AWS key id: its secret stands near.
    Akia,
    /// `aws`: its secret may stand behind.
    Aws,
    /// `atlasv1` within a token of Terraform's cloud.
    Atlas,
    /// A call that takes a secret.
    Call(Taken),
    /// Java's `toCharArray` of a string.
    Characters,
    /// A seed phrase may follow.
    Phrase,
    /// PostgreSQL's file of passwords.
    Pgpass,
}

/// The rules of the family that are on.
#[derive(Clone, Default)]
pub(super) struct Rules {
    password: Option<u16>,
    value: Option<u16>,
    header: Option<u16>,
    basic: Option<u16>,
    cookie: Option<u16>,
    aws: Option<u16>,
    azure: Option<u16>,
    url_web: Option<u16>,
    url_other: Option<u16>,
    block: Option<u16>,
    provider: Option<u16>,
    entropy: Option<u16>,
    webhook: Option<u16>,
    phrase: Option<u16>,
    shapes: near::Shapes,
}

impl Rules {
    /// The rules by family.
    pub(super) fn new(families: &Families) -> Self {
        let of = |family: Family| families.rule(family);
        Self {
            password: of(Family::Password),
            value: of(Family::SecretValue),
            header: of(Family::HeaderCredentials),
            basic: of(Family::BasicCredentials),
            cookie: of(Family::Cookie),
            aws: of(Family::AwsSecret),
            azure: of(Family::AzureKey),
            url_web: of(Family::WebUserinfo),
            url_other: of(Family::Userinfo),
            block: of(Family::KeyBlock),
            provider: of(Family::ProviderValue),
            entropy: of(Family::Entropy),
            webhook: of(Family::HostedWebhook),
            phrase: of(Family::SeedPhrase),
            shapes: near::Shapes {
                telegram: of(Family::TelegramToken),
                mailchimp: of(Family::MailchimpKey),
                azure: of(Family::AzureKey),
                discord: of(Family::DiscordToken),
                hash: of(Family::PasswordHash),
            },
        }
    }

    /// The rule of a key's value.
    fn of_pair(&self, kind: keys::Kind, key: &[u8]) -> Option<u16> {
        let has = |word: &[u8]| values::contains(key, word);
        let aws = (has(b"aws") || (has(b"access") && has(b"secret"))) && !has(b"session");
        let azure = has(b"accountkey") || has(b"sharedaccess") || has(b"azure");
        match kind {
            keys::Kind::Password | keys::Kind::Pass | keys::Kind::Pin | keys::Kind::Doubtful => self.password,
            _ if aws && has(b"secret") => self.aws.or(self.value),
            _ if azure => self.azure.or(self.value),
            _ => self.value,
        }
    }

    fn any(&self) -> bool {
        self.password.is_some() || self.value.is_some() || self.provider.is_some() || self.block.is_some()
    }
}

/// The words that begin a look.
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
    let commands = commands::COMMANDS.iter().map(|(text, takes)| stem(text, true, true, Cue::Command(*takes)));
    let whole = |text: &str| text.ends_with(|last: char| last.is_ascii_alphanumeric());
    let shell = shell::FORMS.iter().map(|(text, form)| stem(text, true, whole(text), Cue::Shell(*form)));
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

/// What to do at a word of secrets that letters are glued to (`glued`).
pub(super) fn glued(rules: &Rules) -> Option<Action> {
    rules.any().then_some(Action::Secret(Cue::Key))
}

/// The rule of `value` as all of what stands under `key` of an attribute, if that says that it is secret.
pub(super) fn under(rules: &Rules, key: &[u8], value: &[u8]) -> Option<u16> {
    let kind = keys::kind(key).filter(|kind| assign::is_secret_under(*kind, key, value))?;
    rules.of_pair(kind, key)
}

/// Whether a number under `key` of an attribute is a password. What else is called a token or key is counted, not told, by numbers.
pub(super) fn is_password(rules: &Rules, key: &[u8], digits: &[u8]) -> bool {
    let kind = || matches!(keys::kind(key), Some(keys::Kind::Password | keys::Kind::Pass | keys::Kind::Pin));
    digits.len() >= 4 && kind() && under(rules, key, digits).is_some()
}

/// Adds what code finds in one text.
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
            // most are no calls
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
}

/// Up to where each kind of look has read.
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
            if let Some(rule) = rules.shapes.telegram {
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

/// At most `most` bytes from `at` on, up to a placeholder that came in: a word announces one value.
fn ahead<'a>(scan: &Scan<'a>, at: usize, most: usize) -> &'a [u8] {
    let rest = scan.text.as_bytes().get(at..).unwrap_or_default();
    let held = scan.reserved.get(scan.reserved.partition_point(|held| held.end <= at));
    let free = held.map_or(most, |held| held.start.saturating_sub(at).min(most));
    rest.get(..rest.len().min(free)).unwrap_or_default()
}

/// How many entries each table has.
#[cfg(test)]
pub(super) struct Tables {
    pub(super) commands: usize,
    pub(super) forms: usize,
    pub(super) calls: usize,
}

#[cfg(test)]
pub(super) fn tables() -> Tables {
    Tables { commands: commands::COMMANDS.len(), forms: shell::FORMS.len(), calls: known::all().count() }
}
