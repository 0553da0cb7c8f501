//! Finds passwords in lines of PostgreSQL's password file, `host:port:database:user:password`, which have neither a key
//! nor a shape. They are searched only near the file's name, and every byte is read once. `PGPASSWORD=…` is in
//! `assign`.

use super::super::rule::RuleFamily;
use super::super::scan::{PrivateClaims, TextScan};
use super::super::stems::StemMatch;
use super::value_checks::cannot_be_secret;

/// Bytes before and after the file's name in which its lines may be.
const REACH: (usize, usize) = (256, 2048);

/// Claims the passwords in lines near the file's name, from `read_end` on, where an earlier search ended. Returns the
/// end of the text that was read.
pub(super) fn claim_pgpass_lines(
    scan: &TextScan<'_>,
    word: &StemMatch,
    read_end: usize,
    claims: &mut PrivateClaims,
) -> usize {
    // `PGPASSWORD` is a key
    if matches!(scan.byte(word.end), b'w' | b'W') {
        return read_end;
    }
    let from = word.start.saturating_sub(REACH.0).max(read_end);
    let to = scan.text.len().min(word.end + REACH.1).max(from);
    let bytes = scan.bytes(from..to);
    let mut start = 0;
    while start < bytes.len() {
        let rest = bytes.get(start..).unwrap_or_default();
        let is_escape = |at: usize| rest.get(at + 1).is_some_and(|next| b"nrt\"".contains(next));
        let is_end = |(at, byte): (usize, &u8)| match byte {
            b'\\' => is_escape(at),
            byte => byte.is_ascii_whitespace() || b"\"'`<>".contains(byte),
        };
        let len = rest.iter().enumerate().position(|(at, byte)| is_end((at, byte))).unwrap_or(rest.len());
        if let Some(password_at) = rest.get(..len).and_then(password_start) {
            claims.add_for(scan, RuleFamily::Password, from + start + password_at..from + start + len);
        }
        start += len + if rest.get(len) == Some(&b'\\') { 2 } else { 1 };
    }
    to
}

/// Length of a line before its password, if it is a line of the file.
fn password_start(line: &[u8]) -> Option<usize> {
    let mut fields = line.splitn(5, |byte| *byte == b':');
    let [host, port, database, user, password] = std::array::from_fn(|_| fields.next().unwrap_or_default());
    let is_name = |field: &[u8]| {
        !field.is_empty() && field.iter().all(|byte| byte.is_ascii_alphanumeric() || b"*._-/".contains(byte))
    };
    let is_port = port == b"*" || (2..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    // Compiler messages: `main.go:45:12:func:x`
    let is_compiler_message = database.iter().all(u8::is_ascii_digit)
        || host.len() < 2 && host != b"*"
        || host.iter().skip(1).any(|byte| *byte == b'/') && host.first() != Some(&b'/');
    let is_entry = !is_compiler_message && [host, database, user].into_iter().all(is_name) && is_port;
    let is_password = password.len() >= 4 && !cannot_be_secret(password) && !password.eq_ignore_ascii_case(b"password");
    (is_entry && is_password).then(|| line.len() - password.len())
}
