//! Finds the keys of a session, or of all sessions of a user, so that signers see what will be destroyed.
//!
//! The index names the sessions, and the store lists their keys, including keys of content that no index line names
//! yet. A session's keys are searched under all tenants, unless the query names one. Unreadable parts of the index are
//! reported. Neighbour: `request` (the file that is signed).

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::{ReadError, Result};
use crate::folders::{SessionFolder, encode_segment, is_day, is_key_name, is_segment, parse_key_name};
use crate::location::WritableVault;
use crate::read::find::ClaimedIds;
use crate::read::{IndexLines, UnreadIndex, each_row};
use crate::signed_index::SignedIndex;
use kernel::sha256::Sha256;
use vault::index_row::{IndexRow, RowKind, ShreddedKey};
use vault::object_names::account_segment;
use vault::store::{ObjectKind, StoreError};

use super::request::{ContentTarget, MAX_KEYS};

/// Objects queried concurrently.
const CONCURRENT_QUERIES: usize = 16;
/// Most unsigned sessions that are listed.
const MAX_LISTED_UNSIGNED: usize = 100;
/// Most bytes of session names kept in memory, because a writer controls how many lines name sessions.
const MAX_NAME_BYTES: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };
/// Approximate overhead of a name in memory, bytes.
const NAME_OVERHEAD: usize = 96;

/// The content to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetQuery {
    /// Session or user.
    pub target: ContentTarget,
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
}

/// The sessions and keys found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTarget {
    pub account: String,
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    pub keys: Vec<ShreddedKey>,
    /// Objects of the sessions that are under legal hold.
    pub holds: Vec<String>,
    /// Messages about omissions: sessions that only unsigned lines assign to the user, and unreadable parts of the
    /// index and the chains.
    pub excluded: Vec<String>,
}

/// Finds the sessions and keys that a request would destroy.
pub async fn resolve_target(place: &WritableVault, query: &TargetQuery) -> Result<ResolvedTarget> {
    let matched = find_sessions(place, query).await?;
    let excluded = matched.excluded();
    let MatchedSessions { account, folders, .. } = matched;
    let stored_keys = list_stored_keys(place, &account).await?.into_iter();
    let keys: BTreeSet<ShreddedKey> =
        stored_keys.filter(|(folder, _)| folders.contains(folder)).filter_map(|(_, key)| key).collect();
    let targets = KeyTargets::new(place, &account, folders, keys);
    // a copy that someone stored under a non-standard name must be erased too
    if targets.keys.is_empty() && targets.list_objects().await?.is_empty() {
        return Err(ReadError::new(
            "no key object of this target is in the store: it has no content, was erased before, or its keys are in \
             another bucket (--keys)",
        ));
    }
    if targets.keys.len() > MAX_KEYS {
        return Err(ReadError::new(format!(
            "{} keys are too many for one request: make one request for each session",
            targets.keys.len()
        )));
    }
    let holds = targets.find_held_objects().await?;
    let sessions = targets.folders.iter().map(|(tenant, session)| format!("{tenant}/{session}")).collect();
    Ok(ResolvedTarget { account, sessions, keys: targets.keys.into_iter().collect(), holds, excluded })
}

/// Names of key objects, including those with only older versions, because old versions can still be read.
async fn list_key_names(place: &WritableVault, prefix: &str) -> Result<BTreeSet<String>> {
    match place.vault.list_all_versions(ObjectKind::Key, prefix).await? {
        Some(versions) => Ok(versions.into_iter().map(|version| version.name).collect()),
        None => Ok(place.vault.list(ObjectKind::Key, prefix).await?.into_iter().collect()),
    }
}

/// A key object's session and key; no key if gateways store none under such a name: a request that named this key would
/// be invalid.
type StoredKey = (SessionFolder, Option<ShreddedKey>);

/// Lists the key objects in the sessions of an account, including copies in subfolders.
async fn list_stored_keys(place: &WritableVault, account: &str) -> Result<Vec<StoredKey>> {
    let prefix = format!("keys/{}/", account_segment(account));
    let (full_prefix, names) = (place.vault.full_name(&prefix), list_key_names(place, &prefix).await?);
    let parse_name = |name: String| {
        let mut parts = name.strip_prefix(&full_prefix)?.split('/');
        let (tenant, session, day) = (parts.next()?, parts.next()?, parts.next()?);
        let day_folder = format!("{full_prefix}{tenant}/{session}/{day}/");
        let key = parse_key_name(&name).filter(|_| is_day(day));
        let key = key.map(|key| ShreddedKey { folder: day_folder, id: key.id });
        let folder = (tenant.to_owned(), session.to_owned());
        (is_segment(tenant) && is_segment(session)).then_some((folder, key))
    };
    Ok(names.into_iter().filter_map(parse_name).collect())
}

pub(super) type SessionsByAccount = BTreeMap<String, BTreeSet<SessionFolder>>;

/// Sessions, a message if there are more than fit in memory, the parts of the index that were not read, and the user's
/// other ids.
type CollectedSessions = (SessionsByAccount, Option<&'static str>, UnreadIndex, ClaimedIds);

/// The sessions of those of these lines that match.
async fn collect_sessions(
    place: &WritableVault,
    query: &TargetQuery,
    lines: IndexLines<'_>,
) -> Result<CollectedSessions> {
    let (mut accounts, mut remaining_bytes, mut limit) = (SessionsByAccount::new(), MAX_NAME_BYTES, None);
    let mut claimed = ClaimedIds::default();
    let mut collect = |_: &str, row: IndexRow| {
        claimed.read_line(query.target.users().unwrap_or_default(), &row.tail);
        let (account, Some(folder)) = (&row.tail.account, query.find_match(&row)) else { return };
        if accounts.get(account).is_some_and(|folders| folders.contains(&folder)) {
            return;
        }
        match remaining_bytes.checked_sub(account.len() + folder.0.len() + folder.1.len() + NAME_OVERHEAD) {
            Some(remaining) => {
                remaining_bytes = remaining;
                accounts.entry(account.clone()).or_default().insert(folder);
            }
            None => limit = Some("more sessions match than fit in memory: give --tenant, or name single sessions"),
        }
    };
    let unread = each_row(&place.vault, query.account.as_deref(), &|_| true, lines, &mut collect).await?;
    Ok((accounts, limit, unread, claimed))
}

/// The result of searching the index.
#[derive(Default)]
pub(super) struct SessionSearch {
    /// For a user: sessions that signed lines name. For a session: also those that unsigned lines name.
    pub(super) sessions: SessionsByAccount,
    /// For a user: sessions that only lines without a signature of the given keys name.
    unsigned: SessionsByAccount,
    /// Messages about unreadable parts of the index.
    unreadable_index: Vec<String>,
    /// Messages about unreadable parts of the chains, omitted unsigned sessions, the user's other ids, and sessions
    /// with data of others.
    unreadable_chains: Vec<String>,
}

pub(super) async fn search_sessions(place: &WritableVault, query: &TargetQuery) -> Result<SessionSearch> {
    if query.target.users().is_none() {
        let (sessions, limit, unread, _) = collect_sessions(place, query, IndexLines::All).await?;
        let unreadable_index = unread.unreadable.into_iter().chain(limit.map(str::to_owned)).collect();
        return Ok(SessionSearch { sessions, unreadable_index, ..SessionSearch::default() });
    }
    // an unsigned line must neither assign a session to a user nor block an authorised request
    if place.keys.is_empty() {
        return Err(ReadError::new(
            "only signed lines show which sessions belong to a user: give the public key of the gateway's signer",
        ));
    }
    let index = SignedIndex::read(&place.vault, &place.keys, query.account.as_deref()).await?;
    let (sessions, limit, unread, claimed) = collect_sessions(place, query, IndexLines::Signed(&index)).await?;
    let unreadable_index = unread.unreadable.into_iter().chain(limit.map(str::to_owned)).collect();
    // unreadable unsigned objects are ignored, because any writer may have put them there
    let (mut unsigned, limit, ..) = collect_sessions(place, query, IndexLines::Unsigned(&index)).await?;
    for (account, folders) in &sessions {
        if let Some(unsigned) = unsigned.get_mut(account) {
            unsigned.retain(|folder| !folders.contains(folder));
        }
    }
    unsigned.retain(|_, folders| !folders.is_empty());
    let limit = limit.map(|why| format!("not included, unsigned lines: {why}"));
    let mut unreadable_chains: Vec<String> =
        index.unreadable.iter().cloned().chain(unread.older_missing).chain(limit).collect();
    unreadable_chains.extend(claimed.messages());
    unreadable_chains.extend(find_shared_sessions(place, query, &index, &sessions).await?);
    Ok(SessionSearch { sessions, unsigned, unreadable_index, unreadable_chains })
}

/// Messages about the user's sessions that also have data of others: a session is one folder, and its keys open all of
/// it. A client may name another user's session.
async fn find_shared_sessions(
    place: &WritableVault,
    query: &TargetQuery,
    index: &SignedIndex,
    sessions: &SessionsByAccount,
) -> Result<Vec<String>> {
    let (users, mut shared) = (query.target.users().unwrap_or_default(), BTreeSet::new());
    let mut visit = |_: &str, row: IndexRow| {
        let is_others = row.tail.user_key.as_ref().is_some_and(|user| !users.contains(user));
        let folder = is_others.then(|| query.find_folder(&row)).flatten();
        let is_listed =
            |folder: &SessionFolder| sessions.get(&row.tail.account).is_some_and(|folders| folders.contains(folder));
        shared.extend(folder.filter(|folder| shared.len() < MAX_LISTED_UNSIGNED && is_listed(folder)));
    };
    each_row(&place.vault, query.account.as_deref(), &|_| true, IndexLines::Signed(index), &mut visit).await?;
    let message = |(tenant, session): SessionFolder| {
        format!("{tenant}/{session} also has data of another user, which goes with it: a session is one folder")
    };
    Ok(shared.into_iter().map(message).collect())
}

impl TargetQuery {
    /// The session of a line, if the line matches.
    fn find_match(&self, row: &IndexRow) -> Option<SessionFolder> {
        let tail = &row.tail;
        let is_match = match &self.target {
            ContentTarget::Session(wanted) => tail.session_name().is_some_and(|session| *wanted == session),
            user => user.users().zip(tail.user_key.as_ref()).is_some_and(|(users, key)| users.contains(key)),
        };
        is_match.then(|| self.find_folder(row)).flatten()
    }

    /// The session of a line that can belong to the query's tenant.
    fn find_folder(&self, row: &IndexRow) -> Option<SessionFolder> {
        let tail = &row.tail;
        let is_other_tenant = self.tenant.as_ref().is_some_and(|tenant| *tenant != tail.tenant);
        let is_of_no_session =
            matches!(tail.kind, Some(RowKind::Erasure | RowKind::KeyCopies | RowKind::Opening | RowKind::Gap));
        let session = tail.session_name().filter(|_| !is_other_tenant && !is_of_no_session)?;
        Some((encode_segment(&tail.tenant), encode_segment(&session)))
    }
}

#[derive(Default)]
pub(crate) struct MatchedSessions {
    pub(crate) account: String,
    pub(crate) folders: BTreeSet<SessionFolder>,
    /// For a user, by account: sessions that only lines without a signature of the given keys name.
    unsigned: SessionsByAccount,
    unreadable: Vec<String>,
}

impl MatchedSessions {
    /// Fails if the query is for a user and no session matched; the error lists the sessions that unsigned lines name.
    fn require_user_sessions(self, query: &TargetQuery) -> Result<Self> {
        if !self.folders.is_empty() || query.target.users().is_none() {
            return Ok(self);
        }
        let message = "no index line names this user: give the pseudonym `h-…` as spans show it".to_owned();
        Err(ReadError::new(std::iter::once(message).chain(self.excluded()).collect::<Vec<_>>().join("\n")))
    }

    /// Messages about the unsigned sessions and the unreadable parts that are not included.
    pub(crate) fn excluded(&self) -> Vec<String> {
        let account_messages = |(account, folders): (&String, &BTreeSet<SessionFolder>)| {
            let session_message = |(tenant, session): &SessionFolder| {
                format!(
                    "not included: {tenant}/{session} of account {account}: not signed by a given key: another \
                     signer's, not signed yet, or planted"
                )
            };
            folders.iter().map(session_message).collect::<Vec<_>>()
        };
        let listed = self.unsigned.iter().flat_map(account_messages).take(MAX_LISTED_UNSIGNED);
        let count = self.unsigned.values().map(BTreeSet::len).sum::<usize>();
        let more = count.checked_sub(MAX_LISTED_UNSIGNED).filter(|more| *more > 0);
        let more = more.map(|more| format!("not included: {more} more sessions without a signature of the given keys"));
        listed.chain(more).chain(self.unreadable.iter().cloned()).collect()
    }
}

/// Finds the account and its matching sessions. `account` is empty if no signed line names the user.
///
/// # Errors
/// The store fails, no line names the session and the query has no account, or several accounts match.
async fn find_all_sessions(place: &WritableVault, query: &TargetQuery) -> Result<MatchedSessions> {
    let SessionSearch { mut sessions, unsigned, unreadable_index, unreadable_chains: mut unreadable } =
        search_sessions(place, query).await?;
    if let (Some(_), Some(why)) = (query.target.users(), unreadable_index.first()) {
        return Err(ReadError::new(format!(
            "some of the user's sessions may be missing; request each session by its id: {why}"
        )));
    }
    let count = sessions.len();
    let (account, mut folders) = match (sessions.pop_first(), &query.target) {
        (Some(only), _) if count == 1 => only,
        (Some(_), _) => {
            return Err(ReadError::new(format!("{count} accounts have a matching session: give --account")));
        }
        (None, ContentTarget::User(_) | ContentTarget::Users(_)) => Default::default(),
        (None, ContentTarget::Session(_)) => {
            // the index does not yet contain the lines of the last minutes
            let message = "no index line names this session; if the session is only minutes old, give --account";
            let account = query.account.clone().ok_or_else(|| {
                ReadError::new([vec![message.to_owned()], unreadable_index.clone()].concat().join("\nnot read: "))
            })?;
            (account, BTreeSet::new())
        }
    };
    if let ContentTarget::Session(session) = &query.target {
        // an unreadable line, or two lines with one number, must not hide a tenant's keys
        let (session, tenant) = (encode_segment(session), query.tenant.as_deref().map(encode_segment));
        let is_match = |(folder_tenant, folder_session): &SessionFolder| {
            *folder_session == session && tenant.as_ref().is_none_or(|tenant| tenant == folder_tenant)
        };
        let stored_keys = list_stored_keys(place, &account).await?.into_iter();
        folders.extend(stored_keys.map(|(folder, _)| folder).filter(is_match));
        // unreadable lines may belong to the same session in other accounts
        let messages = unreadable_index.into_iter();
        unreadable.extend(messages.map(|why| format!("not read, although it may contain lines of the session: {why}")));
    }
    Ok(MatchedSessions { account, folders, unsigned, unreadable })
}

/// As [`find_all_sessions`], and for a user also the unsigned sessions that have keys. For setting holds, where an
/// extra session does no harm.
///
/// # Errors
/// As [`find_all_sessions`], or no line names the user.
pub(crate) async fn find_sessions_with_unsigned(place: &WritableVault, query: &TargetQuery) -> Result<MatchedSessions> {
    let mut matched = find_all_sessions(place, query).await?;
    if matched.account.is_empty() && matched.unsigned.len() == 1 {
        matched.account = matched.unsigned.keys().next().cloned().unwrap_or_default();
    }
    if let Some(unsigned) = matched.unsigned.get_mut(&matched.account) {
        // only sessions with keys: thousands of planted lines must not cause thousands of hold notes
        let stored_keys = list_stored_keys(place, &matched.account).await?.into_iter();
        let with_keys: BTreeSet<SessionFolder> =
            stored_keys.filter(|(_, key)| key.is_some()).map(|(folder, _)| folder).collect();
        matched.folders.extend(unsigned.extract_if(.., |folder| with_keys.contains(folder)));
    }
    matched.require_user_sessions(query)
}

/// As [`find_all_sessions`], but for a user requires at least one signed session.
///
/// # Errors
/// As [`find_all_sessions`], or no signed line names the user.
pub(crate) async fn find_sessions(place: &WritableVault, query: &TargetQuery) -> Result<MatchedSessions> {
    find_all_sessions(place, query).await?.require_user_sessions(query)
}

/// Sessions of an account, and those of their keys that are to be destroyed.
pub(super) struct KeyTargets<'t> {
    place: &'t WritableVault,
    /// The account, as in object names.
    pub(super) account: String,
    pub(super) folders: BTreeSet<SessionFolder>,
    pub(super) keys: BTreeSet<ShreddedKey>,
    ids: BTreeSet<String>,
}

impl<'t> KeyTargets<'t> {
    pub(super) fn new(
        place: &'t WritableVault,
        account: &str,
        folders: BTreeSet<SessionFolder>,
        keys: BTreeSet<ShreddedKey>,
    ) -> Self {
        let ids = keys.iter().map(|key| key.id.clone()).collect();
        Self { place, account: account_segment(account), folders, keys, ids }
    }

    /// The folder of a session's keys, without the vault's prefix.
    pub(super) fn key_folder(&self, (tenant, session): &SessionFolder) -> String {
        format!("keys/{}/{tenant}/{session}/", self.account)
    }

    /// Objects of the sessions that are under legal hold.
    pub(super) async fn find_held_objects(&self) -> Result<Vec<String>> {
        let key_objects = self.list_objects().await?.into_iter();
        let mut objects = key_objects.map(|name| (ObjectKind::Key, name)).collect::<Vec<_>>();
        for (tenant, session) in &self.folders {
            let folder = format!("{}/{tenant}/{session}/", self.account);
            let names = self.place.vault.list(ObjectKind::Payload, &folder).await?;
            objects.extend(names.into_iter().map(|name| (ObjectKind::Payload, name)));
        }
        let queries = stream::iter(objects).map(async |(kind, name)| {
            let is_on_hold = self.place.eraser.is_on_hold(kind, &name).await;
            let is_on_hold = is_on_hold.map_err(|error| ReadError::from_object_error(&name, &error))?;
            Ok::<_, ReadError>(is_on_hold.then_some(name))
        });
        let mut names: Vec<String> =
            queries.buffered(CONCURRENT_QUERIES).try_filter_map(async |name| Ok(name)).try_collect().await?;
        names.sort_unstable();
        Ok(names)
    }

    /// Whether a gateway may have stored this object as a key other than the targets: later content is sealed to it.
    pub(super) fn is_other_key(&self, name: &str) -> bool {
        let has_key_name = self.place.vault.relative_name(name).is_some_and(is_key_name);
        has_key_name && parse_key_name(name).is_some_and(|key| !self.ids.contains(&key.id))
    }

    /// Names of all objects below the sessions that must be destroyed with the keys, including those with only older
    /// versions and those with unusual names, which may be copies. Of other keys, only those with equal bytes are
    /// included.
    pub(super) async fn list_objects(&self) -> Result<Vec<String>> {
        let (mut targets, mut others) = (Vec::new(), Vec::new());
        for folder in &self.folders {
            for name in list_key_names(self.place, &self.key_folder(folder)).await? {
                if self.is_other_key(&name) { others.push(name) } else { targets.push(name) }
            }
        }
        if others.is_empty() {
            return Ok(targets);
        }
        let target_hashes = hash_objects(self.place, &targets).await?;
        let mut copies = hash_objects(self.place, &others).await?;
        copies.retain(|(_, sha256)| target_hashes.iter().any(|(_, target)| target == sha256));
        targets.extend(copies.into_iter().map(|(name, _)| name));
        Ok(targets)
    }
}

/// Names and SHA-256 of key objects; omits objects that are missing, archived, or too large for a key.
async fn hash_objects(place: &WritableVault, names: &[String]) -> Result<Vec<(String, [u8; 32])>> {
    let hashes = stream::iter(names).map(async |name| match place.vault.fetch_key_object(name).await {
        Ok(bytes) => Ok(Some((name.clone(), Sha256::digest(&bytes)))),
        Err(StoreError::Missing | StoreError::TooLarge | StoreError::Archived) => Ok(None),
        Err(error) => Err(ReadError::from_object_error(name, &error)),
    });
    hashes.buffered(CONCURRENT_QUERIES).try_filter_map(async |hash| Ok(hash)).try_collect().await
}
