//! [`ErasureRequest`]: the content to erase and the reason, signed by two people, because destroying a key can't be
//! undone. Every key of a request must belong to a session that the request lists.
//! Neighbours: `signed_request` (files and signatures), `resolve` (finds keys), `execute` (destroys them).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::folders::{encode_segment, is_day, is_key_id, is_segment};
use crate::signed_request::SignedRequest;
use vault::chain::erasures::ErasedRuns;
use vault::index_row::ShreddedKey;
use vault::object_names::account_segment;

/// Most keys in one request.
pub const MAX_KEYS: usize = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContentTarget {
    /// A session, as the index shows its id; `trace-…` for records without one.
    Session(String),
    /// Every session of a user, by pseudonym: `h-…`.
    User(String),
    /// Every session of a user, by the pseudonyms of several epochs. Version 0.1 reads no such request.
    Users(Vec<String>),
}

impl ContentTarget {
    /// The target for these pseudonyms of a user, if there are any.
    pub fn of_users(users: &[String]) -> Option<Self> {
        match users {
            [] => None,
            [user] => Some(Self::User(user.clone())),
            users => Some(Self::Users(users.to_vec())),
        }
    }

    /// The pseudonyms of a user, if the target is one.
    pub fn users(&self) -> Option<&[String]> {
        match self {
            Self::Session(_) => None,
            Self::User(user) => Some(std::slice::from_ref(user)),
            Self::Users(users) => Some(users),
        }
    }
}

/// A request to destroy session keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureRequest {
    /// Version of the format: [`Self::VERSION`].
    pub v: u8,
    /// The vault's location as the user gave it: `s3://bucket/prefix` or a folder.
    pub store: String,
    pub account: String,
    pub what: ContentTarget,
    /// Who requests the erasure: a role or a name that may stay in the vault for years.
    pub who: String,
    /// The reason: a ticket, a paragraph.
    pub why: String,
    /// Time of creation, RFC 3339.
    pub time: String,
    /// Time (RFC 3339) after which the erasure can't be begun.
    pub expires: String,
    /// Random value; ensures that a request is executed only once.
    pub nonce: String,
    /// Sessions whose content becomes unreadable, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    pub keys: Vec<ShreddedKey>,
    /// Objects of the sessions that were under legal hold at creation; their holds must be released before execution.
    pub holds: Vec<String>,
}

impl ErasureRequest {
    /// The runs that a gateway deletes from its history.
    pub fn erased_runs(&self) -> ErasedRuns {
        let session = match &self.what {
            ContentTarget::Session(session) => Some(session.clone()),
            ContentTarget::User(_) | ContentTarget::Users(_) => None,
        };
        let users = self.what.users().unwrap_or_default().to_vec();
        ErasedRuns { account: self.account.clone(), users, session }
    }

    /// Prefix of all names in the request's vault: empty, or ends in `/`.
    fn prefix(&self) -> String {
        let path = self.store.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        match path.map_or("", |(_, prefix)| prefix.trim_matches('/')) {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }
}

const INVALID_SESSION: &str = "has an invalid or repeated session";

impl SignedRequest for ErasureRequest {
    const VERSION: u8 = 1;
    const NOT_A_REQUEST: &'static str = "was not made by `tollgate vault erase --request`";
    const NOT_SIGNED: &'static str =
        "has no valid signatures: two erasers must sign it with `tollgate vault erase --sign`";

    fn version(&self) -> u8 {
        self.v
    }

    fn times(&self) -> (&str, &str) {
        (&self.time, &self.expires)
    }

    /// Checks that the keys belong to the listed sessions and these to the target: signers are shown
    /// sessions, but keys are destroyed. `execute` checks a user's sessions, because only the index contains them.
    fn check_fields(&self) -> Result<(), &'static str> {
        let mut sessions: BTreeSet<&str> = BTreeSet::new();
        for path in &self.sessions {
            let (tenant, session) = path.split_once('/').ok_or(INVALID_SESSION)?;
            if ![tenant, session].into_iter().all(is_segment) || !sessions.insert(path) {
                return Err(INVALID_SESSION);
            }
            if matches!(&self.what, ContentTarget::Session(id) if encode_segment(id) != session) {
                return Err("lists another session than the one to be erased");
            }
        }
        let account_prefix = format!("{}keys/{}/", self.prefix(), account_segment(&self.account));
        let is_in_sessions = |key: &ShreddedKey| {
            let path = key.folder.strip_prefix(&account_prefix).and_then(|rest| rest.strip_suffix('/'));
            let session = path.and_then(|path| path.rsplit_once('/')).filter(|(_, day)| is_day(day));
            session.is_some_and(|(session, _)| sessions.contains(session)) && is_key_id(&key.id)
        };
        // the list of keys may be empty: a session whose keys are gone may have copies of them under other names
        if self.sessions.is_empty() || self.keys.len() > MAX_KEYS || !self.keys.iter().all(is_in_sessions) {
            return Err("has no sessions, too many keys, or keys outside its sessions or account");
        }
        Ok(())
    }
}
