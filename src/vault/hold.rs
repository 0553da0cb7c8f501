//! **What**: legal holds: [`hold`] sets or releases one for sessions, [`holds`] lists those in force, [`is_held`] tells of one
//! session. **Why**: what a court asks for must outlive retention and erasure, and whoever releases it must be told later.
//! **Invariants**: a hold is a note that is never changed: the last one counts, all of them stay; it stands before the objects are
//! held, and after they are released, so that nothing in between is unprotected. In S3 each version of payload and
//! keys is held as well; in a folder the note holds them ([`super::store::DirectoryStore`]). **Not here**: who may (the store's rights).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;

use super::erase::{Asked, Folder, Target, sessions};
use super::names::{Scope, account_segment, rfc3339};
use super::place::Place;
use super::read::{ReadError, Vault, each_row};
use super::store::ObjectKind;

/// Where notes lie, below the vault's prefix.
pub const FOLDER: &str = "holds/";

/// A note: a hold was set, or released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The format, 1.
    pub v: u8,
    /// Account, as names have it.
    pub account: String,
    /// Tenant, as names have it.
    pub tenant: String,
    /// Session, as names have it.
    pub session: String,
    /// Set, else released.
    pub set: bool,
    /// Who did it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When, RFC 3339.
    pub at: String,
}

/// What a hold was set on, or released from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Sessions, as `tenant/session` in names.
    pub sessions: Vec<String>,
    /// Objects that the store itself holds, or holds no more.
    pub objects: u64,
    /// Objects of a store that knows no holds: the note alone protects them.
    pub noted: u64,
}

/// Sets a hold on what `asked` names, or releases it. Content that comes later is protected from erasure and sweeps by the note; in
/// S3 the hold itself is set on it by doing this again.
///
/// # Errors
/// One line: the store fails, or there is no such session.
pub async fn hold(
    place: &Place,
    asked: &Asked,
    set: bool,
    (by, why): (&str, &str),
    now: UnixNanos,
) -> Result<Touched, ReadError> {
    let (segment, folders) = match (&asked.what, set) {
        (Target::Session(session), false) => noted(place, asked, session).await?,
        _ => {
            let (account, folders) = sessions(place, asked).await?;
            (account_segment(&account), folders)
        }
    };
    if folders.is_empty() {
        return Err("there is no such session".to_owned());
    }
    let mut touched = Touched::default();
    for (tenant, session) in &folders {
        let note = Hold {
            v: 1,
            account: segment.clone(),
            tenant: tenant.clone(),
            session: session.clone(),
            set,
            by: by.to_owned(),
            why: why.to_owned(),
            at: rfc3339(now),
        };
        if set {
            write(place, &note, now).await?;
        }
        for (kind, name) in objects(place, &segment, tenant, session).await? {
            let held = place.holder.hold(kind, &name, set).await.map_err(|error| format!("{name}: {error}"))?;
            *(if held { &mut touched.objects } else { &mut touched.noted }) += 1;
        }
        if !set {
            write(place, &note, now).await?;
        }
        touched.sessions.push(format!("{tenant}/{session}"));
    }
    Ok(touched)
}

/// A session that is held: its content, and its lines in the index, may be gone.
async fn noted(place: &Place, asked: &Asked, session: &str) -> Result<(String, BTreeSet<Folder>), ReadError> {
    let segment = |id: &str| crate::pseudonym::segment(id).unwrap_or_else(|| id.to_owned());
    let mut found: BTreeMap<String, BTreeSet<Folder>> = BTreeMap::new();
    for held in holds(&place.vault, asked.account.as_deref()).await? {
        let tenant = asked.tenant.as_deref().is_none_or(|tenant| segment(tenant) == held.tenant);
        if tenant && held.session == segment(session) {
            found.entry(held.account).or_default().insert((held.tenant, held.session));
        }
    }
    match found.len() {
        0 => Err("this session is not under hold".to_owned()),
        1 => Ok(found.pop_first().unwrap_or_default()),
        count => Err(format!("{count} accounts have such a session under hold; give --account")),
    }
}

async fn write(place: &Place, note: &Hold, now: UnixNanos) -> Result<(), ReadError> {
    let folder = format!("{FOLDER}{}/{}/{}/", note.account, note.tenant, note.session);
    let last = place.vault.list(ObjectKind::Key, &folder).await?.last().and_then(|name| number(name));
    // behind the last one, whatever the clock says
    let number = last.map_or(now.0, |last| now.0.max(last + 1));
    let name = place.vault.full(&format!("{folder}{number:020}.json"));
    let bytes = serde_json::to_vec(note).unwrap_or_default(); // strings: can't fail
    let put = place.store.put_once(ObjectKind::Key, &name, bytes.into(), now).await;
    put.map(drop).map_err(|error| format!("{name}: {error}"))
}

fn number(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.strip_suffix(".json")?.parse().ok()
}

/// Payload and key objects of a session: by their names, and packed ones by the index.
async fn objects(
    place: &Place,
    segment: &str,
    tenant: &str,
    session: &str,
) -> Result<BTreeSet<(ObjectKind, String)>, ReadError> {
    let mut out = BTreeSet::new();
    for (kind, folder) in [
        (ObjectKind::Key, format!("keys/{segment}/{tenant}/{session}/")),
        (ObjectKind::Payload, format!("{segment}/{tenant}/{session}/")),
    ] {
        out.extend(place.vault.list(kind, &folder).await?.into_iter().map(|name| (kind, name)));
    }
    let mut visit = |row: super::row::Row| {
        let scope = Scope::of(&row.tail);
        let same = scope.account == segment && scope.tenant == tenant && scope.session == session;
        out.extend(row.object_key.filter(|_| same).map(|name| (ObjectKind::Payload, name)));
    };
    each_row(&place.vault, None, &|_| true, &mut visit).await?;
    Ok(out)
}

/// Holds in force, of one account (as the index shows it) or of all.
///
/// # Errors
/// One line: the store fails, or a note is damaged.
pub async fn holds(vault: &Vault, account: Option<&str>) -> Result<Vec<Hold>, ReadError> {
    let folder = account.map_or(FOLDER.to_owned(), |account| format!("{FOLDER}{}/", account_segment(account)));
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for name in vault.list(ObjectKind::Key, &folder).await? {
        if let Some((folder, _)) = name.rsplit_once('/') {
            last.insert(folder.to_owned(), name); // names come in order
        }
    }
    let mut out = Vec::new();
    for name in last.values() {
        let bytes = vault.fetch(ObjectKind::Key, name, None).await?;
        let note: Hold = serde_json::from_slice(&bytes).map_err(|_| format!("{name}: is no note of a hold"))?;
        out.extend(note.set.then_some(note));
    }
    Ok(out)
}

/// Whether a session (as the index shows it, `trace-…` for records without one) is under hold.
///
/// # Errors
/// One line: the store fails, or a note is damaged.
pub async fn is_held(vault: &Vault, account: &str, tenant: &str, session: &str) -> Result<bool, ReadError> {
    let segment = |id: &str| crate::pseudonym::segment(id).unwrap_or_else(|| id.to_owned());
    let (tenant, session) = (segment(tenant), segment(session));
    let holds = holds(vault, Some(account)).await?;
    Ok(holds.iter().any(|hold| hold.tenant == tenant && hold.session == session))
}
