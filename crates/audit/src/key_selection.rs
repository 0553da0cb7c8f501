//! [`KeySelection`]: which session keys a command is about, by the names of their folders.

use clap::Args;
use vault::object_names::{account_segment, id_segment};

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
