//! Reads auditors' secret keys from files. Errors never include file contents, and buffers are wiped. Neighbour:
//! `session_keys` opens session keys.

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{ReadError, Result};

/// Largest identity file, bytes.
const MAX_IDENTITY_FILE: u64 = 1 << 20;

/// The secret keys in files written by `age-keygen` or `vault::generate_auditor_key::generate_auditor_key`.
///
/// # Errors
/// A file can't be read or has no key. The error never includes its contents.
pub fn identities(paths: &[PathBuf]) -> Result<Vec<age::x25519::Identity>> {
    let mut keys = Vec::new();
    for path in paths {
        let describe = |error: std::io::Error| {
            ReadError::new(format!("the identity file {} can't be read: {error}", path.display()))
        };
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_IDENTITY_FILE).read_to_string(&mut text))
            .map_err(describe)?;
        keys.extend(identities_in(path, &text)?);
    }
    if keys.is_empty() {
        return Err(ReadError::new("give --identity: the file with an auditor's secret key"));
    }
    Ok(keys)
}

/// The secret keys in an identity file's text.
///
/// # Errors
/// The text has no key, or a line that is not a key. The error never includes the text.
pub fn identities_in(path: &Path, text: &str) -> Result<Vec<age::x25519::Identity>> {
    let invalid = |problem: &str| ReadError::new(format!("the identity file {} {problem}", path.display()));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|line| line.parse().map_err(|_| invalid("has a line that is not an `AGE-SECRET-KEY-1…` key")));
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(invalid("contains no key")) } else { Ok(keys) }
}
