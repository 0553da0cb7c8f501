//! **What**: [`listed`]: a session as an argument. **Why**: a line of `vault find --sessions` is given as it was
//! printed to every command that takes a session. **Not here**: what is printed (`sessions`).

/// Session and account of an argument: an id, or a line of `find --sessions` (session, account, `UNSIGNED`, with tabs
/// between). An account that was given beside it counts before the line's.
pub(super) fn listed(session: &str, account: Option<&str>) -> (String, Option<String>) {
    let mut fields = session.trim_end_matches(['\r', '\n']).split('\t');
    let session = fields.next().unwrap_or_default().to_owned();
    let account = account.or_else(|| fields.next().filter(|account| !account.is_empty()));
    (session, account.map(str::to_owned))
}

#[cfg(test)]
mod tests;
