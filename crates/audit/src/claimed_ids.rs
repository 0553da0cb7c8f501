//! [`ClaimedIds`]: what index lines say of a user's other ids. A gateway that verifies who sends keeps the id that the
//! client named as `claimed_user_key`. It selects nothing, because a client may name anyone; auditors only read of it,
//! so that a history from before the verification is found.

use std::collections::BTreeSet;

use vault::index_row::RowTail;

/// Most ids that are kept of each kind.
const MAX_IDS: usize = 16;

/// The ids beside those of one search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimedIds {
    /// Ids that clients of the user named.
    claims: BTreeSet<String>,
    /// Verified users whose clients named the user's id.
    claimants: BTreeSet<String>,
}

impl ClaimedIds {
    /// Reads a line, for a search for `users`.
    pub(crate) fn read_line(&mut self, users: &[String], tail: &RowTail) {
        let (Some(verified), Some(claimed)) = (&tail.user_key, &tail.claimed_user_key) else { return };
        let (ids, id) = match (users.contains(verified), users.contains(claimed)) {
            (true, false) => (&mut self.claims, claimed),
            (false, true) => (&mut self.claimants, verified),
            _ => return,
        };
        if ids.len() < MAX_IDS {
            ids.insert(id.clone());
        }
    }

    /// What an auditor must know of them.
    pub(crate) fn messages(&self) -> impl Iterator<Item = String> + '_ {
        let claims = self.claims.iter().map(|id| {
            format!(
                "not included: clients of this user named the user {id}: data from before users were verified may be \
                 under that id, and so may another user's; search for it by itself"
            )
        });
        let claimants = self.claimants.iter();
        claims.chain(claimants.map(|id| format!("not included: clients of the verified user {id} named this user")))
    }
}
