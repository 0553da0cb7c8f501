//! Reads public keys given as texts or files, and other files of the caller.

use std::path::Path;

use crate::cli::error::CommandError;
use vault::chain::note::VerifyKey;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// The public keys of `--key`, as texts or in files.
pub(crate) fn public_keys(given: &[String]) -> Result<Vec<VerifyKey>, CommandError> {
    public_keys_of("--key", given)
}

/// The public keys of another option.
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
                // A signing key's file has the public key in a comment.
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

/// Reads a text file of the caller, up to `MAX_FILE` bytes.
pub(super) fn read(path: &Path) -> Result<String, CommandError> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|error| format!("can't read {}: {error}", path.display()))?;
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| format!("can't read {}: {error}", path.display()))?;
    Ok(text)
}
