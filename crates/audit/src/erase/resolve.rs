//! Finds the keys of a session, or of all sessions of a user, so that signers see what will be destroyed.
//!
//! The index determines the sessions and the store the keys. This includes keys of content that no index line names
//! yet, and for a session its keys under every tenant. Unreadable parts of the index are reported. Neighbour: `request`
//! defines what is signed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::error::ReadError;
use crate::folders::{SessionFolder, encode_segment, is_day, is_key_name, is_segment, parse_key_name};
use crate::read::{each_row, each_signed_row, each_unsigned_row};
use crate::signed_index::SignedIndex;
use crate::writable_vault::WritableVault;
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
    /// Account of the sessions.
    pub account: String,
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Keys of the sessions.
    pub keys: Vec<ShreddedKey>,
    /// Objects of the sessions that are under legal hold.
    pub holds: Vec<String>,
    /// What is not included: sessions of the user that only unsigned lines name, and unreadable parts of index and
    /// chains.
    pub excluded: Vec<String>,
}

/// Finds what a request would destroy.
///
/// # Errors
/// The store fails, or there is nothing to destroy.
pub async fn resolve_target(place: &WritableVault, asked: &TargetQuery) -> Result<ResolvedTarget, ReadError> {
    let told = find_sessions(place, asked).await?;
    let left_out = told.excluded();
    let MatchedSessions { account, folders, .. } = told;
    let segment = account_segment(&account);
    let stored = list_stored_keys(place, &account).await?;
    let own = stored.into_iter().filter(|(folder, _)| folders.contains(folder));
    let keys: BTreeSet<ShreddedKey> = own.filter_map(|(_, key)| key).collect();
    // a copy that someone stored under a non-standard name must be erased too
    if keys.is_empty() && list_objects_to_destroy(place, &segment, &folders, &keys).await?.is_empty() {
        return Err(ReadError::not_found(
            "no key object of this target is in the store: it has no content, was erased before, or its keys are in \
                    another bucket (--keys)",
        ));
    }
    if keys.len() > MAX_KEYS {
        return Err(ReadError::invalid(format!(
            "{} keys are too many for one request: make one request for each session",
            keys.len()
        )));
    }
    let holds = find_held_objects(place, &segment, &folders, &keys).await?;
    let sessions = folders.iter().map(|(tenant, session)| format!("{tenant}/{session}")).collect();
    Ok(ResolvedTarget { account, sessions, keys: keys.into_iter().collect(), holds, excluded: left_out })
}

/// Names of key objects, including those that only have older versions: a reader of versions can still use them.
async fn list_key_names(place: &WritableVault, below: &str) -> Result<BTreeSet<String>, ReadError> {
    let (mut names, mut after) = (BTreeSet::new(), None);
    while let Some(page) = place.vault.list_versions(ObjectKind::Key, below, after.take()).await? {
        names.extend(page.versions.into_iter().filter(|version| !version.marker).map(|version| version.name));
        after = page.next;
        if after.is_none() {
            return Ok(names);
        }
    }
    Ok(place.vault.list(ObjectKind::Key, below).await?.into_iter().collect())
}

/// Sessions of an account that have key objects, each with the key of an object, including copies in a folder of their
/// own. The key is `None` if a gateway would not store one there: a request naming it would be invalid.
async fn list_stored_keys(
    place: &WritableVault,
    account: &str,
) -> Result<Vec<(SessionFolder, Option<ShreddedKey>)>, ReadError> {
    let below = format!("keys/{}/", account_segment(account));
    let (start, names) = (place.vault.full_name(&below), list_key_names(place, &below).await?);
    let one = |name: String| {
        let mut parts = name.strip_prefix(&start)?.split('/');
        let (tenant, session, day) = (parts.next()?, parts.next()?, parts.next()?);
        let folder = format!("{start}{tenant}/{session}/{day}/");
        let key = parse_key_name(&name).filter(|_| is_day(day)).map(|key| ShreddedKey { folder, id: key.id });
        (is_segment(tenant) && is_segment(session)).then(|| ((tenant.to_owned(), session.to_owned()), key))
    };
    Ok(names.into_iter().filter_map(one).collect())
}

/// Sessions by account.
pub(super) type SessionsByAccount = BTreeMap<String, BTreeSet<SessionFolder>>;

/// Sessions named by lines, up to a memory limit.
#[derive(Default)]
struct BoundedSessions {
    accounts: SessionsByAccount,
    bytes: usize,
    /// Whether the limit was exceeded.
    is_truncated: bool,
}

impl BoundedSessions {
    fn add(&mut self, account: &str, folder: SessionFolder) {
        if self.accounts.get(account).is_some_and(|folders| folders.contains(&folder)) {
            return;
        }
        let bytes = self.bytes + account.len() + folder.0.len() + folder.1.len() + NAME_OVERHEAD;
        if bytes > MAX_NAME_BYTES {
            self.is_truncated = true;
            return;
        }
        self.bytes = bytes;
        self.accounts.entry(account.to_owned()).or_default().insert(folder);
    }

    /// A message if the limit was exceeded.
    fn limit_message(&self) -> Option<String> {
        self.is_truncated
            .then(|| "more sessions match than fit in memory: give --tenant, or name single sessions".to_owned())
    }
}

/// The result of searching the index.
#[derive(Default)]
pub(super) struct SessionSearch {
    pub(super) found: SessionsByAccount,
    /// For a user: sessions that only lines without a signature of the given keys name.
    unsigned: SessionsByAccount,
    /// Parts of the index that could not be read.
    unreadable_index: Vec<String>,
    /// Parts of the chains that can't be read.
    unreadable_chains: Vec<String>,
}

pub(super) async fn search_sessions(place: &WritableVault, asked: &TargetQuery) -> Result<SessionSearch, ReadError> {
    let mut told = SessionSearch::default();
    let account = asked.account.as_deref();
    let ContentTarget::User(_) = &asked.target else {
        let mut found = BoundedSessions::default();
        let mut each = |row: IndexRow| asked.collect_match(&row, &mut found);
        told.unreadable_index = each_row(&place.vault, account, &|_| true, &mut each).await?;
        told.unreadable_index.extend(found.limit_message());
        told.found = found.accounts;
        return Ok(told);
    };
    // a writer must not be able to assign a session to a user, nor block an authorised request
    if place.keys.is_empty() {
        return Err(ReadError::invalid(
            "only signed lines show which sessions belong to a user: give the public key of the gateway's \
                    signer",
        ));
    }
    let signed = SignedIndex::read(&place.vault, &place.keys, account).await?;
    let (mut found, mut unsigned) = (BoundedSessions::default(), BoundedSessions::default());
    let mut each = |row: IndexRow| asked.collect_match(&row, &mut found);
    let missed = each_signed_row(&place.vault, account, &|_| true, &signed, &mut each).await?;
    told.unreadable_index = missed.unreadable.into_iter().chain(found.limit_message()).collect();
    let mut each = |_: &str, row: IndexRow| asked.collect_match(&row, &mut unsigned);
    // unreadable unsigned objects are ignored: anyone may have put them there
    each_unsigned_row(&place.vault, account, &|_| true, &signed, &mut each).await?;
    let more = unsigned.limit_message().map(|why| format!("not included, unsigned lines: {why}"));
    (told.found, told.unsigned) = (found.accounts, unsigned.accounts);
    for (account, folders) in &told.found {
        if let Some(unsigned) = told.unsigned.get_mut(account) {
            unsigned.retain(|folder| !folders.contains(folder));
        }
    }
    told.unsigned.retain(|_, folders| !folders.is_empty());
    told.unreadable_chains = signed.unreadable().iter().cloned().chain(missed.older_missing).chain(more).collect();
    Ok(told)
}

impl TargetQuery {
    /// Adds the session of a line that matches.
    fn collect_match(&self, row: &IndexRow, found: &mut BoundedSessions) {
        let tail = &row.tail;
        let elsewhere = self.tenant.as_ref().is_some_and(|tenant| *tenant != tail.tenant);
        if elsewhere || matches!(tail.kind, Some(RowKind::Erasure | RowKind::KeyCopies | RowKind::Gap)) {
            return;
        }
        let trace = || tail.trace_id.as_ref().map(|trace| format!("trace-{trace}"));
        let Some(session) = tail.session_id.clone().or_else(trace) else { return };
        let wanted = match &self.target {
            ContentTarget::Session(wanted) => *wanted == session,
            ContentTarget::User(user) => tail.user_key.as_ref() == Some(user),
        };
        if wanted {
            found.add(&tail.account, (encode_segment(&tail.tenant), encode_segment(&session)));
        }
    }
}

/// The matching sessions of one account.
#[derive(Default)]
pub(crate) struct MatchedSessions {
    pub(crate) account: String,
    pub(crate) folders: BTreeSet<SessionFolder>,
    /// For a user, by account: sessions that only lines without a signature of the given keys name.
    unsigned: SessionsByAccount,
    unreadable: Vec<String>,
}

impl MatchedSessions {
    /// The error if no signed line names the user, with the sessions that unsigned lines name.
    fn unknown_user_error(&self) -> ReadError {
        let none = "no index line names this user: give the pseudonym `h-…` as spans show it".to_owned();
        ReadError::NotFound(std::iter::once(none).chain(self.excluded()).collect::<Vec<_>>().join("\n"))
    }

    /// What is not included, a line each.
    pub(crate) fn excluded(&self) -> Vec<String> {
        let each = |(account, folders): (&String, &BTreeSet<SessionFolder>)| {
            let say = |(tenant, session): &SessionFolder| {
                format!(
                    "not included: {tenant}/{session} of account {account}: not signed by a given key: another \
                     signer's, not signed yet, or planted"
                )
            };
            folders.iter().map(say).collect::<Vec<_>>()
        };
        let all = self.unsigned.iter().flat_map(each);
        let count = self.unsigned.values().map(BTreeSet::len).sum::<usize>();
        let more = count.checked_sub(MAX_LISTED_UNSIGNED).filter(|more| *more > 0);
        let more = more.map(|more| format!("not included: {more} more sessions without a signature of the given keys"));
        all.take(MAX_LISTED_UNSIGNED).chain(more).chain(self.unreadable.iter().cloned()).collect()
    }
}

/// The account and its sessions, as segments of object names. `account` is empty if only unsigned lines name the user.
///
/// # Errors
/// The store fails, no line matches, or several accounts match.
async fn find_all_sessions(place: &WritableVault, asked: &TargetQuery) -> Result<MatchedSessions, ReadError> {
    let SessionSearch { mut found, unsigned, unreadable_index: closed, unreadable_chains: mut unread } =
        search_sessions(place, asked).await?;
    if let (ContentTarget::User(_), Some(why)) = (&asked.target, closed.first()) {
        return Err(ReadError::unavailable(format!(
            "some of the user's sessions may be missing; request each session by its id: {why}"
        )));
    }
    let count = found.len();
    let (account, mut folders) = match (found.pop_first(), &asked.target) {
        (Some(one), _) if count == 1 => one,
        (Some(_), _) => {
            return Err(ReadError::invalid(format!("{count} accounts have a matching session: give --account")));
        }
        (None, ContentTarget::User(_)) => Default::default(),
        (None, ContentTarget::Session(_)) => {
            // lines of the last minutes are not in the index yet
            let none = "no index line names this session; if the session is only minutes old, give --account";
            let account = asked.account.clone();
            (
                account.ok_or_else(|| {
                    ReadError::NotFound([vec![none.to_owned()], closed.clone()].concat().join("\nnot read: "))
                })?,
                BTreeSet::new(),
            )
        }
    };
    if let ContentTarget::Session(session) = &asked.target {
        // an unreadable line, or one whose number another line claims, must not hide a tenant's keys
        let (session, tenant) = (encode_segment(session), asked.tenant.as_deref().map(encode_segment));
        let same = |(t, s): &SessionFolder| *s == session && tenant.as_ref().is_none_or(|tenant| tenant == t);
        folders.extend(list_stored_keys(place, &account).await?.into_iter().map(|(folder, _)| folder).filter(same));
        // other accounts may have the session too
        unread.extend(
            closed.into_iter().map(|why| format!("not read, although it may contain lines of the session: {why}")),
        );
    }
    Ok(MatchedSessions { account, folders, unsigned, unreadable: unread })
}

/// As [`find_all_sessions`], and for a user also the unsigned sessions that have keys; for callers to whom extra
/// sessions do no harm.
///
/// # Errors
/// As [`find_all_sessions`], or no line names the user.
pub(crate) async fn find_sessions_with_unsigned(
    place: &WritableVault,
    asked: &TargetQuery,
) -> Result<MatchedSessions, ReadError> {
    let mut told = find_all_sessions(place, asked).await?;
    if told.account.is_empty() && told.unsigned.len() == 1 {
        told.account = told.unsigned.keys().next().cloned().unwrap_or_default();
    }
    if let Some(unsigned) = told.unsigned.get_mut(&told.account) {
        // someone who plants lines by the thousand must not cause as many notes
        let stored = list_stored_keys(place, &told.account).await?.into_iter();
        let stored: BTreeSet<SessionFolder> =
            stored.filter(|(_, key)| key.is_some()).map(|(folder, _)| folder).collect();
        told.folders.extend(unsigned.extract_if(.., |folder| stored.contains(folder)));
    }
    if told.folders.is_empty() && matches!(asked.target, ContentTarget::User(_)) {
        return Err(told.unknown_user_error());
    }
    Ok(told)
}

/// As [`find_all_sessions`], but for a user requires at least one signed session.
///
/// # Errors
/// As [`find_all_sessions`], or no signed line names the user.
pub(crate) async fn find_sessions(place: &WritableVault, asked: &TargetQuery) -> Result<MatchedSessions, ReadError> {
    let told = find_all_sessions(place, asked).await?;
    if told.folders.is_empty() && matches!(asked.target, ContentTarget::User(_)) {
        return Err(told.unknown_user_error());
    }
    Ok(told)
}

/// Objects of these sessions that are under legal hold.
pub(super) async fn find_held_objects(
    place: &WritableVault,
    account: &str,
    folders: &BTreeSet<SessionFolder>,
    keys: &BTreeSet<ShreddedKey>,
) -> Result<Vec<String>, ReadError> {
    let own = list_objects_to_destroy(place, account, folders, keys).await?.into_iter();
    let mut objects = own.map(|name| (ObjectKind::Key, name)).collect::<Vec<_>>();
    for (tenant, session) in folders {
        let names = place.vault.list(ObjectKind::Payload, &format!("{account}/{tenant}/{session}/")).await?;
        objects.extend(names.into_iter().map(|name| (ObjectKind::Payload, name)));
    }
    let asked = stream::iter(objects).map(async |(kind, name)| {
        let held =
            place.eraser.is_on_hold(kind, &name).await.map_err(|error| ReadError::from_object_error(&name, &error))?;
        Ok::<_, ReadError>(held.then_some(name))
    });
    let mut held: Vec<String> =
        asked.buffered(CONCURRENT_QUERIES).try_filter_map(async |held| Ok(held)).try_collect().await?;
    held.sort_unstable();
    Ok(held)
}

/// Whether an object is a key in a gateway's place other than these keys: later content is sealed to it.
pub(super) fn is_other_key(place: &WritableVault, name: &str, ids: &BTreeSet<&str>) -> bool {
    let named = place.vault.relative_name(name).is_some_and(is_key_name);
    named && parse_key_name(name).is_some_and(|key| !ids.contains(key.id.as_str()))
}

/// Names of all objects below these sessions that must go with these keys, including those with only older versions.
/// Any name counts, because a copy may be sealed to someone else. Other keys in a gateway's place are excluded, unless
/// they have the same bytes as one of these.
pub(super) async fn list_objects_to_destroy(
    place: &WritableVault,
    account: &str,
    folders: &BTreeSet<SessionFolder>,
    keys: &BTreeSet<ShreddedKey>,
) -> Result<Vec<String>, ReadError> {
    let ids: BTreeSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    let (mut out, mut others) = (Vec::new(), Vec::new());
    for (tenant, session) in folders {
        for name in list_key_names(place, &format!("keys/{account}/{tenant}/{session}/")).await? {
            if is_other_key(place, &name, &ids) { others.push(name) } else { out.push(name) }
        }
    }
    if others.is_empty() {
        return Ok(out);
    }
    let objects = hash_objects(place, &out).await?;
    let mut same = hash_objects(place, &others).await?;
    same.retain(|(_, sha256)| objects.iter().any(|(_, own)| own == sha256));
    out.extend(same.into_iter().map(|(name, _)| name));
    Ok(out)
}

/// Hashes of key objects; objects that are missing or too large for a key are left out.
async fn hash_objects(place: &WritableVault, names: &[String]) -> Result<Vec<(String, [u8; 32])>, ReadError> {
    let read = stream::iter(names).map(async |name| match place.vault.fetch_key_object(name).await {
        Ok(bytes) => Ok(Some((name.clone(), Sha256::digest(&bytes).into()))),
        Err(StoreError::Missing | StoreError::TooLarge | StoreError::Archived) => Ok(None),
        Err(error) => Err(ReadError::from_object_error(name, &error)),
    });
    read.buffered(CONCURRENT_QUERIES).try_filter_map(async |one| Ok(one)).try_collect().await
}
