//! [`OpenedContent`]: the content that outgoing references point to, opened with the try-out auditor's key to prove
//! that they resolve. The vault is read as an auditor reads it, by reference and range only. Opening is in
//! `audit/read`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use audit::read::{ContentReference, FragmentOpener, Vault, VaultLocation, get, identities};
use vault::document::FragmentDocument;

use super::captured::CapturedTelemetry;
use crate::cli::error::CommandError;

/// The reference to one fragment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FragmentReference {
    /// URI of the object.
    pub(super) uri: String,
    /// Range of the fragment in the object.
    pub(super) range: String,
    /// Id of the session key.
    pub(super) key_id: String,
}

/// The opened content. It holds content, so it has no `Debug`.
pub(super) struct OpenedContent {
    /// The number of items, and the bytes of their content, by reference.
    pub(super) references: BTreeMap<FragmentReference, (usize, u64)>,
    /// Stored size of the objects in bytes.
    pub(super) stored: u64,
    /// The documents as JSON.
    pub(super) documents_json: Vec<u8>,
    documents: Vec<FragmentDocument>,
}

impl OpenedContent {
    /// Follows every reference in `outgoing`; `directory` is the vault.
    ///
    /// # Errors
    /// There is no reference, or one does not resolve or can't be opened.
    pub(super) async fn open_references(
        outgoing: &CapturedTelemetry,
        directory: &Path,
        key: &Path,
    ) -> Result<Self, CommandError> {
        let mut references: BTreeMap<FragmentReference, (usize, u64)> = BTreeMap::new();
        for item in outgoing.items() {
            let Some(uri) = item.text("gen_ai.payload.s3_uri") else { continue };
            let text = |name: &str| item.text(&format!("gen_ai.payload.{name}")).unwrap_or_default();
            let reference = FragmentReference { uri, range: text("range"), key_id: text("key_id") };
            let (items, bytes) = references.entry(reference).or_default();
            *items += 1;
            *bytes += text("bytes").parse::<u64>().unwrap_or(0);
        }
        if references.is_empty() {
            return Err(CommandError::Failed("no exported item refers to the vault".to_owned()));
        }
        let vault = Vault::from_location(&VaultLocation {
            store: directory.display().to_string(),
            ..VaultLocation::default()
        })?;
        let mut opener = FragmentOpener::new(&vault, identities(&[key.to_path_buf()])?);
        let mut documents_json = Vec::new();
        for reference in references.keys() {
            let wanted = ContentReference { uri: reference.uri.clone(), range: Some(reference.range.clone()) };
            get(&vault, &mut opener, &wanted, &mut documents_json).await?.map_err(|error| error.to_string())?;
        }
        let objects: BTreeSet<&str> =
            references.keys().filter_map(|reference| vault.parse_reference(&reference.uri).ok()).collect();
        let sizes = objects.into_iter().filter_map(|name| std::fs::metadata(directory.join(name)).ok());
        let stored = sizes.map(|metadata| metadata.len()).sum();
        let lines = documents_json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let documents = lines.map(serde_json::from_slice).collect::<Result<_, _>>();
        let documents = documents.map_err(|_| "a fragment is not a document of the vault")?;
        Ok(Self { references, stored, documents_json, documents })
    }

    /// A piece of content, by its original attribute key.
    pub(super) fn content(&self, key: &str) -> Option<&str> {
        let items = self.documents.iter().flat_map(|document| &document.items);
        let mut pieces = items.flat_map(|item| &item.content);
        pieces.find(|piece| piece.key.as_deref() == Some(key))?.value.as_str()
    }
}
