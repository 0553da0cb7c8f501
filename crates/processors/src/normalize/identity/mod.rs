//! Writes who sent a request to its items, as the credential proves: `user.id`, `tenant.id`, `tollgate.user.groups`.
//! Another user or tenant that an item names moves to `tollgate.claimed.<key>`, so that every later step (cost, runs,
//! vault, redact) reads the verified one and needs to know nothing of this. Receivers find the identity.

use genai::{CLAIMED_PREFIX, OwnerKey, VERIFIED_IDS, Vocabulary};
use otlp::{AttrId, NodeKind, OwnedValue, Payload};
use pipeline::{ClientIdentity, VerifiedIdentity};

/// The attribute with the user's groups.
pub(super) const GROUPS: &str = "tollgate.user.groups";

/// Whether an attribute of tollgate stays, because an edge of the fleet wrote it.
pub(super) fn is_written_by_edge(identity: &ClientIdentity, key: &str) -> bool {
    let is_written = key == GROUPS || key == VERIFIED_IDS || key.starts_with(CLAIMED_PREFIX);
    *identity == ClientIdentity::WrittenByEdge && is_written
}

/// Writes the verified ids to all items. Returns the number of claims that moved, by kind.
pub(super) fn write_identity(
    payload: &mut Payload,
    identity: &VerifiedIdentity,
    vocabulary: &Vocabulary,
) -> [u64; OwnerKey::ALL.len()] {
    let verified = |key: OwnerKey| match key {
        OwnerKey::User => identity.user.as_deref(),
        OwnerKey::Tenant => identity.tenant.as_deref(),
    };
    let mut claims: Vec<(AttrId, OwnerKey, String)> = Vec::new();
    // of a client that is trusted, stamps are not removed before
    let mut foreign_marks: Vec<AttrId> = Vec::new();
    for node in payload.nodes() {
        for attribute in payload.attributes(node) {
            if attribute.key == GROUPS || attribute.key == VERIFIED_IDS {
                foreign_marks.push(attribute.id);
            }
            let Some(kind) = vocabulary.owner_key(attribute.key) else { continue };
            let differs = |id: &str| attribute.value.as_str() != Some(id);
            if verified(kind).is_some_and(differs) {
                claims.push((attribute.id, kind, format!("{CLAIMED_PREFIX}{}", attribute.key)));
            }
        }
    }
    foreign_marks.into_iter().for_each(|id| payload.remove_attribute(id));
    for (id, _, key) in &claims {
        payload.rename_attribute(*id, key);
    }
    let items: Vec<_> = payload.items().collect();
    let ids: Vec<(OwnerKey, &str)> = OwnerKey::ALL.into_iter().filter_map(|key| Some((key, verified(key)?))).collect();
    let kinds = ids.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(" ");
    for item in items {
        for (key, id) in &ids {
            payload.set(item, key.verified_key(), OwnedValue::Str((*id).to_owned()));
        }
        // They are no dimensions of series, and a point has no body that could name another user.
        if payload.kind(item) == NodeKind::DataPoint {
            continue;
        }
        if !kinds.is_empty() {
            payload.set(item, VERIFIED_IDS, OwnedValue::Str(kinds.clone()));
        }
        if !identity.groups.is_empty() {
            let groups = identity.groups.iter().map(|group| group.to_string()).collect();
            payload.set(item, GROUPS, OwnedValue::StrList(groups));
        }
    }
    OwnerKey::ALL.map(|kind| claims.iter().filter(|(_, moved, _)| *moved == kind).count() as u64)
}

#[cfg(test)]
mod tests;
