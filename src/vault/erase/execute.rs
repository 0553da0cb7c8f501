//! **What**: executes a request: says so, destroys, says that it is done. **Invariants**: nothing is destroyed before the digest that
//! announces it is stored; what the request does not name stays; what is under legal hold stops everything.
//! **Not here**: the chain (`ledger`), signatures (`request`).

use std::collections::BTreeSet;

use crate::clock::UnixNanos;
use crate::vault::chain::note::VerifyKey;
use crate::vault::names::account_segment;
use crate::vault::read::ReadError;
use crate::vault::row::{Erasure, ErasureState, Shredded};

use super::request::{self, Request};
use super::resolve::{copies, holds};
use super::{Ledger, Place};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Keys that can't be had any more.
    pub keys: usize,
    /// Objects, all versions, that this run destroyed.
    pub objects: u64,
    /// An earlier run had begun it.
    pub resumed: bool,
}

/// Executes a request that two of `erasers` signed; finishes it if an earlier run had begun it.
///
/// # Errors
/// One line. What was begun is finished by calling again.
pub async fn execute(
    place: &Place,
    ledger: &mut Ledger<'_>,
    file: &str,
    erasers: &[VerifyKey],
    store: &str,
    now: UnixNanos,
) -> Result<Executed, ReadError> {
    let (request, signers) = request::open(file, erasers).map_err(|why| format!("the request {why}"))?;
    let keys = judge(place, ledger, &request, store)?;
    let resumed = match ledger.begun() {
        Some(begun) if begun.nonce == request.nonce => true,
        Some(begun) => {
            return Err(format!(
                "the erasure {} ({}) was begun and is not finished: finish it first (--resume)",
                begun.nonce, begun.why
            ));
        }
        None => false,
    };
    if !resumed {
        request::timely(&request, now).map_err(|why| format!("the request {why}"))?;
        unheld(place, &request, &keys).await?;
        let begun = Erasure { request: Some(file.to_owned()), ..said(&request, &signers, ErasureState::Begun) };
        ledger.append(begun, now).await?;
    }
    finish(place, ledger, &request, &signers, &keys, now).await.map(|objects| Executed {
        keys: keys.len(),
        objects,
        resumed,
    })
}

/// Finishes what an earlier run had begun, from what it had written; the signatures are checked again. `None`: nothing was.
///
/// # Errors
/// One line.
pub async fn resume(
    place: &Place,
    ledger: &mut Ledger<'_>,
    erasers: &[VerifyKey],
    store: &str,
    now: UnixNanos,
) -> Result<Option<Executed>, ReadError> {
    let Some(begun) = ledger.begun() else { return Ok(None) };
    let file = begun.request.clone().ok_or("the line that begins the erasure holds no request")?;
    execute(place, ledger, &file, erasers, store, now).await.map(Some)
}

/// Whether a request is one for this vault and this chain, and was not executed.
fn judge(place: &Place, ledger: &Ledger<'_>, request: &Request, store: &str) -> Result<BTreeSet<Shredded>, ReadError> {
    if request.store != store {
        return Err(format!("the request is for the vault {}", request.store));
    }
    if ledger.is_done(&request.nonce) {
        return Err("the request was executed: it stands in the chain as done".to_owned());
    }
    let start = place.vault.full(&format!("keys/{}/", account_segment(&request.account)));
    if request.keys.is_empty() || !request.keys.iter().all(|key| key.folder.starts_with(&start)) {
        return Err("the request names no keys, or keys of another account".to_owned());
    }
    Ok(request.keys.iter().cloned().collect())
}

/// A legal hold freezes everything.
async fn unheld(place: &Place, request: &Request, keys: &BTreeSet<Shredded>) -> Result<(), ReadError> {
    let session = |session: &String| session.split_once('/').map(|(t, s)| (t.to_owned(), s.to_owned()));
    let folders = request.sessions.iter().filter_map(session).collect();
    let held = holds(place, &account_segment(&request.account), &folders, keys).await?;
    match held.first() {
        None => Ok(()),
        Some(first) => Err(format!("{} objects are under legal hold, {first} is one: release it first", held.len())),
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

/// Destroys, looks that nothing is left, and says so.
async fn finish(
    place: &Place,
    ledger: &mut Ledger<'_>,
    request: &Request,
    signers: &[String],
    keys: &BTreeSet<Shredded>,
    now: UnixNanos,
) -> Result<u64, ReadError> {
    let again = |why: String| format!("{why}\nthe erasure has begun and is not finished: run it again");
    let mut gone = 0;
    for key in keys {
        let stem = format!("{}{}", key.folder, key.id);
        gone += place.eraser.destroy(&stem).await.map_err(|error| again(format!("{stem}: {error}")))?;
    }
    let left = copies(place, keys).await.map_err(again)?;
    if let Some(name) = left.first() {
        return Err(again(format!("{name} is there again")));
    }
    let done = Erasure { destroyed: Some(gone), ..said(request, signers, ErasureState::Done) };
    ledger.append(done, now).await.map_err(again)?;
    Ok(gone)
}
