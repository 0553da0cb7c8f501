//! Restores the whole content of documents that refer to content of earlier documents of the same object. A document
//! that can't be restored does not hide the others. Neighbours: `vault::delta` (the encoding), `opener`.

use std::collections::BTreeSet;

use bytes::Bytes;
use memchr::memmem;

use super::opener::{
    FragmentOpener, MAX_PLAIN, NOT_A_DOCUMENT, OpenFailure, OpenedDocuments, OpenedFragment, open_fragment,
    split_fragments,
};
use crate::error::ReadError;
use vault::delta::{ContentRebuilder, RebuildError, TOO_LARGE};
use vault::object_names::{FragmentScope, ObjectName};
use vault::store::ObjectKind;

/// A fragment's offset, and its document with references as stored.
type StoredDocument = (u64, Result<Vec<u8>, OpenFailure>);

/// Marks a reference to earlier content. It can't occur in a text, where the quotes would be escaped.
const REFERENCE: &[u8] = b"\"base\":{\"fragment\":";

fn has_reference(plain: &[u8]) -> bool {
    memmem::find(plain, REFERENCE).is_some()
}

impl FragmentOpener<'_> {
    /// Restores the documents' whole content; `stored` are the opened fragments.
    pub(super) async fn rebuild_documents(
        &mut self,
        name: &str,
        object: &ObjectName,
        scopes: &BTreeSet<&FragmentScope>,
        stored: Vec<StoredDocument>,
    ) -> OpenedDocuments {
        let mut rebuilder = ContentRebuilder::default();
        if stored.iter().any(|(_, plain)| plain.as_ref().is_ok_and(|plain| has_reference(plain))) {
            add_documents(&mut rebuilder, &stored);
            if stored.iter().any(|document| is_base_missing(&mut rebuilder, document)) {
                // only a part of the object was given: the referenced content precedes it
                let bytes = self.vault.fetch(ObjectKind::Payload, name, None).await.map_err(OpenFailure::Other)?;
                add_documents(&mut rebuilder, &self.open_all_fragments(object, scopes, &bytes));
            }
        }
        let mut out = Vec::with_capacity(stored.len());
        for (offset, plain) in stored {
            let damaged = |why: &str| OpenFailure::Other(ReadError::new(why)).with_place(name, offset);
            out.push(plain.and_then(|plain| {
                let rebuilt = match has_reference(&plain) {
                    true => {
                        // `room` already counts the referenced content in its own place; the copy counts again
                        let limit = usize::try_from(self.room).unwrap_or(usize::MAX).min(MAX_PLAIN);
                        rebuilder.rebuild(&plain, limit).map_err(|error| {
                            if error == TOO_LARGE && limit < MAX_PLAIN {
                                OpenFailure::TooLarge
                            } else {
                                damaged(&rebuild_error_message(&error))
                            }
                        })?
                    }
                    false => None,
                };
                self.room = self.room.saturating_sub(rebuilt.as_ref().map_or(0, |rebuilt| rebuilt.len() as u64));
                let plain = rebuilt.unwrap_or(plain);
                let document = serde_json::from_slice(&plain).map_err(|_| damaged(NOT_A_DOCUMENT))?;
                Ok(OpenedFragment { offset, document, plain })
            }));
        }
        Ok(out)
    }

    /// Tries the keys of these scopes on each fragment. An error has no message: only opened fragments are used.
    fn open_all_fragments(
        &self,
        object: &ObjectName,
        scopes: &BTreeSet<&FragmentScope>,
        bytes: &Bytes,
    ) -> Vec<StoredDocument> {
        let mut room = self.room;
        let mut open = |fragment: &Bytes| {
            let keys = |scope: &FragmentScope| {
                self.sessions.get(&object.keys(scope)).and_then(|keys| keys.as_deref().ok()).unwrap_or_default()
            };
            let mut attempts =
                scopes.iter().map(|scope| open_fragment(&object.file, scope, fragment, keys(scope), room));
            let plain = attempts.find_map(Result::ok).ok_or_else(|| OpenFailure::Other(ReadError::new("")));
            room = room.saturating_sub(plain.as_ref().map_or(0, |plain| plain.len() as u64));
            plain
        };
        split_fragments(bytes).iter().map(|(offset, fragment)| (*offset, open(fragment))).collect()
    }
}

/// Adds the documents; a malformed one is reported when it is parsed.
fn add_documents(rebuilder: &mut ContentRebuilder, stored: &[StoredDocument]) {
    for plain in stored.iter().filter_map(|(_, plain)| plain.as_ref().ok()) {
        let _ = rebuilder.add(plain);
    }
}

fn is_base_missing(rebuilder: &mut ContentRebuilder, (_, plain): &StoredDocument) -> bool {
    let Ok(plain) = plain else { return false };
    has_reference(plain) && matches!(rebuilder.rebuild(plain, MAX_PLAIN), Err(RebuildError::MissingFragment(_)))
}

fn rebuild_error_message(error: &RebuildError) -> String {
    match error {
        RebuildError::MissingFragment(fragment) => {
            format!(
                "it refers to content of the fragment {fragment}, which is missing from the object or can't be opened"
            )
        }
        RebuildError::Damaged(why) => (*why).to_owned(),
    }
}
