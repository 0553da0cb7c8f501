//! The vault folders of accounts and sessions, derived from ids in their shown form; pages use them to link to what
//! the vault wrote. An account can't collide with the vault's own folders. The crate `vault` names objects,
//! `pseudonym` decides which ids may be shown.

/// Names that the vault uses beside the accounts' folders.
const RESERVED: [&str; 6] = ["keys", "index", "chain", "packed", "sessions", "holds"];

/// The folder of a session, from ids in their shown form.
pub fn session_folder(account: &str, tenant: &str, session: &str) -> String {
    let segment = |id: &str| crate::pseudonym::encode_segment(id).unwrap_or_else(|| id.to_owned());
    format!("{}/{}/{}/", account_segment(account), segment(tenant), segment(session))
}

/// The account with this folder name ([`account_segment`]); `None` if no account has it.
pub fn account_of_segment(segment: &str) -> Option<String> {
    let mut parts = segment.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok().filter(|account| account_segment(account) == segment)
}

/// The folder name of an account. Accounts come from the configuration, not from clients, and are never pseudonyms.
pub fn account_segment(account: &str) -> String {
    let segment = crate::pseudonym::encode_segment(account).unwrap_or_else(|| account.to_owned());
    if RESERVED.contains(&segment.as_str()) {
        let first = segment.bytes().next().unwrap_or_default();
        return format!("%{first:02X}{}", segment.get(1..).unwrap_or_default());
    }
    segment
}
