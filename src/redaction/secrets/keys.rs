//! **What**: says what a key announces: a password, another secret, a header of credentials, a cookie, or nothing.
//! **Why**: `api_key`, `apiKey`, `API-KEY` and `aws.api.key.prod` are one key; `max_tokens`, `token_endpoint` and
//! `primary_key` are none. **Invariants**: a key is read from its last word; no allocation. **Not here**: values
//! (`values`), where keys stand (`pairs`).

use std::sync::LazyLock;

use super::words::Words;

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
    password passwort passwd pass passphrase passcode pwd psw pw secret token tokens apikey apitoken \
    apisecret accesskey accesstoken authtoken authkey secretkey privatekey clientsecret appsecret appkey key \
    keys credential credentials creds signature sig session sessionid bearer jwt otp pin auth authorization \
    cookie cookies csrf csrftoken xsrf mnemonic phrase identified dbpassword dbpass dbpasswd dbpwd \
    userpassword userpass mypassword mypass rootpassword rootpw rootpass adminpassword adminpass adminpw \
    pgpassword sshpass mysqlpassword mysqlpass keypass storepass keystorepassword mytoken mysecret \
    awssecretkey awssecretaccesskey accountkey sharedaccesskey sharedsecret masterkey encryptionkey \
    signingkey webhooksecret usertoken bottoken refreshtoken idtoken contrasena contraseña senha kennwort motdepasse \
    salt seed license code state x-amz-signature x-goog-signature identitytoken registrytoken pat sid \
    basicauth smtppass smtppassword bindpw requirepass masterauth psk wpapsk passkey keyphrase \
    secretaccesskey awsaccesskeyid";

static PASSWORDS: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    password passwort passwd passphrase passcode pwd psw pw passwords contrasena contraseña senha kennwort motdepasse \
    identified rootpw adminpw storepass keypass sshpass bindpw psk wpapsk requirepass masterauth mnemonic \
    dbpass dbpwd userpass mypass rootpass adminpass smtppass mysqlpass keyphrase upass upwd",
    )
});

/// Ends of words glued together that say the same.
const PASSWORD_ENDS: &[&str] = &["password", "passwd", "passphrase"];
const SECRET_ENDS: &[&str] =
    &["secret", "apikey", "secretkey", "accesskey", "privatekey", "apitoken", "authtoken", "accesstoken", "token"];

static SECRETS: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    secret secrets apikey apikeys credential credentials creds bearer jwt csrf xsrf appkey authkey masterkey \
    encryptionkey signingkey accountkey sharedaccesskey passkey keysecret",
    )
});

/// Words before `key` that make it a secret.
static KEY_OF: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    api access private client auth account secret encryption decryption signing master shared service app \
    application consumer admin storage license ssh deploy session hmac jwt aes rsa webhook subscription \
    function instrumentation ingest ingestion crypt crypto security cipher integration org team user bot \
    developer dev live sdk rest server host pre preshared cookie symmetric write read wallet validation \
    management authorization authentication sas primarymaster recovery backup root rndc tsig vault unseal",
    )
});

/// Words before `key` that make it none, whatever its value.
static KEY_NOT: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
         agent task node crew step tool job lock thread chat memory checkpoint run prompt dataset graph workflow \
         artifact topic stream ordering deduplication config setting translation locale title header content blob \
         version correlation request conversation \
    public pub primary foreign sort cache partition row object idempotency index range hot s3 i18n composite \
    unique natural surrogate registry group parent child item routing message dedup label feature lookup \
    column field table issue sorting order shortcut meta ctrl alt arrow enter type tag state store dict map \
    json any name id dedupe dom react query span trace metric attribute distribution shard bucket file",
    )
});

/// Words before `token` that make it none.
static TOKEN_NOT: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    page next continuation sync pad padding eos bos unk mask stop special cls sep image end start first last \
    per max min num total input output prompt completion cached reasoning thinking audio text budget count n \
    new used remaining generated previous prev cancellation cancel pagination design color syntax lookahead \
    time of",
    )
});

/// Last words of keys that only talk about a secret.
static ABOUT: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    id ids count counts usage limit limits type types name names path paths file files url urls uri env \
    endpoint expires expiry expiration expire exp ttl timeout length len size policy hint field fields label \
    placeholder prefix suffix version enabled required provider manager class format regex pattern strength \
    min max prompt message title help reset status created updated at index ref refs arn algorithm alg \
    method mode header headers param params budget input output store strategy service handler validator \
    generator encoder error errors link page form button scheme scopes scope in source dir age rotation \
    address user username host port info list request response flow server grant duration seconds minutes \
    hours days date time description desc bytes bits rate cost price kind space map details level issuer \
    audience realm location position offset start end left state word words board pad code up down press \
    event events frame stroke vault metadata fingerprint thumbprint",
    )
});

/// Last words that add nothing: the words before them count.
static NEUTRAL: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    value val string str text plain plaintext raw base64 b64 hex enc encrypted hash hashed data prod \
    production dev develop development staging stage test testing live old new current backup default main \
    primary secondary v confirm confirmation confirmed again repeat repeated verify clear cleartext here one \
    two a b local digest",
    )
});

/// What the last word of `key` is, and what stands before it. Camel case parts words; digits at an end do not count.
fn split_last(key: &[u8]) -> (&[u8], &[u8]) {
    let separator = |byte: &u8| !byte.is_ascii_alphanumeric() && byte.is_ascii();
    let dull = |byte: &u8| separator(byte) || byte.is_ascii_digit();
    let end = key.len() - key.iter().rev().take_while(|byte| dull(byte)).count();
    let key = key.get(..end).unwrap_or_default();
    let mut start = 0;
    for at in (0..end).rev() {
        let byte = |at: usize| key.get(at).copied().unwrap_or(b'_');
        let before = at.checked_sub(1).map_or(b'_', byte);
        if separator(&byte(at)) {
            start = at + 1;
            break;
        }
        let border = (byte(at).is_ascii_uppercase() && !before.is_ascii_uppercase())
            || (byte(at).is_ascii_uppercase() && byte(at + 1).is_ascii_lowercase());
        if border || separator(&before) {
            start = at;
            break;
        }
    }
    key.split_at_checked(start).unwrap_or((b"", key))
}

fn ends_in(word: &[u8], list: &[&str]) -> bool {
    list.iter().any(|end| {
        let from = word.len().checked_sub(end.len());
        from.and_then(|from| word.get(from..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
    })
}

/// What the key announces; none where it announces nothing.
pub(super) fn kind(key: &[u8]) -> Option<Kind> {
    let (mut rest, mut last) = split_last(key);
    let mut weak = false;
    for _ in 0..6 {
        if let Some(kind) = of_word(rest, last) {
            return if weak && kind == Kind::Token {
                Some(Kind::Secret)
            } else {
                Some(kind).filter(|_| !last.is_empty())
            };
        }
        if ABOUT.has(last) || rest.is_empty() {
            return None;
        }
        if !NEUTRAL.has(last) {
            break;
        }
        weak = true;
        (rest, last) = split_last(rest);
    }
    // `TOKEN_GITHUB`, `secret_for_x`: a word of secrets before others
    for _ in 0..6 {
        (rest, last) = split_last(rest);
        match of_word(rest, last) {
            Some(Kind::Password) => return Some(Kind::Weak),
            Some(Kind::Secret | Kind::Token) => return Some(Kind::Weak),
            _ => {}
        }
    }
    None
}

/// What `key` is, by the word before it.
fn of_key(before: &[u8]) -> Option<Kind> {
    match before {
        b"" => Some(Kind::Parameter),
        _ if KEY_NOT.has(before) => None,
        _ if KEY_OF.has(before) => Some(Kind::Secret),
        _ => Some(Kind::Weak),
    }
}

/// What the last word of a key announces, the most frequent words first.
fn of_word(rest: &[u8], last: &[u8]) -> Option<Kind> {
    let before = split_last(rest).1;
    if last.eq_ignore_ascii_case(b"key") || last.eq_ignore_ascii_case(b"keys") {
        return of_key(before);
    }
    if last.eq_ignore_ascii_case(b"token") || last.eq_ignore_ascii_case(b"tokens") {
        return (!TOKEN_NOT.has(before)).then_some(if rest.is_empty() { Kind::Token } else { Kind::Secret });
    }
    if PASSWORDS.has(last) || ends_in(last, PASSWORD_ENDS) {
        return Some(Kind::Password);
    }
    if last.eq_ignore_ascii_case(b"pass") {
        return Some(if rest.is_empty() { Kind::Pass } else { Kind::Password });
    }
    if SECRETS.has(last) || ends_in(last, SECRET_ENDS) {
        return (!before.eq_ignore_ascii_case(b"allow")).then_some(Kind::Secret);
    }
    match last.to_ascii_lowercase_array().as_slice() {
        b"authorization" => Some(Kind::Header),
        b"auth" | b"basicauth" => Some(Kind::Weak),
        b"cookie" | b"cookies" => Some(Kind::Cookie),
        b"otp" | b"pin" => Some(Kind::Pin),
        b"sig" | b"signature" | b"code" | b"state" | b"awsaccesskeyid" => Some(Kind::Parameter),
        b"session" | b"sessionid" | b"sid" | b"salt" | b"pat" | b"license" | b"seed" => Some(Kind::Weak),
        b"phrase"
            if matches!(before.to_ascii_lowercase_array().as_slice(), b"seed" | b"recovery" | b"pass" | b"secret") =>
        {
            Some(Kind::Password)
        }
        _ => None,
    }
}

/// A short word in lower case.
struct Lower {
    bytes: [u8; 16],
    len: usize,
}

impl Lower {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

trait ToLower {
    fn to_ascii_lowercase_array(&self) -> Lower;
}

impl ToLower for [u8] {
    fn to_ascii_lowercase_array(&self) -> Lower {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self).for_each(|(to, from)| *to = from.to_ascii_lowercase());
        Lower { bytes, len: if self.len() > 16 { 0 } else { self.len() } }
    }
}
