//! **What**: reports the newest digest of a chain of erasures to a gateway, whose next digests name it. **Why**: the
//! gateway may only write to the store, and a chain that nobody names can be rolled back unseen (docs/vault.md).
//! **Invariants**: that no gateway takes it is said, and changes nothing about the erasure. **Not here**: what the
//! gateway does with it (`app/erasures`).

use super::super::ask::Asker;
use super::super::error::CommandError;
use crate::app::erasures::{ErasureReport, PATH};
use audit::erase::Ledger;

/// Reports it, where there is any.
///
/// # Errors
/// One line: no gateway took it.
pub(super) async fn report(ledger: &Ledger<'_>, gateway: &Asker) -> Result<(), CommandError> {
    let Some((digest, signature)) = ledger.newest().await? else { return Ok(()) };
    let body = serde_json::to_string(&ErasureReport::new(&digest, &signature));
    let body = body.map_err(|_| "the report can't be written as JSON")?;
    gateway.post(PATH, body).await?;
    Ok(())
}

/// That no gateway took it, and how it is made good.
pub(super) fn unreported(why: &CommandError, account: &str) -> String {
    format!(
        "no gateway was told of the newest erasure ({why}): until one is, only an anchor shows that its record was removed. The erasure \
         itself stands. Report it later, with the same --erasers, --sign-with, --store, --keys and --writer: \
         `tollgate vault erase --resume --account {account} --admin URL …`, where URL is the gateway's admin port"
    )
}

#[cfg(test)]
mod tests;
