//! Finds the keys of a session, or of all sessions of a user, so that signers see what will be destroyed.
//!
//! The index determines the sessions and the store the keys. This includes keys of content that no index line names
//! yet, and for a session its keys under every tenant. Unreadable parts of the index are reported. Neighbour: `request`
//! defines what is signed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::error::ReadError;
use crate::folders::{Folder, is_day, is_key_name, is_segment, segment, shredded};
use crate::place::Place;
use crate::read::{each_row, each_signed_row, each_unsigned_row};
use crate::signed::Signed;
use vault::names::account_segment;
use vault::row::{Kind, Row, Shredded};
use vault::store::{ObjectKind, StoreError};

use super::request::{MAX_KEYS, Target};

/// Objects queried concurrently.
const AT_ONCE: usize = 16;
/// Most unsigned sessions that are listed.
const MAX_UNSIGNED: usize = 100;
/// Most bytes of session names kept in memory, because a writer controls how many lines name sessions.
const MAX_NAMES: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };
/// Approximate overhead of a name in memory, bytes.
const A_NAME: usize = 96;

/// The content to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Session or user.
    pub what: Target,
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
}

/// The sessions and keys found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Account of the sessions.
    pub account: String,
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Keys of the sessions.
    pub keys: Vec<Shredded>,
    /// Objects of the sessions that are under legal hold.
    pub holds: Vec<String>,
    /// What is not included: sessions of the user that only unsigned lines name, and unreadable parts of index and
    /// chains.
    pub left_out: Vec<String>,
}

/// Finds what a request would destroy.
///
/// # Errors
/// The store fails, or there is nothing to destroy.
pub async fn resolve(place: &Place, asked: &Asked) -> Result<Resolved, ReadError> {
    let told = sessions(place, asked).await?;
    let left_out = told.left_out();
    let Sessions { account, folders, .. } = told;
    let segment = account_segment(&account);
    let stored = stored(place, &account).await?;
    let own = stored.into_iter().filter(|(folder, _)| folders.contains(folder));
    let keys: BTreeSet<Shredded> = own.filter_map(|(_, key)| key).collect();
    // a copy that someone stored under a non-standard name must be erased too
    if keys.is_empty() && to_destroy(place, &segment, &folders, &keys).await?.is_empty() {
        return Err(ReadError::not_found(
            "no key object of it is in the store: it has no content, was erased before, or its keys lie in \
                    another bucket (--keys)",
        ));
    }
    if keys.len() > MAX_KEYS {
        return Err(ReadError::invalid(format!(
            "{} keys are too many for one request: make one for each session",
            keys.len()
        )));
    }
    let holds = holds(place, &segment, &folders, &keys).await?;
    let sessions = folders.iter().map(|(tenant, session)| format!("{tenant}/{session}")).collect();
    Ok(Resolved { account, sessions, keys: keys.into_iter().collect(), holds, left_out })
}

/// Names of key objects, including those that only have older versions: a reader of versions can still use them.
async fn names(place: &Place, below: &str) -> Result<BTreeSet<String>, ReadError> {
    let (mut names, mut after) = (BTreeSet::new(), None);
    while let Some(page) = place.vault.versions(ObjectKind::Key, below, after.take()).await? {
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
async fn stored(place: &Place, account: &str) -> Result<Vec<(Folder, Option<Shredded>)>, ReadError> {
    let below = format!("keys/{}/", account_segment(account));
    let (start, names) = (place.vault.full(&below), names(place, &below).await?);
    let one = |name: String| {
        let mut parts = name.strip_prefix(&start)?.split('/');
        let (tenant, session, day) = (parts.next()?, parts.next()?, parts.next()?);
        let folder = format!("{start}{tenant}/{session}/{day}/");
        let key = shredded(&name).filter(|_| is_day(day)).map(|key| Shredded { folder, id: key.id });
        (is_segment(tenant) && is_segment(session)).then(|| ((tenant.to_owned(), session.to_owned()), key))
    };
    Ok(names.into_iter().filter_map(one).collect())
}

/// Sessions by account.
pub(super) type Accounts = BTreeMap<String, BTreeSet<Folder>>;

/// Sessions named by lines, up to a memory limit.
#[derive(Default)]
struct Named {
    accounts: Accounts,
    bytes: usize,
    /// Whether the limit was exceeded.
    more: bool,
}

impl Named {
    fn add(&mut self, account: &str, folder: Folder) {
        if self.accounts.get(account).is_some_and(|folders| folders.contains(&folder)) {
            return;
        }
        let bytes = self.bytes + account.len() + folder.0.len() + folder.1.len() + A_NAME;
        if bytes > MAX_NAMES {
            self.more = true;
            return;
        }
        self.bytes = bytes;
        self.accounts.entry(account.to_owned()).or_default().insert(folder);
    }

    /// A message if the limit was exceeded.
    fn told(&self) -> Option<String> {
        self.more
            .then(|| "lines tell of more sessions than are kept in memory: give --tenant, or name sessions".to_owned())
    }
}

/// The result of searching the index.
#[derive(Default)]
pub(super) struct Told {
    pub(super) found: Accounts,
    /// For a user: sessions that only lines without a signature of the given keys name.
    unsigned: Accounts,
    /// Parts of the index that could not be read.
    closed: Vec<String>,
    /// Parts of the chains that can't be read.
    unread: Vec<String>,
}

pub(super) async fn told(place: &Place, asked: &Asked) -> Result<Told, ReadError> {
    let mut told = Told::default();
    let account = asked.account.as_deref();
    let Target::User(_) = &asked.what else {
        let mut found = Named::default();
        let mut each = |row: Row| asked.takes(&row, &mut found);
        told.closed = each_row(&place.vault, account, &|_| true, &mut each).await?;
        told.closed.extend(found.told());
        told.found = found.accounts;
        return Ok(told);
    };
    // a writer must not be able to assign a session to a user, nor block an authorised request
    if place.keys.is_empty() {
        return Err(ReadError::invalid(
            "which sessions a user has is told by signed lines alone: give the public key of the gateway's \
                    signer",
        ));
    }
    let signed = Signed::read(&place.vault, &place.keys, account).await?;
    let (mut found, mut unsigned) = (Named::default(), Named::default());
    let mut each = |row: Row| asked.takes(&row, &mut found);
    let missed = each_signed_row(&place.vault, account, &|_| true, &signed, &mut each).await?;
    told.closed = missed.closed.into_iter().chain(found.told()).collect();
    let mut each = |_: &str, row: Row| asked.takes(&row, &mut unsigned);
    // unreadable unsigned objects are ignored: anyone may have put them there
    each_unsigned_row(&place.vault, account, &|_| true, &signed, &mut each).await?;
    let more = unsigned.told().map(|why| format!("not included: of what none of the given keys signed, {why}"));
    (told.found, told.unsigned) = (found.accounts, unsigned.accounts);
    for (account, folders) in &told.found {
        if let Some(unsigned) = told.unsigned.get_mut(account) {
            unsigned.retain(|folder| !folders.contains(folder));
        }
    }
    told.unsigned.retain(|_, folders| !folders.is_empty());
    told.unread = signed.closed().iter().cloned().chain(missed.older).chain(more).collect();
    Ok(told)
}

impl Asked {
    /// Adds the session of a line that matches.
    fn takes(&self, row: &Row, found: &mut Named) {
        let tail = &row.tail;
        let elsewhere = self.tenant.as_ref().is_some_and(|tenant| *tenant != tail.tenant);
        if elsewhere || matches!(tail.kind, Some(Kind::Erasure | Kind::KeyCopies | Kind::Gap)) {
            return;
        }
        let trace = || tail.trace_id.as_ref().map(|trace| format!("trace-{trace}"));
        let Some(session) = tail.session_id.clone().or_else(trace) else { return };
        let wanted = match &self.what {
            Target::Session(wanted) => *wanted == session,
            Target::User(user) => tail.user_key.as_ref() == Some(user),
        };
        if wanted {
            found.add(&tail.account, (segment(&tail.tenant), segment(&session)));
        }
    }
}

/// The matching sessions of one account.
#[derive(Default)]
pub(crate) struct Sessions {
    pub(crate) account: String,
    pub(crate) folders: BTreeSet<Folder>,
    /// For a user, by account: sessions that only lines without a signature of the given keys name.
    unsigned: Accounts,
    unread: Vec<String>,
}

impl Sessions {
    /// The error if no signed line names the user, with the sessions that unsigned lines name.
    fn nobody(&self) -> ReadError {
        let none = "no line of the index tells of this user (`h-…`, as spans show it)".to_owned();
        ReadError::NotFound(std::iter::once(none).chain(self.left_out()).collect::<Vec<_>>().join("\n"))
    }

    /// What is not included, a line each.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let each = |(account, folders): (&String, &BTreeSet<Folder>)| {
            let say = |(tenant, session): &Folder| {
                format!(
                    "not included: {tenant}/{session} of account {account}: no signature of the given keys: another \
                     signer's, not signed yet, or planted"
                )
            };
            folders.iter().map(say).collect::<Vec<_>>()
        };
        let all = self.unsigned.iter().flat_map(each);
        let count = self.unsigned.values().map(BTreeSet::len).sum::<usize>();
        let more = count.checked_sub(MAX_UNSIGNED).filter(|more| *more > 0);
        let more = more.map(|more| format!("not included: {more} more sessions without a signature of the given keys"));
        all.take(MAX_UNSIGNED).chain(more).chain(self.unread.iter().cloned()).collect()
    }
}

/// The account and its sessions, as segments of object names. `account` is empty if only unsigned lines name the user.
///
/// # Errors
/// The store fails, no line matches, or several accounts match.
async fn all_sessions(place: &Place, asked: &Asked) -> Result<Sessions, ReadError> {
    let Told { mut found, unsigned, closed, mut unread } = told(place, asked).await?;
    if let (Target::User(_), Some(why)) = (&asked.what, closed.first()) {
        return Err(ReadError::unavailable(format!("sessions of the user may be missed, name them one by one: {why}")));
    }
    let count = found.len();
    let (account, mut folders) = match (found.pop_first(), &asked.what) {
        (Some(one), _) if count == 1 => one,
        (Some(_), _) => {
            return Err(ReadError::invalid(format!("{count} accounts have such a session; give --account")));
        }
        (None, Target::User(_)) => Default::default(),
        (None, Target::Session(_)) => {
            // lines of the last minutes are not in the index yet
            let none = "no line of the index tells of this session; is it new, give --account";
            let account = asked.account.clone();
            (
                account.ok_or_else(|| {
                    ReadError::NotFound([vec![none.to_owned()], closed.clone()].concat().join("\nnot read: "))
                })?,
                BTreeSet::new(),
            )
        }
    };
    if let Target::Session(session) = &asked.what {
        // an unreadable line, or one whose number another line claims, must not hide a tenant's keys
        let (session, tenant) = (segment(session), asked.tenant.as_deref().map(segment));
        let same = |(t, s): &Folder| *s == session && tenant.as_ref().is_none_or(|tenant| tenant == t);
        folders.extend(stored(place, &account).await?.into_iter().map(|(folder, _)| folder).filter(same));
        // other accounts may have the session too
        unread.extend(closed.into_iter().map(|why| format!("not read, lines of the session may stand there: {why}")));
    }
    Ok(Sessions { account, folders, unsigned, unread })
}

/// As [`all_sessions`], and for a user also the unsigned sessions that have keys; for callers to whom extra sessions do
/// no harm.
///
/// # Errors
/// As [`all_sessions`], or no line names the user.
pub(crate) async fn sessions_with_unsigned(place: &Place, asked: &Asked) -> Result<Sessions, ReadError> {
    let mut told = all_sessions(place, asked).await?;
    if told.account.is_empty() && told.unsigned.len() == 1 {
        told.account = told.unsigned.keys().next().cloned().unwrap_or_default();
    }
    if let Some(unsigned) = told.unsigned.get_mut(&told.account) {
        // someone who plants lines by the thousand must not cause as many notes
        let stored = stored(place, &told.account).await?.into_iter();
        let stored: BTreeSet<Folder> = stored.filter(|(_, key)| key.is_some()).map(|(folder, _)| folder).collect();
        told.folders.extend(unsigned.extract_if(.., |folder| stored.contains(folder)));
    }
    if told.folders.is_empty() && matches!(asked.what, Target::User(_)) {
        return Err(told.nobody());
    }
    Ok(told)
}

/// As [`all_sessions`], but for a user requires at least one signed session.
///
/// # Errors
/// As [`all_sessions`], or no signed line names the user.
pub(crate) async fn sessions(place: &Place, asked: &Asked) -> Result<Sessions, ReadError> {
    let told = all_sessions(place, asked).await?;
    if told.folders.is_empty() && matches!(asked.what, Target::User(_)) {
        return Err(told.nobody());
    }
    Ok(told)
}

/// Objects of these sessions that are under legal hold.
pub(super) async fn holds(
    place: &Place,
    account: &str,
    folders: &BTreeSet<Folder>,
    keys: &BTreeSet<Shredded>,
) -> Result<Vec<String>, ReadError> {
    let own = to_destroy(place, account, folders, keys).await?.into_iter();
    let mut objects = own.map(|name| (ObjectKind::Key, name)).collect::<Vec<_>>();
    for (tenant, session) in folders {
        let names = place.vault.list(ObjectKind::Payload, &format!("{account}/{tenant}/{session}/")).await?;
        objects.extend(names.into_iter().map(|name| (ObjectKind::Payload, name)));
    }
    let asked = stream::iter(objects).map(async |(kind, name)| {
        let held = place.eraser.held(kind, &name).await.map_err(|error| ReadError::of_object(&name, &error))?;
        Ok::<_, ReadError>(held.then_some(name))
    });
    let mut held: Vec<String> = asked.buffered(AT_ONCE).try_filter_map(async |held| Ok(held)).try_collect().await?;
    held.sort_unstable();
    Ok(held)
}

/// Whether an object is a key in a gateway's place other than these keys: later content is sealed to it.
pub(super) fn is_other_key(place: &Place, name: &str, ids: &BTreeSet<&str>) -> bool {
    let named = place.vault.relative(name).is_some_and(is_key_name);
    named && shredded(name).is_some_and(|key| !ids.contains(key.id.as_str()))
}

/// Names of all objects below these sessions that must go with these keys, including those with only older versions.
/// Any name counts, because a copy may be sealed to someone else. Other keys in a gateway's place are excluded, unless
/// they have the same bytes as one of these.
pub(super) async fn to_destroy(
    place: &Place,
    account: &str,
    folders: &BTreeSet<Folder>,
    keys: &BTreeSet<Shredded>,
) -> Result<Vec<String>, ReadError> {
    let ids: BTreeSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    let (mut out, mut others) = (Vec::new(), Vec::new());
    for (tenant, session) in folders {
        for name in names(place, &format!("keys/{account}/{tenant}/{session}/")).await? {
            if is_other_key(place, &name, &ids) { others.push(name) } else { out.push(name) }
        }
    }
    if others.is_empty() {
        return Ok(out);
    }
    let objects = hashes(place, &out).await?;
    let mut same = hashes(place, &others).await?;
    same.retain(|(_, sha256)| objects.iter().any(|(_, own)| own == sha256));
    out.extend(same.into_iter().map(|(name, _)| name));
    Ok(out)
}

/// Hashes of key objects; objects that are missing or too large for a key are left out.
async fn hashes(place: &Place, names: &[String]) -> Result<Vec<(String, [u8; 32])>, ReadError> {
    let read = stream::iter(names).map(async |name| match place.vault.key_object(name).await {
        Ok(bytes) => Ok(Some((name.clone(), Sha256::digest(&bytes).into()))),
        Err(StoreError::Missing | StoreError::TooLarge | StoreError::Archived) => Ok(None),
        Err(error) => Err(ReadError::of_object(name, &error)),
    });
    read.buffered(AT_ONCE).try_filter_map(async |one| Ok(one)).try_collect().await
}
