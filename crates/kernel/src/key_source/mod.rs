//! [`KeySource`]: where a key of the configuration comes from: its text, a file that a KMS decrypts, or the output of a
//! command. [`LazyKey`] is such a key of valid settings: reading a configuration calls nobody, so the app opens the key
//! when a gateway starts or `check` tries it, once for each reading of the configuration. Neighbour: `app/key_opening`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum KeySource {
    /// The key itself, mostly as `${env:NAME}` or `${file:PATH}`.
    Value(Secret),
    /// A service that has the key, or can decrypt it.
    Service(KeyService),
    /// The key is on another machine (`validate --file-only`): no check may judge it.
    #[schemars(skip)]
    Unknown,
}

/// A service that has a key, or can decrypt it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyService {
    /// AWS KMS decrypts a file at each start and reload.
    Kms(KmsKeyFile),
    /// A program and its arguments, run without a shell at each start and reload: the key is what it prints.
    Command(Vec<String>),
}

/// A file with ciphertext of AWS KMS (`aws kms encrypt`: base64 or bytes), and how to reach the KMS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KmsKeyFile {
    /// The file with the ciphertext.
    pub file: PathBuf,
    /// AWS region of the KMS key.
    pub region: String,
    /// Address of a KMS other than AWS's endpoint for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The only KMS key (id, ARN, `alias/…`) allowed to decrypt the file. Default: the key that the ciphertext names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The pairs that were given to `aws kms encrypt --encryption-context`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub encryption_context: BTreeMap<String, String>,
    /// Certificates (PEM) to trust instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl From<Secret> for KeySource {
    fn from(key: Secret) -> Self {
        Self::Value(key)
    }
}

/// [`KeyService`] as a map, in which a second key is noticed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyServices {
    kms: Option<KmsKeyFile>,
    command: Option<Vec<String>>,
}

/// The name under which a [`KeySource`] is read, so that `config` gives nothing for a value on another machine.
const MAY_BE_UNKNOWN: &str = "MayBeUnknown";

/// Reads a [`KeySource`].
struct TextOrMap;

impl<'de> Visitor<'de> for TextOrMap {
    type Value = KeySource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key, `{ kms: … }` or `{ command: […] }`")
    }

    fn visit_none<E>(self) -> Result<KeySource, E> {
        Ok(KeySource::Unknown)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<KeySource, D::Error> {
        // As text first: the digits of a key may look like a number.
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<KeySource, E> {
        Secret::deserialize(text.into_deserializer()).map(KeySource::Value)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KeySource, A::Error> {
        let services = KeyServices::deserialize(MapAccessDeserializer::new(map))?;
        let service = match (services.kms, services.command) {
            (Some(kms), None) => KeyService::Kms(kms),
            (None, Some(command)) => KeyService::Command(command),
            _ => return Err(serde::de::Error::custom("a key comes from one place: write `kms` or `command`")),
        };
        Ok(KeySource::Service(service))
    }
}

// By hand, because an error of an untagged enum would name neither the key nor the line.
impl<'de> Deserialize<'de> for KeySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(MAY_BE_UNKNOWN, TextOrMap)
    }
}

/// A key of valid settings. Its copies share what was opened. It has no `Debug`, because `T` may be a secret.
pub struct LazyKey<T> {
    source: Arc<KeySource>,
    opened: Arc<OnceLock<T>>,
}

impl<T> LazyKey<T> {
    /// A key that has not been opened.
    pub fn new(source: KeySource) -> Self {
        Self { source: Arc::new(source), opened: Arc::default() }
    }

    /// A key that needs no opening, because the configuration has its text.
    pub fn with_key(source: KeySource, key: T) -> Self {
        Self { source: Arc::new(source), opened: Arc::new(OnceLock::from(key)) }
    }

    /// Where the key comes from.
    pub fn source(&self) -> &KeySource {
        &self.source
    }

    /// The key, if it was opened.
    pub fn get(&self) -> Option<&T> {
        self.opened.get()
    }

    /// Keeps the opened key; the first one counts.
    pub fn get_or_keep(&self, key: T) -> &T {
        self.opened.get_or_init(|| key)
    }
}

impl<T> Clone for LazyKey<T> {
    fn clone(&self) -> Self {
        Self { source: Arc::clone(&self.source), opened: Arc::clone(&self.opened) }
    }
}
