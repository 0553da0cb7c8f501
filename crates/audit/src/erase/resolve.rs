//! **What**: finds the keys of a session, or of all sessions of a user. **Why**: who signs must see what goes.
//! **Invariants**: the index tells which sessions there are, the store which keys: also those of content that no index
//! line names yet, and of a session those under every tenant; what of the index can't be read is told. **Not here**:
//! what is signed (`request`).

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

/// Objects that are asked about at a time.
const AT_ONCE: usize = 16;
/// Sessions that nobody signed, and are named.
const MAX_UNSIGNED: usize = 100;
/// The most that names of sessions take, bytes: whoever may only write decides how many lines tell of one.
const MAX_NAMES: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };
/// What a name takes beside its bytes, about.
const A_NAME: usize = 96;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose content.
    pub what: Target,
    /// Only this account.
    pub account: Option<String>,
    /// Only this tenant, as the index shows it.
    pub tenant: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The account.
    pub account: String,
    /// Sessions, as `tenant/session` in names.
    pub sessions: Vec<String>,
    /// Their keys.
    pub keys: Vec<Shredded>,
    /// Objects of theirs that are under legal hold.
    pub holds: Vec<String>,
    /// What lines say of the user that none of the given keys signed, and what of the index and the chains can't be
    /// read: it is not included.
    pub left_out: Vec<String>,
}

/// Finds what a request would destroy.
///
/// # Errors
/// One line: the store fails, or there is nothing to destroy.
pub async fn resolve(place: &Place, asked: &Asked) -> Result<Resolved, ReadError> {
    let told = sessions(place, asked).await?;
    let left_out = told.left_out();
    let Sessions { account, folders, .. } = told;
    let segment = account_segment(&account);
    let stored = stored(place, &account).await?;
    let own = stored.into_iter().filter(|(folder, _)| folders.contains(folder));
    let keys: BTreeSet<Shredded> = own.filter_map(|(_, key)| key).collect();
    // a copy that somebody put aside under a name of no key is to be erased, too
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

/// Names of key objects, also of those of which only older versions are left: whoever may read versions opens with
/// these.
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

/// Sessions of an account below which key objects lie, each with the key that an object is, also those of which there
/// is a copy in a folder of its own. No key where no gateway names one so: a request with that in it would be none.
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

/// Sessions as lines tell them, as many as are kept.
#[derive(Default)]
struct Named {
    accounts: Accounts,
    bytes: usize,
    /// There are more.
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

    /// That there are more, in words.
    fn told(&self) -> Option<String> {
        self.more
            .then(|| "lines tell of more sessions than are kept in memory: give --tenant, or name sessions".to_owned())
    }
}

/// What lines of the index tell of who is asked for.
#[derive(Default)]
pub(super) struct Told {
    pub(super) found: Accounts,
    /// Of a user: sessions that only lines tell of which none of the given keys signed.
    unsigned: Accounts,
    /// What of the index could not be read.
    closed: Vec<String>,
    /// What of the chains can't be read.
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
    // who may only write must not say whose a session is, nor be in the way of who may ask
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
    // what can't be read of these says nothing: anybody may have put it there
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
    /// Adds the session of a line that tells of who is asked for.
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

/// The sessions that are meant, of one account.
#[derive(Default)]
pub(crate) struct Sessions {
    pub(crate) account: String,
    pub(crate) folders: BTreeSet<Folder>,
    /// Of a user, by account: sessions that only lines tell of which none of the given keys signed.
    unsigned: Accounts,
    unread: Vec<String>,
}

impl Sessions {
    /// That no signed line tells of the user, and what the others say.
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

/// The account, and the sessions as names have them. Of a user of whom only lines tell that nobody signed: without an
/// account.
///
/// # Errors
/// One line: the store fails, nobody tells of it, or several accounts have it.
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
            // what came in the last minutes is in no line yet
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
        // a line that can't be read, or whose number another one claims, hides no tenant's keys
        let (session, tenant) = (segment(session), asked.tenant.as_deref().map(segment));
        let same = |(t, s): &Folder| *s == session && tenant.as_ref().is_none_or(|tenant| tenant == t);
        folders.extend(stored(place, &account).await?.into_iter().map(|(folder, _)| folder).filter(same));
        // other accounts may have it, too
        unread.extend(closed.into_iter().map(|why| format!("not read, lines of the session may stand there: {why}")));
    }
    Ok(Sessions { account, folders, unsigned, unread })
}

/// As [`all_sessions`], and of a user also those that nobody signed, if they have keys: where too much does no harm.
///
/// # Errors
/// As [`all_sessions`]; no line tells of the user.
pub(crate) async fn sessions_with_unsigned(place: &Place, asked: &Asked) -> Result<Sessions, ReadError> {
    let mut told = all_sessions(place, asked).await?;
    if told.account.is_empty() && told.unsigned.len() == 1 {
        told.account = told.unsigned.keys().next().cloned().unwrap_or_default();
    }
    if let Some(unsigned) = told.unsigned.get_mut(&told.account) {
        // whoever plants lines by the thousand makes nobody write as many notes
        let stored = stored(place, &told.account).await?.into_iter();
        let stored: BTreeSet<Folder> = stored.filter(|(_, key)| key.is_some()).map(|(folder, _)| folder).collect();
        told.folders.extend(unsigned.extract_if(.., |folder| stored.contains(folder)));
    }
    if told.folders.is_empty() && matches!(asked.what, Target::User(_)) {
        return Err(told.nobody());
    }
    Ok(told)
}

/// As [`all_sessions`], and of a user some that are signed.
///
/// # Errors
/// As [`all_sessions`]; no signed line tells of the user.
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

/// Whether an object is a key of its own in a gateway's place, and none of these: content that came later is sealed to
/// it.
pub(super) fn is_other_key(place: &Place, name: &str, ids: &BTreeSet<&str>) -> bool {
    let named = place.vault.relative(name).is_some_and(is_key_name);
    named && shredded(name).is_some_and(|key| !ids.contains(key.id.as_str()))
}

/// The names of all that lies below these sessions and goes with these keys, also where only older versions are left:
/// whatever its name, for a copy may be sealed to somebody else; but for other keys in a gateway's places, unless they
/// have the bytes of one of these.
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

/// The hashes of key objects; of those that are not there, or too large for one, none.
async fn hashes(place: &Place, names: &[String]) -> Result<Vec<(String, [u8; 32])>, ReadError> {
    let read = stream::iter(names).map(async |name| match place.vault.key_object(name).await {
        Ok(bytes) => Ok(Some((name.clone(), Sha256::digest(&bytes).into()))),
        Err(StoreError::Missing | StoreError::TooLarge | StoreError::Archived) => Ok(None),
        Err(error) => Err(ReadError::of_object(name, &error)),
    });
    read.buffered(AT_ONCE).try_filter_map(async |one| Ok(one)).try_collect().await
}
