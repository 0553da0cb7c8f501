//! Legal holds: [`hold`] sets or releases one for sessions, [`holds`] lists those in force, [`is_held`] checks one
//! session. A hold protects content against retention and erasure, and the record of who released it remains.
//!
//! A hold is a note that is never changed, and all notes stay. It is in force until another note releases it by the
//! hash of its bytes. Only someone who can read the note knows the hash, so a person with write access alone can add
//! holds but end none. A note that can't be read now (archived, encrypted with another key) counts as a hold; it can be
//! released once it is readable. The note is written before the objects are held and the release after they are freed,
//! so that nothing is unprotected in between. In S3 each version of payload and keys is held as well; in a folder the
//! note alone protects them ([`vault::store::DirectoryStore`]). The store's permissions decide who may set holds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use kernel::clock::UnixNanos;
use kernel::rng::Rng;

use super::erase::request::Target;
use super::erase::resolve::{Asked, sessions, sessions_with_unsigned};
use super::error::ReadError;
use super::folders::Folder;
use super::location::Vault;
use super::place::Place;
use super::read::each_row;
use vault::hold_note::{FOLDER, Hold, bounded, in_force, number};
use vault::names::{ObjectName, Scope, account_segment, rfc3339};
use vault::store::directory::NOT_A_FILE;
use vault::store::{ObjectKind, StoreError};

/// The notes of a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Holds in force; a session may have several.
    pub in_force: Vec<Hold>,
    /// Objects that are no notes or can't be read, a line each. An unreadable note is in force until it is released.
    pub strange: Vec<String>,
}

/// Result of setting or releasing a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Objects on which the store itself set or released a hold.
    pub objects: u64,
    /// Objects in a store without holds of its own: only the note protects them.
    pub noted: u64,
    /// Parts of the index that could not be read, so that packed objects may have been missed.
    pub closed: Vec<String>,
    /// Lines about the user that none of the given keys signed and that were therefore ignored.
    pub left_out: Vec<String>,
}

/// Sets a hold on the sessions that `asked` selects, or releases it. The note protects later content from erasure and
/// sweeps; in S3, the object hold covers later content only if this is called again. When a hold is set for a user,
/// sessions from unsigned lines are included, because holding too much is safe; for a release they are not.
///
/// # Errors
/// The store fails, or there is no such session.
pub async fn hold(
    place: &Place,
    asked: &Asked,
    set: bool,
    (by, why): (&str, &str),
    now: UnixNanos,
    rng: &dyn Rng,
) -> Result<Touched, ReadError> {
    let mut touched = Touched::default();
    let (segment, folders) = match (&asked.what, set) {
        (Target::Session(session), false) => noted(place, asked, session).await?,
        (_, set) => {
            let told = if set { sessions_with_unsigned(place, asked).await? } else { sessions(place, asked).await? };
            touched.left_out = told.left_out();
            (account_segment(&told.account), told.folders)
        }
    };
    if folders.is_empty() {
        return Err(ReadError::not_found("there is no such session"));
    }
    for (tenant, session) in &folders {
        let folder = format!("{FOLDER}{segment}/{tenant}/{session}/");
        let before = read(&place.vault, &folder).await?;
        if let Some(why) = before.unread.values().next().filter(|_| !set) {
            return Err(ReadError::unavailable(format!("{why}; until it can be read nobody can release it")));
        }
        let before = in_force(&before.notes);
        let note = Hold {
            v: 2,
            account: segment.clone(),
            tenant: tenant.clone(),
            session: session.clone(),
            set,
            by: by.to_owned(),
            why: why.to_owned(),
            at: rfc3339(now),
            id: if set { kernel::hex::encode(&rng.id()) } else { String::new() },
            releases: if set { Vec::new() } else { before.into_iter().map(|(hash, _)| hash).collect() },
        };
        if set {
            write(place, &folder, &note, now).await?;
        }
        let (objects, closed) = objects(place, &segment, tenant, session).await?;
        touched.closed.extend(closed);
        for (kind, name) in objects {
            let say = |error: StoreError| ReadError::of_object(&name, &error);
            let held = place.holder.hold(kind, &name, set).await.map_err(say)?;
            *(if held { &mut touched.objects } else { &mut touched.noted }) += 1;
            if set && !place.eraser.held(kind, &name).await.map_err(say)? {
                return Err(ReadError::unavailable(format!(
                    "{name}: the hold was set, and the store does not hold it"
                )));
            }
        }
        if !set {
            write(place, &folder, &note, now).await?;
        }
        // a note counts only if it can be read back with the intended effect
        let after = in_force(&read(&place.vault, &folder).await?.notes);
        if after.iter().any(|(_, told)| told.as_ref() == Some(&note)) != set || (!set && !after.is_empty()) {
            return Err(ReadError::unavailable(format!(
                "{folder}: the note was written, and does not say so when it is read: do it again"
            )));
        }
        touched.sessions.push(format!("{tenant}/{session}"));
    }
    Ok(touched)
}

/// Finds a session through its hold notes, because its content and index lines may be gone.
async fn noted(place: &Place, asked: &Asked, session: &str) -> Result<(String, BTreeSet<Folder>), ReadError> {
    let segment = |id: &str| kernel::pseudonym::segment(id).unwrap_or_else(|| id.to_owned());
    let mut found: BTreeMap<String, BTreeSet<Folder>> = BTreeMap::new();
    for held in holds(&place.vault, asked.account.as_deref()).await? {
        let tenant = asked.tenant.as_deref().is_none_or(|tenant| segment(tenant) == held.tenant);
        if tenant && held.session == segment(session) {
            found.entry(held.account).or_default().insert((held.tenant, held.session));
        }
    }
    match found.len() {
        0 => Err(ReadError::not_found("this session is not under hold")),
        1 => Ok(found.pop_first().unwrap_or_default()),
        count => Err(ReadError::invalid(format!("{count} accounts have such a session under hold; give --account"))),
    }
}

async fn write(place: &Place, folder: &str, note: &Hold, now: UnixNanos) -> Result<(), ReadError> {
    let there = read(&place.vault, folder).await?;
    let taken = |number: &u64| there.notes.contains_key(number) || there.unread.contains_key(number);
    // numbers have no meaning, they only have to be unused
    let number = (now.0..).find(|number| !taken(number)).unwrap_or(now.0);
    let name = place.vault.full(&format!("{folder}{number:020}.json"));
    let bytes = serde_json::to_vec(note).unwrap_or_default(); // strings: serialising can't fail
    let put = place.store.put_once(ObjectKind::Key, &name, bytes.into(), now).await;
    put.map(drop).map_err(|error| ReadError::of_object(&name, &error))
}

/// The notes in a session's folder.
#[derive(Default)]
struct There {
    notes: BTreeMap<u64, Bytes>,
    /// Notes that can't be read now, with the reason: their content, and the hash that releases them, are unknown.
    unread: BTreeMap<u64, String>,
    /// Whether access to a note was denied, possibly for lack of permission.
    denied: bool,
    /// Objects whose name or content is not that of a note.
    strange: Vec<String>,
}

async fn read(vault: &Vault, folder: &str) -> Result<There, ReadError> {
    let mut there = There::default();
    for name in vault.list(ObjectKind::Key, folder).await? {
        let file = vault.relative(&name).and_then(|own| own.strip_prefix(folder));
        let Some(number) = file.and_then(number) else {
            there.strange.push(format!("{name}: no note of a hold has such a name; it counts for nothing"));
            continue;
        };
        let bytes = match vault.try_fetch(ObjectKind::Key, &name).await {
            Ok(bytes) => bounded(bytes),
            Err(StoreError::TooLarge) => Bytes::new(),
            Err(StoreError::Denied(why)) if why == NOT_A_FILE => Bytes::new(),
            Err(error @ (StoreError::Archived | StoreError::Denied(_))) => {
                there.denied |= matches!(error, StoreError::Denied(_));
                there.unread.insert(number, format!("{name}: a note that can't be read now, which holds: {error}"));
                continue;
            }
            Err(error) => return Err(ReadError::of_object(&name, &error)),
        };
        if serde_json::from_slice::<Hold>(&bytes).is_err() {
            there.strange.push(format!("{name}: is no note of a hold that can be read; it holds until it is released"));
        }
        there.notes.insert(number, bytes);
    }
    Ok(there)
}

/// Payload and key objects of a session, by their names, and packed ones through the index; and the parts of the index
/// that could not be read.
async fn objects(
    place: &Place,
    segment: &str,
    tenant: &str,
    session: &str,
) -> Result<(BTreeSet<(ObjectKind, String)>, Vec<String>), ReadError> {
    let mut out = BTreeSet::new();
    for (kind, folder) in [
        (ObjectKind::Key, format!("keys/{segment}/{tenant}/{session}/")),
        (ObjectKind::Payload, format!("{segment}/{tenant}/{session}/")),
    ] {
        out.extend(place.vault.list(kind, &folder).await?.into_iter().map(|name| (kind, name)));
    }
    let mut packed = BTreeSet::new();
    let mut visit = |row: vault::row::Row| {
        let scope = Scope::of(&row.tail);
        let same = scope.account == segment && scope.tenant == tenant && scope.session == session;
        // anyone may have written the line, so it must not select an object of another session
        let own =
            |name: &String| ObjectName::parse(name).is_some_and(|one| one.scope.is_none() && one.account == segment);
        packed.extend(row.object_key.filter(|_| same).filter(own));
    };
    let closed = each_row(&place.vault, None, &|_| true, &mut visit).await?;
    for name in packed {
        let own = place.vault.relative(&name).unwrap_or(&name);
        // and the object must exist
        if place.vault.list(ObjectKind::Payload, own).await?.contains(&name) {
            out.insert((ObjectKind::Payload, name));
        }
    }
    Ok((out, closed))
}

/// Notes of one account (as the index shows it) or of all.
///
/// # Errors
/// The store fails.
pub async fn notes(vault: &Vault, account: Option<&str>) -> Result<Notes, ReadError> {
    let start = account.map_or(FOLDER.to_owned(), |account| format!("{FOLDER}{}/", account_segment(account)));
    let (mut all, mut folders) = (Notes::default(), BTreeSet::new());
    for name in vault.list(ObjectKind::Key, &start).await? {
        match vault.relative(&name).and_then(|own| own.rsplit_once('/')) {
            Some((folder, _)) if folder.split('/').count() == 4 => drop(folders.insert(format!("{folder}/"))),
            _ => all.strange.push(format!("{name}: no note of a hold has such a name; it counts for nothing")),
        }
    }
    let (mut denied, mut may_read) = (None, false);
    for folder in folders {
        let mut parts = folder.trim_start_matches(FOLDER).split('/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (account, tenant, session) = (part(), part(), part());
        let there = read(vault, &folder).await?;
        may_read |= !there.notes.is_empty();
        denied = denied.or_else(|| there.unread.values().next().filter(|_| there.denied).cloned());
        let unread = there.unread.values().map(|_| None);
        for note in in_force(&there.notes).into_iter().map(|(_, note)| note).chain(unread) {
            // the note's location decides which session it holds, not its content
            let (account, tenant, session) = (account.clone(), tenant.clone(), session.clone());
            let unread = || Hold { why: "a note that can't be read".to_owned(), set: true, ..Hold::default() };
            all.in_force.push(Hold { account, tenant, session, ..note.unwrap_or_else(unread) });
        }
        all.strange.extend(there.strange.into_iter().chain(there.unread.into_values()));
    }
    // every read was denied: the caller lacks permission, rather than one note being unreadable
    match denied.filter(|_| !may_read) {
        Some(why) => Err(ReadError::Forbidden(why)),
        None => Ok(all),
    }
}

/// Holds in force, of one account (as the index shows it) or of all.
///
/// # Errors
/// The store fails.
pub async fn holds(vault: &Vault, account: Option<&str>) -> Result<Vec<Hold>, ReadError> {
    Ok(notes(vault, account).await?.in_force)
}

/// Whether a session is under hold; all arguments are segments of object names.
pub(super) async fn is_noted(vault: &Vault, account: &str, tenant: &str, session: &str) -> Result<bool, ReadError> {
    let there = read(vault, &format!("{FOLDER}{account}/{tenant}/{session}/")).await?;
    Ok(!there.unread.is_empty() || !in_force(&there.notes).is_empty())
}

/// Whether a session (as the index shows it, `trace-…` for records without one) is under hold.
///
/// # Errors
/// The store fails.
pub async fn is_held(vault: &Vault, account: &str, tenant: &str, session: &str) -> Result<bool, ReadError> {
    let segment = |id: &str| kernel::pseudonym::segment(id).unwrap_or_else(|| id.to_owned());
    let (tenant, session) = (segment(tenant), segment(session));
    let holds = holds(vault, Some(account)).await?;
    Ok(holds.iter().any(|hold| hold.tenant == tenant && hold.session == session))
}
