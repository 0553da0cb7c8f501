//! Reads public keys given as texts or files, and other files of the caller.

use std::io::ErrorKind;
use std::path::Path;

use command::error::{CommandError, Result};
use kernel::files::read_text;
use kernel::secret::Secret;
use vault::chain::note::{SigningKey, VerifyKey};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The public keys of `--key`, as texts or in files.
pub(crate) fn read_public_keys(given: &[String]) -> Result<Vec<VerifyKey>> {
    read_public_keys_of_option("--key", given)
}

pub(super) fn read_public_keys_of_option(option: &str, given: &[String]) -> Result<Vec<VerifyKey>> {
    let mut keys = Vec::new();
    for text in given {
        match VerifyKey::parse(text) {
            Ok(key) => keys.push(key),
            Err(why) => {
                let path = Path::new(text);
                if !path.is_file() {
                    return Err(CommandError::Failed(format!("{option} {why}, and not a file either")));
                }
                let lines = read_text_file(path)?;
                // A signing key's file has the public key in a comment.
                let lines = lines.lines().map(|line| line.trim_start_matches("# public key: "));
                let known_count = keys.len();
                keys.extend(lines.filter_map(|line| VerifyKey::parse(line).ok()));
                if keys.len() == known_count {
                    return Err(CommandError::Failed(format!("{} contains no signer's public key", path.display())));
                }
            }
        }
    }
    Ok(keys)
}

/// The secret key in a signer's file.
pub(super) fn parse_signing_key(path: &Path) -> Result<SigningKey> {
    let key = SigningKey::from_secret(&Secret::new(read_text_file(path)?));
    key.map_err(|why| CommandError::Failed(format!("{} {why}", path.display())))
}

/// Reads a text file of the caller, of at most [`MAX_FILE_BYTES`].
pub(super) fn read_text_file(path: &Path) -> Result<String> {
    read_text(path, MAX_FILE_BYTES).map_err(|error| {
        CommandError::Failed(match error.kind() {
            ErrorKind::FileTooLarge => {
                format!("{} is larger than {} MiB: split it", path.display(), MAX_FILE_BYTES >> 20)
            }
            _ => format!("can't read {}: {error}", path.display()),
        })
    })
}
