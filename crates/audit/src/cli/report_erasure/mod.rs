//! Reports the newest digest of a chain of erasures to a gateway, whose next digests name it. The gateway may only
//! write to the store, and a chain that no digest names could be rolled back unseen (docs/vault.md). If no gateway
//! accepts the report, a warning is printed, and the erasure remains valid. The gateway's side is in
//! `app/erasure_reports`.

use crate::erase::{ErasureRequest, Ledger};
use crate::signed_request;
use command::admin_client::AdminClient;
use command::error::{CommandError, Result};
use vault::chain::erasures::ErasureReport;

/// Reports the newest digest, if there is one, and whose runs were erased.
///
/// # Errors
/// The gateway did not accept it.
pub(super) async fn report_newest_erasure(ledger: &Ledger<'_>, gateway: &AdminClient) -> Result<()> {
    let Some((digest, signature)) = ledger.fetch_newest_digest().await? else { return Ok(()) };
    let request = ledger.newest_request.as_deref().and_then(|text| signed_request::read::<ErasureRequest>(text).ok());
    let runs = request.map(|(request, _)| request.erased_runs()).unwrap_or_default();
    let body = serde_json::to_string(&ledger.report(&digest, &signature, &runs));
    let body = body.map_err(|_| "the report can't be written as JSON")?;
    gateway.post(ErasureReport::PATH, body).await?;
    Ok(())
}

/// The warning that no gateway accepted the report, and how to repeat it.
pub(super) fn unreported_warning(why: &CommandError, account: &str) -> String {
    format!(
        "the erasure was not reported to a gateway ({why}): until it is, only an anchor can show that its record was removed. The erasure \
         itself is complete. Report it later with the same --erasers, --sign-with, --store, --keys and --writer: \
         `tollgate vault erase --resume --account {account} --admin URL …`, where URL is the gateway's admin port"
    )
}

#[cfg(test)]
mod tests;
