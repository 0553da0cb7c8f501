//! Opens the keys that a configuration takes from a KMS or a command ([`LazyKey`]). All of them are listed here, so
//! that a start, the rehearsal of a reload, `check` and `validate` know the same ones. Nothing is generated.
//! Neighbours: `gateway_keys` reads key files and decides which may be generated, `key_command` runs commands.

use std::path::Path;
use std::sync::Arc;

use crate::app::configured_component::{kafka_receivers, vaults};
use crate::app::key_command;
use crate::app::start_error::{StartError, StartFault};
use crate::app::valid_settings::ValidSettings;
use crate::components::ExporterSettings;
use ::vault::chain::note::SigningKey;
use ::vault::kms::{self, Ciphertext, DecryptedKey};
use config::address::parse_url;
use config::file::ConfigFile;
use config::tree::TreeNode;
use exporters::kafka::RecordTarget;
use kernel::key_source::{KeyService, KeySource, KmsKeyFile, LazyKey};
use kernel::pseudonym::Pseudonymizer;
use kernel::secret::Secret;
use pipeline::spool::SpoolKey;

/// Shortest key for pseudonyms, in bytes.
const MIN_PSEUDONYM_KEY_BYTES: usize = 16;
/// Why a key for pseudonyms is refused: with a key that can be guessed, anyone could compute the pseudonyms of users.
const SHORT_PSEUDONYM_KEY: &str = "must have at least 16 bytes: create a key with `openssl rand -base64 32`";

/// What is public of a key that was opened.
pub struct OpenedKey {
    pub id: String,
    /// ARN of the KMS key that decrypted it just now, if one did.
    pub kms_key_id: Option<String>,
}

/// A key that the configuration names.
pub struct ConfiguredKey {
    /// Section of the configuration: `spool`, `pseudonyms`, `processors.vault`.
    pub section: String,
    /// The setting in that section: `keys[0]`.
    pub field: String,
    key: ConfiguredKeyKind,
}

enum ConfiguredKeyKind {
    Sealing(LazyKey<SpoolKey>),
    Pseudonyms(LazyKey<Secret>),
    Signing(LazyKey<Arc<SigningKey>>),
}

impl ConfiguredKey {
    /// Where the key comes from.
    pub fn source(&self) -> &KeySource {
        match &self.key {
            ConfiguredKeyKind::Sealing(key) => key.source(),
            ConfiguredKeyKind::Pseudonyms(key) => key.source(),
            ConfiguredKeyKind::Signing(key) => key.source(),
        }
    }

    /// Whether opening the key calls a KMS or runs a command.
    pub fn needs_service(&self) -> bool {
        match &self.key {
            ConfiguredKeyKind::Sealing(key) => key.get().is_none(),
            ConfiguredKeyKind::Pseudonyms(key) => key.get().is_none(),
            ConfiguredKeyKind::Signing(key) => key.get().is_none(),
        }
    }

    /// The setting's path: `spool.keys[0]`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.field)
    }

    /// The setting's value as written in the file.
    pub fn find_node<'f>(&self, file: &'f ConfigFile) -> Option<&'f TreeNode> {
        let section = match self.section.split_once('.') {
            Some((section, id)) => &file.section(section).iter().find(|known| known.id.to_string() == id)?.body,
            None if self.section == "spool" => &file.spool,
            None => &file.pseudonyms,
        };
        match self.field.strip_prefix("keys[").and_then(|rest| rest.strip_suffix(']')) {
            Some(index) => section.get("keys")?.1.item(index.parse().ok()?),
            None => section.get(&self.field).map(|(_, node)| node),
        }
    }

    /// Opens the key, unless that was done.
    ///
    /// # Errors
    /// The service gives no key, or gives something else. The fault is the configuration's if a retry can't help.
    pub async fn open(&self) -> Result<OpenedKey, StartError> {
        let opened = match &self.key {
            ConfiguredKeyKind::Sealing(key) => open(key, SpoolKey::from_secret, SpoolKey::id).await,
            ConfiguredKeyKind::Pseudonyms(key) => {
                open(key, check_pseudonym_key, |key| Pseudonymizer::new(key).key_id()).await
            }
            ConfiguredKeyKind::Signing(key) => {
                let parse = |text: &Secret| SigningKey::from_secret(text).map(Arc::new);
                open(key, parse, |key| key.public().to_string()).await
            }
        };
        opened.map_err(|why| why.with_place(self.path()))
    }

    /// The fault of the source that shows without calling anyone.
    pub fn find_source_problem(&self) -> Option<String> {
        match self.source() {
            KeySource::Value(_) | KeySource::Unknown => None,
            KeySource::Service(KeyService::Command(command)) => {
                key_command::check_command(command).err().map(|why| why.to_string())
            }
            KeySource::Service(KeyService::Kms(key)) => {
                let endpoint = key.endpoint.as_deref().unwrap_or_default();
                let is_clear = kms::is_cleartext_endpoint(endpoint);
                let invalid = || parse_url(endpoint).err().filter(|_| key.endpoint.is_some());
                let invalid = || invalid().map(|why| format!("the endpoint {why}"));
                let unreadable = || Ciphertext::read(&key.file).err().map(|why| describe_file(key, &why.to_string()));
                let empty = || find_empty_field(key);
                empty()
                    .or_else(|| is_clear.then(|| kms::CLEARTEXT_REFUSED.to_owned()))
                    .or_else(invalid)
                    .or_else(unreadable)
            }
        }
    }
}

/// An empty text mostly comes from a variable that is set to nothing.
fn find_empty_field(key: &KmsKeyFile) -> Option<String> {
    let fields = [("region", Some(&key.region)), ("key_id", key.key_id.as_ref()), ("endpoint", key.endpoint.as_ref())];
    let empty = fields.into_iter().find(|(_, text)| text.is_some_and(|text| text.trim().is_empty()));
    empty.map(|(name, _)| format!("`kms.{name}` must not be empty"))
}

/// The keys that the configuration names, but for files of signing keys in plain text, which may be generated.
pub fn configured_keys(valid: &ValidSettings) -> Vec<ConfiguredKey> {
    let mut keys = Vec::new();
    let mut add = |section: &str, field: String, key: ConfiguredKeyKind| {
        keys.push(ConfiguredKey { section: section.to_owned(), field, key });
    };
    for (index, key) in valid.spool_keys.iter().enumerate() {
        add("spool", format!("keys[{index}]"), ConfiguredKeyKind::Sealing(key.clone()));
    }
    if let Some(key) = &valid.pseudonym_key {
        add("pseudonyms", "key".to_owned(), ConfiguredKeyKind::Pseudonyms(key.clone()));
    }
    for (id, settings) in kafka_receivers(&valid.receivers) {
        for (index, key) in settings.keys.iter().enumerate() {
            let section = format!("receivers.{id}");
            add(&section, format!("keys[{index}]"), ConfiguredKeyKind::Sealing(key.clone()));
        }
    }
    // Without a store nothing is signed.
    for (id, settings, _) in vaults(&valid.processors) {
        if let Some(key) = &settings.signing_key_service {
            add(&format!("processors.{id}"), "signing_key".to_owned(), ConfiguredKeyKind::Signing(key.clone()));
        }
    }
    for placed in &valid.exporters {
        if let ExporterSettings::Kafka(settings) = &placed.value
            && let RecordTarget::Sealed(_, key) = &settings.target
        {
            let section = format!("exporters.{}", placed.id);
            add(&section, "keys[0]".to_owned(), ConfiguredKeyKind::Sealing(key.clone()));
        }
    }
    keys
}

/// A key for pseudonyms that is long enough.
///
/// # Errors
/// A fixed text.
pub fn check_pseudonym_key(key: &Secret) -> Result<Secret, &'static str> {
    let is_short = key.expose().trim().len() < MIN_PSEUDONYM_KEY_BYTES;
    if is_short { Err(SHORT_PSEUDONYM_KEY) } else { Ok(key.clone()) }
}

async fn open<T>(
    key: &LazyKey<T>,
    parse: impl Fn(&Secret) -> Result<T, &'static str>,
    id: impl Fn(&T) -> String,
) -> Result<OpenedKey, StartError> {
    let mut kms_key_id = None;
    if let Some(opened) = key.get() {
        return Ok(OpenedKey { id: id(opened), kms_key_id });
    }
    let (text, place) = match key.source() {
        KeySource::Value(text) => (text.clone(), String::new()),
        KeySource::Unknown => return Err(StartError::config("the key is on another machine")),
        KeySource::Service(KeyService::Kms(file)) => {
            let decrypted = decrypt(file).await?;
            kms_key_id = decrypted.kms_key_id;
            (decrypted.text, format!("the key decrypted by KMS from {}", file.file.display()))
        }
        KeySource::Service(KeyService::Command(command)) => {
            (run(command).await?, format!("the output of {}", program(command)))
        }
    };
    let parsed = parse(&text).map_err(|why| StartError::config(format!("{place} {why}").trim_start()))?;
    Ok(OpenedKey { id: id(key.get_or_keep(parsed)), kms_key_id })
}

async fn decrypt(key: &KmsKeyFile) -> Result<DecryptedKey, StartError> {
    let ciphertext =
        Ciphertext::read(&key.file).map_err(|why| StartError::config(describe_file(key, &why.to_string())))?;
    kms::decrypt(key, &ciphertext).await.map_err(|error| {
        let fault = if error.is_refused() { StartFault::Configuration } else { StartFault::Machine };
        StartError::new(describe_file(key, &error.to_string())).with_fault(fault)
    })
}

fn describe_file(key: &KmsKeyFile, why: &str) -> String {
    format!("{}: {why}", key.file.display())
}

async fn run(command: &[String]) -> Result<Secret, StartError> {
    key_command::read_key(command).await.map_err(|error| {
        let fault = if error.may_pass { StartFault::Machine } else { StartFault::Configuration };
        StartError::new(format!("the command {} {error}", program(command))).with_fault(fault)
    })
}

/// The program of a command, without its arguments, which may be nobody's business.
pub fn program(command: &[String]) -> std::path::Display<'_> {
    Path::new(command.first().map_or("", String::as_str)).display()
}
