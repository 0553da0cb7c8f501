//! The keys of users and tenants, and those to which a claim moves that the client's credential does not prove. A moved
//! claim is read as nothing but [`super::ItemFacts::claimed_user`]. `processors/normalize/identity` moves claims.

/// Prefix of a user or tenant that a client claims and its credential does not prove.
pub const CLAIMED_PREFIX: &str = "tollgate.claimed.";

/// The attribute that lists the kinds of ids that are verified on an item, separated by blanks.
pub const VERIFIED_IDS: &str = "tollgate.identity.verified";

/// Whose id a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerKey {
    User,
    Tenant,
}

impl OwnerKey {
    pub const ALL: [Self; 2] = [Self::User, Self::Tenant];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
        }
    }

    /// Whether a value of [`VERIFIED_IDS`] lists this kind.
    pub fn is_verified_in(self, kinds: &str) -> bool {
        kinds.split(' ').any(|kind| kind == self.as_str())
    }

    /// The key of a verified id; every dialect reads it.
    pub fn verified_key(self) -> &'static str {
        match self {
            Self::User => "user.id",
            Self::Tenant => "tenant.id",
        }
    }
}

/// The source to which a client's claim moves.
pub(super) fn claimed_source(source: &str) -> String {
    match source.strip_prefix("resource:") {
        Some(key) => format!("resource:{CLAIMED_PREFIX}{key}"),
        None => format!("{CLAIMED_PREFIX}{source}"),
    }
}
