//! Executes a request: announces the erasure, destroys the keys, records that it is done. Nothing is destroyed before
//! the announcing digest is stored. Keys that the request does not name stay; everything else below its sessions is
//! destroyed. The named keys must belong to the sessions that the signers saw. A legal hold stops the whole erasure.
//! Neighbours: `ledger` (the chain), `request` (signatures).

use std::collections::BTreeSet;

use crate::error::ReadError;
use crate::folders::{SessionFolder, is_copy_of, parse_key_name, parse_session_folder};
use crate::hold::has_hold_note;
use crate::ledger::{Ledger, LedgerEntry};
use crate::writable_vault::WritableVault;
use kernel::clock::UnixNanos;
use vault::chain::note::VerifyKey;
use vault::index_row::{ErasureRecord, ErasureState, ShreddedKey};
use vault::object_names::account_segment;
use vault::store::ObjectKind;

use super::request::{self, ContentTarget, ErasureRequest};
use super::resolve::{TargetQuery, find_held_objects, is_other_key, list_objects_to_destroy, search_sessions};

/// Result of an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureOutcome {
    /// Keys destroyed.
    pub keys: usize,
    /// Objects that this run destroyed, counting all versions.
    pub objects: u64,
    /// Whether an earlier run had begun the erasure.
    pub resumed: bool,
    /// Keys of its sessions that the request does not name: added later, or left out of it.
    pub remaining_keys: usize,
}

/// Executes a request that two of `erasers` signed, or completes it if an earlier run had begun it.
///
/// # Errors
/// The request is invalid, a session is under hold, or the store fails. Calling again completes an erasure that was
/// begun.
pub async fn execute_request(
    place: &WritableVault,
    ledger: &mut Ledger<'_>,
    file: &str,
    erasers: &[VerifyKey],
    store: &str,
    now: UnixNanos,
) -> Result<ErasureOutcome, ReadError> {
    let (request, signers) = request::open(file, erasers).map_err(request_error)?;
    let keys = check_request(place, ledger, &request, store)?;
    let resumed = match ledger.begun_erasure() {
        Some(begun) if begun.nonce == request.nonce => true,
        Some(begun) => {
            return Err(ReadError::invalid(format!(
                "the erasure {} ({}) is unfinished: complete it first with --resume",
                begun.nonce, begun.why
            )));
        }
        None => false,
    };
    if !resumed {
        request::check_validity(&request, now).map_err(request_error)?;
        check_user_sessions(place, &request).await?;
    }
    check_no_holds(place, &request, &keys).await?;
    if !resumed {
        let begun =
            ErasureRecord { request: Some(file.to_owned()), ..build_erasure(&request, &signers, ErasureState::Begun) };
        ledger.append(LedgerEntry::Erasure(begun), now).await?;
    }
    let objects = destroy_keys(place, ledger, &request, &signers, &keys, now).await?;
    // the erasure is done, even if the remaining keys can't be listed now
    let left = count_other_keys(place, &request, &keys).await.unwrap_or_default();
    Ok(ErasureOutcome { keys: keys.len(), objects, resumed, remaining_keys: left })
}

fn request_error(error: ReadError) -> ReadError {
    error.map_message(|why| format!("the request {why}"))
}

/// Number of keys in its sessions that the request does not name.
async fn count_other_keys(
    place: &WritableVault,
    request: &ErasureRequest,
    keys: &BTreeSet<ShreddedKey>,
) -> Result<usize, ReadError> {
    let mut left = BTreeSet::new();
    for session in &request.sessions {
        let folder = format!("keys/{}/{session}/", account_segment(&request.account));
        let names = place.vault.list(ObjectKind::Key, &folder).await?;
        left.extend(names.iter().filter_map(|name| parse_key_name(name)).filter(|key| !keys.contains(key)));
    }
    Ok(left.len())
}

/// Checks in the index that the sessions of a request for a user belong to that user: the signers saw a pseudonym and
/// sessions, and could not know that they belong together.
async fn check_user_sessions(place: &WritableVault, request: &ErasureRequest) -> Result<(), ReadError> {
    let ContentTarget::User(_) = &request.what else { return Ok(()) };
    let asked = TargetQuery { target: request.what.clone(), account: Some(request.account.clone()), tenant: None };
    let own = search_sessions(place, &asked).await?.found;
    let own: BTreeSet<String> =
        own.into_values().flatten().map(|(tenant, session)| format!("{tenant}/{session}")).collect();
    match request.sessions.iter().find(|session| !own.contains(*session)) {
        None => Ok(()),
        Some(session) => Err(ReadError::forbidden(format!(
            "the request lists the session {session}, but no signed index line assigns it to this user"
        ))),
    }
}

/// Completes an erasure that an earlier run had begun, from its announcement; the signatures are checked again. `None`
/// if there is none.
///
/// # Errors
/// As [`execute_request`].
pub async fn resume_erasure(
    place: &WritableVault,
    ledger: &mut Ledger<'_>,
    erasers: &[VerifyKey],
    store: &str,
    now: UnixNanos,
) -> Result<Option<ErasureOutcome>, ReadError> {
    let Some(begun) = ledger.begun_erasure() else { return Ok(None) };
    let file = begun
        .request
        .clone()
        .ok_or_else(|| ReadError::damaged("the line that announces the erasure contains no request"))?;
    execute_request(place, ledger, &file, erasers, store, now).await.map(Some)
}

/// Checks that a request is for this vault and this chain and was not executed yet; returns its keys.
fn check_request(
    place: &WritableVault,
    ledger: &Ledger<'_>,
    request: &ErasureRequest,
    store: &str,
) -> Result<BTreeSet<ShreddedKey>, ReadError> {
    if request.store != store {
        return Err(ReadError::invalid(format!(
            "the request was made for another vault, {}: check --store",
            request.store
        )));
    }
    if ledger.is_done(&request.nonce) {
        return Err(ReadError::invalid("the request was already executed, as the chain records"));
    }
    let start = place.vault.full_name(&format!("keys/{}/", account_segment(&request.account)));
    // `request::read` checked that the keys belong to its sessions below the prefix it states; this checks the prefix
    if !request.keys.iter().all(|key| key.folder.starts_with(&start)) {
        return Err(ReadError::forbidden("the request names keys of another vault, or of another account"));
    }
    Ok(request.keys.iter().cloned().collect())
}

/// The sessions of the request.
fn session_folders(request: &ErasureRequest) -> BTreeSet<SessionFolder> {
    let session = |session: &String| session.split_once('/').map(|(t, s)| (t.to_owned(), s.to_owned()));
    request.sessions.iter().filter_map(session).collect()
}

/// Fails if a session or a key is under legal hold.
async fn check_no_holds(
    place: &WritableVault,
    request: &ErasureRequest,
    keys: &BTreeSet<ShreddedKey>,
) -> Result<(), ReadError> {
    let folders = session_folders(request);
    for folder in &folders {
        check_no_hold_note(place, request, folder).await?;
    }
    let held = find_held_objects(place, &account_segment(&request.account), &folders, keys).await?;
    match held.first() {
        None => Ok(()),
        Some(first) => Err(ReadError::forbidden(format!(
            "{} objects are under legal hold, for example {first}: release the holds first",
            held.len()
        ))),
    }
}

/// Fails if a hold note covers the session. A note also covers content that no object reveals: packed content, and keys
/// that did not exist.
async fn check_no_hold_note(
    place: &WritableVault,
    request: &ErasureRequest,
    (tenant, session): &SessionFolder,
) -> Result<(), ReadError> {
    match has_hold_note(&place.vault, &account_segment(&request.account), tenant, session).await? {
        false => Ok(()),
        true => {
            Err(ReadError::forbidden(format!("the session {tenant}/{session} is under legal hold: release it first")))
        }
    }
}

fn build_erasure(request: &ErasureRequest, signers: &[String], state: ErasureState) -> ErasureRecord {
    ErasureRecord {
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
async fn destroy_keys(
    place: &WritableVault,
    ledger: &mut Ledger<'_>,
    request: &ErasureRequest,
    signers: &[String],
    keys: &BTreeSet<ShreddedKey>,
    now: UnixNanos,
) -> Result<u64, ReadError> {
    let again = |error: ReadError| {
        error.map_message(|why| format!("{why}\nthe erasure has begun but is not finished: run the command again"))
    };
    let (account, folders) = (account_segment(&request.account), session_folders(request));
    // a copy elsewhere below its session, or under another name, opens the same content
    let all = async || list_objects_to_destroy(place, &account, &folders, keys).await.map_err(again);
    let elsewhere: BTreeSet<String> = all().await?.into_iter().collect();
    let mut gone = 0;
    let start = place.vault.full_name(&format!("keys/{account}/"));
    for key in keys {
        let stem = format!("{}{}", key.folder, key.id);
        // a hold may have been set meanwhile
        if let Some(folder) = parse_session_folder(&format!("{stem}.age"), &start) {
            check_no_hold_note(place, request, &folder).await.map_err(again)?;
        }
        let own = |name: &str| is_copy_of(name, &stem);
        gone += place
            .eraser
            .destroy(&stem, &own)
            .await
            .map_err(|error| again(ReadError::from_object_error(&stem, &error)))?;
    }
    let ids: BTreeSet<&str> = keys.iter().map(|key| key.id.as_str()).collect();
    for folder in &folders {
        check_no_hold_note(place, request, folder).await.map_err(again)?;
        let below = format!("{start}{}/{}/", folder.0, folder.1);
        let own = |name: &str| !is_other_key(place, name, &ids) || elsewhere.contains(name);
        gone += place
            .eraser
            .destroy(&below, &own)
            .await
            .map_err(|error| again(ReadError::from_object_error(&below, &error)))?;
    }
    if let Some(name) = all().await?.first() {
        return Err(again(ReadError::Unavailable(format!("{name} was written again during the erasure"))));
    }
    let done = ErasureRecord { destroyed: Some(gone), ..build_erasure(request, signers, ErasureState::Done) };
    ledger.append(LedgerEntry::Erasure(done), now).await.map_err(again)?;
    Ok(gone)
}
