//! Which operations the brokers' ACLs grant to this client on a topic or a group, and the command that grants those
//! which are missing.

/// An operation on a topic or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRight {
    /// Reads records of a topic, or joins a group.
    Read,
    Write,
    /// Sees that the topic or group exists. Implied by the others, except by [`Self::DescribeConfigs`].
    Describe,
    /// Reads the topic's settings.
    DescribeConfigs,
}

impl AccessRight {
    /// The name that `kafka-acls.sh` uses, and the bit in the protocol's sets of operations (KIP-430; the codes are
    /// those of `org.apache.kafka.common.acl.AclOperation`).
    fn definition(self) -> (&'static str, u32) {
        match self {
            Self::Read => ("Read", 3),
            Self::Write => ("Write", 4),
            Self::Describe => ("Describe", 8),
            Self::DescribeConfigs => ("DescribeConfigs", 10),
        }
    }
}

/// What this client may do with one topic or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedRights(i32);

impl GrantedRights {
    pub const NONE: Self = Self(0);

    /// Reads the protocol's set of operations. `None`: the broker tells none.
    pub fn from_protocol(bits: i32) -> Option<Self> {
        (bits != i32::MIN).then_some(Self(bits))
    }

    fn contains(self, right: AccessRight) -> bool {
        let (_, bit) = right.definition();
        self.0 & (1 << bit) != 0
    }
}

/// A topic or a group, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclResource<'n> {
    Topic(&'n str),
    Group(&'n str),
}

/// Rights that this client does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRights {
    pub why: String,
    /// The command that grants it.
    pub remedy: String,
}

/// Those of the `needed` rights that are not granted. `None`: all of them are.
pub fn missing_rights(
    resource: AclResource<'_>,
    needed: &[AccessRight],
    granted: GrantedRights,
) -> Option<MissingRights> {
    let missing = needed.iter().filter(|right| !granted.contains(**right));
    let missing: Vec<&str> = missing.map(|right| right.definition().0).collect();
    if missing.is_empty() {
        return None;
    }
    let (kind, name) = match resource {
        AclResource::Topic(name) => ("topic", name),
        AclResource::Group(name) => ("group", name),
    };
    let operations: String = missing.iter().map(|operation| format!(" --operation {operation}")).collect();
    Some(MissingRights {
        why: format!("the ACLs of the {kind} `{name}` do not grant {} to this client", missing.join(", ")),
        remedy: format!(
            "`kafka-acls.sh --add --allow-principal User:NAME{operations} --{kind} {name}`, with the user of `auth` or \
             the subject of the certificate as NAME"
        ),
    })
}

#[cfg(test)]
mod tests;
