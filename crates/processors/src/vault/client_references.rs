//! Removes tollgate's reference attributes from client telemetry, because a forged reference would point an auditor to
//! the wrong place. Every node is checked. A client's own `…_ref` attributes are renamed, and redacted by a later step.
//! `normalize` removes `tollgate.*` attributes.

use genai::ContentPart;
use otlp::{AttrId, Payload};

/// Prefix of tollgate's reference attributes.
pub(super) const REFERENCE_PREFIX: &str = "gen_ai.payload.";
/// Prefix given to a client's own references.
pub(super) const REPORTED_PREFIX: &str = "tollgate.reported.";

/// Removes or renames references sent by a client. Returns the number of attributes changed.
pub(super) fn clean_references(payload: &mut Payload) -> u64 {
    let mut forged: Vec<AttrId> = Vec::new();
    let mut reported: Vec<(AttrId, String)> = Vec::new();
    for node in payload.nodes() {
        for attribute in payload.encoded_attributes(node).filter(|one| one.key_bytes().starts_with(b"gen_ai.")) {
            let attribute = attribute.decode();
            if attribute.key.starts_with(REFERENCE_PREFIX) {
                forged.push(attribute.id);
            } else if ContentPart::is_reference_key(attribute.key) {
                reported.push((attribute.id, format!("{REPORTED_PREFIX}{}", attribute.key)));
            }
        }
    }
    for id in &forged {
        payload.remove_attribute(*id);
    }
    for (id, key) in &reported {
        payload.rename_attribute(*id, key);
    }
    (forged.len() + reported.len()) as u64
}
