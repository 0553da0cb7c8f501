//! Legal holds: [`apply_hold`] sets or releases one, [`list_notes`] lists them.
//! A hold is a note that is never changed or deleted. It is in force until a second note releases it by the hash of its
//! bytes, so a person who may write but not read can end no hold; a note that can't be read counts as a hold. Setting
//! writes the note before it holds the objects, and releasing writes the note last, so that nothing is unprotected in
//! between. In S3 each version of payload and keys is held too; in a folder the note alone protects them
//! ([`vault::store::DirectoryStore`]). The store's permissions decide who may set holds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use kernel::clock::UnixNanos;
use kernel::rng::Rng;

use super::erase::request::ContentTarget;
use super::erase::resolve::{TargetQuery, find_sessions, find_sessions_with_unsigned};
use super::error::{ReadError, Result};
use super::folders::SessionFolder;
use super::location::{Vault, WritableVault};
use super::read::{IndexLines, each_row};
use vault::hold_note::{HOLDS_FOLDER, HoldNote, active_holds, drop_oversized, note_number};
use vault::index_row::IndexRow;
use vault::object_names::{FragmentScope, ObjectName, account_segment, id_segment, rfc3339};
use vault::store::directory::NOT_A_REGULAR_FILE;
use vault::store::{ObjectKind, StoreError};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldNotes {
    /// Holds in force; a session may have several.
    pub in_force: Vec<HoldNote>,
    /// Objects that are not valid notes or can't be read, a line each. A malformed or unreadable note counts as a hold
    /// until it is released.
    pub invalid: Vec<String>,
}

/// Result of setting or releasing a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldOutcome {
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    /// Objects on which the store itself set or released a hold.
    pub objects: u64,
    /// Objects that only the note protects, because the store has no holds of its own.
    pub note_only: u64,
    /// Parts of the index that could not be read, so that packed objects may have been missed.
    pub unreadable: Vec<String>,
    /// Sessions that were left out because only unsigned lines name them, and unreadable parts of index and chains.
    pub ignored_lines: Vec<String>,
}

/// Sets a hold on the sessions that match `query`, or releases it. The note protects later content from erasure and
/// sweeps; in S3, objects written later are held only if this is called again. A hold for a user includes sessions that
/// only unsigned lines name, because holding too much is safe; a release does not.
pub async fn apply_hold(
    place: &WritableVault,
    query: &TargetQuery,
    set: bool,
    (by, why): (&str, &str),
    now: UnixNanos,
    rng: &dyn Rng,
) -> Result<HoldOutcome> {
    let mut outcome = HoldOutcome::default();
    let (account, folders) = match &query.target {
        ContentTarget::Session(session) if !set => find_held_session(place, query, session).await?,
        _ => {
            let matched = if set {
                find_sessions_with_unsigned(place, query).await?
            } else {
                find_sessions(place, query).await?
            };
            outcome.ignored_lines = matched.excluded();
            (account_segment(&matched.account), matched.folders)
        }
    };
    if folders.is_empty() {
        return Err(ReadError::new("no session matches: check the session or user, --account and --tenant"));
    }
    for (tenant, session) in &folders {
        let folder = format!("{HOLDS_FOLDER}{account}/{tenant}/{session}/");
        let existing = read_notes(&place.vault, &folder).await?;
        if let Some(message) = existing.unreadable.values().next().filter(|_| !set) {
            return Err(ReadError::new(format!("{message}; restore access to this note before you release the hold")));
        }
        let active = active_holds(&existing.notes);
        let note = HoldNote {
            v: 2,
            account: account.clone(),
            tenant: tenant.clone(),
            session: session.clone(),
            set,
            by: by.to_owned(),
            why: why.to_owned(),
            at: rfc3339(now),
            id: if set { kernel::hex::encode(&rng.id()) } else { String::new() },
            releases: if set { Vec::new() } else { active.into_iter().map(|(hash, _)| hash).collect() },
        };
        if set {
            write_note(place, &folder, &note, now).await?;
        }
        let (objects, unreadable_index) = list_session_objects(place, &account, tenant, session).await?;
        outcome.unreadable.extend(unreadable_index);
        for (kind, name) in objects {
            let to_error = |error: StoreError| ReadError::from_object_error(&name, &error);
            let store_has_holds = place.holder.set_hold(kind, &name, set).await.map_err(to_error)?;
            *(if store_has_holds { &mut outcome.objects } else { &mut outcome.note_only }) += 1;
            if set && !place.eraser.is_on_hold(kind, &name).await.map_err(to_error)? {
                return Err(ReadError::new(format!(
                    "{name}: a hold was set, but the store does not report it: check the store's permissions and run \
                     the command again"
                )));
            }
        }
        if !set {
            write_note(place, &folder, &note, now).await?;
        }
        // the notes are read back, because a store may accept a write without effect
        let active = active_holds(&read_notes(&place.vault, &folder).await?.notes);
        let is_as_intended =
            if set { active.iter().any(|(_, hold)| hold.as_ref() == Some(&note)) } else { active.is_empty() };
        if !is_as_intended {
            return Err(ReadError::new(format!(
                "{folder}: the hold note was written, but reading it back gives another state: run the command again"
            )));
        }
        outcome.sessions.push(format!("{tenant}/{session}"));
    }
    Ok(outcome)
}

/// Finds a session through its hold notes, because its content and index lines may be gone.
async fn find_held_session(
    place: &WritableVault,
    query: &TargetQuery,
    session: &str,
) -> Result<(String, BTreeSet<SessionFolder>)> {
    let mut folders: BTreeMap<String, BTreeSet<SessionFolder>> = BTreeMap::new();
    for hold in list_notes(&place.vault, query.account.as_deref()).await?.in_force {
        let is_wanted_tenant = query.tenant.as_deref().is_none_or(|tenant| id_segment(tenant) == hold.tenant);
        if is_wanted_tenant && hold.session == id_segment(session) {
            folders.entry(hold.account).or_default().insert((hold.tenant, hold.session));
        }
    }
    match folders.len() {
        0 => Err(ReadError::new("this session is not under hold")),
        1 => Ok(folders.pop_first().unwrap_or_default()),
        count => Err(ReadError::new(format!("{count} accounts have such a session under hold; give --account"))),
    }
}

async fn write_note(place: &WritableVault, folder: &str, note: &HoldNote, now: UnixNanos) -> Result<()> {
    let existing = read_notes(&place.vault, folder).await?;
    let is_taken = |number: &u64| existing.notes.contains_key(number) || existing.unreadable.contains_key(number);
    // numbers have no meaning, they only have to be unused
    let number = (now.0..).find(|number| !is_taken(number)).unwrap_or(now.0);
    let name = place.vault.full_name(&format!("{folder}{number:020}.json"));
    let bytes = serde_json::to_vec(note).unwrap_or_default(); // strings: serialising can't fail
    let written = place.store.put_once(ObjectKind::Key, &name, bytes.into(), now).await;
    written.map(drop).map_err(|error| ReadError::from_object_error(&name, &error))
}

/// The notes in a session's folder, by number.
#[derive(Default)]
struct SessionNotes {
    /// The bytes of notes, including malformed ones; no bytes for an object that is too large or not a regular file.
    notes: BTreeMap<u64, Bytes>,
    /// Notes that can't be read now, with a message: their content, and the hash that releases them, are unknown.
    unreadable: BTreeMap<u64, String>,
    /// Whether access to a note was denied.
    has_denied_note: bool,
    /// Objects whose name or content is not that of a note, a line each.
    invalid: Vec<String>,
}

async fn read_notes(vault: &Vault, folder: &str) -> Result<SessionNotes> {
    let mut found = SessionNotes::default();
    for name in vault.list(ObjectKind::Key, folder).await? {
        let file = vault.relative_name(&name).and_then(|name| name.strip_prefix(folder));
        let Some(number) = file.and_then(note_number) else {
            found.invalid.push(format!("{name}: this is not the name of a hold note; ignored"));
            continue;
        };
        let bytes = match vault.try_fetch(ObjectKind::Key, &name).await {
            Ok(bytes) => drop_oversized(bytes),
            Err(StoreError::TooLarge) => Bytes::new(),
            Err(StoreError::Denied(why)) if why == NOT_A_REGULAR_FILE => Bytes::new(),
            Err(error @ (StoreError::Archived | StoreError::Denied(_))) => {
                found.has_denied_note |= matches!(error, StoreError::Denied(_));
                found.unreadable.insert(
                    number,
                    format!("{name}: this hold note can't be read now, so the session counts as held: {error}"),
                );
                continue;
            }
            Err(error) => return Err(ReadError::from_object_error(&name, &error)),
        };
        if serde_json::from_slice::<HoldNote>(&bytes).is_err() {
            found.invalid.push(format!(
                "{name}: this hold note is malformed; the session counts as held until the note is released"
            ));
        }
        found.notes.insert(number, bytes);
    }
    Ok(found)
}

/// Payload and key objects of a session, and the parts of the index that could not be read, so that packed objects may
/// be missing.
type SessionObjects = (BTreeSet<(ObjectKind, String)>, Vec<String>);

/// Lists a session's objects by their names, and packed ones through the index. `account`, `tenant` and `session` are
/// segments of object names.
async fn list_session_objects(
    place: &WritableVault,
    account: &str,
    tenant: &str,
    session: &str,
) -> Result<SessionObjects> {
    let mut objects = BTreeSet::new();
    for (kind, folder) in [
        (ObjectKind::Key, format!("keys/{account}/{tenant}/{session}/")),
        (ObjectKind::Payload, format!("{account}/{tenant}/{session}/")),
    ] {
        objects.extend(place.vault.list(kind, &folder).await?.into_iter().map(|name| (kind, name)));
    }
    let mut packed = BTreeSet::new();
    let mut visit = |_: &str, row: IndexRow| {
        let scope = FragmentScope::from_tail(&row.tail);
        let is_of_session = scope.account == account && scope.tenant == tenant && scope.session == session;
        // anyone may have written the line, so it must not select an object of another session or account
        let is_packed = |name: &String| {
            ObjectName::parse(name).is_some_and(|parsed| parsed.scope.is_none() && parsed.account == account)
        };
        packed.extend(row.object_key.filter(|_| is_of_session).filter(is_packed));
    };
    let unread = each_row(&place.vault, None, &|_| true, IndexLines::All, &mut visit).await?;
    for name in packed {
        let relative_name = place.vault.relative_name(&name).unwrap_or(&name);
        // the line may name an object that does not exist
        if place.vault.list(ObjectKind::Payload, relative_name).await?.contains(&name) {
            objects.insert((ObjectKind::Payload, name));
        }
    }
    Ok((objects, unread.unreadable))
}

/// Notes of one account (as the index shows it) or of all.
pub async fn list_notes(vault: &Vault, account: Option<&str>) -> Result<HoldNotes> {
    let prefix =
        account.map_or(HOLDS_FOLDER.to_owned(), |account| format!("{HOLDS_FOLDER}{}/", account_segment(account)));
    let (mut listed, mut folders) = (HoldNotes::default(), BTreeSet::new());
    for name in vault.list(ObjectKind::Key, &prefix).await? {
        match vault.relative_name(&name).and_then(|name| name.rsplit_once('/')) {
            Some((folder, _)) if folder.split('/').count() == 4 => drop(folders.insert(format!("{folder}/"))),
            _ => listed.invalid.push(format!("{name}: this is not the name of a hold note; ignored")),
        }
    }
    let (mut first_denial, mut has_read_any) = (None, false);
    for folder in folders {
        let mut segments = folder.strip_prefix(HOLDS_FOLDER).unwrap_or_default().split('/').map(str::to_owned);
        let mut segment = || segments.next().unwrap_or_default();
        let (account, tenant, session) = (segment(), segment(), segment());
        let found = read_notes(vault, &folder).await?;
        has_read_any |= !found.notes.is_empty();
        first_denial =
            first_denial.or_else(|| found.unreadable.values().next().filter(|_| found.has_denied_note).cloned());
        let unreadable_holds = found.unreadable.values().map(|_| None);
        for note in active_holds(&found.notes).into_iter().map(|(_, note)| note).chain(unreadable_holds) {
            // the note's location decides which session it holds, not its content
            let (account, tenant, session) = (account.clone(), tenant.clone(), session.clone());
            let unknown_hold = || HoldNote {
                why: "unknown: the hold note can't be read".to_owned(),
                set: true,
                ..HoldNote::default()
            };
            listed.in_force.push(HoldNote { account, tenant, session, ..note.unwrap_or_else(unknown_hold) });
        }
        listed.invalid.extend(found.invalid.into_iter().chain(found.unreadable.into_values()));
    }
    // every read was denied: the caller lacks permission, rather than one note being unreadable
    match first_denial.filter(|_| !has_read_any) {
        Some(message) => Err(ReadError::new(message)),
        None => Ok(listed),
    }
}

/// Fails if a hold note covers the session; all arguments are segments of object names. Object holds are not enough:
/// packed content and keys that were stored later have none.
pub(super) async fn check_no_hold_note(vault: &Vault, account: &str, (tenant, session): &SessionFolder) -> Result<()> {
    let found = read_notes(vault, &format!("{HOLDS_FOLDER}{account}/{tenant}/{session}/")).await?;
    if found.unreadable.is_empty() && active_holds(&found.notes).is_empty() {
        return Ok(());
    }
    Err(ReadError::new(format!("the session {tenant}/{session} is under legal hold: release it first")))
}
