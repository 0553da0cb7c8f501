//! The gateway's own keys: from the configuration, or from key files beside the spool. Silently generating a key in
//! place of a lost one would make accepted data unreadable without notice. So a key file is generated only for a spool
//! that was never used, and only on the spool's volume, so that neither is lost without the other. `keyfile` reads and
//! writes the files, `key_opening` asks a KMS or runs a command.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::app::configured_component::{admin_ports, vaults};
use crate::app::gateway_deps::GatewayDeps;
use crate::app::key_opening::configured_keys;
use crate::app::seen_keys::{PresentKeys, note_keys};
use crate::app::start_error::StartError;
use crate::app::valid_settings::ValidSettings;
use crate::app::volume;
use crate::components::id_text;
use ::vault::chain::note::SigningKey;
use command::keyfile::{self, random_key};
use kernel::clock::UnixNanos;
use kernel::files::parent_folder;
use kernel::pseudonym::Pseudonymizer;
use kernel::rng::Rng;
use kernel::secret::Secret;
use pipeline::spool::SpoolKey;
use processors::vault;

/// A key that may be in a file beside the spool.
struct KeyFileKind {
    file: &'static str,
    setting: &'static str,
    /// The warning when the key is generated.
    created_warning: &'static str,
}

const SPOOL_KEY: KeyFileKind = KeyFileKind {
    file: "spool.key",
    setting: "spool.keys",
    created_warning: "no spool key is configured, so one was generated: keep it with the spool, or set spool.keys",
};
const PSEUDONYM_KEY: KeyFileKind = KeyFileKind {
    file: "pseudonym.key",
    setting: "pseudonyms.key",
    created_warning: "no pseudonym key is configured, so one was generated: replicas need the same key, see pseudonyms.key",
};

/// File beside the spool with the signing key of a vault that names none.
const SIGNING_KEY_FILE: &str = "signing.key";
/// File in the data directory with the token for changes through an admin port without credentials.
pub(crate) const ADMIN_TOKEN_FILE: &str = "admin.token";

/// All keys of a gateway, read once.
#[derive(Clone)]
pub struct GatewayKeys {
    pub spool: Vec<SpoolKey>,
    pub pseudonyms: Pseudonymizer,
    /// The keys that sign digests, by vault id.
    pub signers: HashMap<Arc<str>, Arc<SigningKey>>,
    /// The token for changes through an admin port without credentials; `None` if there is no such port.
    pub admin_token: Option<Secret>,
}

impl GatewayKeys {
    /// Reads the keys, opens those of a KMS or a command, and generates those that may be generated.
    ///
    /// # Errors
    /// The spool's folder can't be written; a key file can't be used, or must not be generated here; or a service gives
    /// no key.
    pub async fn read(valid: &ValidSettings, deps: &GatewayDeps) -> Result<Self, StartError> {
        let rng = &*deps.rng;
        // The keys lie beside the spool: without this check, the error would name a key file instead of the setting.
        if let Some(why) = volume::find_write_problem(&valid.spool.directory) {
            return Err(StartError::config(format!("spool.directory: {why}")));
        }
        for key in configured_keys(valid).iter().filter(|key| key.needs_service()) {
            key.open().await?;
        }
        let (spool, pseudonyms) = (read_spool_keys(valid, rng)?, read_pseudonymizer(valid, rng)?);
        let admin_token = read_admin_token(valid, rng)?;
        Ok(Self { spool, pseudonyms, signers: read_signing_keys(valid, rng)?, admin_token })
    }

    /// Notes that a gateway with this folder of the spool runs with these keys. A start that fails notes nothing.
    pub fn note_use(&self, spool: &Path, now: UnixNanos) {
        let signers = self.signers.values().map(|key| key.public().to_string()).collect();
        note_keys(spool, PresentKeys { spool: &self.spool, pseudonyms: &self.pseudonyms, signers }, now);
    }
}

/// The file with the admin token: in the data directory, beside the spool.
pub(crate) fn admin_token_path(valid: &ValidSettings) -> PathBuf {
    parent_folder(&valid.spool.directory).join(ADMIN_TOKEN_FILE)
}

/// The token for an admin port without credentials; a missing file is generated.
fn read_admin_token(valid: &ValidSettings, rng: &dyn Rng) -> Result<Option<Secret>, StartError> {
    if !needs_admin_token(valid) {
        return Ok(None);
    }
    let path = admin_token_path(valid);
    let file = keyfile::read_or_create(&path, || random_key(rng))?;
    if !file.created {
        check_admin_token(&path, &file.metadata).map_err(StartError::config)?;
    }
    Ok(Some(file.key))
}

/// Whether there is an admin port without credentials.
fn needs_admin_token(valid: &ValidSettings) -> bool {
    admin_ports(&valid.extensions).any(|(_, settings)| settings.is_open())
}

/// Refuses a token that another user knows: one who may read the file, or who put it there.
fn check_admin_token(path: &Path, metadata: &fs::Metadata) -> Result<(), String> {
    let shown = path.display();
    if metadata.mode() & 0o007 != 0 {
        return Err(format!("the admin token {shown}: every user may read it: set its mode to 0600"));
    }
    // who owns the folder may be this process under another number, on a volume that maps owners, and can replace the
    // file anyway
    let owns_folder = fs::metadata(parent_folder(path)).is_ok_and(|folder| folder.uid() == metadata.uid());
    if keyfile::is_foreign(metadata) && !owns_folder {
        return Err(format!(
            "the admin token {shown}: it belongs to another user: delete it, and a new one is created"
        ));
    }
    Ok(())
}

fn read_signing_keys(valid: &ValidSettings, rng: &dyn Rng) -> Result<HashMap<Arc<str>, Arc<SigningKey>>, StartError> {
    let mut signers = HashMap::new();
    for (id, settings, _) in vaults(&valid.processors) {
        let key = match &settings.signing_key_service {
            Some(key) => key.get().cloned().ok_or_else(|| StartError::new("the signing key was not opened"))?,
            None => Arc::new(read_signing_key(settings, &valid.spool.directory, rng)?),
        };
        tracing::info!(vault_key = %key.public(), "digests of the vault are signed");
        signers.insert(id_text(id), key);
    }
    Ok(signers)
}

/// The spool's keys, opened before; a missing file is generated if that is allowed.
///
/// # Errors
/// The key file can't be used, or must not be generated here.
pub fn read_spool_keys(valid: &ValidSettings, rng: &dyn Rng) -> Result<Vec<SpoolKey>, StartError> {
    if !valid.spool_keys.is_empty() {
        return opened_spool_keys(valid);
    }
    let key = read_or_create_key(&SPOOL_KEY, &valid.spool.directory, || SpoolKey::generate(rng).to_secret())?;
    Ok(vec![parse_spool_key(valid, &key)?])
}

/// The spool's keys for a command that only reads. A missing file is not generated, since a new key can open nothing.
///
/// # Errors
/// The key file is missing or can't be used.
pub fn read_existing_spool_keys(valid: &ValidSettings) -> Result<Vec<SpoolKey>, StartError> {
    if !valid.spool_keys.is_empty() {
        return opened_spool_keys(valid);
    }
    let path = key_file_path(&SPOOL_KEY, &valid.spool.directory);
    let missing = || {
        let path = path.display();
        StartError::config(format!("the spool's key file {path} is missing: restore it, or set spool.keys"))
    };
    Ok(vec![parse_spool_key(valid, &keyfile::read(&path)?.ok_or_else(missing)?)?])
}

/// All configured keys: with one left out, its data could not be read.
fn opened_spool_keys(valid: &ValidSettings) -> Result<Vec<SpoolKey>, StartError> {
    let keys = valid.spool_keys.iter().map(|key| key.get().cloned()).collect::<Option<Vec<_>>>();
    keys.ok_or_else(|| StartError::new("spool.keys: not all keys were opened"))
}

fn parse_spool_key(valid: &ValidSettings, key: &Secret) -> Result<SpoolKey, StartError> {
    let path = key_file_path(&SPOOL_KEY, &valid.spool.directory);
    SpoolKey::from_secret(key).map_err(|why| StartError::config(format!("{}: {why}", path.display())))
}

/// The key for pseudonyms; a missing file is generated if that is allowed.
///
/// # Errors
/// The key file can't be used, or must not be generated here.
pub fn read_pseudonymizer(valid: &ValidSettings, rng: &dyn Rng) -> Result<Pseudonymizer, StartError> {
    let key = match &valid.pseudonym_key {
        Some(key) => key.get().cloned().ok_or_else(|| StartError::new("pseudonyms.key was not opened"))?,
        None => read_or_create_key(&PSEUDONYM_KEY, &valid.spool.directory, || random_key(rng))?,
    };
    Ok(Pseudonymizer::new(&key).with_epoch(valid.pseudonym_epoch))
}

/// The key for pseudonyms if the gateway has one that needs no service. Generates nothing.
pub fn find_pseudonym_key(valid: &ValidSettings) -> Option<Secret> {
    match &valid.pseudonym_key {
        Some(key) => key.get().cloned(),
        // An unreadable file is treated as a missing one; the caller prints a note about pseudonyms in both cases.
        None => keyfile::read(&key_file_path(&PSEUDONYM_KEY, &valid.spool.directory)).ok().flatten(),
    }
}

fn key_file_path(kind: &KeyFileKind, spool: &Path) -> PathBuf {
    parent_folder(spool).join(kind.file)
}

/// Reads the key file beside the spool, or generates it if that is allowed.
fn read_or_create_key(kind: &KeyFileKind, spool: &Path, make: impl FnOnce() -> Secret) -> Result<Secret, StartError> {
    let path = key_file_path(kind, spool);
    let is_elsewhere = is_on_other_volume(spool);
    if let Some(key) = keyfile::read(&path).map_err(|error| StartError::config(error.to_string()))? {
        if is_elsewhere? {
            tracing::warn!(path = %path.display(), "the key file is not on the spool's volume, so one may be lost without the other: set {}", kind.setting);
        }
        return Ok(key);
    }
    check_may_create(kind, spool)?;
    let file = keyfile::read_or_create(&path, make)?;
    if file.created {
        tracing::warn!(path = %path.display(), "{}", kind.created_warning);
    }
    Ok(file.key)
}

/// Problems with the key files beside the spool: the setting that replaces the file, and a message. Generates nothing.
pub fn find_key_problems(valid: &ValidSettings) -> Vec<(&'static str, String)> {
    let spool = &valid.spool.directory;
    let mut found = Vec::new();
    let kinds = [(&SPOOL_KEY, !valid.spool_keys.is_empty()), (&PSEUDONYM_KEY, valid.pseudonym_key.is_some())];
    for (kind, _) in kinds.into_iter().filter(|(_, configured)| !configured) {
        let path = key_file_path(kind, spool);
        let result = match keyfile::read(&path) {
            Ok(None) => check_may_create(kind, spool).map_err(|error| error.text),
            Ok(Some(key)) if kind.setting == SPOOL_KEY.setting => {
                parse_spool_key(valid, &key).map(drop).map_err(|error| error.text)
            }
            Ok(Some(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        found.extend(result.err().map(|why| (kind.setting, why)));
    }
    if needs_admin_token(valid) {
        let path = admin_token_path(valid);
        let read = keyfile::open(&path).map_err(|error| error.to_string());
        let checked = read.and_then(|file| file.map_or(Ok(()), |file| check_admin_token(&path, &file.metadata)));
        found.extend(checked.err().map(|why| ("extensions.admin", why)));
    }
    found
}

pub struct KeyOnDisk {
    /// The setting that names the file, or replaces it.
    pub setting: String,
    pub path: PathBuf,
    pub id: String,
}

/// The keys in key files, as far as they exist and are usable. Generates nothing.
pub fn key_files(valid: &ValidSettings) -> Vec<KeyOnDisk> {
    let spool = &valid.spool.directory;
    let read = |setting: String, path: PathBuf, id: &dyn Fn(&Secret) -> Option<String>| {
        let id = keyfile::read(&path).ok().flatten().and_then(|key| id(&key))?;
        Some(KeyOnDisk { setting, path, id })
    };
    let beside = |kind: &KeyFileKind, id: &dyn Fn(&Secret) -> Option<String>| {
        read(kind.setting.to_owned(), key_file_path(kind, spool), id)
    };
    let mut found = Vec::new();
    if valid.spool_keys.is_empty() {
        found.extend(beside(&SPOOL_KEY, &|key| SpoolKey::from_secret(key).ok().map(|key| key.id())));
    }
    if valid.pseudonym_key.is_none() {
        found.extend(beside(&PSEUDONYM_KEY, &|key| Some(Pseudonymizer::new(key).key_id())));
    }
    for (vault, settings, _) in vaults(&valid.processors).filter(|(_, vault, _)| vault.signing_key_service.is_none()) {
        let path = settings.signing_key.clone().unwrap_or_else(|| parent_folder(spool).join(SIGNING_KEY_FILE));
        let id = |key: &Secret| SigningKey::from_secret(key).ok().map(|key| key.public().to_string());
        found.extend(read(format!("processors.{vault}.signing_key"), path, &id));
    }
    found
}

/// Checks whether a key may be generated beside the spool.
fn check_may_create(kind: &KeyFileKind, spool: &Path) -> Result<(), StartError> {
    let path = key_file_path(kind, spool);
    let is_elsewhere = is_on_other_volume(spool);
    if is_spool_used(spool).map_err(|error| spool_error(spool, &error))? {
        return Err(StartError::config(format!(
            "the spool {} was used before, but the key file {} is missing: restore it, or set {}; a new key can't \
             replace it (to start over and lose the waiting data, remove the spool's folder)",
            spool.display(),
            path.display(),
            kind.setting
        )));
    }
    if is_elsewhere? {
        return Err(StartError::config(format!(
            "no key is configured, and {} is not on the spool's volume, so a key generated there could be lost without the spool: set {}",
            parent_folder(spool).display(),
            kind.setting
        )));
    }
    Ok(())
}

fn spool_error(spool: &Path, error: &std::io::Error) -> StartError {
    StartError::new(format!("{}: {error}", spool.display()))
}

/// Whether a gateway has written to this spool before.
fn is_spool_used(spool: &Path) -> std::io::Result<bool> {
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
fn is_on_other_volume(spool: &Path) -> Result<bool, StartError> {
    let device = |path: &Path| match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.dev())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(spool_error(spool, &error)),
    };
    // A spool folder that does not exist yet will be created on its parent's volume.
    let Some(spool_device) = device(spool)? else { return Ok(false) };
    Ok(device(parent_folder(spool))?.is_some_and(|folder_device| folder_device != spool_device))
}

fn signing_key_error(path: &Path, why: &str) -> StartError {
    StartError::config(format!("the signing key {}: {why}", path.display()))
}

/// The signing key of a vault in plain text: the configured file, or the one beside the spool, which is generated if
/// missing. Generating it hides no loss: the chain goes on, and verifying it shows that the public key is unknown.
///
/// # Errors
/// The file can't be used, or every user of the machine may read it.
fn read_signing_key(settings: &vault::VaultSettings, spool: &Path, rng: &dyn Rng) -> Result<SigningKey, StartError> {
    let (path, text) = match &settings.signing_key {
        Some(path) => {
            let text = keyfile::read(path).map_err(|error| StartError::config(error.to_string()))?;
            let missing = "no such file (generate one with `tollgate vault keygen --signing`)";
            (path.clone(), text.ok_or_else(|| signing_key_error(path, missing))?)
        }
        None => {
            let path = parent_folder(spool).join(SIGNING_KEY_FILE);
            let name = format!("tollgate.{}", settings.writer);
            let make = || SigningKey::generate(&name, rng).map(|key| add_public_key(&key)).unwrap_or_default();
            let file = keyfile::read_or_create(&path, make)?;
            if file.created {
                tracing::warn!(path = %path.display(), "no signing key is configured, so one was generated: give its public key (`vault_key` in the next line) to the auditors, or set vault.signing_key");
            }
            (path, file.key)
        }
    };
    if keyfile::is_open_to_all(&path)? {
        return Err(signing_key_error(&path, "every user may read it: set its mode to 0600"));
    }
    SigningKey::from_secret(&text).map_err(|why| signing_key_error(&path, why))
}

/// The problem with the file of a vault's signing key, if there is one. Generates nothing.
pub fn find_signing_key_problem(settings: &vault::VaultSettings, spool: &Path, rng: &dyn Rng) -> Option<String> {
    if settings.signing_key_service.is_some() {
        return None;
    }
    let exists = settings.signing_key.is_some() || parent_folder(spool).join(SIGNING_KEY_FILE).exists();
    exists.then(|| read_signing_key(settings, spool, rng).err()).flatten().map(|error| error.text)
}

/// The text of a signing key file: the public key as a comment, then the key.
pub fn add_public_key(key: &Secret) -> Secret {
    let public = SigningKey::from_secret(key).map(|key| key.public().to_string()).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(public.len() + key.expose().len() + 32));
    text.push_str("# public key: ");
    text.push_str(&public);
    text.push('\n');
    text.push_str(key.expose());
    Secret::new(std::mem::take(&mut *text))
}
