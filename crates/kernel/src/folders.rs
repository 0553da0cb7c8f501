//! **What**: the folders of accounts and sessions in a vault, made of ids as they are shown. **Why**: pages link to
//! what the vault wrote. **Invariants**: an account can't take the place of what the vault keeps beside accounts. **Not
//! here**: names of objects (the crate `vault`), which ids may be shown (`pseudonym`).

/// What stands beside the accounts' folders.
const RESERVED: [&str; 6] = ["keys", "index", "chain", "packed", "sessions", "holds"];

/// The folder of a session, of ids as they are shown.
pub fn session_folder(account: &str, tenant: &str, session: &str) -> String {
    let name = |id: &str| crate::pseudonym::segment(id).unwrap_or_else(|| id.to_owned());
    format!("{}/{}/{}/", account_segment(account), name(tenant), name(session))
}

/// An account's segment: accounts come from the configuration, not from clients, and are never pseudonyms.
pub fn account_segment(account: &str) -> String {
    let segment = crate::pseudonym::segment(account).unwrap_or_else(|| account.to_owned());
    if RESERVED.contains(&segment.as_str()) {
        let mut chars = segment.chars();
        let mut out = String::from("%");
        crate::hex::push_upper(&mut out, &[chars.next().map_or(0, |first| first as u8)]);
        out.push_str(chars.as_str());
        return out;
    }
    segment
}
