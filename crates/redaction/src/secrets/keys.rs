//! **What**: says what a key announces: a password, another secret, a header of credentials, a cookie, or nothing.
//! **Why**: `api_key`, `apiKey`, `API-KEY` and `aws.api.key.prod` are one key; `max_tokens`, `token_endpoint` and
//! `primary_key` are none. **Invariants**: a key is read from its last word; no allocation. **Not here**: values
//! (`values`), where keys stand (`pairs`).

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{Read, ends_with};
use super::words::{List, lexicon};
use crate::glued::SCRIPTS;
use crate::sets::{Bytes, Map};

/// What a key announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A password: four characters may be one.
    Password,
    /// `pass` alone: also what tests do.
    Pass,
    /// A token, secret or key.
    Secret,
    /// `token` alone: also a piece of text.
    Token,
    /// Often no secret: the value must be random.
    Weak,
    /// `password_history`: passwords, or what is told of them.
    Doubtful,
    /// A few digits.
    Pin,
    /// Credentials with a scheme: `Bearer …`.
    Header,
    /// `name=value` pairs.
    Cookie,
    /// Secret in the query of a URL only.
    Parameter,
}

/// Words that begin a look at a key.
pub(super) const STEMS: &str = "\
    password passwords passwort passwd pass passphrase passcode pwd psw pw secret token tokens apikey apitoken \
    apisecret accesskey accesstoken authtoken authkey secretkey privatekey clientsecret appsecret appkey key \
    keys credential credentials creds signature sig session sessionid bearer jwt otp pin auth authorization \
    cookie cookies csrf csrftoken xsrf mnemonic phrase identified dbpassword dbpass dbpasswd dbpwd \
    userpassword userpass tlspassword mypassword mypass rootpassword rootpw rootpass adminpassword adminpass adminpw \
    pgpassword sshpass mysqlpassword mysqlpass keypass storepass keystorepassword mytoken mysecret \
    awssecretkey awssecretaccesskey accountkey sharedaccesskey sharedsecret masterkey encryptionkey \
    signingkey webhooksecret usertoken bottoken refreshtoken idtoken contrasena contraseña senha kennwort motdepasse wachtwoord hasło haslo heslo parola lösenord losenord adgangskode salasana jelszó jelszo \
    jsessionid phpsessid salt seed license code state x-amz-signature x-goog-signature identitytoken registrytoken pat sid \
    basicauth iamapikey smtppass smtppassword bindpw requirepass masterauth psk wpapsk passkey keyphrase \
    secretaccesskey awsaccesskeyid theapikey myapikey";

const PASSWORDS: &str = "\
    password passwort passwd passphrase passcode pwd psw pw passwords contrasena contraseña senha kennwort motdepasse wachtwoord hasło haslo heslo parola lösenord losenord adgangskode \
    salasana jelszó jelszo identified rootpw adminpw storepass keypass sshpass bindpw psk wpapsk requirepass masterauth mnemonic \
    dbpass dbpwd userpass mypass rootpass adminpass smtppass mysqlpass keyphrase upass upwd";

/// Ends of words glued together that say the same.
const PASSWORD_ENDS: &[&str] = &["password", "passwd", "passphrase", "pwd"];
const SECRET_ENDS: &[&str] =
    &["secret", "apikey", "secretkey", "accesskey", "privatekey", "apitoken", "authtoken", "accesstoken", "token"];

const SECRETS: &str = "\
    secret secrets jsessionid phpsessid apikey apikeys credential credentials creds bearer jwt csrf xsrf appkey authkey masterkey \
    encryptionkey signingkey accountkey sharedaccesskey passkey keysecret";

/// Words before `key` that make it a secret.
const KEY_OF: &str = "\
    api access private client auth account secret encryption decryption signing master shared service app \
    application consumer admin storage license ssh deploy session hmac jwt aes rsa webhook subscription \
    function instrumentation ingest ingestion crypt crypto security cipher integration org team user bot \
    developer dev live sdk rest server host pre preshared cookie symmetric write read wallet validation \
    management authorization authentication sas primarymaster recovery backup root rndc tsig vault unseal";

/// Words before `key` that make it none, whatever its value.
const KEY_NOT: &str = "\
         agent task node crew step tool job lock thread chat memory checkpoint run prompt dataset graph workflow \
         artifact topic stream ordering deduplication config setting translation locale title header content blob \
         version correlation request conversation \
    public pub primary foreign sort cache partition row object idempotency index range hot s3 i18n composite \
    unique natural surrogate registry group parent child item routing message dedup label feature lookup \
    column field table issue sorting order shortcut meta ctrl alt arrow enter type tag state store dict map \
    json any name id dedupe dom react query span trace metric attribute distribution shard bucket file";

/// Words before `token` that make it none.
const TOKEN_NOT: &str = "\
    page next continuation sync pad padding eos bos unk mask stop special cls sep image end start first last \
    per max min num total input output prompt completion cached reasoning thinking audio text budget count n \
    new used remaining generated previous prev cancellation cancel pagination design color syntax lookahead \
    time of sequence lock";

/// Last words of keys that only talk about a secret.
const ABOUT: &str = "\
    id ids count counts usage limit limits type types name names path paths file files url urls uri env \
    endpoint expires expiry expiration expire exp ttl timeout length len size policy hint field fields label \
    placeholder prefix suffix version enabled required provider manager class format regex pattern strength \
    min max prompt message title help reset status created updated at index ref refs arn algorithm alg \
    method mode header headers param params budget input output store strategy service handler validator \
    generator encoder error errors link page form button scheme scopes scope in source dir age rotation \
    hasher hashing hashers address user username host port info list request response flow server grant duration seconds minutes \
    hours days date time description desc bytes bits rate cost price kind space map details level issuer \
    audience realm location position offset start end left state word words board pad code up down press \
    event events frame stroke vault metadata fingerprint thumbprint changed modified attempts retries failures \
    expired verified stdin complexity rules requirements minimum maximum question questions";

/// Last words of keys that talk about a secret or hold it: only what is random counts.
const DOUBTFUL: &str = "history settings on variable variables";

/// Last words that add nothing: the words before them count.
const NEUTRAL: &str = "\
    value val string str text plain plaintext raw base64 b64 hex enc encrypted hash hashed data prod \
    production dev develop development staging stage test testing live old new current backup default main \
    primary secondary v confirm confirmation confirmed again repeat repeated verify clear cleartext here one \
    two a b local digest";

/// Words that say something by themselves.
const KINDS: &[(&str, Kind)] = &[
    ("authorization", Kind::Header),
    ("auth basicauth", Kind::Weak),
    ("cookie cookies", Kind::Cookie),
    ("otp pin", Kind::Pin),
    ("sig signature code state awsaccesskeyid", Kind::Parameter),
    ("session sessionid sid salt pat license seed", Kind::Weak),
];

/// All words with the lists that they are in.
static WORDS: LazyLock<Map<u16>> = LazyLock::new(|| {
    let lists = [
        (List::Key, "key keys"),
        (List::Token, "token tokens"),
        (List::Pass, "pass"),
        (List::Phrase, "phrase"),
        (List::PhraseOf, "seed recovery pass secret"),
        (List::Allow, "allow"),
        (List::Password, PASSWORDS),
        (List::Secret, SECRETS),
        (List::KeyOf, KEY_OF),
        (List::KeyNot, KEY_NOT),
        (List::TokenNot, TOKEN_NOT),
        (List::About, ABOUT),
        (List::Doubtful, DOUBTFUL),
        (List::Neutral, NEUTRAL),
    ];
    lexicon(lists.into_iter().chain(SCRIPTS.map(|word| (List::Password, word))))
});

static ALONE: LazyLock<Map<Kind>> = LazyLock::new(|| {
    Map::mapped(KINDS.iter().flat_map(|(words, kind)| words.split(' ').map(|word| (word, *kind))).collect())
});

/// The lists that a word is in.
fn lists(word: &[u8]) -> u16 {
    WORDS.get(word).unwrap_or(0)
}

/// ASCII but letters and digits; and digits.
static SEPARATOR: Bytes = Bytes::of(b"").and_alnum().and_high().others();
static DULL: Bytes = Bytes::of(LETTERS).and_high().others();
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What the last word of `key` is, and what stands before it. Camel case parts words; digits at an end do not count.
fn split_last(key: &[u8]) -> (&[u8], &[u8]) {
    let end = key.len() - DULL.trailing(key);
    let key = key.get(..end).unwrap_or_default();
    let mut start = 0;
    // the byte behind; nothing small stands behind the end
    let mut behind = b'_';
    for (at, byte) in key.iter().enumerate().rev() {
        if SEPARATOR.has(*byte) {
            start = at + 1;
            break;
        }
        let before = at.checked_sub(1).and_then(|at| key.get(at)).copied().unwrap_or(b'_');
        let border = byte.is_ascii_uppercase() && (!before.is_ascii_uppercase() || behind.is_ascii_lowercase());
        if border || SEPARATOR.has(before) {
            start = at;
            break;
        }
        behind = *byte;
    }
    key.split_at_checked(start).unwrap_or((b"", key))
}

fn ends_in(word: &[u8], list: &[&str]) -> bool {
    // none of them ends in another letter
    let may = word.len() > 4 && word.last().is_some_and(|last| b"dtyne".contains(&(last | 0x20)));
    may && list.iter().any(|end| ends_with(word, end.as_bytes()))
}

/// Keys of a text that were asked for, and what they announce: the same ones stand in it again and again.
#[derive(Default)]
pub(super) struct Asked {
    kinds: [(Range<usize>, Option<Kind>); 4],
    /// What was read for their values.
    pub(super) read: Read,
    /// Where no quote stands, as far as calls were read.
    pub(super) unquoted: Range<usize>,
}

impl Asked {
    /// As [`kind`], of a key that stands in `text`.
    pub(super) fn kind(&mut self, text: &[u8], key: Range<usize>) -> Option<Kind> {
        let found = text.get(key.clone()).unwrap_or_default();
        let slot = usize::from(found.first().copied().unwrap_or_default() ^ found.len() as u8) % 4;
        let Some((known, announced)) = self.kinds.get_mut(slot) else { return kind(found) };
        if text.get(known.clone()) != Some(found) {
            (*known, *announced) = (key, kind(found));
        }
        *announced
    }
}

/// What the key announces; none where it announces nothing.
pub(super) fn kind(key: &[u8]) -> Option<Kind> {
    let (mut rest, mut last) = split_last(key);
    let (mut weak, mut doubtful) = (false, false);
    for _ in 0..6 {
        let lists = lists(last);
        if let Some(kind) = of_word(rest, last, lists) {
            return if weak && kind == Kind::Token {
                Some(Kind::Secret)
            } else {
                Some(kind).filter(|_| !last.is_empty())
            };
        }
        if List::About.is_in(lists) || rest.is_empty() {
            // of an AppRole; the names of secrets are no random text
            let role = last.eq_ignore_ascii_case(b"id") && split_last(rest).1.eq_ignore_ascii_case(b"secret");
            return role.then_some(Kind::Weak);
        }
        if !List::Neutral.is_in(lists) {
            doubtful = List::Doubtful.is_in(lists);
            break;
        }
        weak = true;
        (rest, last) = split_last(rest);
    }
    // `TOKEN_GITHUB`, `secret_for_x`: a word of secrets before others
    for _ in 0..6 {
        if rest.is_empty() {
            return None;
        }
        (rest, last) = split_last(rest);
        match of_word(rest, last, lists(last)) {
            Some(Kind::Password) if doubtful => return Some(Kind::Doubtful),
            Some(Kind::Password) => return Some(Kind::Pass),
            Some(Kind::Secret | Kind::Token) => return Some(Kind::Weak),
            _ => {}
        }
    }
    None
}

/// What `key` is, by the word before it.
fn of_key(before: &[u8]) -> Kind {
    match lists(before) {
        _ if before.is_empty() => Kind::Parameter,
        lists if List::KeyOf.is_in(lists) => Kind::Secret,
        _ => Kind::Weak,
    }
}

/// What the last word of a key announces, the most frequent words first.
fn of_word(rest: &[u8], last: &[u8], lists_of: u16) -> Option<Kind> {
    let before = || split_last(rest).1;
    let is = |list: List| list.is_in(lists_of);
    // `publicToken`, `issuerKeyHash`: code names what is no secret so, not settings
    let shown = |word: &[u8]| word.eq_ignore_ascii_case(b"public") || word.eq_ignore_ascii_case(b"issuer");
    if (is(List::Key) || is(List::Token)) && rest.last().is_some_and(u8::is_ascii_alphabetic) && shown(before()) {
        return None;
    }
    if is(List::Key) {
        let before = before();
        return (!List::KeyNot.is_in(lists(before))).then(|| of_key(before));
    }
    if is(List::Token) {
        let kind = if rest.is_empty() { Kind::Token } else { Kind::Secret };
        // of an assembly of .NET
        let (names, before) = split_last(rest);
        if before.eq_ignore_ascii_case(b"key") && split_last(names).1.eq_ignore_ascii_case(b"public") {
            return None;
        }
        return (!List::TokenNot.is_in(lists(before))).then_some(kind);
    }
    if is(List::Password) || ends_in(last, PASSWORD_ENDS) {
        return Some(Kind::Password);
    }
    if is(List::Pass) {
        return Some(if rest.is_empty() { Kind::Pass } else { Kind::Password });
    }
    if is(List::Secret) || ends_in(last, SECRET_ENDS) {
        return (!List::Allow.is_in(lists(before()))).then_some(Kind::Secret);
    }
    if is(List::Phrase) {
        return List::PhraseOf.is_in(lists(before())).then_some(Kind::Password);
    }
    ALONE.get(last)
}
