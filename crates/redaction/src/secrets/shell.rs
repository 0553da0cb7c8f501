//! Finds secrets that are recognised only by their position in a command line: input piped into a command
//! (`echo "u:p" | chpasswd`), an argument (`rabbitmqctl add_user u p`), or the value of a flag that is not a key
//! (`keytool -srcstorepass p`). At most [`MAX_LINE`] bytes of a command, and before one that reads its input, are
//! read; variables and placeholders stay. `-p x` and `-u user:x` are in `commands`, `--password x` in `assign`.

use std::ops::Range;

use super::super::pairs::ends_with;
use super::arguments::{CommandWords, line_end};
use super::command_forms::SecretPosition;
use super::secret_keys::classify_key;
use super::value_checks::{ByteCounts, cannot_be_secret, is_path, is_random, is_wordlike, names_a_secret};
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of a command.
const MAX_LINE: usize = 512;

/// Checks the command whose name is at `name`. Returns the position from which the search for such commands continues.
pub(super) fn check_command(
    scan: &TextScan<'_>,
    name: Range<usize>,
    form: SecretPosition,
    claims: &mut PrivateClaims,
) -> usize {
    let at = name.end;
    let rest = bytes_ahead(scan, at, MAX_LINE);
    // `.net user` is the platform, not the command
    let is_dotnet = form == SecretPosition::Argument(1) && scan.byte_before(name.start, 1) == b'.';
    if !may_follow(rest, form) || is_dotnet {
        return at;
    }
    let line = rest.get(..line_end(rest)).unwrap_or_default();
    let mut search = CommandSearch { scan, at, line, claims };
    match form {
        SecretPosition::Flags(flags) => search.claim_flag_values(flags),
        SecretPosition::AfterWord(words, skipped) => search.claim_after_word(words, skipped),
        SecretPosition::Argument(skipped) => search.claim_argument(CommandWords::new(line), skipped),
        SecretPosition::Stdin | SecretPosition::StdinOfFirstCommand | SecretPosition::StdinPairs => {
            let start = name.start;
            claim_stdin(scan, name, rest, form, search.claims);
            return start;
        }
        SecretPosition::Pairs | SecretPosition::Settings => search.claim_pairs(form == SecretPosition::Settings),
        SecretPosition::Htpasswd => search.claim_htpasswd(),
        SecretPosition::Openssl => search.claim_openssl(),
        SecretPosition::Parameter => search.claim_secure_string(),
        SecretPosition::WindowsShare => search.claim_share_password(),
        SecretPosition::Slash => search.claim_slash_password(),
        SecretPosition::Comma => search.claim_comma_password(),
        SecretPosition::Last => search.claim_last_argument(),
    }
    at + line.len()
}

/// Quick check of the text after a command's name.
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
            self.claims.add_for(self.scan, RuleFamily::Password, self.at + range.start..self.at + range.end);
        }
    }

    fn claim_flag_values(&mut self, flags: &str) {
        let mut words = CommandWords::new(self.line);
        while let Some(word) = words.next() {
            let content = self.word(&word);
            let dashes = content.iter().take(2).take_while(|byte| **byte == b'-').count();
            let flag = content.get(dashes..).unwrap_or_default();
            let name_len = flag.iter().position(|byte| *byte == b'=').unwrap_or(flag.len());
            let is_known = dashes > 0 && flags.split(' ').any(|known| flag.get(..name_len) == Some(known.as_bytes()));
            // `-bvalue`
            let letter = flag.get(..1).filter(|_| dashes == 1 && flag.len() > 1 && name_len == flag.len());
            if letter.is_some_and(|letter| flags.split(' ').any(|known| letter == known.as_bytes())) {
                let quote = usize::from(flag.get(1).is_some_and(|byte| b"\"'".contains(byte)));
                self.claim_word(word.start + 2 + quote..word.end - quote);
            } else if is_known && name_len < flag.len() {
                self.claim_word(word.start + dashes + name_len + 1..word.end);
            } else if is_known && let Some(value) = words.next() {
                self.claim_word(value);
            }
        }
    }

    fn claim_after_word(&mut self, names: &str, skipped: usize) {
        let mut words = CommandWords::new(self.line);
        let line = self.line;
        if words.by_ref().any(|word| names.split(' ').any(|name| line.get(word.clone()) == Some(name.as_bytes()))) {
            self.claim_argument(words, skipped);
        }
    }

    /// Claims the argument after `skipped` others; flags do not count.
    fn claim_argument(&mut self, words: CommandWords<'_>, skipped: usize) {
        let line = self.line;
        // Excludes `-n` and `/add`
        let is_argument = |word: &Range<usize>| match line.get(word.clone()).unwrap_or_default() {
            [b'-', ..] => false,
            [b'/', rest @ ..] => rest.contains(&b'/'),
            _ => true,
        };
        if let Some(word) = words.filter(is_argument).nth(skipped) {
            let counts = ByteCounts::count(self.word(&word));
            // Prose may also follow such words
            if counts.digits > 0 || counts.marks > counts.joints {
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
            let is_quoted = self.line.get(start).filter(is_quote).is_some();
            start += usize::from(is_quoted);
            let mut value = self.line.get(start..word.end).unwrap_or_default();
            if is_quoted && let Some((_, inner)) = value.split_last().filter(|(last, _)| is_quote(last)) {
                value = inner;
            }
            let counts = ByteCounts::count(value);
            let is_mixed =
                counts.digits > 0 && counts.letters() > 0 && counts.len >= 8 && !is_wordlike(value) && counts.upper > 0;
            let is_harmless = value.windows(3).any(|part| part == b"://")
                || is_path(value)
                || value.contains(&b'@')
                || is_harmless_setting(key);
            if classify_key(key).is_none() && !is_harmless && (is_random(value) || is_mixed && !random_only) {
                self.claim_word(start..start + value.len());
            }
        }
    }

    fn claim_htpasswd(&mut self) {
        let (mut is_batch, mut prints_result, mut arguments) = (false, false, Vec::new());
        let mut words = CommandWords::new(self.line);
        while let Some(word) = words.next() {
            match self.word(&word).strip_prefix(b"-") {
                Some(flags) => {
                    is_batch |= flags.contains(&b'b');
                    prints_result |= flags.contains(&b'n');
                    // Skips the argument of the cost or rounds
                    if flags.ends_with(b"C") || flags.ends_with(b"r") {
                        words.next();
                    }
                }
                None => arguments.push(word),
            }
        }
        if let Some(word) = arguments.get(if prints_result { 1 } else { 2 }).filter(|_| is_batch).cloned() {
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
            let takes_secret = match self.word(&word) {
                b"-k" => encrypts,
                b"-hmac" => true,
                flag => flag.starts_with(b"-pass"),
            };
            if !takes_secret {
                continue;
            }
            let is_pass_option = self.word(&word).starts_with(b"-pass");
            let Some(value) = words.next() else { return };
            let prefix_len = if self.word(&value).starts_with(b"pass:") { 5 } else { 0 };
            if !is_pass_option || prefix_len > 0 {
                self.claim_word(value.start + prefix_len..value.end);
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
        let is_user =
            |word: &Range<usize>| self.word(word).get(..6).is_some_and(|head| head.eq_ignore_ascii_case(b"/user:"));
        let Some(user) = words.iter().position(is_user) else { return };
        let is_other = |word: &&Range<usize>| {
            let content = self.word(word);
            content.starts_with(b"/") || content.contains(&b'\\') || content.ends_with(b":") || content == b"*"
        };
        let password = words.get(user + 1).filter(|word| !is_other(word));
        let before = || words.get(..user).and_then(<[_]>::last).filter(|word| !is_other(word));
        if let Some(word) = password.or_else(before).cloned() {
            self.claim_word(word);
        }
    }

    fn claim_slash_password(&mut self) {
        let line = self.line;
        let is_argument = |word: &Range<usize>| !line.get(word.clone()).is_some_and(|word| word.starts_with(b"-"));
        let Some(word) = CommandWords::new(line).take(4).find(is_argument) else { return };
        let rest = self.word(&word);
        let user_len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_$#".contains(byte)).count();
        let after_slash = rest.get(user_len + 1..).unwrap_or_default();
        let len = after_slash.iter().take_while(|byte| !b"@/".contains(byte)).count();
        if user_len > 0 && rest.get(user_len) == Some(&b'/') && after_slash.get(len) == Some(&b'@') {
            let start = word.start + user_len + 1;
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
        let is_secret_option = words.iter().any(|word| self.word(word) == b"--secret");
        if let Some(word) = words
            .last()
            .filter(|word| is_secret_option && words.len() > 2 && !self.word(word).starts_with(b"-"))
            .cloned()
        {
            self.claim_word(word);
        }
    }
}

/// Whether a word at the position of a secret is one, rather than a variable, a file or a word for a secret.
fn is_secret(value: &[u8]) -> bool {
    let counts = ByteCounts::count(value);
    let is_reference = value.starts_with(b"$")
        || value.starts_with(b"%")
        || value.starts_with(b"-")
        || value.starts_with(b"@")
        || value.starts_with(b"file:");
    let is_constant = counts.lower == 0 && counts.upper > 0 && counts.marks == counts.joints && value.contains(&b'_');
    (4..=256).contains(&counts.len)
        && counts.blanks == 0
        && !is_reference
        && !is_constant
        && !cannot_be_secret(value)
        && !names_a_secret(value)
}

/// Whether a key's values are random but not secret.
fn is_harmless_setting(key: &[u8]) -> bool {
    let last = key.rsplit(|byte| b"_-.".contains(byte)).next().unwrap_or_default();
    byte_list!("secrets.harmless_random_key_endings").iter().any(|word| ends_with(last, word))
}

/// Claims the input of a command: `echo x | command`, `command <<< x`, `command <<EOF`.
fn claim_stdin(scan: &TextScan<'_>, name: Range<usize>, rest: &[u8], form: SecretPosition, claims: &mut PrivateClaims) {
    let has_users = form == SecretPosition::StdinPairs;
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    if let Some(at) = memchr::memmem::find(line, b"<<") {
        let after = line.get(at + 2..).unwrap_or_default();
        let word = after.strip_prefix(b"<").and_then(|after| CommandWords::new(after).next());
        match word {
            Some(word) => {
                let start = name.end + at + 3;
                claim_input(scan, start + word.start..start + word.end, has_users, claims);
            }
            None if has_users => claim_here_document(scan, name.end + at + 2, claims),
            None => {}
        }
        return;
    }
    let start = name.start.saturating_sub(MAX_LINE);
    let head = scan.bytes(start..name.start);
    let Some(pipe) = memchr::memrchr(b'|', head) else { return };
    let between = head.get(pipe + 1..).unwrap_or_default();
    if form == SecretPosition::StdinOfFirstCommand && !matches!(between.trim_ascii(), b"" | b"sudo" | b"exec") {
        return;
    }
    let before_pipe = head.get(..pipe).unwrap_or_default();
    if let Some(lines) = quoted_lines(before_pipe).filter(|_| has_users) {
        return claim_input(scan, start + lines.start..start + lines.end, has_users, claims);
    }
    let command_start = before_pipe.iter().rposition(|byte| b"\n;|&".contains(byte)).map_or(0, |at| at + 1);
    let command = before_pipe.get(command_start..).unwrap_or_default();
    let output_at = [&b"echo "[..], b"printf "]
        .iter()
        .filter_map(|word| memchr::memmem::rfind(command, word).map(|at| at + word.len()))
        .max();
    let Some(output_at) = output_at.filter(|_| !between.iter().any(|byte| b"\n;&".contains(byte))) else { return };
    let from = command_start + output_at;
    let is_argument = |word: &Range<usize>| {
        let content = command.get(output_at + word.start..output_at + word.end).unwrap_or_default();
        !content.starts_with(b"-") && !content.contains(&b'%') && !content.is_empty()
    };
    let mut words = CommandWords::new(before_pipe.get(from..).unwrap_or_default()).filter(is_argument);
    if let (Some(word), None) = (words.next(), words.next()) {
        claim_input(scan, start + from + word.start..start + from + word.end, has_users, claims);
    }
}

/// The quoted lines of `echo` or `printf` at the end of `text`.
fn quoted_lines(text: &[u8]) -> Option<Range<usize>> {
    let (quote, body) = text.trim_ascii_end().split_last().filter(|(quote, _)| b"\"'".contains(quote))?;
    let open = body.iter().rposition(|byte| byte == quote)?;
    memchr::memchr(b'\n', body.get(open..)?)?;
    let line = body.get(..open)?.rsplit(|byte| *byte == b'\n').next()?;
    let command_at = line
        .windows(5)
        .rposition(|part| part == b"echo ")
        .or_else(|| line.windows(5).rposition(|part| part == b"intf "))?;
    let are_flags =
        line.get(command_at + 5..)?.split(|byte| *byte == b' ').all(|word| word.is_empty() || word.starts_with(b"-"));
    are_flags.then_some(open + 1..body.len())
}

/// Claims a word that is a command's input: all of it, or with `has_users` the part after `user:` in each line.
fn claim_input(scan: &TextScan<'_>, range: Range<usize>, has_users: bool, claims: &mut PrivateClaims) {
    let input = scan.bytes(range.clone());
    // `echo "x\n"`
    let input = input.strip_suffix(b"\\n").unwrap_or(input);
    let mut at = range.start;
    for line in input.split(|byte| matches!(byte, b'\\' | b'\n')) {
        let is_after_escape = at > range.start && scan.byte_before(at, 1) == b'\\';
        let escape_len = usize::from(is_after_escape && line.first() == Some(&b'n'));
        let colon = line.iter().position(|byte| *byte == b':').filter(|colon| *colon > escape_len);
        let from = if has_users { colon.map(|colon| colon + 1) } else { Some(escape_len) };
        if let Some(from) = from.filter(|from| line.get(*from..).is_some_and(is_secret)) {
            claims.add_for(scan, RuleFamily::Password, at + from..at + line.len());
        }
        at += line.len() + 1;
    }
}

/// Most lines of a here-document.
const MAX_LINES: usize = 16;

/// Claims the passwords in lines `user:password` of a here-document.
fn claim_here_document(scan: &TextScan<'_>, at: usize, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, at, 2 * MAX_LINE);
    let Some(first_len) = memchr::memchr(b'\n', rest) else { return };
    let end_word = rest.get(..first_len).unwrap_or_default().trim_ascii();
    let end_word = end_word.strip_prefix(b"-").unwrap_or(end_word);
    let end_word = end_word.strip_prefix(b"'").and_then(|end_word| end_word.strip_suffix(b"'")).unwrap_or(end_word);
    let mut start = first_len + 1;
    for line in rest.get(start..).unwrap_or_default().split(|byte| *byte == b'\n').take(MAX_LINES) {
        if line.trim_ascii() == end_word {
            return;
        }
        claim_input(scan, at + start..at + start + line.trim_ascii_end().len(), true, claims);
        start += line.len() + 1;
    }
}
