//! `vault verify`: follows every chain of a vault from its first digest to its newest, and checks whether the store
//! still holds what was written. An auditor need not trust the gateway, the store, or us: every step can be done with
//! other tools (docs/vault.md).
//!
//! Verification only reads, and needs a public key but no secret. The report lists everything that was not checked, and
//! a finding does not end the run. Neighbour: `chain` of the crate `vault` (hashing and notes).

pub mod anchor;
mod content;
mod epoch;
mod epoch_links;
mod fragment_check;
mod key_check;
mod key_lines;
mod locks;
mod options;
mod report;
mod resume;
mod run_state;
mod times;
mod unreferenced;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use super::chains::{ChainListing, EarlySignature, epoch_folder, list_chains};
use super::error::{ReadError, Result};
use super::location::Vault;
use super::read::FragmentOpener;

pub use super::chains::ChainId;
pub use options::{RequiredLock, VerifyOptions, VerifyProgress};
use report::IDENTITY_CODE;
pub use report::{ChainHead, ErasedContent, RecordedOpening, Severity, VerifyCounts, VerifyFinding, VerifyReport};

use epoch::fetch_digest;
use resume::ResumeFile;
use run_state::{ChainVerification, EpochVerification, KeyInventory, ReferencedNames, TurnNumbers, VerificationRun};
use unreferenced::MAX_DIGEST_DELAY;
use vault::store::ObjectKind;

/// Verifies a vault. Problems of the vault itself are in the report.
///
/// # Errors
/// The store can't be listed, or one of the caller's files can't be used.
pub async fn verify(
    vault: &Vault,
    options: &VerifyOptions,
    show: &mut (dyn FnMut(VerifyProgress) + Send),
) -> Result<VerifyReport> {
    if options.keys.is_empty() {
        return Err(ReadError::new("give --key: the public key of the writer's signer"));
    }
    let found = list_chains(vault, options.account.as_deref(), options.writer.as_deref()).await?;
    let declared = find_declared_expiry(vault, options, &found).await;
    let options = &VerifyOptions { expired: options.expired.clone().max(declared.clone()), ..options.clone() };
    let opener = || FragmentOpener { permitted: None, ..FragmentOpener::new(vault, options.auditors.clone()) };
    let opener = (!options.auditors.is_empty()).then(opener);
    let all = found.chains.values().flat_map(|epochs| epochs.values()).map(|numbers| numbers.len() as u64).sum();
    let mut run = VerificationRun {
        vault,
        options,
        opener,
        report: VerifyReport { schema: 1, verified: true, ..VerifyReport::default() },
        resume: ResumeFile::default(),
        earlier_digests: BTreeMap::new(),
        turns: TurnNumbers::default(),
        keys: KeyInventory::default(),
        newest_erasures: BTreeMap::new(),
        used_requests: BTreeMap::new(),
        named_stores: BTreeMap::new(),
        excused_failures: 0,
        hidden_objects: 0,
        referenced: ReferencedNames::default(),
        progress: VerifyProgress { done: 0, all, bytes: 0 },
    };
    run.report_unknown_names(&found);
    if let Some(before) = declared {
        let message = format!(
            "the gateway removes its oldest content when this folder is full (`on_full: expire`, for trying out), so that \
             what digests before {before} name may be gone"
        );
        run.report.warn("content_expired", "chain/", message);
    }
    run.list_keys().await;
    run.resume_earlier_run()?;
    let mut chains: Vec<ChainVerification> = Vec::new();
    for (chain, epochs) in &found.chains {
        let mut judged = Vec::new();
        for (name, numbers) in epochs {
            judged.push(run.check_epoch(chain, name, numbers, show).await?);
        }
        run.check_links(chain, &judged);
        chains.push(ChainVerification { id: chain.clone(), epochs: judged });
    }
    run.check_early_signatures(&found, &chains).await;
    run.report_vanished_epochs();
    run.check_newest_erasures(&chains);
    run.reconcile_erasures().await;
    run.report_unchecked_openings();
    run.report_other_stores();
    run.check_anchors(&chains);
    run.check_leaves(&chains);
    if !options.chain_only {
        run.report_unreferenced_objects(&chains).await?;
        run.report_unreferenced_keys(&chains).await;
        run.check_versions().await;
    }
    run.report.missing_turns = run.turns.gaps();
    run.report_limits(&chains);
    run.resume.finish()?;
    Ok(run.report)
}

/// The time before which signed digests of a folder declare content as expired, because it was full. A store with
/// versions has no such option, so there a declaration counts for nothing: a stolen signing key excuses no deletion.
async fn find_declared_expiry(vault: &Vault, options: &VerifyOptions, found: &ChainListing) -> Option<String> {
    let mut expired = None;
    if !matches!(vault.list_versions(ObjectKind::Chain, "chain/", None).await, Ok(None)) {
        return expired;
    }
    for (chain, epochs) in &found.chains {
        for (name, newest) in epochs.iter().filter_map(|(name, numbers)| Some((name, *numbers.last()?))) {
            let fetched = fetch_digest(vault, &epoch_folder(chain, name), newest, false).await;
            let digest = fetched.digest.as_ref().filter(|_| fetched.is_signed(&options.keys));
            expired = expired.max(digest.and_then(|digest| digest.counters.expired_before.clone()));
        }
    }
    expired
}

/// Whether the writer's next digest would be number `n` of this epoch: after the newest digest of an unfinished epoch,
/// or the first of a new epoch.
fn is_next_digest(epochs: &[EpochVerification], name: &str, n: u64) -> bool {
    match epochs.iter().find(|epoch| epoch.name == name) {
        Some(epoch) => {
            let followed = epochs.iter().any(|other| other.prev.as_ref().is_some_and(|prev| prev.epoch == name));
            !followed && epoch.next_digest == n && epoch.last.as_ref().is_some_and(|last| !last.is_final)
        }
        None => n == 0 && epochs.iter().all(|epoch| epoch.name.as_str() < name),
    }
}

impl VerificationRun<'_> {
    /// Resumes the work of an earlier, interrupted run.
    fn resume_earlier_run(&mut self) -> Result<()> {
        self.resume = ResumeFile::read(self.options, self.keys.present.is_some())?;
        (self.report.counts, self.earlier_digests) = (self.resume.saved.counts.clone(), self.resume.saved.seen.clone());
        self.record_earlier_lines();
        Ok(())
    }

    fn report_unknown_names(&mut self, found: &ChainListing) {
        for name in &found.unrecognised {
            let message = "this is not the name of a digest or signature: the object was planted, or is left over";
            match self.options.chain_only {
                true => self.report.warn("unreferenced", name, message),
                false => self.report.fail("unreferenced", name, message),
            }
        }
        if found.chains.is_empty() {
            let message = "no digest found, so nothing can be verified: check --store, --account and --writer";
            self.report.fail("no_chain", "chain/", message);
        }
    }

    /// Checks signatures beyond the newest digests: the gateway writes a signature a moment before its digest.
    async fn check_early_signatures(&mut self, found: &ChainListing, chains: &[ChainVerification]) {
        for EarlySignature { chain, epoch, n, name } in &found.early_signatures {
            let epochs = chains.iter().find(|other| other.id == *chain).map(|chain| chain.epochs.as_slice());
            let is_next = is_next_digest(epochs.unwrap_or_default(), epoch, *n);
            match self.vault.fetch_write_time(ObjectKind::Chain, name).await {
                Some(written) if is_next && written.plus(MAX_DIGEST_DELAY) >= self.options.now => {
                    self.report.not_verified.push(format!("{name}: a signature whose digest has not been written yet"));
                }
                _ => self.report.fail("digest_missing", name, "a signature whose digest is missing"),
            }
        }
    }

    /// Reports everything that this run did not check.
    fn report_limits(&mut self, chains: &[ChainVerification]) {
        let (options, report) = (self.options, &mut self.report);
        let sealed = "decrypted fragments, because no auditor's key was given (--identity); only the hashes of their \
                      sealed bytes were checked";
        report.leave_out(options.auditors.is_empty(), sealed);
        let content = "index, payload and unreferenced objects, because only the chain was checked";
        report.leave_out(options.chain_only, content);
        report.leave_out(options.no_payload && !options.chain_only, "payload objects and session keys (--no-payload)");
        let has_range = options.from.is_some() || options.to.is_some();
        report.leave_out(has_range, "payload objects of digests outside of --from and --to");
        let ends = "that no chain was truncated or re-signed with a stolen key, because no anchor was given (--anchor)";
        report.leave_out(options.anchors.is_empty(), ends);
        report.leave_out(options.account.is_some() || options.writer.is_some(), "other accounts or writers");
        let (VerifyCounts { expired, archived, .. }, hidden) = (report.counts.clone(), self.hidden_objects);
        let before = options.expired.as_deref().unwrap_or_default();
        let gone = format!(
            "{expired} expired objects of digests before {before} that are gone, and roots after missing lines; {hidden} \
             delete markers over expired objects"
        );
        report.leave_out(expired > 0 || hidden > 0, &gone);
        let archives = "archived objects: restore them (`aws s3api restore-object`; the auditor needs s3:RestoreObject) \
                        and verify again";
        report.leave_out_some(archived, archives);
        let sum = |count: fn(&EpochVerification) -> u64| chains.iter().flat_map(|chain| &chain.epochs).map(count).sum();
        let unopened: u64 = sum(|epoch| epoch.unopened);
        report.leave_out_some(unopened, "fragments whose session keys none of the given identities opens");
        report.leave_out_some(sum(|epoch| epoch.expired), "fragments whose session keys expired");
        // if keys were erased or expired, the right auditor's key opens nothing either
        let may_be_gone = !report.erasures.is_empty() || expired > 0;
        if unopened > 0 && report.counts.opened == 0 && !may_be_gone && !options.auditors.is_empty() {
            let message = format!(
                "opens none of the {unopened} fragments that were read: check that it is the key of an auditor of this \
                 vault, and that there are as many as open keys together"
            );
            report.warn(IDENTITY_CODE, "--identity", message);
        }
    }
}
