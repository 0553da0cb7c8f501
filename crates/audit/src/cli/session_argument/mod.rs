//! [`parse_session_argument`] parses a session argument. A line printed by `vault find --sessions` can be passed
//! unchanged to any command that takes a session.

use crate::erase::{ContentTarget, TargetQuery};

/// Session and account of an argument: an id, or a line of `find --sessions` (session, account and `UNSIGNED`,
/// separated by tabs). `account` takes precedence over the account in the line.
pub(super) fn parse_session_argument(session: &str, account: Option<&str>) -> (String, Option<String>) {
    let mut fields = session.trim_end_matches(['\r', '\n']).split('\t');
    let session = fields.next().unwrap_or_default().to_owned();
    let account = account.or_else(|| fields.next().filter(|account| !account.is_empty()));
    (session, account.map(str::to_owned))
}

/// What a command is about: a session argument, or the pseudonyms of a user.
pub(super) fn parse_target(
    session: Option<&str>,
    users: &[String],
    account: Option<&str>,
    tenant: Option<&str>,
) -> Option<TargetQuery> {
    let (target, account) = match session.map(|session| parse_session_argument(session, account)) {
        Some((session, account)) => (ContentTarget::Session(session), account),
        None => (ContentTarget::of_users(users)?, account.map(str::to_owned)),
    };
    Some(TargetQuery { target, account, tenant: tenant.map(str::to_owned) })
}

#[cfg(test)]
mod tests;
