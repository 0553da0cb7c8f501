//! Opens the gateway's own keys. For `check`, each is opened as a start would open it, and its line says its source,
//! its public id, its age, and the age of the KMS key that opens it. Nothing is generated, and no key is shown.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::MachineContext;
use crate::app::gateway_keys::{KeyOnDisk, key_files};
use crate::app::key_opening::{ConfiguredKey, configured_keys, program};
use crate::app::seen_keys::SeenKeys;
use crate::app::valid_settings::ValidSettings;
use command::keyfile;
use config::file::ConfigFile;
use config::tree::TreeNode;
use kernel::calendar::date;
use kernel::clock::UnixNanos;
use kernel::key_source::{KeyService, KeySource, KmsKeyFile};
use vault::kms::fetch_creation;
use vault::store::probe::ProbeCheck;

/// Opens the keys that come from a service; the faults. An opened key is kept for the start.
pub(super) async fn open_service_keys(valid: &ValidSettings) -> Vec<String> {
    let mut faults = Vec::new();
    for key in configured_keys(valid).iter().filter(|key| key.needs_service()) {
        faults.extend(key.open().await.err().map(|error| error.text));
    }
    faults
}

/// Opens every key. Keys that a first start will generate have no line.
pub(super) async fn check_keys(context: MachineContext<'_>) -> Vec<ProbeCheck> {
    let (valid, mut results) = (context.valid, Vec::new());
    let ages = KeyAges { seen: SeenKeys::read(&valid.spool.directory), now: context.now };
    let spool_volume = nearest(&valid.spool.directory).map(|volume| volume.dev());
    for key in configured_keys(valid) {
        let (what, file) = describe(&key, context.file);
        let opened = key.open().await;
        let remedy = || "the gateway does not start without this key".to_owned();
        match opened {
            Err(why) => results.push(ProbeCheck::new(what, Err((why.text, remedy())))),
            Ok(opened) => {
                let mut line = format!("{what}: {}", ages.describe(&opened.id, file.as_deref()));
                if let KeySource::Service(KeyService::Kms(kms)) = key.source() {
                    line += &ages.describe_kms_key(kms, opened.kms_key_id).await;
                }
                let plain = file.filter(|_| matches!(key.source(), KeySource::Value(_)));
                results.push(pass(line, plain.as_deref(), spool_volume, keyfile::warn_if_open_to_all));
            }
        }
    }
    for KeyOnDisk { setting, path, id } in key_files(valid) {
        let what = format!("the key `{setting}` is in the file {}", path.display());
        let line = format!("{what}: {}", ages.describe(&id, Some(&path)));
        // The try-out keys of the embedded default are where they belong.
        let volume = spool_volume.filter(|_| !context.embedded);
        results.push(pass(line, Some(&path), volume, keyfile::warn_if_open_to_others));
    }
    results
}

/// A key that can be opened, with a warning if its plain text is where others may read it, or with the data that it
/// seals.
fn pass(
    line: String,
    plain: Option<&Path>,
    spool_volume: Option<u64>,
    open_warning: fn(&Path) -> Option<String>,
) -> ProbeCheck {
    let Some(path) = plain else { return ProbeCheck::new(line, Ok(())) };
    if let Some(why) = open_warning(path) {
        return ProbeCheck::with_warning(line, (why, "only the gateway's user needs it".to_owned()));
    }
    let is_beside_data = spool_volume.is_some() && std::fs::metadata(path).ok().map(|file| file.dev()) == spool_volume;
    if is_beside_data {
        let remedy = "whoever copies the volume has both: take the key from another volume, a KMS or a command";
        return ProbeCheck::with_warning(line, ("it lies on the spool's volume".to_owned(), remedy.to_owned()));
    }
    ProbeCheck::new(line, Ok(()))
}

/// Where a key comes from, and the file that has it or its ciphertext.
fn describe(key: &ConfiguredKey, file: &ConfigFile) -> (String, Option<PathBuf>) {
    let path = key.path();
    match key.source() {
        KeySource::Service(KeyService::Kms(kms)) => {
            (format!("KMS decrypts the key `{path}` in {}", kms.file.display()), Some(kms.file.clone()))
        }
        KeySource::Service(KeyService::Command(command)) => {
            (format!("the command {} prints the key `{path}`", program(command)), None)
        }
        KeySource::Value(_) | KeySource::Unknown => {
            let node = key.find_node(file);
            let file = node.and_then(|node| node.files.first().cloned());
            let reference = node.and_then(reference).unwrap_or("the configuration itself");
            (format!("the key `{path}` comes from {reference}"), file)
        }
    }
}

/// The `${…}` that a value consists of. Text around it may be a part of the key.
fn reference(node: &TreeNode) -> Option<&str> {
    let text = node.reference.as_deref()?.trim();
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    // A default may be a key too.
    (!name.contains(['$', '{', '}']) && !name.contains(":-")).then_some(text)
}

struct KeyAges {
    seen: SeenKeys,
    now: UnixNanos,
}

impl KeyAges {
    /// `id 0011…, file changed 12 days ago, used here since 2026-11-02`
    fn describe(&self, id: &str, file: Option<&Path>) -> String {
        let changed = file.and_then(|path| std::fs::metadata(path).ok()).and_then(|file| self.age_days(&file));
        let changed = changed.map_or_else(String::new, |days| format!(", file changed {days} days ago"));
        let since = self.seen.first_day(id).map_or_else(String::new, |day| format!(", used here since {day}"));
        format!("id {id}{changed}{since}")
    }

    fn age_days(&self, file: &Metadata) -> Option<u64> {
        let changed = Duration::from_secs(u64::try_from(file.mtime()).ok()?);
        Some(self.days_since(UnixNanos::default().plus(changed)))
    }

    fn days_since(&self, time: UnixNanos) -> u64 {
        self.now.since(time).as_secs() / 86_400
    }

    /// `, KMS key created 2025-03-01 (271 days ago)`. An unknown age is no fault: the gateway needs no right to ask.
    async fn describe_kms_key(&self, kms: &KmsKeyFile, decrypted_by: Option<String>) -> String {
        let created = match decrypted_by.as_ref().or(kms.key_id.as_ref()) {
            Some(kms_key_id) => fetch_creation(kms, kms_key_id).await,
            None => Err("KMS named no key".to_owned()),
        };
        match created {
            Ok(time) => format!(", KMS key created {} ({} days ago)", date(time), self.days_since(time)),
            Err(why) => format!(", age of the KMS key unknown: {why}"),
        }
    }
}

/// The folder, or its nearest existing ancestor.
fn nearest(folder: &Path) -> Option<Metadata> {
    folder.ancestors().find_map(|path| std::fs::metadata(path).ok())
}
