//! [`ClientIdentity`]: who sent a request, as its credential proves. Receivers find it, `normalize` writes it to the
//! items, and every later step reads it there. Ids are bounded and never cut: a cut id could be another one's. No type
//! here prints an id.

use std::fmt;
use std::sync::Arc;

/// Longest id of a user or tenant, in bytes.
const MAX_ID_BYTES: usize = 256;
/// Most groups of a user, and the longest name of one, in bytes.
const MAX_GROUPS: usize = 32;
const MAX_GROUP_BYTES: usize = 128;

/// Who sent a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientIdentity {
    /// The credential names an account only: user and tenant are those that the items name.
    #[default]
    Unverified,
    /// The credential proves these ids.
    Verified(Arc<VerifiedIdentity>),
    /// An edge of the fleet has written the verified ids to the items.
    WrittenByEdge,
}

/// The ids that a credential proves; an absent one is left to the items.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct VerifiedIdentity {
    /// The user's id.
    pub user: Option<Arc<str>>,
    /// The user's tenant.
    pub tenant: Option<Arc<str>>,
    /// The user's groups.
    pub groups: Vec<Arc<str>>,
}

impl fmt::Debug for VerifiedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifiedIdentity")
    }
}

impl VerifiedIdentity {
    /// Checks an id of a user or tenant.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_id(id: &str) -> Result<(), &'static str> {
        check_text(id, MAX_ID_BYTES, "must have 1 to 256 bytes without control characters")
    }

    /// Checks the names of groups.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_groups<'g>(groups: impl ExactSizeIterator<Item = &'g str>) -> Result<(), &'static str> {
        const WHAT: &str = "must be at most 32 groups of 1 to 128 bytes each, without control characters";
        if groups.len() > MAX_GROUPS {
            return Err(WHAT);
        }
        groups.into_iter().try_for_each(|group| check_text(group, MAX_GROUP_BYTES, WHAT))
    }
}

fn check_text(text: &str, max_bytes: usize, what: &'static str) -> Result<(), &'static str> {
    let is_usable = !text.trim().is_empty() && text.len() <= max_bytes && !text.chars().any(char::is_control);
    if is_usable { Ok(()) } else { Err(what) }
}

impl From<VerifiedIdentity> for ClientIdentity {
    fn from(ids: VerifiedIdentity) -> Self {
        if ids == VerifiedIdentity::default() { Self::Unverified } else { Self::Verified(Arc::new(ids)) }
    }
}

impl ClientIdentity {
    /// The parts by which requests of different senders differ, although their bytes are equal.
    pub(crate) fn fingerprint_parts(&self) -> impl Iterator<Item = &[u8]> {
        let verified = match self {
            Self::Verified(identity) => Some(identity),
            Self::Unverified | Self::WrittenByEdge => None,
        };
        verified.into_iter().flat_map(|identity| {
            let ids = [&identity.user, &identity.tenant].map(|id| id.as_deref().unwrap_or_default());
            ids.into_iter().chain(identity.groups.iter().map(|group| &**group)).map(str::as_bytes)
        })
    }
}
