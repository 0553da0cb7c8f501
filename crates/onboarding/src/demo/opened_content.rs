//! [`OpenedContent`]: the content that outgoing references point to, opened with the try-out auditor's key to prove
//! that they resolve. The vault is read as an auditor reads it, by reference and range only (`audit/read`).

use std::collections::BTreeSet;
use std::path::Path;

use audit::read::{ContentReference, FragmentOpener, Vault, VaultLocation, get, identities};
use vault::document::FragmentDocument;

use super::items::TelemetryItem;
use command::error::CommandError;

/// The opened content. It holds content, so it has no `Debug`.
#[derive(Default)]
pub(super) struct OpenedContent {
    /// The objects and ranges that outgoing items refer to.
    pub(super) references: BTreeSet<(String, String)>,
    /// The ids of the session keys.
    pub(super) keys: BTreeSet<String>,
    /// The documents, one line of JSON each.
    pub(super) documents: Vec<u8>,
}

impl OpenedContent {
    /// Follows every reference of the items that went out; fails if there is none, or one can't be opened.
    pub(super) async fn open(items: &[TelemetryItem], directory: &Path, key: &Path) -> Result<Self, CommandError> {
        let mut opened = Self::default();
        for item in items {
            let Some(uri) = item.text("gen_ai.payload.s3_uri") else { continue };
            let text = |name: &str| item.text(&format!("gen_ai.payload.{name}")).unwrap_or_default().to_owned();
            opened.references.insert((uri.to_owned(), text("range")));
            opened.keys.insert(text("key_id"));
        }
        if opened.references.is_empty() {
            return Err("no exported item refers to the vault".into());
        }
        let store = directory.display().to_string();
        let vault = Vault::from_location(&VaultLocation { store, ..VaultLocation::default() })?;
        let mut opener = FragmentOpener::new(&vault, identities(&[key.to_path_buf()])?);
        for (uri, range) in opened.references.clone() {
            let wanted = ContentReference { uri, range: Some(range) };
            let written = get(&mut opener, &wanted, &mut opened.documents).await?;
            written.map_err(|error| error.to_string())?;
        }
        Ok(opened)
    }

    /// A piece of content, by its original attribute key.
    pub(super) fn content(&self, key: &str) -> Option<String> {
        let lines = self.documents.split(|byte| *byte == b'\n');
        let documents = lines.filter_map(|line| serde_json::from_slice::<FragmentDocument>(line).ok());
        let mut pieces = documents.flat_map(|document| document.items).flat_map(|item| item.content);
        Some(pieces.find(|piece| piece.key.as_deref() == Some(key))?.value.as_str()?.to_owned())
    }
}
