//! Finds passwords in lines of PostgreSQL's password file, `host:port:database:user:password`, which have neither a key
//! nor a shape. They are searched only near the file's name, and every byte is read once. `PGPASSWORD=…` is in
//! `assign`.

use super::super::scan::{PrivateClaims, TextScan};
use super::super::stems::StemMatch;
use super::value_checks::cannot_be_secret;

/// Bytes before and behind the file's name in which its lines may be.
const AROUND: (usize, usize) = (256, 2048);

/// Claims the passwords in lines near the file's name. Returns the end of the text that was read.
pub(super) fn claim_pgpass_lines(
    scan: &TextScan<'_>,
    word: &StemMatch,
    done: usize,
    rule: u16,
    claims: &mut PrivateClaims,
) -> usize {
    // `PGPASSWORD` is a key
    if matches!(scan.byte(word.end), b'w' | b'W') {
        return done;
    }
    let from = word.start.saturating_sub(AROUND.0).max(done);
    let to = scan.text.len().min(word.end + AROUND.1).max(from);
    let bytes = scan.bytes(from..to);
    let mut start = 0;
    while start < bytes.len() {
        let rest = bytes.get(start..).unwrap_or_default();
        let escape = |at: usize| rest.get(at + 1).is_some_and(|next| b"nrt\"".contains(next));
        let ends = |(at, byte): (usize, &u8)| match byte {
            b'\\' => escape(at),
            byte => byte.is_ascii_whitespace() || b"\"'`<>".contains(byte),
        };
        let len = rest.iter().enumerate().position(|(at, byte)| ends((at, byte))).unwrap_or(rest.len());
        if let Some(lead) = rest.get(..len).and_then(password_start) {
            claims.add(scan, rule, from + start + lead..from + start + len);
        }
        start += len + if rest.get(len) == Some(&b'\\') { 2 } else { 1 };
    }
    to
}

/// Length of a line before its password, if it is a line of the file.
fn password_start(line: &[u8]) -> Option<usize> {
    let mut fields = line.splitn(5, |byte| *byte == b':');
    let [host, port, database, user, password] = std::array::from_fn(|_| fields.next().unwrap_or_default());
    let name = |field: &[u8]| {
        !field.is_empty() && field.iter().all(|byte| byte.is_ascii_alphanumeric() || b"*._-/".contains(byte))
    };
    let numbered = port == b"*" || (2..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    // Compiler messages: `main.go:45:12:func:x`
    let reported = database.iter().all(u8::is_ascii_digit)
        || host.len() < 2 && host != b"*"
        || host.iter().skip(1).any(|byte| *byte == b'/') && host.first() != Some(&b'/');
    let named = !reported && [host, database, user].into_iter().all(name) && numbered;
    let stands = password.len() >= 4 && !cannot_be_secret(password) && !password.eq_ignore_ascii_case(b"password");
    (named && stands).then(|| line.len() - password.len())
}
