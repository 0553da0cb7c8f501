//! Executes a request: announces the erasure, destroys the keys, and records that the erasure is done. No key is
//! destroyed before the digest that announces the erasure is stored. Of the objects below the request's sessions, only
//! keys that the request does not name are kept. The named keys must belong to the sessions that the signers saw. One
//! legal hold stops the whole erasure. Neighbours: `ledger` (the chain), `request` (signatures).

use std::collections::BTreeSet;

use crate::error::{ReadError, Result};
use crate::folders::{is_copy_of, parse_key_name};
use crate::hold::check_no_hold_note;
use crate::ledger::{Ledger, LedgerEntry};
use crate::location::WritableVault;
use crate::signed_request::{check_validity, open};
use vault::chain::note::VerifyKey;
use vault::index_row::{ErasureRecord, ErasureState};
use vault::object_names::account_segment;
use vault::store::{ErasePredicate, ObjectKind};

use super::request::ErasureRequest;
use super::resolve::{KeyTargets, TargetQuery, search_sessions};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureOutcome {
    pub keys: usize,
    /// Objects that this run destroyed, counting all versions.
    pub objects: u64,
    /// Whether an earlier run had begun the erasure.
    pub resumed: bool,
    /// Keys in the request's sessions that the request does not name, for example keys that were added later.
    pub remaining_keys: usize,
}

/// Executes a request that two of `erasers` signed, or completes the erasure if an earlier run had begun it.
///
/// # Errors
/// The request is invalid, a session is under hold, or the store fails. After a failure, another call completes the
/// erasure.
pub async fn execute_request(
    ledger: &mut Ledger<'_>,
    signed_request: &str,
    erasers: &[VerifyKey],
    store: &str,
) -> Result<ErasureOutcome> {
    let (request, signers) = open(signed_request, erasers).map_err(request_error)?;
    let targets = check_request(ledger, &request, store)?;
    let resumed = match ledger.begun_erasure() {
        Some(begun) if begun.nonce == request.nonce => true,
        Some(begun) => {
            return Err(ReadError::new(format!(
                "the erasure {} ({}) is unfinished: complete it first with --resume",
                begun.nonce, begun.why
            )));
        }
        None => false,
    };
    let begun = LedgerEntry::Erasure(ErasureRecord {
        request: Some(signed_request.to_owned()),
        ..build_erasure(&request, &signers, ErasureState::Begun)
    });
    let expired = check_validity(&request, ledger.now).err();
    let is_expired = expired.is_some();
    if !resumed {
        if let Some(why) = expired
            && !ledger.has_begun_in_time(&request, &begun).await?
        {
            return Err(request_error(why));
        }
        check_user_sessions(ledger.place, &request).await?;
    }
    check_no_holds(ledger.place, &targets).await?;
    if !resumed {
        match is_expired {
            false => ledger.append(begun).await?,
            true => ledger.finish_begun(begun).await?,
        }
    }
    let objects = destroy_keys(ledger, &targets, build_erasure(&request, &signers, ErasureState::Done)).await;
    let objects = objects.map_err(|error| {
        error.map_message(|why| format!("{why}\nthe erasure has begun but is not finished: run the command again"))
    })?;
    // the erasure is done, even if the remaining keys can't be listed now
    let remaining_keys = count_other_keys(ledger.place, &targets).await.unwrap_or_default();
    Ok(ErasureOutcome { keys: targets.keys.len(), objects, resumed, remaining_keys })
}

fn request_error(error: ReadError) -> ReadError {
    error.map_message(|why| format!("the request {why}"))
}

/// Counts the keys in the request's sessions that the request does not name.
async fn count_other_keys(place: &WritableVault, targets: &KeyTargets<'_>) -> Result<usize> {
    let mut other_keys = BTreeSet::new();
    for folder in &targets.folders {
        let names = place.vault.list(ObjectKind::Key, &targets.key_folder(folder)).await?;
        let keys = names.iter().filter_map(|name| parse_key_name(name));
        other_keys.extend(keys.filter(|key| !targets.keys.contains(key)));
    }
    Ok(other_keys.len())
}

/// Checks in the index that the sessions of a request for a user belong to that user, because the signers saw only a
/// pseudonym and a list of sessions.
async fn check_user_sessions(place: &WritableVault, request: &ErasureRequest) -> Result<()> {
    if request.what.users().is_none() {
        return Ok(());
    }
    let query = TargetQuery { target: request.what.clone(), account: Some(request.account.clone()), tenant: None };
    let folders = search_sessions(place, &query).await?.sessions.into_values().flatten();
    let user_sessions: BTreeSet<String> = folders.map(|(tenant, session)| format!("{tenant}/{session}")).collect();
    match request.sessions.iter().find(|session| !user_sessions.contains(*session)) {
        None => Ok(()),
        Some(session) => Err(ReadError::new(format!(
            "the request lists the session {session}, but no signed index line assigns it to this user"
        ))),
    }
}

/// Completes an erasure that an earlier run had begun, from the request in its announcement; the signatures are checked
/// again. `None` if no erasure is unfinished.
pub async fn resume_erasure(
    ledger: &mut Ledger<'_>,
    erasers: &[VerifyKey],
    store: &str,
) -> Result<Option<ErasureOutcome>> {
    let Some(begun) = ledger.begun_erasure() else { return Ok(None) };
    let signed_request = begun
        .request
        .clone()
        .ok_or_else(|| ReadError::new("the line that announces the erasure contains no request"))?;
    execute_request(ledger, &signed_request, erasers, store).await.map(Some)
}

/// Checks that a request is for this vault and was not executed yet; returns what it would destroy.
fn check_request<'p>(ledger: &Ledger<'p>, request: &ErasureRequest, store: &str) -> Result<KeyTargets<'p>> {
    if request.store != store {
        return Err(ReadError::new(format!(
            "the request was made for another vault, {}: check --store",
            request.store
        )));
    }
    if ledger.is_done(&request.nonce) {
        return Err(ReadError::new("the request was already executed, as the chain records"));
    }
    let account_prefix = ledger.place.vault.full_name(&format!("keys/{}/", account_segment(&request.account)));
    // `check_fields` used the vault's prefix that the request states; this checks the prefix of the opened vault
    if !request.keys.iter().all(|key| key.folder.starts_with(&account_prefix)) {
        return Err(ReadError::new("the request names keys of another vault, or of another account"));
    }
    let split_path = |path: &String| path.split_once('/').map(|(tenant, id)| (tenant.to_owned(), id.to_owned()));
    let folders = request.sessions.iter().filter_map(split_path).collect();
    Ok(KeyTargets::new(ledger.place, &request.account, folders, request.keys.iter().cloned().collect()))
}

/// Fails if a session or a key is under legal hold.
async fn check_no_holds(place: &WritableVault, targets: &KeyTargets<'_>) -> Result<()> {
    for folder in &targets.folders {
        check_no_hold_note(&place.vault, &targets.account, folder).await?;
    }
    let held = targets.find_held_objects().await?;
    match held.first() {
        None => Ok(()),
        Some(first) => Err(ReadError::new(format!(
            "{} objects are under legal hold, for example {first}: release the holds first",
            held.len()
        ))),
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

/// Destroys the keys, checks that none remains, and records the result. Returns the number of destroyed objects.
async fn destroy_keys(ledger: &mut Ledger<'_>, targets: &KeyTargets<'_>, done: ErasureRecord) -> Result<u64> {
    let (place, account) = (ledger.place, &*targets.account);
    let destroy = async |prefix: &str, is_target: &ErasePredicate<'_>| {
        let destroyed = place.eraser.destroy(prefix, is_target).await;
        destroyed.map_err(|error| ReadError::from_object_error(prefix, &error))
    };
    // a copy of a key in another folder of its session, or under another name, opens the same content
    let objects: BTreeSet<String> = targets.list_objects().await?.into_iter().collect();
    let mut destroyed = 0;
    let account_prefix = place.vault.full_name(&format!("keys/{account}/"));
    for key in &targets.keys {
        let stem = format!("{}{}", key.folder, key.id);
        // a hold may have been set since `check_no_holds`
        let mut parts = key.folder.strip_prefix(&account_prefix).unwrap_or_default().split('/').map(str::to_owned);
        if let Some(folder) = parts.next().zip(parts.next()) {
            check_no_hold_note(&place.vault, account, &folder).await?;
        }
        destroyed += destroy(&stem, &|name| is_copy_of(name, &stem)).await?;
    }
    for folder in &targets.folders {
        check_no_hold_note(&place.vault, account, folder).await?;
        let is_target = |name: &str| !targets.is_other_key(name) || objects.contains(name);
        destroyed += destroy(&place.vault.full_name(&targets.key_folder(folder)), &is_target).await?;
    }
    if let Some(name) = targets.list_objects().await?.first() {
        return Err(ReadError::new(format!("{name} was written again during the erasure")));
    }
    ledger.append(LedgerEntry::Erasure(ErasureRecord { destroyed: Some(destroyed), ..done })).await?;
    Ok(destroyed)
}
