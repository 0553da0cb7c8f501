//! A session key named by index lines ([`NamedKey`]) and the state of its object ([`KeyState`]). The types are separate
//! because `run_state` stores them and `key_check` judges them.

pub(super) struct NamedKey {
    /// SHA-256 of its object; `None` if its lines are of a version without hashes.
    pub(super) sha256: Option<String>,
    pub(super) state: KeyState,
    /// Name of the key's object, or of a copy that matches the hash.
    pub(super) object: String,
    /// Fragments that can't be opened because of this key's state.
    pub(super) fragments: u64,
    /// One of the payload objects that the key opens.
    pub(super) payload: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyState {
    Present,
    Missing,
    /// An object exists, but not the one that was written.
    Changed,
    Archived,
    /// The state is unknown, for this reason.
    Unknown(String),
}
