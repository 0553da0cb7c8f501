//! **What**: a gateway's own keys: those of the configuration, else key files beside the spool. **Why**: a key that is
//! made silently in place of one that is lost makes what was accepted unreadable, and nobody is told.
//! **Invariants**: a key file is made only for a spool that was never used and that lies on the same volume: what takes
//! the one away takes the other. **Not here**: reading and making the file (`keyfile`).

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

/// A key that may lie in a file.
struct Kind {
    file: &'static str,
    /// What a user sets instead.
    setting: &'static str,
    /// What it means that there was none.
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

/// All keys of a gateway, as read once.
#[derive(Clone)]
pub struct Keys {
    /// The spool's.
    pub spool: Vec<SpoolKey>,
    /// That of pseudonyms.
    pub pseudonyms: Pseudonymizer,
    /// What signs the digests of each vault.
    pub signers: HashMap<Arc<str>, Arc<SigningKey>>,
}

impl Keys {
    /// Reads them, or makes those that may be made; one that lies as ciphertext is opened by its KMS.
    ///
    /// # Errors
    /// One line: a key file can't be used, or must not be made here; a KMS opens nothing.
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

/// The spool's keys.
///
/// # Errors
/// One line: the key file can't be used, or must not be made here.
pub fn spool_keys(valid: &Valid, rng: &dyn Rng) -> Result<Vec<SpoolKey>, StartError> {
    if !valid.spool_keys.is_empty() {
        return Ok(valid.spool_keys.clone());
    }
    let key = beside(&SPOOL, &valid.spool.directory, || SpoolKey::generate(rng).to_secret())?;
    Ok(vec![spool_key(valid, &key)?])
}

/// The spool's keys for a command that only looks: a missing file is not made, a new key opens nothing.
///
/// # Errors
/// One line.
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

/// The key of pseudonyms.
///
/// # Errors
/// One line: the key file can't be used, or must not be made here.
pub fn pseudonyms(valid: &Valid, rng: &dyn Rng) -> Result<Pseudonymizer, StartError> {
    let key = match &valid.pseudonym_key {
        Some(key) => key.clone(),
        None => beside(&PSEUDONYMS, &valid.spool.directory, || random_key(rng))?,
    };
    Ok(Pseudonymizer::new(&key))
}

/// The key of pseudonyms, where a gateway has one; makes nothing.
pub fn pseudonym_key(valid: &Valid) -> Option<Secret> {
    // who may not read it is told what it means, as who has none
    let found = || keyfile::read(&place(&PSEUDONYMS, &valid.spool.directory)).ok().flatten();
    valid.pseudonym_key.clone().or_else(found)
}

fn place(kind: &Kind, spool: &Path) -> PathBuf {
    folder_of(spool).join(kind.file)
}

/// The key in the file beside the spool, which is made if that is right.
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

/// What is wrong with the key files beside the spool: the setting that stands for one, and a line. Makes nothing.
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

/// Whether a key may be made beside the spool.
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

/// Whether a gateway has written there.
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

/// Whether what lies beside the spool is on another volume than what lies in it.
fn elsewhere(spool: &Path) -> std::io::Result<bool> {
    let device = |path: &Path| match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.dev())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    // A folder that is not there yet will be made where its parent is.
    let Some(inside) = device(spool)? else { return Ok(false) };
    Ok(device(folder_of(spool))?.is_some_and(|outside| outside != inside))
}

fn bad(path: &Path, why: &str) -> StartError {
    StartError::config(format!("the signing key {}: {why}", path.display()))
}

/// The key that signs a vault's digests, as its KMS opens it; asked once for each time that the configuration is read:
/// who reloads asks before, while somebody serves.
///
/// # Errors
/// One line. The configuration is at fault where it is no use to ask again.
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

/// The key that signs a vault's digests, in plain text: the file that is configured, else one beside the spool, which
/// is made if it is missing. A new key hides nothing: the chain goes on, and whoever verifies it misses the public key.
///
/// # Errors
/// One line: the file can't be used, or everybody may read it.
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

/// What is wrong with the key that signs a vault's digests, where there is one. Makes nothing, asks nobody.
pub fn signing_trouble(settings: &vault::Settings, spool: &Path, rng: &dyn Rng) -> Option<String> {
    if let Some((path, _)) = settings.sealed_key() {
        return Ciphertext::read(path).err().map(|why| bad(path, &why.to_string()).text);
    }
    let there = settings.signing_key.is_some() || folder_of(spool).join("signing.key").exists();
    there.then(|| signing(settings, spool, rng).err()).flatten().map(|error| error.text)
}

/// A signing key as a file holds it.
pub fn with_public(key: &Secret) -> Secret {
    let public = SigningKey::from_secret(key).map(|key| key.public().to_string()).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(public.len() + key.expose().len() + 32));
    text.push_str("# public key: ");
    text.push_str(&public);
    text.push('\n');
    text.push_str(key.expose());
    Secret::new(std::mem::take(&mut *text))
}
