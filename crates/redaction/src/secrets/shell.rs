//! Finds secrets that are recognised only by their position in a command line: input piped into a command
//! (`echo "u:p" | chpasswd`), an argument (`rabbitmqctl add_user u p`), or the value of a flag that is not a key
//! (`keytool -srcstorepass p`). At most [`MOST`] bytes of a command, and before one that reads its input, are read;
//! variables and placeholders stay. `-p x` and `-u user:x` are in `commands`, `--password x` in `assign`.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::ends_with;
use super::arguments::{CommandWords, line_end};
use super::command_forms::SecretPosition;
use super::secret_keys::classify_key;
use super::secret_rules::SecretRules;
use super::value_checks::{ByteCounts, cannot_be_secret, is_path, is_random, is_wordlike, names_a_secret};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};
use crate::wordlists;

/// Most bytes of a command.
const MOST: usize = 512;

/// Checks the command whose name is at `name`. Returns the end of the text that was read.
pub(super) fn check_command(
    scan: &TextScan<'_>,
    name: Range<usize>,
    form: SecretPosition,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) -> usize {
    let at = name.end;
    let rest = bytes_ahead(scan, at, MOST);
    // `.net user` is the platform, not the command
    let other = form == SecretPosition::Argument(1) && scan.byte_before(name.start, 1) == b'.';
    let Some(rule) = rules.password.filter(|_| may_follow(rest, form) && !other) else { return at };
    let line = rest.get(..line_end(rest)).unwrap_or_default();
    let mut found = CommandSearch { scan, rule, at, line, claims };
    match form {
        SecretPosition::Flags(flags) => found.claim_flag_values(flags),
        SecretPosition::Behind(words, skipped) => found.claim_behind_word(words, skipped),
        SecretPosition::Argument(skipped) => found.claim_argument(CommandWords::new(line), skipped),
        SecretPosition::Stdin | SecretPosition::StdinOfFirstCommand | SecretPosition::StdinPairs => {
            let start = name.start;
            claim_stdin(scan, name, rest, (form, rule), found.claims);
            return start;
        }
        SecretPosition::Pairs | SecretPosition::Settings => found.claim_pairs(form == SecretPosition::Settings),
        SecretPosition::Htpasswd => found.claim_htpasswd(),
        SecretPosition::Openssl => found.claim_openssl(),
        SecretPosition::Parameter => found.claim_secure_string(),
        SecretPosition::WindowsShare => found.claim_share_password(),
        SecretPosition::Slash => found.claim_slash_password(),
        SecretPosition::Comma => found.claim_comma_password(),
        SecretPosition::Last => found.claim_last_argument(),
    }
    at + line.len()
}

/// Quick check of the text behind a command's name.
fn may_follow(rest: &[u8], form: SecretPosition) -> bool {
    match (form, rest.first()) {
        (SecretPosition::Stdin | SecretPosition::StdinOfFirstCommand | SecretPosition::StdinPairs, _) => true,
        (SecretPosition::Slash, Some(byte)) => byte.is_ascii_alphanumeric() || *byte == b' ',
        (_, Some(byte)) => b" \t\"'\\".contains(byte),
        _ => false,
    }
}

/// A command being searched.
struct CommandSearch<'s, 'a, 'c> {
    scan: &'s TextScan<'a>,
    rule: u16,
    /// Start of the line.
    at: usize,
    line: &'a [u8],
    claims: &'c mut PrivateClaims,
}

impl CommandSearch<'_, '_, '_> {
    fn word(&self, range: &Range<usize>) -> &[u8] {
        self.line.get(range.clone()).unwrap_or_default()
    }

    /// Claims a word if it may be a secret.
    fn claim_word(&mut self, range: Range<usize>) {
        if is_secret(self.word(&range)) {
            self.claims.add(self.scan, self.rule, self.at + range.start..self.at + range.end);
        }
    }

    fn claim_flag_values(&mut self, flags: &str) {
        let mut words = CommandWords::new(self.line);
        while let Some(word) = words.next() {
            let text = self.word(&word);
            let dashes = text.iter().take(2).take_while(|byte| **byte == b'-').count();
            let flag = text.get(dashes..).unwrap_or_default();
            let name = flag.iter().position(|byte| *byte == b'=').unwrap_or(flag.len());
            let known = dashes > 0 && flags.split(' ').any(|known| flag.get(..name) == Some(known.as_bytes()));
            // `-bvalue`
            let letter = flag.get(..1).filter(|_| dashes == 1 && flag.len() > 1 && name == flag.len());
            if letter.is_some_and(|letter| flags.split(' ').any(|known| letter == known.as_bytes())) {
                let quote = usize::from(flag.get(1).is_some_and(|byte| b"\"'".contains(byte)));
                self.claim_word(word.start + 2 + quote..word.end - quote);
            } else if known && name < flag.len() {
                self.claim_word(word.start + dashes + name + 1..word.end);
            } else if known && let Some(value) = words.next() {
                self.claim_word(value);
            }
        }
    }

    fn claim_behind_word(&mut self, named: &str, skipped: usize) {
        let mut words = CommandWords::new(self.line);
        let line = self.line;
        if words.by_ref().any(|word| named.split(' ').any(|name| line.get(word.clone()) == Some(name.as_bytes()))) {
            self.claim_argument(words, skipped);
        }
    }

    /// Claims the argument after `skipped` others; flags do not count.
    fn claim_argument(&mut self, words: CommandWords<'_>, skipped: usize) {
        let line = self.line;
        // Excludes `-n` and `/add`
        let argument = |word: &Range<usize>| match line.get(word.clone()).unwrap_or_default() {
            [b'-', ..] => false,
            [b'/', rest @ ..] => rest.contains(&b'/'),
            _ => true,
        };
        if let Some(word) = words.filter(argument).nth(skipped) {
            let look = ByteCounts::count(self.word(&word));
            // Prose may also follow such words
            if look.digits > 0 || look.marks > look.joints {
                self.claim_word(word);
            }
        }
    }

    fn claim_pairs(&mut self, random_only: bool) {
        for word in CommandWords::new(self.line) {
            let Some(equals) = self.word(&word).iter().position(|byte| *byte == b'=') else { continue };
            let key = self.line.get(word.start..word.start + equals).unwrap_or_default();
            let is_quote = |byte: &&u8| b"\"'".contains(*byte);
            let mut start = word.start + equals + 1;
            let quoted = self.line.get(start).filter(is_quote).is_some();
            start += usize::from(quoted);
            let mut value = self.line.get(start..word.end).unwrap_or_default();
            if quoted && let Some((_, inner)) = value.split_last().filter(|(last, _)| is_quote(last)) {
                value = inner;
            }
            let look = ByteCounts::count(value);
            let mixed = look.digits > 0 && look.letters() > 0 && look.len >= 8 && !is_wordlike(value) && look.upper > 0;
            let other = value.windows(3).any(|part| part == b"://")
                || is_path(value)
                || value.contains(&b'@')
                || is_harmless_setting(key);
            if classify_key(key).is_none() && !other && (is_random(value) || mixed && !random_only) {
                self.claim_word(start..start + value.len());
            }
        }
    }

    fn claim_htpasswd(&mut self) {
        let (mut batch, mut shown, mut given) = (false, false, Vec::new());
        let mut words = CommandWords::new(self.line);
        while let Some(word) = words.next() {
            match self.word(&word).strip_prefix(b"-") {
                Some(flags) => {
                    batch |= flags.contains(&b'b');
                    shown |= flags.contains(&b'n');
                    // Skips the argument of the cost or rounds
                    if flags.ends_with(b"C") || flags.ends_with(b"r") {
                        words.next();
                    }
                }
                None => given.push(word),
            }
        }
        if let Some(word) = given.get(if shown { 1 } else { 2 }).filter(|_| batch).cloned() {
            self.claim_word(word);
        }
    }

    fn claim_openssl(&mut self) {
        let mut words = CommandWords::new(self.line);
        let Some(command) = words.next() else { return };
        let command = self.word(&command).to_ascii_lowercase();
        let encrypts = command == b"enc" || command.starts_with(b"aes") || command.starts_with(b"des");
        if command == b"passwd" {
            return self.claim_openssl_passwd(words);
        }
        while let Some(word) = words.next() {
            let told = match self.word(&word) {
                b"-k" => encrypts,
                b"-hmac" => true,
                flag => flag.starts_with(b"-pass"),
            };
            if !told {
                continue;
            }
            let source = self.word(&word).starts_with(b"-pass");
            let Some(value) = words.next() else { return };
            let lead = if self.word(&value).starts_with(b"pass:") { 5 } else { 0 };
            if !source || lead > 0 {
                self.claim_word(value.start + lead..value.end);
            }
        }
    }

    /// `openssl passwd -6 -salt s password`.
    fn claim_openssl_passwd(&mut self, mut words: CommandWords<'_>) {
        while let Some(word) = words.next() {
            match self.word(&word) {
                b"-salt" | b"-in" => {
                    words.next();
                }
                text if text.starts_with(b"-") => {}
                _ => return self.claim_word(word),
            }
        }
    }

    fn claim_secure_string(&mut self) {
        if memchr::memmem::find(self.line, b"SecureString").is_some() {
            self.claim_flag_values("value");
        }
    }

    fn claim_share_password(&mut self) {
        let words: Vec<Range<usize>> = CommandWords::new(self.line).take(8).collect();
        let user =
            |word: &Range<usize>| self.word(word).get(..6).is_some_and(|head| head.eq_ignore_ascii_case(b"/user:"));
        let Some(user) = words.iter().position(user) else { return };
        let other = |word: &&Range<usize>| {
            let text = self.word(word);
            text.starts_with(b"/") || text.contains(&b'\\') || text.ends_with(b":") || text == b"*"
        };
        let password = words.get(user + 1).filter(|word| !other(word));
        let before = || words.get(..user).and_then(<[_]>::last).filter(|word| !other(word));
        if let Some(word) = password.or_else(before).cloned() {
            self.claim_word(word);
        }
    }

    fn claim_slash_password(&mut self) {
        let line = self.line;
        let login = |word: &Range<usize>| !line.get(word.clone()).is_some_and(|word| word.starts_with(b"-"));
        let Some(word) = CommandWords::new(line).take(4).find(login) else { return };
        let rest = self.word(&word);
        let user = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_$#".contains(byte)).count();
        let behind = rest.get(user + 1..).unwrap_or_default();
        let len = behind.iter().take_while(|byte| !b"@/".contains(byte)).count();
        if user > 0 && rest.get(user) == Some(&b'/') && behind.get(len) == Some(&b'@') {
            let start = word.start + user + 1;
            self.claim_word(start..start + len);
        }
    }

    fn claim_comma_password(&mut self) {
        let mut words =
            CommandWords::new(self.line).skip_while(|word| self.line.get(word.clone()) != Some(b"-u")).skip(1);
        let Some(word) = words.next() else { return };
        drop(words);
        if let Some(comma) = self.word(&word).iter().position(|byte| *byte == b',') {
            self.claim_word(word.start + comma + 1..word.end);
        }
    }

    fn claim_last_argument(&mut self) {
        let words: Vec<Range<usize>> = CommandWords::new(self.line).take(12).collect();
        let secret = words.iter().any(|word| self.word(word) == b"--secret");
        if let Some(word) =
            words.last().filter(|word| secret && words.len() > 2 && !self.word(word).starts_with(b"-")).cloned()
        {
            self.claim_word(word);
        }
    }
}

/// Whether a word at the position of a secret is one, rather than a variable or a word for a secret.
fn is_secret(value: &[u8]) -> bool {
    let look = ByteCounts::count(value);
    let elsewhere = value.starts_with(b"$")
        || value.starts_with(b"%")
        || value.starts_with(b"-")
        || value.starts_with(b"@")
        || value.starts_with(b"file:");
    let shouted = look.lower == 0 && look.upper > 0 && look.marks == look.joints && value.contains(&b'_');
    (4..=256).contains(&look.len)
        && look.blanks == 0
        && !elsewhere
        && !shouted
        && !cannot_be_secret(value)
        && !names_a_secret(value)
}

/// Last words of command keys whose values are random but not secret: `config set image_tag=0f1e…`.
static RANDOM_SETTINGS: LazyLock<Vec<&[u8]>> =
    LazyLock::new(|| wordlists::bytes("secrets.harmless_random_key_endings"));

/// Whether a key's values are random but not secret.
fn is_harmless_setting(key: &[u8]) -> bool {
    let last = key.rsplit(|byte| b"_-.".contains(byte)).next().unwrap_or_default();
    RANDOM_SETTINGS.iter().any(|word| ends_with(last, word))
}

/// Claims the input of a command: `echo x | command`, `command <<< x`, `command <<EOF`.
fn claim_stdin(
    scan: &TextScan<'_>,
    name: Range<usize>,
    rest: &[u8],
    (form, rule): (SecretPosition, u16),
    claims: &mut PrivateClaims,
) {
    let pairs = form == SecretPosition::StdinPairs;
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    if let Some(at) = memchr::memmem::find(line, b"<<") {
        let here = line.get(at + 2..).unwrap_or_default();
        let word = here.strip_prefix(b"<").and_then(|here| CommandWords::new(here).next());
        match word {
            Some(word) => {
                let start = name.end + at + 3;
                claim_input(scan, start + word.start..start + word.end, (pairs, rule), claims);
            }
            None if pairs => claim_here_document(scan, name.end + at + 2, rule, claims),
            None => {}
        }
        return;
    }
    let start = name.start.saturating_sub(MOST);
    let head = scan.bytes(start..name.start);
    let Some(pipe) = memchr::memrchr(b'|', head) else { return };
    let between = head.get(pipe + 1..).unwrap_or_default();
    if form == SecretPosition::StdinOfFirstCommand && !matches!(between.trim_ascii(), b"" | b"sudo" | b"exec") {
        return;
    }
    let text = head.get(..pipe).unwrap_or_default();
    if let Some(lines) = quoted_lines(text).filter(|_| pairs) {
        return claim_input(scan, start + lines.start..start + lines.end, (pairs, rule), claims);
    }
    let begins = text.iter().rposition(|byte| b"\n;|&".contains(byte)).map_or(0, |at| at + 1);
    let command = text.get(begins..).unwrap_or_default();
    let printed = [&b"echo "[..], b"printf "]
        .iter()
        .filter_map(|word| memchr::memmem::rfind(command, word).map(|at| at + word.len()))
        .max();
    let Some(printed) = printed.filter(|_| !between.iter().any(|byte| b"\n;&".contains(byte))) else { return };
    let from = begins + printed;
    let is_argument = |word: &Range<usize>| {
        let text = command.get(printed + word.start..printed + word.end).unwrap_or_default();
        !text.starts_with(b"-") && !text.contains(&b'%') && !text.is_empty()
    };
    let mut words = CommandWords::new(text.get(from..).unwrap_or_default()).filter(is_argument);
    if let (Some(word), None) = (words.next(), words.next()) {
        claim_input(scan, start + from + word.start..start + from + word.end, (pairs, rule), claims);
    }
}

/// The quoted lines of `echo` or `printf` at the end of `text`.
fn quoted_lines(text: &[u8]) -> Option<Range<usize>> {
    let (mark, body) = text.trim_ascii_end().split_last().filter(|(mark, _)| b"\"'".contains(mark))?;
    let open = body.iter().rposition(|byte| byte == mark)?;
    memchr::memchr(b'\n', body.get(open..)?)?;
    let line = body.get(..open)?.rsplit(|byte| *byte == b'\n').next()?;
    let printed = line
        .windows(5)
        .rposition(|part| part == b"echo ")
        .or_else(|| line.windows(5).rposition(|part| part == b"intf "))?;
    let flags =
        line.get(printed + 5..)?.split(|byte| *byte == b' ').all(|word| word.is_empty() || word.starts_with(b"-"));
    flags.then_some(open + 1..body.len())
}

/// Claims a word that is a command's input: all of it, or the part behind `user:` in each of its lines.
fn claim_input(scan: &TextScan<'_>, range: Range<usize>, (pairs, rule): (bool, u16), claims: &mut PrivateClaims) {
    let text = scan.bytes(range.clone());
    // `echo "x\n"`
    let text = text.strip_suffix(b"\\n").unwrap_or(text);
    let mut at = range.start;
    for line in text.split(|byte| matches!(byte, b'\\' | b'\n')) {
        let escaped = at > range.start && scan.byte_before(at, 1) == b'\\';
        let lead = usize::from(escaped && line.first() == Some(&b'n'));
        let colon = line.iter().position(|byte| *byte == b':').filter(|colon| *colon > lead);
        let from = if pairs { colon.map(|colon| colon + 1) } else { Some(lead) };
        if let Some(from) = from.filter(|from| line.get(*from..).is_some_and(is_secret)) {
            claims.add(scan, rule, at + from..at + line.len());
        }
        at += line.len() + 1;
    }
}

/// Most lines of a here-document.
const LINES: usize = 16;

/// Claims the passwords in lines `user:password` of a here-document.
fn claim_here_document(scan: &TextScan<'_>, at: usize, rule: u16, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, at, 2 * MOST);
    let Some(first) = memchr::memchr(b'\n', rest) else { return };
    let end = rest.get(..first).unwrap_or_default().trim_ascii();
    let end = end.strip_prefix(b"-").unwrap_or(end);
    let end = end.strip_prefix(b"'").and_then(|end| end.strip_suffix(b"'")).unwrap_or(end);
    let mut start = first + 1;
    for line in rest.get(start..).unwrap_or_default().split(|byte| *byte == b'\n').take(LINES) {
        if line.trim_ascii() == end {
            return;
        }
        claim_input(scan, at + start..at + start + line.trim_ascii_end().len(), (true, rule), claims);
        start += line.len() + 1;
    }
}
