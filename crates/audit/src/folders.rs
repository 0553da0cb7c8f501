//! Parses the parts of object names that identify sessions and keys: folders, days, key ids; and [`KeySelection`],
//! which session keys a command is about. No function here accesses the store. Neighbour: `vault::object_names` handles
//! whole names.

use clap::Args;

use vault::index_row::ShreddedKey;
use vault::key_shares::KeyShare;
use vault::object_names::{UNATTRIBUTED, account_segment, id_segment};

/// Tenant and session, as segments of object names.
pub(crate) type SessionFolder = (String, String);

/// Whether a share is of a key in the folder of this key object, whose name is without the vault's prefix.
pub(crate) fn is_share_of_folder(share: &KeyShare, relative: &str) -> bool {
    let folder = relative.rsplit_once('/').and_then(|(folder, _)| folder.strip_prefix("keys/"));
    folder == Some(&*share.place)
}

/// The key in a key object, from the object's name. Names of copies made by `rewrap` have a suffix after the key id.
pub(crate) fn parse_key_name(name: &str) -> Option<ShreddedKey> {
    let (folder, file) = name.rsplit_once('/')?;
    let id = file.strip_suffix(".age")?.split('-').next()?;
    is_key_id(id).then(|| ShreddedKey { folder: format!("{folder}/"), id: id.to_owned() })
}

/// Whether `name` is the key object with this stem (folder and id), or a copy of it.
pub(crate) fn is_copy_of(name: &str, stem: &str) -> bool {
    let copy_tag = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".age"));
    copy_tag.is_some_and(|tag| tag.is_empty() || (tag.starts_with('-') && !tag.contains('/')))
}

/// Whether `name`, without the vault's prefix, has the form of the key objects that gateways and `rewrap` write.
pub(crate) fn is_key_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let ["keys", account, tenant, session, day, _] = parts[..] else { return false };
    [account, tenant, session].into_iter().all(is_segment) && is_day(day) && parse_key_name(name).is_some()
}

/// An id as a segment of object names.
pub(crate) fn encode_segment(id: &str) -> String {
    id_segment(if id.is_empty() { UNATTRIBUTED } else { id })
}

pub(crate) fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-%=".contains(&byte))
}

pub(crate) fn is_day(text: &str) -> bool {
    let is_expected =
        |(index, byte): (usize, u8)| if matches!(index, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(is_expected)
}

/// Whether a text has the form of a session key's id.
pub(crate) fn is_key_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[derive(Args, Clone, Debug, Default)]
pub struct KeySelection {
    /// Only this session.
    #[arg(long)]
    pub session: Option<String>,
    /// Only this account.
    #[arg(long)]
    pub account: Option<String>,
    /// Only this tenant.
    // as the index shows it
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only keys of this day or later, `2026-11-20`.
    #[arg(long, value_name = "DAY")]
    pub since: Option<String>,
}

impl KeySelection {
    /// Whether `name`, without the vault's prefix, is selected: `keys/account/tenant/session/day/…`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let ["keys", account, tenant, session, day, _] = parts[..] else { return false };
        let matches_id =
            |wanted: &Option<String>, segment: &str| wanted.as_ref().is_none_or(|wanted| id_segment(wanted) == segment);
        self.account.as_ref().is_none_or(|wanted| account_segment(wanted) == account)
            && matches_id(&self.tenant, tenant)
            && matches_id(&self.session, session)
            && self.since.as_ref().is_none_or(|since| day >= since.as_str())
    }
}
