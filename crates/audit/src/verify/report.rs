//! [`VerifyReport`]: the results of a verification (counts, findings, and limits of the check), as JSON and as text.
//! The list of findings is bounded, but all are counted. A report never quotes content.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::chains::ChainId;
use kernel::terminal::{escape_unsafe, format_count};
use vault::chain::digest::DigestLink;
use vault::object_names::account_segment;

/// Most findings that are kept.
const MAX_FINDINGS: usize = 1000;

/// Code for an auditor's key that opens nothing.
pub(super) const IDENTITY_CODE: &str = "identity_opens_nothing";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The vault differs from what was written.
    Failure,
    /// Worth knowing: the writer itself declares it, or it may be harmless.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyFinding {
    pub severity: Severity,
    /// Kind of the finding (docs/vault.md lists them).
    pub code: &'static str,
    /// Object, digest or line.
    pub location: String,
    pub message: String,
}

/// Counts of what was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(default)]
pub struct VerifyCounts {
    pub epochs: u64,
    /// Digests with valid signature, link and root.
    pub digests: u64,
    /// Index lines in the tree, or, if earlier lines are gone, in an object that matches its signed hash.
    pub leaves: u64,
    /// Lines among these that record a lost line.
    pub gaps: u64,
    /// Payload objects read.
    pub objects: u64,
    /// Fragments that match the hash in their line.
    pub fragments: u64,
    /// Fragments that were opened and agree with their lines.
    pub opened: u64,
    /// Bytes of payload read.
    pub bytes: u64,
    /// Versions of objects, keys included, with a sufficient lock.
    pub locked: u64,
    /// Objects that are gone after their retention.
    pub expired: u64,
    /// Objects in an archive class, which must be restored before they can be read.
    pub archived: u64,
}

/// The newest digest of a writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainHead {
    /// Account whose lines it covers.
    pub account: String,
    pub writer: String,
    pub digest: DigestLink,
    /// Number of leaves.
    pub tree_size: u64,
    /// Root of the tree, base64.
    pub root: String,
    /// Time at which it was made.
    pub end: String,
    /// Time by which the next digest is written, also without news; null if the digest does not say so.
    pub next_by: Option<String>,
    /// Whether it is final, because the writer stopped.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Lines that were acknowledged but not yet in the store.
    pub pending: u64,
}

/// Content that can't be opened any more, because two people requested its erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErasedContent {
    pub account: String,
    pub nonce: String,
    pub requested_by: String,
    pub reason: String,
    /// Signers according to the line; their signatures were checked only if `signatures_checked`.
    pub signers: Vec<String>,
    /// Whether two of the erasers whose public keys were given signed the request.
    pub signatures_checked: bool,
    /// Sessions, as `tenant/session` in object names.
    pub sessions: Vec<String>,
    pub key_ids: Vec<String>,
    pub started_at: String,
    /// End of the erasure; null if it is not finished.
    pub finished_at: Option<String>,
    /// Fragments found in this run that these keys would open.
    pub fragments: u64,
}

/// Shares of a session's keys, opened by request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordedOpening {
    pub account: String,
    pub session: String,
    /// The vault, as the request names it.
    pub store: String,
    pub reason: String,
    /// Signers according to the line; their signatures were checked only if `signatures_checked`.
    pub signers: Vec<String>,
    /// Whether two of the openers whose public keys were given signed the request.
    pub signatures_checked: bool,
    /// Public keys of the auditors whose shares were opened.
    pub auditors: Vec<String>,
    pub opened_at: String,
}

/// Results of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Version of the report's format.
    pub schema: u8,
    /// Whether no failure was found.
    pub verified: bool,
    /// Counts of what was checked.
    pub counts: VerifyCounts,
    /// The newest digest of each writer and account.
    pub heads: Vec<ChainHead>,
    /// The first thousand findings.
    pub findings: Vec<VerifyFinding>,
    /// Number of findings by code.
    pub finding_counts: BTreeMap<&'static str, u64>,
    /// Content erased by request.
    pub erasures: Vec<ErasedContent>,
    pub openings: Vec<RecordedOpening>,
    /// Sessions with missing turn numbers, as far as the lines show.
    pub missing_turns: Vec<String>,
    /// Things that could not be verified, with reasons.
    pub not_verified: Vec<String>,
    /// Number of failures so far.
    #[serde(skip)]
    pub(super) failures: u64,
    /// Chains that are broken themselves, apart from objects planted after their newest digests.
    #[serde(skip)]
    pub(super) broken: BTreeSet<ChainId>,
}

impl VerifyReport {
    /// Adds a failure: the vault differs from what was written.
    pub fn fail(&mut self, code: &'static str, location: impl Into<String>, message: impl Into<String>) {
        (self.verified, self.failures) = (false, self.failures + 1);
        self.add_finding(Severity::Failure, code, location.into(), message.into());
    }

    pub fn warn(&mut self, code: &'static str, location: impl Into<String>, message: impl Into<String>) {
        self.add_finding(Severity::Warning, code, location.into(), message.into());
    }

    fn add_finding(&mut self, severity: Severity, code: &'static str, location: String, message: String) {
        *self.finding_counts.entry(code).or_default() += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(VerifyFinding { severity, code, location, message });
        }
    }

    /// Adds what could not be verified, with the reason, if that is so.
    pub(super) fn leave_out(&mut self, is_left_out: bool, what: &str) {
        self.not_verified.extend(is_left_out.then(|| what.to_owned()));
    }

    /// Adds a number of things that could not be verified, if there are any.
    pub(super) fn leave_out_some(&mut self, count: u64, things: &str) {
        self.leave_out(count > 0, &format!("{count} {things}"));
    }

    /// The newest digests that may be anchored, and the chains left out because they are broken. Objects planted after
    /// a newest digest don't break a chain.
    pub fn anchorable(&self) -> (Vec<ChainHead>, Vec<String>) {
        let is_broken = |head: &ChainHead| {
            self.broken.contains(&ChainId { account: account_segment(&head.account), writer: head.writer.clone() })
        };
        let heads = self.heads.iter().filter(|head| !is_broken(head)).cloned().collect();
        (heads, self.broken.iter().map(|chain| format!("{}/{}", chain.account, chain.writer)).collect())
    }

    /// Whether auditors' keys were given but open none of the content.
    pub fn opened_nothing(&self) -> bool {
        self.finding_counts.contains_key(IDENTITY_CODE)
    }

    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for finding in &self.findings {
            let severity = if finding.severity == Severity::Failure { "FAILURE" } else { "warning" };
            lines.push(format!("{severity} {}: {}: {}", finding.code, finding.location, finding.message));
        }
        let listed = self.findings.len() as u64;
        let all: u64 = self.finding_counts.values().sum();
        if all > listed {
            lines.push(format!("and {} more", all - listed));
        }
        for ChainHead { account, writer, digest, tree_size, root, end, is_final, pending, .. } in &self.heads {
            let DigestLink { epoch, n, .. } = digest;
            let state = if *is_final { "final" } else { "running, or stopped without a final digest" };
            let leaves = if *tree_size == 1 { "leaf" } else { "leaves" };
            lines.push(format!(
                "newest: {account}/{writer}/{epoch} digest {n} of {end} ({state}): {tree_size} {leaves}, {pending} not yet in \
                 the store, root {root}"
            ));
        }
        let signed = |is_checked: bool, signers: &[String]| {
            format!("{} {}", if is_checked { "signed by" } else { "unchecked signatures of" }, signers.join(", "))
        };
        for opening in &self.openings {
            let RecordedOpening { account, session, store, reason, opened_at, .. } = opening;
            let (auditors, signed) =
                (opening.auditors.join(", "), signed(opening.signatures_checked, &opening.signers));
            lines.push(format!(
                "opened by request: {session} of {account} in {store} at {opened_at} by {auditors}: {reason}; {signed}"
            ));
        }
        for erased in &self.erasures {
            let ErasedContent { account, requested_by, reason, started_at, fragments, .. } = erased;
            let according = if erased.signatures_checked { "" } else { " according to a line" };
            let (sessions, keys) = (erased.sessions.join(", "), erased.key_ids.len());
            let finished = erased.finished_at.as_ref().map_or("not finished".to_owned(), |done| format!("done {done}"));
            let signed = signed(erased.signatures_checked, &erased.signers);
            lines.push(format!(
                "erased by request{according}: {sessions} of {account}: {keys} keys, {fragments} fragments, begun \
                 {started_at}, {finished}; requested by {requested_by}: {reason}; {signed}"
            ));
        }
        lines.extend(self.missing_turns.iter().map(|session| format!("turns are missing: {session}")));
        lines.extend(self.not_verified.iter().map(|limit| format!("not verified: {limit}")));
        let VerifyCounts { epochs, digests, leaves, objects, fragments, gaps, opened, bytes, .. } = &self.counts;
        let VerifyCounts { locked, expired, archived, .. } = &self.counts;
        let counted =
            [(epochs, "epoch"), (digests, "digest"), (leaves, "line"), (objects, "object"), (fragments, "fragment")];
        let [epochs, digests, leaves, objects, fragments] = counted.map(|(count, noun)| format_count(*count, noun));
        lines.push(format!(
            "{epochs}, {digests}, {leaves} ({gaps} record a lost line), {objects}, {fragments}, {opened} opened, {bytes} \
             bytes, {locked} locked, {expired} expired, {archived} archived"
        ));
        lines.push(
            match (self.verified, self.opened_nothing()) {
                (true, false) => "verified",
                (true, true) => "verified except for the content: none of the given keys opens any of it",
                (false, _) => "NOT VERIFIED",
            }
            .to_owned(),
        );
        // a name must not contain a line break that fakes another line
        lines.iter().map(|line| escape_unsafe(line)).collect::<Vec<_>>().join("\n")
    }
}
