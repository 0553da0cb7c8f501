//! **What**: public keys as options give them: texts, or files that hold them; and files of the caller's.

use std::path::Path;

use crate::cli::error::CommandError;
use vault::chain::note::VerifyKey;

/// Largest file of the caller's that is read, bytes.
const MAX_FILE: u64 = 256 << 20;
/// Public keys as texts or in files.
pub(crate) fn public_keys(given: &[String]) -> Result<Vec<VerifyKey>, CommandError> {
    public_keys_of("--key", given)
}

/// The same of another option.
pub(super) fn public_keys_of(option: &str, given: &[String]) -> Result<Vec<VerifyKey>, CommandError> {
    let mut keys = Vec::new();
    for text in given {
        match VerifyKey::parse(text) {
            Ok(key) => keys.push(key),
            Err(why) => {
                let path = Path::new(text);
                if !path.is_file() {
                    return Err(CommandError::Failed(format!("{option} {why}, nor a file")));
                }
                let lines = read(path)?;
                // a signing key's file says its public key in a comment
                let lines = lines.lines().map(|line| line.trim_start_matches("# public key: "));
                let before = keys.len();
                keys.extend(lines.filter_map(|line| VerifyKey::parse(line).ok()));
                if keys.len() == before {
                    return Err(CommandError::Failed(format!("{} holds no public key of a signer", path.display())));
                }
            }
        }
    }
    Ok(keys)
}

/// A file of the caller's.
pub(super) fn read(path: &Path) -> Result<String, CommandError> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| format!("can't read {}: {error}", path.display()))?;
    Ok(text)
}
