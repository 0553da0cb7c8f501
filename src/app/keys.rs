//! The gateway's own keys: from the configuration, or from key files beside the spool. Silently generating a key in
//! place of a lost one would make accepted data unreadable without notice. So a key file is generated only for a spool
//! that was never used, and only on the spool's volume, so that neither is lost without the other. `keyfile` reads and
//! writes the files.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::app::keyfile::{self, random_key};
use crate::app::placed::Placed;
use crate::app::start_error::{Fault, StartError};
use crate::app::valid::Valid;
use crate::components::{ProcessorSettings, id_text};
use ::vault::chain::note::SigningKey;
use ::vault::kms::{self, Ciphertext, SealedKey};
use kernel::files::folder_of;
use kernel::pseudonym::Pseudonymizer;
use kernel::rng::Rng;
use kernel::secret::Secret;
use pipeline::spool::SpoolKey;
use processors::vault;

/// A key that may be in a file beside the spool.
struct Kind {
    file: &'static str,
    /// The setting that replaces the file.
    setting: &'static str,
    /// The warning when the key is generated.
    made: &'static str,
}

const SPOOL: Kind = Kind {
    file: "spool.key",
    setting: "spool.keys",
    made: "no spool key was given: made one; keep it with the spool, or set spool.keys",
};
const PSEUDONYMS: Kind = Kind {
    file: "pseudonym.key",
    setting: "pseudonyms.key",
    made: "no pseudonym key was given: made one; replicas need the same, see pseudonyms.key",
};

/// All keys of a gateway, read once.
#[derive(Clone)]
pub struct Keys {
    /// The spool's keys.
    pub spool: Vec<SpoolKey>,
    /// The key for pseudonyms.
    pub pseudonyms: Pseudonymizer,
    /// The keys that sign digests, by vault id.
    pub signers: HashMap<Arc<str>, Arc<SigningKey>>,
}

impl Keys {
    /// Reads the keys, generates those that may be generated, and decrypts an encrypted signing key with its KMS.
    ///
    /// # Errors
    /// A key file can't be used, or must not be generated here, or the KMS does not decrypt a key.
    pub async fn read(valid: &Valid, rng: &dyn Rng) -> Result<Self, StartError> {
        let (spool, pseudonyms) = (spool_keys(valid, rng)?, pseudonyms(valid, rng)?);
        Ok(Self { spool, pseudonyms, signers: signers(valid, rng).await? })
    }
}

/// The signing key of each vault.
async fn signers(valid: &Valid, rng: &dyn Rng) -> Result<HashMap<Arc<str>, Arc<SigningKey>>, StartError> {
    let mut signers = HashMap::new();
    for Placed { id, what } in &valid.processors {
        if let ProcessorSettings::Vault(settings) = what
            && settings.store.is_some()
        {
            let key = match settings.sealed_key() {
                Some((path, sealed)) => opened(path, sealed).await?,
                None => Arc::new(signing(settings, &valid.spool.directory, rng)?),
            };
            tracing::info!(vault_key = %key.public(), "digests of the vault are signed");
            signers.insert(id_text(id), key);
        }
    }
    Ok(signers)
}

/// The spool's keys; a missing file is generated if that is allowed.
///
/// # Errors
/// The key file can't be used, or must not be generated here.
pub fn spool_keys(valid: &Valid, rng: &dyn Rng) -> Result<Vec<SpoolKey>, StartError> {
    if !valid.spool_keys.is_empty() {
        return Ok(valid.spool_keys.clone());
    }
    let key = beside(&SPOOL, &valid.spool.directory, || SpoolKey::generate(rng).to_secret())?;
    Ok(vec![spool_key(valid, &key)?])
}

/// The spool's keys for a command that only reads. A missing file is not generated, since a new key can open nothing.
///
/// # Errors
/// The key file is missing or can't be used.
pub fn present_spool_keys(valid: &Valid) -> Result<Vec<SpoolKey>, StartError> {
    if !valid.spool_keys.is_empty() {
        return Ok(valid.spool_keys.clone());
    }
    let path = place(&SPOOL, &valid.spool.directory);
    let missing = || {
        let path = path.display();
        StartError::config(format!("the spool's key file {path} is missing: put it back, or set spool.keys"))
    };
    Ok(vec![spool_key(valid, &keyfile::read(&path)?.ok_or_else(missing)?)?])
}

fn spool_key(valid: &Valid, key: &Secret) -> Result<SpoolKey, StartError> {
    let path = place(&SPOOL, &valid.spool.directory);
    SpoolKey::from_secret(key).map_err(|why| StartError::config(format!("{}: {why}", path.display())))
}

/// The key for pseudonyms; a missing file is generated if that is allowed.
///
/// # Errors
/// The key file can't be used, or must not be generated here.
pub fn pseudonyms(valid: &Valid, rng: &dyn Rng) -> Result<Pseudonymizer, StartError> {
    let key = match &valid.pseudonym_key {
        Some(key) => key.clone(),
        None => beside(&PSEUDONYMS, &valid.spool.directory, || random_key(rng))?,
    };
    Ok(Pseudonymizer::new(&key))
}

/// The key for pseudonyms if the gateway has one. Generates nothing.
pub fn pseudonym_key(valid: &Valid) -> Option<Secret> {
    // An unreadable file is treated as a missing one; the caller prints a note about pseudonyms in both cases.
    let found = || keyfile::read(&place(&PSEUDONYMS, &valid.spool.directory)).ok().flatten();
    valid.pseudonym_key.clone().or_else(found)
}

fn place(kind: &Kind, spool: &Path) -> PathBuf {
    folder_of(spool).join(kind.file)
}

/// Reads the key file beside the spool, or generates it if that is allowed.
fn beside(kind: &Kind, spool: &Path, make: impl FnOnce() -> Secret) -> Result<Secret, StartError> {
    let path = place(kind, spool);
    let here = elsewhere(spool).map_err(|error| StartError::new(format!("{}: {error}", spool.display())));
    if let Some(key) = keyfile::read(&path).map_err(|error| StartError::config(error.to_string()))? {
        if here? {
            tracing::warn!(path = %path.display(), "the key file is not on the spool's volume: one may be lost without the other; set {}", kind.setting);
        }
        return Ok(key);
    }
    may_make(kind, spool)?;
    let file = keyfile::ensure(&path, make)?;
    if file.created {
        tracing::warn!(path = %path.display(), "{}", kind.made);
    }
    Ok(file.key)
}

/// Problems with the key files beside the spool: the setting that replaces the file, and a message. Generates nothing.
pub fn trouble(valid: &Valid) -> Vec<(&'static str, String)> {
    let spool = &valid.spool.directory;
    let mut found = Vec::new();
    let given = [(&SPOOL, !valid.spool_keys.is_empty()), (&PSEUDONYMS, valid.pseudonym_key.is_some())];
    for (kind, _) in given.into_iter().filter(|(_, given)| !given) {
        let path = place(kind, spool);
        let judged = match keyfile::read(&path) {
            Ok(None) => may_make(kind, spool).map_err(|error| error.text),
            Ok(Some(key)) if kind.setting == SPOOL.setting => {
                spool_key(valid, &key).map(drop).map_err(|error| error.text)
            }
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        found.extend(judged.err().map(|why| (kind.setting, why)));
    }
    found
}

/// Checks whether a key may be generated beside the spool.
fn may_make(kind: &Kind, spool: &Path) -> Result<(), StartError> {
    let path = place(kind, spool);
    let here = elsewhere(spool).map_err(|error| StartError::new(format!("{}: {error}", spool.display())));
    if used(spool).map_err(|error| StartError::new(format!("{}: {error}", spool.display())))? {
        return Err(StartError::config(format!(
            "the spool {} was used before, and the key file {} is missing: put it back, or set {}; a new key can't \
             stand in for it (to begin anew and give up what waits, remove the spool's folder)",
            spool.display(),
            path.display(),
            kind.setting
        )));
    }
    if here? {
        return Err(StartError::config(format!(
            "no key was given, and {} is not on the spool's volume: a key made there could be lost without the spool; set {}",
            folder_of(spool).display(),
            kind.setting
        )));
    }
    Ok(())
}

/// Whether a gateway has written to this spool before.
fn used(spool: &Path) -> std::io::Result<bool> {
    let entries = match fs::read_dir(spool) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("seg-") || name == "progress" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the folder beside the spool is on another volume than the spool.
fn elsewhere(spool: &Path) -> std::io::Result<bool> {
    let device = |path: &Path| match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.dev())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    // A spool folder that does not exist yet will be created on its parent's volume.
    let Some(inside) = device(spool)? else { return Ok(false) };
    Ok(device(folder_of(spool))?.is_some_and(|outside| outside != inside))
}

fn bad(path: &Path, why: &str) -> StartError {
    StartError::config(format!("the signing key {}: {why}", path.display()))
}

/// Decrypts the signing key of a vault with its KMS, once for each reading of the configuration. A reload does this
/// while the previous gateway still serves.
///
/// # Errors
/// The ciphertext can't be read or decrypted. The fault is the configuration's if a retry can't help.
pub async fn opened(path: &Path, sealed: &SealedKey) -> Result<Arc<SigningKey>, StartError> {
    if let Some(key) = sealed.opened.last() {
        return Ok(key);
    }
    let ciphertext = Ciphertext::read(path).map_err(|why| bad(path, &why.to_string()))?;
    let text = kms::decrypt(&sealed.kms, &ciphertext).await.map_err(|error| {
        let fault = if error.is_refused() { Fault::Configuration } else { Fault::Machine };
        bad(path, &error.to_string()).of(fault)
    })?;
    let key = SigningKey::from_secret(&text).map_err(|why| bad(path, &format!("what KMS opened {why}")))?;
    let key = Arc::new(key);
    sealed.opened.keep(Arc::clone(&key));
    Ok(key)
}

/// The signing key of a vault in plain text: the configured file, or the one beside the spool, which is generated if
/// missing. Generating it hides no loss: the chain goes on, and verifying it shows that the public key is unknown.
///
/// # Errors
/// The file can't be used, or every user of the machine may read it.
fn signing(settings: &vault::Settings, spool: &Path, rng: &dyn Rng) -> Result<SigningKey, StartError> {
    let (path, text) = match &settings.signing_key {
        Some(path) => {
            let text = keyfile::read(path).map_err(|error| StartError::config(error.to_string()))?;
            (path.clone(), text.ok_or_else(|| bad(path, "no such file (`tollgate vault keygen --signing` makes one)"))?)
        }
        None => {
            let path = folder_of(spool).join("signing.key");
            let name = format!("tollgate.{}", settings.writer);
            let make = || SigningKey::generate(&name, rng).map(|key| with_public(&key)).unwrap_or_default();
            let file = keyfile::ensure(&path, make)?;
            if file.created {
                tracing::warn!(path = %path.display(), "no signing key was given: made one; auditors need its public key, the `vault_key` of the next line; set vault.signing_key");
            }
            (path, file.key)
        }
    };
    if keyfile::open_to_all(&path)? {
        return Err(bad(&path, "everybody may read it: set its mode to 0600"));
    }
    SigningKey::from_secret(&text).map_err(|why| bad(&path, why))
}

/// The problem with a vault's signing key, if there is one. Generates nothing and does not call the KMS.
pub fn signing_trouble(settings: &vault::Settings, spool: &Path, rng: &dyn Rng) -> Option<String> {
    if let Some((path, _)) = settings.sealed_key() {
        return Ciphertext::read(path).err().map(|why| bad(path, &why.to_string()).text);
    }
    let there = settings.signing_key.is_some() || folder_of(spool).join("signing.key").exists();
    there.then(|| signing(settings, spool, rng).err()).flatten().map(|error| error.text)
}

/// The text of a signing key file: the public key as a comment, then the key.
pub fn with_public(key: &Secret) -> Secret {
    let public = SigningKey::from_secret(key).map(|key| key.public().to_string()).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(public.len() + key.expose().len() + 32));
    text.push_str("# public key: ");
    text.push_str(&public);
    text.push('\n');
    text.push_str(key.expose());
    Secret::new(std::mem::take(&mut *text))
}
