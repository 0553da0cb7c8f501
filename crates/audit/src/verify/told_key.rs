//! **What**: a session key as index lines name it ([`ToldKey`]) and the condition of its object ([`State`]). **Why**:
//! the walk keeps them and `keys` judges them, so neither may own the types. **Not here**: judging (`keys`).

/// A key that lines name.
pub(super) struct ToldKey {
    /// SHA-256 of its object; none: its lines are of a version that did not tell.
    pub(super) sha256: Option<String>,
    pub(super) state: State,
    /// The object: under its own name, or under another where that was taken.
    pub(super) object: String,
    /// Fragments that it would open, where it does not.
    pub(super) fragments: u64,
    /// One of the payload objects that it opens.
    pub(super) at: String,
}

/// What is in a key's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    There,
    Missing,
    /// Something, but not the object that was written.
    Changed,
    Archived,
    /// Nobody knows.
    Unread(String),
}
