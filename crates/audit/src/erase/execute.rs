//! Executes a request: announces the erasure, destroys the keys, records that it is done. Nothing is destroyed before
//! the announcing digest is stored. Keys that the request does not name stay; everything else below its sessions is
//! destroyed. The named keys must belong to the sessions that the signers saw. A legal hold stops the whole erasure.
//! Neighbours: `ledger` (the chain), `request` (signatures).

use std::collections::BTreeSet;

use crate::error::ReadError;
use crate::folders::{Folder, is_copy_of, session_of, shredded};
use crate::hold::is_noted;
use crate::ledger::{Ledger, Said};
use crate::place::Place;
use kernel::clock::UnixNanos;
use vault::chain::note::VerifyKey;
use vault::names::account_segment;
use vault::row::{Erasure, ErasureState, Shredded};
use vault::store::ObjectKind;

use super::request::{self, Request, Target};
use super::resolve::{Asked, holds, is_other_key, to_destroy, told};

/// Result of an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Keys destroyed.
    pub keys: usize,
    /// Objects that this run destroyed, counting all versions.
    pub objects: u64,
    /// Whether an earlier run had begun the erasure.
    pub resumed: bool,
    /// Keys of its sessions that the request does not name: added later, or left out of it.
    pub left: usize,
}

/// Executes a request that two of `erasers` signed, or completes it if an earlier run had begun it.
///
/// # Errors
/// The request is invalid, a session is under hold, or the store fails. Calling again completes an erasure that was
/// begun.
pub async fn execute(
    place: &Place,
    ledger: &mut Ledger<'_>,
    file: &str,
    erasers: &[VerifyKey],
    store: &str,
    now: UnixNanos,
) -> Result<Executed, ReadError> {
    let (request, signers) = request::open(file, erasers).map_err(of_request)?;
    let keys = judge(place, ledger, &request, store)?;
    let resumed = match ledger.begun() {
        Some(begun) if begun.nonce == request.nonce => true,
        Some(begun) => {
            return Err(ReadError::invalid(format!(
                "the erasure {} ({}) was begun and is not finished: finish it first (--resume)",
                begun.nonce, begun.why
            )));
        }
        None => false,
    };
    if !resumed {
        request::timely(&request, now).map_err(of_request)?;
        users_own(place, &request).await?;
    }
    unheld(place, &request, &keys).await?;
    if !resumed {
        let begun = Erasure { request: Some(file.to_owned()), ..said(&request, &signers, ErasureState::Begun) };
        ledger.append(Said::Erasure(begun), now).await?;
    }
    let objects = finish(place, ledger, &request, &signers, &keys, now).await?;
    // the erasure is done, even if the remaining keys can't be listed now
    let left = others(place, &request, &keys).await.unwrap_or_default();
    Ok(Executed { keys: keys.len(), objects, resumed, left })
}

fn of_request(error: ReadError) -> ReadError {
    error.reworded(|why| format!("the request {why}"))
}

/// Number of keys in its sessions that the request does not name.
async fn others(place: &Place, request: &Request, keys: &BTreeSet<Shredded>) -> Result<usize, ReadError> {
    let mut left = BTreeSet::new();
    for session in &request.sessions {
        let folder = format!("keys/{}/{session}/", account_segment(&request.account));
        let names = place.vault.list(ObjectKind::Key, &folder).await?;
        left.extend(names.iter().filter_map(|name| shredded(name)).filter(|key| !keys.contains(key)));
    }
    Ok(left.len())
}

/// Checks in the index that the sessions of a request for a user belong to that user: the signers saw a pseudonym and
/// sessions, and could not know that they belong together.
async fn users_own(place: &Place, request: &Request) -> Result<(), ReadError> {
    let Target::User(_) = &request.what else { return Ok(()) };
    let asked = Asked { what: request.what.clone(), account: Some(request.account.clone()), tenant: None };
    let own = told(place, &asked).await?.found;
    let own: BTreeSet<String> =
        own.into_values().flatten().map(|(tenant, session)| format!("{tenant}/{session}")).collect();
    match request.sessions.iter().find(|session| !own.contains(*session)) {
        None => Ok(()),
        Some(session) => Err(ReadError::forbidden(format!(
            "the request names the session {session}, which no line of the index says is this user's"
        ))),
    }
}

/// Completes an erasure that an earlier run had begun, from its announcement; the signatures are checked again. `None`
/// if there is none.
///
/// # Errors
/// As [`execute`].
pub async fn resume(
    place: &Place,
    ledger: &mut Ledger<'_>,
    erasers: &[VerifyKey],
    store: &str,
    now: UnixNanos,
) -> Result<Option<Executed>, ReadError> {
    let Some(begun) = ledger.begun() else { return Ok(None) };
    let file =
        begun.request.clone().ok_or_else(|| ReadError::damaged("the line that begins the erasure holds no request"))?;
    execute(place, ledger, &file, erasers, store, now).await.map(Some)
}

/// Checks that a request is for this vault and this chain and was not executed yet; returns its keys.
fn judge(place: &Place, ledger: &Ledger<'_>, request: &Request, store: &str) -> Result<BTreeSet<Shredded>, ReadError> {
    if request.store != store {
        return Err(ReadError::invalid(format!("the request is for the vault {}", request.store)));
    }
    if ledger.is_done(&request.nonce) {
        return Err(ReadError::invalid("the request was executed: it stands in the chain as done"));
    }
    let start = place.vault.full(&format!("keys/{}/", account_segment(&request.account)));
    // `request::read` checked that the keys belong to its sessions below the prefix it states; this checks the prefix
    if !request.keys.iter().all(|key| key.folder.starts_with(&start)) {
        return Err(ReadError::forbidden("the request names keys of another vault, or of another account"));
    }
    Ok(request.keys.iter().cloned().collect())
}

/// The sessions of the request.
fn folders(request: &Request) -> BTreeSet<Folder> {
    let session = |session: &String| session.split_once('/').map(|(t, s)| (t.to_owned(), s.to_owned()));
    request.sessions.iter().filter_map(session).collect()
}

/// Fails if a session or a key is under legal hold.
async fn unheld(place: &Place, request: &Request, keys: &BTreeSet<Shredded>) -> Result<(), ReadError> {
    let folders = folders(request);
    for folder in &folders {
        unnoted(place, request, folder).await?;
    }
    let held = holds(place, &account_segment(&request.account), &folders, keys).await?;
    match held.first() {
        None => Ok(()),
        Some(first) => Err(ReadError::forbidden(format!(
            "{} objects are under legal hold, {first} is one: release it first",
            held.len()
        ))),
    }
}

/// Fails if a hold note covers the session. A note also covers content that no object reveals: packed content, and keys
/// that did not exist.
async fn unnoted(place: &Place, request: &Request, (tenant, session): &Folder) -> Result<(), ReadError> {
    match is_noted(&place.vault, &account_segment(&request.account), tenant, session).await? {
        false => Ok(()),
        true => {
            Err(ReadError::forbidden(format!("the session {tenant}/{session} is under legal hold: release it first")))
        }
    }
}

fn said(request: &Request, signers: &[String], state: ErasureState) -> Erasure {
    Erasure {
        state,
        nonce: request.nonce.clone(),
        who: request.who.clone(),
        why: request.why.clone(),
        signers: signers.to_vec(),
        sessions: request.sessions.clone(),
        key_ids: request.keys.iter().map(|key| key.id.clone()).collect(),
        destroyed: None,
        request: None,
    }
}

/// Destroys the keys, checks that none is left, and records the result.
async fn finish(
    place: &Place,
    ledger: &mut Ledger<'_>,
    request: &Request,
    signers: &[String],
    keys: &BTreeSet<Shredded>,
    now: UnixNanos,
) -> Result<u64, ReadError> {
    let again = |error: ReadError| {
        error.reworded(|why| format!("{why}\nthe erasure has begun and is not finished: run it again"))
    };
    let (account, folders) = (account_segment(&request.account), folders(request));
    // a copy elsewhere below its session, or under another name, opens the same content
    let all = async || to_destroy(place, &account, &folders, keys).await.map_err(again);
    let elsewhere: BTreeSet<String> = all().await?.into_iter().collect();
    let mut gone = 0;
    let start = place.vault.full(&format!("keys/{account}/"));
    for key in keys {
        let stem = format!("{}{}", key.folder, key.id);
        // a hold may have been set meanwhile
        if let Some(folder) = session_of(&format!("{stem}.age"), &start) {
            unnoted(place, request, &folder).await.map_err(again)?;
        }
        let own = |name: &str| is_copy_of(name, &stem);
        gone += place.eraser.destroy(&stem, &own).await.map_err(|error| again(ReadError::of_object(&stem, &error)))?;
    }
    let ids: BTreeSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    for folder in &folders {
        unnoted(place, request, folder).await.map_err(again)?;
        let below = format!("{start}{}/{}/", folder.0, folder.1);
        let own = |name: &str| !is_other_key(place, name, &ids) || elsewhere.contains(name);
        gone +=
            place.eraser.destroy(&below, &own).await.map_err(|error| again(ReadError::of_object(&below, &error)))?;
    }
    if let Some(name) = all().await?.first() {
        return Err(again(ReadError::Unavailable(format!("{name} is there again"))));
    }
    let done = Erasure { destroyed: Some(gone), ..said(request, signers, ErasureState::Done) };
    ledger.append(Said::Erasure(done), now).await.map_err(again)?;
    Ok(gone)
}
