//! Legal holds: [`apply_hold`] sets or releases one for sessions, [`list_holds`] lists those in force,
//! [`is_under_hold`] checks one session. A hold protects content against retention and erasure, and the record of who
//! released it remains.
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

use super::erase::request::ContentTarget;
use super::erase::resolve::{TargetQuery, find_sessions, find_sessions_with_unsigned};
use super::error::ReadError;
use super::folders::SessionFolder;
use super::location::Vault;
use super::read::each_row;
use super::writable_vault::WritableVault;
use vault::hold_note::{HOLDS_FOLDER, HoldNote, active_holds, drop_oversized, note_number};
use vault::object_names::{FragmentScope, ObjectName, account_segment, rfc3339};
use vault::store::directory::NOT_A_REGULAR_FILE;
use vault::store::{ObjectKind, StoreError};

/// The notes of a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldNotes {
    /// Holds in force; a session may have several.
    pub in_force: Vec<HoldNote>,
    /// Objects that are no notes or can't be read, a line each. An unreadable note is in force until it is released.
    pub invalid: Vec<String>,
}

/// Result of setting or releasing a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldOutcome {
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Objects on which the store itself set or released a hold.
    pub objects: u64,
    /// Objects in a store without holds of its own: only the note protects them.
    pub note_only: u64,
    /// Parts of the index that could not be read, so that packed objects may have been missed.
    pub unreadable: Vec<String>,
    /// Lines about the user that none of the given keys signed and that were therefore ignored.
    pub ignored_lines: Vec<String>,
}

/// Sets a hold on the sessions that `asked` selects, or releases it. The note protects later content from erasure and
/// sweeps; in S3, the object hold covers later content only if this is called again. When a hold is set for a user,
/// sessions from unsigned lines are included, because holding too much is safe; for a release they are not.
///
/// # Errors
/// The store fails, or there is no such session.
pub async fn apply_hold(
    place: &WritableVault,
    asked: &TargetQuery,
    set: bool,
    (by, why): (&str, &str),
    now: UnixNanos,
    rng: &dyn Rng,
) -> Result<HoldOutcome, ReadError> {
    let mut touched = HoldOutcome::default();
    let (segment, folders) = match (&asked.target, set) {
        (ContentTarget::Session(session), false) => find_held_session(place, asked, session).await?,
        (_, set) => {
            let told = if set {
                find_sessions_with_unsigned(place, asked).await?
            } else {
                find_sessions(place, asked).await?
            };
            touched.ignored_lines = told.excluded();
            (account_segment(&told.account), told.folders)
        }
    };
    if folders.is_empty() {
        return Err(ReadError::not_found("no session matches: check the session or user, --account and --tenant"));
    }
    for (tenant, session) in &folders {
        let folder = format!("{HOLDS_FOLDER}{segment}/{tenant}/{session}/");
        let before = read_notes(&place.vault, &folder).await?;
        if let Some(why) = before.unreadable.values().next().filter(|_| !set) {
            return Err(ReadError::unavailable(format!(
                "{why}; restore access to this note before you release the hold"
            )));
        }
        let before = active_holds(&before.notes);
        let note = HoldNote {
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
            write_note(place, &folder, &note, now).await?;
        }
        let (objects, closed) = list_session_objects(place, &segment, tenant, session).await?;
        touched.unreadable.extend(closed);
        for (kind, name) in objects {
            let say = |error: StoreError| ReadError::from_object_error(&name, &error);
            let held = place.holder.set_hold(kind, &name, set).await.map_err(say)?;
            *(if held { &mut touched.objects } else { &mut touched.note_only }) += 1;
            if set && !place.eraser.is_on_hold(kind, &name).await.map_err(say)? {
                return Err(ReadError::unavailable(format!(
                    "{name}: a hold was set, but the store does not report it: check the store's permissions and run the command again"
                )));
            }
        }
        if !set {
            write_note(place, &folder, &note, now).await?;
        }
        // a note counts only if it can be read back with the intended effect
        let after = active_holds(&read_notes(&place.vault, &folder).await?.notes);
        if after.iter().any(|(_, told)| told.as_ref() == Some(&note)) != set || (!set && !after.is_empty()) {
            return Err(ReadError::unavailable(format!(
                "{folder}: the hold note was written, but reading it back gives another state: run the command again"
            )));
        }
        touched.sessions.push(format!("{tenant}/{session}"));
    }
    Ok(touched)
}

/// Finds a session through its hold notes, because its content and index lines may be gone.
async fn find_held_session(
    place: &WritableVault,
    asked: &TargetQuery,
    session: &str,
) -> Result<(String, BTreeSet<SessionFolder>), ReadError> {
    let segment = |id: &str| kernel::pseudonym::encode_segment(id).unwrap_or_else(|| id.to_owned());
    let mut found: BTreeMap<String, BTreeSet<SessionFolder>> = BTreeMap::new();
    for held in list_holds(&place.vault, asked.account.as_deref()).await? {
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

async fn write_note(place: &WritableVault, folder: &str, note: &HoldNote, now: UnixNanos) -> Result<(), ReadError> {
    let there = read_notes(&place.vault, folder).await?;
    let taken = |number: &u64| there.notes.contains_key(number) || there.unreadable.contains_key(number);
    // numbers have no meaning, they only have to be unused
    let number = (now.0..).find(|number| !taken(number)).unwrap_or(now.0);
    let name = place.vault.full_name(&format!("{folder}{number:020}.json"));
    let bytes = serde_json::to_vec(note).unwrap_or_default(); // strings: serialising can't fail
    let put = place.store.put_once(ObjectKind::Key, &name, bytes.into(), now).await;
    put.map(drop).map_err(|error| ReadError::from_object_error(&name, &error))
}

/// The notes in a session's folder.
#[derive(Default)]
struct SessionNotes {
    notes: BTreeMap<u64, Bytes>,
    /// Notes that can't be read now, with the reason: their content, and the hash that releases them, are unknown.
    unreadable: BTreeMap<u64, String>,
    /// Whether access to a note was denied, possibly for lack of permission.
    denied: bool,
    /// Objects whose name or content is not that of a note.
    invalid: Vec<String>,
}

async fn read_notes(vault: &Vault, folder: &str) -> Result<SessionNotes, ReadError> {
    let mut there = SessionNotes::default();
    for name in vault.list(ObjectKind::Key, folder).await? {
        let file = vault.relative_name(&name).and_then(|own| own.strip_prefix(folder));
        let Some(number) = file.and_then(note_number) else {
            there.invalid.push(format!("{name}: this is not the name of a hold note; ignored"));
            continue;
        };
        let bytes = match vault.try_fetch(ObjectKind::Key, &name).await {
            Ok(bytes) => drop_oversized(bytes),
            Err(StoreError::TooLarge) => Bytes::new(),
            Err(StoreError::Denied(why)) if why == NOT_A_REGULAR_FILE => Bytes::new(),
            Err(error @ (StoreError::Archived | StoreError::Denied(_))) => {
                there.denied |= matches!(error, StoreError::Denied(_));
                there.unreadable.insert(
                    number,
                    format!("{name}: this hold note can't be read now, so the session counts as held: {error}"),
                );
                continue;
            }
            Err(error) => return Err(ReadError::from_object_error(&name, &error)),
        };
        if serde_json::from_slice::<HoldNote>(&bytes).is_err() {
            there.invalid.push(format!(
                "{name}: this hold note is malformed; the session counts as held until the note is released"
            ));
        }
        there.notes.insert(number, bytes);
    }
    Ok(there)
}

/// Payload and key objects of a session, by their names, and packed ones through the index; and the parts of the index
/// that could not be read.
async fn list_session_objects(
    place: &WritableVault,
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
    let mut visit = |row: vault::index_row::IndexRow| {
        let scope = FragmentScope::from_tail(&row.tail);
        let same = scope.account == segment && scope.tenant == tenant && scope.session == session;
        // anyone may have written the line, so it must not select an object of another session
        let own =
            |name: &String| ObjectName::parse(name).is_some_and(|one| one.scope.is_none() && one.account == segment);
        packed.extend(row.object_key.filter(|_| same).filter(own));
    };
    let closed = each_row(&place.vault, None, &|_| true, &mut visit).await?;
    for name in packed {
        let own = place.vault.relative_name(&name).unwrap_or(&name);
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
pub async fn list_notes(vault: &Vault, account: Option<&str>) -> Result<HoldNotes, ReadError> {
    let start =
        account.map_or(HOLDS_FOLDER.to_owned(), |account| format!("{HOLDS_FOLDER}{}/", account_segment(account)));
    let (mut all, mut folders) = (HoldNotes::default(), BTreeSet::new());
    for name in vault.list(ObjectKind::Key, &start).await? {
        match vault.relative_name(&name).and_then(|own| own.rsplit_once('/')) {
            Some((folder, _)) if folder.split('/').count() == 4 => drop(folders.insert(format!("{folder}/"))),
            _ => all.invalid.push(format!("{name}: this is not the name of a hold note; ignored")),
        }
    }
    let (mut denied, mut may_read) = (None, false);
    for folder in folders {
        let mut parts = folder.trim_start_matches(HOLDS_FOLDER).split('/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (account, tenant, session) = (part(), part(), part());
        let there = read_notes(vault, &folder).await?;
        may_read |= !there.notes.is_empty();
        denied = denied.or_else(|| there.unreadable.values().next().filter(|_| there.denied).cloned());
        let unread = there.unreadable.values().map(|_| None);
        for note in active_holds(&there.notes).into_iter().map(|(_, note)| note).chain(unread) {
            // the note's location decides which session it holds, not its content
            let (account, tenant, session) = (account.clone(), tenant.clone(), session.clone());
            let unread = || HoldNote {
                why: "unknown: the hold note can't be read".to_owned(),
                set: true,
                ..HoldNote::default()
            };
            all.in_force.push(HoldNote { account, tenant, session, ..note.unwrap_or_else(unread) });
        }
        all.invalid.extend(there.invalid.into_iter().chain(there.unreadable.into_values()));
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
pub async fn list_holds(vault: &Vault, account: Option<&str>) -> Result<Vec<HoldNote>, ReadError> {
    Ok(list_notes(vault, account).await?.in_force)
}

/// Whether a session is under hold; all arguments are segments of object names.
pub(super) async fn has_hold_note(
    vault: &Vault,
    account: &str,
    tenant: &str,
    session: &str,
) -> Result<bool, ReadError> {
    let there = read_notes(vault, &format!("{HOLDS_FOLDER}{account}/{tenant}/{session}/")).await?;
    Ok(!there.unreadable.is_empty() || !active_holds(&there.notes).is_empty())
}

/// Whether a session (as the index shows it, `trace-…` for records without one) is under hold.
///
/// # Errors
/// The store fails.
pub async fn is_under_hold(vault: &Vault, account: &str, tenant: &str, session: &str) -> Result<bool, ReadError> {
    let segment = |id: &str| kernel::pseudonym::encode_segment(id).unwrap_or_else(|| id.to_owned());
    let (tenant, session) = (segment(tenant), segment(session));
    let holds = list_holds(vault, Some(account)).await?;
    Ok(holds.iter().any(|hold| hold.tenant == tenant && hold.session == session))
}
